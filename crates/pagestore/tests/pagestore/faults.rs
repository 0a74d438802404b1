//! Errors of the file system at every call (P9): nothing durable is lost, nothing goes on that
//! must not, nothing panics.

use std::io;
use std::sync::Arc;

use campanile_format::{FileId, Lsn};
use campanile_pagestore::{FileFlags, StoreError, StoreOptions};
use campanile_vfs::CallKind;
use campanile_vfs::sim::{
    CrashChoice, Errno, Fault, FaultPlan, FaultRule, Rot, SimDisk, SimOptions, SyncFailure, Trigger,
};

use crate::crash::{disk, recover, run};
use crate::fixture::{FakeLog, Rig, options, page};

const ROUNDS: u32 = 40;

fn calls() -> u64 {
    let whole = disk(SimOptions::new(5));
    run(&whole, ROUNDS).2.unwrap();
    whole.calls()
}

/// The fault strikes at each call in turn; afterwards both a restart of the process and a power
/// failure lead back to what was durable.
fn sweep(fault: Fault, trigger: fn(u64) -> Trigger) -> (u64, u64) {
    let (mut failed, mut poisoned) = (0, 0);
    for call in 0..calls() {
        let disk = disk(SimOptions::new(5));
        disk.faults(FaultPlan::one(fault, trigger(call)));
        let (life, poison, ended) = run(&disk, ROUNDS);
        disk.faults(FaultPlan::none());
        failed += u64::from(ended.is_err());
        poisoned += u64::from(poison.is_poisoned());
        if let Err(error) = ended {
            assert!(!error.is_corruption(), "{error}");
        }
        for choice in [CrashChoice::ProcessCrash, CrashChoice::Nothing, CrashChoice::Subset(call)] {
            recover(&disk.reboot(choice), &life).unwrap();
        }
    }
    (failed, poisoned)
}

#[test]
pub fn p9_any_failing_call_ends_in_an_error_and_nothing_durable_is_lost() {
    for errno in [Errno::Eio, Errno::Enospc] {
        let (failed, poisoned) = sweep(Fault::Any(errno), Trigger::Call);
        assert!(failed > 50 && poisoned > 20 && poisoned < failed, "{failed} {poisoned}");
        let (failed, _) = sweep(Fault::Any(errno), Trigger::FromCall);
        assert!(failed > 50, "{failed}");
    }
}

#[test]
fn p9_failed_syncs_of_every_sort_poison_and_are_not_repeated() {
    for failure in [SyncFailure::CacheKeepsNew, SyncFailure::CacheReverts, SyncFailure::DataDurable]
    {
        let (failed, poisoned) = sweep(Fault::SyncFails(failure), Trigger::Call);
        // But for the very first one, of the home's directory, while nothing can be lost yet.
        assert!(poisoned >= failed - 1 && poisoned > 10, "{failed} {poisoned}");
    }
}

#[test]
fn short_results_and_interrupted_calls_are_no_errors() {
    for fault in [Fault::ShortWrite, Fault::ShortRead] {
        assert_eq!(sweep(fault, Trigger::Call), (0, 0), "{fault:?}");
    }
}

#[test]
fn halfway_writes_and_early_ends_are_errors() {
    let (failed, poisoned) = sweep(Fault::WriteFailsHalfway(Errno::Eio), Trigger::Call);
    assert!(failed > 10 && failed == poisoned, "{failed} {poisoned}");
    let (failed, poisoned) = sweep(Fault::EarlyEnd, Trigger::Call);
    assert!(failed > 3 && poisoned == 0, "{failed} {poisoned}");
}

#[test]
pub fn p9_after_a_failed_write_every_change_is_refused_and_reading_goes_on() {
    let disk = disk(SimOptions::new(6));
    let mut rig = Rig::new(&disk.host(), 16);
    rig.create(16);
    for number in 0..10 {
        rig.put(page(16, number), 1).unwrap();
    }
    rig.store.write_back_all().unwrap();
    rig.put(page(16, 3), 2).unwrap();
    let redo = rig.store.min_rec_lsn();
    let rule = FaultRule::new(Fault::WriteFails(Errno::Eio), Trigger::Nth(0));
    disk.faults(FaultPlan::none().and(rule.for_calls(&[CallKind::Write])));
    let failed = rig.store.write_back_all().unwrap_err();
    assert!(matches!(failed, StoreError::Io { what: "write", .. }), "{failed}");
    assert!(rig.poison.is_poisoned());
    let calls = disk.calls();
    let refused = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Poisoned(_))), "{result:?}");
    };
    let (store, id) = (&rig.store, page(16, 3));
    refused(store.write(id).map(drop));
    refused(store.try_write(id).map(drop));
    refused(store.fresh(id).map(drop));
    refused(store.fetch_for_redo(id).map(drop));
    refused(store.step(Lsn::MAX).map(drop));
    refused(store.write_back_all().map(drop));
    refused(store.write_back_below(Lsn::MAX).map(drop));
    refused(store.create_file(FileId(20), FileFlags::default()));
    refused(store.remove_file(FileId(16)));
    refused(store.repair_torn_pages(Lsn::NONE).map(drop));
    assert_eq!(disk.calls(), calls, "nothing was written, nothing tried again");
    assert_eq!(rig.store.min_rec_lsn(), redo);
    rig.check();
}

