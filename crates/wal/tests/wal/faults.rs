//! Calls that fail: each one, once and from then on.
//!
//! Whatever fails, the log either did what it was asked or says that it did not; a failed write or
//! sync poisons; nothing acknowledged is lost; and an error while reading is an error, never an
//! answer.

use std::sync::Arc;

use campanile_format::Lsn;
use campanile_vfs::sim::{
    CrashChoice, Errno, Fault, FaultPlan, SimDisk, SimOptions, SyncFailure, Trigger,
};
use campanile_vfs::{CallKind, Poison};
use campanile_wal::{Start, Wal, WalError, find_end};

use super::records::*;

/// What became of a run of the script.
struct Outcome {
    disk: Arc<SimDisk>,
    poison: Poison,
    records: Vec<(Lsn, Vec<u8>)>,
    flushed: usize,
    error: Option<WalError>,
}

/// Appends, flushes, switches files, recycles, until the end or an error.
fn script(disk: Arc<SimDisk>, poison: &Poison, wal: &Wal) -> Outcome {
    let mut outcome =
        Outcome { disk, poison: poison.clone(), records: Vec::new(), flushed: 0, error: None };
    for number in 0..24 {
        if let Err(error) = act(wal, number, &mut outcome) {
            outcome.error = Some(error);
            break;
        }
    }
    outcome
}

fn act(wal: &Wal, number: u64, outcome: &mut Outcome) -> Result<(), WalError> {
    let content = content(number, 100 + (number as usize * 97) % 600);
    let lsn = wal.append(&record(&content))?;
    outcome.records.push((lsn, content));
    match number % 6 {
        1 | 3 => {
            wal.flush(lsn)?;
            outcome.flushed = outcome.records.len();
        }
        2 => wal.write(lsn)?,
        4 => {
            wal.step()?;
        }
        5 if number > 12 => {
            wal.recycle_below(outcome.records[1].0)?;
        }
        _ => {}
    }
    Ok(())
}

/// A fresh log under the script, with faults from then on.
fn run(plan: FaultPlan) -> Outcome {
    let disk = disk(SimOptions::new(5));
    let poison = Poison::new();
    let wal = Wal::open(&disk.host(), &poison, options(4096, 700), Start::New).unwrap();
    disk.log_calls(true);
    disk.faults(plan);
    script(disk, &poison, &wal)
}

/// How many calls the script makes.
fn calls() -> (u64, u64) {
    let disk = disk(SimOptions::new(5));
    let poison = Poison::new();
    let wal = Wal::open(&disk.host(), &poison, options(4096, 700), Start::New).unwrap();
    let first = disk.calls();
    let outcome = script(Arc::clone(&disk), &poison, &wal);
    assert!(outcome.error.is_none());
    (first, disk.calls())
}

/// After a failure: the process is gone, later the power too; what was flushed is there, and what
/// was read in between stays.
fn holds(outcome: &Outcome, what: &str) {
    let disk = outcome.disk.reboot(CrashChoice::ProcessCrash);
    let Outcome { records, flushed, .. } = outcome;
    let found = |disk: &Arc<SimDisk>| {
        let logs = log_set(&disk.host()).unwrap();
        let end =
            find_end(&logs, FIRST, Lsn::NONE).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = scan(&logs, FIRST, end.end).unwrap();
        assert!(found.len() >= *flushed, "{what}: {} of {flushed}", found.len());
        assert_eq!(found, records[..found.len()], "{what}");
        (end, found.len())
    };
    let (end, count) = found(&disk);
    reopen(&disk.host(), &options(4096, 700), end.start()).unwrap();
    let (_, after) = found(&disk.reboot(CrashChoice::Nothing));
    assert_eq!(after, count, "{what}: relied on, and lost");
    found(&outcome.disk.reboot(CrashChoice::Nothing));
}

#[test]
pub fn any_call_may_fail() {
    let (first, end) = calls();
    assert!(end - first > 40, "{}", end - first);
    let mut failures = 0;
    for errno in Errno::ALL {
        for call in first..end {
            for trigger in [Trigger::Call(call), Trigger::FromCall(call)] {
                let outcome = run(FaultPlan::one(Fault::Any(errno), trigger));
                let what = format!("{errno} {trigger:?}");
                if let Some(error) = &outcome.error {
                    failures += 1;
                    let io = matches!(error, WalError::Io { .. } | WalError::Poisoned(_));
                    assert!(io, "{what}: {error}");
                    check_poison(&outcome, &what);
                }
                outcome.disk.faults(FaultPlan::none());
                holds(&outcome, &what);
            }
        }
    }
    assert!(failures > 300, "{failures}");
}

fn looks(kind: CallKind) -> bool {
    kind.only_looks() || kind == CallKind::Open
}

/// After a failed write or sync there are no more, and the flag says so.
fn check_poison(outcome: &Outcome, what: &str) {
    let calls = outcome.disk.calls_log();
    let fatal = calls.iter().position(|call| {
        let log = call.path.to_string_lossy().contains("/log.");
        let interrupted = call.failed == Some(std::io::ErrorKind::Interrupted);
        let write = log && call.kind == CallKind::Write && !interrupted;
        call.failed.is_some() && (write || call.kind.is_sync())
    });
    let Some(fatal) = fatal else { return };
    assert!(outcome.poison.is_poisoned(), "{what}: {:?}", calls[fatal]);
    let later = calls[fatal + 1..].iter();
    let writes: Vec<_> = later.filter(|call| !looks(call.kind)).collect();
    assert!(writes.is_empty(), "{what}: after {:?} still {writes:?}", calls[fatal]);
}

