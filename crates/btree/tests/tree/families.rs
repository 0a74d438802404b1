//! Families of transactions, escalation and preparation together: what a parent, a child or a
//! prepared transaction has locked keeps strangers out, however the locks came to it and whatever
//! became of them since.

use std::io::Read;

use campanile_btree::{Cursor, Reader, Seek, Tree};
use campanile_format::record::{TxnEntry, TxnState};
use campanile_txn::{Access, Isolation, Place, Txn, TxnOptions};

use crate::rig::{Rig, Sizes};
use crate::threads::lost;

fn key(number: u32) -> Vec<u8> {
    format!("{number:05}").into_bytes()
}

fn begin(rig: &Rig, isolation: Isolation, no_wait: bool) -> Txn {
    let mut options = TxnOptions::default();
    options.isolation = isolation;
    options.no_wait = no_wait;
    rig.txns.begin(options).unwrap()
}

/// Two hundred records; so many locks on keys become one on the file.
fn rig(escalate_after: u64) -> Rig {
    let rig = Rig::new(Sizes { frames: 128, escalate_after, ..Sizes::default() });
    let mut txn = rig.begin();
    for number in 0..200 {
        rig.tree().put(&mut txn, &key(number), b"old").unwrap();
    }
    rig.commit(txn);
    rig
}

#[test]
fn a_parent_that_escalates_keeps_what_its_child_has_written() {
    let rig = rig(50);
    let tree = rig.tree();
    let mut parent = rig.begin();
    assert!(tree.get(Reader::Txn(&mut parent), &key(1)).unwrap().is_some());
    let mut child = rig.txns.begin_child(&parent).unwrap();
    tree.put(&mut child, &key(7), b"dirty").unwrap();
    rig.txns.commit_child(child).unwrap();
    for number in 100..190 {
        tree.get(Reader::Txn(&mut parent), &key(number)).unwrap();
    }
    let mut other = begin(&rig, Isolation::Serializable, true);
    let seen = tree.get(Reader::Txn(&mut other), &key(7));
    rig.abort(other);
    rig.abort(parent);
    assert!(seen.as_ref().is_err_and(lost), "a stranger saw {seen:?}");
}

#[test]
fn a_parent_that_has_locked_the_file_does_not_see_what_its_child_has_not_committed() {
    let rig = rig(50_000);
    let tree = rig.tree();
    let mut parent = begin(&rig, Isolation::Serializable, true);
    rig.txns.lock_whole(&mut parent, rig.file, Access::Write).unwrap();
    let mut child = rig.txns.begin_child(&parent).unwrap();
    tree.put(&mut child, &key(7), b"dirty").unwrap();
    let seen = tree.get(Reader::Txn(&mut parent), &key(7));
    rig.abort(child);
    rig.abort(parent);
    assert!(seen.as_ref().is_err_and(lost), "the parent saw {seen:?}");
}

#[test]
fn a_gap_that_a_parent_has_scanned_stays_closed_when_a_child_that_escalated_rolls_back() {
    let rig = rig(50);
    let tree = rig.tree();
    let mut parent = rig.begin();
    let mut cursor = Cursor::new();
    assert!(cursor.seek(&tree, Reader::Txn(&mut parent), Seek::AtLeast(&key(30))).unwrap());
    for _ in 0..5 {
        assert!(cursor.next(&tree, Reader::Txn(&mut parent)).unwrap());
    }
    let mut child = rig.txns.begin_child(&parent).unwrap();
    for number in 100..190 {
        tree.put(&mut child, &key(number), b"child").unwrap();
    }
    assert!(child.has_whole(rig.file, Access::Write), "it has escalated");
    tree.put(&mut child, b"00032x", b"child").unwrap();
    rig.abort(child);
    for phantom in [&b"00032x"[..], b"00032m"] {
        let mut other = begin(&rig, Isolation::Serializable, true);
        let inserted = tree.insert(&mut other, phantom, b"phantom");
        rig.abort(other);
        assert!(inserted.as_ref().is_err_and(lost), "a phantom got in: {inserted:?}");
    }
    rig.abort(parent);
}

