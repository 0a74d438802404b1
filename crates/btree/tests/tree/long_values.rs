//! Values that do not fit a page.

use std::io::Read;

use campanile_btree::{PurgeReport, Reader};

use crate::rig::{Dice, Rig, Sizes};

/// Pages in one group of 512-byte pages: more than a value of this many times 448 bytes needs.
const GROUP_PAGES: usize = (512 - 64) * 8;

#[test]
fn values_around_every_limit_come_back() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    let lengths = [0, 1, 127, 128, 129, 200, 447, 448, 449, 895, 896, 897, 4000];
    for (index, len) in lengths.into_iter().enumerate() {
        for key_len in [1, 64, 128] {
            let key = vec![index as u8; key_len];
            tree.put(&mut txn, &key, &Dice::new(len as u64 + 1).bytes(len)).unwrap();
        }
    }
    rig.commit(txn);
    rig.verify();
    for (index, len) in lengths.into_iter().enumerate() {
        let expected = Dice::new(len as u64 + 1).bytes(len);
        for key_len in [1, 64, 128] {
            let key = vec![index as u8; key_len];
            assert_eq!(tree.get(Reader::Uncommitted, &key).unwrap().unwrap(), expected);
            let mut streamed = Vec::new();
            let mut reader = tree.value_reader(Reader::Uncommitted, &key).unwrap().unwrap();
            assert_eq!(reader.len(), len as u64);
            reader.read_to_end(&mut streamed).unwrap();
            assert_eq!(streamed, expected);
            let mut reader = tree.value_reader(Reader::Uncommitted, &key).unwrap().unwrap();
            let mut pieces = Vec::new();
            while let Some(piece) = reader.next_piece().unwrap() {
                assert!(piece.len() <= 512);
                pieces.extend_from_slice(piece);
            }
            assert_eq!(pieces, expected);
        }
    }
}

#[test]
fn a_value_larger_than_a_group_of_pages_takes_several_extents() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let value = Dice::new(1).bytes(GROUP_PAGES * 448 * 5 / 4);
    let mut txn = rig.begin();
    tree.put(&mut txn, b"huge", &value).unwrap();
    rig.commit(txn);
    assert!(tree.get(Reader::Uncommitted, b"huge").unwrap().unwrap() == value);
    let report = rig.verify();
    assert_eq!(report.stats.overflow_pages, value.len().div_ceil(448) as u64);
    let mut txn = rig.begin();
    assert!(tree.put(&mut txn, b"huge", b"small").unwrap());
    rig.commit(txn);
    assert_eq!(rig.verify().stats.buried_pages, value.len().div_ceil(448) as u64);
    let purged = rig.forest.purge_graveyard(&rig.txns).unwrap();
    assert_eq!(purged.pages, value.len().div_ceil(448) as u64);
    assert!(purged.rows >= 2, "{purged:?}");
    let report = rig.verify();
    assert_eq!((report.stats.buried_pages, report.stats.overflow_pages), (0, 0));
    assert!(tree.is_untouched().is_ok_and(|untouched| !untouched));
}

#[test]
fn pages_of_a_deleted_value_are_used_again() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut highest = 0;
    for round in 0..20_u8 {
        let mut txn = rig.begin();
        tree.put(&mut txn, b"k", &vec![round; 30_000]).unwrap();
        rig.commit(txn);
        rig.clean_all();
        rig.verify();
        highest = rig.txns.store().page_count(rig.file).unwrap();
    }
    assert!(highest < 300, "{highest} pages for one value of 67");
}

#[test]
fn a_value_put_and_deleted_in_one_transaction_is_buried_once() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    tree.put(&mut txn, b"k", &[1; 5000]).unwrap();
    tree.put(&mut txn, b"k", &[2; 6000]).unwrap();
    assert!(tree.delete(&mut txn, b"k").unwrap());
    tree.put(&mut txn, b"k", &[3; 7000]).unwrap();
    rig.commit(txn);
    rig.verify();
    let purged = rig.forest.purge_graveyard(&rig.txns).unwrap();
    assert_eq!(purged.rows, 2);
    assert_eq!(rig.verify().stats.overflow_pages, 7000_u64.div_ceil(448));
    assert_eq!(rig.forest.purge_graveyard(&rig.txns).unwrap(), PurgeReport::default());
}

