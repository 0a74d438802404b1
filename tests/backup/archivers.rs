//! Trouble on the way into the archive: two archivers at once, a disk that is not mounted, files
//! that are lost before they were archived, files that rot. Nothing counts as safe that is not.

use campanile::Environment;
use campanile_backup::{Archiver, Repository};
use campanile_format::names;
use campanile_vfs::sim::SimDisk;
use campanile_vfs::{Open, Vfs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::world::{
    HOME, OTHER, REPOSITORY, World, assert_same, contents, host_of, log_dir, options, repository,
};
use campanile::restore::Target;

fn archived(number: u32) -> PathBuf {
    Path::new(REPOSITORY).join("log/0000000001").join(names::log_file(number))
}

fn archiver(disk: &Arc<SimDisk>) -> Archiver {
    let host = host_of(disk);
    let shelves = Repository::in_directory(&host, repository());
    Archiver::open(&host, Path::new(HOME), shelves).unwrap()
}

fn numbers(disk: &Arc<SimDisk>) -> Vec<u32> {
    let names = disk.list(&log_dir(HOME)).unwrap();
    let mut numbers: Vec<u32> =
        names.iter().filter_map(|name| names::parse_log_file(name)).collect();
    numbers.sort_unstable();
    numbers
}

fn settle(world: &World) {
    while world.env.step().unwrap() {}
}

#[test]
fn two_that_archive_the_same_file_never_write_into_each_others_copy() {
    let mut world = World::new(90);
    let _all = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.fill_log(3);
    let shelves = Repository::in_directory(&world.host(), repository());
    let (host, name) = (world.host(), format!("log/0000000001/{}", names::log_file(1)));
    let mut owner = archiver(&world.disk);
    let theirs = Repository::in_directory(&host, repository());
    // Another one, a cron job, is in the middle of the same file when the owner puts it.
    let half = theirs.shelf().put(&name).unwrap();
    assert_eq!(owner.step().unwrap(), Some(1));
    let whole = world.disk.file_bytes(&archived(1)).unwrap();
    drop(half);
    assert_eq!(world.disk.file_bytes(&archived(1)).unwrap(), whole, "it dies, nothing is lost");
    assert_eq!(shelves.shelf().list("log/0000000001").unwrap(), [names::log_file(1)]);
    let rest = world.disk.list(archived(1).parent().unwrap()).unwrap();
    assert_eq!(rest.len(), 1, "nothing is left of it: {rest:?}");
}

#[test]
fn while_the_archive_is_not_mounted_nothing_counts_as_safe_and_the_home_opens() {
    let mut world = World::with(91, options().archive(REPOSITORY));
    world.back_up();
    world.fill_log(2);
    settle(&world);
    world.env.clone().close().unwrap();
    // The mount point is empty.
    let identity = Path::new(REPOSITORY).join("campanile.repository");
    let away = Path::new("/away");
    world.disk.rename(&identity, away).unwrap();
    let first = numbers(&world.disk)[0];
    world.env = Environment::open_on(world.host(), HOME, options()).unwrap();
    for _ in 0..3 {
        let target = world.log_file() + 1;
        while world.log_file() < target {
            let db = world.env.create_database("filler").unwrap();
            let mut txn = world.env.begin().unwrap();
            db.put(&mut txn, "key", vec![b'x'; 100]).unwrap();
            let lsn = txn.commit().unwrap();
            let mut state = world.newest();
            let rows = [(b"key".to_vec(), vec![b'x'; 100])];
            state.insert("filler".into(), Arc::new(rows.into_iter().collect()));
            world.moments.push(crate::world::Moment { lsn, state });
        }
        world.env.checkpoint().unwrap();
    }
    assert!(world.env.step().is_err(), "it is said");
    assert!(!world.disk.exists(&identity).unwrap(), "no new archive is made there");
    assert_eq!(numbers(&world.disk)[0], first, "nothing is given up");
    assert!(world.env.archive_lag().unwrap().unwrap().files >= 3);
    world.disk.rename(away, &identity).unwrap();
    settle(&world);
    assert_eq!(world.env.archive_lag().unwrap().unwrap().files, 0);
    let state = world.newest();
    world.env.clone().close().unwrap();
    world.restore(Target::End, OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &state, "restored");
}

#[test]
fn a_file_that_was_lost_before_it_was_archived_keeps_those_before_it() {
    let mut world = World::new(92);
    let _all = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.fill_log(4);
    let broken = log_dir(HOME).join(names::log_file(2));
    let file = world.disk.open(&broken, Open::ReadWrite).unwrap();
    file.write_all_at(&[0xFF; 8], 0).unwrap();
    let mut archiver = archiver(&world.disk);
    let error = archiver.step().unwrap_err();
    assert!(error.to_string().contains(&names::log_file(2)), "{error}");
    assert_eq!(archiver.safe_below(), 0, "the file before it is not called safe");
}

#[test]
fn of_two_files_under_one_name_the_whole_one_counts() {
    let mut world = World::new(93);
    let _all = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.fill_log(4);
    let mut first = archiver(&world.disk);
    while first.step().unwrap().is_some() {}
    let flip = |path: &Path| {
        let file = world.disk.open(path, Open::ReadWrite).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 700).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 700).unwrap();
    };
    let good = world.disk.file_bytes(&archived(2)).unwrap();
    // The archive's copy of one rots, and the home's own of another.
    flip(&archived(2));
    flip(&log_dir(HOME).join(names::log_file(3)));
    let third = world.disk.file_bytes(&archived(3)).unwrap();
    let mut again = archiver(&world.disk);
    while again.step().unwrap().is_some() {}
    assert_eq!(world.disk.file_bytes(&archived(2)).unwrap(), good, "written anew");
    assert_eq!(world.disk.file_bytes(&archived(3)).unwrap(), third, "left as it is");
    assert!(again.safe_below() > 3);
}

