//! Retention: whatever is removed, and whenever that is cut short, every backup that stays comes
//! back to every moment that it reached before.
//!
//! `CAMPANILE_BACKUP_CRASHES` says how many calls are left out between two crashes (default 9).

use campanile::backup::{self, BackupOptions, PruneOptions, PruneReport};
use campanile::restore::{RestoreOptions, Target};
use campanile::{Error, ErrorKind, Progress};
use campanile_backup::{BackupFound, Repository};
use campanile_format::names;
use campanile_tests::oracle::State;
use campanile_vfs::Vfs;
use campanile_vfs::sim::{Errno, Fault, FaultPlan, SimDisk, Trigger};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::crashes::crash_states;
use crate::world::{
    HOME, REPOSITORY, World, assert_same, contents, host_of, options, repository, restore_with,
};

const DAY_US: u64 = 86_400_000_000;

/// A day after day backed-up world, and what it held when each backup was complete.
struct Days {
    world: World,
    backups: Vec<(String, State)>,
}

fn days(seed: u64, count: usize) -> Days {
    days_of(seed, &vec![false; count])
}

/// One backup a day; true means an increment of the one before.
fn days_of(seed: u64, increments: &[bool]) -> Days {
    let mut world = World::with(seed, options().archive(REPOSITORY));
    let mut backups = Vec::new();
    for increment in increments {
        world.fill_log(2);
        settle(&world);
        world.env.checkpoint().unwrap();
        let made = BackupOptions::new().incremental(*increment);
        let made = made.run_on(&world.host(), Path::new(HOME), repository()).unwrap();
        backups.push((made.name, world.newest()));
        world.disk.clock().advance_us(DAY_US);
    }
    world.fill_log(1);
    settle(&world);
    world.env.clone().close().unwrap();
    Days { world, backups }
}

/// Lets the background do all it can.
fn settle(world: &World) {
    while world.env.step().unwrap() {}
}

fn prune(disk: &Arc<SimDisk>, options: &PruneOptions) -> Result<PruneReport, Error> {
    options.run_on(&host_of(disk), repository())
}

fn complete(disk: &Arc<SimDisk>) -> Vec<BackupFound> {
    let found = Repository::in_directory(&host_of(disk), repository()).backups().unwrap();
    found.into_iter().filter(|found| found.manifest.is_some()).collect()
}

fn names_of(disk: &Arc<SimDisk>) -> Vec<String> {
    complete(disk).into_iter().map(|found| found.name).collect()
}

fn in_repository(disk: &Arc<SimDisk>, dir: &str) -> Vec<String> {
    let mut names = disk.list(&repository().join(dir)).unwrap_or_default();
    names.sort();
    names
}

fn archive_numbers(disk: &Arc<SimDisk>) -> Vec<u32> {
    let names = in_repository(disk, "log/0000000001");
    names.iter().filter_map(|name| names::parse_log_file(name)).collect()
}

/// Restores a backup to where it was complete and to the end of the log, in a world of its own.
#[track_caller]
fn assert_restorable(disk: &Arc<SimDisk>, name: &str, then: &State, newest: &State, what: &str) {
    let disk = disk.fork();
    let named = || RestoreOptions::new().backup(name);
    let run = |options, to| {
        restore_with(&disk, options, to).unwrap_or_else(|error| panic!("{what}: {name}: {error}"));
        contents(&disk, to)
    };
    let end = run(named(), "/to-the-end");
    assert_same(&end, newest, &format!("{what}: {name} to the end"));
    let back = run(named().target(Target::BackupEnd), "/to-its-end");
    assert_same(&back, then, &format!("{what}: {name} to its own end"));
}

impl Days {
    fn assert_all_restorable(&self, disk: &Arc<SimDisk>, kept: &[&str], what: &str) {
        for (name, then) in self.backups.iter().filter(|(name, _)| kept.contains(&name.as_str())) {
            assert_restorable(disk, name, then, &self.world.newest(), what);
        }
    }

    fn name(&self, at: usize) -> &str {
        &self.backups[at].0
    }
}

