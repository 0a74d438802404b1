//! Increments: what changed since an earlier backup, and what a chain of them restores to. A full
//! backup made of the same quiet home says, byte for byte, what the files must be.
//!
//! `CAMPANILE_BURSTS`, `CAMPANILE_BACKUP_CRASHES`: as for full backups.

use campanile::backup::{BackupOptions, BackupReport, Compression};
use campanile::restore::{RestoreOptions, Target};
use campanile::{DatabaseOptions, ErrorKind};
use campanile_backup::{Chain, Repository};
use campanile_format::names;
use campanile_tests::life::name_of;
use campanile_vfs::sim::SimDisk;
use campanile_vfs::{Host, Open, Vfs};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::crashes::crash_states;
use crate::interleaved::{Beside, Turns, number};
use crate::world::{
    HOME, OTHER, World, assert_same, contents, host_of, log_dir, repository, restore_with,
};

fn increment() -> BackupOptions {
    BackupOptions::new().incremental(true)
}

fn packed() -> BackupOptions {
    BackupOptions::new().compression(Compression::Zstd)
}

fn make(world: &World, options: &BackupOptions) -> BackupReport {
    options.run_on(&world.host(), Path::new(HOME), repository()).expect("a backup")
}

/// Every data file of a backup as it is restored.
fn files_of(disk: &Arc<SimDisk>, name: &str) -> BTreeMap<String, Vec<u8>> {
    let shelves = Repository::in_directory(&host_of(disk), repository());
    let chain = Chain::of(&shelves, name).expect("a chain");
    let mut found = BTreeMap::new();
    for file in &chain.newest().manifest.files {
        if file.name.starts_with(names::DATA_DIR) {
            let mut from = chain.open(&**shelves.shelf(), &file.name).expect("a file");
            let (mut bytes, mut piece) = (Vec::new(), Vec::new());
            while from.next(&mut piece).expect("a piece") {
                bytes.extend_from_slice(&piece);
            }
            from.finish().expect("the whole file");
            found.insert(file.name.clone(), bytes);
        }
    }
    found
}

fn assert_same_files(world: &World, one: &str, other: &str) {
    let (one, other) = (files_of(&world.disk, one), files_of(&world.disk, other));
    let names: Vec<_> = one.keys().collect();
    assert_eq!(names, other.keys().collect::<Vec<_>>());
    for (name, bytes) in &one {
        let differs = bytes.iter().zip(&other[name]).position(|(a, b)| a != b);
        assert_eq!((differs, bytes.len()), (None, other[name].len()), "{name}");
    }
}

#[test]
pub fn a_chain_of_increments_is_byte_for_byte_what_a_full_backup_is() {
    for seed in 300..304 {
        let mut world = World::new(seed);
        // Log files between the backups stay: a restore follows the log to its newest file.
        let _pin = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
        world.burst(80);
        make(&world, &BackupOptions::new());
        let (mut smaller, mut states) = (0, Vec::new());
        for round in 0..5 {
            world.burst(30);
            let options = if round % 2 == 0 { increment() } else { packed().incremental(true) };
            let made = make(&world, &options);
            assert!(made.base.is_some());
            // Nobody works: the same pages are on the disk.
            let full = if round % 2 == 0 { packed() } else { BackupOptions::new() };
            let full = make(&world, &full);
            assert_same_files(&world, &made.name, &full.name);
            smaller += u32::from(made.stored_bytes < full.bytes);
            states.push((made.name, full.name, world.newest()));
            // The next one stands on the increment, not on the full one that was just made.
            world.burst(20);
            let next = make(&world, &BackupOptions::new().base(&states.last().unwrap().0));
            states.push((next.name.clone(), next.name, world.newest()));
        }
        assert!(smaller > 3, "only {smaller} increments were smaller than the full backup");
        for (count, (name, full, state)) in states.iter().enumerate() {
            for (which, name) in [name, full].into_iter().enumerate() {
                let to = format!("/restored{count}{which}");
                let options = RestoreOptions::new().backup(name).target(Target::BackupEnd);
                restore_with(&world.disk, options.logs(log_dir(HOME)), &to).unwrap();
                assert_same(&contents(&world.disk, &to), state, &format!("seed {seed}, {name}"));
            }
        }
    }
}

