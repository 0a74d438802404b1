//! Single operations.

use campanile_btree::{Reader, Seek, TreeError};

use crate::rig::{Dice, Rig, Sizes};

#[test]
fn what_is_put_is_found_and_what_is_deleted_is_not() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    assert!(!tree.put(&mut txn, b"alice", b"100").unwrap());
    assert!(tree.put(&mut txn, b"alice", b"90").unwrap());
    assert!(!tree.put(&mut txn, b"bob", b"").unwrap());
    assert_eq!(tree.get(Reader::Txn(&mut txn), b"alice").unwrap().unwrap(), b"90");
    assert_eq!(tree.get(Reader::Txn(&mut txn), b"bob").unwrap().unwrap(), b"");
    assert_eq!(tree.get(Reader::Txn(&mut txn), b"carol").unwrap(), None);
    assert!(tree.delete(&mut txn, b"alice").unwrap());
    assert!(!tree.delete(&mut txn, b"alice").unwrap());
    assert_eq!(tree.get(Reader::Txn(&mut txn), b"alice").unwrap(), None);
    rig.commit(txn);
    assert_eq!(rig.pairs(), [(b"bob".to_vec(), Vec::new())]);
    rig.verify();
}

#[test]
fn insert_and_replace_mind_what_is_there() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    assert!(!tree.replace(&mut txn, b"k", b"0").unwrap());
    assert!(tree.insert(&mut txn, b"k", b"1").unwrap());
    assert!(!tree.insert(&mut txn, b"k", b"2").unwrap());
    assert!(!tree.insert(&mut txn, b"k", &[2; 1000]).unwrap());
    assert!(tree.replace(&mut txn, b"k", &[3; 1000]).unwrap());
    assert!(!tree.replace(&mut txn, b"other", &[3; 1000]).unwrap());
    assert!(tree.delete(&mut txn, b"k").unwrap());
    assert!(!tree.replace(&mut txn, b"k", b"4").unwrap(), "a ghost is not there");
    assert!(tree.insert(&mut txn, b"k", b"5").unwrap(), "a ghost does not stand in the way");
    assert_eq!(tree.get(Reader::Txn(&mut txn), b"k").unwrap().unwrap(), b"5");
    rig.commit(txn);
    rig.verify();
}

#[test]
fn keys_may_be_empty_or_as_long_as_a_quarter_page_but_no_longer() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    tree.put(&mut txn, b"", b"empty").unwrap();
    tree.put(&mut txn, &[9; 128], b"longest").unwrap();
    let error = tree.put(&mut txn, &[9; 129], b"longer").unwrap_err();
    assert!(matches!(error, TreeError::KeyTooLong { len: 129, max: 128 }));
    assert_eq!(tree.get(Reader::Txn(&mut txn), b"").unwrap().unwrap(), b"empty");
    assert_eq!(tree.get(Reader::Txn(&mut txn), &[9; 129]).unwrap(), None);
    assert!(!tree.delete(&mut txn, &[9; 129]).unwrap());
    rig.commit(txn);
    rig.verify();
}

#[test]
fn neighbours_are_found_from_every_side() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    for number in (10..2000_u32).step_by(10) {
        tree.put(&mut txn, format!("{number:05}").as_bytes(), &[1; 20]).unwrap();
    }
    let mut find = |seek: Seek<'_>| {
        let found = tree.find(Reader::Txn(&mut txn), seek).unwrap();
        found.map(|(key, _)| String::from_utf8(key).unwrap())
    };
    let some = |key: &str| Some(key.to_owned());
    assert_eq!(find(Seek::First), some("00010"));
    assert_eq!(find(Seek::Last), some("01990"));
    for number in (10..2000_u32).step_by(10) {
        let (here, below) = (format!("{number:05}"), format!("{:05}", number - 1));
        assert_eq!(find(Seek::AtLeast(below.as_bytes())), some(&here));
        assert_eq!(find(Seek::Above(below.as_bytes())), some(&here));
        assert_eq!(find(Seek::AtLeast(here.as_bytes())), some(&here));
        assert_eq!(find(Seek::AtMost(here.as_bytes())), some(&here));
        assert_eq!(find(Seek::Exactly(here.as_bytes())), some(&here));
        assert_eq!(find(Seek::Exactly(below.as_bytes())), None);
        let next = (number < 1990).then(|| format!("{:05}", number + 10));
        assert_eq!(find(Seek::Above(here.as_bytes())), next);
        let prev = (number > 10).then(|| format!("{:05}", number - 10));
        assert_eq!(find(Seek::Below(here.as_bytes())), prev);
        assert_eq!(find(Seek::AtMost(below.as_bytes())), prev);
    }
    rig.commit(txn);
}

#[test]
fn ascending_keys_fill_their_pages() {
    let rig = Rig::new(Sizes { page_bytes: 4096, ..Sizes::default() });
    let tree = rig.tree();
    let mut txn = rig.begin();
    for number in 0..3000_u32 {
        tree.put(&mut txn, format!("key {number:08}").as_bytes(), &[5; 60]).unwrap();
    }
    rig.commit(txn);
    let report = rig.verify();
    assert_eq!(report.stats.entries, 3000);
    // The last leaf has no upper fence, so its keys are whole until it is left behind.
    assert!(report.stats.leaf_fill_percent() >= 85, "{:?}", report.stats);
}

#[test]
fn random_keys_fill_their_pages_by_two_thirds_and_survive_a_reopen() {
    let rig = Rig::new(Sizes { page_bytes: 1024, ..Sizes::default() });
    let mut dice = Dice::new(3);
    let mut txn = rig.begin();
    for _ in 0..3000 {
        rig.tree().put(&mut txn, &dice.bytes(16), &[5; 30]).unwrap();
    }
    rig.commit(txn);
    let report = rig.verify();
    assert_eq!(report.stats.entries, 3000);
    assert!((60..80).contains(&report.stats.leaf_fill_percent()), "{:?}", report.stats);
    let before = rig.pairs();
    let rig = rig.reopen();
    assert_eq!(rig.verify().stats, report.stats);
    assert!(rig.pairs() == before);
}

#[test]
fn a_file_that_is_not_durable_works_alike() {
    let rig = Rig::durable(Sizes::default(), false);
    let mut dice = Dice::new(5);
    let mut txn = rig.begin();
    for number in 0..600_u32 {
        rig.tree().put(&mut txn, &number.to_le_bytes(), &dice.bytes(10)).unwrap();
    }
    rig.commit(txn);
    let before = rig.pairs();
    let mut txn = rig.begin();
    for number in 0..600_u32 {
        if number % 3 == 0 {
            rig.tree().delete(&mut txn, &number.to_le_bytes()).unwrap();
        } else {
            rig.tree().put(&mut txn, &number.to_le_bytes(), &[1; 200]).unwrap();
        }
    }
    rig.abort(txn);
    assert!(rig.pairs() == before);
    rig.verify();
}