#[test]
fn an_abort_frees_new_extents_and_digs_up_old_ones() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    tree.put(&mut txn, b"k", &[1; 9000]).unwrap();
    tree.put(&mut txn, b"l", &[1; 800]).unwrap();
    rig.commit(txn);
    let before = rig.verify().stats;
    let mut txn = rig.begin();
    tree.put(&mut txn, b"k", &[2; 20_000]).unwrap();
    tree.delete(&mut txn, b"l").unwrap();
    tree.put(&mut txn, b"m", &[2; 2000]).unwrap();
    rig.abort(txn);
    let mut after = rig.verify().stats;
    assert_eq!(after.ghosts, 1, "the insert of m");
    after.ghosts = 0;
    after.leaf_used_bytes = before.leaf_used_bytes;
    assert_eq!(after, before);
    assert!(tree.get(Reader::Uncommitted, b"k").unwrap().unwrap() == [1; 9000]);
    assert_eq!(rig.forest.purge_graveyard(&rig.txns).unwrap(), PurgeReport::default());
}

#[test]
fn the_graveyard_waits_for_the_snapshot_that_still_reads() {
    let rig = Rig::new(Sizes::default());
    let tree = rig.tree();
    let mut txn = rig.begin();
    tree.put(&mut txn, b"k", &[1; 9000]).unwrap();
    rig.commit(txn);
    let snapshot = rig.txns.snapshot().unwrap();
    let mut txn = rig.begin();
    tree.delete(&mut txn, b"k").unwrap();
    rig.commit(txn);
    assert_eq!(rig.forest.purge_graveyard(&rig.txns).unwrap(), PurgeReport::default());
    rig.clean_all();
    let seen = tree.get(Reader::Snapshot(&snapshot), b"k").unwrap();
    assert!(seen.unwrap() == [1; 9000]);
    drop(snapshot);
    assert_eq!(rig.forest.purge_graveyard(&rig.txns).unwrap().rows, 1);
    assert_eq!(rig.verify().stats.overflow_pages, 0);
}

#[test]
fn a_dropped_file_is_removed_once_nobody_needs_it() {
    let rig = Rig::new(Sizes::default());
    let mut txn = rig.begin();
    rig.tree().put(&mut txn, b"k", &[1; 9000]).unwrap();
    rig.tree().put(&mut txn, b"k", b"small").unwrap();
    rig.commit(txn);
    let mut txn = rig.begin();
    rig.forest.bury_file(&rig.txns, &mut txn, rig.file).unwrap();
    rig.abort(txn);
    rig.verify();
    let mut txn = rig.begin();
    rig.forest.bury_file(&rig.txns, &mut txn, rig.file).unwrap();
    rig.commit(txn);
    let purged = rig.forest.purge_graveyard(&rig.txns).unwrap();
    assert_eq!((purged.rows, purged.files), (2, 1));
    assert!(rig.tree().get(Reader::Uncommitted, b"k").is_err());
}

#[test]
fn the_cleaner_gets_through_a_graveyard_of_many_leaves() {
    let rig = Rig::new(Sizes { frames: 64, ..Sizes::default() });
    let tree = rig.tree();
    let mut txn = rig.begin();
    for number in 0..600_u32 {
        tree.put(&mut txn, &number.to_le_bytes(), &[1; 700]).unwrap();
    }
    rig.commit(txn);
    let snapshot = rig.txns.snapshot().unwrap();
    let mut txn = rig.begin();
    for number in 0..600_u32 {
        tree.delete(&mut txn, &number.to_le_bytes()).unwrap();
    }
    rig.commit(txn);
    rig.clean_all();
    let waiting = rig.verify().stats;
    assert_eq!((waiting.buried_pages, waiting.ghosts), (1200, 600), "a snapshot may read them");
    drop(snapshot);
    rig.clean_all();
    let stats = rig.verify().stats;
    assert_eq!((stats.buried_pages, stats.ghosts, stats.leaf_pages), (0, 0, 1), "{stats:?}");
    assert!(tree.is_untouched().unwrap());
    let graves = rig.forest.tree(&rig.txns, campanile_format::FileId::GRAVEYARD);
    assert!(graves.is_untouched().unwrap(), "{:?}", graves.stats());
}