/// A full backup of a home, then an increment with these turns of the workload in between its
/// calls; what the chain restores to must be the model at the end of the increment, and the log
/// of the home that went on must fit. Returns how many calls the increment made.
fn increment_beside(seed: u64, plan: &[(u64, usize)], before: usize) -> (u64, u64) {
    let mut world = World::new(seed);
    world.burst(90);
    // The log of the base stays: else a full backup would take the place of the increment wherever
    // a database was dropped since.
    let _of_the_base = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    // Pages are written while the base is made: between its label and its end.
    let base_turns: Vec<_> = (1..400).step_by(9).map(|place| (place, 3)).collect();
    let (world, base, _) = beside(world, &base_turns, &BackupOptions::new());
    let mut world = world;
    world.burst(before);
    let options = if seed.is_multiple_of(2) { increment() } else { packed().incremental(true) };
    let (mut world, made, calls) = beside(world, plan, &options);
    let what = format!("seed {seed}, {} turns {:?}", plan.len(), plan.first());
    assert_eq!(made.base.as_ref(), Some(&base.name), "{what}");
    let (disk, host) = (Arc::clone(&world.disk), world.host());
    let _pin = campanile_wal::LogPin::take(&host, &log_dir(HOME)).unwrap();
    let report = restore_with(&disk, RestoreOptions::new(), OTHER);
    let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((&report.backup, report.stop.to_string()), (&made.name, made.end), "{what}");
    assert_same(&contents(&disk, OTHER), &world.state_at(report.stop), &what);
    world.burst(10);
    let state = world.newest();
    world.env.clone().abandon();
    let options = RestoreOptions::new().target(Target::End).logs(log_dir(HOME));
    restore_with(&disk, options, "/all").unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_same(&contents(&disk, "/all"), &state, &what);
    (calls, made.pages_read_again)
}

/// Makes a backup with these turns of the workload.
fn beside(
    world: World,
    plan: &[(u64, usize)],
    options: &BackupOptions,
) -> (World, BackupReport, u64) {
    let host = world.host();
    let plan = plan.iter().copied().collect();
    let turns = Arc::new(Turns { world: Mutex::new(world), plan, calls: Mutex::new(0) });
    let inner = Arc::clone(&host.vfs);
    let seen = Host { vfs: Arc::new(Beside { inner, turns: Arc::clone(&turns) }), ..host };
    let made = options.run_on(&seen, Path::new(HOME), repository());
    drop(seen);
    let made = made.unwrap_or_else(|error| panic!("{:?}: {error}", turns.plan.first_key_value()));
    let turns = Arc::try_unwrap(turns).expect("the backup is over");
    let calls = *turns.calls.lock().unwrap();
    (turns.world.into_inner().unwrap(), made, calls)
}

#[test]
pub fn a_burst_of_work_at_any_place_of_an_increment_does_it_no_harm() {
    let stride = number("CAMPANILE_BURSTS", 11);
    let (calls, _) = increment_beside(310, &[], 20);
    assert!(calls > 60, "only {calls} calls");
    for place in (1..=calls).step_by(stride as usize) {
        let steps = [3, 8, 60][place as usize % 3];
        increment_beside(310 + place % 2, &[(place, steps)], 20);
    }
}

#[test]
pub fn work_goes_on_between_all_calls_of_increments() {
    let mut torn = 0;
    for seed in 320..320 + number("CAMPANILE_BUSY_BACKUPS", 6) {
        let plan: Vec<(u64, usize)> = (1..3000).map(|place| (place, 4)).collect();
        torn += increment_beside(seed, &plan, 1 + seed as usize % 40).1;
    }
    assert!(torn > 0, "no page was ever torn: the test proves nothing about torn pages");
}

#[test]
fn an_increment_that_is_cut_short_leaves_its_base_and_can_be_made_again() {
    let mut world = World::new(330);
    world.burst(60);
    let first = world.back_up();
    let old = world.newest();
    world.burst(40);
    let state = world.newest();
    world.env.clone().close().unwrap();
    let states = crash_states(&world.disk, || {
        make(&world, &packed().incremental(true));
    });
    let (mut partial, mut again_on_first) = (0, 0);
    for (call, disk) in states {
        let what = format!("call {call}");
        let shelves = Repository::in_directory(&host_of(&disk), repository());
        let found = shelves.backups().unwrap_or_else(|error| panic!("{what}: {error}"));
        partial += found.iter().filter(|backup| backup.manifest.is_none()).count();
        let named = RestoreOptions::new().backup(&first.name).target(Target::BackupEnd);
        restore_with(&disk, named, OTHER).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_same(&contents(&disk, OTHER), &old, &what);
        let again = increment().run_on(&host_of(&disk), Path::new(HOME), repository());
        let again = again.unwrap_or_else(|error| panic!("{what}: {error}"));
        again_on_first += u32::from(again.base.as_ref() == Some(&first.name));
        let named = RestoreOptions::new().backup(&again.name);
        restore_with(&disk, named, "/newest").unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_same(&contents(&disk, "/newest"), &state, &what);
    }
    assert!(partial > 0, "no crash left a partial backup");
    assert!(again_on_first > 0, "a partial backup was taken for a base");
}

