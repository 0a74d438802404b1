//! Without a crash: snapshots beside writers, threads beside checkpoints, transactions larger
//! than the cache.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use campanile_format::FileId;
use campanile_recovery::open;
use campanile_txn::{CheckpointKind, Durability, Transactions, TxnError, TxnOptions};
use campanile_vfs::sim::{CrashChoice, SimDisk, SimOptions};

use crate::life::{HOME, observe, open_disk, options};
use crate::toy::{self, Toy};

fn with_file(seed: u64) -> (Arc<SimDisk>, Arc<Transactions>, FileId) {
    let disk = SimDisk::new(SimOptions::new(seed));
    let txns = open_disk(&disk).unwrap().transactions;
    let mut txn = txns.begin(TxnOptions::default()).unwrap();
    let file = toy::create(&txns, &mut txn, true).unwrap();
    txns.commit(txn, Durability::Sync).unwrap();
    (disk, txns, file)
}

fn set(txns: &Transactions, file: FileId, key: &str, value: &str) {
    let mut txn = txns.begin(TxnOptions::default()).unwrap();
    toy::put(txns, &mut txn, file, key.as_bytes(), value.as_bytes()).unwrap();
    txns.commit(txn, Durability::NoSync).unwrap();
}

#[test]
fn a_snapshot_sees_the_moment_it_was_taken() {
    let (_disk, txns, file) = with_file(1);
    set(&txns, file, "a", "1");
    let old = txns.snapshot().unwrap();
    let mut txn = txns.begin(TxnOptions::default()).unwrap();
    toy::put(&txns, &mut txn, file, b"a", b"2").unwrap();
    toy::put(&txns, &mut txn, file, b"b", b"2").unwrap();
    let during = txns.snapshot().unwrap();
    let sees = |snapshot, key: &str| {
        let value = toy::get_at(&txns, snapshot, file, key.as_bytes()).unwrap();
        value.map(|value| String::from_utf8(value).unwrap())
    };
    assert_eq!(sees(&during, "a").as_deref(), Some("1"), "not what is not committed");
    txns.commit(txn, Durability::NoSync).unwrap();
    let new = txns.snapshot().unwrap();
    for snapshot in [&old, &during] {
        assert_eq!(sees(snapshot, "a").as_deref(), Some("1"));
        assert_eq!(sees(snapshot, "b"), None);
    }
    assert_eq!(sees(&new, "a").as_deref(), Some("2"));
    let mut txn = txns.begin(TxnOptions::default()).unwrap();
    toy::delete(&txns, &mut txn, file, b"a").unwrap();
    assert_eq!(sees(&new, "a").as_deref(), Some("2"));
    txns.abort(txn).unwrap();
    assert_eq!(sees(&new, "a").as_deref(), Some("2"));
    assert!(txns.stats().version_bytes > 0);
    drop((old, during, new));
    assert_eq!(txns.stats().version_bytes, 0, "nobody needs old versions any more");
}

#[test]
fn a_transaction_over_the_version_budget_expires_only_the_snapshots_that_need_it() {
    let disk = SimDisk::new(SimOptions::new(2));
    let mut options = options();
    options.transactions.version_bytes = 2000;
    let hook = &mut |_: &campanile_recovery::Progress| std::ops::ControlFlow::Continue(());
    let opened = open(&disk.host(), Path::new(HOME), &options, Arc::new(Toy), hook).unwrap();
    let txns = opened.transactions;
    let mut txn = txns.begin(TxnOptions::default()).unwrap();
    let (file, other) =
        (toy::create(&txns, &mut txn, true).unwrap(), toy::create(&txns, &mut txn, true).unwrap());
    txns.commit(txn, Durability::Sync).unwrap();
    set(&txns, other, "x", "1");
    let old = txns.snapshot().unwrap();
    let mut txn = txns.begin(TxnOptions::default()).unwrap();
    for key in 0..30_u32 {
        toy::put(&txns, &mut txn, file, format!("{key}").as_bytes(), b"value").unwrap();
    }
    let refused = toy::get_at(&txns, &old, file, b"3");
    assert!(matches!(refused, Err(TxnError::SnapshotTooOld { .. })), "{refused:?}");
    assert_eq!(toy::get_at(&txns, &old, other, b"x").unwrap().as_deref(), Some(&b"1"[..]));
    txns.commit(txn, Durability::NoSync).unwrap();
    let new = txns.snapshot().unwrap();
    assert_eq!(toy::get_at(&txns, &new, file, b"3").unwrap().as_deref(), Some(&b"value"[..]));
}

/// Every transaction sets all its keys to one number: whoever sees two numbers saw half of one.
#[test]
fn snapshots_beside_writers_and_checkpoints_see_whole_transactions() {
    let (disk, txns, file) = with_file(3);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2_u32 {
            let (txns, done) = (&txns, &done);
            scope.spawn(move || {
                for round in 0..300_u32 {
                    let mut txn = txns.begin(TxnOptions::default()).unwrap();
                    txns.lock_whole(&mut txn, file, campanile_txn::Access::Write).unwrap();
                    let value = format!("{writer}-{round:05}");
                    for key in 0..8_u32 {
                        let key = format!("k{key}");
                        toy::put(txns, &mut txn, file, key.as_bytes(), value.as_bytes()).unwrap();
                    }
                    if round % 5 == 4 {
                        txns.abort(txn).unwrap();
                    } else {
                        txns.commit(txn, Durability::NoSync).unwrap();
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                txns.checkpoint(CheckpointKind::Fuzzy).unwrap();
                txns.step().unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let snapshot = txns.snapshot().unwrap();
                    let read = |key: u32| {
                        toy::get_at(&txns, &snapshot, file, format!("k{key}").as_bytes()).unwrap()
                    };
                    let first = read(0);
                    for key in 1..8 {
                        assert_eq!(read(key), first, "half of a transaction");
                    }
                    assert_eq!(read(0), first, "a snapshot that changes");
                }
            });
        }
    });
    assert_eq!(txns.stats().active, 0);
    let before = observe(&txns, false, "threads");
    let snapshot_free = txns.stats().version_bytes;
    assert_eq!(snapshot_free, 0);
    txns.checkpoint(CheckpointKind::Fuzzy).unwrap();
    drop(txns);
    let opened = open_disk(&disk.reboot(CrashChoice::Nothing)).unwrap();
    assert_eq!(observe(&opened.transactions, true, "after threads"), before);
}

#[test]
fn a_transaction_many_times_the_cache_commits_and_rolls_back() {
    let (disk, txns, file) = with_file(4);
    // 16 frames of 512 bytes: 8 KiB. Each round writes ten times that.
    let large = vec![7_u8; 80 << 10];
    let mut txn = txns.begin(TxnOptions::default()).unwrap();
    toy::put_large(&txns, &mut txn, file, b"stays", &large).unwrap();
    txns.commit(txn, Durability::Sync).unwrap();
    let mut txn = txns.begin(TxnOptions::default()).unwrap();
    for round in 0..5_u8 {
        toy::put_large(&txns, &mut txn, file, &[b'g', round], &large).unwrap();
        txns.checkpoint(CheckpointKind::Fuzzy).unwrap();
    }
    txns.abort(txn).unwrap();
    let rows = toy::rows(&txns, file).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[&b"stays"[..]], large);
    txns.checkpoint(CheckpointKind::Close).unwrap();
    drop(txns);
    let opened = open_disk(&disk.reboot(CrashChoice::Nothing)).unwrap();
    assert_eq!(toy::rows(&opened.transactions, file).unwrap(), rows);
}
