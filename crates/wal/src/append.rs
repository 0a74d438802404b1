//! Taking records in.
//!
//! Owns the way of a record from its caller into the buffer. Promises that encoding and checksum
//! happen outside the latch, that a record too long for a file is refused by name before anything
//! changes (W3), and that times in the log never go back. Must never do I/O unless the buffer is
//! full.

use std::cell::Cell;

use campanile_format::record::{Body, Checkpoint, Record};
use campanile_format::{Lsn, TxnId};
use campanile_sync::atomic::Ordering;

use crate::buffer::Buffer;
use crate::error::WalError;
use crate::flush::Ending;
use crate::stats::add;
use crate::wal::Wal;

/// Longest frame whose memory a thread keeps for the next one.
const KEEP_BYTES: usize = 1 << 20;

thread_local! {
    static FRAME: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Wal {
    /// Appends a record, in memory; returns where it starts.
    ///
    /// If the record carries a time earlier than one already in the log, it is logged with that
    /// one: times in the log never go back.
    ///
    /// # Panics
    /// If the record claims more of the log to be durable than is: that would turn a torn tail
    /// into damage.
    pub fn append(&self, record: &Record<'_>) -> Result<Lsn, WalError> {
        self.poison.check()?;
        let claim = record.proves_durable().unwrap_or(Lsn::NONE);
        assert!(claim <= self.durable(), "a record claims {claim} durable, {}", self.durable());
        let mut frame = FRAME.take();
        frame.clear();
        record.encode(&mut frame);
        let placed = self.place(record, &mut frame);
        if frame.capacity() <= KEEP_BYTES {
            FRAME.set(frame);
        }
        let (lsn, pending_bytes) = placed?;
        let early = self.host.adversary.strikes("write the log out early");
        let limit = if early { 1 } else { self.options.buffer_bytes };
        if pending_bytes >= limit {
            self.relieve(pending_bytes, limit)?;
        }
        Ok(lsn)
    }

    /// Puts an encoded record at the end; returns where it starts and how much waits in memory.
    fn place(&self, record: &Record<'_>, frame: &mut Vec<u8>) -> Result<(Lsn, usize), WalError> {
        let (bytes, max) = (frame.len(), self.max_record_bytes());
        if bytes > max {
            return Err(WalError::RecordTooLarge { bytes, max });
        }
        let mut time_us = record.time_us();
        loop {
            let mut buffer = self.buffer.lock();
            let latest = buffer.time_us;
            if time_us.is_some_and(|time_us| time_us < latest) {
                // Another thread's later time was quicker. Rare, and worth a second checksum.
                drop(buffer);
                frame.clear();
                dated(record, latest).encode(frame);
                time_us = Some(latest);
                continue;
            }
            buffer.time_us = latest.max(time_us.unwrap_or_default());
            if self.host.adversary.strikes("switch log files early") {
                buffer.next_file();
            }
            let lsn = self.take_in(&mut buffer, frame);
            if let Some(claim) = record.proves_durable() {
                buffer.claimed = buffer.claimed.max(claim);
            }
            if !matches!(record.body, Body::Durable { .. }) {
                buffer.news = buffer.end();
            }
            return Ok((lsn, buffer.pending_bytes()));
        }
    }

    fn take_in(&self, buffer: &mut Buffer, frame: &mut [u8]) -> Lsn {
        let lsn = buffer.place(frame);
        self.end.store(buffer.end().0, Ordering::Release);
        add(&self.counters.records, 1);
        add(&self.counters.record_bytes, frame.len() as u64);
        lsn
    }

    /// Lets a flush state what is durable so far, if nothing in the log does yet: should a record
    /// before that ever be found damaged, it is known not to be the tail.
    ///
    /// A statement is worth a few bytes, not a new file: where it does not fit, the header of the
    /// next file will say the same.
    pub(crate) fn claim_in_passing(&self) {
        let durable = self.durable();
        let mut buffer = self.buffer.lock();
        if buffer.claimed >= durable || buffer.pending_bytes() == 0 {
            return;
        }
        let mut frame = Vec::new();
        durable_record(durable).encode(&mut frame);
        if buffer.fits(frame.len()) {
            self.take_in(&mut buffer, &mut frame);
            buffer.claimed = durable;
            add(&self.counters.durable_records, 1);
        }
    }

    /// Whether the log holds records that nothing in the log says to be durable.
    pub(crate) fn owes_claim(&self) -> bool {
        let buffer = self.buffer.lock();
        buffer.claimed < buffer.news
    }

    /// The buffer is full: whoever notices writes it out. If another thread is writing, appending
    /// goes on until twice as much waits.
    fn relieve(&self, pending_bytes: usize, limit: usize) -> Result<(), WalError> {
        let mut output = match self.output.try_lock() {
            Some(output) => output,
            None if pending_bytes < limit.saturating_mul(2) => return Ok(()),
            None => self.output.lock(),
        };
        if self.buffer.lock().pending_bytes() < limit {
            return Ok(());
        }
        add(&self.counters.buffer_full, 1);
        self.write_out(&mut output, Ending::Anywhere)?;
        self.write_out_lazily(output);
        Ok(())
    }
}

/// A statement that everything before `durable` is durable.
pub(crate) fn durable_record(durable: Lsn) -> Record<'static> {
    Record { txn: TxnId::SYSTEM, prev: Lsn::NONE, body: Body::Durable { durable } }
}

/// The record with another time.
fn dated<'a>(record: &Record<'a>, time_us: u64) -> Record<'a> {
    let body = match record.body.clone() {
        Body::Commit { durable, .. } => Body::Commit { time_us, durable },
        Body::Prepare { gid, .. } => Body::Prepare { gid, time_us },
        Body::RestorePoint { name, .. } => Body::RestorePoint { name, time_us },
        Body::Checkpoint(checkpoint) => Body::Checkpoint(Checkpoint { time_us, ..checkpoint }),
        timeless => timeless,
    };
    Record { txn: record.txn, prev: record.prev, body }
}
