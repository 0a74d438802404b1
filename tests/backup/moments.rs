//! Point in time: every place in the log, every moment of a commit, and what lies beyond.

use campanile::restore::{RestoreOptions, Target};
use campanile::{Environment, ErrorKind, Lsn, inspect};
use std::path::Path;

use crate::world::{HOME, OTHER, World, assert_same, contents, log_dir, options, restore_with};

/// A history with its first backup early, and its log in reach.
fn history(seed: u64, files: u32) -> World {
    let mut world = World::new(seed);
    // Pinned for good: the whole log stays.
    std::mem::forget(campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap());
    world.back_up();
    world.env.restore_point("a point").unwrap();
    world.fill_log(files);
    world
}

fn restore(world: &World, target: Target, to: &str) -> Result<(), campanile::Error> {
    let options = RestoreOptions::new().target(target).logs(log_dir(HOME));
    restore_with(&world.disk, options, to).map(|_| ())
}

/// Starts of all records behind the backup, with the start of the next.
fn boundaries(world: &World) -> Vec<Lsn> {
    let records = inspect::log_on(&world.host(), HOME, &inspect::LogOptions::new()).unwrap();
    let end = records.end();
    let mut all: Vec<Lsn> = records.map(|record| record.unwrap().lsn()).collect();
    all.push(end);
    all
}

fn earliest(world: &World) -> Lsn {
    let found = world.restore(Target::End, "/nowhere");
    let report = restore_with(&world.disk, RestoreOptions::new().dry_run(true), OTHER).unwrap();
    drop(found);
    report.earliest
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
pub fn every_place_in_the_log_can_be_restored_to() {
    let world = history(20, 14);
    let all = boundaries(&world);
    assert!(all.len() > 1000, "a history of {} records only", all.len());
    let earliest = earliest(&world);
    // Every n-th boundary; all of them with CAMPANILE_PITR=1.
    let stride = number("CAMPANILE_PITR", 23);
    let mut restored = 0;
    for (count, pair) in all.windows(2).enumerate() {
        let (start, next) = (pair[0], pair[1]);
        let at_file_end = start.file() != next.file();
        if start < earliest || (count % stride != 0 && !at_file_end) {
            continue;
        }
        for (at, inclusive, shows) in [
            (start, false, start),
            (start, true, next),
            // Inside the record: it does not count, or all of it does.
            (Lsn(start.0 + 8), false, start),
            (Lsn(start.0 + 8), true, next),
        ] {
            // Each on a disk of its own: a restore leaves nothing behind for the next.
            let disk = world.disk.fork();
            let target = Target::Lsn { at, inclusive };
            let options = RestoreOptions::new().target(target).logs(log_dir(HOME));
            restore_with(&disk, options, OTHER)
                .unwrap_or_else(|error| panic!("{at} inclusive {inclusive}: {error}"));
            let state = contents(&disk, OTHER);
            assert_same(&state, &world.state_at(shows), &format!("{at} inclusive {inclusive}"));
            restored += 1;
        }
    }
    assert!(restored >= 50, "only {restored} places");
}

#[test]
fn every_moment_of_a_commit_can_be_restored_to() {
    let world = history(21, 6);
    let earliest = earliest(&world);
    let records = inspect::log_on(&world.host(), HOME, &inspect::LogOptions::new()).unwrap();
    let commits: Vec<(Lsn, u64)> = records
        .map(|record| record.unwrap())
        .filter(|record| record.kind() == "commit")
        .map(|record| (record.lsn(), time_of(&record)))
        .collect();
    let stride = number("CAMPANILE_PITR", 11);
    let mut restored = 0;
    for (count, (lsn, us)) in commits.iter().enumerate() {
        let after = commits.get(count + 1).map(|(next, _)| *next);
        if *lsn < earliest || after.is_none() || count % stride != 0 {
            continue;
        }
        let with = after.unwrap();
        for (us, inclusive, shows) in
            [(us - 1, true, *lsn), (*us, false, *lsn), (*us, true, with), (us + 1, false, with)]
        {
            let disk = world.disk.fork();
            let target = Target::Time { us, inclusive };
            let options = RestoreOptions::new().target(target).logs(log_dir(HOME));
            let report = restore_with(&disk, options, OTHER).unwrap();
            assert_same(
                &contents(&disk, OTHER),
                &world.state_at(shows),
                &format!("{us} {inclusive}"),
            );
            assert!(report.stop >= earliest);
            restored += 1;
        }
    }
    assert!(restored >= 20, "only {restored} moments");
}

fn time_of(record: &inspect::LogRecord) -> u64 {
    let json = serde_json::to_value(record).unwrap();
    json.get("time_us").and_then(serde_json::Value::as_u64).expect("a commit has a time")
}

#[test]
fn what_cannot_be_reached_is_refused_with_what_can_before_anything_is_written() {
    let world = history(22, 2);
    let earliest = earliest(&world);
    let end = *boundaries(&world).last().unwrap();
    let refused = |target: Target, word: &str| {
        let error = restore(&world, target.clone(), "/refused").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(word), "{target}: {error}");
        assert!(!campanile_vfs::Vfs::exists(&*world.disk, Path::new("/refused")).unwrap());
    };
    let reach = &format!("{end}");
    refused(Target::Lsn { at: Lsn(end.0 + 8), inclusive: false }, reach);
    refused(Target::Time { us: u64::MAX / 2, inclusive: true }, reach);
    let from = &format!("{earliest}");
    refused(Target::Lsn { at: world.moments[0].lsn, inclusive: true }, from);
    refused(Target::Time { us: 1, inclusive: true }, from);
    refused(Target::RestorePoint { name: "nobody made this".into() }, "a point");
}

