//! What waits, what is retried, what can be cancelled.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use campanile::host::Host;
use campanile::text::{Format, Header, Reader, Writer};
use campanile::{
    DumpOptions, Environment, EnvironmentOptions, Error, ErrorKind, LoadOptions, Progress,
    TransactionOptions, VerifyOptions,
};

const HOME: &str = "/home";

fn open(host: &Host, options: EnvironmentOptions) -> Environment {
    Environment::open_on(host.clone(), HOME, options).unwrap()
}

/// Stops the work at the `n`th report, and counts the reports.
fn stop_at(n: u64) -> (Progress, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let progress = Progress::new(move |_| {
        if counted.fetch_add(1, Ordering::Relaxed) + 1 >= n {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    (progress, count)
}

fn dump_of(pairs: u32) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.begin(&Header::new(Format::Bytevalue)).unwrap();
    for n in 0..pairs {
        writer.pair(format!("{n:08}").as_bytes(), b"value").unwrap();
    }
    writer.end().unwrap();
    writer.finish().unwrap()
}

#[test]
fn a_cancelled_load_leaves_nothing_and_can_be_run_again() {
    let env = open(&Host::memory(), EnvironmentOptions::new());
    let dump = dump_of(5000);
    let (progress, _) = stop_at(3);
    let options = LoadOptions::new().database("db").progress(progress);
    let error = env.load(&mut Reader::new(&dump[..], "dump"), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(env.databases(&env.snapshot().unwrap()).unwrap().is_empty());
    let options = LoadOptions::new().database("db");
    let report = env.load(&mut Reader::new(&dump[..], "dump"), &options).unwrap();
    assert_eq!(report.databases[0].inserted, 5000);

    let (progress, _) = stop_at(2);
    let options = DumpOptions::new().progress(progress);
    let mut writer = Writer::new(Vec::new());
    let snapshot = env.snapshot().unwrap();
    let error = env.dump(&snapshot, "db", &mut writer, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let (progress, _) = stop_at(1);
    let error = env.verify_with(&VerifyOptions::new().progress(progress)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(env.verify().unwrap().is_clean());
}

#[test]
fn a_cancelled_recovery_is_begun_again_by_the_next_open() {
    let host = Host::memory();
    let env = open(&host, EnvironmentOptions::new());
    let dump = dump_of(5000);
    let options = LoadOptions::new().database("db").batch_pairs(Some(10));
    env.load(&mut Reader::new(&dump[..], "dump"), &options).unwrap();
    env.abandon();
    for stop in [1, 2, 5, 10] {
        let (progress, _) = stop_at(stop);
        let options = EnvironmentOptions::new().progress(progress);
        let error = Environment::open_on(host.clone(), HOME, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    }
    let (progress, reports) = stop_at(u64::MAX);
    let env = open(&host, EnvironmentOptions::new().progress(progress));
    assert!(reports.load(Ordering::Relaxed) > 10);
    assert!(env.recovery_report().is_some());
    let db = env.open_database("db").unwrap();
    assert_eq!(db.range(&env.snapshot().unwrap(), ..).unwrap().count(), 5000);
}

#[test]
fn a_transaction_that_waited_too_long_is_run_again() {
    let options = EnvironmentOptions::new().lock_timeout(Some(Duration::from_millis(20)));
    let env = open(&Host::memory(), options);
    let db = env.create_database("db").unwrap();
    let mut holder = env.begin().unwrap();
    db.put(&mut holder, "k", "holder").unwrap();

    let mut impatient =
        env.begin_with(TransactionOptions::new().lock_timeout(Duration::from_millis(1))).unwrap();
    let error = db.put(&mut impatient, "k", "impatient").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockTimeout, "{error}");
    assert!(error.is_retryable());
    drop(impatient);

    let mut runs = 0;
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            env.run(|txn| {
                runs += 1;
                db.put(txn, "k", "waiter")
            })
        });
        thread::sleep(Duration::from_millis(60));
        holder.commit().unwrap();
        assert!(waiter.join().unwrap().unwrap(), "it replaced what the holder had put");
    });
    assert!(runs > 1, "{runs}");
    let value = db.get(&env.snapshot().unwrap(), "k").unwrap();
    assert_eq!(value.as_deref(), Some(&b"waiter"[..]));
}

/// A run within a run of another environment is nobody's retry but its own.
#[test]
fn the_patience_of_a_run_is_of_its_environment() {
    let options = || EnvironmentOptions::new().lock_timeout(Some(Duration::from_millis(1)));
    let (one, other) = (open(&Host::memory(), options()), open(&Host::memory(), options()));
    let db = other.create_database("db").unwrap();
    let mut holder = other.begin().unwrap();
    db.put(&mut holder, "k", "holder").unwrap();
    let mut attempts = 0;
    let outcome: Result<(), Error> = one.run(|_| {
        let inner = other.run(|txn| {
            attempts += 1;
            db.put(txn, "k", "waiter").map(drop)
        });
        assert_eq!(inner.unwrap_err().kind(), ErrorKind::LockTimeout);
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(attempts, 10, "all of its own retries");
    attempts = 0;
    let within = other.run(|_| {
        other.run(|txn| {
            attempts += 1;
            db.put(txn, "k", "waiter").map(drop)
        })
    });
    assert_eq!(within.unwrap_err().kind(), ErrorKind::LockTimeout);
    assert_eq!(attempts, 10, "the outer one runs again, the one within does not");
    holder.abort().unwrap();
}

#[test]
fn who_waits_for_a_lock_can_be_asked_and_holds_up_nobody_else() {
    let env = open(&Host::memory(), EnvironmentOptions::new());
    let db = env.create_database("db").unwrap();
    let mut holder = env.begin().unwrap();
    db.put(&mut holder, "k", "holder").unwrap();
    let reader = env.begin().unwrap();
    let begun = std::time::Instant::now();
    thread::scope(|scope| {
        let reads = scope.spawn(|| db.get(&reader, "k").unwrap());
        let check = scope.spawn(|| env.verify().unwrap());
        while env.stats().locks.waiting < 2 {
            thread::yield_now();
        }
        assert!(format!("{reader:?}").contains(&reader.id().to_string()));
        env.step().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(15), "it waited for who waits");
        holder.commit().unwrap();
        assert_eq!(reads.join().unwrap().as_deref(), Some(&b"holder"[..]));
        assert!(check.join().unwrap().is_clean());
    });
}

#[test]
fn a_snapshot_fails_as_too_old_rather_than_take_all_memory() {
    let options = EnvironmentOptions::new().version_bytes(64 << 10);
    let env = open(&Host::memory(), options);
    let db = env.create_database("db").unwrap();
    let put_all = |value: u8| {
        env.run(|txn| {
            for n in 0..200_u32 {
                db.put(txn, n.to_le_bytes(), vec![value; 500])?;
            }
            Ok(())
        })
        .unwrap();
    };
    put_all(0);
    let old = env.snapshot().unwrap();
    for value in 1..20 {
        put_all(value);
    }
    let read: campanile::Result<Vec<_>> = db.range(&old, ..).unwrap().take(200).collect();
    let error = read.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SnapshotTooOld, "{error}");
    assert!(error.is_retryable());
    let mut range = db.range(&old, ..).unwrap();
    assert!(range.next().unwrap().is_err());
    assert!(range.next().unwrap().is_err(), "a range that failed stays failed");
    let new = env.snapshot().unwrap();
    assert_eq!(db.range(&new, ..).unwrap().count(), 200);
}
