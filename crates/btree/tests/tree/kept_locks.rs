//! Locks that are given back before the transaction ends, and those that must not be.

use std::io::Read;
use std::time::{Duration, Instant};

use campanile_btree::{Cursor, Reader, Seek, TreeError};
use campanile_txn::{Access, Isolation, Txn, TxnOptions};

use crate::rig::{Rig, Sizes};
use crate::threads::lost;

fn key(number: u32) -> Vec<u8> {
    format!("{number:05}").into_bytes()
}

/// Records 0 to 199; the values of 30 and 40 are long.
fn rig() -> Rig {
    let rig = Rig::new(Sizes { frames: 128, ..Sizes::default() });
    let mut txn = rig.begin();
    for number in 0..200 {
        let value = if number == 30 || number == 40 { vec![b'a'; 3000] } else { b"old".to_vec() };
        rig.tree().put(&mut txn, &key(number), &value).unwrap();
    }
    rig.commit(txn);
    rig
}

fn begin(rig: &Rig, isolation: Isolation) -> Txn {
    let mut options = TxnOptions::default();
    options.isolation = isolation;
    rig.txns.begin(options).unwrap()
}

/// Whether a stranger could write the record at this moment.
fn is_writable(rig: &Rig, number: u32) -> bool {
    let mut options = TxnOptions::default();
    options.no_wait = true;
    let mut stranger = rig.txns.begin(options).unwrap();
    let written = rig.tree().put(&mut stranger, &key(number), b"stranger");
    rig.abort(stranger);
    match written {
        Ok(_) => true,
        Err(error) => {
            assert!(lost(&error), "{error}");
            false
        }
    }
}

fn stand(rig: &Rig, txn: &mut Txn, cursor: &mut Cursor, number: u32) {
    let tree = rig.tree();
    assert!(cursor.seek(&tree, Reader::Txn(txn), Seek::Exactly(&key(number))).unwrap());
}

#[test]
fn a_record_that_two_cursors_stand_on_is_locked_until_the_second_has_left() {
    let rig = rig();
    for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
        let mut txn = begin(&rig, isolation);
        let (mut first, mut second) = (Cursor::new(), Cursor::new());
        stand(&rig, &mut txn, &mut first, 30);
        stand(&rig, &mut txn, &mut second, 30);
        stand(&rig, &mut txn, &mut first, 50);
        assert!(!is_writable(&rig, 30), "{isolation:?}: the second cursor stands on it");
        stand(&rig, &mut txn, &mut first, 30);
        drop(second);
        assert!(!is_writable(&rig, 30), "{isolation:?}: the first cursor stands on it again");
        stand(&rig, &mut txn, &mut first, 50);
        assert!(is_writable(&rig, 30), "{isolation:?}: nobody stands on it");
        rig.commit(txn);
    }
}

#[test]
fn a_cursor_that_comes_again_to_where_it_stands_keeps_the_record_locked() {
    let rig = rig();
    let mut txn = begin(&rig, Isolation::ReadCommitted);
    let mut cursor = Cursor::new();
    for _ in 0..3 {
        stand(&rig, &mut txn, &mut cursor, 30);
        assert!(!is_writable(&rig, 30));
    }
    rig.tree().get(Reader::Txn(&mut txn), &key(30)).unwrap();
    assert!(!is_writable(&rig, 30), "one look more gives nothing back");
    drop(cursor);
    assert!(is_writable(&rig, 30));
    rig.commit(txn);
}

#[test]
fn a_value_that_is_read_in_pieces_stays_although_a_cursor_leaves_the_record() {
    let rig = rig();
    let tree = rig.tree();
    for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
        let mut txn = begin(&rig, isolation);
        let mut cursor = Cursor::new();
        stand(&rig, &mut txn, &mut cursor, 30);
        let mut value = tree.value_reader(Reader::Txn(&mut txn), &key(30)).unwrap().unwrap();
        stand(&rig, &mut txn, &mut cursor, 50);
        assert!(!is_writable(&rig, 30), "{isolation:?}: its value is being read");
        let mut bytes = Vec::new();
        value.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [b'a'; 3000]);
        rig.commit(txn);
        assert!(is_writable(&rig, 30));
    }
}

