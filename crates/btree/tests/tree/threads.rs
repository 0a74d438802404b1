//! Many threads at once.

use std::sync::atomic::{AtomicBool, Ordering};

use campanile_btree::{Cursor, Reader};

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

fn write(rig: &Rig, dice: &mut Dice, transactions: usize) {
    let tree = rig.tree();
    for _ in 0..transactions {
        let mut txn = rig.begin();
        let (from, to) = (dice.below(200), dice.below(200));
        let get = |txn: &mut campanile_txn::Txn, number| {
            tree.get(Reader::Txn(txn), &key(number)).unwrap()
        };
        let (Some(left), Some(right)) = (get(&mut txn, from), get(&mut txn, to)) else {
            // Somebody closed the account: open it again, empty.
            for number in [from, to] {
                tree.insert(&mut txn, &key(number), &0_u64.to_le_bytes()).unwrap();
            }
            rig.commit(txn);
            continue;
        };
        if from == to {
            rig.commit(txn);
            continue;
        }
        let moved = amount(&left) / 2 + 1;
        let moved = moved.min(amount(&left));
        let mut credit = (amount(&right) + moved).to_le_bytes().to_vec();
        credit.resize(8 + dice.below(200), 1);
        tree.put(&mut txn, &key(to), &credit).unwrap();
        if amount(&left) == moved {
            tree.delete(&mut txn, &key(from)).unwrap();
        } else {
            let debit = (amount(&left) - moved).to_le_bytes();
            tree.put(&mut txn, &key(from), &debit).unwrap();
        }
        if dice.one_in(4) { rig.abort(txn) } else { rig.commit(txn) }
    }
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