/// Copies a home as people clone a machine: its files, its note, its identity.
fn clone_home(world: &World, to: &str) {
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        world.disk.create_dir(&Path::new(to).join(&dir)).unwrap();
        for name in world.disk.list(&Path::new(HOME).join(&dir)).unwrap() {
            let name = dir.join(name);
            if world.disk.list(&Path::new(HOME).join(&name)).is_ok() {
                dirs.push(name);
                continue;
            }
            let bytes = world.disk.file_bytes(&Path::new(HOME).join(&name)).unwrap();
            let file = world.disk.open(&Path::new(to).join(&name), Open::CreateNew).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
        }
    }
}

#[test]
fn the_log_of_a_cloned_home_never_takes_the_place_of_that_of_the_other() {
    for longer in [HOME, OTHER] {
        let mut world = World::new(96);
        world.burst(10);
        world.env.create_database("own").unwrap();
        world.env.clone().close().unwrap();
        clone_home(&world, OTHER);
        // Both go on in their own way, one of them for longer.
        let mut owners = Vec::new();
        for home in [HOME, OTHER] {
            let env = Environment::open_on(world.host(), home, options().create(false)).unwrap();
            let own = env.open_database("own").unwrap();
            let times = if home == longer { 12 } else { 2 };
            for n in 0..times {
                env.run(|txn| own.put(txn, format!("{n}"), home)).unwrap();
            }
            owners.push(env);
        }
        let shelves = || Repository::in_directory(&world.host(), repository());
        let open = |home| Archiver::open(&world.host(), Path::new(home), shelves()).unwrap();
        let archive = Path::new(REPOSITORY).join("log/0000000001");
        let all = |disk: &Arc<SimDisk>| -> Vec<_> {
            let numbers = numbers_in(disk, &archive).into_iter();
            numbers.map(|it| (it, disk.file_bytes(&archived(it)).unwrap())).collect()
        };
        open(HOME).all().unwrap();
        let before = all(&world.disk);
        let mut clone = open(OTHER);
        let error = clone.all().expect_err("it is another log");
        assert!(error.to_string().contains("another log file"), "{error}");
        assert!(clone.step().is_ok_and(|step| step.is_none()) || clone.step().is_err());
        assert_eq!(all(&world.disk), before, "{longer} is longer: what was archived stays");
    }
}

#[test]
fn a_damaged_newest_file_of_the_archive_is_never_taken_for_the_end_of_the_log() {
    let mut world = World::with(94, options().archive(REPOSITORY));
    world.back_up();
    world.fill_log(3);
    settle(&world);
    world.env.clone().close().unwrap();
    let newest = numbers_in(&world.disk, archived(1).parent().unwrap());
    let path = archived(*newest.last().unwrap());
    let whole = world.disk.file_bytes(&path).unwrap();
    for at in [0u64, 8, 40, 100] {
        let disk = world.disk.fork();
        let file = disk.open(&path, Open::ReadWrite).unwrap();
        file.write_all_at(&[whole[at as usize] ^ 4], at).unwrap();
        let error = crate::world::restore_with(&disk, Default::default(), OTHER);
        let error = error.expect_err("the end is not there");
        assert!(error.is_corruption(), "byte {at}: {error}");
        assert!(!disk.exists(Path::new(OTHER)).unwrap());
    }
}

