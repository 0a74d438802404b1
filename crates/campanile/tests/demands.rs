//! Sizes at the edges, cursors in a tree that changes, and snapshots beside everything that
//! changes what they read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use campanile::host::Host;
use campanile::{DatabaseOptions, Environment, EnvironmentOptions, ErrorKind};

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

#[test]
fn backward_and_empty_ranges_are_empty() {
    let env = open();
    let db = env.create_database("db").unwrap();
    let mut txn = env.begin().unwrap();
    for n in 0..300 {
        db.put(&mut txn, format!("{n:04}"), "v").unwrap();
    }
    db.put(&mut txn, "", "empty key").unwrap();
    db.put(&mut txn, [0xff; 3], "last").unwrap();
    assert_eq!(db.range(&txn, "0200".."0100").unwrap().count(), 0);
    assert_eq!(db.range(&txn, "0200".."0100").unwrap().rev().count(), 0);
    assert_eq!(db.range(&txn, "0100".."0100").unwrap().count(), 0);
    assert_eq!(db.range(&txn, "0100"..="0100").unwrap().rev().count(), 1);
    assert_eq!(db.range(&txn, ..).unwrap().rev().count(), 302);
    assert_eq!(db.prefix(&txn, "").unwrap().count(), 302);
    assert_eq!(db.prefix(&txn, [0xff_u8]).unwrap().rev().count(), 1);
    assert_eq!(db.prefix(&txn, "01").unwrap().rev().count(), 100);
    assert_eq!(db.first(&txn).unwrap().unwrap().1, b"empty key");
    assert_eq!(db.last(&txn).unwrap().unwrap().1, b"last");
    let mut range = db.range(&txn, ..).unwrap();
    let mut n = 0;
    loop {
        let x = if n % 3 == 0 { range.next_back() } else { range.next() };
        if x.is_none() {
            break;
        }
        n += 1;
    }
    assert_eq!(n, 302);
    assert!(range.next().is_none() && range.next_back().is_none());
}

#[test]
fn a_cursor_stays_right_while_it_deletes_and_the_tree_shrinks() {
    let host = Host::memory();
    let env = Environment::open_on(host, "/home", tiny()).unwrap();
    let db = env.create_database("db").unwrap();
    env.run(|txn| {
        for n in 0..2000 {
            db.put(txn, format!("{n:05}"), "x".repeat(n % 90))?;
        }
        Ok(())
    })
    .unwrap();
    let mut txn = env.begin().unwrap();
    let mut cursor = db.cursor_mut(&mut txn).unwrap();
    let mut n = 0;
    while cursor.next().unwrap() {
        assert_eq!(cursor.key().unwrap(), format!("{n:05}").as_bytes());
        if n % 2 == 0 {
            assert!(cursor.delete().unwrap());
            assert!(!cursor.delete().unwrap());
            assert!(!cursor.put("z").unwrap());
        } else {
            cursor.put("y".repeat(n)).unwrap();
            assert_eq!(cursor.value().unwrap().unwrap().len(), n);
        }
        n += 1;
    }
    assert_eq!(n, 2000);
    assert!(!cursor.next().unwrap());
    let mut back = 2000;
    loop {
        let k = cursor.key().map(|k| String::from_utf8(k.to_vec()).unwrap());
        if let Some(k) = &k
            && back == 2000
        {
            assert_eq!(k, "01999");
        }
        if !cursor.prev().unwrap() {
            break;
        }
        back -= 2;
    }
    txn.commit().unwrap();
    assert!(env.verify().unwrap().is_clean());
}