#[test]
fn a_named_restore_point_is_a_moment_that_comes_back() {
    let mut world = history(23, 1);
    let before = world.newest();
    let mut open = world.env.begin().unwrap();
    let name = before.keys().next().unwrap().clone();
    let db = world.env.open_database_in(&mut open, &name).unwrap();
    db.put(&mut open, "half done", "not part of the moment").unwrap();
    world.env.restore_point("before the mistake").unwrap();
    open.abort().unwrap();
    world.fill_log(1);
    restore(&world, Target::RestorePoint { name: "before the mistake".into() }, OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &before, "restored");
}

#[test]
fn an_older_backup_is_taken_for_an_older_target() {
    let mut world = history(24, 1);
    let target = world.moments.last().unwrap().clone();
    world.burst(10);
    world.disk.host().clock.sleep_us(2_000_000);
    let second = world.back_up();
    world.fill_log(1);
    let at = Target::Lsn { at: target.lsn, inclusive: true };
    let options = RestoreOptions::new().target(at).logs(log_dir(HOME));
    let report = restore_with(&world.disk, options, OTHER).unwrap();
    assert_ne!(report.backup, second.name);
    assert_same(&contents(&world.disk, OTHER), &target.state, "restored");
    let report = restore_with(&world.disk, RestoreOptions::new().dry_run(true), "/x").unwrap();
    assert_eq!(report.backup, second.name, "the newest for the end of the log");
    let named = RestoreOptions::new().backup(&second.name).logs(log_dir(HOME));
    let early = Target::Lsn { at: target.lsn, inclusive: true };
    let error = restore_with(&world.disk, named.target(early), "/x").unwrap_err();
    assert!(error.to_string().contains("use an earlier backup"), "{error}");
}

#[test]
fn times_go_by_position_when_the_clock_stepped_back() {
    let mut world = history(25, 1);
    world.burst(30);
    let commits = |world: &World| {
        let records = inspect::log_on(&world.host(), HOME, &inspect::LogOptions::new()).unwrap();
        let commits = records.map(|record| record.unwrap());
        commits.filter(|record| record.kind() == "commit").map(|record| time_of(&record)).last()
    };
    let before = world.newest();
    let us = commits(&world).unwrap();
    // Berkeley DB goes by the times themselves here: it keeps what was committed after, with times
    // from before, and takes back what was committed before.
    world.disk.clock().jump_us(-50_000_000);
    world.burst(60);
    assert!(world.newest() != before);
    restore(&world, Target::Time { us, inclusive: true }, OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &before, "before the clock stepped back");
}

#[test]
fn a_transaction_that_was_prepared_at_the_target_comes_back_prepared() {
    let mut world = history(26, 1);
    let before = world.newest();
    let name = before.keys().next().unwrap().clone();
    let mut txn = world.env.begin().unwrap();
    let db = world.env.open_database_in(&mut txn, &name).unwrap();
    db.put(&mut txn, "order", "66").unwrap();
    drop(txn.prepare(b"order 66").unwrap());
    let at = world.env.restore_point("between prepare and commit").unwrap();
    world.env.commit_prepared(b"order 66").unwrap();
    world.burst(5);
    for (home, commits) in [("/committed", true), ("/aborted", false)] {
        restore(&world, Target::Lsn { at, inclusive: true }, home).unwrap();
        let env = Environment::open_on(world.host(), home, options()).unwrap();
        assert_eq!(env.prepared().len(), 1, "it waits for its coordinator");
        if commits {
            env.commit_prepared(b"order 66").unwrap();
        } else {
            env.abort_prepared(b"order 66").unwrap();
        }
        let snapshot = env.snapshot().unwrap();
        let db = env.open_database(&name).unwrap();
        assert_eq!(db.get(&snapshot, "order").unwrap().is_some(), commits);
    }
}