#[test]
fn a_later_history_whose_only_file_is_damaged_is_not_passed_over() {
    let mut world = World::with(95, options().archive(REPOSITORY));
    world.back_up();
    world.fill_log(3);
    settle(&world);
    let at = world.newest();
    world.env.clone().close().unwrap();
    world.restore(Target::End, OTHER).unwrap();
    let again = options().create(false).archive(REPOSITORY);
    world.env = Environment::open_on(world.host(), OTHER, again).unwrap();
    world.burst(10);
    world.env.clone().close().unwrap();
    let archives = world.disk.list(&Path::new(REPOSITORY).join("log")).unwrap();
    let second = Path::new(REPOSITORY).join("log").join(archives.iter().max().unwrap());
    assert_ne!(archives.len(), 1, "{archives:?}");
    // All that there is of it is one file, and its header rots.
    let files = numbers_in(&world.disk, &second);
    for number in files.iter().skip(1) {
        world.disk.remove(&second.join(names::log_file(*number))).unwrap();
    }
    let path = second.join(names::log_file(files[0]));
    let byte = world.disk.file_bytes(&path).unwrap()[40];
    world.disk.open(&path, Open::ReadWrite).unwrap().write_all_at(&[byte ^ 4], 40).unwrap();
    let error = world.restore(Target::End, "/end").expect_err("the end is not there");
    assert!(error.is_corruption(), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    let first = campanile::restore::RestoreOptions::new().timeline(1);
    crate::world::restore_with(&world.disk, first, "/first").unwrap();
    assert_same(&contents(&world.disk, "/first"), &at, "the history that was asked for");
}

#[test]
fn a_salvaged_log_file_that_cannot_be_used_is_not_taken_for_the_end_of_the_log() {
    let mut world = World::new(96);
    let _all = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.back_up();
    world.fill_log(3);
    world.env.clone().close().unwrap();
    let newest = *numbers(&world.disk).last().unwrap();
    let path = log_dir(HOME).join(names::log_file(newest));
    let byte = world.disk.file_bytes(&path).unwrap()[40];
    let flip = |byte: u8| {
        let file = world.disk.open(&path, Open::ReadWrite).unwrap();
        file.write_all_at(&[byte], 40).unwrap();
    };
    let salvaged = || campanile::restore::RestoreOptions::new().logs(log_dir(HOME));
    flip(byte ^ 4);
    let error = crate::world::restore_with(&world.disk, salvaged(), OTHER);
    let error = error.expect_err("the end is not there");
    assert!(error.is_corruption(), "{error}");
    assert!(error.to_string().contains(&names::log_file(newest)), "{error}");
    flip(byte);
    crate::world::restore_with(&world.disk, salvaged(), OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &world.newest(), "restored");
}

fn numbers_in(disk: &Arc<SimDisk>, dir: &Path) -> Vec<u32> {
    let names = disk.list(dir).unwrap();
    let mut numbers: Vec<u32> =
        names.iter().filter_map(|name| names::parse_log_file(name)).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_damaged_manifest_does_not_keep_other_backups_from_being_restored() {
    let mut world = World::with(95, options().archive(REPOSITORY));
    let first = world.back_up();
    world.fill_log(2);
    let second = world.back_up();
    settle(&world);
    let state = world.newest();
    world.env.clone().close().unwrap();
    for (bad, good) in [(&first.name, &second.name), (&second.name, &first.name)] {
        let disk = world.disk.fork();
        let manifest = Path::new(REPOSITORY).join("backup").join(bad).join("manifest");
        let file = disk.open(&manifest, Open::ReadWrite).unwrap();
        file.write_all_at(b"!", 20).unwrap();
        let report = crate::world::restore_with(&disk, Default::default(), OTHER).unwrap();
        assert_eq!(&report.backup, good);
        assert_same(&contents(&disk, OTHER), &state, "restored");
        let named = campanile::restore::RestoreOptions::new().backup(bad);
        let error = crate::world::restore_with(&disk, named, "/named").unwrap_err();
        assert!(error.is_corruption(), "{error}");
        let catalog = campanile::backup::catalog_on(&host_of(&disk), repository()).unwrap();
        assert!(catalog.backups.iter().any(|found| found.damaged.is_some()));
        assert_eq!(catalog.windows.len(), 1);
        let prune = campanile::backup::PruneOptions::new().keep_last(1);
        assert!(prune.run_on(&host_of(&disk), repository()).is_err(), "nothing is guessed");
    }
}
