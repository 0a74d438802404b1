//! What a user of the library sees, in memory and on real files.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use campanile::host::{Host, Open};
use campanile::inspect::{self, HomeState, LogOptions};
use campanile::{
    DatabaseOptions, Durability, Environment, EnvironmentOptions, ErrorKind, Health, Result,
};

const HOME: &str = "/home";

fn tiny() -> EnvironmentOptions {
    EnvironmentOptions::new()
        .page_bytes(512)
        .cache_bytes(64 * 512)
        .log_file_bytes(64 << 10)
        .log_buffer_bytes(8 << 10)
}

fn open(host: &Host) -> Environment {
    Environment::open_on(host.clone(), HOME, tiny()).unwrap()
}

fn key(n: u32) -> String {
    format!("key-{n:06}")
}

fn keys_of(entries: impl Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>) -> Vec<String> {
    entries.map(|entry| String::from_utf8(entry.unwrap().0).unwrap()).collect()
}

#[test]
fn what_was_committed_is_there_after_a_clean_close_and_after_a_crash() {
    let host = Host::memory();
    for (round, crash) in [(0, false), (1, true), (2, true), (3, false)] {
        let env = open(&host);
        assert_eq!(env.recovery_report().is_some(), round == 2 || round == 3, "round {round}");
        let db = env.create_database("db").unwrap();
        env.run(|txn| {
            for n in 0..50 {
                db.put(txn, key(round * 50 + n), format!("value {n}"))?;
            }
            Ok(())
        })
        .unwrap();
        let mut open_txn = env.begin().unwrap();
        db.put(&mut open_txn, "never", "committed").unwrap();
        let snapshot = env.snapshot().unwrap();
        assert_eq!(db.range(&snapshot, ..).unwrap().count(), (round as usize + 1) * 50);
        drop(snapshot);
        if crash {
            std::mem::forget(open_txn);
            drop(db);
            env.abandon();
        } else {
            drop(open_txn);
            drop(db);
            env.close().unwrap();
        }
    }
    let env = open(&host);
    assert!(env.recovery_report().is_none());
    assert!(env.verify().unwrap().is_clean(), "{:?}", env.verify().unwrap().damage);
}

#[test]
fn ranges_go_both_ways_over_any_bounds() {
    let env = open(&Host::memory());
    let db = env.create_database("db").unwrap();
    env.run(|txn| {
        for n in 0..300 {
            db.put(txn, key(n), vec![b'x'; (n % 90) as usize])?;
        }
        Ok(())
    })
    .unwrap();
    let snap = env.snapshot().unwrap();
    let all: Vec<String> = (0..300).map(key).collect();
    assert_eq!(keys_of(db.range(&snap, ..).unwrap()), all);
    let mut reversed = keys_of(db.range(&snap, ..).unwrap().rev());
    reversed.reverse();
    assert_eq!(reversed, all);
    assert_eq!(keys_of(db.range(&snap, key(10)..key(13)).unwrap()), all[10..13]);
    assert_eq!(keys_of(db.range(&snap, key(10)..=key(13)).unwrap()), all[10..14]);
    assert_eq!(keys_of(db.range(&snap, ..key(2)).unwrap()), all[..2]);
    assert_eq!(keys_of(db.range(&snap, key(297)..).unwrap()), all[297..]);
    assert_eq!(keys_of(db.prefix(&snap, "key-0001").unwrap()), all[100..200]);
    let mut both = db.range(&snap, key(5)..key(9)).unwrap();
    let ends = [both.next(), both.next_back(), both.next(), both.next_back(), both.next()];
    let ends: Vec<Option<String>> = ends
        .into_iter()
        .map(|entry| entry.map(|entry| String::from_utf8(entry.unwrap().0).unwrap()))
        .collect();
    let expected = [5, 8, 6, 7].map(|n| Some(key(n)));
    assert_eq!(ends[..4], expected);
    assert_eq!(ends[4], None);
}

#[test]
fn a_cursor_changes_what_it_stands_on() {
    let env = open(&Host::memory());
    let db = env.create_database("db").unwrap();
    let mut txn = env.begin().unwrap();
    for n in 0..100 {
        db.put(&mut txn, key(n), "old").unwrap();
    }
    let mut cursor = db.cursor_mut(&mut txn).unwrap();
    let mut n = 0;
    while cursor.next().unwrap() {
        if n % 3 == 0 {
            assert!(cursor.delete().unwrap());
        } else if n % 3 == 1 {
            assert!(cursor.put("new").unwrap());
            assert_eq!(cursor.value().unwrap(), Some(&b"new"[..]));
        }
        n += 1;
    }
    assert_eq!(n, 100);
    txn.commit().unwrap();
    let snap = env.snapshot().unwrap();
    for n in 0..100 {
        let expected = [None, Some(&b"new"[..]), Some(&b"old"[..])][n as usize % 3];
        assert_eq!(db.get(&snap, key(n)).unwrap().as_deref(), expected);
    }
}