#[test]
fn sizes_at_the_edges() {
    for page in [512_u32, 4096, 32768] {
        let env = Environment::open_on(
            Host::memory(),
            "/home",
            EnvironmentOptions::new().page_bytes(page).cache_bytes(64 * page as usize),
        )
        .unwrap();
        let db = env.create_database("db").unwrap();
        let max = page as usize / 4;
        let mut txn = env.begin().unwrap();
        let mut model = BTreeMap::new();
        for (n, len) in [0, 1, max - 1, max, max, max, max, max].into_iter().enumerate() {
            for vlen in [0, 1, page as usize / 4, page as usize / 4 + 1, page as usize * 3] {
                let mut key = vec![b'k'; len];
                if let Some(b) = key.last_mut() {
                    *b = n as u8;
                }
                if let Some(b) = key.first_mut() {
                    *b = (vlen % 251) as u8;
                }
                let value = vec![vlen as u8; vlen];
                db.put(&mut txn, &key, &value).unwrap();
                model.insert(key, value);
            }
        }
        let error = db.put(&mut txn, vec![1; max + 1], "v").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        // The same transaction goes on.
        // The same transaction goes on; asking for such a key is no error, it is not there.
        assert_eq!(db.get(&txn, vec![1; max + 1]).unwrap(), None);
        assert!(!db.delete(&mut txn, vec![1; 100_000]).unwrap());
        assert!(db.range(&txn, vec![1; 100_000]..).unwrap().count() > 0);
        txn.commit().unwrap();
        let snapshot = env.snapshot().unwrap();
        let all: BTreeMap<_, _> = db.range(&snapshot, ..).unwrap().map(|e| e.unwrap()).collect();
        assert!(all == model, "page {page}");
        assert!(env.verify().unwrap().is_clean());
    }
}

#[test]
fn snapshots_keep_what_they_saw() {
    let env = open();
    let db = env.create_database("db").unwrap();
    let gone = env.create_database("gone").unwrap();
    let emptied = env.create_database("emptied").unwrap();
    let long = "L".repeat(40_000);
    env.run(|txn| {
        for n in 0..500 {
            db.put(txn, format!("{n:04}"), format!("old {n}"))?;
            gone.put(txn, format!("{n:04}"), "g")?;
            emptied.put(txn, format!("{n}"), "e")?;
        }
        db.put(txn, "long", &long)?;
        Ok(())
    })
    .unwrap();
    let before = env.snapshot().unwrap();
    let mut reader = db.value_reader(&before, "long").unwrap().unwrap();
    let mut cursor = db.cursor(&before).unwrap();
    cursor.seek_exactly("0100").unwrap();
    let mut half = db.range(&before, ..).unwrap();
    for _ in 0..250 {
        half.next().unwrap().unwrap();
    }
    env.run(|txn| {
        for n in 0..500 {
            if n % 3 == 0 {
                db.delete(txn, format!("{n:04}"))?;
            } else {
                db.put(txn, format!("{n:04}"), "new".repeat(n % 40))?;
            }
        }
        for n in 0..2000 {
            db.put(txn, format!("{n:04}x"), "extra")?;
        }
        db.put(txn, "long", "M".repeat(50_000))?;
        Ok(())
    })
    .unwrap();
    let during = env.snapshot().unwrap();
    env.drop_database("gone").unwrap();
    env.empty_database("emptied").unwrap();
    env.run(|txn| {
        for n in 0..2000 {
            db.delete(txn, format!("{n:04}x"))?;
        }
        db.delete(txn, "long")?;
        Ok(())
    })
    .unwrap();
    env.rename_database("db", "other").unwrap();
    let late = env.create_database("late").unwrap();
    env.run(|txn| late.put(txn, "k", "v").map(|_| ())).unwrap();
    for _ in 0..200 {
        let _ = env.step();
    }
    env.checkpoint().unwrap();
    for _ in 0..200 {
        let _ = env.step();
    }
    assert_eq!(db.range(&before, ..).unwrap().count(), 501);
    for (n, entry) in db.range(&before, ..).unwrap().take(500).enumerate() {
        let (k, v) = entry.unwrap();
        assert_eq!((k, v), (format!("{n:04}").into_bytes(), format!("old {n}").into_bytes()));
    }
    assert_eq!(half.count(), 251);
    cursor.next().unwrap();
    assert_eq!(cursor.key().unwrap(), b"0101");
    assert_eq!(cursor.value().unwrap().unwrap(), b"old 101");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    assert!(text == long);
    assert_eq!(db.get(&during, "long").unwrap().unwrap(), "M".repeat(50_000).into_bytes());
    assert_eq!(gone.range(&before, ..).unwrap().count(), 500);
    assert_eq!(gone.range(&during, ..).unwrap().count(), 500);
    assert_eq!(emptied.range(&during, ..).unwrap().count(), 500);
    assert_eq!(late.get(&during, "k").unwrap_or(None), None);
    assert_eq!(env.databases(&before).unwrap(), ["db", "emptied", "gone"]);
    assert_eq!(env.databases(&env.snapshot().unwrap()).unwrap(), ["emptied", "late", "other"]);
    drop((before, during));
    for _ in 0..2000 {
        if !env.step().unwrap_or(false) {
            break;
        }
    }
    let report = env.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
    env.close().unwrap();
}

