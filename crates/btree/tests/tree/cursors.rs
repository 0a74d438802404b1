//! Cursors and ranges while the tree changes under them.

use std::ops::Bound;

use campanile_btree::{Cursor, Range, Reader, Seek, TreeError};

use crate::rig::{Rig, Sizes, pairs};

fn name(number: u32) -> Vec<u8> {
    format!("{number:06}").into_bytes()
}

fn filled(count: u32) -> Rig {
    let rig = Rig::new(Sizes::default());
    let mut txn = rig.begin();
    for number in 0..count {
        rig.tree().put(&mut txn, &name(number * 2), &[number as u8; 30]).unwrap();
    }
    rig.commit(txn);
    rig
}

#[test]
fn a_cursor_walks_both_ways_and_stays_at_the_ends() {
    let rig = filled(100);
    let tree = rig.tree();
    let mut cursor = Cursor::new();
    assert_eq!(cursor.key(), None);
    for number in 0..100 {
        assert!(cursor.next(&tree, Reader::Uncommitted).unwrap());
        assert_eq!(cursor.key().unwrap(), name(number * 2));
        assert_eq!(cursor.value(&tree).unwrap(), [number as u8; 30]);
    }
    assert!(!cursor.next(&tree, Reader::Uncommitted).unwrap());
    assert_eq!(cursor.key().unwrap(), name(198), "a move that fails changes nothing");
    assert_eq!(cursor.value(&tree).unwrap(), [99; 30]);
    for number in (0..99).rev() {
        assert!(cursor.prev(&tree, Reader::Uncommitted).unwrap());
        assert_eq!(cursor.key().unwrap(), name(number * 2));
    }
    assert!(!cursor.prev(&tree, Reader::Uncommitted).unwrap());
    assert_eq!(cursor.key().unwrap(), name(0));
}

#[test]
fn inserts_and_splits_under_a_cursor_are_neither_missed_nor_repeated() {
    let rig = filled(50);
    let tree = rig.tree();
    let mut txn = rig.begin();
    let mut cursor = Cursor::new();
    let mut seen = Vec::new();
    while cursor.next(&tree, Reader::Txn(&mut txn)).unwrap() {
        let key = cursor.key().unwrap().to_vec();
        let number: u32 = String::from_utf8(key.clone()).unwrap().parse().unwrap();
        seen.push(number);
        if number.is_multiple_of(2) {
            // One behind the cursor, which must not come, one ahead, which must.
            tree.put(&mut txn, &[&key[..], b"-"].concat()[..6], &[1; 100]).unwrap();
            tree.put(&mut txn, &name(number + 1), &[2; 100]).unwrap();
        }
    }
    assert_eq!(seen, (0..100).collect::<Vec<u32>>());
    rig.commit(txn);
    rig.verify();
}

#[test]
fn deleting_everything_at_the_cursor_reaches_everything() {
    let rig = filled(200);
    let tree = rig.tree();
    let mut txn = rig.begin();
    let mut cursor = Cursor::new();
    let mut count = 0;
    while cursor.next(&tree, Reader::Txn(&mut txn)).unwrap() {
        assert!(cursor.delete(&tree, &mut txn).unwrap());
        assert!(!cursor.delete(&tree, &mut txn).unwrap());
        assert!(!cursor.put(&tree, &mut txn, b"gone").unwrap());
        count += 1;
    }
    assert_eq!(count, 200);
    rig.commit(txn);
    assert!(rig.pairs().is_empty());
    rig.clean_all();
    assert_eq!(rig.verify().stats.depth, 1);
    assert!(!cursor.prev(&tree, Reader::Uncommitted).unwrap(), "pages went from under it");
}

