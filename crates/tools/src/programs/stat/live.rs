//! The part of `db_stat` that shows a running process: what its owner last published in the home.
//!
//! Owns the lines. Promises to say whose figures they are and how old, and to print none as if
//! they were of now. Must never touch anything but the one file.

use campanile::inspect::{HomeInfo, HomeState};
use campanile::{CacheStats, LiveFigures, LockStats, LogStats, TransactionStats};

use super::time;
use crate::failure::Failure;
use crate::session::Session;

/// Which parts are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    pub(super) locks: bool,
    pub(super) cache: bool,
    pub(super) transactions: bool,
    pub(super) log: bool,
}

impl Parts {
    fn any(self) -> bool {
        self.locks || self.cache || self.transactions || self.log
    }
}

/// Prints them.
pub(super) fn print(
    session: &Session,
    info: &HomeInfo,
    live: Option<&LiveFigures>,
    parts: Parts,
) -> Result<(), Failure> {
    if !parts.any() {
        return Ok(());
    }
    let Some(live) = live else {
        return session.line(format_args!("-\tNo figures of a process were published here"));
    };
    let owner = info.owner.as_ref().filter(|_| info.state == HomeState::Owned);
    let running = owner.is_some_and(|owner| owner.pid == live.pid);
    let whose = if running { "which owns the home" } else { "which owns the home no more" };
    session.line(format_args!(
        "{}\tFigures of process {}, {whose}",
        time(live.written_us),
        live.pid
    ))?;
    if parts.locks {
        rows(session, &locks(&live.stats.locks))?;
        let waiting = live.activity.transactions.iter().filter(|txn| txn.waiting.is_some());
        for txn in waiting {
            session.line(format_args!("{txn}\tWaiting transaction"))?;
        }
    }
    if parts.transactions {
        rows(session, &transactions(&live.stats.transactions))?;
        for txn in &live.activity.transactions {
            session.line(format_args!("{txn}\tActive transaction"))?;
        }
        if let Some(oldest) = live.activity.oldest_snapshot {
            let seconds = oldest.age_us / 1_000_000;
            session.line(format_args!("{seconds}\tAge of the oldest snapshot in seconds"))?;
            session
                .line(format_args!("{}\tChanges from here on are not part of it", oldest.lsn))?;
        }
    }
    if parts.cache {
        rows(session, &cache(&live.stats.cache))?;
    }
    if parts.log {
        rows(session, &log(&live.stats.log))?;
    }
    if parts.log || parts.transactions {
        for hold in &live.activity.log_holds {
            session
                .line(format_args!("{}\tLog is kept from here for {}", hold.lsn, hold.holder))?;
        }
    }
    Ok(())
}

fn rows(session: &Session, rows: &[(u64, &str)]) -> Result<(), Failure> {
    rows.iter().try_for_each(|(value, what)| session.line(format_args!("{value}\t{what}")))
}

fn locks(stats: &LockStats) -> Vec<(u64, &'static str)> {
    vec![
        (stats.locks, "Current locks"),
        (stats.waiting, "Requests waiting now"),
        (stats.requests, "Lock requests"),
        (stats.waits, "Requests that had to wait"),
        (stats.waited_us, "Microseconds spent waiting"),
        (stats.longest_wait_us, "Longest wait in microseconds"),
        (stats.slow_waits, "Waits over the threshold"),
        (stats.timeouts, "Waits that ended by time"),
        (stats.deadlocks, "Deadlocks broken"),
    ]
}

fn transactions(stats: &TransactionStats) -> Vec<(u64, &'static str)> {
    vec![
        (stats.active, "Transactions that have changed something and not ended"),
        (stats.prepared, "Prepared transactions"),
        (stats.begun, "Transactions begun"),
        (stats.committed, "Transactions committed"),
        (stats.merged, "Nested transactions committed into their parent"),
        (stats.aborted, "Transactions rolled back"),
        (stats.checkpoints, "Checkpoints"),
        (stats.snapshots, "Snapshots open"),
        (stats.version_bytes, "Bytes of versions kept for snapshots"),
    ]
}

fn cache(stats: &CacheStats) -> Vec<(u64, &'static str)> {
    vec![
        (stats.frames, "Pages the cache has room for"),
        (stats.dirty_frames, "Dirty pages"),
        (stats.free_frames, "Free places"),
        (stats.requests, "Pages asked for"),
        (stats.page_ins, "Pages read from disk"),
        (stats.evictions, "Pages that had to leave"),
        (stats.pages_written, "Pages written back"),
        (stats.pages_double_written, "Pages written twice against tearing"),
        (stats.foreground_batches, "Times somebody had to write pages before going on"),
    ]
}

fn log(stats: &LogStats) -> Vec<(u64, &'static str)> {
    vec![
        (stats.records, "Records appended"),
        (stats.record_bytes, "Bytes of records"),
        (stats.pads, "Ends of physical blocks given up"),
        (stats.pad_bytes, "Bytes of these"),
        (stats.flushes, "Commits and others that waited for a sync"),
        (stats.groups, "Syncs that answered them"),
        (stats.group_members_max, "Most commits that shared a sync"),
        (stats.syncs, "Syncs of log files"),
        (stats.rotations, "Switches to another log file"),
        (stats.rotations_unprepared, "Switches that had to wait for the file"),
        (stats.files_recycled, "Log files used again"),
    ]
}