#[test]
fn a_restore_of_a_chain_that_is_cut_short_can_be_run_again() {
    let mut world = World::new(331);
    world.burst(60);
    world.back_up();
    for _ in 0..2 {
        world.burst(40);
        make(&world, &packed().incremental(true));
    }
    let state = world.newest();
    world.env.clone().close().unwrap();
    let states = crash_states(&world.disk, || {
        let report = restore_with(&world.disk, RestoreOptions::new(), OTHER).unwrap();
        assert_eq!(report.stands_on.len(), 2);
    });
    let mut again = 0;
    for (call, disk) in states {
        let what = format!("call {call}");
        let unfinished = disk.exists(&Path::new(OTHER).join(names::RESTORING)).unwrap();
        if unfinished || !disk.exists(&Path::new(OTHER).join(names::CONTROL)).unwrap() {
            restore_with(&disk, RestoreOptions::new(), OTHER)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            again += 1;
        }
        assert_same(&contents(&disk, OTHER), &state, &what);
    }
    assert!(again > 10, "only {again} restores were run again");
}

#[test]
fn files_that_shrink_go_come_back_are_renamed_or_emptied_are_right_in_every_increment() {
    let mut world = World::new(340);
    world.burst(60);
    make(&world, &BackupOptions::new());
    for round in 0..8 {
        let name = name_of(round % 3);
        world.change(|env, txn, state| {
            // Dropped, or dropped and made again with nothing in it: another file.
            if state.remove(&name).is_some() {
                env.drop_database_in(txn, &name)?;
            }
            if round % 2 == 0 {
                env.create_database_with(txn, &name, DatabaseOptions::new())?;
                state.insert(name.clone(), Arc::default());
            }
            Ok(())
        });
        if round % 3 == 1 {
            world.empty(round % 2);
        }
        if round % 4 == 2 {
            world.env.checkpoint().unwrap();
        }
        world.burst(6);
        let made = make(&world, &increment());
        let full = make(&world, &BackupOptions::new());
        assert_same_files(&world, &made.name, &full.name);
        let options = RestoreOptions::new().backup(&made.name).target(Target::BackupEnd);
        let to = format!("/restored{round}");
        restore_with(&world.disk, options, &to).unwrap();
        assert_same(&contents(&world.disk, &to), &world.newest(), &format!("round {round}"));
        // The chain goes on from the increment.
        let again = make(&world, &BackupOptions::new().base(&made.name));
        assert_same_files(&world, &again.name, &full.name);
    }
}

#[test]
fn a_database_that_is_not_durable_comes_back_empty_from_an_increment_too() {
    let mut world = World::new(341);
    let volatile = DatabaseOptions::new().durable(false);
    let db = world.env.run(|txn| world.env.create_database_with(txn, "scratch", volatile.clone()));
    let db = db.unwrap();
    let fill = |world: &World, value: &[u8]| {
        for key in 0..200u32 {
            world.env.run(|txn| db.put(txn, format!("{key:08}"), value)).unwrap();
        }
    };
    fill(&world, b"before the full backup");
    make(&world, &BackupOptions::new());
    fill(&world, b"before the increment");
    world.burst(20);
    let made = make(&world, &increment());
    restore_with(&world.disk, RestoreOptions::new().backup(&made.name), OTHER).unwrap();
    let found = contents(&world.disk, OTHER);
    assert!(found["scratch"].is_empty(), "it was not logged");
    let mut state = world.newest();
    state.insert("scratch".to_owned(), Arc::default());
    assert_same(&found, &state, "restored");
}

