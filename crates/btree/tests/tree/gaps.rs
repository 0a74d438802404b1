//! Locks on keys and gaps: what a serializable transaction has read stays so, phantoms included,
//! and whoever has nothing to do with it does not wait.

use std::time::Duration;

use campanile_btree::{Cursor, Range, Reader, Seek, TreeError};
use campanile_format::planted;
use campanile_txn::{Isolation, Txn, TxnOptions};

use crate::rig::{Rig, Sizes};
use crate::threads::lost;

fn wide() -> Rig {
    Rig::new(Sizes { frames: 128, ..Sizes::default() })
}

fn key(number: u32) -> Vec<u8> {
    format!("{number:05}").into_bytes()
}

/// A tree of these keys, each with a value of 60 bytes: seven or so on a page.
fn with_keys(numbers: impl IntoIterator<Item = u32>) -> Rig {
    let rig = wide();
    let mut txn = rig.begin();
    for number in numbers {
        rig.tree().put(&mut txn, &key(number), &[b'v'; 60]).unwrap();
    }
    rig.commit(txn);
    rig
}

fn begin(rig: &Rig, isolation: Isolation, no_wait: bool) -> Txn {
    let mut options = TxnOptions::default();
    options.isolation = isolation;
    options.no_wait = no_wait;
    rig.txns.begin(options).unwrap()
}

fn impatient(rig: &Rig) -> Txn {
    begin(rig, Isolation::Serializable, true)
}

/// Whether a stranger may insert `number` now.
fn may_insert(rig: &Rig, number: u32) -> bool {
    let mut txn = impatient(rig);
    let inserted = rig.tree().insert(&mut txn, &key(number), b"new");
    rig.abort(txn);
    match inserted {
        Ok(inserted) => inserted,
        Err(error) => {
            assert!(lost(&error), "{error}");
            false
        }
    }
}

/// Whether a stranger may write `number`, which is there, now.
fn may_write(rig: &Rig, number: u32) -> bool {
    let mut txn = impatient(rig);
    let written = rig.tree().put(&mut txn, &key(number), b"other");
    rig.abort(txn);
    written.inspect_err(|error| assert!(lost(error), "{error}")).is_ok()
}

fn scan(rig: &Rig, txn: &mut Txn, from: u32, to: u32, up: bool) -> Vec<u32> {
    let (from, to) = (key(from), key(to));
    let bounds = (std::ops::Bound::Included(&from[..]), std::ops::Bound::Included(&to[..]));
    let mut range = Range::new(bounds);
    let mut seen = Vec::new();
    let tree = rig.tree();
    loop {
        let reader = Reader::Txn(txn);
        let next = if up { range.next(&tree, reader) } else { range.next_back(&tree, reader) };
        let Some((key, _)) = next.unwrap() else { return seen };
        seen.push(String::from_utf8(key).unwrap().parse().unwrap());
    }
}

/// Tens from 100 to 900: some twelve leaves.
fn tens() -> Rig {
    with_keys((10..=90).map(|ten| ten * 10))
}

#[test]
pub fn a_scan_keeps_phantoms_out_at_both_ends_and_over_leaf_borders() {
    for up in [true, false] {
        let rig = tens();
        let mut txn = rig.begin();
        assert_eq!(scan(&rig, &mut txn, 295, 505, up).len(), 21);
        for inside in (296..=504).filter(|number| number % 10 != 0) {
            assert!(!may_insert(&rig, inside), "{inside}, upwards: {up}");
        }
        assert!(!may_write(&rig, 300) && !may_write(&rig, 500));
        assert!(may_write(&rig, 510) && may_write(&rig, 290), "beyond the bounds");
        for outside in [285, 515, 895, 101] {
            assert!(may_insert(&rig, outside), "{outside}, upwards: {up}");
        }
        rig.commit(txn);
        assert!(may_insert(&rig, 301) && may_write(&rig, 300));
    }
}

