//! Proof that the tests of isolation can fail: bugs of concurrency are switched on one at a time,
//! in all threads of a flock, and a judge must notice each. The same search is silent without them.

use crate::crashes;
use crate::flocks::{Tally, small};
use crate::script::{Schedule, environment};
use crate::{hermitage, phantoms, stability};
use campanile_format::planted::{self, Bug};
use campanile_tests::flock::{self, Plan};
use campanile_tests::history::Level;
use std::time::Duration;

/// Histories tried before a bug counts as missed.
const SEEDS: u64 = 60;

/// Bugs that schedules show, step by step.
const SHOWN_BY_SCHEDULES: &[Bug] =
    &[Bug::NextKeyLockMissing, Bug::VictimKeepsLock, Bug::GhostPurgedUnderSnapshot];

/// Bugs that need threads in the wrong moment: flocks find them.
const SHOWN_BY_FLOCKS: &[Bug] = &[
    Bug::NextKeyLockMissing,
    Bug::VictimKeepsLock,
    Bug::LocksReleasedBeforeCommit,
    Bug::SnapshotClockEarly,
    Bug::SnapshotNotRegistered,
    Bug::VersionsForgottenBeforeUndo,
];

/// Bugs that need a crash as well. Not here: FollowerWokenEarly, for which no crash has come just
/// between two instructions yet (the tests of `wal` catch it), and those of prepared transactions
/// (`tests/planted` catches them, with a crash at every call).
const SHOWN_BY_CRASHED_FLOCKS: &[Bug] = &[Bug::AllocationNotLogged];

const MIXED: &[(Level, u64)] =
    &[(Level::Serializable, 2), (Level::ReadCommitted, 1), (Level::Snapshot, 2)];

fn schedules(_: u64) -> Option<String> {
    let all = [hermitage::ALL, stability::ALL, phantoms::ALL].concat();
    let mut differences = all.into_iter().flatten().flat_map(Schedule::differences);
    differences.next()
}

fn flocks(seeds: u64) -> Option<String> {
    for seed in 0..seeds {
        let plan = match seed % 3 {
            0 => Plan::at(seed, MIXED),
            _ => Plan::new(seed),
        };
        // A lock that is kept for good shows as a wait without end: no need to wait long.
        let env = environment(small().lock_timeout(Some(Duration::from_secs(2))));
        let (history, record) = flock::run(&env, &plan);
        let wrong = Tally::default().judge(&history, &record, false);
        if let Some(first) = wrong.first() {
            return Some(format!("history {seed}: {first}"));
        }
    }
    None
}

fn crashed_flocks(seeds: u64) -> Option<String> {
    (0..seeds).find_map(|seed| {
        let wrong = crashes::judge(seed, &mut Tally::default(), false);
        wrong.first().map(|first| format!("history {seed}: {first}"))
    })
}

fn each_is_found(bugs: &[Bug], search: fn(u64) -> Option<String>, silent: u64) {
    // Without a bug the same search finds nothing: what is found below is the bug's doing.
    assert_eq!(search(silent), None, "something is wrong without any planted bug");
    let mut missed = Vec::new();
    for bug in bugs {
        let (found, fired) = planted::with(*bug, || (search(SEEDS), planted::fired()));
        match found {
            Some(how) => println!("{}: caught, {how:.300}", bug.name()),
            None => missed.push(format!("{} (fired {fired} times)", bug.name())),
        }
    }
    println!("{} of {} planted bugs caught", bugs.len() - missed.len(), bugs.len());
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn schedules_catch_planted_bugs() {
    each_is_found(SHOWN_BY_SCHEDULES, schedules, 1);
}

#[test]
fn flocks_catch_planted_bugs() {
    each_is_found(SHOWN_BY_FLOCKS, flocks, 6);
}

#[test]
fn flocks_across_crashes_catch_planted_bugs() {
    each_is_found(SHOWN_BY_CRASHED_FLOCKS, crashed_flocks, 2);
}
