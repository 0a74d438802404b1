//! Many threads at once.

use std::sync::atomic::{AtomicBool, Ordering};

use campanile_btree::{Cursor, Range, Reader, Seek, TreeError};
use campanile_txn::Txn;

use crate::program::Model;
use crate::rig::{Dice, Rig, Sizes, pairs};

fn key(number: usize) -> Vec<u8> {
    format!("{number:05}").into_bytes()
}

/// Every transaction keeps the sum of all values; whoever sees another sum sees half of one.
#[test]
fn readers_see_whole_transactions_while_writers_split_and_merge() {
    let rig = Rig::new(Sizes { frames: 128, log_file_bytes: 256 << 10, ..Sizes::default() });
    let mut txn = rig.begin();
    for number in 0..200 {
        rig.tree().put(&mut txn, &key(number), &100_u64.to_le_bytes()).unwrap();
    }
    rig.commit(txn);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                let rig = &rig;
                scope.spawn(move || write(rig, &mut Dice::new(seed + 1), 150))
            })
            .collect();
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    check_sum(&rig);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                rig.forest.clean(&rig.txns).unwrap();
                rig.txns.step().unwrap();
                std::thread::yield_now();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    check_sum(&rig);
    rig.clean_all();
    rig.verify();
}

fn amount(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

/// Whether `error` says that the transaction lost against another one.
pub fn lost(error: &TreeError) -> bool {
    matches!(error, TreeError::Txn(error) if error.is_retryable())
}

fn write(rig: &Rig, dice: &mut Dice, transactions: usize) {
    for _ in 0..transactions {
        let mut txn = rig.begin();
        match transfer(rig, &mut txn, dice) {
            Ok(()) if dice.one_in(4) => rig.abort(txn),
            Ok(()) => rig.commit(txn),
            Err(error) => {
                assert!(lost(&error), "{error}");
                rig.abort(txn);
            }
        }
    }
}

fn transfer(rig: &Rig, txn: &mut Txn, dice: &mut Dice) -> Result<(), TreeError> {
    let tree = rig.tree();
    let (from, to) = (dice.below(200), dice.below(200));
    let mut get = |number| tree.get(Reader::Txn(txn), &key(number));
    let (Some(left), Some(right)) = (get(from)?, get(to)?) else {
        // Somebody closed the account: open it again, empty.
        for number in [from, to] {
            tree.insert(txn, &key(number), &0_u64.to_le_bytes())?;
        }
        return Ok(());
    };
    if from == to {
        return Ok(());
    }
    let moved = amount(&left) / 2 + 1;
    let moved = moved.min(amount(&left));
    let mut credit = (amount(&right) + moved).to_le_bytes().to_vec();
    credit.resize(8 + dice.below(200), 1);
    tree.put(txn, &key(to), &credit)?;
    if amount(&left) == moved {
        tree.delete(txn, &key(from))?;
    } else {
        let debit = (amount(&left) - moved).to_le_bytes();
        tree.put(txn, &key(from), &debit)?;
    }
    Ok(())
}

fn check_sum(rig: &Rig) {
    let tree = rig.tree();
    let snapshot = rig.txns.snapshot().unwrap();
    let all = pairs(&tree, &mut Reader::Snapshot(&snapshot));
    let sum: u64 = all.iter().map(|(_, value)| amount(value)).sum();
    assert_eq!(sum, 200 * 100);
    let mut cursor = Cursor::new();
    let mut backwards = Vec::new();
    while cursor.prev(&tree, Reader::Snapshot(&snapshot)).unwrap() {
        backwards.push((cursor.key().unwrap().to_vec(), cursor.value(&tree).unwrap().to_vec()));
    }
    backwards.reverse();
    assert!(backwards == all);
    for (key, value) in all.iter().step_by(17) {
        let got = tree.get(Reader::Snapshot(&snapshot), key).unwrap();
        assert_eq!(got.as_ref(), Some(value));
    }
}

/// Transactions at the same time, on keys of their own, so that no locks are needed: splits, purges
/// and merges meet on the same pages.
#[test]
fn writers_without_common_keys_share_the_pages() {
    let rig = Rig::new(Sizes { frames: 256, log_file_bytes: 256 << 10, ..Sizes::default() });
    let stop = AtomicBool::new(false);
    let models: Vec<Model> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|who| {
                let rig = &rig;
                scope.spawn(move || write_own(rig, who, &mut Dice::new(u64::from(who) + 9)))
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                rig.forest.clean(&rig.txns).unwrap();
                rig.txns.step().unwrap();
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Keys only: who reads without locks may meet a large value that is being freed.
                let (mut range, mut front) = (Range::all(), Vec::new());
                while range.advance(&rig.tree(), Reader::Uncommitted).unwrap() {
                    front.extend(range.front().key().map(<[u8]>::to_vec));
                }
                assert!(front.is_sorted_by(|a, b| a < b), "a merge between two leaves");
                let (mut range, mut back) = (Range::all(), Vec::new());
                while range.retreat(&rig.tree(), Reader::Uncommitted).unwrap() {
                    back.extend(range.back().key().map(<[u8]>::to_vec));
                }
                assert!(back.is_sorted_by(|a, b| a > b), "a merge between two leaves");
            }
        });
        let models = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        models
    });
    let mut expected: Model = models.into_iter().flatten().collect();
    assert!(rig.pairs() == expected.clone().into_iter().collect::<Vec<_>>());
    let depth = rig.verify().stats.depth;
    assert!(depth >= 3, "{depth} levels");
    rig.clean_all();
    rig.verify();
    expected.retain(|key, _| key.is_empty());
    let mut txn = rig.begin();
    for (key, _) in rig.pairs() {
        rig.tree().delete(&mut txn, &key).unwrap();
    }
    rig.commit(txn);
    rig.clean_all();
    assert_eq!(rig.verify().stats.leaf_pages, 1);
}

fn write_own(rig: &Rig, who: u8, dice: &mut Dice) -> Model {
    let tree = rig.tree().without_locks();
    let mut committed = Model::new();
    for _ in 0..60 {
        let mut txn = rig.begin();
        let mut model = committed.clone();
        for _ in 0..dice.below(30) {
            // Neighbours belong to different writers.
            let key = [&(dice.below(300) as u16).to_le_bytes()[..], &[who]].concat();
            if dice.one_in(3) {
                assert_eq!(tree.delete(&mut txn, &key).unwrap(), model.remove(&key).is_some());
            } else {
                let longest = if dice.one_in(10) { 700 } else { 60 };
                let len = dice.below(longest);
                let value = vec![who; len];
                let there = model.insert(key.clone(), value.clone()).is_some();
                assert_eq!(tree.put(&mut txn, &key, &value).unwrap(), there);
            }
        }
        let mut cursor = Cursor::new();
        for (key, value) in model.iter().step_by(20) {
            assert_eq!(tree.get(Reader::Txn(&mut txn), key).unwrap().as_ref(), Some(value));
            let found = cursor.seek(&tree, Reader::Txn(&mut txn), Seek::AtLeast(key)).unwrap();
            assert!(found && cursor.key() == Some(key));
        }
        if dice.one_in(3) {
            rig.abort(txn);
        } else {
            rig.commit(txn);
            committed = model;
        }
    }
    committed
}