#[test]
fn a_cursor_finds_its_place_again_after_merges() {
    let rig = filled(300);
    let tree = rig.tree();
    let mut cursor = Cursor::new();
    assert!(cursor.seek(&tree, Reader::Uncommitted, Seek::AtLeast(&name(300))).unwrap());
    let mut txn = rig.begin();
    for number in 0..300 {
        if number % 50 != 0 {
            tree.delete(&mut txn, &name(number * 2)).unwrap();
        }
    }
    rig.commit(txn);
    assert!(rig.clean_all() > 0);
    assert!(cursor.next(&tree, Reader::Uncommitted).unwrap());
    assert_eq!(cursor.key().unwrap(), name(400));
    assert!(cursor.prev(&tree, Reader::Uncommitted).unwrap());
    assert_eq!(cursor.key().unwrap(), name(300));
    assert!(cursor.prev(&tree, Reader::Uncommitted).unwrap());
    assert_eq!(cursor.key().unwrap(), name(200));
}

#[test]
fn ranges_mind_their_bounds_from_both_ends() {
    let rig = filled(60);
    let tree = rig.tree();
    let bounds = |key: u32| {
        let key = name(key);
        [Bound::Unbounded, Bound::Included(key.clone()), Bound::Excluded(key)]
    };
    let all: Vec<Vec<u8>> = (0..60).map(|number| name(number * 2)).collect();
    for (low, high) in [(20, 81), (21, 80), (40, 40), (41, 41), (80, 20), (0, 118), (200, 300)] {
        for lower in bounds(low) {
            for upper in bounds(high) {
                let above = |key: &Vec<u8>| match &lower {
                    Bound::Included(low) => key >= low,
                    Bound::Excluded(low) => key > low,
                    Bound::Unbounded => true,
                };
                let below = |key: &Vec<u8>| match &upper {
                    Bound::Included(high) => key <= high,
                    Bound::Excluded(high) => key < high,
                    Bound::Unbounded => true,
                };
                let expected: Vec<Vec<u8>> =
                    all.iter().filter(|key| above(key) && below(key)).cloned().collect();
                let slices = (as_slice(&lower), as_slice(&upper));
                check_range(&tree, slices, &expected);
            }
        }
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn check_range(
    tree: &campanile_btree::Tree<'_>,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    expected: &[Vec<u8>],
) {
    for pattern in [0b0_u32, 0b1, 0b10, 0b0110_1001] {
        let mut range = Range::new(bounds);
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for turn in 0.. {
            let pair = if pattern >> (turn % 8) & 1 == 0 {
                let pair = range.next(tree, Reader::Uncommitted).unwrap();
                front.extend(pair.as_ref().map(|(key, _)| key.clone()));
                pair
            } else {
                let pair = range.next_back(tree, Reader::Uncommitted).unwrap();
                back.extend(pair.as_ref().map(|(key, _)| key.clone()));
                pair
            };
            if pair.is_none() {
                break;
            }
        }
        assert_eq!(range.next(tree, Reader::Uncommitted).unwrap(), None, "the end is final");
        front.extend(back.into_iter().rev());
        assert_eq!(front, expected, "{bounds:?} in pattern {pattern:b}");
    }
}

#[test]
fn a_cursor_used_for_another_reader_takes_a_new_look() {
    let rig = filled(3);
    let tree = rig.tree();
    let snapshot = rig.txns.snapshot().unwrap();
    let mut txn = rig.begin();
    tree.put(&mut txn, &name(1), b"new").unwrap();
    let mut cursor = Cursor::new();
    assert!(cursor.next(&tree, Reader::Snapshot(&snapshot)).unwrap());
    assert!(cursor.next(&tree, Reader::Txn(&mut txn)).unwrap());
    assert_eq!(cursor.key().unwrap(), name(1));
    assert!(cursor.next(&tree, Reader::Snapshot(&snapshot)).unwrap());
    assert_eq!(cursor.key().unwrap(), name(2));
    rig.abort(txn);
    assert_eq!(pairs(&tree, &mut Reader::Uncommitted).len(), 3);
}

#[test]
fn a_cursor_that_failed_stays_failed() {
    let rig = filled(3);
    let tree = rig.tree();
    let gone = rig.forest.tree(&rig.txns, campanile_format::FileId(999));
    let mut cursor = Cursor::new();
    assert!(cursor.next(&tree, Reader::Uncommitted).unwrap());
    assert!(cursor.seek(&gone, Reader::Uncommitted, Seek::First).is_err());
    let again = cursor.next(&tree, Reader::Uncommitted).unwrap_err();
    assert!(matches!(again, TreeError::CursorFailed));
}