#[test]
pub fn a_range_that_is_empty_stays_empty() {
    for up in [true, false] {
        let rig = tens();
        let mut txn = rig.begin();
        assert!(scan(&rig, &mut txn, 301, 309, up).is_empty());
        assert!(!may_insert(&rig, 301) && !may_insert(&rig, 309));
        assert!(may_write(&rig, 300) && may_write(&rig, 310), "keys beside it are free");
        assert!(may_insert(&rig, 311) && may_insert(&rig, 299));
        rig.commit(txn);
        // Nothing at all, and beyond the end.
        let rig = with_keys([]);
        let mut txn = rig.begin();
        assert!(scan(&rig, &mut txn, 0, 999, up).is_empty());
        assert!(!may_insert(&rig, 0) && !may_insert(&rig, 500));
        rig.commit(txn);
        let rig = tens();
        let mut txn = rig.begin();
        assert!(scan(&rig, &mut txn, 950, 999, up).is_empty());
        assert!(!may_insert(&rig, 990));
        assert!(may_insert(&rig, 899));
        rig.commit(txn);
    }
}

#[test]
pub fn a_key_that_was_absent_stays_absent_and_only_that() {
    let rig = tens();
    let mut txn = rig.begin();
    assert_eq!(rig.tree().get(Reader::Txn(&mut txn), &key(305)).unwrap(), None);
    assert!(!may_insert(&rig, 305));
    assert!(may_insert(&rig, 304) && may_insert(&rig, 306));
    rig.commit(txn);
    assert!(may_insert(&rig, 305));
}

#[test]
pub fn a_key_inserted_into_a_gap_of_ones_own_divides_it() {
    for number in [305, 101, 899, 901] {
        let rig = tens();
        let mut txn = rig.begin();
        scan(&rig, &mut txn, 0, 999, true);
        rig.tree().insert(&mut txn, &key(number), b"mine").unwrap();
        for other in [number - 1, number + 1] {
            assert!(other % 10 == 0 || !may_insert(&rig, other), "{other} beside {number}");
        }
        // Taken back, it is still the boundary.
        let start = rig.txns.savepoint(&txn);
        rig.tree().insert(&mut txn, &key(number + 2), b"mine").unwrap();
        rig.txns.rollback_to(&mut txn, &start).unwrap();
        assert!(!may_insert(&rig, number + 1));
        rig.commit(txn);
    }
}

#[test]
pub fn the_ghost_that_ends_a_gap_stays_as_long_as_the_gap_is_locked() {
    let rig = tens();
    let mut txn = rig.begin();
    rig.tree().delete(&mut txn, &key(310)).unwrap();
    rig.commit(txn);
    let mut reader = rig.begin();
    assert!(scan(&rig, &mut reader, 301, 309, true).is_empty());
    // Settled, and nobody but the reader has an interest in it.
    for _ in 0..3 {
        rig.clean_all();
        rig.forest.sweep(rig.file);
        rig.clean_all();
    }
    assert!(!may_insert(&rig, 305), "the ghost is gone, and the gap with it");
    assert!(may_insert(&rig, 311), "above the ghost nobody has looked");
    rig.commit(reader);
    rig.forest.sweep(rig.file);
    rig.clean_all();
    assert_eq!(rig.verify().stats.ghosts, 0);
}

#[test]
pub fn an_uncommitted_delete_is_waited_for() {
    let rig = tens();
    let mut deleter = rig.begin();
    rig.tree().delete(&mut deleter, &key(300)).unwrap();
    for isolation in [Isolation::Serializable, Isolation::ReadCommitted] {
        let mut txn = begin(&rig, isolation, true);
        let mut cursor = Cursor::new();
        let found = cursor.seek(&rig.tree(), Reader::Txn(&mut txn), Seek::AtLeast(&key(295)));
        assert!(lost(&found.unwrap_err()), "{isolation:?}");
        rig.abort(txn);
    }
    let mut dirty = begin(&rig, Isolation::ReadUncommitted, true);
    assert!(!scan(&rig, &mut dirty, 0, 999, true).contains(&300));
    rig.commit(dirty);
    rig.abort(deleter);
    let mut txn = rig.begin();
    assert!(scan(&rig, &mut txn, 0, 999, true).contains(&300));
    rig.commit(txn);
}

