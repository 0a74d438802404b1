//! Rolling back.

use crate::rig::{Dice, Rig, Sizes};

#[test]
fn undo_finds_keys_that_splits_have_moved() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    for number in 0..20_u32 {
        tree.put(&mut txn, &number.to_le_bytes(), &[1; 10]).unwrap();
    }
    rig.commit(txn);
    let before = rig.pairs();
    let mut txn = rig.begin();
    for number in 0..20_u32 {
        tree.put(&mut txn, &number.to_le_bytes(), &[2; 100]).unwrap();
    }
    for number in 20..500_u32 {
        tree.put(&mut txn, &number.to_le_bytes(), &[3; 60]).unwrap();
    }
    for number in 0..500_u32 {
        if number % 2 == 0 {
            tree.delete(&mut txn, &number.to_le_bytes()).unwrap();
        }
    }
    rig.abort(txn);
    assert!(rig.pairs() == before);
    rig.verify();
    rig.clean_all();
    let stats = rig.verify().stats;
    assert_eq!((stats.ghosts, stats.entries), (0, 20));
}

#[test]
fn undo_makes_room_where_the_old_value_no_longer_fits() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    for number in 0..12_u8 {
        tree.put(&mut txn, &[number], &[number; 120]).unwrap();
    }
    rig.commit(txn);
    let before = rig.pairs();
    let mut txn = rig.begin();
    for number in 0..12_u8 {
        tree.put(&mut txn, &[number], b"").unwrap();
    }
    // The freed room goes to others, and these stay as ghosts when they are undone.
    for number in 0..200_u16 {
        let key = [(number % 12) as u8, (number / 12) as u8, 9];
        tree.put(&mut txn, &key, &[7; 20]).unwrap();
    }
    for number in 0..12_u8 {
        tree.delete(&mut txn, &[number]).unwrap();
        tree.put(&mut txn, &[number], b"again").unwrap();
    }
    rig.abort(txn);
    assert!(rig.pairs() == before);
    rig.verify();
}

#[test]
fn savepoints_take_back_the_end_only() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut dice = Dice::new(9);
    let mut txn = rig.begin();
    for number in 0..50_u32 {
        tree.put(&mut txn, &number.to_le_bytes(), &dice.bytes(20)).unwrap();
    }
    let half = rig.pairs();
    let savepoint = rig.txns.savepoint(&txn);
    for round in 0..3 {
        for number in 0..100_u32 {
            if (number + round).is_multiple_of(3) {
                tree.delete(&mut txn, &number.to_le_bytes()).unwrap();
            } else {
                tree.put(&mut txn, &number.to_le_bytes(), &dice.bytes(300)).unwrap();
            }
        }
        rig.txns.rollback_to(&mut txn, &savepoint).unwrap();
        assert!(rig.pairs() == half);
    }
    rig.commit(txn);
    assert!(rig.pairs() == half);
    rig.clean_all();
    rig.verify();
}

#[test]
fn a_failed_transaction_takes_nothing_more_until_it_is_rolled_back() {
    let rig = Rig::new(Sizes::default());
    let mut txn = rig.begin();
    let savepoint = rig.txns.savepoint(&txn);
    txn.fail("as a test");
    for _ in 0..2 {
        assert!(rig.tree().put(&mut txn, b"k", b"v").is_err());
        assert!(rig.tree().delete(&mut txn, b"k").is_err());
    }
    rig.txns.rollback_to(&mut txn, &savepoint).unwrap();
    assert!(!rig.tree().put(&mut txn, b"k", b"v").unwrap());
    rig.commit(txn);
}

#[test]
fn an_operation_that_fails_half_way_leaves_nothing_behind() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    tree.put(&mut txn, b"k", &[1; 3000]).unwrap();
    rig.commit(txn);
    // A row that is in the graveyard already makes the second step of a delete fail.
    let graveyard = rig.forest.tree(&rig.txns, campanile_format::FileId::GRAVEYARD);
    let mut txn = rig.begin();
    let first = 3_u64;
    let mut key = (u64::from(rig.file.0) << 32 | first).to_le_bytes();
    key.reverse();
    let stats = rig.verify().stats;
    graveyard.put(&mut txn, &key, &(stats.overflow_pages as u32).to_le_bytes()).unwrap();
    assert!(tree.delete(&mut txn, b"k").is_err());
    assert_eq!(txn.failure(), None, "the failed step was taken back");
    assert!(tree.get(campanile_btree::Reader::Txn(&mut txn), b"k").unwrap().is_some());
    assert!(graveyard.delete(&mut txn, &key).unwrap());
    assert!(tree.delete(&mut txn, b"k").unwrap());
    rig.commit(txn);
    rig.verify();
}
