//! Ghosts, merges, and a root that falls.

use campanile_btree::{Cursor, Reader, Seek};

use crate::rig::{Dice, Rig, Sizes};

#[test]
fn deleting_everything_gives_every_page_back() {
    for adversarial in [false, true] {
        let rig = Rig::new(Sizes::default());
        let tree = rig.tree();
        let taste = crate::program::Taste { keys: 800, adversarial, large_one_in: 0 };
        let keys: Vec<Vec<u8>> =
            (0..800).map(|index| crate::program::key(taste, 128, index)).collect();
        let mut txn = rig.begin();
        for key in &keys {
            tree.put(&mut txn, key, &[1; 25]).unwrap();
        }
        rig.commit(txn);
        assert!(rig.verify().stats.depth >= 3);
        let mut txn = rig.begin();
        for key in &keys {
            tree.delete(&mut txn, key).unwrap();
        }
        rig.commit(txn);
        rig.verify();
        rig.clean_all();
        let stats = rig.verify().stats;
        assert_eq!((stats.entries, stats.ghosts), (0, 0));
        if !adversarial {
            assert_eq!((stats.leaf_pages, stats.inner_pages), (1, 0));
            assert!(tree.is_untouched().unwrap());
        }
    }
}

#[test]
fn thinning_out_merges_neighbours() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut dice = Dice::new(4);
    let mut txn = rig.begin();
    for number in 0..2000_u32 {
        tree.put(&mut txn, &number.to_le_bytes(), &[1; 20]).unwrap();
    }
    rig.commit(txn);
    let before = rig.verify().stats.leaf_pages;
    for _ in 0..20 {
        let mut txn = rig.begin();
        for _ in 0..200 {
            tree.delete(&mut txn, &(dice.below(2000) as u32).to_le_bytes()).unwrap();
        }
        rig.commit(txn);
        rig.clean_all();
        rig.verify();
    }
    let stats = rig.verify().stats;
    assert!(stats.entries < 400, "{stats:?}");
    assert!(stats.leaf_pages < before / 2, "{stats:?}, {before} before");
    assert!(stats.leaf_fill_percent() >= 40, "{stats:?}");
}

#[test]
fn ghosts_wait_for_active_transactions() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    for number in 0..10_u8 {
        tree.put(&mut txn, &[number], b"v").unwrap();
    }
    rig.commit(txn);
    let mut txn = rig.begin();
    tree.delete(&mut txn, &[3]).unwrap();
    rig.clean_all();
    assert_eq!(rig.verify().stats.ghosts, 1, "its own transaction may still want it back");
    rig.abort(txn);
    assert!(tree.contains(Reader::Uncommitted, &[3]).unwrap());
    let mut txn = rig.begin();
    tree.delete(&mut txn, &[3]).unwrap();
    rig.commit(txn);
    rig.clean_all();
    assert_eq!(rig.verify().stats.ghosts, 0);
}

#[test]
fn a_full_leaf_purges_its_ghosts_before_it_splits() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    for round in 0..200_u32 {
        let mut txn = rig.begin();
        tree.put(&mut txn, &round.to_le_bytes(), &[1; 50]).unwrap();
        rig.commit(txn);
        let mut txn = rig.begin();
        tree.delete(&mut txn, &round.to_le_bytes()).unwrap();
        rig.commit(txn);
    }
    let stats = rig.verify().stats;
    assert_eq!((stats.entries, stats.leaf_pages), (0, 1));
}

#[test]
fn more_ghosts_than_the_queue_holds_are_swept() {
    let rig = Rig::new(Sizes { frames: 64, log_file_bytes: 1 << 20, ..Sizes::default() });
    let tree = rig.tree();
    let mut txn = rig.begin();
    for number in 0..30_000_u32 {
        let mut key = number.to_le_bytes();
        key.reverse();
        tree.put(&mut txn, &key, &[1; 60]).unwrap();
    }
    rig.commit(txn);
    assert!(tree.stats().unwrap().leaf_pages > 4096);
    let mut txn = rig.begin();
    for number in 0..30_000_u32 {
        let mut key = number.to_le_bytes();
        key.reverse();
        tree.delete(&mut txn, &key).unwrap();
    }
    rig.commit(txn);
    rig.clean_all();
    let stats = rig.verify().stats;
    assert_eq!((stats.entries, stats.ghosts, stats.leaf_pages), (0, 0, 1), "{stats:?}");
}

#[test]
pub fn b13_a_copy_of_a_leaf_that_was_merged_away_is_not_used_again() {
    let rig = Rig::new(Sizes { frames: 512, ..Sizes::default() });
    let tree = rig.tree();
    let key = |number: u32| format!("{number:04}").into_bytes();
    let put = |number| {
        let mut txn = rig.begin();
        tree.put(&mut txn, &key(number), &[1; 20]).unwrap();
        rig.commit(txn);
        rig.verify().stats.leaf_pages
    };
    // Until a new leaf has begun, with one record, and then another one.
    let mut leaves = 1;
    let first = (0..)
        .find(|number| {
            let grown = put(*number) > leaves;
            leaves += u64::from(grown);
            grown && leaves == 5
        })
        .unwrap();
    put(first + 1);
    let mut cursor = Cursor::new();
    assert!(cursor.seek(&tree, Reader::Uncommitted, Seek::AtLeast(&key(first))).unwrap());
    // The last leaf stays as it is, until its neighbour, which lost everything, takes it in.
    let mut txn = rig.begin();
    for number in 0..first {
        tree.delete(&mut txn, &key(number)).unwrap();
    }
    rig.commit(txn);
    rig.clean_all();
    assert_eq!(rig.verify().stats.leaf_pages, 1);
    let mut txn = rig.begin();
    assert!(tree.delete(&mut txn, &key(first + 1)).unwrap());
    rig.commit(txn);
    assert!(!cursor.next(&tree, Reader::Uncommitted).unwrap(), "a record that was deleted");
}
