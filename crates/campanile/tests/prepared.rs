//! Two-phase commit, as its users know it: across crashes, closes and checkpoints.

use std::path::PathBuf;
use std::time::Duration;

use campanile::{
    Database, DatabaseOptions, Environment, ErrorKind, Transaction, TransactionOptions,
};

struct Scene {
    _dir: tempfile::TempDir,
    home: PathBuf,
    env: Environment,
    db: Database,
}

/// How one life of an environment ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Crash,
    Close,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let env = open(&home);
    let db = env.create_database("db").unwrap();
    env.run(|txn| {
        db.put(txn, "z", vec![9; 30_000])?;
        db.put(txn, "a", "old").and(db.put(txn, "b", "old"))
    })
    .unwrap();
    Scene { _dir: dir, home, env, db }
}

fn open(home: &PathBuf) -> Environment {
    Environment::options().log_file_bytes(1 << 20).open(home).unwrap()
}

impl Scene {
    fn reopen(self, end: End) -> Scene {
        let Scene { _dir, home, env, db } = self;
        drop(db);
        match end {
            End::Crash => env.abandon(),
            End::Close => env.close().unwrap(),
        }
        let env = open(&home);
        assert_eq!(env.recovery_report().is_some(), matches!(end, End::Crash));
        let db = env.open_database("db").unwrap();
        Scene { _dir, home, env, db }
    }

    fn committed(&self) -> String {
        contents(&self.env, &self.db)
    }
}

fn contents(env: &Environment, db: &Database) -> String {
    let snapshot = env.snapshot().unwrap();
    let entries = db.range(&snapshot, ..).unwrap().map(|entry| {
        let (key, value) = entry.unwrap();
        let shown = if value.len() > 9 { b"long" } else { value.as_slice() };
        format!("{}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(shown))
    });
    entries.collect::<Vec<_>>().join(" ")
}

/// Changes of every kind: replace, delete, insert, long values, in a merged child and without.
fn change(scene: &Scene, txn: &mut Transaction) {
    let db = &scene.db;
    db.put(txn, "a", "new").unwrap();
    let mut child = txn.nested().unwrap();
    db.delete(&mut child, "b").unwrap();
    db.put(&mut child, "z", "short").unwrap();
    db.put(&mut child, "c", vec![7; 50_000]).unwrap();
    let mut grandchild = child.nested().unwrap();
    db.put(&mut grandchild, "a", "newer").unwrap();
    grandchild.commit().unwrap();
    child.commit().unwrap();
    let savepoint = txn.savepoint().unwrap();
    db.put(txn, "d", "never").unwrap();
    txn.rollback_to(&savepoint).unwrap();
    db.put(txn, "e", "new").unwrap();
}

const BEFORE: &str = "a=old b=old z=long";
const AFTER: &str = "a=newer c=long e=new z=short";

#[test]
fn a_prepared_transaction_is_resolved_in_whatever_life() {
    for commit in [true, false] {
        for ends in [&[][..], &[End::Crash], &[End::Close], &[End::Crash, End::Close, End::Crash]] {
            let mut scene = scene();
            let mut txn = scene.env.begin().unwrap();
            change(&scene, &mut txn);
            let id = txn.id();
            drop(txn.prepare(b"order 66").unwrap());
            for end in ends {
                assert_eq!(scene.committed(), BEFORE);
                scene = scene.reopen(*end);
            }
            let prepared = scene.env.prepared();
            assert_eq!(prepared.len(), 1, "{ends:?}");
            assert_eq!((prepared[0].id, prepared[0].gid.as_slice()), (id, &b"order 66"[..]));
            assert_eq!(scene.committed(), BEFORE);
            let report = scene.env.verify().unwrap();
            assert!(report.is_clean(), "{:?}", report.damage);
            if commit {
                scene.env.commit_prepared(b"order 66").unwrap();
            } else {
                scene.env.abort_prepared(b"order 66").unwrap();
            }
            let expected = if commit { AFTER } else { BEFORE };
            assert_eq!(scene.committed(), expected, "{ends:?}");
            assert!(scene.env.prepared().is_empty());
            let again = scene.env.commit_prepared(b"order 66").unwrap_err();
            assert_eq!(again.kind(), ErrorKind::NotFound, "{again}");
            scene = scene.reopen(End::Crash);
            assert_eq!(scene.committed(), expected, "{ends:?}");
            assert!(scene.env.prepared().is_empty());
            assert_eq!(scene.env.stats().locks.locks, 0);
            assert!(scene.env.verify().unwrap().is_clean());
        }
    }
}

#[test]
fn nothing_unresolved_is_visible_and_writers_wait_for_it_after_a_crash_too() {
    let mut scene = scene();
    let mut txn = scene.env.begin().unwrap();
    change(&scene, &mut txn);
    let prepared = txn.prepare(b"x").unwrap();
    assert_eq!(prepared.gid(), b"x");
    drop(prepared);
    for end in [End::Crash, End::Close, End::Crash] {
        scene = scene.reopen(end);
        let (env, db) = (&scene.env, &scene.db);
        assert_eq!(scene.committed(), BEFORE);
        let snapshot = env.snapshot().unwrap();
        assert_eq!(db.get(&snapshot, "c").unwrap(), None);
        assert_eq!(db.prefix(&snapshot, "").unwrap().rev().count(), 3);
        assert_eq!(db.get(&snapshot, "z").unwrap().map(|value| value.len()), Some(30_000));
        drop(snapshot);
        let patient = || TransactionOptions::new().lock_timeout(Duration::from_millis(20));
        for key in ["a", "b", "c", "e"] {
            let mut other = env.begin_with(patient()).unwrap();
            let error = db.put(&mut other, key, "other").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LockTimeout, "{key}: {error}");
            drop(other);
            let other = env.begin_with(patient()).unwrap();
            let error = db.get(&other, key).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LockTimeout, "{key}: {error}");
        }
    }
    scene.env.commit_prepared(b"x").unwrap();
    assert_eq!(scene.committed(), AFTER);
    scene.env.run(|txn| scene.db.put(txn, "a", "later").map(drop)).unwrap();
}

