//! Many threads on tiny pages in a tiny cache: every read is held against what its key may hold.
//!
//! A key's values are numbered. Its writer, one thread, counts up with every attempt; attempts that
//! are rolled back have odd numbers. Before a commit the number is announced, after it confirmed.
//! So whoever takes a snapshot must see, of each key, an even number between the confirmed one
//! before and the announced one after, in a value that belongs to this key and this number.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use campanile_btree::{Cursor, Range, Reader, Seek, Tree};
use campanile_format::planted;
use campanile_txn::Snapshot;

use crate::rig::{Dice, Rig, Sizes, times};

/// Memory for versions as slow readers on busy machines need it.
const SIZES: Sizes = Sizes {
    page_bytes: 512,
    frames: 64,
    log_file_bytes: 256 << 10,
    version_bytes: 256 << 20,
    escalate_after: u64::MAX,
};

/// What is known of one key.
#[derive(Default)]
struct Entry {
    confirmed: AtomicU64,
    announced: AtomicU64,
}

struct Table(Vec<Entry>);

fn key(number: usize) -> Vec<u8> {
    // Long and alike, so that inner nodes are small and the tree is high.
    format!("{:04}/{}", number % 1000 * 7 % 1000, "x".repeat(number % 40)).into_bytes()
}

/// Every fourth committed state of a key is that it is not there.
fn is_gone(attempt: u64) -> bool {
    attempt == 0 || attempt % 8 == 6
}

fn value(number: usize, attempt: u64) -> Vec<u8> {
    let word = (number as u64) << 32 | attempt;
    let words = match attempt % 32 {
        // One that does not fit a page.
        2 => 100,
        _ => 1 + (attempt as usize * 7 + number) % 14,
    };
    word.to_le_bytes().repeat(words)
}

/// The attempt that a value is of, if it is one of this key and whole.
fn attempt_of(number: usize, found: &[u8]) -> u64 {
    let word = u64::from_le_bytes(found[..8].try_into().unwrap());
    assert_eq!(word >> 32, number as u64, "the value of another key");
    let attempt = word & u64::from(u32::MAX);
    assert!(found == value(number, attempt), "a value in pieces");
    attempt
}

impl Table {
    fn new(keys: usize) -> Table {
        Table((0..keys).map(|_| Entry::default()).collect())
    }

    fn confirmed(&self, number: usize) -> u64 {
        self.0[number].confirmed.load(Ordering::SeqCst)
    }

    /// Holds what a snapshot showed against what was confirmed before it was taken.
    fn check(&self, number: usize, before: u64, found: Option<&[u8]>) {
        let after = self.0[number].announced.load(Ordering::SeqCst);
        match found {
            Some(found) => {
                let attempt = attempt_of(number, found);
                assert!(attempt.is_multiple_of(2), "{number}: a value that was rolled back");
                assert!(!is_gone(attempt), "{number}: a value that never was");
                assert!((before..=after).contains(&attempt), "{before} {attempt} {after}");
            }
            None => assert!(
                (before..=after).step_by(2).any(is_gone),
                "{number} was there from {before} to {after} and is not found"
            ),
        }
    }
}

/// Puts, deletes, commits and rolls back, on every `of`-th key.
fn write(rig: &Rig, table: &Table, mine: usize, of: usize, dice: &mut Dice, transactions: usize) {
    let tree = rig.tree().without_locks();
    for _ in 0..transactions {
        let rolls_back = dice.one_in(4);
        let mut txn = rig.begin();
        let mut attempts: Vec<(usize, u64)> = Vec::new();
        for _ in 0..1 + dice.below(12) {
            let number = dice.below(table.0.len() / of) * of + mine;
            if attempts.iter().any(|(other, _)| *other == number) {
                continue;
            }
            let last = table.0[number].announced.load(Ordering::SeqCst);
            let attempt = last + if rolls_back { 1 } else { 2 };
            let there = !is_gone(last);
            if is_gone(attempt) {
                assert_eq!(tree.delete(&mut txn, &key(number)).unwrap(), there);
            } else {
                let put = tree.put(&mut txn, &key(number), &value(number, attempt)).unwrap();
                assert_eq!(put, there);
                let got = tree.get(Reader::Txn(&mut txn), &key(number)).unwrap().unwrap();
                assert_eq!(attempt_of(number, &got), attempt);
            }
            attempts.push((number, attempt));
        }
        if rolls_back {
            rig.abort(txn);
            continue;
        }
        for (number, attempt) in &attempts {
            table.0[*number].announced.store(*attempt, Ordering::SeqCst);
        }
        rig.commit(txn);
        for (number, attempt) in &attempts {
            table.0[*number].confirmed.store(*attempt, Ordering::SeqCst);
        }
    }
}

/// Looks some keys up under one snapshot, by themselves and by a cursor.
fn get_some(rig: &Rig, table: &Table, dice: &mut Dice) {
    let numbers: Vec<usize> = (0..20).map(|_| dice.below(table.0.len())).collect();
    let before: Vec<u64> = numbers.iter().map(|number| table.confirmed(*number)).collect();
    let snapshot = rig.txns.snapshot().unwrap();
    let mut cursor = Cursor::new();
    for (number, before) in numbers.iter().zip(before) {
        let (tree, key) = (rig.tree(), key(*number));
        let found = tree.get(Reader::Snapshot(&snapshot), &key).unwrap();
        table.check(*number, before, found.as_deref());
        let there = cursor.seek(&tree, Reader::Snapshot(&snapshot), Seek::Exactly(&key)).unwrap();
        assert_eq!(there, found.is_some());
        if there {
            assert_eq!(cursor.value(&tree).unwrap(), found.unwrap());
        }
    }
}

