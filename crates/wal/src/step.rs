//! Background work, one small piece at a time.
//!
//! Owns [`Wal::step`] and the order of its chores. Promises that an idle log ends up durable, says
//! so, and then needs nothing more. Must never hold up a commit for longer than one small write
//! and its sync.

use std::sync::Arc;

use campanile_format::{Lsn, names};
use campanile_sync::atomic::Ordering;
use campanile_vfs::Background;

use crate::append::durable_record;
use crate::error::WalError;
use crate::spares::{FILL_AHEAD_BYTES, FILL_BYTES, fill};
use crate::stats::add;
use crate::wal::Wal;

/// A log is idle when nothing was appended for this long, where threads work in the background.
const IDLE_US: u64 = 20_000;

impl Wal {
    /// Does one piece of background work: makes durable what somebody wants, fills the present
    /// file and the next ones with zeros ahead of the log, gives disk space back, and, if nothing
    /// was appended since the call before, makes the log durable and lets it say so. True if
    /// something was done.
    ///
    /// With threads, one of them calls this every few milliseconds, and again at once as long as
    /// it answers true.
    pub fn step(&self) -> Result<bool, WalError> {
        self.poison.check()?;
        let wanted = Lsn(self.wanted.load(Ordering::Relaxed));
        if !wanted.is_none() && self.durable() <= wanted {
            self.flush(wanted)?;
            return Ok(true);
        }
        if self.fill_ahead()? {
            return Ok(true);
        }
        let filled = self.buffer.lock().filled();
        if self.spares.lock().step(filled)? {
            return Ok(true);
        }
        self.settle()
    }

    /// Fills the present file a little further ahead of the log.
    fn fill_ahead(&self) -> Result<bool, WalError> {
        let (file, number) = {
            let mut output = self.output.lock();
            self.poison.check()?;
            let written = u64::from(output.end.offset());
            assert!(output.filled >= written, "W4: zeros go behind what is written");
            let ahead = u64::from(output.end.offset()) + FILL_AHEAD_BYTES;
            let until = ahead.min(output.file_bytes.into());
            if output.filled >= until {
                return Ok(false);
            }
            let to = until.min(output.filled + FILL_BYTES);
            let name = || names::log_file(output.number);
            fill(&*output.file, output.filled, to)
                .map_err(|error| self.fatal("write", &name(), error))?;
            if output.zeros_until >= output.filled {
                output.zeros_until = to;
            }
            output.filled = to;
            (Arc::clone(&output.file), output.number)
        };
        let _turn = self.syncing.lock();
        self.poison.check()?;
        let synced = file.sync_data();
        synced.map_err(|error| self.fatal("sync", &names::log_file(number), error))?;
        Ok(true)
    }

    /// Brings an idle log to rest.
    fn settle(&self) -> Result<bool, WalError> {
        let (end, now_us) = (self.end(), self.host.clock.monotonic_us());
        if self.end_at_last_step.swap(end.0, Ordering::Relaxed) != end.0 {
            self.quiet_since_us.store(now_us, Ordering::Relaxed);
            return Ok(false);
        }
        if self.durable() < end {
            self.flush(end)?;
            self.end_at_last_step.store(self.end().0, Ordering::Relaxed);
            return Ok(true);
        }
        // A statement costs a sync; commits that come one by one bring their own.
        let quiet_us = now_us.saturating_sub(self.quiet_since_us.load(Ordering::Relaxed));
        let soon = self.host.background == Background::Threads && quiet_us < IDLE_US;
        if soon || !self.owes_claim() {
            return Ok(false);
        }
        let lsn = self.append(&durable_record(self.durable()))?;
        add(&self.counters.durable_records, 1);
        self.flush(lsn)?;
        self.end_at_last_step.store(self.end().0, Ordering::Relaxed);
        Ok(true)
    }
}