/// It is the victim of the deadlock, and must hold nothing back while it waits for its turn.
#[test]
fn a_prepared_transaction_that_meets_a_verification_in_its_rollback_is_rolled_back_afterwards() {
    let rig = rig(50_000);
    let tree = rig.tree();
    let mut txn = rig.begin();
    let second = rig.txns.create_file(&mut txn, true).unwrap();
    rig.commit(txn);
    let mut prepared = rig.begin();
    let other_tree = rig.forest.tree(&rig.txns, second);
    other_tree.put(&mut prepared, b"k", b"dirty").unwrap();
    tree.put(&mut prepared, &key(7), b"dirty").unwrap();
    rig.txns.prepare(prepared, b"gid").unwrap();
    let mut options = TxnOptions::default();
    options.priority = u32::MAX;
    let mut check = rig.txns.begin(options).unwrap();
    rig.txns.stop_changes(&mut check, rig.file).unwrap();
    let aborted = std::thread::scope(|scope| {
        let abort = scope.spawn(|| rig.txns.abort_prepared(b"gid"));
        while rig.txns.lock_stats().waiting == 0 {
            std::thread::yield_now();
        }
        rig.txns.stop_changes(&mut check, second).unwrap();
        rig.abort(check);
        abort.join().unwrap()
    });
    let mut other = begin(&rig, Isolation::Serializable, true);
    let seen = tree.get(Reader::Txn(&mut other), &key(7));
    rig.abort(other);
    let again = rig.txns.abort_prepared(b"gid");
    let fine = aborted.is_ok() || (again.is_ok() && seen.is_err());
    assert!(fine, "abort: {aborted:?}; a stranger sees {seen:?}; again: {again:?}");
}

/// The first one to get its locks back must not take the file and keep the second one out.
#[test]
fn prepared_transactions_with_many_locks_are_all_kept_over_a_restart() {
    let rig = rig(50);
    let tree = rig.tree();
    let (mut large, mut small) = (rig.begin(), rig.begin());
    tree.put(&mut small, &key(7), b"small").unwrap();
    for number in 100..180 {
        tree.put(&mut large, &key(number), b"large").unwrap();
    }
    rig.txns.prepare(large, b"large").unwrap();
    rig.txns.prepare(small, b"small").unwrap();
    let mut found: Vec<_> = rig.txns.prepared();
    found.sort_by_key(|known| known.id);
    let rig = rig.reopen();
    let (send, done) = std::sync::mpsc::channel();
    let txns = std::sync::Arc::clone(&rig.txns);
    std::thread::spawn(move || {
        for known in found {
            let (id, first, last) = (known.id, known.first, known.last);
            let state = TxnState::Prepared;
            let entry = TxnEntry { id, first, last, undo_next: last, state };
            send.send(txns.keep_prepared(&entry)).unwrap();
        }
    });
    for which in ["large", "small"] {
        let kept = done.recv_timeout(std::time::Duration::from_secs(20));
        assert!(matches!(kept, Ok(Ok(()))), "{which}: {kept:?}, {:?}", rig.txns.lock_stats());
    }
}

/// The child's lock is to stay with the parent, whose own is to be given back in a moment.
#[test]
fn a_lock_that_a_child_hands_over_while_its_parent_looks_there_stays() {
    let rig = rig(50_000);
    let tree = rig.tree();
    let mut parent = begin(&rig, Isolation::ReadCommitted, false);
    rig.txns.lock_file(&mut parent, rig.file, Access::Write).unwrap();
    let brief = rig.txns.lock_briefly(&mut parent, rig.file, &key(7)).unwrap().unwrap();
    let mut child = rig.txns.begin_child(&parent).unwrap();
    let mut value = tree.value_reader(Reader::Txn(&mut child), &key(7)).unwrap().unwrap();
    assert_eq!(value.next_piece().unwrap(), Some(&b"old"[..]));
    rig.txns.commit_child(child).unwrap();
    rig.txns.unlock(&mut parent, brief);
    let mut other = begin(&rig, Isolation::Serializable, true);
    let written = tree.put(&mut other, &key(7), b"stranger");
    rig.abort(other);
    rig.abort(parent);
    assert!(written.as_ref().is_err_and(lost), "what the child read was changed: {written:?}");
}

/// The same with the gap that an insert of the parent has closed for a moment.
#[test]
fn a_gap_that_a_child_hands_over_while_its_parent_has_it_closed_stays() {
    let rig = rig(50_000);
    let tree = rig.tree();
    let mut parent = begin(&rig, Isolation::Serializable, false);
    rig.txns.lock_file(&mut parent, rig.file, Access::Write).unwrap();
    let boundary = key(7);
    let closed = rig.txns.close_gap(&mut parent, rig.file, Place::Key(&boundary)).unwrap();
    let mut child = rig.txns.begin_child(&parent).unwrap();
    // As a scan does that ends there.
    rig.txns.lock_file(&mut child, rig.file, Access::Read).unwrap();
    rig.txns.lock_gap(&mut child, rig.file, Place::Key(&boundary)).unwrap();
    rig.txns.commit_child(child).unwrap();
    drop(closed);
    let mut other = begin(&rig, Isolation::Serializable, true);
    let inserted = tree.insert(&mut other, b"00006x", b"phantom");
    rig.abort(other);
    rig.abort(parent);
    assert!(inserted.as_ref().is_err_and(lost), "a phantom got in: {inserted:?}");
}

