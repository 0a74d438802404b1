//! Misuse, and handles in odd places: nothing hangs, nothing panics, the error says what is wrong.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use campanile::host::Host;
use campanile::{Environment, EnvironmentOptions, ErrorKind, TransactionOptions};

fn tiny() -> EnvironmentOptions {
    EnvironmentOptions::new()
        .page_bytes(512)
        .cache_bytes(64 * 512)
        .log_file_bytes(64 << 10)
        .log_buffer_bytes(8 << 10)
}

fn open() -> Environment {
    Environment::open_on(Host::memory(), "/home", tiny()).unwrap()
}

fn soon<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(body()));
    result
        .recv_timeout(Duration::from_secs(20))
        .unwrap_or_else(|_| panic!("{what} hangs or panicked"))
}

fn is<T: Send + Sync + 'static>() {}
fn is_send<T: Send>() {}

#[test]
fn a_look_may_read_with_the_same_reader() {
    soon("get within get_with", || {
        let env = open();
        let db = env.create_database("db").unwrap();
        let mut txn = env.begin().unwrap();
        db.put(&mut txn, "pointer", "target").unwrap();
        db.put(&mut txn, "target", "value").unwrap();
        let found =
            db.get_with(&txn, "pointer", |key| db.get(&txn, key)).unwrap().unwrap().unwrap();
        assert_eq!(found.as_deref(), Some(&b"value"[..]));
        txn.commit().unwrap();
        let snapshot = env.snapshot().unwrap();
        let mut txn = env.begin().unwrap();
        db.get_with(&snapshot, "pointer", |key| {
            for n in 0..1000 {
                db.put(&mut txn, format!("{n}"), key).unwrap();
            }
        })
        .unwrap();
        txn.commit().unwrap();
    });
}

#[test]
fn two_transactions_of_one_thread_do_not_wait_for_ever() {
    let env = open();
    let db = env.create_database("db").unwrap();
    let mut first = env.begin().unwrap();
    db.put(&mut first, "a", "1").unwrap();
    let options = TransactionOptions::new().lock_timeout(Duration::from_millis(50));
    let mut second = env.begin_with(options).unwrap();
    db.put(&mut second, "b", "2").unwrap();
    let error = db.put(&mut second, "a", "2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockTimeout);
    for part in ["\"a\"", "database \"db\"", &format!("transaction {}", second.id())] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(error.is_retryable());
    assert!(error.to_string().contains(&format!("transaction {}", first.id())), "{error}");
    drop(second);
    first.commit().unwrap();
}

#[test]
fn a_savepoint_that_does_not_stand_is_refused() {
    let env = open();
    let db = env.create_database("db").unwrap();
    let mut txn = env.begin().unwrap();
    db.put(&mut txn, "a", "1").unwrap();
    let early = txn.savepoint().unwrap();
    env.empty_database_in(&mut txn, "db").unwrap();
    let late = txn.savepoint().unwrap();
    txn.rollback_to(&early).unwrap();
    env.empty_database_in(&mut txn, "db").unwrap();
    db.put(&mut txn, "d", "1").unwrap();
    let error = txn.rollback_to(&late).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(db.get(&txn, "d").unwrap().unwrap(), b"1", "and nothing was done");
    let again = txn.savepoint().unwrap();
    db.put(&mut txn, "e", "1").unwrap();
    txn.rollback_to(&again).unwrap();
    txn.rollback_to(&again).unwrap();
    txn.rollback_to(&early).unwrap();
    assert!(txn.rollback_to(&again).is_err());
    txn.rollback_to(&early).unwrap();
    assert_eq!(db.get(&txn, "a").unwrap().unwrap(), b"1");
    let mut other = env.begin().unwrap();
    assert_eq!(other.rollback_to(&early).unwrap_err().kind(), ErrorKind::InvalidArgument);
    drop(other);
    txn.commit().unwrap();

    let elsewhere = open();
    let db = elsewhere.create_database("db").unwrap();
    let mut txn = elsewhere.begin().unwrap();
    db.put(&mut txn, "k", "v").unwrap();
    assert_eq!(txn.rollback_to(&early).unwrap_err().kind(), ErrorKind::InvalidArgument);
    txn.commit().unwrap();
    assert!(env.verify().unwrap().is_clean() && elsewhere.verify().unwrap().is_clean());
}

#[test]
fn closing_beside_checkpoints_leaves_a_clean_home() {
    let host = Host::memory();
    for _ in 0..10 {
        let env = Environment::open_on(host.clone(), "/home", tiny()).unwrap();
        assert!(env.recovery_report().is_none());
        let db = env.create_database("db").unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let kind = loop {
                        let result = env.checkpoint().map(|_| ());
                        let result = result.and_then(|()| env.step().map(|_| ()));
                        let result =
                            result.and_then(|()| env.run(|txn| db.put(txn, "k", "v").map(|_| ())));
                        if let Err(error) = result {
                            break error.kind();
                        }
                        thread::sleep(Duration::from_millis(1));
                    };
                    assert_eq!(kind, ErrorKind::Closed);
                });
            }
            while let Err(error) = env.clone().close() {
                assert_eq!(error.kind(), ErrorKind::Busy);
                thread::sleep(Duration::from_micros(100));
            }
        });
    }
}