#[test]
fn a_value_that_a_child_began_to_read_stays_although_a_cursor_of_its_parent_leaves() {
    let rig = rig();
    let mut parent = begin(&rig, Isolation::ReadCommitted);
    let mut cursor = Cursor::new();
    stand(&rig, &mut parent, &mut cursor, 30);
    let mut child = rig.txns.begin_child(&parent).unwrap();
    rig.tree().value_reader(Reader::Txn(&mut child), &key(30)).unwrap().unwrap();
    rig.txns.commit_child(child).unwrap();
    stand(&rig, &mut parent, &mut cursor, 50);
    assert!(!is_writable(&rig, 30), "the child has left its lock to the parent");
    rig.commit(parent);
    assert!(is_writable(&rig, 30));
}

#[test]
fn a_scan_that_reads_committed_data_holds_the_record_it_stands_on_and_no_other() {
    let rig = rig();
    let tree = rig.tree();
    let mut txn = begin(&rig, Isolation::ReadCommitted);
    let mut cursor = Cursor::new();
    for number in 0..60 {
        assert!(cursor.next(&tree, Reader::Txn(&mut txn)).unwrap());
        assert!(!is_writable(&rig, number));
        assert!(number == 0 || is_writable(&rig, number - 1));
        assert!(is_writable(&rig, number + 1));
    }
    rig.commit(txn);
}

#[test]
fn a_dirty_reader_that_goes_on_holds_the_long_value_behind_it_no_more() {
    let rig = rig();
    let tree = rig.tree();
    let mut txn = begin(&rig, Isolation::ReadUncommitted);
    let mut cursor = Cursor::new();
    assert!(cursor.seek(&tree, Reader::Txn(&mut txn), Seek::Exactly(&key(30))).unwrap());
    assert!(!is_writable(&rig, 30), "its pages must stay");
    assert!(cursor.next(&tree, Reader::Txn(&mut txn)).unwrap());
    assert!(is_writable(&rig, 30));
    rig.commit(txn);
}

#[test]
fn a_read_that_fails_gives_its_lock_back() {
    let rig = rig().reopen();
    damage_long_values(&rig);
    let tree = rig.tree();
    let mut txn = begin(&rig, Isolation::ReadCommitted);
    let failed = tree.get(Reader::Txn(&mut txn), &key(30));
    assert!(failed.as_ref().is_err_and(TreeError::is_corruption), "{failed:?}");
    assert_eq!(rig.txns.lock_stats().grants, 1, "the lock on the file");
    rig.commit(txn);
}

/// Flips a bit in every page that is no node, beyond the first space map.
fn damage_long_values(rig: &Rig) {
    let path = rig.home.join("data").join(campanile_format::names::data_file(rig.file));
    let file = rig.host.vfs.open(&path, campanile_vfs::Open::ReadWrite).unwrap();
    let mut page = vec![0; rig.sizes.page_bytes];
    for number in 2..rig.txns.store().page_count(rig.file).unwrap() {
        let at = u64::from(number) * page.len() as u64;
        file.read_exact_at(&mut page, at).unwrap();
        if !campanile_format::Node::new(campanile_format::Plain(&page)).is_node() {
            page[100] ^= 1;
            file.write_all_at(&page, at).unwrap();
        }
    }
}

#[test]
fn what_a_transaction_changed_stays_locked_when_it_is_dropped_before_its_end() {
    let rig = rig();
    let mut dropped = rig.begin();
    rig.tree().put(&mut dropped, &key(7), b"dirty").unwrap();
    drop(dropped);
    assert!(!is_writable(&rig, 7), "nobody may build upon it");
    assert!(is_writable(&rig, 8));
    let mut dropped = rig.begin();
    rig.tree().get(Reader::Txn(&mut dropped), &key(9)).unwrap();
    drop(dropped);
    assert!(is_writable(&rig, 9), "there is nothing to hide");
}

#[test]
fn a_parent_whose_child_was_dropped_with_changes_still_has_that_child() {
    let rig = rig();
    let parent = rig.begin();
    let mut reads = rig.txns.begin_child(&parent).unwrap();
    rig.tree().get(Reader::Txn(&mut reads), &key(7)).unwrap();
    drop(reads);
    assert_eq!(parent.live_children(), 0);
    let mut writes = rig.txns.begin_child(&parent).unwrap();
    rig.tree().put(&mut writes, &key(7), b"dirty").unwrap();
    drop(writes);
    assert_eq!(parent.live_children(), 1);
    assert!(!is_writable(&rig, 7));
}

