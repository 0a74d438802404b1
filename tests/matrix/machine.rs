//! Rows 35 to 37: the control file, a full disk, recovery that is killed again and again.

use crate::case::{
    BOTH, Case, HOME, REPOSITORY, Seen, State, Way, assert_same, bring_up, host_of, in_home, look,
};
use crate::table::{Outcome, situation};
use campanile::{Environment, ErrorKind, Progress, backup};
use campanile_format::names;
use campanile_vfs::sim::{CrashChoice, Errno, Fault, FaultPlan, FaultRule, Side, SimDisk, Trigger};
use std::path::Path;
use std::sync::Arc;

#[test]
fn row_35_the_control_file_is_lost_garbage_or_of_another_environment() {
    for load in BOTH {
        let control = in_home(names::CONTROL);
        let lost = Case::crashed(load);
        lost.lose(&control);
        situation(35).both_ways(&lost, &["control file"]);
        lost.comes_back(true, &lost.newest);

        let garbage = Case::crashed(load);
        garbage.put(&control, &[0xa5; 8192]);
        situation(35).both_ways(&garbage, &["control"]);
        garbage.comes_back(true, &garbage.newest);

        let foreign = Case::crashed(load);
        foreign.put(&control, &Case::twin(load).bytes(&control));
        situation(35).both_ways(&foreign, &["belongs to environment"]);
        foreign.comes_back(true, &foreign.newest);
    }
}

/// From the n-th write on there is no room.
fn full(disk: &SimDisk, nth: u64) {
    let rule = FaultRule::new(Fault::WriteFails(Errno::Enospc), Trigger::From(nth));
    disk.faults(FaultPlan::none().and(rule));
}

fn room(disk: &SimDisk) {
    disk.faults(FaultPlan::none());
}

/// Works until something fails. Gives what was acknowledged, and the same with what was not.
fn work_until_full(case: &Case, env: &Environment) -> (State, State) {
    let mut done = case.newest.clone();
    for number in 0..2000 {
        let mut next = done.clone();
        let put = env.run(|txn| {
            for name in crate::case::DATABASES {
                let (key, value) = (format!("full{number:05}"), format!("<{name}> {number}"));
                env.open_database_in(txn, name)?.put(txn, &key, &value)?;
                let rows = next.get_mut(name).expect("is there");
                Arc::make_mut(rows).insert(key.into_bytes(), value.into_bytes());
            }
            Ok(())
        });
        match put.and_then(|()| if number % 40 == 39 { env.checkpoint().map(drop) } else { Ok(()) })
        {
            Ok(()) => done = next,
            Err(error) => {
                let kinds = [ErrorKind::Io, ErrorKind::Poisoned];
                assert!(kinds.contains(&error.kind()), "{error}");
                return (done, next);
            }
        }
    }
    panic!("the disk was never full");
}

#[test]
fn row_36_the_disk_is_full_in_work_in_recovery_and_in_a_backup() {
    for load in BOTH {
        for nth in [0, 3, 40, 200] {
            full_in_work(&Case::crashed(load), nth);
        }
        for nth in 0..12 {
            full_in_recovery(&Case::crashed(load), nth * 3);
        }
        for nth in [0, 2, 9] {
            full_in_backup(&Case::crashed(load), nth);
        }
    }
}

fn full_in_work(case: &Case, nth: u64) {
    let options = case.options.clone();
    let env = Environment::open_on(host_of(&case.disk), HOME, options.clone()).expect("recovers");
    full(&case.disk, nth);
    let (acknowledged, with_the_last) = work_until_full(case, &env);
    env.abandon();
    room(&case.disk);
    let seen = case.bring_up(Way::Normal);
    let Seen::Open { state, .. } = &seen else { panic!("refused after the disk was full") };
    let newest = if *state == with_the_last { with_the_last } else { acknowledged };
    let case = Case { newest, ..case.clone() };
    situation(36).judge(situation(36).ours[0], &case, Way::Normal, &seen, &[]);
}

fn full_in_recovery(case: &Case, nth: u64) {
    full(&case.disk, nth);
    match bring_up(&case.disk, HOME, &case.options, Way::Normal) {
        Seen::Refused(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
        // Recovery needs fewer writes; those that come later are the reader's, who needs none.
        Seen::Open { .. } => assert!(nth > 0),
    }
    room(&case.disk);
    situation(36).both_ways(case, &[]);
}

fn full_in_backup(case: &Case, nth: u64) {
    let env = Environment::open_on(host_of(&case.disk), HOME, case.options.clone());
    let env = env.expect("recovers");
    let rule = FaultRule::new(Fault::WriteFails(Errno::Enospc), Trigger::From(nth));
    case.disk.faults(FaultPlan::none().and(rule.on(&format!("*{}*", &REPOSITORY[1..]))));
    let back_up = || {
        let host = host_of(&case.disk);
        backup::back_up_on(&host, Path::new(HOME), Path::new(REPOSITORY), &Progress::none())
    };
    let error = back_up().expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    // Who works beside it is not disturbed.
    let (state, complaints) = look(&env);
    assert!(complaints.is_empty(), "{complaints:?}");
    assert_same(&state, &case.newest, "beside the backup");
    room(&case.disk);
    let complete = |disk: &Arc<SimDisk>| {
        let catalog = backup::catalog_on(&host_of(disk), Path::new(REPOSITORY)).expect("a catalog");
        catalog.backups.iter().filter(|backup| backup.end.is_some()).count()
    };
    assert_eq!(complete(&case.disk), 1, "the earlier one, and no more");
    case.comes_back(true, &case.newest);
    back_up().expect("there is room");
    assert_eq!(complete(&case.disk), 2);
    env.abandon();
}

#[test]
fn row_37_recovery_is_killed_again_and_again() {
    for load in BOTH {
        let calls = {
            let disk = Case::crashed(load).disk;
            let before = disk.calls();
            drop(bring_up(&disk, HOME, &Case::crashed(load).options, Way::Normal));
            disk.calls() - before
        };
        let step = (calls / 9).max(1);
        for at in (0..calls).step_by(usize::try_from(step).expect("small")) {
            let mut case = Case::crashed(load);
            for again in 0..3 {
                case.disk.crash_at(case.disk.calls() + at + again, Side::Before);
                drop(bring_up(&case.disk, HOME, &case.options, Way::Normal));
                let choice = if again == 1 { CrashChoice::All } else { CrashChoice::Subset(at) };
                case.disk.crash();
                case.disk = case.disk.reboot(choice);
            }
            for way in [Way::Normal, Way::Catastrophic] {
                situation(37).judge(Outcome::Right, &case, way, &case.bring_up(way), &[]);
            }
        }
    }
    assert_eq!(situation(37).ours, [Outcome::Right; 2]);
}
