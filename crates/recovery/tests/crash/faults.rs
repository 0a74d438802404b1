//! The I/O error sweep: every call fails, once or from then on. Nothing acknowledged is lost,
//! nothing hangs, and after a failed write or sync the environment says that it is poisoned.

use std::sync::Arc;

use campanile_txn::{Durability, TxnOptions};
use campanile_vfs::sim::{
    CrashChoice, Errno, Fault, FaultPlan, SimDisk, SimOptions, SyncFailure, Trigger,
};

use crate::life::{Life, Op, State, observe, open_disk};
use crate::programs;

/// Runs a program with one fault; returns false once the fault lies beyond its last call.
fn run_with(fault: Fault, trigger: Trigger, at: u64, program: &[Op], seed: u64) -> bool {
    let place = format!("{fault:?} {trigger:?} seed {seed}");
    let disk = SimDisk::new(SimOptions::new(seed));
    let opened = open_disk(&disk).unwrap();
    let mut life = Life::begin(&disk, opened, State::new());
    disk.faults(FaultPlan::one(fault, trigger));
    let result = life.run(program);
    let reached = disk.calls() > at;
    if result.is_ok() && !reached {
        life.die();
        return false;
    }
    if life.txns.poison().is_poisoned() {
        assert_refuses_everything(&life, &place);
    }
    for choice in [CrashChoice::ProcessCrash, CrashChoice::Nothing, CrashChoice::Subset(at)] {
        // The failing call may have done anything: it counts as issued.
        let possible = life.possible(disk.calls() + 1, choice);
        let rebooted = disk.reboot(choice);
        let opened = open_disk(&rebooted)
            .unwrap_or_else(|error| panic!("{place}, {choice:?}: cannot reopen: {error}"));
        let state = observe(&opened.transactions, true, &place);
        assert!(possible.contains(&state), "{place}, {choice:?}: lost or invented something");
    }
    life.die();
    true
}

fn assert_refuses_everything(life: &Life, place: &str) {
    let txns = Arc::clone(&life.txns);
    assert!(txns.begin(TxnOptions::default()).is_err(), "{place}: begins");
    assert!(txns.snapshot().is_err(), "{place}: takes a snapshot");
    assert!(txns.step().is_err(), "{place}: works in the background");
    let full = campanile_txn::CheckpointKind::Full;
    let error = txns.checkpoint(full).expect_err("no checkpoint of a poisoned environment");
    assert!(error.to_string().contains("poisoned"), "{place}: {error}");
}

fn workload(seed: u64) -> Vec<Op> {
    let mut program = programs::setup();
    program.extend(programs::random(seed, 60));
    program.push(Op::Commit { who: 0, durability: Durability::Sync });
    program
}

fn sweep(fault: Fault, trigger: impl Fn(u64) -> Trigger, seed: u64, every: usize) {
    let program = workload(seed);
    for at in (30..).step_by(every) {
        if !run_with(fault, trigger(at), at, &program, seed) {
            return;
        }
    }
}

#[test]
fn any_call_may_fail_once() {
    for (seed, errno) in [(1, Errno::Eio), (2, Errno::Enospc), (3, Errno::Eintr)] {
        sweep(Fault::Any(errno), Trigger::Call, seed, 1);
    }
}

#[test]
fn any_call_and_all_after_it_may_fail() {
    for (seed, errno) in [(4, Errno::Eio), (5, Errno::Enospc)] {
        sweep(Fault::Any(errno), Trigger::FromCall, seed, 1);
    }
}

#[test]
fn a_failed_sync_may_leave_anything_behind() {
    for failure in [SyncFailure::CacheKeepsNew, SyncFailure::CacheReverts, SyncFailure::DataDurable]
    {
        sweep(Fault::SyncFails(failure), Trigger::Call, 6, 1);
    }
}

#[test]
fn calls_may_do_less_than_asked() {
    for fault in [Fault::ShortWrite, Fault::ShortRead] {
        sweep(fault, |_| Trigger::OneIn(3), 7, 40);
    }
    sweep(Fault::WriteFailsHalfway(Errno::Enospc), Trigger::Call, 8, 1);
}

#[test]
fn recovery_may_meet_errors_and_is_simply_done_again() {
    let disk = SimDisk::new(SimOptions::new(9));
    let opened = open_disk(&disk).unwrap();
    let mut life = Life::begin(&disk, opened, State::new());
    life.run(&workload(9)).unwrap();
    let crashed = disk.reboot(CrashChoice::Nothing);
    let possible = life.possible(disk.calls() + 1, CrashChoice::Nothing);
    for errno in [Errno::Eio, Errno::Enospc] {
        for at in 0.. {
            let disk = crashed.fork();
            disk.faults(FaultPlan::one(Fault::Any(errno), Trigger::Call(at)));
            let first = open_disk(&disk);
            if disk.calls() <= at {
                break;
            }
            drop(first);
            for choice in [CrashChoice::ProcessCrash, CrashChoice::Nothing] {
                let disk = disk.reboot(choice);
                let opened = open_disk(&disk)
                    .unwrap_or_else(|error| panic!("{errno} at call {at}, {choice:?}: {error}"));
                let state = observe(&opened.transactions, true, "after an error in recovery");
                assert!(possible.contains(&state), "{errno} at call {at}, {choice:?}");
            }
        }
    }
    life.die();
}