#[test]
pub fn what_stays_comes_back_to_every_moment_and_what_goes_leaves_no_trace() {
    let days = days(60, 5);
    let disk = &days.world.disk;
    let plan = prune(disk, &PruneOptions::new().keep_last(2).dry_run(true)).unwrap();
    assert_eq!(names_of(disk).len(), 5, "a dry run removes nothing");
    let report = prune(disk, &PruneOptions::new().keep_last(2)).unwrap();
    assert_eq!((&plan.backups, &plan.logs), (&report.backups, &report.logs));
    let kept = [days.name(3), days.name(4)];
    assert_eq!(in_repository(disk, "backup"), kept, "no directory of the others is left");
    let first = complete(disk)[0].manifest.as_ref().unwrap().first().file();
    let archived = archive_numbers(disk);
    assert_eq!(archived.first(), Some(&first), "the log begins with the oldest backup's");
    assert!(archived.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{archived:?}");
    days.assert_all_restorable(disk, &kept, "after pruning");
    // Every moment since the oldest that stays.
    let end = complete(disk)[0].manifest.as_ref().unwrap().end();
    let later = days.world.moments.iter().filter(|moment| moment.lsn >= end);
    for (count, moment) in later.enumerate().filter(|(count, _)| count % 12 == 0) {
        let target = Target::Lsn { at: moment.lsn, inclusive: true };
        let options = RestoreOptions::new().backup(kept[0]).target(target);
        let to = format!("/moment-{count}");
        restore_with(disk, options, &to).unwrap();
        assert_same(&contents(disk, &to), &moment.state, &to);
    }
    let again = prune(disk, &PruneOptions::new().keep_last(2)).unwrap();
    assert_eq!((again.removed_backups().count(), again.removed_logs().count()), (0, 0));
}

#[test]
pub fn an_increment_that_stays_keeps_its_chain_and_a_chain_goes_as_a_whole() {
    let days = days_of(72, &[false, true, true, false, true]);
    let disk = &days.world.disk;
    prune(disk, &PruneOptions::new().keep_last(1)).unwrap();
    let kept = [days.name(3), days.name(4)];
    assert_eq!(in_repository(disk, "backup"), kept);
    days.assert_all_restorable(disk, &kept, "the chain that stays");
}

#[test]
fn days_keep_the_backup_before_them() {
    let days = days(61, 5);
    let disk = &days.world.disk;
    prune(disk, &PruneOptions::new().keep_days(3)).unwrap();
    let kept = [days.name(2), days.name(3), days.name(4)];
    assert_eq!(names_of(disk), kept);
    days.assert_all_restorable(disk, &kept, "after pruning");
}

#[test]
fn a_log_file_that_only_a_backup_holds_is_archived_before_the_backup_goes() {
    let days = days(62, 4);
    let (disk, host) = (&days.world.disk, days.world.host());
    backup::keep_on(&host, repository(), days.name(0), "the first").unwrap();
    // Nobody archived these: a backup in the middle holds them.
    let first = complete(disk)[0].manifest.as_ref().unwrap().end().file() + 1;
    let (from, to) = (repository().join("log/0000000001"), format!("backup/{}/log", days.name(1)));
    for number in [first, first + 1] {
        let name = names::log_file(number);
        disk.rename(&from.join(&name), &repository().join(&to).join(&name)).unwrap();
    }
    disk.sync_dir(&repository().join(&to)).unwrap();
    disk.sync_dir(&from).unwrap();
    days.assert_all_restorable(disk, &[days.name(0)], "before");
    let policy = PruneOptions::new().keep_last(1);
    for (call, state) in crash_states(disk, || drop(prune(disk, &policy).unwrap())) {
        days.assert_all_restorable(&state, &[days.name(0)], &format!("call {call}"));
    }
    assert_eq!(names_of(disk), [days.name(0), days.name(3)]);
    assert!(archive_numbers(disk).contains(&first) && archive_numbers(disk).contains(&(first + 1)));
    days.assert_all_restorable(disk, &[days.name(0), days.name(3)], "after");
}

#[test]
fn what_the_archive_puts_away_while_it_is_pruned_is_not_replaced_by_a_shorter_copy() {
    let days = days(73, 4);
    let (disk, host) = (&days.world.disk, days.world.host());
    backup::keep_on(&host, repository(), days.name(0), "the first").unwrap();
    // The file in which the second backup ends is archived only while it is pruned.
    let number = complete(disk)[1].manifest.as_ref().unwrap().end().file();
    let name = format!("log/0000000001/{}", names::log_file(number));
    let whole = disk.file_bytes(&repository().join(&name)).unwrap();
    for late in [false, true] {
        let disk = disk.fork();
        disk.remove(&repository().join(&name)).unwrap();
        disk.sync_dir(&repository().join("log/0000000001")).unwrap();
        let (shelves, bytes) = (Repository::in_directory(&host_of(&disk), repository()), &whole);
        let mut phases = 0;
        let mut hook = |progress: &campanile_backup::Step| {
            phases += usize::from(progress.phase == "archiving log files");
            // As the copy begins, or when all of it is written.
            if progress.phase == "archiving log files" && (progress.done > 0) == late {
                let mut put = shelves.shelf().put(&name).unwrap();
                put.write(bytes).unwrap();
                put.finish().unwrap();
            }
            ControlFlow::Continue(())
        };
        let policy = campanile_backup::Policy { keep_last: Some(1), keep_days: None };
        let pruned = shelves.prune(&policy, false, &mut hook).unwrap();
        assert!(pruned.moved.contains(&name) && phases > 0, "{:?}", pruned.moved);
        let after = disk.file_bytes(&repository().join(&name)).unwrap();
        assert!(after == whole, "{} of {} bytes", after.len(), whole.len());
        days.assert_all_restorable(&disk, &[days.name(0), days.name(3)], "after");
    }
}

#[test]
fn a_drill_that_is_backed_up_into_the_same_repository_costs_production_nothing() {
    let mut world = World::with(74, options().archive(REPOSITORY));
    world.fill_log(1);
    let production = world.back_up().name;
    settle(&world);
    backup::archive_now_on(&world.host(), Path::new(HOME)).unwrap();
    restore_with(&world.disk, RestoreOptions::new(), "/drill").unwrap();
    contents(&world.disk, "/drill");
    for _ in 0..2 {
        world.disk.clock().advance_us(DAY_US);
        let host = world.host();
        backup::back_up_on(&host, Path::new("/drill"), repository(), &Progress::none()).unwrap();
    }
    // Production wrote nothing meanwhile, and goes on in the file in which the drill left it.
    world.disk.clock().advance_us(30 * DAY_US);
    let file = world.log_file();
    world.burst(1);
    assert_eq!(world.log_file(), file);
    backup::archive_now_on(&world.host(), Path::new(HOME)).unwrap();
    prune(&world.disk, &PruneOptions::new().keep_last(2)).unwrap();
    assert!(names_of(&world.disk).contains(&production));
    world.env.clone().abandon();
    restore_with(&world.disk, RestoreOptions::new().timeline(1), "/again").unwrap();
    assert_same(&contents(&world.disk, "/again"), &world.newest(), "production");
}

#[test]
fn a_marked_backup_stays_until_the_mark_is_taken_away() {
    let days = days(63, 4);
    let disk = &days.world.disk;
    let host = host_of(disk);
    backup::keep_on(&host, repository(), days.name(0), "before version 7").unwrap();
    prune(disk, &PruneOptions::new().keep_last(1)).unwrap();
    assert_eq!(names_of(disk), [days.name(0), days.name(3)]);
    let mark = complete(disk)[0].mark.clone().unwrap();
    assert_eq!(mark.note, "before version 7");
    days.assert_all_restorable(disk, &[days.name(0), days.name(3)], "with a mark");
    backup::keep_no_longer_on(&host, repository(), days.name(0)).unwrap();
    prune(disk, &PruneOptions::new().keep_last(1)).unwrap();
    assert_eq!(in_repository(disk, "backup"), [days.name(3)]);
    let unknown = backup::keep_on(&host, repository(), "20200101_000000", "").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "{unknown}");
    let climbing = backup::keep_on(&host, repository(), "../log", "").unwrap_err();
    assert_eq!(climbing.kind(), ErrorKind::NotFound, "{climbing}");
}

