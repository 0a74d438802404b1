//! Every I/O call of an export and of an import fails once, or from then on.

use campanile::Environment;
use campanile::import::ImportOptions;
use campanile_tests::life::read_all;
use campanile_vfs::Vfs;
use campanile_vfs::sim::{CrashChoice, Errno, Fault, FaultPlan, SimDisk, SimOptions, Trigger};
use std::path::Path;
use std::sync::Arc;

use crate::stage::{EXPORT, FORMS, compare, export, fill, form, import, open, options, small};

fn plan(call: u64, for_good: bool, errno: Errno) -> FaultPlan {
    let trigger = if for_good { Trigger::FromCall(call) } else { Trigger::Call(call) };
    FaultPlan::one(Fault::Any(errno), trigger)
}

fn prepared() -> Arc<SimDisk> {
    let disk = SimDisk::new(SimOptions::new(4));
    let env = open(&disk.host(), "/home");
    let mut databases = small();
    databases.retain(|(_, durable, _)| *durable);
    fill(&env, &databases);
    env.close().unwrap();
    disk
}

/// Runs `work` once for each of its calls, which fails; `work` says whether it succeeded.
fn at_every_call(
    base: &Arc<SimDisk>,
    home: &str,
    work: impl Fn(&Arc<SimDisk>, &Environment) -> bool,
    check: impl Fn(&Arc<SimDisk>, Environment, bool, &str),
) {
    let (mut failed, mut rode_out) = (0, 0);
    for errno in [Errno::Eio, Errno::Enospc, Errno::Eintr] {
        for for_good in [false, true] {
            for ahead in 0.. {
                let disk = base.reboot(CrashChoice::All);
                let env = open(&disk.host(), home);
                let call = disk.calls() + ahead;
                disk.faults(plan(call, for_good, errno));
                let done = work(&disk, &env);
                let reached = disk.calls() > call;
                disk.faults(FaultPlan::default());
                if !reached {
                    break;
                }
                *(if done { &mut rode_out } else { &mut failed }) += 1;
                let what = format!("{errno}, {ahead} calls on, for good: {for_good}");
                check(&disk, env, done, &what);
            }
        }
    }
    assert!(failed > 10, "{failed} failed, {rode_out} rode it out");
}

#[test]
fn an_export_whose_calls_fail_leaves_nothing_that_counts() {
    for how in FORMS {
        let base = prepared();
        let work =
            |disk: &Arc<SimDisk>, env: &Environment| export(&disk.host(), env, &form(how)).is_ok();
        at_every_call(&base, "/home", work, |disk, env, done, what| {
            match compare(&disk.host(), &env) {
                Ok(report) => assert!(report.is_same(), "{what}: {report}"),
                Err(error) => assert!(!done, "{what}: it was said to be done: {error}"),
            }
        });
    }
}

#[test]
fn an_export_whose_call_fails_once_removes_what_it_wrote() {
    let base = prepared();
    let how = FORMS[0];
    let work =
        |disk: &Arc<SimDisk>, env: &Environment| export(&disk.host(), env, &form(how)).is_ok();
    let (left, clean) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    at_every_call(&base, "/home", work, |disk, _, done, _| {
        let names = disk.list(Path::new(EXPORT)).unwrap_or_default();
        if !done {
            let count = if names.is_empty() { &clean } else { &left };
            count.set(count.get() + 1);
        }
    });
    // Only a disk on which nothing works any more keeps what is there.
    assert!(clean.get() > 10 && left.get() > 0, "{} clean, {} not", clean.get(), left.get());
}

#[test]
fn an_import_whose_calls_fail_leaves_each_database_whole_or_not_at_all() {
    let base = prepared();
    let env = open(&base.host(), "/home");
    export(&base.host(), &env, &form(FORMS[2])).unwrap();
    let new = read_all(&env).unwrap();
    env.close().unwrap();
    open(&base.host(), "/other").close().unwrap();
    let work = |disk: &Arc<SimDisk>, env: &Environment| {
        import(&disk.host(), env, &ImportOptions::new()).is_ok()
    };
    at_every_call(&base, "/other", work, |disk, env, done, what| {
        env.abandon();
        let env = Environment::open_on(disk.host(), "/other", options()).unwrap();
        let state = read_all(&env).unwrap();
        let whole = state.iter().all(|(name, rows)| Some(rows) == new.get(name));
        assert!(whole, "{what}: half a database");
        assert!(!done || state == new, "{what}: it was said to be done");
        assert!(env.verify().unwrap().is_clean(), "{what}");
    });
}
