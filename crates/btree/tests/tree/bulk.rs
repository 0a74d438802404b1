//! Bulk load.

use std::convert::Infallible;

use campanile_btree::{Reader, TreeError};

use crate::program::{Taste, key};
use crate::rig::{Dice, Rig, Sizes};

type Pair = (Vec<u8>, Vec<u8>);

fn sorted(count: usize, adversarial: bool, large_one_in: usize) -> Vec<Pair> {
    let taste = Taste { keys: count, adversarial, large_one_in };
    let mut keys: Vec<Vec<u8>> = (0..count).map(|index| key(taste, 128, index)).collect();
    keys.sort();
    keys.dedup();
    let mut dice = Dice::new(count as u64);
    keys.into_iter().map(|key| (key, crate::program::value(&mut dice, taste, 512))).collect()
}

fn load(rig: &Rig, txn: &mut campanile_txn::Txn, pairs: &[Pair]) -> Result<u64, TreeError> {
    rig.tree().bulk_load(txn, pairs.iter().cloned().map(Ok::<_, Infallible>))
}

#[test]
fn a_loaded_tree_is_like_any_other() {
    for (count, adversarial, large) in [
        (0, false, 0),
        (1, false, 0),
        (5, true, 0),
        (700, false, 0),
        (700, true, 0),
        (300, true, 4),
    ] {
        let rig = Rig::new(Sizes::default());
        let pairs = sorted(count, adversarial, large);
        let mut txn = rig.begin();
        assert_eq!(load(&rig, &mut txn, &pairs).unwrap(), pairs.len() as u64);
        rig.commit(txn);
        rig.verify();
        assert!(rig.pairs() == pairs);
        let mut txn = rig.begin();
        for (index, (key, _)) in pairs.iter().enumerate() {
            match index % 3 {
                0 => assert!(rig.tree().delete(&mut txn, key).unwrap()),
                1 => assert!(rig.tree().put(&mut txn, key, &[1; 100]).unwrap()),
                _ => assert!(!rig.tree().insert(&mut txn, key, b"").unwrap()),
            }
        }
        rig.abort(txn);
        assert!(rig.pairs() == pairs);
        rig.clean_all();
        rig.verify();
        let rig = rig.reopen();
        rig.verify();
        assert!(rig.pairs() == pairs);
    }
}

#[test]
fn a_load_fills_its_pages() {
    let rig = Rig::new(Sizes { page_bytes: 4096, ..Sizes::default() });
    let pairs: Vec<Pair> = (0..5000_u32)
        .map(|number| (format!("key {number:08}").into_bytes(), vec![1; 60]))
        .collect();
    let mut txn = rig.begin();
    load(&rig, &mut txn, &pairs).unwrap();
    rig.commit(txn);
    let stats = rig.verify().stats;
    assert!((90..=95).contains(&stats.leaf_fill_percent()), "{stats:?}");
}

#[test]
fn a_rolled_back_load_leaves_an_untouched_tree() {
    let rig = Rig::new(Sizes::default());
    let pairs = sorted(600, true, 5);
    for round in 0..3 {
        let mut txn = rig.begin();
        load(&rig, &mut txn, &pairs).unwrap();
        if round > 0 {
            // Own uncommitted data is changed before the rollback.
            for (key, _) in pairs.iter().step_by(2) {
                rig.tree().delete(&mut txn, key).unwrap();
            }
            for number in 0..200_u32 {
                rig.tree().put(&mut txn, &number.to_le_bytes(), &[5; 150]).unwrap();
            }
        }
        rig.abort(txn);
        assert!(rig.tree().is_untouched().unwrap());
        rig.verify();
    }
    let mut txn = rig.begin();
    load(&rig, &mut txn, &pairs).unwrap();
    rig.commit(txn);
    rig.verify();
    assert!(rig.pairs() == pairs);
}

#[test]
fn a_load_into_a_used_tree_puts_pair_by_pair() {
    let rig = Rig::new(Sizes::default());
    let mut txn = rig.begin();
    rig.tree().put(&mut txn, b"\xff\xff there before", b"stays").unwrap();
    rig.commit(txn);
    let mut pairs = sorted(200, true, 6);
    let mut txn = rig.begin();
    assert_eq!(load(&rig, &mut txn, &pairs).unwrap(), pairs.len() as u64);
    rig.commit(txn);
    pairs.push((b"\xff\xff there before".to_vec(), b"stays".to_vec()));
    pairs.sort();
    assert!(rig.pairs() == pairs);
    rig.verify();
}

#[test]
fn a_load_that_fails_leaves_nothing() {
    let rig = Rig::new(Sizes::default());
    let mut pairs = sorted(300, false, 7);
    pairs.swap(100, 101);
    let mut txn = rig.begin();
    let error = load(&rig, &mut txn, &pairs).unwrap_err();
    assert!(matches!(error, TreeError::NotAscending { index: 101 }), "{error}");
    assert!(rig.tree().is_untouched().unwrap());
    let input = (0..500_u32).map(|number| match number {
        400 => Err("line 401 is no pair"),
        _ => Ok((format!("{number:04}"), "value")),
    });
    let error = rig.tree().bulk_load(&mut txn, input).unwrap_err();
    assert_eq!(error.to_string(), "the input failed: line 401 is no pair");
    rig.commit(txn);
    assert!(rig.pairs().is_empty());
    rig.verify();
}

#[test]
fn a_snapshot_from_before_a_load_does_not_see_it() {
    let rig = Rig::new(Sizes::default());
    let snapshot = rig.txns.snapshot().unwrap();
    let mut txn = rig.begin();
    load(&rig, &mut txn, &sorted(100, false, 0)).unwrap();
    rig.commit(txn);
    let found = rig.tree().find(Reader::Snapshot(&snapshot), campanile_btree::Seek::First);
    match found {
        Ok(found) => assert_eq!(found, None),
        Err(error) => assert!(error.is_snapshot_too_old().is_some(), "{error}"),
    }
}