#[test]
fn pruning_needs_a_policy_and_a_repository() {
    let world = World::new(64);
    let none = prune(&world.disk, &PruneOptions::new()).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidArgument, "{none}");
    let zero = prune(&world.disk, &PruneOptions::new().keep_last(0)).unwrap_err();
    assert_eq!(zero.kind(), ErrorKind::InvalidArgument, "{zero}");
    let nothing = prune(&world.disk, &PruneOptions::new().keep_last(1)).unwrap_err();
    assert!(nothing.to_string().contains("is no repository"), "{nothing}");
}

#[test]
fn a_power_failure_at_any_call_of_pruning_loses_nothing_and_the_next_run_goes_on() {
    let days = days_of(65, &[false, true, true, false]);
    let disk = &days.world.disk;
    backup::keep_on(&host_of(disk), repository(), days.name(0), "the first").unwrap();
    let kept = [days.name(0), days.name(3)];
    let policy = PruneOptions::new().keep_last(1);
    let mut half = 0;
    for (call, state) in crash_states(disk, || drop(prune(disk, &policy).unwrap())) {
        let what = format!("call {call}");
        let there = in_repository(&state, "backup").len();
        half += usize::from(there > names_of(&state).len());
        days.assert_all_restorable(&state, &kept, &what);
        // What has not been reached yet is as good as ever.
        for name in names_of(&state) {
            days.assert_all_restorable(&state, &[&name], &what);
        }
        prune(&state, &policy).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(in_repository(&state, "backup"), kept, "{what}");
        assert_eq!(in_repository(&state, "log"), ["0000000001"], "{what}");
        days.assert_all_restorable(&state, &kept, &what);
    }
    assert!(half > 0, "no crash left half a backup");
}

