//! Data files that are gone when a backup is made: removed by their owner, or lost. No backup is
//! made as if a file that was lost had never been.

use campanile::backup::{BackupOptions, BackupReport};
use campanile::restore::{RestoreOptions, Target};
use campanile::{Error, ErrorKind, Progress};
use campanile_backup::Repository;
use campanile_format::names;
use campanile_tests::life::name_of;
use campanile_vfs::Vfs;
use campanile_wal::LogPin;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::world::{HOME, OTHER, World, assert_same, contents, log_dir, repository, restore_with};

fn make(world: &World, options: &BackupOptions) -> Result<BackupReport, Error> {
    options.run_on(&world.host(), Path::new(HOME), repository())
}

fn increment() -> BackupOptions {
    BackupOptions::new().incremental(true)
}

/// The data file that was made last.
fn newest_file(world: &World) -> PathBuf {
    let data = Path::new(HOME).join(names::DATA_DIR);
    let mut found = world.disk.list(&data).unwrap();
    found.retain(|name| names::parse_data_file(name).is_some());
    found.sort();
    data.join(found.last().unwrap())
}

/// Does something when the backup has listed the data files and copied the first piece.
fn in_the_middle(work: impl FnOnce() + Send + 'static) -> Progress {
    let work = Mutex::new(Some(work));
    Progress::new(move |step| {
        if step.done > 0 {
            work.lock().unwrap().take().into_iter().for_each(|work| work());
        }
        ControlFlow::Continue(())
    })
}

fn complete(world: &World) -> usize {
    let shelves = Repository::in_directory(&world.host(), repository());
    shelves.backups().unwrap().iter().filter(|found| found.manifest.is_some()).count()
}

#[track_caller]
fn assert_names(error: &Error, file: &Path) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
}

#[test]
fn a_file_that_was_lost_after_a_backup_is_named_and_no_backup_is_made_without_it() {
    let mut world = World::new(600);
    let _all = LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.burst(40);
    make(&world, &BackupOptions::new()).unwrap();
    world.burst(10);
    let lost = newest_file(&world);
    let bytes = world.disk.file_bytes(&lost).unwrap();
    world.disk.remove(&lost).unwrap();
    for options in [increment(), BackupOptions::new(), BackupOptions::new().jobs(3)] {
        assert_names(&make(&world, &options).unwrap_err(), &lost);
    }
    assert_eq!(complete(&world), 1);
    let file = world.disk.open(&lost, campanile_vfs::Open::CreateNew).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    make(&world, &increment()).unwrap();
}

#[test]
fn a_file_that_is_lost_while_it_is_copied_is_named() {
    let mut world = World::new(601);
    world.burst(40);
    world.env.checkpoint().unwrap();
    let (disk, lost) = (Arc::clone(&world.disk), newest_file(&world));
    let gone = lost.clone();
    let progress = in_the_middle(move || disk.remove(&gone).unwrap());
    let error = make(&world, &BackupOptions::new().progress(progress)).unwrap_err();
    assert_names(&error, &lost);
    assert_eq!(complete(&world), 0);
}

#[test]
fn a_database_that_is_dropped_between_backups_or_during_one_is_no_loss() {
    let mut world = World::new(602);
    let _all = LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.burst(40);
    let drop_one = |world: &mut World| {
        let name = world.newest().keys().next_back().unwrap().clone();
        world.change(|env, txn, state| {
            state.remove(&name);
            env.drop_database_in(txn, &name)
        });
        while world.env.step().unwrap() {}
    };
    make(&world, &BackupOptions::new()).unwrap();
    let before = newest_file(&world);
    drop_one(&mut world);
    world.env.checkpoint().unwrap();
    assert!(!world.disk.exists(&before).unwrap() || newest_file(&world) == before);
    assert!(make(&world, &increment()).unwrap().base.is_some());
    make(&world, &BackupOptions::new()).unwrap();
    let env = world.env.clone();
    let name = world.newest().keys().next_back().unwrap().clone();
    let (dropped, done) = (name.clone(), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&done);
    let progress = in_the_middle(move || {
        env.drop_database(&dropped).unwrap();
        while env.step().unwrap() {}
        env.checkpoint().unwrap();
        told.store(true, Ordering::Relaxed);
    });
    let made = make(&world, &increment().progress(progress)).unwrap();
    assert!(done.load(Ordering::Relaxed) && made.base.is_some());
    let mut state = world.newest();
    state.remove(&name);
    let options = RestoreOptions::new().backup(&made.name).target(Target::BackupEnd);
    restore_with(&world.disk, options.logs(log_dir(HOME)), OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &state, "restored");
}

#[test]
fn where_the_log_of_a_drop_was_given_up_a_full_backup_takes_the_place_of_an_increment() {
    let mut world = World::new(603);
    world.burst(20);
    let made = make(&world, &BackupOptions::new()).unwrap();
    let name = name_of(0);
    world.change(|env, txn, state| {
        state.remove(&name).map_or(Ok(()), |_| env.drop_database_in(txn, &name))
    });
    world.fill_log(6);
    world.env.checkpoint().unwrap();
    while world.env.step().unwrap() {}
    let named = make(&world, &BackupOptions::new().base(&made.name)).unwrap_err();
    assert!(named.to_string().contains("make a full backup"), "{named}");
    let made = make(&world, &increment()).unwrap();
    assert_eq!(made.base, None);
    restore_with(&world.disk, RestoreOptions::new().backup(&made.name), OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &world.newest(), "restored");
}
