//! Real threads on the simulated disk: the one part of an environment's life that the crash
//! explorer, which takes one step after the other, does not see. Many commit at once, background
//! threads write pages and take checkpoints beside them, the power goes at some call; whatever was
//! acknowledged is there, and nothing is there in part.

use std::collections::BTreeMap;
use std::sync::Arc;

use campanile::{Environment, EnvironmentOptions};
use campanile_vfs::sim::{CrashChoice, Side, SimDisk, SimOptions};
use campanile_vfs::{Background, Host, OsClock};

const HOME: &str = "/home";
const WRITERS: u32 = 6;
/// Rows of one transaction: there together or not at all.
const ROWS: u32 = 5;

fn threads(disk: &Arc<SimDisk>) -> Host {
    let clock = Arc::new(OsClock::new());
    Host { background: Background::Threads, clock, ..disk.host() }
}

fn tiny() -> EnvironmentOptions {
    EnvironmentOptions::new()
        .page_bytes(512)
        .cache_bytes(48 * 512)
        .log_file_bytes(16 << 10)
        .log_buffer_bytes(2 << 10)
        .checkpoint_log_bytes(8 << 10)
}

fn key(writer: u32, row: u32) -> Vec<u8> {
    format!("writer {writer} row {row}").into_bytes()
}

/// Commits ever higher numbers until the disk is gone; returns the last one acknowledged.
fn write(env: &Environment, writer: u32, from: u32) -> u32 {
    let Ok(db) = env.open_database("db") else { return from };
    let mut acknowledged = from;
    loop {
        let next = acknowledged + 1;
        let result = env.run(|txn| {
            for row in 0..ROWS {
                let len = 4 + (next * 37 + row * 61) as usize % 300;
                let mut value = vec![row as u8; len];
                value[..4].copy_from_slice(&next.to_le_bytes());
                db.put(txn, key(writer, row), value)?;
            }
            Ok(())
        });
        match result {
            Ok(()) => acknowledged = next,
            Err(_) => break,
        }
    }
    acknowledged
}

/// The number that each writer's rows show.
fn read(env: &Environment) -> BTreeMap<u32, u32> {
    let db = env.open_database("db").unwrap();
    let snapshot = env.snapshot().unwrap();
    let number = |writer, row| {
        let value = db.get(&snapshot, key(writer, row)).unwrap();
        value.map_or(0, |value| u32::from_le_bytes(value[..4].try_into().unwrap()))
    };
    let mut found = BTreeMap::new();
    for writer in 0..WRITERS {
        let first = number(writer, 0);
        for row in 1..ROWS {
            assert_eq!(number(writer, row), first, "writer {writer}: a transaction in part");
        }
        found.insert(writer, first);
    }
    found
}

#[test]
fn what_was_acknowledged_under_many_threads_survives_a_power_failure() {
    let mut disk = SimDisk::new(SimOptions { torn_sectors: true, ..SimOptions::new(5) });
    let env = Environment::open_on(threads(&disk), HOME, tiny()).unwrap();
    env.create_database("db").unwrap();
    env.close().unwrap();
    let mut floor: BTreeMap<u32, u32> = (0..WRITERS).map(|writer| (writer, 0)).collect();
    let mut commits = 0;
    for round in 0..40u64 {
        let env = Environment::open_on(threads(&disk), HOME, tiny()).unwrap();
        let found = read(&env);
        for (writer, number) in &found {
            let least = floor[writer];
            assert!(
                (least..=least + 1).contains(number),
                "round {round}, writer {writer}: acknowledged {least}, found {number}"
            );
        }
        let report = env.verify().unwrap();
        assert!(report.is_clean(), "round {round}: {:?}", report.damage);
        disk.crash_at(disk.calls() + 20 + round * 53 % 900, Side::Before);
        floor = std::thread::scope(|scope| {
            let spawn = |(writer, from)| {
                let env = &env;
                (writer, scope.spawn(move || write(env, writer, from)))
            };
            let writers: Vec<_> = found.into_iter().map(spawn).collect();
            writers.into_iter().map(|(writer, thread)| (writer, thread.join().unwrap())).collect()
        });
        assert!(disk.crashed(), "round {round}: the writers stopped before the power went");
        commits += floor.values().sum::<u32>();
        env.abandon();
        disk = disk.reboot(match round % 4 {
            0 => CrashChoice::Nothing,
            1 => CrashChoice::ProcessCrash,
            _ => CrashChoice::Subset(round),
        });
    }
    assert!(commits > 500, "{commits}");
}
