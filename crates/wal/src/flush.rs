//! From memory to disk: writing out, group flush, sync.
//!
//! Owns the one path by which records reach their files. Promises (W1) that `durable` passes a
//! record only after a sync that began after the record was written, and (W6) that the first
//! failed write or sync is the last: it poisons the environment, and all who wait are told. Must
//! never retry.

use std::sync::Arc;

use campanile_format::frame::FRAME_BYTES;
use campanile_format::planted::{self, Bug};
use campanile_format::{Lsn, names};
use campanile_sync::MutexGuard;
use campanile_sync::atomic::Ordering;
use campanile_vfs::{Background, Clock, File};

use crate::buffer::Segment;
use crate::error::WalError;
use crate::group::{Lead, Role};
use crate::rotate::Output;
use crate::spares::{FILL_AHEAD_BYTES, FILL_BYTES, fill};
use crate::stats::add;
use crate::wal::Wal;

/// In a file that was used before, small flushes overwrite this much of its old content at once:
/// each for itself would have to write into one block more than its records take (W4).
const CLEAN_AHEAD_BYTES: u64 = 64 << 10;
/// What a large write overwrites behind itself.
const CLEAN_BEHIND_BYTES: u64 = 4 << 10;

/// The system is asked to start writing out after this much that nobody has synced.
const LAZY_BYTES: u32 = 1 << 20;

/// Where writing out may stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Behind the last record: nobody waits for what is written to be durable.
    Anywhere,
    /// On a block boundary: what is written is synced, and promised, next.
    Block,
}

impl Wal {
    /// Makes the record that starts at `lsn` durable, and everything before it. Callers at the
    /// same time share a sync. With the log's end or more, everything appended so far.
    pub fn flush(&self, lsn: Lsn) -> Result<(), WalError> {
        self.poison.check()?;
        let target = self.target(lsn);
        if self.durable() >= target {
            return Ok(());
        }
        add(&self.counters.flushes, 1);
        match self.group.join(self.patience()) {
            Role::Leader(lead) => self.flush_group(lead)?,
            Role::Member if self.durable() < target => self.poison.check()?,
            Role::Member => {}
        }
        if self.durable() < target && !planted::is(Bug::FollowerWokenEarly) {
            self.poison.strike("a log flush that did not finish");
            self.poison.check()?;
        }
        Ok(())
    }

    /// Lets the background make the record at `lsn` durable, soon: see [`Wal::step`]. Costs one
    /// write of memory.
    pub fn want_durable(&self, lsn: Lsn) {
        self.wanted.fetch_max(lsn.0, Ordering::Relaxed);
    }

    /// Hands the record that starts at `lsn` to the operating system, and everything before it.
    pub fn write(&self, lsn: Lsn) -> Result<(), WalError> {
        self.poison.check()?;
        let target = self.target(lsn);
        if self.written() >= target {
            return Ok(());
        }
        let mut output = self.output.lock();
        if self.written() < target {
            self.write_out(&mut output, Ending::Anywhere)?;
        }
        self.write_out_lazily(output);
        Ok(())
    }

    /// Asks the system to start writing out what nobody has synced, once it is much: a later sync
    /// then finds little left to do (measured).
    pub(crate) fn write_out_lazily(&self, mut output: MutexGuard<'_, Output>) {
        let (file, from, end) = (Arc::clone(&output.file), output.lazy_from, output.end.offset());
        let lazy = end.saturating_sub(from);
        if lazy >= LAZY_BYTES {
            output.lazy_from = end;
            drop(output);
            file.start_write_out(u64::from(from), u64::from(lazy));
        }
    }

    /// What must be passed for the record at `lsn` to be in.
    fn target(&self, lsn: Lsn) -> Lsn {
        Lsn(lsn.0.saturating_add(1)).min(self.end())
    }

    /// The clock for leaders that wait for others; without threads there are no others.
    fn patience(&self) -> Option<&dyn Clock> {
        (self.host.background == Background::Threads).then_some(&*self.host.clock)
    }

    /// Writes everything appended so far, and syncs it, for a group.
    fn flush_group(&self, lead: Lead<'_>) -> Result<(), WalError> {
        self.poison.check()?;
        self.counters.group_members_max.fetch_max(lead.members().into(), Ordering::Relaxed);
        let (file, end) = {
            let mut output = self.output.lock();
            self.claim_in_passing();
            self.write_out(&mut output, Ending::Block)?;
            output.lazy_from = output.end.offset();
            (Arc::clone(&output.file), output.end)
        };
        add(&self.counters.groups, 1);
        if planted::is(Bug::FollowerWokenEarly) {
            drop(lead);
            // Long enough for a follower to tell its caller.
            (0..100).for_each(|_| campanile_sync::thread::yield_now());
            return self.sync(&file, end.file(), end);
        }
        self.sync(&file, end.file(), end)
        // `lead` is dropped here, and with that the members wake, whatever came of it.
    }