#[test]
fn a_failing_call_of_pruning_loses_nothing_and_the_next_run_goes_on() {
    let days = days(66, 4);
    let disk = &days.world.disk;
    let kept = [days.name(2), days.name(3)];
    let policy = PruneOptions::new().keep_last(2);
    let calls = {
        let disk = disk.fork();
        let before = disk.calls();
        prune(&disk, &policy).unwrap();
        disk.calls() - before
    };
    let (mut failed, mut noticed) = (0, 0);
    for call in (0..calls).step_by(7) {
        for errno in [Errno::Eio, Errno::Eintr] {
            let disk = disk.fork();
            let at = disk.calls() + call;
            disk.faults(FaultPlan::one(Fault::Any(errno), Trigger::FromCall(at)));
            failed += 1;
            noticed += usize::from(prune(&disk, &policy).is_err());
            disk.faults(FaultPlan::none());
            let what = format!("call {call} {errno}");
            days.assert_all_restorable(&disk, &kept, &what);
            prune(&disk, &policy).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(in_repository(&disk, "backup"), kept, "{what}");
            days.assert_all_restorable(&disk, &kept, &what);
        }
    }
    assert_eq!(noticed, failed, "an error that goes on is always told");
}

#[test]
fn a_power_failure_while_a_mark_is_set_leaves_it_or_does_not_and_the_backup_is_whole() {
    let days = days(67, 2);
    let disk = &days.world.disk;
    let (mut with, mut without) = (0, 0);
    disk.capture_crash_points();
    backup::keep_on(&host_of(disk), repository(), days.name(0), "why").unwrap();
    for point in disk.take_crash_points() {
        for choice in campanile_vfs::sim::CrashPolicy::full(1).choices(&point.disk.pending()) {
            let state = point.disk.reboot(choice);
            let found = complete(&state);
            assert_eq!(found.len(), 2);
            match &found[0].mark {
                Some(mark) => {
                    assert_eq!(mark.note, "why");
                    with += 1;
                }
                None => without += 1,
            }
        }
    }
    assert!(with > 0 && without > 0);
    days.assert_all_restorable(disk, &[days.name(0)], "marked");
}

