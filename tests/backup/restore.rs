//! Backups and restores from end to end: what is refused, what comes back, and whose history it is.

use campanile::restore::{RestoreOptions, Target, catastrophic_on};
use campanile::{Environment, ErrorKind, Progress, backup, inspect};
use campanile_vfs::{Open, Vfs};
use std::path::Path;

use crate::world::{
    HOME, OTHER, World, assert_same, contents, log_dir, options, repository, restore_with,
};

#[test]
fn a_backup_of_a_running_home_restores_to_its_own_end() {
    let mut world = World::new(1);
    world.fill_log(4);
    let made = world.back_up();
    let state = world.newest();
    world.fill_log(2); // after it, and not archived: out of reach
    let report = world.restore(Target::End, OTHER).unwrap();
    assert_eq!(report.backup, made.name);
    assert_eq!(report.stop.to_string(), made.end);
    assert_same(&contents(&world.disk, OTHER), &state, "restored");
}

#[test]
fn logs_salvaged_from_the_failed_machine_bring_back_all_that_was_committed() {
    let mut world = World::new(2);
    world.fill_log(3);
    world.back_up();
    world.fill_log(1);
    let state = world.newest();
    world.env.clone().abandon();
    let options = RestoreOptions::new().logs(log_dir(HOME));
    let report = restore_with(&world.disk, options, OTHER).unwrap();
    assert!(report.log_files > 1);
    assert_same(&contents(&world.disk, OTHER), &state, "restored");
}

#[test]
pub fn a_hot_copy_is_not_opened_before_catastrophic_recovery() {
    let mut world = World::new(3);
    world.fill_log(3);
    let (host, copy) = (world.host(), Path::new("/copy"));
    backup::hot_copy_on(&host, Path::new(HOME), copy, &Progress::none()).unwrap();
    let state = world.newest();
    let error = Environment::open_on(world.host(), copy, options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NeedsRecovery);
    assert!(error.to_string().contains("db_recover -c"), "{error}");
    let read = Environment::open_on(world.host(), copy, options().read_only(true)).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::NeedsRecovery);
    let info = inspect::home_on(&host, copy).unwrap();
    assert_eq!(info.state, inspect::HomeState::BackupCopy);
    let report = catastrophic_on(&host, copy, &Target::End, options()).unwrap();
    let restored = report.restored.unwrap();
    assert!(restored.timeline > restored.from_timeline);
    assert_same(&contents(&world.disk, "/copy"), &state, "restored");
}

#[test]
fn a_copy_is_updated_by_the_log_alone_until_it_is_recovered() {
    let mut world = World::new(4);
    world.fill_log(2);
    let (host, home, copy) = (world.host(), Path::new(HOME), Path::new("/copy"));
    backup::hot_copy_on(&host, home, copy, &Progress::none()).unwrap();
    let pin = campanile_wal::LogPin::take(&host, &log_dir(HOME)).unwrap();
    for _ in 0..3 {
        world.fill_log(1);
        backup::update_copy_on(&host, home, copy, &Progress::none()).unwrap();
    }
    let state = world.newest();
    drop(pin);
    catastrophic_on(&host, copy, &Target::End, options()).unwrap();
    assert_same(&contents(&world.disk, "/copy"), &state, "restored");
    let error = backup::update_copy_on(&host, home, copy, &Progress::none()).unwrap_err();
    assert!(error.to_string().contains("history of its own"), "{error}");
}

#[test]
fn an_update_across_a_gap_in_the_log_is_refused_and_the_copy_stays_usable() {
    let mut world = World::new(5);
    world.fill_log(2);
    let (host, home, copy) = (world.host(), Path::new(HOME), Path::new("/copy"));
    backup::hot_copy_on(&host, home, copy, &Progress::none()).unwrap();
    let state = world.newest();
    while log_dir_has(&world, world.log_file().saturating_sub(1)) {
        world.fill_log(2);
        world.env.checkpoint().unwrap();
    }
    let error = backup::update_copy_on(&host, home, copy, &Progress::none()).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    assert!(error.to_string().contains("is missing"), "{error}");
    catastrophic_on(&host, copy, &Target::End, options()).unwrap();
    assert_same(&contents(&world.disk, "/copy"), &state, "restored");
}

fn log_dir_has(world: &World, number: u32) -> bool {
    let name = campanile_format::names::log_file(number);
    world.disk.exists(&log_dir(HOME).join(name)).unwrap()
}

#[test]
fn restores_go_into_empty_directories_only() {
    let mut world = World::new(6);
    world.fill_log(2);
    world.back_up();
    world.disk.create_dir(Path::new(OTHER)).unwrap();
    world.disk.open(&Path::new(OTHER).join("letters"), Open::CreateNew).unwrap();
    let error = world.restore(Target::End, OTHER).unwrap_err();
    assert!(error.to_string().contains("letters"), "{error}");
    let over = world.restore(Target::End, HOME).unwrap_err();
    assert_eq!(over.kind(), ErrorKind::InvalidArgument, "{over}");
    assert_same(&contents_of_running(&world), &world.newest(), "restored");
}

fn contents_of_running(world: &World) -> campanile_tests::oracle::State {
    campanile_tests::life::read_all(&world.env).unwrap()
}

