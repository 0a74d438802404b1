//! What a copy of a running log may claim, and whose history it is: ends that a power failure
//! cannot take back, copies whose home was restored meanwhile, damage in the middle of a log.

use campanile::restore::{RestoreOptions, Target, catastrophic_on};
use campanile::{DatabaseOptions, Durability, Environment, ErrorKind, Progress, backup};
use campanile_format::names;
use campanile_tests::life::name_of;
use campanile_vfs::sim::CrashChoice;
use campanile_vfs::{Open, Vfs};
use std::path::Path;
use std::sync::Arc;

use crate::world::{HOME, OTHER, World, assert_same, contents, host_of, log_dir, restore_with};

#[test]
fn what_a_backup_shows_is_there_after_a_power_failure_too() {
    for steps in [1, 5, 30] {
        let mut world = World::new(500);
        world.burst(20);
        let mut state = world.newest();
        let name = name_of(0);
        let Some(rows) = state.get_mut(&name) else { panic!("{name} is there") };
        let db = world.env.open_database(&name).unwrap();
        for n in 0..steps {
            // Written, and not synced: a power failure takes it, unless somebody syncs it.
            let key = format!("relaxed{n}").into_bytes();
            let mut txn = world.env.begin().unwrap();
            db.put(&mut txn, &key, b"written").unwrap();
            txn.commit_with(Durability::WriteNoSync).unwrap();
            Arc::make_mut(rows).insert(key, b"written".to_vec());
        }
        world.back_up();
        restore_with(&world.disk, RestoreOptions::new(), OTHER).unwrap();
        assert_same(&contents(&world.disk, OTHER), &state, "the backup");
        let after = world.disk.reboot(CrashChoice::Nothing);
        assert_same(&contents(&after, HOME), &state, "the home after the power failure");
    }
}

#[test]
fn a_copy_is_not_updated_from_a_home_that_was_restored_meanwhile() {
    let mut world = World::new(501);
    let _pin = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.burst(30);
    world.back_up();
    world.fill_log(1);
    let moment = world.moments[world.moments.len() - 5].clone();
    world.burst(10);
    let copy = Path::new("/copy");
    let made = backup::hot_copy_on(&world.host(), Path::new(HOME), copy, &Progress::none());
    let (state, end) = (world.newest(), made.unwrap().end);
    world.env.clone().abandon();
    let before = Target::Lsn { at: moment.lsn, inclusive: true };
    let options = RestoreOptions::new().target(before).logs(log_dir(HOME));
    restore_with(&world.disk, options, OTHER).unwrap();
    // The restored home works on until its log has passed the place where the copy ends.
    let file: u32 = end.split('/').next().unwrap().parse().unwrap();
    let host = host_of(&world.disk);
    let opened = Environment::open_on(host.clone(), OTHER, crate::world::options());
    let env = opened.unwrap();
    let pin = campanile_wal::LogPin::take(&host, &log_dir(OTHER)).unwrap();
    let db = env.create_database("more").unwrap();
    let mut reached = 0;
    for n in 0u32.. {
        let mut txn = env.begin().unwrap();
        db.put(&mut txn, format!("{n:08}"), [7; 200]).unwrap();
        reached = txn.commit().unwrap().file().max(reached);
        if reached > file + 1 {
            break;
        }
    }
    let updated = backup::update_copy_on(&host, Path::new(OTHER), copy, &Progress::none());
    let error = updated.expect_err("it is another history");
    assert!(error.to_string().contains("history"), "{error}");
    drop((pin, env));
    catastrophic_on(&host, copy, &Target::End, crate::world::options()).unwrap();
    assert_same(&contents(&world.disk, "/copy"), &state, "the copy is as it was");
}

#[test]
fn damage_in_the_middle_of_the_log_leaves_what_lies_before_it_within_reach() {
    let mut world = World::new(502);
    let _pin = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.burst(20);
    world.back_up();
    let first = world.log_file();
    world.fill_log(5);
    world.env.clone().close().unwrap();
    for file in [first + 2, world.log_file()] {
        let path = log_dir(HOME).join(names::log_file(file));
        let log = world.disk.open(&path, Open::ReadWrite).unwrap();
        let last = world.moments.iter().rev().find(|moment| moment.lsn.file() == file).unwrap();
        let at = u64::from(last.lsn.offset()) / 2 + 300;
        let mut byte = [0];
        log.read_exact_at(&mut byte, at).unwrap();
        log.write_all_at(&[byte[0] ^ 4], at).unwrap();
        let with = |target| RestoreOptions::new().target(target).logs(log_dir(HOME));
        let refused = restore_with(&world.disk, with(Target::End), "/end").expect_err("damage");
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
        let text = refused.to_string();
        assert!(text.contains("can be replayed to"), "{text}");
        let before = world.moments.iter().rev().find(|moment| moment.lsn.file() < file).unwrap();
        let target = Target::Lsn { at: before.lsn, inclusive: true };
        let to = format!("/before{file}");
        restore_with(&world.disk, with(target), &to).unwrap();
        assert_same(&contents(&world.disk, &to), &before.state, &to);
        log.write_all_at(&byte, at).unwrap();
    }
}

#[test]
fn a_database_that_is_not_durable_and_was_copied_while_its_file_was_made_comes_back_empty() {
    let mut world = World::new(503);
    world.burst(20);
    world.env.checkpoint().unwrap();
    let before = world.disk.list(&Path::new(HOME).join(names::DATA_DIR)).unwrap();
    let volatile = DatabaseOptions::new().durable(false);
    let made =
        world.env.run(|txn| world.env.create_database_with(txn, "scratch", volatile.clone()));
    made.unwrap();
    let (host, copy) = (world.host(), Path::new("/copy"));
    backup::hot_copy_on(&host, Path::new(HOME), copy, &Progress::none()).unwrap();
    // Its file as it is between its creation and its first page.
    let data = copy.join(names::DATA_DIR);
    let mut files = world.disk.list(&data).unwrap();
    files.retain(|name| !before.contains(name));
    assert_eq!(files.len(), 1, "{files:?}");
    let file = world.disk.open(&data.join(&files[0]), Open::ReadWrite).unwrap();
    assert!(file.len().unwrap() > 0);
    file.set_len(0).unwrap();
    catastrophic_on(&host, copy, &Target::End, crate::world::options()).unwrap();
    let env = Environment::open_on(host, copy, crate::world::options()).unwrap();
    let scratch = env.open_database("scratch").unwrap();
    assert_eq!(scratch.get(&env.snapshot().unwrap(), "key").unwrap(), None);
    env.run(|txn| scratch.put(txn, "key", "value")).unwrap();
    env.close().unwrap();
    contents(&world.disk, "/copy");
}
