//! Proof that the tests can fail: bugs of the kind that real engines had are switched on one at a
//! time, and the crash explorer, the write-order monitor or the error sweep must notice each.
//!
//! Only with `--features planted-bugs`; the switches do not exist in any other build.
#![cfg(feature = "planted-bugs")]

use campanile_format::planted::{self, Bug};
use campanile_tests::explore::{Effort, explore, explore_story};
use campanile_tests::life::{spread, tiny};
use campanile_tests::script::{Cast, script};
use campanile_tests::sweep::{Demand, sweep, sweep_recovery};
use campanile_tests::workload::Shape;
use campanile_vfs::sim::{Errno, Fault, FaultRule, SyncFailure, Trigger};

/// Programs tried before a bug counts as missed.
const SEEDS: u64 = 60;

const EFFORT: Effort = Effort {
    states: 300,
    depth: 2,
    torn_sectors: false,
    collateral: false,
    sector_bytes: 512,
    adversary: false,
    stop_early: true,
};

/// Bugs that show in a crash: exploring finds a state that the oracle does not permit, or the
/// monitor sees the order broken on the way.
const SHOWN_BY_CRASHES: &[Bug] = &[
    Bug::LogSyncSkipped,
    Bug::LogDirectorySyncSkipped,
    Bug::AcknowledgedBeforeDurable,
    Bug::LogRecycledOneTooEarly,
    Bug::AppendAfterTornTail,
    Bug::FrameChecksumIgnored,
    Bug::PageWrittenBeforeLog,
    Bug::DoubleWriteSkipped,
    Bug::DoubleWriteNotSynced,
    Bug::DataSyncSkippedBeforeCheckpoint,
    Bug::CheckpointRedoTooHigh,
    Bug::ControlBeforeCheckpoint,
    Bug::ControlSlotsTogether,
    Bug::RedoWithoutStamp,
    Bug::RedoIgnoresPageLsn,
    Bug::UndoSkipped,
    Bug::CompensationSkipped,
    Bug::UndoNextWrong,
    Bug::AllocationNotUndone,
    Bug::SplitWithoutParent,
    Bug::OverflowFreedEarly,
    Bug::GhostPurgedEarly,
    Bug::FileRemovedBeforeCommit,
];

/// Bugs that need several sessions, children or prepared transactions to show.
const SHOWN_BY_SESSIONS: &[Bug] = &[
    Bug::OneLoserUndone,
    Bug::MergedChildUndone,
    Bug::MergedChildNotUndone,
    Bug::PreparedRolledBack,
    Bug::PreparedTakenForCommitted,
    Bug::PreparedLocksForgotten,
    Bug::UndoNextWrong,
    Bug::CompensationSkipped,
];

// Not here: CleanBeforeSync and FollowerWokenEarly need a second thread between two steps; the
// tests of `pagestore` and of `wal` catch them.

/// Bugs in how failing calls are treated: the error sweep finds them.
const SHOWN_BY_ERRORS: &[Bug] = &[
    Bug::LogSyncErrorIgnored,
    Bug::LogSyncRetried,
    Bug::PageWriteErrorIgnored,
    Bug::PoisonForgotten,
    Bug::ReadErrorTakenForEnd,
];

fn found_by_crashes(seeds: u64) -> Option<String> {
    for seed in 0..seeds {
        let torn = Effort { torn_sectors: seed % 2 == 1, ..EFFORT };
        let shape = match seed % 3 {
            0 => Shape { catalog: false, volatile: false, relaxed: false, ..Shape::mixed(200) },
            _ => Shape::mixed(90),
        };
        let tally = explore(seed, shape, &tiny(), torn);
        if let Some(violation) = tally.violations.first() {
            return Some(format!("program {seed}, {} states: {violation}", tally.states));
        }
    }
    None
}

fn found_by_sessions(seeds: u64) -> Option<String> {
    for seed in 0..seeds {
        let effort = Effort { states: 150, torn_sectors: seed % 2 == 1, ..EFFORT };
        let cast = Cast { sessions: 1 + seed as usize % 4, ..Cast::full(30) };
        let tally = explore_story(seed, &script(seed, cast), &tiny(), effort);
        if let Some(violation) = tally.violations.first() {
            return Some(format!("script {seed}, {} states: {violation}", tally.states));
        }
    }
    None
}

fn found_by_errors(seeds: u64) -> Option<String> {
    let faults = [
        ("failed sync", Fault::SyncFails(SyncFailure::CacheKeepsNew)),
        ("reverting sync", Fault::SyncFails(SyncFailure::CacheReverts)),
        ("failed write", Fault::WriteFails(Errno::Eio)),
        ("failed read", Fault::ReadFails),
    ];
    for seed in 0..seeds.div_ceil(10) {
        let rule = |call| FaultRule::new(Fault::ReadFails, Trigger::Call(call));
        let tally =
            sweep_recovery(seed, Shape::mixed(90), &tiny(), 1, "failed read", Demand::All, rule);
        if let Some(violation) = tally.violations.first() {
            return Some(format!("{} recoveries: {violation}", tally.runs));
        }
        for (name, fault) in faults {
            let rule = |call| FaultRule::new(fault, Trigger::Call(call));
            let tally = sweep(seed, Shape::mixed(60), &tiny(), 5, name, Demand::All, rule);
            if let Some(violation) = tally.violations.first() {
                return Some(format!("{} runs: {violation}", tally.runs));
            }
        }
    }
    None
}

fn each_is_found(bugs: &[Bug], search: fn(u64) -> Option<String>) {
    // Without a bug the same search finds nothing: what is found below is the bug's doing.
    assert_eq!(search(4), None, "something is wrong without any planted bug");
    // A bug may break the engine anywhere; what it prints on the way is of no interest.
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for bug in bugs {
        let (found, fired) = planted::with(*bug, || (search(SEEDS), planted::fired()));
        match found {
            Some(how) => println!("{}: caught, {how}", bug.name()),
            None => missed.push(format!("{} (fired {fired} times)", bug.name())),
        }
    }
    let _ = std::panic::take_hook();
    println!("{} of {} planted bugs caught", bugs.len() - missed.len(), bugs.len());
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

fn found_in_directories(seeds: u64) -> Option<String> {
    for seed in 0..seeds {
        let tally = explore(seed, Shape::mixed(90), &spread(), EFFORT);
        if let Some(violation) = tally.violations.first() {
            return Some(format!("program {seed}, {} states: {violation}", tally.states));
        }
    }
    None
}

#[test]
fn the_planted_bug_in_other_directories_is_caught() {
    each_is_found(&[Bug::OtherDirectoryNotSynced], found_in_directories);
}

#[test]
fn every_planted_bug_that_shows_in_a_crash_is_caught() {
    each_is_found(SHOWN_BY_CRASHES, found_by_crashes);
}

#[test]
fn every_planted_bug_that_several_transactions_show_is_caught() {
    each_is_found(SHOWN_BY_SESSIONS, found_by_sessions);
}

#[test]
fn every_planted_bug_in_error_handling_is_caught() {
    each_is_found(SHOWN_BY_ERRORS, found_by_errors);
}