#[test]
fn a_home_whose_owner_died_is_not_backed_up() {
    let mut world = World::new(7);
    world.fill_log(2);
    world.env.clone().abandon();
    let made = backup::back_up_on(&world.host(), Path::new(HOME), repository(), &Progress::none());
    let error = made.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NeedsRecovery, "{error}");
}

#[test]
fn a_closed_home_is_backed_up_as_a_running_one() {
    let mut world = World::new(8);
    world.fill_log(2);
    let state = world.newest();
    world.env.clone().close().unwrap();
    world.back_up();
    world.restore(Target::End, OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &state, "restored");
}

#[test]
pub fn a_restored_home_is_backed_up_and_restored_again_and_histories_stay_apart() {
    let mut world = World::new(9);
    let _all_of_it = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.fill_log(2);
    world.back_up();
    let fork = world.newest();
    world.restore(Target::End, OTHER).unwrap();
    // Both go on from the same state; only the restored one is backed up from now on.
    world.fill_log(2);
    let env = Environment::open_on(world.host(), OTHER, options()).unwrap();
    let db = env.create_database("restored").unwrap();
    env.run(|txn| db.put(txn, "key", "value")).unwrap();
    let host = world.host();
    backup::back_up_on(&host, Path::new(OTHER), repository(), &Progress::none()).unwrap();
    drop(db);
    env.close().unwrap();
    world.restore(Target::End, "/third").unwrap();
    let mut state = contents(&world.disk, "/third");
    assert!(state.remove("restored").is_some());
    assert_same(&state, &fork, "the third home");
    // The log of the home that went on by itself is another history: which of the two is meant
    // must be said, and they are not mixed.
    let both = || RestoreOptions::new().logs(log_dir(HOME));
    let error = restore_with(&world.disk, both(), "/fourth").unwrap_err();
    assert!(error.to_string().contains("several histories"), "{error}");
    let ours = inspect::home_on(&host, OTHER).unwrap().timeline;
    restore_with(&world.disk, both().timeline(ours), "/fourth").unwrap();
    assert_same(
        &contents(&world.disk, "/fourth"),
        &contents(&world.disk, "/third"),
        "the fourth home",
    );
    let timeline = inspect::home_on(&host, HOME).unwrap().timeline;
    let old = RestoreOptions::new().logs(log_dir(HOME)).timeline(timeline);
    restore_with(&world.disk, old, "/fifth").unwrap();
    assert_same(&contents(&world.disk, "/fifth"), &world.newest(), "restored");
}

#[test]
fn two_restores_of_one_backup_are_two_histories_and_the_user_must_choose() {
    let mut world = World::new(10);
    world.fill_log(2);
    world.back_up();
    let mut timelines = Vec::new();
    for home in ["/a", "/b"] {
        world.restore(Target::End, home).unwrap();
    }
    for home in ["/a", "/b"] {
        let env = Environment::open_on(world.host(), home, options()).unwrap();
        env.create_database(&home[1..]).unwrap();
        let host = world.host();
        backup::back_up_on(&host, Path::new(home), repository(), &Progress::none()).unwrap();
        env.close().unwrap();
        timelines.push(inspect::home_on(&host, home).unwrap().timeline);
    }
    assert_ne!(timelines[0], timelines[1]);
    let error = world.restore(Target::End, OTHER).unwrap_err();
    assert!(error.to_string().contains("several histories"), "{error}");
    for (timeline, name) in timelines.into_iter().zip(["a", "b"]) {
        let home = format!("/again-{name}");
        restore_with(&world.disk, RestoreOptions::new().timeline(timeline), &home).unwrap();
        assert!(contents(&world.disk, &home).contains_key(name));
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let mut world = World::new(11);
    world.fill_log(2);
    let made = world.back_up();
    let report = restore_with(&world.disk, RestoreOptions::new().dry_run(true), OTHER).unwrap();
    assert!(report.dry_run && report.recovery.is_none());
    assert_eq!(report.stop.to_string(), made.end);
    assert!(!world.disk.exists(Path::new(OTHER)).unwrap());
}

#[test]
fn catastrophic_recovery_of_a_home_brings_back_a_data_file_put_in_from_an_older_copy() {
    let mut world = World::new(12);
    world.fill_log(1);
    let pin = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.env.checkpoint().unwrap();
    let old = world.disk.snapshot_files();
    world.fill_log(2);
    let state = world.newest();
    world.env.clone().close().unwrap();
    drop(pin);
    let mut damaged = 0;
    for (path, bytes) in old {
        let path = Path::new("/").join(path);
        if path.starts_with("/home/data") && world.disk.exists(&path).unwrap() {
            let file = world.disk.open(&path, Open::ReadWrite).unwrap();
            file.set_len(bytes.len() as u64).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 2);
    let report = catastrophic_on(&world.host(), Path::new(HOME), &Target::End, options()).unwrap();
    assert!(report.replay.applied > 0);
    assert_same(&contents(&world.disk, HOME), &state, "restored");
}

#[test]
fn a_home_that_is_no_backup_does_not_go_back_in_time() {
    let mut world = World::new(13);
    world.fill_log(1);
    let at = world.moments[world.moments.len() / 2].lsn;
    world.env.clone().close().unwrap();
    let target = Target::Lsn { at, inclusive: true };
    let error = catastrophic_on(&world.host(), Path::new(HOME), &target, options()).unwrap_err();
    assert!(error.to_string().contains("is no backup"), "{error}");
    assert_same(&contents(&world.disk, HOME), &world.newest(), "restored");
}
