//! Normal recovery: the phases, in order.
//!
//! Owns: [`recover`]. Promises: read, decide, then write; every phase may be cut short by a crash
//! and done again (R2). Must never: give out an environment before the losers are undone and a
//! checkpoint says so.

use std::path::Path;
use std::sync::Arc;

use campanile_format::control::Control;
use campanile_format::planted::{self, Bug};
use campanile_format::{FileId, TxnId};
use campanile_pagestore::PageStore;
use campanile_txn::{CheckpointKind, Transactions};
use campanile_vfs::Clock;
use campanile_wal::ControlFile;

use crate::error::RecoveryError;
use crate::open::{Opened, Opening};
use crate::plan::Plan;
use crate::progress::{Phase, Progress, Pulse};
use crate::replay::{Replay, replay};
use crate::report::{Outcome, PhaseTime, RecoveryReport, UndoCounts};

/// Brings the environment back.
pub(crate) fn recover(
    opening: &Opening<'_>,
    control: Control,
    reason: &str,
    pulse: &mut Pulse<'_>,
) -> Result<Opened, RecoveryError> {
    let mut watch = Watch::start(&*opening.host.clock);
    let plan = Arc::new(Plan::read(opening.host, opening.home, control, pulse)?);
    let mut report = plan.describe(reason);
    watch.lap(Phase::Analysis);
    tracing::info!(reason, redo = %plan.redo, end = %plan.end.end, "recovering");

    // The name of the control file may be in a cache only, from a creation that died with its
    // process: a log that goes on, or a data file, without it would be the remains of a home.
    sync_names(opening, &[opening.home])?;
    // The first write: the log goes on in a new file. What was read of the old tail is durable
    // now, so pages that show it may be written back.
    let wal = Arc::new(opening.wal(&plan.control, plan.end.start())?);
    wal.commit_times_after(plan.end.last_time_us.max(plan.control.time_us));
    let store = opening.store(&wal, &plan.control)?;
    pulse.report(plan.progress(Phase::Repair, plan.redo))?;
    report.torn_pages_repaired = store.repair_torn_pages(plan.redo)?.repaired.len() as u64;
    watch.lap(Phase::Repair);

    report.replay = replay(&plan, &store, shares(opening, &store), pulse)?;
    watch.lap(Phase::Redo);

    let (control_file, control) = ControlFile::open(opening.host, &opening.poison, opening.home)?;
    let control = Control { redo: plan.redo, ..next_numbers(&plan, &store, control, &mut report)? };
    let transactions = opening.wire(wal, store, control_file, control);
    undo(&plan, &transactions, &mut report, pulse)?;
    report.files_emptied = empty_volatile_files(&transactions)?;
    watch.lap(Phase::Undo);

    pulse.report(plan.progress(Phase::Checkpoint, plan.end.end))?;
    transactions.store().sync_data_dirs()?;
    sync_names(opening, &[opening.home])?;
    transactions.checkpoint(CheckpointKind::Full)?;
    watch.lap(Phase::Checkpoint);
    watch.finish(&mut report);
    report.outcome = Outcome::Recovered;
    tracing::info!(
        us = report.total_us(),
        records = report.records,
        undone = report.undo.transactions,
        "recovered"
    );
    Ok(Opened { transactions, report })
}

/// What the directories show may be in a cache only, from before the crash: names of files that
/// were being made or removed are durable before the log lets go of the records that say so.
fn sync_names(opening: &Opening<'_>, dirs: &[&Path]) -> Result<(), RecoveryError> {
    for dir in dirs {
        opening.host.vfs.sync_dir(dir).map_err(|source| RecoveryError::Io {
            action: "sync",
            path: dir.display().to_string(),
            source,
        })?;
    }
    Ok(())
}

/// A share holds a page while it reads it: with more shares than a part of the cache, some would
/// find no room.
fn shares(opening: &Opening<'_>, store: &PageStore) -> Replay {
    let Replay { shares, threads } = opening.options.replay;
    let frames = opening.options.store.cache_bytes / store.page_bytes();
    let most = u32::try_from(frames / FRAMES_PER_SHARE).unwrap_or(u32::MAX).max(1);
    Replay { shares: shares.min(most), threads }
}

/// Frames of the cache for each share at least.
const FRAMES_PER_SHARE: usize = 4;

/// The numbers that were never given out. Data files beyond them are not ours to touch, and their
/// numbers not ours to use.
fn next_numbers(
    plan: &Plan,
    store: &PageStore,
    control: Control,
    report: &mut RecoveryReport,
) -> Result<Control, RecoveryError> {
    let next_txn = plan.analysis.next_txn.max(control.next_txn).max(TxnId(1));
    let mut next_file = plan.analysis.next_file.max(control.next_file).max(FileId::MIN_USER);
    for file in store.files()? {
        if file >= next_file {
            report.unknown_files.push(file.0);
            report.warnings.push(format!("data file {file} is unknown and was left alone"));
        }
    }
    if let Some(highest) = report.unknown_files.iter().max() {
        next_file = next_file.max(FileId(highest.saturating_add(1)));
    }
    Ok(Control { next_txn, next_file, ..control })
}

/// Rolls back who was running, by the code that every abort runs; keeps who is prepared.
fn undo(
    plan: &Plan,
    transactions: &Transactions,
    report: &mut RecoveryReport,
    pulse: &mut Pulse<'_>,
) -> Result<(), RecoveryError> {
    for (entry, _) in plan.analysis.prepared() {
        transactions.keep_prepared(entry)?;
    }
    let losers = plan.analysis.losers();
    let total = losers.len() as u64;
    // All are listed before the first is undone: what one undo frees, no other may count settled.
    let losers: Vec<_> =
        losers.iter().map(|loser| transactions.resume(&loser.entry, loser.within)).collect();
    for (done, loser) in (0..).zip(losers) {
        if done > 0 && planted::is(Bug::OneLoserUndone) {
            continue;
        }
        pulse.report(Progress { phase: Phase::Undo, at: loser.last_lsn(), done, total })?;
        transactions.abort(loser)?;
    }
    let stats = transactions.stats();
    report.undo = UndoCounts {
        transactions: total,
        entries: stats.undone_entries,
        extents: stats.undone_extents,
        files: stats.undone_files,
    };
    Ok(())
}

/// Files that are not durable come back empty: nobody knows what a crash left in them.
fn empty_volatile_files(transactions: &Transactions) -> Result<u64, RecoveryError> {
    let mut emptied = 0;
    for file in transactions.store().files()? {
        if file < transactions.next_file() && !transactions.is_durable(file)? {
            transactions.reset_volatile_file(file)?;
            emptied += 1;
        }
    }
    Ok(emptied)
}

/// Measures the phases.
struct Watch<'c> {
    clock: &'c dyn Clock,
    at: u64,
    laps: Vec<PhaseTime>,
}

impl<'c> Watch<'c> {
    fn start(clock: &'c dyn Clock) -> Watch<'c> {
        Watch { clock, at: clock.monotonic_us(), laps: Vec::new() }
    }

    fn lap(&mut self, phase: Phase) {
        let now = self.clock.monotonic_us();
        self.laps.push(PhaseTime { phase, us: now.saturating_sub(self.at) });
        self.at = now;
    }

    fn finish(self, report: &mut RecoveryReport) {
        report.phases = self.laps;
        let us = report.phase_us(Phase::Redo).max(1);
        report.replay_mb_per_s = report.log_bytes as f64 / us as f64;
    }
}