    /// Writes what the buffer holds into the log's files.
    pub(crate) fn write_out(&self, output: &mut Output, ending: Ending) -> Result<(), WalError> {
        self.poison.check()?;
        let Some(batch) = self.take(ending) else {
            return Ok(());
        };
        let _whole = self.poison.if_unwound("the log was written");
        for segment in batch.iter() {
            if segment.start.file() != output.number {
                self.rotate(output, segment)?;
            }
            self.write_segment(output, segment)?;
        }
        self.buffer.lock().landed(batch);
        self.written.store(output.end.0, Ordering::Release);
        add(&self.counters.writes, 1);
        Ok(())
    }

    /// What is to be written. For [`Ending::Block`], what follows will not touch its last block:
    /// the pad and the taking are one step, so that no record slips in between.
    fn take(&self, ending: Ending) -> Option<Arc<Vec<Segment>>> {
        let mut buffer = self.buffer.lock();
        if ending == Ending::Block && !planted::is(Bug::FlushNotPadded) {
            let pad = buffer.pad(self.options.rest_bytes());
            if pad > 0 {
                self.end.store(buffer.end().0, Ordering::Release);
                add(&self.counters.pads, 1);
                add(&self.counters.pad_bytes, pad as u64);
            }
        }
        buffer.take()
    }

    fn write_segment(&self, output: &mut Output, segment: &Segment) -> Result<(), WalError> {
        assert_eq!(output.end, segment.start, "the log is written without a gap");
        let rest = self.options.rest_bytes();
        let block = Lsn(segment.start.0 - u64::from(segment.start.offset() % rest));
        let untouched = self.durable() <= block || planted::is(Bug::FlushNotPadded);
        assert!(untouched, "W13: a block that holds durable records is not written again");
        let from = u64::from(segment.start.offset());
        let written = output.file.write_all_at(&segment.bytes, from);
        let cleaned = written.and_then(|()| clean_ahead(output, segment));
        cleaned.map_err(|error| self.fatal("write", &names::log_file(output.number), error))?;
        output.end = segment.end();
        Ok(())
    }

    /// Makes everything below `end` durable; `file` is the file that holds what is below it, and
    /// all files before are durable.
    pub(crate) fn sync(&self, file: &Arc<dyn File>, number: u32, end: Lsn) -> Result<(), WalError> {
        let _turn = self.syncing.lock();
        if self.durable() >= end {
            return Ok(());
        }
        // Within the turn: a sync after a failed one may succeed without having done its work.
        self.poison.check()?;
        let mut synced = match planted::is(Bug::LogSyncSkipped) {
            true => Ok(()),
            false => file.sync_data(),
        };
        if synced.is_err() && planted::is(Bug::LogSyncRetried) {
            synced = file.sync_data();
        }
        if synced.is_err() && planted::is(Bug::LogSyncErrorIgnored) {
            synced = Ok(());
        }
        synced.map_err(|error| self.fatal("sync", &names::log_file(number), error))?;
        add(&self.counters.syncs, 1);
        self.durable.fetch_max(end.0, Ordering::AcqRel);
        Ok(())
    }
}

/// Sees to it that a frame of zeros follows what was written, or the end of the file (W4).
///
/// Where preparation fell behind, this also makes the file longer. Growing by every small flush
/// would make each of them pay for a change of metadata; this pays once for many. A large write
/// pays for itself.
fn clean_ahead(output: &mut Output, segment: &Segment) -> std::io::Result<()> {
    let (to, whole) = (u64::from(segment.end().offset()), u64::from(output.file_bytes));
    let grew = to > output.filled;
    // What is written needs no zeros: `fill_ahead` goes on behind it, also where a flush, padded
    // as it may be, ends with the file.
    output.filled = output.filled.max(to);
    if to == whole || to + FRAME_BYTES as u64 <= output.zeros_until {
        return Ok(());
    }
    let small = segment.bytes.len() < FILL_BYTES as usize;
    let ahead = match (small, grew) {
        (true, true) => FILL_AHEAD_BYTES,
        (true, false) => CLEAN_AHEAD_BYTES,
        (false, _) => CLEAN_BEHIND_BYTES,
    };
    let until = (to + ahead).min(whole);
    fill(&*output.file, to, until)?;
    output.zeros_until = until;
    output.filled = output.filled.max(until);
    Ok(())
}
