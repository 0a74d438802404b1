//! Rows 32 to 34: real processes, a real disk, SIGKILL.

use crate::child::{HELD, Worker, options};
use crate::table::{Outcome, situation};
use campanile::restore::{Target, catastrophic};
use campanile::{Environment, ErrorKind};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Everything that was acknowledged, at most one more, whole; and it can be written.
#[track_caller]
fn is_right(env: &Environment, acknowledged: u64) {
    let snapshot = env.snapshot().expect("a snapshot");
    let mut counts = Vec::new();
    for name in ["ledger", "orders", "stock"] {
        let database = env.open_database(name).expect("is there");
        let mut count = 0;
        for entry in database.range(&snapshot, ..).expect("a range") {
            let (key, value) = entry.expect("a row");
            count += 1;
            assert_eq!(key, format!("key{count:07}").into_bytes(), "{name}");
            assert_eq!(value, count.to_string().into_bytes(), "{name}");
        }
        counts.push(count);
    }
    assert_eq!((counts[0], counts[0]), (counts[1], counts[2]), "whole transactions");
    let allowed = acknowledged..=acknowledged + 1;
    assert!(allowed.contains(&counts[0]), "{} rows, {acknowledged} acknowledged", counts[0]);
    assert!(env.verify().expect("verifies").is_clean());
    let ledger = env.open_database("ledger").expect("is there");
    env.run(|txn| ledger.put(txn, HELD, "now")).expect("nobody holds it");
}

/// Works for a while and is killed. Gives the last commit that was acknowledged.
fn killed(home: &Path) -> u64 {
    let mut worker = Worker::start(home);
    worker.works_on(60);
    worker.kill()
}

#[test]
fn row_32_killed_and_the_lock_files_are_removed_by_hand() {
    for way in 0..2 {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path();
        let acknowledged = killed(home);
        let mut removed = 0;
        for folder in [home.to_owned(), home.join("log")] {
            for entry in fs::read_dir(folder).expect("a home") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                if name.starts_with("campanile.") || name.ends_with(".lock") {
                    fs::remove_file(path).expect("is removed");
                    removed += 1;
                }
            }
        }
        assert!(removed >= 2, "{removed} files");
        if way == 1 {
            catastrophic(home, &Target::End, options()).expect("recovers");
        }
        let env = options().create(false).open(home).expect("opens");
        assert_eq!(situation(32).ours[way], Outcome::Right);
        is_right(&env, acknowledged);
        env.close().expect("closes");
    }
}

#[test]
fn row_33_killed_in_the_middle_of_transactions_and_opened() {
    for way in 0..2 {
        let dir = tempfile::tempdir().expect("a directory");
        let acknowledged = killed(dir.path());
        let begun = Instant::now();
        if way == 1 {
            catastrophic(dir.path(), &Target::End, options()).expect("recovers");
        }
        let env = options().create(false).open(dir.path()).expect("opens");
        is_right(&env, acknowledged);
        assert_eq!(situation(33).ours[way], Outcome::Right);
        // No lock of the dead was waited for: that would have taken a minute.
        assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
        env.close().expect("closes");
    }
}

#[test]
fn row_34_recovery_beside_a_running_owner_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut worker = Worker::start(dir.path());
    worker.works_on(20);
    let who = format!("process {}", worker.pid());
    let normal = options().create(false).open(dir.path()).expect_err("it is owned");
    let catastrophic = catastrophic(dir.path(), &Target::End, options()).expect_err("it is owned");
    for error in [normal, catastrophic] {
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        assert!(error.to_string().contains(&who), "{error}");
        println!("row 34: refused: {error}");
    }
    assert_eq!(situation(34).ours, [Outcome::Refused; 2]);
    worker.works_on(40);
    let acknowledged = worker.kill();
    let env = options().create(false).open(dir.path()).expect("opens");
    is_right(&env, acknowledged);
    env.close().expect("closes");
}
