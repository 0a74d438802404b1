//! What snapshots see.

use campanile_btree::{Reader, Seek};

use crate::rig::{Rig, Sizes, pairs};

#[test]
fn a_snapshot_sees_its_moment_through_splits_merges_and_purges() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    for number in 0..200_u32 {
        tree.put(&mut txn, &number.to_le_bytes(), &[1; 40]).unwrap();
    }
    rig.commit(txn);
    let then = rig.pairs();
    let snapshot = rig.txns.snapshot().unwrap();
    for round in 2..5_u8 {
        let mut txn = rig.begin();
        for number in 0..400_u32 {
            if number % 4 == u32::from(round) % 4 {
                tree.put(&mut txn, &number.to_le_bytes(), &[round; 90]).unwrap();
            } else {
                tree.delete(&mut txn, &number.to_le_bytes()).unwrap();
            }
        }
        assert!(pairs(&tree, &mut Reader::Snapshot(&snapshot)) == then, "before the commit");
        if round == 3 {
            rig.abort(txn)
        } else {
            rig.commit(txn)
        }
        rig.clean_all();
        assert!(pairs(&tree, &mut Reader::Snapshot(&snapshot)) == then, "after round {round}");
        rig.verify();
    }
    drop(snapshot);
    rig.clean_all();
    let stats = rig.verify().stats;
    assert_eq!((stats.ghosts, stats.entries), (0, 100));
}

#[test]
fn an_uncommitted_insert_over_a_ghost_is_nobody_elses_business() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    tree.put(&mut txn, b"k", b"first").unwrap();
    rig.commit(txn);
    let with = rig.txns.snapshot().unwrap();
    let mut txn = rig.begin();
    tree.delete(&mut txn, b"k").unwrap();
    rig.commit(txn);
    let without = rig.txns.snapshot().unwrap();
    let mut txn = rig.begin();
    tree.insert(&mut txn, b"k", b"second").unwrap();
    let get = |snapshot| tree.get(Reader::Snapshot(snapshot), b"k").unwrap();
    assert_eq!(get(&with).unwrap(), b"first");
    assert_eq!(get(&without), None);
    rig.abort(txn);
    assert_eq!(get(&with).unwrap(), b"first");
    assert_eq!(get(&without), None);
    rig.clean_all();
    assert_eq!(get(&with).unwrap(), b"first");
    assert_eq!(tree.find(Reader::Snapshot(&with), Seek::First).unwrap().unwrap().1, b"first");
    assert_eq!(tree.find(Reader::Snapshot(&without), Seek::First).unwrap(), None);
}

#[test]
fn a_snapshot_that_lost_its_versions_says_so() {
    let rig = Rig::new(Sizes { version_bytes: 4 << 10, ..Sizes::default() });
    let tree = rig.tree();
    let mut txn = rig.begin();
    tree.put(&mut txn, b"k", b"first").unwrap();
    rig.commit(txn);
    let snapshot = rig.txns.snapshot().unwrap();
    let mut txn = rig.begin();
    for number in 0..500_u32 {
        tree.put(&mut txn, &number.to_le_bytes(), b"x").unwrap();
    }
    rig.commit(txn);
    let error = tree.get(Reader::Snapshot(&snapshot), &7_u32.to_le_bytes()).unwrap_err();
    assert_eq!(error.is_snapshot_too_old(), Some(rig.file));
}
