//! Backups of an environment whose data files are in several directories, and where they come back.

use campanile::ErrorKind;
use campanile::restore::RestoreOptions;
use campanile_format::names;
use campanile_tests::life::spread;
use campanile_vfs::Vfs;
use campanile_vfs::sim::SimDisk;
use campanile_wal::LogPin;
use std::path::Path;

use crate::crashes::crash_states;
use crate::world::{HOME, OTHER, World, assert_same, contents, log_dir, options, restore_with};

const DISK2: &str = "/disk2/shop";
const DISK3: &str = "/disk3/shop";

/// A home with data files in three directories, backed up in the middle of its work. All of its log
/// stays for the restore.
fn world(seed: u64) -> (World, LogPin) {
    let mut world = World::with(seed, spread());
    let all_of_it = LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.burst(60);
    world.back_up();
    world.burst(60);
    (world, all_of_it)
}

fn all_of_it() -> RestoreOptions {
    RestoreOptions::new().logs(log_dir(HOME))
}

fn mapped() -> RestoreOptions {
    all_of_it().map(DISK2, DISK3)
}

fn data_files(disk: &SimDisk, dir: &str) -> usize {
    let found = disk.list(Path::new(dir)).unwrap_or_default();
    found.iter().filter(|name| names::parse_data_file(name).is_some()).count()
}

#[test]
fn everything_comes_back_inside_the_new_home_and_nothing_is_written_elsewhere() {
    let (world, _log) = world(91);
    world.env.clone().close().unwrap();
    let before = world.disk.snapshot_files();
    let report = restore_with(&world.disk, all_of_it(), OTHER).unwrap();
    assert_eq!(report.data_dirs, ["data-1", "fast"]);
    assert!(data_files(&world.disk, "/other/data-1") > 0);
    assert!(data_files(&world.disk, "/other/fast") > 0);
    for (path, bytes) in &before {
        if path.starts_with(DISK2) {
            assert_eq!(world.disk.snapshot_files().get(path), Some(bytes), "{}", path.display());
        }
    }
    assert_same(&contents(&world.disk, OTHER), &world.newest(), "restored");
}

#[test]
fn a_directory_is_restored_where_the_map_says() {
    let (world, _log) = world(92);
    world.env.clone().close().unwrap();
    let report = restore_with(&world.disk, mapped(), OTHER).unwrap();
    assert_eq!(report.data_dirs, [DISK3, "fast"]);
    assert!(data_files(&world.disk, DISK3) > 0);
    assert_same(&contents(&world.disk, OTHER), &world.newest(), "restored");
    assert_same(&contents(&world.disk, HOME), &world.newest(), "the original");
}

#[test]
fn a_map_that_cannot_be_followed_is_refused_before_anything_is_written() {
    let (world, _log) = world(93);
    world.env.clone().close().unwrap();
    let refused = |options: RestoreOptions, words: &str| {
        let error = restore_with(&world.disk, options, OTHER).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!world.disk.exists(Path::new(OTHER)).unwrap());
        error.kind()
    };
    let kind = refused(all_of_it().map("/disk9", DISK3), "no data directory of this backup");
    assert_eq!(kind, ErrorKind::InvalidArgument);
    refused(all_of_it().map(DISK2, DISK2), "two homes cannot share");
    refused(all_of_it().map(DISK2, "fast"), "two directories of the environment at once");
    let kind = refused(all_of_it().map(DISK2, "/home/data"), "holds data.");
    assert_eq!(kind, ErrorKind::InvalidArgument);
}

#[test]
fn a_restore_into_several_directories_can_be_run_again_after_a_crash_at_every_call() {
    let (world, _log) = world(94);
    world.env.clone().close().unwrap();
    let states = crash_states(&world.disk, || {
        restore_with(&world.disk, mapped(), OTHER).unwrap();
    });
    let (mut again, mut complete) = (0, 0);
    for (call, disk) in states {
        let what = format!("call {call}");
        let unfinished = disk.exists(&Path::new(OTHER).join(names::RESTORING)).unwrap();
        if unfinished || !disk.exists(&Path::new(OTHER).join(names::CONTROL)).unwrap() {
            restore_with(&disk, mapped(), OTHER).unwrap_or_else(|error| panic!("{what}: {error}"));
            again += 1;
        } else {
            complete += 1;
        }
        assert_same(&contents(&disk, OTHER), &world.newest(), &what);
    }
    assert!(again > 10, "{again} again, {complete} complete");
}

#[test]
fn a_hot_copy_has_all_data_files_in_one_directory() {
    let (mut world, _log) = world(95);
    let (host, copy) = (world.host(), Path::new("/copy"));
    let none = campanile::Progress::none();
    campanile::backup::hot_copy_on(&host, Path::new(HOME), copy, &none).unwrap();
    world.burst(60);
    campanile::backup::update_copy_on(&host, Path::new(HOME), copy, &none).unwrap();
    let target = campanile::restore::Target::End;
    campanile::restore::catastrophic_on(&host, copy, &target, options()).unwrap();
    assert!(!world.disk.exists(&copy.join(names::DATA_DIRS)).unwrap());
    assert_same(&contents(&world.disk, "/copy"), &world.newest(), "the copy");
}
