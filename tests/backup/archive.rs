//! Continuous archiving: nothing is used again before it is safe, and what is safe comes back.

use campanile::restore::{RestoreOptions, Target};
use campanile::{Environment, backup};
use campanile_format::names;
use campanile_vfs::{Open, Vfs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_vfs::sim::SimDisk;

use crate::world::{
    HOME, OTHER, REPOSITORY, World, assert_same, contents, log_dir, options, repository,
    restore_with,
};

fn archived_world(seed: u64) -> World {
    World::with(seed, options().archive(REPOSITORY))
}

fn archive_dir(timeline: u32) -> PathBuf {
    Path::new(REPOSITORY).join(format!("log/{timeline:010}"))
}

fn numbers(disk: &Arc<SimDisk>, dir: &Path) -> Vec<u32> {
    let names = disk.list(dir).unwrap_or_default();
    let mut numbers: Vec<u32> =
        names.iter().filter_map(|name| names::parse_log_file(name)).collect();
    numbers.sort_unstable();
    numbers
}

/// Lets the background do all it can.
fn settle(world: &World) {
    while world.env.step().unwrap() {}
}

#[test]
fn every_log_file_reaches_the_archive_before_it_is_used_again() {
    let mut world = archived_world(30);
    world.back_up();
    for _ in 0..8 {
        world.fill_log(1);
        world.env.checkpoint().unwrap();
        let safe = numbers(&world.disk, &archive_dir(1));
        let kept = numbers(&world.disk, &log_dir(HOME));
        let all: Vec<u32> = (1..=world.log_file()).collect();
        let somewhere = |number: &u32| safe.contains(number) || kept.contains(number);
        assert!(all.iter().all(somewhere), "safe {safe:?}, kept {kept:?} of {all:?}");
    }
    settle(&world);
    world.env.checkpoint().unwrap();
    assert!(numbers(&world.disk, &log_dir(HOME)).len() <= 3, "old files are used again");
    assert_eq!(world.env.archive_lag().unwrap().unwrap().files, 0);
}

#[test]
fn a_backup_and_the_archive_bring_back_what_was_archived_though_the_home_is_gone() {
    let mut world = archived_world(31);
    world.back_up();
    world.fill_log(4);
    settle(&world);
    let end = backup::archive_now_on(&world.host(), Path::new(HOME)).unwrap();
    let state = world.state_at(end);
    assert_eq!(state, world.newest(), "archived to the very end");
    world.fill_log(1);
    world.env.clone().abandon();
    world.restore(Target::End, OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &world.state_at(end), "restored");
}

#[test]
fn a_clean_close_archives_the_end_of_the_log() {
    let mut world = archived_world(32);
    world.back_up();
    world.fill_log(2);
    let state = world.newest();
    world.env.clone().close().unwrap();
    world.restore(Target::End, OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &state, "restored");
}

#[test]
fn who_opens_the_home_without_knowing_of_the_archive_keeps_the_log_too() {
    let mut world = archived_world(33);
    world.back_up();
    world.fill_log(2);
    world.env.clone().close().unwrap();
    // A program that was not told.
    world.env = Environment::open_on(world.host(), HOME, options()).unwrap();
    world.fill_log(4);
    world.env.checkpoint().unwrap();
    let state = world.newest();
    world.env.clone().close().unwrap();
    world.restore(Target::End, OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &state, "restored");
}

#[test]
fn an_archive_that_cannot_be_written_keeps_the_log_and_commits_go_on() {
    let mut world = archived_world(34);
    world.back_up();
    // Something else stands where the archive of this history should be.
    let dir = archive_dir(1);
    world.disk.create_dir(dir.parent().unwrap()).unwrap();
    world.disk.open(&dir, Open::CreateNew).unwrap();
    for _ in 0..4 {
        let target = world.log_file() + 1;
        while world.log_file() < target {
            write_without_background(&mut world);
        }
        world.env.checkpoint().unwrap();
    }
    assert_eq!(numbers(&world.disk, &log_dir(HOME))[0], 1, "nothing was given up");
    assert!(world.env.step().is_err());
    world.disk.remove(&dir).unwrap();
    settle(&world);
    world.env.checkpoint().unwrap();
    assert!(numbers(&world.disk, &log_dir(HOME)).len() <= 3);
    let state = world.newest();
    world.env.clone().close().unwrap();
    world.restore(Target::End, OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &state, "restored");
}

fn write_without_background(world: &mut World) {
    let db = world.env.create_database("log filler").unwrap();
    let lsn = {
        let mut txn = world.env.begin().unwrap();
        db.put(&mut txn, "key", vec![b'x'; 100]).unwrap();
        txn.commit().unwrap()
    };
    let mut state = world.newest();
    let rows = std::collections::BTreeMap::from([(b"key".to_vec(), vec![b'x'; 100])]);
    state.insert("log filler".into(), Arc::new(rows));
    world.moments.push(crate::world::Moment { lsn, state });
}

#[test]
pub fn a_gap_in_the_archive_is_named_and_refused() {
    let mut world = archived_world(35);
    world.back_up();
    world.fill_log(4);
    world.env.clone().close().unwrap();
    let whole = backup::catalog_on(&world.host(), repository()).unwrap();
    assert_eq!((whole.windows.len(), whole.windows[0].ended_by.is_none()), (1, true));
    let missing = archive_dir(1).join(names::log_file(3));
    world.disk.remove(&missing).unwrap();
    let cut = backup::catalog_on(&world.host(), repository()).unwrap();
    let why = cut.windows[0].ended_by.as_deref().unwrap();
    assert!(why.contains("log.0000000003 is missing"), "{why}");
    assert!(cut.windows[0].to_us < whole.windows[0].to_us);
    let error = world.restore(Target::End, OTHER).unwrap_err();
    assert!(error.to_string().contains("log.0000000003 is missing"), "{error}");
    assert!(error.is_corruption());
    assert!(!world.disk.exists(Path::new(OTHER)).unwrap());
}

#[test]
fn of_several_copies_of_a_log_file_the_best_one_is_taken_whatever_it_is_called() {
    let mut world = archived_world(36);
    world.back_up();
    world.fill_log(3);
    world.env.clone().close().unwrap();
    let state = world.newest();
    let salvaged = Path::new("/salvaged");
    world.disk.create_dir(salvaged).unwrap();
    for (count, number) in numbers(&world.disk, &archive_dir(1)).into_iter().enumerate() {
        let from = archive_dir(1).join(names::log_file(number));
        let bytes = world.disk.file_bytes(&from).unwrap();
        put(&world.disk, &salvaged.join(format!("found.{}", 900 - count)), &bytes);
        put(&world.disk, &salvaged.join(format!("cut.{number}")), &bytes[..(bytes.len() / 2) & !7]);
        // The archive's own copy is damaged in the middle.
        if number % 2 == 0 {
            let mut bad = bytes.clone();
            let middle = bad.len() / 2;
            bad[middle] ^= 0x10;
            put(&world.disk, &from, &bad);
        }
    }
    let alone = world.restore(Target::End, OTHER);
    assert!(alone.is_err(), "the archive alone is damaged");
    let options = RestoreOptions::new().logs(salvaged);
    restore_with(&world.disk, options, OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &state, "restored");
}

fn put(disk: &Arc<SimDisk>, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, Open::OpenOrCreate).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path.parent().unwrap()).unwrap();
}

#[test]
fn a_repository_belongs_to_one_environment() {
    let world = World::new(37);
    world.back_up();
    let other = Environment::open_on(world.host(), "/stranger", options()).unwrap();
    let made =
        backup::back_up_on(&world.host(), other.home(), repository(), &campanile::Progress::none());
    let error = made.unwrap_err();
    assert!(error.to_string().contains("belongs to environment"), "{error}");
}