/// Prunes at every step that other work reports; every attempt must be refused.
fn pruning_meanwhile(disk: &Arc<SimDisk>) -> (Progress, Arc<Mutex<Vec<ErrorKind>>>) {
    let seen: Arc<Mutex<Vec<ErrorKind>>> = Arc::default();
    let (told, disk) = (Arc::clone(&seen), Arc::clone(disk));
    let progress = Progress::new(move |_| {
        // Waiting for the lock takes (simulated) seconds: a few are enough.
        if told.lock().unwrap().len() < 4 {
            let outcome = prune(&disk, &PruneOptions::new().keep_last(1));
            told.lock().unwrap().push(outcome.expect_err("somebody works here").kind());
        }
        ControlFlow::Continue(())
    });
    (progress, seen)
}

#[test]
fn nothing_is_pruned_while_a_backup_is_made() {
    let mut days = days(68, 2);
    let world = &mut days.world;
    world.env = campanile::Environment::open_on(world.host(), HOME, options()).unwrap();
    let (progress, seen) = pruning_meanwhile(&world.disk);
    let host = world.host();
    backup::back_up_on(&host, Path::new(HOME), repository(), &progress).unwrap();
    let seen = seen.lock().unwrap().clone();
    assert!(!seen.is_empty() && seen.iter().all(|kind| *kind == ErrorKind::Locked), "{seen:?}");
    assert_eq!(names_of(&world.disk).len(), 3);
}

#[test]
fn nothing_is_pruned_while_something_is_restored() {
    let days = days(69, 2);
    let disk = &days.world.disk;
    let (progress, seen) = pruning_meanwhile(disk);
    let options = RestoreOptions::new().backup(days.name(0)).progress(progress);
    restore_with(disk, options, "/beside").unwrap();
    let seen = seen.lock().unwrap().clone();
    assert!(seen.contains(&ErrorKind::Locked), "{seen:?}");
    assert_eq!(names_of(disk).len(), 2);
    assert_same(&contents(disk, "/beside"), &days.world.newest(), "restored");
}

#[test]
fn the_archive_goes_on_while_it_is_pruned() {
    let mut world = World::with(70, options().archive(REPOSITORY));
    let mut last = Vec::new();
    for round in 0..6 {
        world.fill_log(1);
        last.push((world.back_up().name, world.newest()));
        // Between any two steps of the archiver.
        while world.env.step().unwrap() {
            if round % 2 == 0 {
                prune(&world.disk, &PruneOptions::new().keep_last(2)).unwrap();
            }
        }
        world.env.checkpoint().unwrap();
        prune(&world.disk, &PruneOptions::new().keep_last(2)).unwrap();
    }
    world.fill_log(2);
    let newest = world.newest();
    world.env.clone().close().unwrap();
    let archived = archive_numbers(&world.disk);
    assert!(archived[0] > 1 && archived.windows(2).all(|two| two[0] + 1 == two[1]));
    for (name, then) in &last[last.len() - 2..] {
        assert_restorable(&world.disk, name, then, &newest, "pruned beside the archive");
    }
}

#[test]
fn a_file_that_is_put_where_a_directory_was_removed_makes_it_anew() {
    let world = World::new(71);
    let shelves = Repository::in_directory(&world.host(), repository());
    let shelf = shelves.shelf();
    let put = |name: &str| shelf.put(name).and_then(|put| put.finish());
    put("log/0000000001/a").unwrap();
    shelf.remove("log/0000000001/a").unwrap();
    // Another process tidies up.
    let theirs = Repository::in_directory(&world.host(), repository());
    theirs.shelf().forget_empty("log/0000000001").unwrap();
    put("log/0000000001/b").unwrap();
    theirs.shelf().forget_empty("log/0000000001").unwrap();
    assert_eq!(shelf.list("log/0000000001").unwrap(), ["b"]);
    let place: PathBuf = repository().join("log");
    assert!(world.disk.exists(&place.join("0000000001/b")).unwrap());
    theirs.shelf().clear("log").unwrap();
    theirs.shelf().clear("log").unwrap();
    assert!(!world.disk.exists(&place).unwrap());
}
