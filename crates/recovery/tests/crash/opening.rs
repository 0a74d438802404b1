//! Opening in every state: the report, dry runs, stopping, the older control slot, prepared
//! transactions, transactions over many log files, and the fallbacks that only damage needs.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use campanile_format::FileId;
use campanile_recovery::{OpenOptions, Outcome, Phase, Progress, RecoveryError, dry_run, open};
use campanile_txn::{CheckpointKind, Durability, TxnOptions};
use campanile_vfs::sim::{CrashChoice, SimDisk, SimOptions};

use crate::life::{HOME, Life, Op, State, observe, open_disk, options};
use crate::programs;
use crate::toy::{self, Toy};

const SYNC: Op = Op::Commit { who: 0, durability: Durability::Sync };

fn put(who: usize, key: u8) -> Op {
    Op::Put { who, file: 0, key, len: 10 }
}

/// An environment that died with one transaction committed and one running.
fn crashed() -> Arc<SimDisk> {
    let disk = SimDisk::new(SimOptions::new(1));
    let opened = open_disk(&disk).unwrap();
    assert_eq!(opened.report.outcome, Outcome::Created);
    let mut life = Life::begin(&disk, opened, State::new());
    life.run(&programs::setup()).unwrap();
    life.run(&[put(0, 1), put(0, 2), put(1, 1), SYNC]).unwrap();
    life.die();
    disk.reboot(CrashChoice::Nothing)
}