/// Whatever the parent holds itself: it would see what may never have been.
#[test]
fn a_parent_waits_for_what_its_child_has_changed_where_it_had_a_lock_before() {
    for isolation in [Isolation::Serializable, Isolation::ReadCommitted] {
        let rig = rig(50_000);
        let tree = rig.tree();
        let mut parent = begin(&rig, isolation, true);
        tree.put(&mut parent, &key(7), b"parent").unwrap();
        tree.get(Reader::Txn(&mut parent), &key(8)).unwrap();
        let mut child = rig.txns.begin_child(&parent).unwrap();
        for number in [7, 8] {
            tree.put(&mut child, &key(number), b"child").unwrap();
            let seen = tree.get(Reader::Txn(&mut parent), &key(number));
            assert!(seen.as_ref().is_err_and(lost), "{isolation:?} {number}: it saw {seen:?}");
        }
        rig.abort(child);
        assert_eq!(tree.get(Reader::Txn(&mut parent), &key(7)).unwrap().unwrap(), b"parent");
        rig.abort(parent);
    }
}

#[test]
fn a_parent_that_scans_again_waits_for_what_its_child_has_put_into_its_gaps() {
    let rig = rig(50_000);
    let tree = rig.tree();
    let mut parent = begin(&rig, Isolation::Serializable, true);
    let scan = |parent: &mut Txn| {
        let mut cursor = Cursor::new();
        cursor.seek(&tree, Reader::Txn(parent), Seek::AtLeast(&key(6)))?;
        while cursor.key().is_some_and(|at| at < key(9).as_slice()) {
            cursor.next(&tree, Reader::Txn(parent))?;
        }
        Ok(())
    };
    scan(&mut parent).unwrap();
    let mut child = rig.txns.begin_child(&parent).unwrap();
    assert!(tree.insert(&mut child, b"00007x", b"child").unwrap());
    let seen = scan(&mut parent);
    assert!(seen.as_ref().is_err_and(lost), "a phantom: {seen:?}");
    rig.abort(child);
    scan(&mut parent).unwrap();
    rig.abort(parent);
}

/// Whatever a child holds instead of the keys that it has changed.
#[test]
fn a_parent_waits_for_a_child_that_has_locked_the_whole_file_since() {
    let rig = rig(50);
    let tree = rig.tree();
    for isolation in [Isolation::Serializable, Isolation::ReadCommitted] {
        let mut parent = begin(&rig, isolation, true);
        assert!(tree.get(Reader::Txn(&mut parent), &key(1)).unwrap().is_some());
        let mut child = rig.txns.begin_child(&parent).unwrap();
        for number in 100..190 {
            tree.put(&mut child, &key(number), b"child").unwrap();
        }
        assert!(child.has_whole(rig.file, Access::Write), "it has escalated");
        let seen = tree.get(Reader::Txn(&mut parent), &key(150));
        assert!(seen.as_ref().is_err_and(lost), "{isolation:?}: the parent saw {seen:?}");
        let found = Cursor::new().seek(&tree, Reader::Txn(&mut parent), Seek::AtLeast(&key(150)));
        assert!(found.as_ref().is_err_and(lost), "{isolation:?}: the parent found {found:?}");
        rig.abort(child);
        let seen = tree.get(Reader::Txn(&mut parent), &key(150)).unwrap();
        assert_eq!(seen.as_deref(), Some(&b"old"[..]));
        rig.abort(parent);
    }
}

/// It asked for no more than to read when its child had not handed anything over.
#[test]
fn a_parent_that_waits_for_the_whole_file_keeps_what_a_child_hands_over_meanwhile() {
    let rig = rig(2);
    let tree = rig.tree();
    let mut parent = begin(&rig, Isolation::Serializable, false);
    let mut child = rig.txns.begin_child(&parent).unwrap();
    rig.txns.lock_file(&mut child, rig.file, Access::Write).unwrap();
    rig.txns.lock_key(&mut child, rig.file, &key(150), Access::Write).unwrap();
    let mut other = begin(&rig, Isolation::Serializable, true);
    rig.txns.lock_file(&mut other, rig.file, Access::Write).unwrap();
    let parent = std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            for number in 0..20 {
                tree.get(Reader::Txn(&mut parent), &key(number)).unwrap();
            }
            parent
        });
        while rig.txns.lock_stats().waiting == 0 {
            assert!(!reads.is_finished(), "it does not wait for the whole file");
            std::thread::yield_now();
        }
        rig.txns.commit_child(child).unwrap();
        rig.abort(other);
        reads.join().unwrap()
    });
    let mut other = begin(&rig, Isolation::Serializable, true);
    let seen = tree.get(Reader::Txn(&mut other), &key(150));
    rig.abort(other);
    rig.abort(parent);
    assert!(seen.as_ref().is_err_and(lost), "a stranger saw {seen:?}");
}