#[test]
fn dropping_renaming_and_emptying_are_part_of_the_transaction() {
    let env = open(&Host::memory());
    let a = env.create_database("a").unwrap();
    let b = env.create_database("b").unwrap();
    env.run(|txn| {
        a.put(txn, "k", "a")?;
        b.put(txn, "k", "b")?;
        Ok(())
    })
    .unwrap();
    let before = env.snapshot().unwrap();

    let mut txn = env.begin().unwrap();
    env.empty_database_in(&mut txn, "a").unwrap();
    assert_eq!(a.get(&txn, "k").unwrap(), None, "its own change");
    a.put(&mut txn, "k2", "after").unwrap();
    let savepoint = txn.savepoint().unwrap();
    env.drop_database_in(&mut txn, "b").unwrap();
    assert_eq!(b.get(&txn, "k").unwrap_err().kind(), ErrorKind::NotFound);
    env.rename_database_in(&mut txn, "a", "b").unwrap();
    assert_eq!(env.databases(&txn).unwrap(), ["b"]);
    assert_eq!(a.get(&txn, "k2").unwrap().as_deref(), Some(&b"after"[..]));
    txn.rollback_to(&savepoint).unwrap();
    assert_eq!(env.databases(&txn).unwrap(), ["a", "b"]);
    assert_eq!(b.get(&txn, "k").unwrap().as_deref(), Some(&b"b"[..]));
    env.rename_database_in(&mut txn, "b", "c").unwrap();
    assert_eq!(
        env.rename_database_in(&mut txn, "a", "c").unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    txn.commit().unwrap();

    let after = env.snapshot().unwrap();
    assert_eq!(env.databases(&after).unwrap(), ["a", "c"]);
    assert_eq!(a.get(&after, "k").unwrap(), None);
    assert_eq!(a.get(&after, "k2").unwrap().as_deref(), Some(&b"after"[..]));
    assert_eq!(b.get(&after, "k").unwrap().as_deref(), Some(&b"b"[..]), "renamed");
    assert_eq!(env.databases(&before).unwrap(), ["a", "b"]);
    assert_eq!(a.get(&before, "k").unwrap().as_deref(), Some(&b"a"[..]), "an older reader");
    let younger = env.open_database("a").unwrap();
    assert_eq!(younger.get(&before, "k").unwrap().as_deref(), Some(&b"a"[..]));

    env.drop_database("c").unwrap();
    assert_eq!(b.get(&env.snapshot().unwrap(), "k").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(b.get(&after, "k").unwrap().as_deref(), Some(&b"b"[..]), "an older reader");
    assert_eq!(env.open_database("c").unwrap_err().kind(), ErrorKind::NotFound);
    drop((before, after));
    while env.step().unwrap() {}
    assert!(env.verify().unwrap().is_clean(), "{:?}", env.verify().unwrap().damage);
}

#[test]
fn an_aborted_transaction_takes_its_databases_with_it() {
    let host = Host::memory();
    let env = open(&host);
    let mut txn = env.begin().unwrap();
    let options = DatabaseOptions::new();
    let db = env.create_database_with(&mut txn, "db", options.clone()).unwrap();
    db.put(&mut txn, "k", "v").unwrap();
    txn.abort().unwrap();
    assert!(env.databases(&env.snapshot().unwrap()).unwrap().is_empty());
    let error = db.get(&env.snapshot().unwrap(), "k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let mut txn = env.begin().unwrap();
    env.create_database_with(&mut txn, "db", options.clone().exclusive(true)).unwrap();
    let again = env.create_database_with(&mut txn, "db", options.exclusive(true));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
    txn.commit().unwrap();
    drop(db);
    env.abandon();
    let env = open(&host);
    assert_eq!(env.databases(&env.snapshot().unwrap()).unwrap(), ["db"]);
    assert!(env.verify().unwrap().is_clean());
}

#[test]
fn a_database_that_is_not_durable_is_empty_after_a_crash_only() {
    let host = Host::memory();
    let env = open(&host);
    let options = DatabaseOptions::new().durable(false);
    let cache = env.run(|txn| env.create_database_with(txn, "cache", options.clone())).unwrap();
    assert!(!cache.is_durable());
    env.run(|txn| cache.put(txn, "k", "v")).unwrap();
    let mut txn = env.begin().unwrap();
    cache.put(&mut txn, "k", "other").unwrap();
    txn.abort().unwrap();
    drop(cache);
    env.close().unwrap();

    let env = open(&host);
    let cache = env.open_database("cache").unwrap();
    assert_eq!(cache.get(&env.snapshot().unwrap(), "k").unwrap().as_deref(), Some(&b"v"[..]));
    drop(cache);
    env.abandon();
    let env = open(&host);
    let cache = env.open_database("cache").unwrap();
    assert_eq!(cache.get(&env.snapshot().unwrap(), "k").unwrap(), None);
    assert!(env.verify().unwrap().is_clean());
}

#[test]
fn one_process_owns_a_home_and_the_refusal_says_who() {
    let host = Host::memory();
    let env = open(&host);
    let error = Environment::open_on(host.clone(), HOME, tiny()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    let reading = Environment::open_on(host.clone(), HOME, tiny().read_only(true));
    assert_eq!(reading.unwrap_err().kind(), ErrorKind::Locked);
    let info = inspect::home_on(&host, HOME).unwrap();
    assert_eq!(info.state, HomeState::Owned);
    env.close().unwrap();
    assert_eq!(inspect::home_on(&host, HOME).unwrap().state, HomeState::Closed);
    open(&host).abandon();
    assert_eq!(inspect::home_on(&host, HOME).unwrap().state, HomeState::NeedsRecovery);
}

#[test]
fn reading_only_changes_nothing_even_when_it_recovers() {
    let host = Host::memory();
    let env = open(&host);
    let db = env.create_database("db").unwrap();
    env.run(|txn| db.put(txn, "k", "v")).unwrap();
    drop(db);
    env.abandon();
    let before = files(&host);

    let options = || tiny().read_only(true);
    let reader = Environment::open_on(host.clone(), HOME, options()).unwrap();
    let second = Environment::open_on(host.clone(), HOME, options()).unwrap();
    for env in [&reader, &second] {
        assert!(env.recovery_report().is_some());
        let db = env.open_database("db").unwrap();
        let snap = env.snapshot().unwrap();
        assert_eq!(db.get(&snap, "k").unwrap().as_deref(), Some(&b"v"[..]));
        assert_eq!(env.begin().unwrap_err().kind(), ErrorKind::ReadOnly);
        assert_eq!(env.checkpoint().unwrap_err().kind(), ErrorKind::ReadOnly);
        assert!(env.verify().unwrap().is_clean());
    }
    let error = Environment::open_on(host.clone(), HOME, tiny()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "readers keep owners out");
    reader.close().unwrap();
    drop(second);
    assert_eq!(files(&host), before);
    assert!(open(&host).recovery_report().is_some());
}

/// Every file of a home with its content.
fn files(host: &Host) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for dir in ["", "log", "data"] {
        let dir = Path::new(HOME).join(dir);
        for name in host.vfs.list(&dir).unwrap() {
            let path = dir.join(&name);
            if let Ok(file) = host.vfs.open(&path, Open::Read) {
                let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
                file.read_exact_at(&mut bytes, 0).unwrap();
                found.push((path.display().to_string(), bytes));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_home_that_lost_its_control_file_or_catalog_is_refused() {
    let host = Host::memory();
    let env = open(&host);
    env.create_database("db").unwrap();
    env.close().unwrap();
    let control = Path::new(HOME).join("control");
    host.vfs.rename(&control, &Path::new(HOME).join("elsewhere")).unwrap();
    let error = Environment::open_on(host.clone(), HOME, tiny()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    host.vfs.rename(&Path::new(HOME).join("elsewhere"), &control).unwrap();
    host.vfs.remove(&Path::new(HOME).join("data/data.0000000001")).unwrap();
    let error = Environment::open_on(host.clone(), HOME, tiny()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("catalog"), "{error}");
}

#[test]
fn a_home_that_is_not_there_is_not_made_unless_asked() {
    let host = Host::memory();
    for home in ["/none", "/empty"] {
        let error = Environment::open_on(host.clone(), home, tiny().create(false)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = Environment::open_on(host.clone(), home, tiny().read_only(true)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        host.vfs.create_dir(Path::new("/empty")).unwrap();
    }
    assert!(host.vfs.list(Path::new("/empty")).unwrap().is_empty());
    assert!(!host.vfs.exists(Path::new("/none")).unwrap());
}

#[test]
fn closing_waits_for_no_transaction_but_refuses_while_one_is_open() {
    let env = open(&Host::memory());
    let other = env.clone();
    let db = env.create_database("db").unwrap();
    let mut txn = env.begin().unwrap();
    db.put(&mut txn, "k", "v").unwrap();
    assert_eq!(other.clone().close().unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(env.health(), Health::Running);
    txn.commit().unwrap();
    env.close().unwrap();
    assert_eq!(other.health(), Health::Closed);
    assert_eq!(other.begin().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(other.snapshot().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(db.stats().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn the_last_handle_closes_cleanly_whichever_it_is() {
    let host = Host::memory();
    let env = open(&host);
    let db = env.create_database("db").unwrap();
    let snap = env.snapshot().unwrap();
    drop(env);
    drop(snap);
    drop(db);
    assert!(open(&host).recovery_report().is_none());
}

#[test]
fn readers_and_handles_of_two_environments_are_not_mixed() {
    let (one, two) = (open(&Host::memory()), open(&Host::memory()));
    let db = one.create_database("db").unwrap();
    let error = db.get(&two.snapshot().unwrap(), "k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let mut txn = two.begin().unwrap();
    assert_eq!(db.put(&mut txn, "k", "v").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(one.databases(&txn).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn many_threads_count_together_on_real_files() {
    let dir = tempfile::tempdir().unwrap();
    let env = Environment::options().cache_bytes(8 << 20).open(dir.path()).unwrap();
    let db = env.create_database("counter").unwrap();
    env.run(|txn| db.put(txn, "n", 0_u64.to_le_bytes())).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    env.run(|txn| {
                        let n = db.get(txn, "n")?.unwrap();
                        let n = u64::from_le_bytes(n.try_into().unwrap());
                        db.put(txn, "n", (n + 1).to_le_bytes())
                    })
                    .unwrap();
                }
            });
        }
    });
    let n = db.get(&env.snapshot().unwrap(), "n").unwrap().unwrap();
    assert_eq!(n, 100_u64.to_le_bytes());
    drop(db);
    env.close().unwrap();
    let env = Environment::open(dir.path()).unwrap();
    assert!(env.recovery_report().is_none());
    assert!(env.verify().unwrap().is_clean());
}

#[test]
fn a_commit_may_promise_less() {
    let host = Host::memory();
    let env = open(&host);
    let db = env.create_database("db").unwrap();
    for (n, durability) in
        [Durability::NoSync, Durability::WriteNoSync, Durability::Sync].into_iter().enumerate()
    {
        let mut txn = env.begin().unwrap();
        db.put(&mut txn, key(n as u32), "v").unwrap();
        assert!(!txn.commit_with(durability).unwrap().is_none());
    }
    drop(db);
    env.abandon();
    let env = open(&host);
    let db = env.open_database("db").unwrap();
    // The last commit was durable, and durability comes in commit order.
    assert_eq!(db.range(&env.snapshot().unwrap(), ..).unwrap().count(), 3);
}

#[test]
fn the_log_of_a_dead_home_can_be_read_both_ways() {
    let host = Host::memory();
    let env = open(&host);
    let db = env.create_database("db").unwrap();
    for n in 0..200 {
        env.run(|txn| db.put(txn, key(n), vec![b'v'; 100])).unwrap();
    }
    drop(db);
    env.abandon();
    let forward: Vec<_> = inspect::log_on(&host, HOME, &LogOptions::new())
        .unwrap()
        .map(|record| record.unwrap().lsn())
        .collect();
    assert!(forward.len() > 400);
    assert!(forward.is_sorted());
    let mut backward: Vec<_> = inspect::log_on(&host, HOME, &LogOptions::new().reverse(true))
        .unwrap()
        .map(|record| record.unwrap().lsn())
        .collect();
    backward.reverse();
    assert_eq!(backward, forward);
    let part = LogOptions::new().begin(forward[10]).end(forward[20]);
    let lsns = |options: &LogOptions| -> Vec<_> {
        inspect::log_on(&host, HOME, options).unwrap().map(|r| r.unwrap().lsn()).collect()
    };
    assert_eq!(lsns(&part), forward[10..=20]);
    let mut reversed = lsns(&part.reverse(true));
    reversed.reverse();
    assert_eq!(reversed, forward[10..=20]);
}

#[test]
fn handles_can_be_sent_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<Environment>();
    check::<campanile::Database>();
    check::<campanile::Transaction>();
    check::<campanile::Snapshot>();
    check::<campanile::Error>();
    check::<Arc<campanile::Cursor<'_>>>();
}