#[test]
fn a_base_that_is_missing_or_damaged_is_named_and_an_older_backup_is_taken() {
    let mut world = World::new(342);
    world.burst(60);
    let full = make(&world, &BackupOptions::new());
    world.burst(20);
    let second = make(&world, &increment());
    world.burst(20);
    let third = make(&world, &increment());
    assert_eq!(third.base.as_ref(), Some(&second.name));
    let manifest = Path::new(&second.directory).join("manifest");
    world.disk.remove(&manifest).unwrap();
    let named = RestoreOptions::new().backup(&third.name);
    let error = restore_with(&world.disk, named, OTHER).expect_err("its base is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let text = error.to_string();
    assert!(text.contains(&second.name) && text.contains(&third.name), "{text}");
    assert!(!world.disk.exists(Path::new(OTHER)).unwrap(), "something was written");
    // The next increment does not stand on what cannot be restored.
    let next = make(&world, &increment());
    assert_eq!(next.base.as_ref(), Some(&full.name));
    let report = restore_with(&world.disk, RestoreOptions::new(), OTHER).unwrap();
    assert_eq!(report.backup, next.name);
    assert_same(&contents(&world.disk, OTHER), &world.newest(), "restored");
}

#[test]
fn an_increment_of_another_history_is_refused_and_without_a_name_becomes_a_full_backup() {
    let mut world = World::new(343);
    world.burst(30);
    let made = make(&world, &BackupOptions::new());
    restore_with(&world.disk, RestoreOptions::new(), OTHER).unwrap();
    let back_up =
        |options: BackupOptions| options.run_on(&world.host(), Path::new(OTHER), repository());
    let error = back_up(BackupOptions::new().base(&made.name)).expect_err("another timeline");
    assert!(error.to_string().contains("timeline"), "{error}");
    let error = back_up(BackupOptions::new().base("20200101_000000")).expect_err("no such one");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(back_up(increment()).unwrap().base, None);
    assert!(back_up(increment()).unwrap().base.is_some());
}

#[test]
fn an_increment_or_a_packed_backup_is_not_recovered_where_it_lies() {
    let mut world = World::new(344);
    world.burst(30);
    let packed = make(&world, &packed());
    world.burst(10);
    let increment = make(&world, &increment());
    for made in [packed, increment] {
        let home = Path::new(&made.directory);
        let run = campanile::restore::catastrophic_on(
            &world.host(),
            home,
            &Target::End,
            crate::world::options(),
        );
        let error = run.expect_err("it is no copy of a home");
        assert!(error.to_string().contains("campanile restore"), "{error}");
    }
}

#[test]
pub fn a_page_given_up_that_holds_garbage_is_marked_over_what_its_base_holds() {
    let mut world = World::new(345);
    let rows =
        |count: u32| (0..count).map(|n| (format!("{n:08}").into_bytes(), vec![n as u8; 300]));
    world.change(|env, txn, state| {
        let db = env.create_database_with(txn, "big", DatabaseOptions::new())?;
        for (key, value) in rows(80) {
            db.put(txn, &key, &value)?;
        }
        state.insert("big".to_owned(), Arc::new(rows(80).collect()));
        Ok(())
    });
    world.env.checkpoint().unwrap();
    let base = make(&world, &BackupOptions::new());
    world.change(|env, txn, state| {
        let db = env.open_database_in(txn, "big")?;
        for (key, _) in rows(80) {
            db.delete(txn, &key)?;
        }
        state.insert("big".to_owned(), Arc::default());
        Ok(())
    });
    while world.env.step().unwrap() {}
    world.env.checkpoint().unwrap();
    world.env.clone().close().unwrap();
    let (before, mut marked) = (files_of(&world.disk, &base.name), 0);
    for (name, bytes) in &before {
        let file = world.disk.open(&Path::new(HOME).join(name), Open::ReadWrite).unwrap();
        for at in (512..bytes.len() as u64).step_by(512) {
            let mut good = [0; 16];
            file.read_exact_at(&mut good, at).unwrap();
            file.write_all_at(&[0xa5; 16], at).unwrap();
            let made = increment().base(&base.name);
            match made.run_on(&world.host(), Path::new(HOME), repository()) {
                // A page that is in use: damage, and no backup.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
                Ok(made) => {
                    let page = at as usize..at as usize + 512;
                    let restored = files_of(&world.disk, &made.name);
                    assert_eq!(restored[name][page.clone()], [0; 512], "{name} at {at}");
                    marked += u32::from(bytes[page].iter().any(|byte| *byte != 0));
                }
            }
            file.write_all_at(&good, at).unwrap();
        }
    }
    assert!(marked > 0, "no page was given up that the base holds");
}