/// A reader and its children on two threads: it sees nothing that was taken back.
#[test]
fn a_parent_never_sees_what_its_children_take_back() {
    for whole in [false, true] {
        let rig = rig(50_000);
        let tree = rig.tree();
        let mut parent = begin(&rig, Isolation::Serializable, false);
        if whole {
            rig.txns.lock_whole(&mut parent, rig.file, Access::Read).unwrap();
        }
        let handle = parent.as_parent();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..400 {
                    let mut child = rig.txns.begin_child_of(&handle).unwrap();
                    tree.put(&mut child, &key(7), b"child").unwrap();
                    rig.abort(child);
                }
                stop.store(true, std::sync::atomic::Ordering::Release);
            });
            let mut cursor = Cursor::new();
            while !stop.load(std::sync::atomic::Ordering::Acquire) {
                let seen = tree.get(Reader::Txn(&mut parent), &key(7)).unwrap();
                assert_eq!(seen.as_deref(), Some(&b"old"[..]), "whole: {whole}");
                for seek in [Seek::Exactly(&key(7)), Seek::AtLeast(&key(7))] {
                    assert!(cursor.seek(&tree, Reader::Txn(&mut parent), seek).unwrap());
                    assert_eq!(cursor.value(&tree).unwrap(), b"old", "whole: {whole}, {seek:?}");
                }
            }
        });
        rig.abort(parent);
    }
}

/// It looks at a long value under a lock, which does not hinder a child that takes its pages back.
#[test]
fn a_parent_that_reads_uncommitted_data_never_reads_pages_that_its_children_take_back() {
    type Look = fn(&Tree<'_>, &mut Txn) -> Vec<u8>;
    let looks: [(&str, Look); 3] = [
        ("get", |tree, txn| tree.get(Reader::Txn(txn), &key(7)).unwrap().unwrap()),
        ("a cursor", |tree, txn| {
            let mut cursor = Cursor::new();
            assert!(cursor.seek(tree, Reader::Txn(txn), Seek::Exactly(&key(7))).unwrap());
            cursor.value(tree).unwrap().to_vec()
        }),
        ("a value's reader", |tree, txn| {
            let mut value = tree.value_reader(Reader::Txn(txn), &key(7)).unwrap().unwrap();
            let mut bytes = Vec::new();
            value.read_to_end(&mut bytes).unwrap();
            bytes
        }),
    ];
    for (what, look) in looks {
        let rig = rig(50_000);
        let tree = rig.tree();
        let mut txn = rig.begin();
        tree.put(&mut txn, &key(7), &[b'o'; 2_000]).unwrap();
        rig.commit(txn);
        let mut parent = begin(&rig, Isolation::ReadUncommitted, false);
        let handle = parent.as_parent();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..600 {
                    let mut child = rig.txns.begin_child_of(&handle).unwrap();
                    // Pages that are free again are the next one's, for another record.
                    let at = key(7 + number % 2);
                    tree.put(&mut child, &at, &[b'c'; 2_000]).unwrap();
                    rig.abort(child);
                }
                stop.store(true, std::sync::atomic::Ordering::Release);
            });
            while !stop.load(std::sync::atomic::Ordering::Acquire) {
                let seen = look(&tree, &mut parent);
                assert!(seen == [b'o'; 2_000], "{what}: {} bytes, {:?}", seen.len(), seen.first());
            }
        });
        rig.abort(parent);
    }
}

#[test]
fn a_decision_about_one_prepared_transaction_does_not_reach_the_next_with_its_name() {
    let rig = rig(50_000);
    let tree = rig.tree();
    let prepare = |number| {
        let mut txn = rig.begin();
        tree.put(&mut txn, &key(number), b"new").unwrap();
        rig.txns.prepare(txn, b"gid").unwrap();
        rig.txns.find_prepared(b"gid").unwrap()
    };
    let first = prepare(7);
    rig.txns.abort_known(&first).unwrap();
    let second = prepare(8);
    assert!(rig.txns.commit_known(&first).is_err() && rig.txns.abort_known(&first).is_err());
    assert_eq!(rig.txns.prepared(), std::slice::from_ref(&second));
    rig.txns.commit_known(&second).unwrap();
    assert!(rig.txns.find_prepared(b"gid").is_err());
}
