//! The sweep finds bugs that are there on purpose. A bug that it does not find, or that never
//! fires, fails the test: run with `--features planted-bugs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use campanile_format::planted::{self, Bug};
use campanile_vfs::sim::{CrashPolicy, SimOptions};

use crate::programs;
use crate::sweep::Sweep;

const CAUGHT_HERE: [Bug; 13] = [
    Bug::AcknowledgedBeforeDurable,
    Bug::AllocationNotLogged,
    Bug::AllocationNotUndone,
    Bug::CheckpointRedoTooHigh,
    Bug::CompensationSkipped,
    Bug::ControlBeforeCheckpoint,
    Bug::FileRemovedBeforeCommit,
    Bug::LogSyncSkipped,
    Bug::PageWrittenBeforeLog,
    Bug::RedoIgnoresPageLsn,
    Bug::RedoWithoutStamp,
    Bug::UndoNextWrong,
    Bug::UndoSkipped,
];

/// Those that only families and prepared transactions show.
const CAUGHT_IN_FAMILIES: [Bug; 4] = [
    Bug::MergedChildNotUndone,
    Bug::MergedChildUndone,
    Bug::PreparedRolledBack,
    Bug::PreparedTakenForCommitted,
];

/// One program and its crashes, with both tearing profiles by turns.
fn sweep(seed: u64) {
    let mut program = programs::setup();
    program.extend(programs::random(seed, 60));
    let options = match seed % 2 {
        0 => SimOptions::new(seed),
        _ => SimOptions { block_bytes: 512, ..SimOptions::harsh(seed) },
    };
    let policy = CrashPolicy { singles_max: 1, subsets: 2, exhaustive_items: 0, seed };
    let (depth, every) = if seed % 3 == 0 { (2, 13) } else { (1, 1) };
    Sweep { depth, every, ..Sweep::new(options, policy) }.run(&program);
}

/// The same with nested and prepared transactions.
fn sweep_families(seed: u64) {
    let mut program = programs::setup();
    program.extend(programs::random_families(seed, 60));
    let policy = CrashPolicy { singles_max: 0, subsets: 1, exhaustive_items: 0, seed };
    Sweep { every: 3, ..Sweep::new(SimOptions::new(seed), policy) }.run(&program);
}

fn is_caught(bug: Bug, sweep: fn(u64)) -> bool {
    let mut fired = 0;
    let caught = (0..6).any(|seed| {
        let found = catch_unwind(AssertUnwindSafe(|| {
            planted::with(bug, || sweep(seed));
        }));
        fired += planted::fired();
        found.is_err()
    });
    println!("{}: fired {fired} times, caught: {caught}", bug.name());
    caught && fired > 0
}

#[test]
fn every_bug_planted_below_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let here = CAUGHT_HERE.iter().map(|bug| (*bug, sweep as fn(u64)));
    let families = CAUGHT_IN_FAMILIES.iter().map(|bug| (*bug, sweep_families as fn(u64)));
    let missed: Vec<&str> = here
        .chain(families)
        .filter(|(bug, sweep)| !is_caught(*bug, *sweep))
        .map(|(bug, _)| bug.name())
        .collect();
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
