//! Crashes and failing disks as a user of the library meets them, on the simulated disk.

use std::io::Write;
use std::sync::Arc;

use campanile::{
    DatabaseOptions, DumpOptions, Environment, EnvironmentOptions, ErrorKind, Health, text,
};
use campanile_vfs::CallKind;
use campanile_vfs::sim::{
    CrashChoice, CrashPolicy, Errno, Fault, FaultPlan, FaultRule, SimDisk, SimOptions, Trigger,
};

const HOME: &str = "/home";

fn tiny() -> EnvironmentOptions {
    EnvironmentOptions::new()
        .page_bytes(512)
        .cache_bytes(32 * 512)
        .log_file_bytes(16 << 10)
        .log_buffer_bytes(2 << 10)
}

fn open(disk: &Arc<SimDisk>) -> campanile::Result<Environment> {
    Environment::open_on(disk.host(), HOME, tiny())
}

/// Runs `life` once, then opens what every crash in it could have left, and hands that on.
fn after_every_crash(life: impl Fn(&Arc<SimDisk>), check: impl Fn(&Environment)) -> usize {
    let disk = SimDisk::new(SimOptions::harsh(7));
    disk.capture_crash_points();
    life(&disk);
    let mut opened = 0;
    for point in disk.take_crash_points() {
        let policy = CrashPolicy { subsets: 1, ..CrashPolicy::full(opened as u64) };
        for choice in point.disk.crash_choices(&policy).into_iter().step_by(5) {
            let left = point.disk.reboot(choice);
            let env = open(&left).unwrap_or_else(|error| panic!("{choice:?}: {error}"));
            check(&env);
            let report = env.verify().unwrap();
            assert!(report.is_clean(), "{choice:?}: {:?}", report.damage);
            opened += 1;
        }
    }
    opened
}

/// What a process that died left in the system's cache is built upon by the next one; then the
/// power fails, and the cache is gone.
#[test]
fn a_home_that_was_created_in_a_cache_survives_the_loss_of_the_cache() {
    let disk = SimDisk::new(SimOptions::new(11));
    disk.capture_crash_points();
    let env = open(&disk).unwrap();
    env.create_database("db").unwrap();
    env.close().unwrap();
    let mut opened = 0;
    for first in disk.take_crash_points() {
        let cached = first.disk.reboot(CrashChoice::ProcessCrash);
        cached.capture_crash_points();
        open(&cached).unwrap().abandon();
        for second in cached.take_crash_points() {
            let left = second.disk.reboot(CrashChoice::Nothing);
            let env = open(&left)
                .unwrap_or_else(|e| panic!("calls {} and {}: {e}", first.call, second.call));
            env.abandon();
            opened += 1;
        }
    }
    assert!(opened > 1000, "{opened}");
}

#[test]
fn a_home_is_created_whole_whenever_the_process_dies() {
    let opened = after_every_crash(
        |disk| {
            let env = open(disk).unwrap();
            env.create_database("db").unwrap();
            env.close().unwrap();
        },
        |env| {
            let db = env.create_database("db").unwrap();
            env.run(|txn| db.put(txn, "k", "v")).unwrap();
        },
    );
    assert!(opened > 50, "{opened}");
}

#[test]
fn catalog_changes_survive_a_crash_whole_or_not_at_all() {
    let opened = after_every_crash(
        |disk| {
            let env = open(disk).unwrap();
            let mut txn = env.begin().unwrap();
            for name in ["a", "b", "c"] {
                let db = env.create_database_with(&mut txn, name, DatabaseOptions::new()).unwrap();
                db.put(&mut txn, "of", name).unwrap();
            }
            txn.commit().unwrap();
            let mut txn = env.begin().unwrap();
            env.drop_database_in(&mut txn, "a").unwrap();
            env.rename_database_in(&mut txn, "b", "a").unwrap();
            env.empty_database_in(&mut txn, "c").unwrap();
            txn.commit().unwrap();
            while env.step().unwrap() {}
            env.close().unwrap();
        },
        |env| {
            let snapshot = env.snapshot().unwrap();
            let seen: Vec<(String, Option<Vec<u8>>)> = env
                .databases(&snapshot)
                .unwrap()
                .into_iter()
                .map(|name| {
                    let db = env.open_database_at(&snapshot, &name).unwrap();
                    let of = db.get(&snapshot, "of").unwrap();
                    (name, of)
                })
                .collect();
            let state = |rows: &[(&str, Option<&str>)]| -> Vec<(String, Option<Vec<u8>>)> {
                rows.iter()
                    .map(|(name, of)| ((*name).to_owned(), of.map(|of| of.as_bytes().to_vec())))
                    .collect()
            };
            let states = [
                state(&[]),
                state(&[("a", Some("a")), ("b", Some("b")), ("c", Some("c"))]),
                state(&[("a", Some("b")), ("c", None)]),
            ];
            assert!(states.contains(&seen), "{seen:?}");
        },
    );
    assert!(opened > 200, "{opened}");
}