fn ignore(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn the_report_says_what_was_found_and_done() {
    let disk = crashed();
    let report = open_disk(&disk).unwrap().report;
    assert_eq!(report.outcome, Outcome::Recovered);
    assert_eq!((report.committed, report.undo.transactions, report.undo.entries), (2, 1, 1));
    assert!(report.replay.applied > 0 && report.records > 0 && report.log_bytes > 0);
    let phases: Vec<Phase> = report.phases.iter().map(|time| time.phase).collect();
    let expected = [Phase::Analysis, Phase::Repair, Phase::Redo, Phase::Undo, Phase::Checkpoint];
    assert_eq!(phases, expected);
    let text = report.to_string();
    assert!(text.contains("2 committed, 1 rolled back now"), "{text}");
}

#[test]
fn a_dry_run_tells_the_same_and_writes_nothing() {
    let disk = crashed();
    let before = disk.snapshot_files();
    let plan = dry_run(&disk.host(), Path::new(HOME), &mut ignore).unwrap();
    assert_eq!(disk.snapshot_files(), before);
    assert_eq!(plan.outcome, Outcome::DryRun);
    let report = open_disk(&disk).unwrap().report;
    assert_eq!((plan.committed, plan.records), (report.committed, report.records));
    assert_eq!(plan.undo.transactions, report.undo.transactions);
}

#[test]
fn a_recovery_that_is_stopped_anywhere_is_begun_again() {
    for stop_at in 0..20 {
        let disk = crashed();
        let mut calls = 0;
        let mut hook = |_: &Progress| {
            calls += 1;
            if calls > stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let stopped = open(&disk.host(), Path::new(HOME), &options(), Arc::new(Toy), &mut hook);
        match stopped {
            Err(RecoveryError::Cancelled { .. }) => {}
            Err(error) => panic!("{error}"),
            Ok(_) => return,
        }
        let opened = open_disk(&disk).unwrap();
        let state = observe(&opened.transactions, true, "after a stop");
        assert_eq!(state[&16].1.len(), 2);
    }
    panic!("it never came to its end");
}

#[test]
fn an_environment_is_not_made_where_none_is_wanted() {
    let disk = SimDisk::new(SimOptions::new(2));
    let options = OpenOptions { create: false, ..options() };
    let opened = open(&disk.host(), Path::new(HOME), &options, Arc::new(Toy), &mut ignore);
    assert!(matches!(opened, Err(RecoveryError::NoEnvironment { .. })));
    assert!(disk.snapshot_files().is_empty());
}

#[test]
fn the_log_that_the_older_control_slot_names_may_be_gone() {
    let disk = SimDisk::new(SimOptions::new(3));
    let opened = open_disk(&disk).unwrap();
    let mut life = Life::begin(&disk, opened, State::new());
    life.run(&programs::setup()).unwrap();
    for round in 0..60 {
        life.run(&[put(0, round), Op::PutLarge { who: 0, file: 1, len: 300 }, SYNC]).unwrap();
    }
    // The last two checkpoints lie far apart, so that the log of the older one goes.
    life.step(&Op::Checkpoint(CheckpointKind::Full)).unwrap();
    for round in 0..60 {
        life.run(&[put(0, round), put(1, round), SYNC]).unwrap();
        life.step(&Op::Commit { who: 1, durability: Durability::Sync }).unwrap();
    }
    life.step(&Op::Checkpoint(CheckpointKind::Full)).unwrap();
    life.run(&[put(0, 3), SYNC]).unwrap();
    let expected = life.newest().clone();
    let newest = life.txns.control().generation;
    life.die();
    let disk = disk.reboot(CrashChoice::All);
    let control = Path::new(HOME).join("control");
    let bytes = disk.file_bytes(&control).unwrap();
    let is_newest = |slot: usize| {
        campanile_format::control::Control::decode(&bytes[slot..slot + 512])
            .is_ok_and(|control| control.generation >= newest)
    };
    let slot = if is_newest(0) { 0 } else { 4096 };
    disk.flip_bit(&control, (slot as u64 + 100) * 8).unwrap();
    let opened = open_disk(&disk).unwrap();
    assert!(opened.report.warnings[0].contains("newer slot"), "{}", opened.report);
    assert_eq!(observe(&opened.transactions, true, "older slot"), expected);
}

#[test]
fn prepared_transactions_are_kept_through_checkpoints_and_crashes() {
    let disk = SimDisk::new(SimOptions::new(4));
    let opened = open_disk(&disk).unwrap();
    let mut life = Life::begin(&disk, opened, State::new());
    life.run(&programs::setup()).unwrap();
    let txns = Arc::clone(&life.txns);
    let mut txn = txns.begin(TxnOptions::default()).unwrap();
    toy::put(&txns, &mut txn, FileId(16), b"prepared", b"value").unwrap();
    let id = txn.id();
    txns.prepare(txn, b"order 66").unwrap();
    life.die();
    let mut disk = disk;
    let mut closed = false;
    for round in 0..4 {
        disk = disk.reboot(CrashChoice::Nothing);
        let opened = open_disk(&disk).unwrap();
        assert_eq!(opened.report.outcome == Outcome::Clean, closed);
        let prepared = opened.transactions.prepared();
        assert_eq!((prepared[0].id, prepared[0].gid.as_slice()), (id, &b"order 66"[..]));
        if !closed {
            assert_eq!(opened.report.prepared[0].gid.as_deref(), Some("order 66"));
        }
        assert_eq!(opened.report.undo.transactions, 0);
        // Its log stays, whatever is logged meanwhile.
        let mut life = Life::begin(&disk, opened, State::from([(17, (true, Default::default()))]));
        for round in 0..40 {
            life.run(&[put(0, round), SYNC, Op::Step]).unwrap();
        }
        life.step(&Op::Checkpoint(CheckpointKind::Full)).unwrap();
        closed = round % 2 == 1;
        if closed {
            life.step(&Op::Checkpoint(CheckpointKind::Close)).unwrap();
        }
        life.die();
    }
}

#[test]
fn a_transaction_may_span_many_log_files_and_be_rolled_back_twice() {
    let disk = SimDisk::new(SimOptions::new(5));
    let opened = open_disk(&disk).unwrap();
    let mut life = Life::begin(&disk, opened, State::new());
    life.run(&programs::setup()).unwrap();
    life.run(&[put(0, 1), SYNC]).unwrap();
    let committed = life.newest().clone();
    for round in 0..200 {
        life.run(&[put(1, round), Op::Put { who: 1, file: 1, key: round, len: 15 }]).unwrap();
        if round % 50 == 0 {
            life.run(&[Op::Checkpoint(CheckpointKind::Full), Op::Step]).unwrap();
        }
    }
    let files = life.txns.wal().end().file();
    assert!(files >= 4, "only {files} log files");
    let lsn = life.txns.checkpoint(CheckpointKind::Full).unwrap();
    assert_eq!(lsn.pin.file(), 1, "the log of a running transaction is kept");
    life.die();
    // The first recovery dies in the middle of its rollback, the second one finishes it.
    let disk = disk.reboot(CrashChoice::Nothing);
    let calls = {
        let probe = disk.fork();
        drop(open_disk(&probe).unwrap());
        probe.calls()
    };
    for part in 1..8 {
        let disk = disk.fork();
        disk.crash_at(calls * part / 8, campanile_vfs::sim::Side::Before);
        assert!(open_disk(&disk).is_err());
        let disk = disk.reboot(CrashChoice::Subset(part));
        let opened = open_disk(&disk).unwrap();
        assert_eq!(observe(&opened.transactions, true, "twice"), committed);
    }
}