#[test]
pub fn who_reads_committed_data_holds_only_what_it_stands_on() {
    let rig = tens();
    let mut txn = begin(&rig, Isolation::ReadCommitted, false);
    let tree = rig.tree();
    tree.get(Reader::Txn(&mut txn), &key(200)).unwrap();
    assert!(may_write(&rig, 200));
    let mut cursor = Cursor::new();
    cursor.seek(&tree, Reader::Txn(&mut txn), Seek::Exactly(&key(300))).unwrap();
    assert!(!may_write(&rig, 300));
    cursor.next(&tree, Reader::Txn(&mut txn)).unwrap();
    assert!(may_write(&rig, 300) && !may_write(&rig, 310) && may_insert(&rig, 305));
    drop(cursor);
    assert!(may_write(&rig, 310));
    assert_eq!(scan(&rig, &mut txn, 0, 999, false).len(), 81);
    assert!(may_write(&rig, 500));
    // What it has written it keeps.
    tree.put(&mut txn, &key(400), b"mine").unwrap();
    tree.get(Reader::Txn(&mut txn), &key(400)).unwrap();
    assert!(!may_write(&rig, 400));
    rig.commit(txn);
}

#[test]
pub fn a_scan_waits_for_an_insert_and_then_sees_it() {
    let rig = tens();
    let mut writer = rig.begin();
    rig.tree().insert(&mut writer, &key(305), b"new").unwrap();
    let bug = planted::Selection::here();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            bug.on(|| {
                let mut txn = rig.begin();
                let seen = scan(&rig, &mut txn, 295, 400, true);
                rig.commit(txn);
                seen
            })
        });
        while rig.txns.lock_stats().waiting == 0 {
            std::thread::yield_now();
        }
        // The leaf that the reader has copied is split under it.
        let mut splitter = rig.begin();
        for number in 410..=419 {
            rig.tree().put(&mut splitter, &key(number), &[b'x'; 60]).unwrap();
        }
        rig.commit(splitter);
        for number in 306..=309 {
            rig.tree().insert(&mut writer, &key(number), &[b'x'; 60]).unwrap();
        }
        rig.commit(writer);
        let seen = reader.join().unwrap();
        assert!(seen.is_sorted() && seen.len() == 11 + 5, "{seen:?}");
    });
}

/// Two that read a key and then write it: one gives way, and it is the younger one.
#[test]
pub fn an_upgrade_that_both_want_has_one_victim() {
    let rig = tens();
    let tree = rig.tree();
    let (mut elder, mut young) = (rig.begin(), rig.begin());
    let old = elder.id().0;
    tree.get(Reader::Txn(&mut elder), &key(300)).unwrap();
    tree.get(Reader::Txn(&mut young), &key(300)).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| tree.put(&mut elder, &key(300), b"old"));
        while rig.txns.lock_stats().waiting == 0 {
            std::thread::yield_now();
        }
        let error = tree.put(&mut young, &key(300), b"young").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("deadlock") && text.contains("\"00300\""), "{text}");
        for txn in [old, young.id().0] {
            assert!(text.contains(&format!("transaction {txn}")), "{text}");
        }
        rig.abort(young);
        assert!(waits.join().unwrap().unwrap());
    });
    rig.commit(elder);
}

#[test]
pub fn a_wait_ends_by_its_time_and_by_that_of_the_transaction() {
    let rig = tens();
    let mut holder = rig.begin();
    rig.tree().put(&mut holder, &key(300), b"held").unwrap();
    let mut options = TxnOptions::default();
    options.lock_timeout_us = Some(5_000);
    let mut txn = rig.txns.begin(options).unwrap();
    let error = rig.tree().put(&mut txn, &key(300), b"late").unwrap_err();
    assert!(error.to_string().contains("waited") && lost(&error), "{error}");
    rig.tree().put(&mut txn, &key(310), b"fine").unwrap();
    rig.commit(txn);
    let mut options = TxnOptions::default();
    options.timeout_us = Some(5_000);
    let mut txn = rig.txns.begin(options).unwrap();
    let error = rig.tree().put(&mut txn, &key(300), b"late").unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    assert!(rig.tree().put(&mut txn, &key(320), b"late").is_err());
    assert!(rig.txns.commit(txn, campanile_txn::Durability::NoSync).is_err());
    rig.abort(holder);
}