#[test]
fn a_failed_sync_poisons_and_reopening_recovers_what_was_acknowledged() {
    let disk = SimDisk::new(SimOptions::new(3));
    let env = open(&disk).unwrap();
    let db = env.create_database("db").unwrap();
    let mut acknowledged = 0_u32;
    let sync = FaultRule::new(Fault::Any(Errno::Eio), Trigger::Nth(20))
        .on("*/log.*")
        .for_calls(&[CallKind::SyncData]);
    disk.faults(FaultPlan::none().and(sync));
    let error = loop {
        let key = acknowledged.to_string();
        match env.run(|txn| db.put(txn, &key, "v")) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "the fault never came");
    };
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{error}");
    assert!(matches!(env.health(), Health::Poisoned { .. }));
    let later = env.run(|txn| db.put(txn, "later", "v")).unwrap_err();
    assert_eq!(later.kind(), ErrorKind::Poisoned, "{later}");
    assert!(later.needs_recovery() && later.to_string().contains("reopen"), "{later}");
    assert_eq!(env.checkpoint().unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(env.close().is_err());
    drop(db);

    disk.faults(FaultPlan::none());
    let env = open(&disk).unwrap();
    assert!(env.recovery_report().is_some());
    let db = env.open_database("db").unwrap();
    let snapshot = env.snapshot().unwrap();
    for n in 0..acknowledged {
        assert!(db.contains(&snapshot, n.to_string()).unwrap(), "{n} was acknowledged");
    }
    assert!(db.get(&snapshot, "later").unwrap().is_none());
}

#[test]
fn an_output_that_fails_is_an_io_error_of_the_dump() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let env = open(&SimDisk::new(SimOptions::new(1))).unwrap();
    let db = env.create_database("db").unwrap();
    env.run(|txn| db.put(txn, "k", vec![1; 2 << 20])).unwrap();
    let mut writer = text::Writer::new(Full);
    let snapshot = env.snapshot().unwrap();
    let error = env.dump(&snapshot, "db", &mut writer, &DumpOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let mut writer = text::Writer::new(Vec::new());
    let report = env.dump(&snapshot, "db", &mut writer, &DumpOptions::new()).unwrap();
    assert_eq!((report.pairs, report.bytes), (1, 1 + (2 << 20)));
    assert_eq!(text::check(&writer.finish().unwrap()).unwrap().bytes, report.bytes);
}

/// The end of the log in a file that was used before, with old records behind it, is no torn tail.
#[test]
fn a_log_that_ends_whole_in_a_recycled_file_is_not_reported_as_cut() {
    let disk = SimDisk::new(SimOptions::new(3));
    let env = open(&disk).unwrap();
    let db = env.create_database("db").unwrap();
    let mut used_before = 0;
    for round in 0..400u32 {
        env.run(|txn| db.put(txn, "k", vec![round as u8; 90])).unwrap();
        env.step().unwrap();
        if round % 40 == 0 {
            env.checkpoint().unwrap();
        }
        let left = disk.reboot(CrashChoice::Nothing);
        let report = open(&left).unwrap().recovery_report().unwrap().clone();
        assert_eq!((report.tail_bytes_cut, report.tail_survivors), (0, 0), "round {round}");
        used_before += u64::from(env.stats().log.files_recycled > 1);
    }
    assert!(used_before > 100, "{used_before} rounds in recycled files");
}