#[test]
fn a_transaction_beyond_the_version_budget_tells_the_snapshots() {
    let options = tiny().version_bytes(10_000);
    let env = Environment::open_on(Host::memory(), "/home", options).unwrap();
    let db = env.create_database("db").unwrap();
    env.run(|txn| {
        for n in 0..500 {
            db.put(txn, format!("{n:04}"), "old")?;
        }
        Ok(())
    })
    .unwrap();
    let before = env.snapshot().unwrap();
    let mut txn = env.begin().unwrap();
    for n in 0..500 {
        db.put(&mut txn, format!("{n:04}"), "new").unwrap();
    }
    for entry in db.range(&before, ..).unwrap() {
        match entry {
            Ok((_, v)) => assert_eq!(v, b"old"),
            Err(e) => {
                println!("{e}");
                assert_eq!(e.kind(), ErrorKind::SnapshotTooOld);
                break;
            }
        }
    }
    let during = env.snapshot().unwrap();
    txn.commit().unwrap();
    match db.get(&during, "0001") {
        Ok(v) => assert_eq!(v.unwrap(), b"old"),
        Err(e) => assert_eq!(e.kind(), ErrorKind::SnapshotTooOld),
    }
    assert_eq!(db.get(&env.snapshot().unwrap(), "0001").unwrap().unwrap(), b"new");
    let mut range = db.range(&before, ..).unwrap();
    assert!(range.next().unwrap().is_err() && range.next().unwrap().is_err());
}