#[test]
pub fn very_many_locks_become_one_on_the_file() {
    let rig = Rig::new(Sizes { frames: 128, escalate_after: 50, ..Sizes::default() });
    let tree = rig.tree();
    let mut txn = rig.begin();
    for number in 0..200 {
        tree.put(&mut txn, &key(number), b"v").unwrap();
    }
    assert!(rig.txns.lock_stats().locks < 10, "{:?}", rig.txns.lock_stats());
    assert!(!may_insert(&rig, 900));
    rig.commit(txn);
    assert_eq!(rig.txns.lock_stats().locks, 0);
    // Beside somebody else it goes on key by key.
    let mut other = rig.begin();
    tree.put(&mut other, &key(500), b"other").unwrap();
    let mut txn = rig.begin();
    for number in 0..200 {
        tree.put(&mut txn, &key(number), b"w").unwrap();
    }
    assert!(may_insert(&rig, 900));
    rig.commit(other);
    for number in 200..300 {
        tree.put(&mut txn, &key(number), b"w").unwrap();
    }
    assert!(!may_insert(&rig, 900), "alone now, it has locked the file");
    rig.abort(txn);
    assert!(may_insert(&rig, 900));
}

/// Readers count a range twice in one transaction while others insert and delete in it, splits and
/// merges included: both counts are the same, or isolation is broken.
#[test]
pub fn ranges_counted_twice_are_the_same_beside_inserts_splits_and_merges() {
    let rig = tens();
    let bug = planted::Selection::here();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                let (rig, bug) = (&rig, &bug);
                scope.spawn(move || bug.on(|| churn(rig, &mut crate::rig::Dice::new(seed + 3))))
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|up| {
                let (rig, bug) = (&rig, &bug);
                scope.spawn(move || bug.on(|| count_twice(rig, up == 0)))
            })
            .collect();
        for thread in readers.into_iter().chain(writers) {
            thread.join().unwrap();
        }
    });
    rig.clean_all();
    rig.verify();
}

fn count_twice(rig: &Rig, up: bool) {
    for round in 0..60 {
        let mut txn = rig.begin();
        let (from, to) = (100 + round * 7 % 300, 600 + round * 11 % 300);
        let count = |txn: &mut Txn, up| -> Result<usize, TreeError> {
            let (from, to) = (key(from), key(to));
            let mut range = Range::new((
                std::ops::Bound::Included(&from[..]),
                std::ops::Bound::Excluded(&to[..]),
            ));
            let (mut count, tree) = (0, rig.tree());
            while if up {
                range.advance(&tree, Reader::Txn(txn))?
            } else {
                range.retreat(&tree, Reader::Txn(txn))?
            } {
                count += 1;
            }
            Ok(count)
        };
        match count(&mut txn, up).and_then(|first| {
            std::thread::sleep(Duration::from_micros(200));
            Ok((first, count(&mut txn, !up)?))
        }) {
            Ok((first, second)) => assert_eq!(first, second, "a phantom"),
            Err(error) => assert!(lost(&error), "{error}"),
        }
        rig.abort(txn);
    }
}

fn churn(rig: &Rig, dice: &mut crate::rig::Dice) {
    for _ in 0..150 {
        let mut txn = rig.begin();
        let mut go = || -> Result<(), TreeError> {
            for _ in 0..1 + dice.below(4) {
                let key = key(100 + dice.below(800) as u32);
                if dice.one_in(2) {
                    rig.tree().put(&mut txn, &key, &vec![b'c'; dice.below(120)])?;
                } else {
                    rig.tree().delete(&mut txn, &key)?;
                }
            }
            Ok(())
        };
        let done = go();
        assert!(done.as_ref().err().is_none_or(lost), "{done:?}");
        if done.is_err() || dice.one_in(3) {
            rig.abort(txn)
        } else {
            rig.commit(txn)
        }
        if dice.one_in(8) {
            rig.forest.sweep(rig.file);
            rig.forest.clean(&rig.txns).unwrap();
        }
    }
}