#[test]
fn whoever_waits_for_a_transaction_that_is_dropped_in_a_poisoned_environment_goes_on() {
    let rig = rig();
    let mut dropped = rig.begin();
    rig.tree().put(&mut dropped, &key(7), b"dirty").unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let mut options = TxnOptions::default();
            options.isolation = Isolation::ReadCommitted;
            options.lock_timeout_us = Some(10_000_000);
            let mut txn = rig.txns.begin(options).unwrap();
            rig.tree().get(Reader::Txn(&mut txn), &key(7))
        });
        while rig.txns.lock_stats().waiting == 0 {
            std::thread::yield_now();
        }
        rig.txns.poison().strike("a test");
        drop(dropped);
        let seen = waits.join().unwrap();
        assert!(seen.as_ref().is_err_and(|error| !lost(error)), "not told of the poison: {seen:?}");
    });
}

/// Each waits for a transaction that will never end; nobody would wake it for ten minutes.
#[test]
fn every_kind_of_wait_ends_at_once_with_the_cause_when_the_environment_is_poisoned() {
    type Waits = fn(&Rig, &mut Txn) -> Result<(), TreeError>;
    let waits: [(&str, Waits); 6] = [
        ("a read", |rig, txn| rig.tree().get(Reader::Txn(txn), &key(7)).map(drop)),
        ("a write", |rig, txn| rig.tree().put(txn, &key(7), b"new").map(drop)),
        ("a scan", |rig, txn| {
            Cursor::new().seek(&rig.tree(), Reader::Txn(txn), Seek::AtLeast(&key(7))).map(drop)
        }),
        ("an insert", |rig, txn| rig.tree().put(txn, b"00031x", b"new").map(drop)),
        ("a drop", |rig, txn| Ok(rig.txns.lock_whole(txn, rig.file, Access::Write).map(drop)?)),
        ("a check", |rig, txn| Ok(rig.txns.stop_changes(txn, rig.file)?)),
    ];
    for (what, wait) in waits {
        let rig = rig();
        let mut holder = rig.begin();
        rig.tree().put(&mut holder, &key(7), b"dirty").unwrap();
        let mut cursor = Cursor::new();
        cursor.seek(&rig.tree(), Reader::Txn(&mut holder), Seek::AtLeast(&key(30))).unwrap();
        while cursor.key().is_some_and(|at| at < key(40).as_slice()) {
            assert!(cursor.next(&rig.tree(), Reader::Txn(&mut holder)).unwrap());
        }
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut options = TxnOptions::default();
                options.lock_timeout_us = Some(30_000_000);
                let mut txn = rig.txns.begin(options).unwrap();
                wait(&rig, &mut txn)
            });
            while rig.txns.lock_stats().waiting == 0 {
                assert!(!waiter.is_finished(), "{what} does not wait: {:?}", waiter.join());
                std::thread::yield_now();
            }
            rig.txns.poison().strike("a failed sync");
            let told = waiter.join().unwrap().expect_err("nobody gave the lock back");
            assert!(told.to_string().contains("poisoned since a failed sync"), "{what}: {told}");
        });
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} was not woken");
    }
}

#[test]
fn a_transaction_that_ends_leaves_no_lock_whatever_its_end() {
    let rig = rig();
    let tree = rig.tree();
    for end in 0..4 {
        let mut txn = rig.begin();
        let mut child = rig.txns.begin_child(&txn).unwrap();
        tree.put(&mut child, &key(3), b"child").unwrap();
        match end % 2 {
            0 => drop(rig.txns.commit_child(child).unwrap()),
            _ => rig.abort(child),
        }
        tree.put(&mut txn, &key(7), b"parent").unwrap();
        match end / 2 {
            0 => rig.commit(txn),
            _ => rig.abort(txn),
        }
        let stats = rig.txns.lock_stats();
        assert_eq!((stats.grants, stats.owners), (0, 0), "end {end}");
    }
}
