//! The log of an open environment: its parts, and what needs no file of its own.
//!
//! Owns [`Wal`], the value all layers share. Promises that `durable <= written <= end` at all times
//! and that each only grows (W1). Must never start a thread: whoever opened the log calls
//! [`Wal::step`] now and then.
//!
//! Latches, in the order in which one may be taken while holding another: `output`, then
//! `syncing`, `spares`, `files`, `nearby` or `buffer`. Holding one of these five, no other is
//! taken. The mutex of a group is never held together with any of them.

use std::path::PathBuf;

use campanile_format::Lsn;
use campanile_format::frame::LogIdentity;
use campanile_sync::Mutex;
use campanile_sync::atomic::{AtomicU32, AtomicU64, Ordering};
use campanile_vfs::{Host, Poison};

use crate::buffer::Buffer;
use crate::error::WalError;
use crate::group::Group;
use crate::options::{Start, WalOptions};
use crate::read::Files;
use crate::rotate::Output;
use crate::spares::Spares;
use crate::stats::{Counters, WalStats};
use crate::window::Window;

/// The write-ahead log. Shared by all threads of the environment.
#[derive(Debug)]
pub struct Wal {
    pub(crate) host: Host,
    pub(crate) poison: Poison,
    pub(crate) options: WalOptions,
    pub(crate) identity: LogIdentity,
    pub(crate) buffer: Mutex<Buffer>,
    pub(crate) output: Mutex<Output>,
    /// Held over each sync of the log: only one runs at a time, and none after one that failed,
    /// because only the first is told of the failure (W6).
    pub(crate) syncing: Mutex<()>,
    pub(crate) spares: Mutex<Spares>,
    pub(crate) files: Mutex<Files>,
    /// The piece of the log that undo read last. Readers only try for it.
    pub(crate) nearby: Mutex<Option<Window>>,
    pub(crate) group: Group,
    /// `Buffer::end`, to look at without the latch.
    pub(crate) end: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) durable: AtomicU64,
    /// Somebody wants the record here to be durable without waiting for it.
    pub(crate) wanted: AtomicU64,
    /// The latest time given out by `commit_time_us`.
    pub(crate) time_us: AtomicU64,
    /// The end of the log at the last step, to tell whether it is idle.
    pub(crate) end_at_last_step: AtomicU64,
    /// When it was last seen not to be.
    pub(crate) quiet_since_us: AtomicU64,
    /// Stretches where records were cut off, as known when the log was opened: from the end of a
    /// file to the start of the next.
    pub(crate) gaps: Vec<(Lsn, Lsn)>,
    /// Log files from this number on are kept for an archive.
    pub(crate) held_from: AtomicU32,
    pub(crate) counters: Counters,
}

/// What [`Wal::open`] has made ready on disk.
pub(crate) struct Ready {
    pub(crate) output: Output,
    pub(crate) spares: Spares,
    pub(crate) files: Files,
    pub(crate) gaps: Vec<(Lsn, Lsn)>,
}

impl Wal {
    /// Opens the log in `options.dir` for appending.
    ///
    /// On return everything before [`Wal::end`] is durable. A failure leaves a log that can be
    /// opened with the same `start` again (W7).
    pub fn open(
        host: &Host,
        poison: &Poison,
        options: WalOptions,
        start: Start,
    ) -> Result<Wal, WalError> {
        options.check()?;
        poison.check()?;
        let ready = crate::start::make_ready(host, poison, &options, start)?;
        crate::pins::make_lock_file(host, &options.dir);
        let identity = options.identity();
        let held_from = if options.hold_all { 0 } else { u32::MAX };
        let Output { end, file_bytes, .. } = ready.output;
        tracing::debug!(%end, ?start, "log opened");
        Ok(Wal {
            host: host.clone(),
            poison: poison.clone(),
            identity,
            buffer: Mutex::new(Buffer::new(end, file_bytes, &options)),
            options,
            output: Mutex::new(ready.output),
            syncing: Mutex::new(()),
            spares: Mutex::new(ready.spares),
            files: Mutex::new(ready.files),
            nearby: Mutex::new(None),
            group: Group::new(),
            end: AtomicU64::new(end.0),
            written: AtomicU64::new(end.0),
            durable: AtomicU64::new(end.0),
            wanted: AtomicU64::new(0),
            time_us: AtomicU64::new(0),
            end_at_last_step: AtomicU64::new(0),
            quiet_since_us: AtomicU64::new(0),
            gaps: ready.gaps,
            held_from: AtomicU32::new(held_from),
            counters: Counters::default(),
        })
    }

    /// Where the next record will start, or a file ends before it.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(self.end.load(Ordering::Acquire))
    }

    /// Where the log ended, if it has no record at `lsn`: it does not reach so far, or a tail was
    /// cut off there and it goes on in another file. Cuts are known as far back as files are kept.
    #[must_use]
    pub fn ended_before(&self, lsn: Lsn) -> Option<Lsn> {
        let gap = self.gaps.iter().find(|(from, to)| (*from..*to).contains(&lsn));
        let end = gap.map_or_else(|| self.end(), |(from, _)| *from);
        (lsn >= end).then_some(end)
    }

    /// Everything below is handed to the operating system: it survives the death of the process.
    #[must_use]
    pub fn written(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }

    /// Everything below is durable.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// The longest record that can be appended, frame included.
    #[must_use]
    pub fn max_record_bytes(&self) -> usize {
        self.options.max_record_bytes()
    }

    /// The wall clock for a commit record: later than every time given out before, even if the
    /// clock was set back.
    #[must_use]
    pub fn commit_time_us(&self) -> u64 {
        let now = self.host.clock.now_us();
        let next = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self.time_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        now.max(last.unwrap_or_default().saturating_add(1))
    }

    /// From now on commit times are later than `time_us`: what recovery found in the log.
    pub fn commit_times_after(&self, time_us: u64) {
        self.time_us.fetch_max(time_us, Ordering::Relaxed);
        let mut buffer = self.buffer.lock();
        buffer.time_us = buffer.time_us.max(time_us);
    }

    /// What the log did since it was opened.
    #[must_use]
    pub fn stats(&self) -> WalStats {
        let failed = self.spares.lock().failures();
        WalStats { preparations_failed: failed, ..self.counters.snapshot() }
    }

    /// The directory of the log files.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.options.dir.clone()
    }

    /// Returns when no write or sync is under way that began before the call. Once the
    /// environment is poisoned, none follows: the files are nobody's then.
    pub fn await_writers(&self) {
        let _output = self.output.lock();
        let _syncing = self.syncing.lock();
        let _spares = self.spares.lock();
    }

    /// Poisons the environment: `file` failed to take a write or a sync, and nobody knows what is
    /// on the medium now (W6).
    pub(crate) fn fatal(
        &self,
        action: &'static str,
        file: &str,
        error: std::io::Error,
    ) -> WalError {
        fatal(&self.poison, action, file, error)
    }
}

/// See [`Wal::fatal`].
pub(crate) fn fatal(
    poison: &Poison,
    action: &'static str,
    file: &str,
    error: std::io::Error,
) -> WalError {
    tracing::error!(action, file, %error, "the log cannot go on");
    if !campanile_format::planted::is(campanile_format::planted::Bug::PoisonForgotten) {
        poison.strike(format!("a failed {action} of {file}: {error}"));
    }
    WalError::io(action, file, error)
}
