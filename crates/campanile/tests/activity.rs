//! What operators see of a running environment.

use std::time::{Duration, Instant};

use campanile::{Environment, Lsn, TransactionOptions};

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_wait_for_a_lock_is_seen_while_it_lasts_and_counted_when_it_is_over() {
    let home = tempfile::tempdir().unwrap();
    let options = Environment::options().slow_lock_wait(Some(Duration::from_millis(30)));
    let env = options.open(home.path()).unwrap();
    let db = env.create_database("db").unwrap();
    let mut first = env.begin().unwrap();
    db.put(&mut first, "k", "1").unwrap();
    let second = {
        let (env, db) = (env.clone(), db.clone());
        std::thread::spawn(move || {
            let options = TransactionOptions::new().label("the one that waits");
            let mut txn = env.begin_with(options).unwrap();
            db.put(&mut txn, "k", "2").unwrap();
            txn.commit().unwrap()
        })
    };
    let mut wait = None;
    until("somebody waits", || {
        let transactions = env.activity().transactions;
        wait = transactions.into_iter().find(|txn| txn.waiting.is_some());
        wait.is_some()
    });
    let waiting = wait.unwrap();
    assert_eq!(waiting.label, "the one that waits");
    assert_eq!(waiting.waiting.unwrap().blocker, Some(first.id()));
    std::thread::sleep(Duration::from_millis(60));
    first.commit().unwrap();
    second.join().unwrap();
    let locks = env.stats().locks;
    assert!(locks.waits >= 1 && locks.slow_waits >= 1, "{locks:?}");
    assert!(locks.longest_wait_us >= 30_000 && locks.waited_us >= locks.longest_wait_us);
    assert!(env.activity().transactions.is_empty());
}

#[test]
fn who_keeps_the_log_and_the_oldest_snapshot_are_named() {
    let home = tempfile::tempdir().unwrap();
    let env = Environment::open(home.path()).unwrap();
    let db = env.create_database("db").unwrap();
    let mut old = env.begin().unwrap();
    db.put(&mut old, "a", "1").unwrap();
    let id = old.id();
    let seen = env.activity();
    let running = seen.transactions.iter().find(|txn| txn.id == id).unwrap();
    assert!(running.first_lsn > Lsn::NONE && running.last_lsn >= running.first_lsn);
    assert!(running.locks > 0 && !running.prepared && running.parent.is_none());
    assert!(seen.oldest_snapshot.is_none());
    env.checkpoint().unwrap();
    let holds = env.activity().log_holds;
    assert!(holds.is_sorted_by_key(|hold| hold.lsn));
    assert_eq!(holds[0].holder, format!("transaction {id}, running"), "{holds:?}");
    assert_eq!(holds[0].lsn, running.first_lsn);

    let first = env.snapshot().unwrap();
    let _second = env.snapshot().unwrap();
    let before = env.activity().oldest_snapshot.unwrap();
    std::thread::sleep(Duration::from_millis(5));
    let after = env.activity().oldest_snapshot.unwrap();
    assert!(after.age_us > before.age_us + 4000 && after.lsn == before.lsn);
    drop(first);
    let younger = env.activity().oldest_snapshot.unwrap();
    assert!(younger.age_us < after.age_us + 5_000_000);

    let prepared = old.prepare(b"outside").unwrap();
    let seen = env.activity();
    assert!(seen.transactions.iter().any(|txn| txn.id == id && txn.prepared));
    assert!(seen.log_holds[0].holder.contains("prepared"), "{:?}", seen.log_holds);
    prepared.commit().unwrap();
    assert!(env.activity().transactions.is_empty());
}