#[test]
fn catalog_changes_roll_back_to_savepoints() {
    let env = open();
    let db = env.create_database("db").unwrap();
    env.run(|txn| db.put(txn, "k", "v").map(|_| ())).unwrap();
    let mut txn = env.begin().unwrap();
    let start = txn.savepoint().unwrap();
    for round in 0..3 {
        let fresh = env
            .create_database_with(&mut txn, "fresh", DatabaseOptions::new().durable(round == 1))
            .unwrap();
        fresh.put(&mut txn, "f", "g".repeat(5000)).unwrap();
        env.empty_database_in(&mut txn, "db").unwrap();
        assert_eq!(db.get(&txn, "k").unwrap(), None);
        db.put(&mut txn, "k2", "v2").unwrap();
        let middle = txn.savepoint().unwrap();
        env.empty_database_in(&mut txn, "db").unwrap();
        env.drop_database_in(&mut txn, "db").unwrap();
        assert_eq!(db.get(&txn, "k2").unwrap_err().kind(), ErrorKind::NotFound);
        let again = env.create_database_with(&mut txn, "db", DatabaseOptions::new()).unwrap();
        again.put(&mut txn, "again", "x").unwrap();
        txn.rollback_to(&middle).unwrap();
        assert_eq!(db.get(&txn, "k2").unwrap().unwrap(), b"v2");
        env.rename_database_in(&mut txn, "db", "ren").unwrap();
        assert_eq!(db.get(&txn, "k2").unwrap().unwrap(), b"v2");
        txn.rollback_to(&start).unwrap();
        assert_eq!(db.get(&txn, "k").unwrap().unwrap(), b"v");
    }
    txn.commit().unwrap();
    assert_eq!(env.databases(&env.snapshot().unwrap()).unwrap(), ["db"]);
    assert_eq!(db.get(&env.snapshot().unwrap(), "k").unwrap().unwrap(), b"v");
    let report = env.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn mixed_durability_aborts_as_one() {
    let env = open();
    let hard = env.create_database("hard").unwrap();
    let mut txn = env.begin().unwrap();
    let soft =
        env.create_database_with(&mut txn, "soft", DatabaseOptions::new().durable(false)).unwrap();
    for n in 0..300 {
        soft.put(&mut txn, format!("{n}"), "s".repeat(n * 7)).unwrap();
        hard.put(&mut txn, format!("{n}"), "h").unwrap();
    }
    txn.commit().unwrap();
    for round in 0..3 {
        let mut txn = env.begin().unwrap();
        let point = txn.savepoint().unwrap();
        for n in 0..600 {
            soft.put(&mut txn, format!("{n}"), "t".repeat(n * 5)).unwrap();
            hard.delete(&mut txn, format!("{n}")).unwrap();
        }
        if round == 0 {
            txn.rollback_to(&point).unwrap();
            txn.commit().unwrap();
        } else {
            txn.abort().unwrap();
        }
        let snapshot = env.snapshot().unwrap();
        assert_eq!(soft.range(&snapshot, ..).unwrap().count(), 300);
        assert_eq!(hard.range(&snapshot, ..).unwrap().count(), 300);
        for n in 0..300 {
            assert_eq!(soft.get(&snapshot, format!("{n}")).unwrap().unwrap().len(), n * 7);
        }
    }
    let report = env.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn readers_in_threads_see_whole_transactions_beside_writers() {
    let env = open();
    let db = env.create_database("db").unwrap();
    static STOP: AtomicBool = AtomicBool::new(false);
    env.run(|txn| {
        for n in 0..100 {
            db.put(txn, format!("{n:03}"), "0")?;
        }
        Ok(())
    })
    .unwrap();
    thread::scope(|scope| {
        let mut readers = Vec::new();
        for t in 0..3 {
            let (env, db) = (env.clone(), db.clone());
            readers.push(scope.spawn(move || {
                let mut seen = 0;
                while !STOP.load(Ordering::Relaxed) {
                    let snapshot = env.snapshot().unwrap();
                    let mut first = None;
                    let range = db.range(&snapshot, ..).unwrap();
                    let entries: Vec<_> = if t == 1 {
                        range.rev().map(|e| e.unwrap()).collect()
                    } else {
                        range.map(|e| e.unwrap()).collect()
                    };
                    assert_eq!(entries.len(), 100);
                    for (_, v) in entries {
                        let round = v.split(|b| *b == b' ').next().unwrap().to_vec();
                        assert_eq!(*first.get_or_insert_with(|| round.clone()), round);
                    }
                    seen += 1;
                    if t == 2 {
                        assert!(env.verify().unwrap().is_clean());
                    }
                }
                seen
            }));
        }
        for w in 0..2 {
            let (env, db) = (env.clone(), db.clone());
            scope.spawn(move || {
                for round in 0..40_usize {
                    let result = env.run(|txn| {
                        let id = txn.id();
                        for n in 0..100_usize {
                            db.delete(txn, format!("{n:03}"))?;
                        }
                        for n in 0..100_usize {
                            db.put(
                                txn,
                                format!("{n:03}"),
                                format!("{id} {}", "x".repeat((round * 31 + n * 17 + w) % 1500)),
                            )?;
                        }
                        Ok(())
                    });
                    if let Err(e) = result {
                        STOP.store(true, Ordering::Relaxed);
                        panic!("{e}");
                    }
                }
                STOP.store(true, Ordering::Relaxed);
            });
        }
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert!(env.verify().unwrap().is_clean());
}