fn scan(tree: &Tree<'_>, snapshot: &Snapshot, back: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut range, mut pairs) = (Range::all(), Vec::new());
    while let Some(pair) = match back {
        true => range.next_back(tree, Reader::Snapshot(snapshot)).unwrap(),
        false => range.next(tree, Reader::Snapshot(snapshot)).unwrap(),
    } {
        pairs.push(pair);
    }
    if back {
        pairs.reverse();
    }
    pairs
}

/// Scans under one snapshot, both ways.
fn scan_all(rig: &Rig, table: &Table) {
    let before: Vec<u64> = (0..table.0.len()).map(|number| table.confirmed(number)).collect();
    let snapshot = rig.txns.snapshot().unwrap();
    let pairs = scan(&rig.tree(), &snapshot, false);
    assert!(pairs.is_sorted_by(|a, b| a.0 < b.0));
    assert!(scan(&rig.tree(), &snapshot, true) == pairs, "two scans under one snapshot");
    for (number, before) in before.into_iter().enumerate() {
        let found = pairs.binary_search_by(|pair| pair.0.cmp(&key(number)));
        table.check(number, before, found.ok().map(|at| pairs[at].1.as_slice()));
    }
}

/// Runs writers to their end with readers, the cleaner and write-back beside them.
fn stress(rig: &Rig, keys: usize, writers: usize, transactions: usize) {
    let (table, stop) = (&Table::new(keys), &AtomicBool::new(false));
    // A planted bug shall be the readers'.
    let planted = &planted::Selection::here();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..writers)
            .map(|mine| {
                let mut dice = Dice::new(mine as u64 + 1);
                scope.spawn(move || write(rig, table, mine, writers, &mut dice, transactions))
            })
            .collect();
        for seed in 100..102 {
            scope.spawn(move || {
                let mut dice = Dice::new(seed);
                planted.on(|| {
                    while !stop.load(Ordering::Relaxed) {
                        get_some(rig, table, &mut dice);
                    }
                });
            });
        }
        scope.spawn(|| {
            planted.on(|| {
                while !stop.load(Ordering::Relaxed) {
                    scan_all(rig, table);
                }
            });
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                rig.forest.clean(&rig.txns).unwrap();
                rig.txns.step().unwrap();
                std::thread::yield_now();
            }
        });
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        stop.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|end| end.unwrap());
    });
    scan_all(rig, table);
    get_some(rig, table, &mut Dice::new(5));
    rig.verify();
    rig.clean_all();
    rig.verify();
    scan_all(rig, table);
}

#[test]
fn b13_reads_hold_while_a_tiny_cache_turns_over_under_splits_and_merges() {
    let rig = Rig::new(SIZES);
    stress(&rig, 600, 3, 300 * times() as usize);
    let stats = rig.txns.store().stats();
    assert!(stats.evictions > 1000, "{stats:?}");
    assert!(rig.verify().stats.depth >= 3);
}

#[test]
pub fn b13_reads_hold_while_the_whole_tree_is_in_memory() {
    let rig = Rig::new(Sizes { frames: 4096, ..SIZES });
    stress(&rig, 300, 4, 400 * times() as usize);
}

/// A tree that is one page, two, one again: roots rise and fall all the time.
#[test]
fn b13_reads_hold_while_the_root_rises_and_falls() {
    let rig = Rig::new(SIZES);
    stress(&rig, 9, 3, 1500 * times() as usize);
}

/// Loads that are rolled back free all their pages at once, and the next load uses them again.
#[test]
fn b13_readers_on_their_way_through_a_load_that_is_rolled_back_find_nothing() {
    let rig = Rig::new(SIZES);
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let rig = &rig;
            scope.spawn(move || {
                let mut dice = Dice::new(seed + 1);
                while !stop.load(Ordering::Relaxed) {
                    let snapshot = rig.txns.snapshot().unwrap();
                    for _ in 0..10 {
                        let key = format!("{:06}", dice.below(1500)).into_bytes();
                        let found = rig.tree().get(Reader::Snapshot(&snapshot), &key).unwrap();
                        assert_eq!(found, None, "a load that was never committed");
                        // Whatever it finds, it is no damage.
                        let _ = rig.tree().get(Reader::Uncommitted, &key).unwrap();
                    }
                }
            });
        }
        for round in 0..60 * times() {
            let pairs = (0..1500).map(|number| {
                Ok::<_, std::convert::Infallible>((format!("{number:06}"), [round as u8; 30]))
            });
            let mut txn = rig.begin();
            rig.tree().bulk_load(&mut txn, pairs).unwrap();
            rig.abort(txn);
            assert!(rig.tree().is_untouched().unwrap());
        }
        stop.store(true, Ordering::Relaxed);
    });
    rig.verify();
}