#[test]
fn what_a_handle_shows_of_itself_is_short_and_no_secret() {
    let env = open();
    let db = env.create_database("db").unwrap();
    env.run(|txn| db.put(txn, "key", "topsecret").map(|_| ())).unwrap();
    let snapshot = env.snapshot().unwrap();
    let reader = db.value_reader(&snapshot, "key").unwrap().unwrap();
    let txn = env.begin().unwrap();
    let mut cursor = db.cursor(&snapshot).unwrap();
    assert!(cursor.next().unwrap());
    for shown in [
        format!("{env:?}"),
        format!("{db:?}"),
        format!("{snapshot:?}"),
        format!("{reader:?}"),
        format!("{txn:?}"),
        format!("{:?}", db.range(&snapshot, ..).unwrap()),
        format!("{cursor:?}"),
    ] {
        assert!(shown.len() < 500, "{shown}");
        assert!(!shown.contains("topsecret"), "{shown}");
    }
}

#[test]
fn handles_of_two_environments_do_not_mix() {
    let (a, b) = (open(), open());
    let db = a.create_database("db").unwrap();
    let mut txn = b.begin().unwrap();
    assert_eq!(db.put(&mut txn, "k", "v").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(db.get(&txn, "k").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(db.get(&b.snapshot().unwrap(), "k").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(a.drop_database_in(&mut txn, "db").is_err());
    assert!(db.range(&txn, ..).is_err());
    assert!(db.cursor_mut(&mut txn).is_err());
}

#[test]
fn handles_outlive_the_environment() {
    let host = Host::memory();
    let env = Environment::open_on(host.clone(), "/home", tiny()).unwrap();
    let db = env.create_database("db").unwrap();
    let snapshot = env.snapshot().unwrap();
    let mut txn = env.begin().unwrap();
    db.put(&mut txn, "a", "b").unwrap();
    drop(env);
    assert_eq!(
        Environment::open_on(host.clone(), "/home", tiny()).unwrap_err().kind(),
        ErrorKind::Locked
    );
    db.put(&mut txn, "c", "d").unwrap();
    txn.commit().unwrap();
    drop(db);
    drop(snapshot);
    let env = Environment::open_on(host.clone(), "/home", tiny()).unwrap();
    assert!(env.recovery_report().is_none());
    let db = env.open_database("db").unwrap();
    let snapshot = env.snapshot().unwrap();
    let mut cursor = db.cursor(&snapshot).unwrap();
    cursor.first().unwrap();
    let txn = env.begin().unwrap();
    assert_eq!(env.clone().close().unwrap_err().kind(), ErrorKind::Busy);
    txn.commit().unwrap();
    env.clone().close().unwrap();
    for error in [
        cursor.next().unwrap_err(),
        cursor.value().map(|_| ()).unwrap_err(),
        db.get(&snapshot, "a").unwrap_err(),
        env.begin().unwrap_err(),
        env.verify().unwrap_err(),
        env.checkpoint().unwrap_err(),
        env.step().unwrap_err(),
        env.clone().close().unwrap_err(),
        db.stats().unwrap_err(),
        env.snapshot().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    drop(env);
    // The old handles still stand, the home is free.
    let env = Environment::open_on(host, "/home", tiny()).unwrap();
    drop((db, env));
}

#[test]
fn handles_go_between_threads() {
    is::<Environment>();
    is::<campanile::Database>();
    is::<campanile::Snapshot>();
    is::<campanile::Transaction>();
    is::<campanile::Savepoint>();
    is::<campanile::Error>();
    is_send::<campanile::Range<'_>>();
    is_send::<campanile::Cursor<'_>>();
    is_send::<campanile::CursorMut<'_>>();
}
