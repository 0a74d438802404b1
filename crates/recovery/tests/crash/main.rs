//! Crashes at every call of small programs over a toy access method, also inside recovery.

mod families;
mod faults;
mod life;
mod opening;
#[cfg(feature = "planted-bugs")]
mod planted;
mod programs;
mod running;
mod shares;
mod sweep;
mod toy;

use std::sync::Arc;

use campanile_txn::{CheckpointKind, Durability};
use campanile_vfs::sim::{CrashPolicy, SimDisk, SimOptions};

use crate::life::{Life, Op, observe, open_disk};
use crate::sweep::Sweep;

fn put(who: usize, key: u8) -> Op {
    Op::Put { who, file: 0, key, len: 10 }
}

const SYNC: Op = Op::Commit { who: 0, durability: Durability::Sync };

#[test]
fn what_is_committed_is_there_after_a_close_and_a_reopen() {
    let disk = SimDisk::new(SimOptions::new(1));
    let opened = open_disk(&disk).unwrap();
    let mut life = Life::begin(&disk, opened, Default::default());
    life.run(&programs::setup()).unwrap();
    life.run(&programs::random(3, 300)).unwrap();
    let state = life.close().unwrap();
    let opened = open_disk(&disk).unwrap();
    assert_eq!(opened.report.outcome, campanile_recovery::Outcome::Clean);
    assert_eq!(observe(&opened.transactions, false, "closed"), state);
}

#[test]
fn a_crash_at_every_call_of_a_commit_and_an_abort() {
    let mut program = programs::setup();
    program.extend([put(0, 1), put(0, 2), SYNC, put(0, 1), put(1, 3)]);
    program.extend([Op::Abort { who: 0 }, Op::Delete { who: 1, file: 0, key: 3 }]);
    program.push(Op::Commit { who: 1, durability: Durability::Sync });
    let sweep = Sweep::new(SimOptions::new(2), CrashPolicy::full(2));
    let states = sweep.run(&program);
    assert!(states > 150, "only {states} crash states");
}

#[test]
fn a_crash_at_every_call_of_checkpoints_and_log_switches() {
    let mut program = programs::setup();
    for round in 0..12 {
        program.extend([put(0, round), put(0, round + 1), put(1, round)]);
        program.push(Op::PutLarge { who: 0, file: 1, len: 700 });
        program.push(SYNC);
        if round % 4 == 3 {
            program.push(Op::Checkpoint(CheckpointKind::Fuzzy));
        }
        program.push(Op::Step);
    }
    let policy = CrashPolicy { singles_max: 2, subsets: 2, exhaustive_items: 2, seed: 5 };
    let states = Sweep::new(SimOptions::new(3), policy).run(&program);
    assert!(states > 500, "only {states} crash states");
}

#[test]
fn a_crash_at_every_call_of_making_and_removing_files() {
    let mut program = programs::setup();
    program.extend([Op::Create { who: 0, durable: true }, put(0, 1), Op::Savepoint { who: 0 }]);
    program.extend([Op::Create { who: 0, durable: false }, Op::RollbackTo { who: 0 }]);
    program.extend([Op::Create { who: 0, durable: false }, SYNC]);
    program.extend([Op::Put { who: 0, file: 3, key: 1, len: 9 }, SYNC]);
    program.extend([Op::Create { who: 0, durable: true }, Op::Abort { who: 0 }]);
    program.extend([Op::Remove { file: 0 }, Op::Checkpoint(CheckpointKind::Full)]);
    program.extend([Op::Remove { file: 2 }, put(0, 4), SYNC]);
    let policy = CrashPolicy { singles_max: 4, subsets: 4, exhaustive_items: 4, seed: 6 };
    let states = Sweep::new(SimOptions::new(4), policy).run(&program);
    assert!(states > 300, "only {states} crash states");
}

#[test]
fn random_programs_survive_crashes_at_every_call() {
    let policy = CrashPolicy { singles_max: 1, subsets: 1, exhaustive_items: 2, seed: 7 };
    for seed in 0..4 {
        let mut program = programs::setup();
        program.extend(programs::random(seed, 60));
        Sweep::new(SimOptions::new(seed), policy).run(&program);
    }
}

#[test]
fn random_programs_survive_crashes_on_a_harsh_disk() {
    let policy = CrashPolicy { singles_max: 1, subsets: 2, exhaustive_items: 0, seed: 8 };
    for seed in 100..102 {
        let mut program = programs::setup();
        program.extend(programs::random(seed, 60));
        let harsh = SimOptions { block_bytes: 512, ..SimOptions::harsh(seed) };
        Sweep::new(harsh, policy).run(&program);
    }
}

#[test]
fn crashes_inside_recovery_lose_nothing() {
    let policy = CrashPolicy { singles_max: 0, subsets: 1, exhaustive_items: 0, seed: 9 };
    for seed in 200..202 {
        let mut program = programs::setup();
        program.extend(programs::random(seed, 40));
        let sweep = Sweep { depth: 2, every: 7, ..Sweep::new(SimOptions::new(seed), policy) };
        sweep.run(&program);
    }
}

#[test]
fn a_crash_at_every_call_of_a_creation_leaves_nothing_or_an_environment() {
    let disk = SimDisk::new(SimOptions::new(11));
    disk.capture_crash_points();
    drop(open_disk(&disk).unwrap());
    let points = disk.take_crash_points();
    assert!(points.len() > 8);
    for point in points {
        for choice in point.disk.crash_choices(&CrashPolicy::full(11)) {
            let disk = point.disk.reboot(choice);
            let opened = open_disk(&disk)
                .unwrap_or_else(|error| panic!("call {} {choice:?}: {error}", point.call));
            assert!(observe(&opened.transactions, true, "created").is_empty());
            drop(Arc::clone(&opened.transactions));
        }
    }
}

/// As many programs as `CAMPANILE_SEEDS=from..to` says; a few by default.
#[test]
fn soak() {
    let wanted = std::env::var("CAMPANILE_SEEDS").unwrap_or_else(|_| "1000..1001".into());
    let (from, to) = wanted.split_once("..").expect("CAMPANILE_SEEDS is from..to");
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    let mut states = 0;
    for seed in from..to {
        let mut program = programs::setup();
        let steps = 40 + (seed % 5) as usize * 40;
        program.extend(match seed % 4 {
            0 | 1 => programs::random(seed, steps),
            _ => programs::random_families(seed, steps),
        });
        let options = match seed % 2 {
            0 => SimOptions::new(seed),
            _ => SimOptions { block_bytes: 512, ..SimOptions::harsh(seed) },
        };
        let policy = CrashPolicy { singles_max: 2, subsets: 3, exhaustive_items: 2, seed };
        let (depth, every) = if seed % 3 == 0 { (2, 11) } else { (1, 1) };
        let sweep = Sweep { depth, every, ..Sweep::new(options, policy) };
        states += sweep.run(&program);
    }
    println!("{states} crash states of seeds {wanted}");
}
