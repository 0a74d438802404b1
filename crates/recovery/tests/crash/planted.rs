//! The sweep finds bugs that are there on purpose. A bug that it does not find, or that never
//! fires, fails the test: run with `--features planted-bugs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use campanile_format::planted::{self, Bug};
use campanile_vfs::sim::{CrashPolicy, SimOptions};

use crate::programs;
use crate::sweep::Sweep;

const CAUGHT_HERE: [Bug; 18] = [
    Bug::LogSyncSkipped,
    Bug::AcknowledgedBeforeDurable,
    Bug::AppendAfterTornTail,
    Bug::PageWrittenBeforeLog,
    Bug::CleanBeforeSync,
    Bug::DoubleWriteSkipped,
    Bug::DoubleWriteNotSynced,
    Bug::CheckpointRedoTooHigh,
    Bug::ControlBeforeCheckpoint,
    Bug::ControlSlotsTogether,
    Bug::RedoWithoutStamp,
    Bug::RedoIgnoresPageLsn,
    Bug::UndoSkipped,
    Bug::CompensationSkipped,
    Bug::UndoNextWrong,
    Bug::AllocationNotUndone,
    Bug::AllocationNotLogged,
    Bug::FileRemovedBeforeCommit,
];

/// One program and its crashes, with both tearing profiles by turns.
fn sweep(seed: u64) {
    let mut program = programs::setup();
    program.extend(programs::random(seed, 120));
    let options = match seed % 2 {
        0 => SimOptions::new(seed),
        _ => SimOptions { collateral: false, ..SimOptions::harsh(seed) },
    };
    let policy = CrashPolicy { singles_max: 2, subsets: 4, exhaustive_items: 0, seed };
    let (depth, every) = if seed % 3 == 0 { (2, 13) } else { (1, 1) };
    Sweep { depth, every, ..Sweep::new(options, policy) }.run(&program);
}

fn is_caught(bug: Bug) -> bool {
    let mut fired = 0;
    let caught = (0..16).any(|seed| {
        let found = catch_unwind(AssertUnwindSafe(|| {
            planted::with(bug, || sweep(seed));
        }));
        fired += planted::fired();
        found.is_err()
    });
    assert!(fired > 0, "{} never fired", bug.name());
    caught
}

#[test]
fn every_bug_planted_below_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    let missed: Vec<&str> =
        CAUGHT_HERE.iter().filter(|bug| !is_caught(**bug)).map(|bug| bug.name()).collect();
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
