//! Crashes at every call of programs with nested and prepared transactions.

use campanile_txn::{CheckpointKind, Durability};
use campanile_vfs::sim::{CrashPolicy, SimOptions};

use crate::life::Op;
use crate::programs;
use crate::sweep::Sweep;

const SYNC: Op = Op::Commit { who: 0, durability: Durability::Sync };
const BEGIN: Op = Op::Begin { who: 0 };
const MERGE: Op = Op::End { who: 0, commit: true };
const UNDO: Op = Op::End { who: 0, commit: false };

fn put(who: usize, key: u8) -> Op {
    Op::Put { who, file: 0, key, len: 10 }
}

/// A family three deep, with a savepoint between children; `put(0, 1)` by everybody.
fn family() -> Vec<Op> {
    let large = Op::PutLarge { who: 0, file: 1, len: 700 };
    let mut program = vec![put(0, 1), put(0, 2), BEGIN, put(0, 1), put(0, 3)];
    program.extend([BEGIN, put(0, 1), large.clone(), MERGE, put(0, 4), MERGE]);
    program.extend([Op::Savepoint { who: 0 }, BEGIN, put(0, 1), BEGIN, put(0, 5), UNDO]);
    program.extend([put(0, 6), large, MERGE, put(0, 1), put(1, 1)]);
    program
}

fn policy(seed: u64) -> CrashPolicy {
    CrashPolicy { singles_max: 1, subsets: 1, exhaustive_items: 2, seed }
}

#[test]
fn a_crash_at_every_call_of_a_family_that_commits() {
    let mut program = programs::setup();
    program.extend([put(0, 1), put(0, 3), SYNC]);
    program.extend(family());
    program.extend([Op::Checkpoint(CheckpointKind::Fuzzy), SYNC, put(0, 1)]);
    program.push(Op::Commit { who: 1, durability: Durability::Sync });
    let states = Sweep::new(SimOptions::new(31), policy(31)).run(&program);
    assert!(states > 100, "only {states} crash states");
}

/// Checkpoints while a rollback is inside a child need a rollback that takes its time: the log of
/// this one is flushed by the other side's commits and by evictions.
#[test]
fn a_crash_at_every_call_of_a_family_that_rolls_back() {
    for end in [Op::Abort { who: 0 }, Op::RollbackTo { who: 0 }] {
        let mut program = programs::setup();
        program.extend([put(0, 1), put(0, 3), SYNC]);
        for _ in 0..3 {
            program.extend(family());
            program.extend([Op::Checkpoint(CheckpointKind::Full), end.clone(), put(1, 2)]);
            program.push(Op::Commit { who: 1, durability: Durability::Sync });
        }
        program.push(SYNC);
        let sweep = Sweep { depth: 2, every: 11, ..Sweep::new(SimOptions::new(32), policy(32)) };
        let states = sweep.run(&program);
        assert!(states > 200, "only {states} crash states");
    }
}

#[test]
fn a_crash_at_every_call_of_preparing_and_resolving() {
    for commit in [true, false] {
        for reopen in [false, true] {
            let mut program = programs::setup();
            program.extend([put(0, 1), put(0, 3), SYNC]);
            program.extend(family());
            program.extend([Op::Create { who: 0, durable: true }, Op::Prepare { who: 0 }]);
            if reopen {
                program.push(Op::Reopen);
            }
            for round in 0..8 {
                program.extend([put(1, round), Op::PutLarge { who: 1, file: 1, len: 300 }]);
                program.push(Op::Commit { who: 1, durability: Durability::Sync });
                program.extend([Op::Checkpoint(CheckpointKind::Fuzzy), Op::Step]);
            }
            program.extend([Op::Resolve { who: 0, commit }, put(0, 1), SYNC]);
            let states = Sweep::new(SimOptions::new(33), policy(33)).run(&program);
            assert!(states > 200, "only {states} crash states");
        }
    }
}

#[test]
fn random_families_survive_crashes_at_every_call() {
    for seed in 0..4 {
        let mut program = programs::setup();
        program.extend(programs::random_families(seed, 80));
        Sweep::new(SimOptions::new(seed), policy(seed)).run(&program);
    }
}

#[test]
fn crashes_inside_the_recovery_of_random_families_lose_nothing() {
    for seed in 300..302 {
        let mut program = programs::setup();
        program.extend(programs::random_families(seed, 60));
        let sweep = Sweep { depth: 2, every: 9, ..Sweep::new(SimOptions::new(seed), policy(seed)) };
        sweep.run(&program);
    }
}