#[test]
fn databases_made_dropped_and_emptied_in_a_prepared_transaction() {
    for (commit, end) in
        [(true, End::Crash), (false, End::Crash), (true, End::Close), (false, End::Close)]
    {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let env = open(&home);
        for name in ["dropped", "emptied", "renamed", "both"] {
            let db = env.create_database(name).unwrap();
            env.run(|txn| db.put(txn, "k", "v").and(db.put(txn, "long", vec![1; 40_000]))).unwrap();
        }
        let mut txn = env.begin().unwrap();
        let made = env.create_database_with(&mut txn, "made", DatabaseOptions::new()).unwrap();
        made.put(&mut txn, "k", "v").unwrap();
        env.drop_database_in(&mut txn, "dropped").unwrap();
        env.empty_database_in(&mut txn, "emptied").unwrap();
        env.rename_database_in(&mut txn, "renamed", "renamed too").unwrap();
        env.empty_database_in(&mut txn, "both").unwrap();
        let both = env.open_database_in(&mut txn, "both").unwrap();
        both.put(&mut txn, "new", "v").unwrap();
        env.rename_database_in(&mut txn, "both", "both too").unwrap();
        drop(txn.prepare(&[0, 255]).unwrap());
        drop((made, both));
        match end {
            End::Crash => env.abandon(),
            End::Close => env.close().unwrap(),
        }
        let report = Environment::options().read_only(true).open(&home).unwrap().verify().unwrap();
        assert!(report.is_clean(), "{:?}", report.damage);
        let env = open(&home);
        let old = ["both", "dropped", "emptied", "renamed"];
        assert_eq!(env.databases(&env.snapshot().unwrap()).unwrap(), old);
        let handles = old.map(|name| env.open_database(name).unwrap());
        assert!(handles.iter().all(|db| contents(&env, db) == "k=v long=long"));
        let before = env.snapshot().unwrap();
        if commit {
            env.commit_prepared(&[0, 255]).unwrap();
        } else {
            env.abort_prepared(&[0, 255]).unwrap();
        }
        while env.step().unwrap() {}
        for db in &handles {
            assert_eq!(db.get(&before, "k").unwrap().as_deref(), Some(&b"v"[..]), "{db:?}");
        }
        drop(before);
        while env.step().unwrap() {}
        let names = env.databases(&env.snapshot().unwrap()).unwrap();
        let [both, dropped, emptied, renamed] = &handles;
        if commit {
            assert_eq!(names, ["both too", "emptied", "made", "renamed too"]);
            assert_eq!(contents(&env, both), "new=v");
            let gone = dropped.get(&env.snapshot().unwrap(), "k").unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
            assert_eq!(contents(&env, emptied), "");
            assert_eq!(contents(&env, renamed), "k=v long=long");
        } else {
            assert_eq!(names, old);
            assert!(handles.iter().all(|db| contents(&env, db) == "k=v long=long"));
        }
        assert!(env.verify().unwrap().is_clean());
        drop(handles);
        env.close().unwrap();
    }
}