#[test]
fn a_full_disk_is_met_before_anything_is_logged_and_can_be_left_behind() {
    let disk = disk(SimOptions::new(7));
    let mut rig = Rig::new(&disk.host(), 16);
    rig.create(16);
    rig.put(page(16, 0), 1).unwrap();
    let rule = FaultRule::new(Fault::NoSpace, Trigger::Always).for_calls(&[CallKind::Allocate]);
    disk.faults(FaultPlan::none().and(rule));
    let full = rig.put(page(16, 500), 1).unwrap_err();
    let StoreError::Io { source, .. } = &full else { panic!("{full}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    assert_eq!(rig.log.records().len(), 1);
    disk.faults(FaultPlan::none());
    rig.put(page(16, 500), 1).unwrap();
    rig.store.write_back_all().unwrap();
    rig.check();
}

#[test]
fn a_read_that_fails_once_fails_once() {
    let disk = disk(SimOptions::new(8));
    let mut rig = Rig::new(&disk.host(), 16);
    rig.create(16);
    for number in 0..40 {
        rig.put(page(16, number), 1).unwrap();
    }
    rig.store.write_back_all().unwrap();
    let bits = Fault::BitRot { damage: Rot::Bits, at_rest: false };
    for fault in [Fault::ReadFails, Fault::EarlyEnd, bits] {
        for number in 0..40 {
            disk.faults(FaultPlan::one(fault, Trigger::Nth(0)));
            let first = rig.get(page(16, number));
            assert!(first.as_ref().is_ok_and(|stamp| *stamp == 1) || first.is_err());
            disk.faults(FaultPlan::none());
            assert_eq!(rig.get(page(16, number)).unwrap(), 1);
        }
    }
    assert!(!rig.poison.is_poisoned());
}

/// Eight files through two handles, all written and synced, and changed again.
fn more_files_than_handles(disk: &Arc<SimDisk>) -> Rig {
    let few = StoreOptions { open_files: 2, ..options("home", 16) };
    let mut rig = Rig::open(&disk.host(), few, FakeLog::new()).unwrap();
    for file in 16..24 {
        rig.create(file);
        rig.put(page(file, 0), 1).unwrap();
        rig.store.write_back_all().unwrap();
    }
    for file in 16..24 {
        rig.put(page(file, 0), 2).unwrap();
    }
    rig
}

/// Whether a power failure would leave the newest of each page.
fn all_at_home(disk: &SimDisk, rig: &Rig) -> bool {
    let host = disk.reboot(CrashChoice::Nothing).host();
    let reborn = Rig::open(&host, options("home", 16), rig.log.survivor()).unwrap();
    (16..24).all(|file| reborn.get(page(file, 0)).unwrap() == 2)
}

#[test]
pub fn p11_a_parked_file_that_cannot_be_opened_is_an_error_and_no_poison() {
    let disk = disk(SimOptions::new(9));
    let rig = more_files_than_handles(&disk);
    let redo = rig.store.min_rec_lsn();
    let rule = FaultRule::new(Fault::MetadataFails, Trigger::Always).for_calls(&[CallKind::Open]);
    disk.faults(FaultPlan::none().and(rule));
    disk.log_calls(true);
    let failed = rig.store.write_back_all().unwrap_err();
    assert!(matches!(failed, StoreError::Io { what: "open", .. }), "{failed}");
    let wrote = disk.calls_log().iter().any(|call| call.kind == CallKind::Write);
    assert!(!wrote, "something was written before");
    assert!(!rig.poison.is_poisoned());
    assert_eq!(rig.store.min_rec_lsn(), redo, "the pages are as dirty as they were");
    disk.faults(FaultPlan::none());
    rig.store.write_back_all().unwrap();
    assert_eq!(rig.store.min_rec_lsn(), None);
    rig.check();
    assert!(all_at_home(&disk, &rig), "not durable at home");
}

#[test]
pub fn p11_a_failing_call_with_more_files_than_handles_ends_in_an_error() {
    let calls = {
        let disk = disk(SimOptions::new(10));
        let rig = more_files_than_handles(&disk);
        rig.store.write_back_all().unwrap();
        disk.calls()
    };
    let before = {
        let disk = disk(SimOptions::new(10));
        more_files_than_handles(&disk);
        disk.calls()
    };
    assert!(calls > before + 20);
    for call in before..calls {
        for fault in [Fault::Any(Errno::Eio), Fault::WriteOutFails] {
            let disk = disk(SimOptions::new(10));
            let rig = more_files_than_handles(&disk);
            disk.faults(FaultPlan::one(fault, Trigger::Call(call)));
            let outcome = rig.store.write_back_all();
            disk.faults(FaultPlan::none());
            let known = outcome.is_err() || all_at_home(&disk, &rig);
            assert!(known, "{fault:?} at call {call} went unnoticed");
        }
    }
}