#[test]
pub fn w6_a_failed_sync_is_the_last_whatever_it_left_behind() {
    let failures =
        [SyncFailure::CacheKeepsNew, SyncFailure::CacheReverts, SyncFailure::DataDurable];
    let mut struck = 0;
    for failure in failures {
        for nth in 0..40 {
            let outcome = run(FaultPlan::one(Fault::SyncFails(failure), Trigger::Nth(nth)));
            let what = format!("{failure:?} {nth}");
            if outcome.error.is_some() {
                struck += 1;
                assert!(outcome.poison.is_poisoned(), "{what}");
                check_poison(&outcome, &what);
            }
            outcome.disk.faults(FaultPlan::none());
            holds(&outcome, &what);
            outcome.disk.drop_caches();
            holds(&outcome, &what);
        }
    }
    assert!(struck > 30, "{struck}");
}

#[test]
fn short_writes_and_reads_change_nothing() {
    for fault in [Fault::ShortWrite, Fault::ShortRead] {
        let outcome = run(FaultPlan::one(fault, Trigger::OneIn(2)));
        assert!(outcome.error.is_none());
        assert_eq!(outcome.records.len(), 24);
        holds(&outcome, "short");
    }
}

#[test]
fn a_full_disk_ends_the_log_only_when_it_needs_more() {
    // Preparing files ahead may fail without harm; the file in use already has its space.
    let disk = disk(SimOptions::new(5));
    let poison = Poison::new();
    let wal = Wal::open(&disk.host(), &poison, options(4096, 700), Start::New).unwrap();
    disk.faults(
        FaultPlan::none().and(
            campanile_vfs::sim::FaultRule::new(Fault::WriteFails(Errno::Enospc), Trigger::Always)
                .on("*/spare.*"),
        ),
    );
    let mut flushed = 0;
    let error = loop {
        while matches!(wal.step(), Ok(true)) {}
        let lsn = wal.append(&record(&content(flushed, 300))).unwrap();
        match wal.flush(lsn) {
            Ok(()) => flushed += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(flushed, 7, "a file full: each takes a block");
    assert!(error.to_string().contains("spare."), "{error}");
    assert!(poison.is_poisoned());
    assert_eq!(wal.stats().preparations_failed, 1);
}

#[test]
pub fn an_error_while_reading_is_never_an_answer() {
    let outcome = run(FaultPlan::none());
    let disk = &outcome.disk;
    let logs = log_set(&disk.host()).unwrap();
    let right = find_end(&logs, FIRST, Lsn::NONE).unwrap();
    let faults = [
        Fault::ReadFails,
        Fault::EarlyEnd,
        Fault::MetadataFails,
        Fault::Any(Errno::Eio),
        Fault::LatentSector,
    ];
    let mut errors = 0;
    for fault in faults {
        for nth in 0..60 {
            let disk = disk.fork();
            disk.faults(FaultPlan::one(fault, Trigger::Nth(nth)));
            let logs = match log_set(&disk.host()) {
                Ok(logs) => logs,
                Err(error) => {
                    assert!(matches!(error, WalError::Io { .. }), "{fault:?} {nth}: {error}");
                    errors += 1;
                    continue;
                }
            };
            match find_end(&logs, FIRST, Lsn::NONE) {
                Ok(end) => assert_eq!(end, right, "{fault:?} {nth}"),
                Err(error) => {
                    assert!(matches!(error, WalError::Io { .. }), "{fault:?} {nth}: {error}");
                    errors += 1;
                }
            }
        }
    }
    assert!(errors > 40, "{errors}");
}

#[test]
fn opening_may_fail_at_any_call_and_be_done_again() {
    let before = run(FaultPlan::none());
    let disk = before.disk.reboot(CrashChoice::ProcessCrash);
    let logs = log_set(&disk.host()).unwrap();
    let end = find_end(&logs, FIRST, Lsn::NONE).unwrap();
    let count = scan(&logs, FIRST, end.end).unwrap().len();
    let mut failures = 0;
    for call in 0..60 {
        for errno in [Errno::Eio, Errno::Enospc] {
            let disk = disk.fork();
            let first = disk.calls();
            disk.faults(FaultPlan::one(Fault::Any(errno), Trigger::Call(first + call)));
            let opened = reopen(&disk.host(), &options(4096, 700), end.start());
            disk.faults(FaultPlan::none());
            if opened.is_err() {
                failures += 1;
                let logs = log_set(&disk.host()).unwrap();
                let again = find_end(&logs, FIRST, Lsn::NONE).unwrap();
                reopen(&disk.host(), &options(4096, 700), again.start()).unwrap();
            }
            let disk = disk.reboot(CrashChoice::Nothing);
            let logs = log_set(&disk.host()).unwrap();
            let end = find_end(&logs, FIRST, Lsn::NONE).unwrap();
            let found = scan(&logs, FIRST, end.end).unwrap();
            assert_eq!(found, before.records[..count], "call {call}");
        }
    }
    assert!(failures > 20, "{failures}");
}