#[test]
fn its_log_is_kept_and_the_figures_say_so() {
    let mut scene = scene();
    let mut txn = scene.env.begin().unwrap();
    change(&scene, &mut txn);
    drop(txn.prepare(b"old").unwrap());
    let first = scene.env.prepared()[0].first;
    // A transaction that rolls back writes log and needs no lock that is not free.
    for round in 0..4 {
        scene.env.checkpoint().unwrap();
        assert_eq!(scene.env.prepared()[0].first, first, "{round}");
    }
    assert_eq!(scene.env.stats().transactions.prepared, 1);
    assert_eq!(scene.env.prepared()[0].first, first);
    let kept = scene.env.prepared()[0].log_bytes_kept;
    scene = scene.reopen(End::Crash);
    assert!(scene.env.prepared()[0].log_bytes_kept >= kept);
    scene.env.abort_prepared(b"old").unwrap();
    assert_eq!(scene.committed(), BEFORE);
    assert_eq!(scene.env.stats().transactions.prepared, 0);
}

#[test]
fn what_cannot_be_prepared_is_rolled_back_and_the_error_says_why() {
    let scene = scene();
    let (env, db) = (&scene.env, &scene.db);
    let begin = || {
        let mut txn = env.begin().unwrap();
        db.put(&mut txn, "a", "new").unwrap();
        txn
    };
    for bad in [vec![], vec![1; 257]] {
        let error = begin().prepare(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    let empty = env.begin().unwrap();
    let longest = [255; 256];
    let first = empty.prepare(&longest).unwrap();
    let error = begin().prepare(&longest).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(env.prepared()[0].gid_text, None);
    assert_eq!(env.prepared()[0].gid_hex, "ff".repeat(256));
    first.commit().unwrap();

    let options = DatabaseOptions::new().durable(false);
    let mut txn = env.begin().unwrap();
    let cache = env.create_database_with(&mut txn, "cache", options).unwrap();
    txn.prepare(b"makes it").unwrap().commit().unwrap();
    let mut txn = begin();
    cache.put(&mut txn, "k", "v").unwrap();
    let error = txn.prepare(b"changes it").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("not durable"), "{error}");

    assert_eq!(scene.committed(), BEFORE);
    assert!(env.prepared().is_empty());
    assert_eq!(env.stats().locks.locks, 0);
}

#[test]
fn a_global_id_is_free_again_once_resolved_and_each_resolves_its_own() {
    let mut scene = scene();
    for round in ["1", "2", "3"] {
        let mut txn = scene.env.begin().unwrap();
        scene.db.put(&mut txn, "a", round).unwrap();
        let prepared = txn.prepare(b"same").unwrap();
        if round == "2" {
            prepared.abort().unwrap();
        } else {
            prepared.commit().unwrap();
        }
    }
    assert_eq!(scene.committed(), "a=3 b=old z=long");
    scene = scene.reopen(End::Crash);
    assert!(scene.env.prepared().is_empty());
    assert_eq!(scene.committed(), "a=3 b=old z=long");
}
