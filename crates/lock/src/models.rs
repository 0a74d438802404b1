//! Models for loom: the queue of a lock in every interleaving. Whoever waits is woken, by a grant,
//! as a victim, or by its time; loom calls it a deadlock if not.

use std::sync::Arc;
use std::time::Duration;

use campanile_sync::atomic::{AtomicU64, Ordering};
use campanile_sync::{every_interleaving, thread};

use crate::{LockError, LockName, LockOptions, LockTable, Mode, OwnerId, Wait};

const A: LockName = LockName::key(7, 11);
const B: LockName = LockName::key(7, 12);

fn table() -> Arc<LockTable> {
    Arc::new(LockTable::new(LockOptions { shards: 1, ..LockOptions::default() }))
}

fn beside<T: 'static>(
    table: &Arc<LockTable>,
    work: impl FnOnce(&LockTable) -> T + 'static,
) -> thread::JoinHandle<T> {
    let table = Arc::clone(table);
    thread::spawn(move || work(&table))
}

fn all_is_given_back(table: &LockTable) {
    table.assert_consistent();
    assert!(table.is_free(A) && table.is_free(B));
}

#[test]
fn l3_an_exclusive_lock_has_one_holder_and_every_waiter_its_turn() {
    every_interleaving(None, || {
        let (table, inside) = (table(), Arc::new(AtomicU64::new(0)));
        let turn = |owner: u64, inside: Arc<AtomicU64>| {
            move |table: &LockTable| {
                table.acquire(OwnerId(owner), A, Mode::X, Wait::Forever).unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two holders");
                inside.fetch_sub(1, Ordering::Relaxed);
                table.release_all(OwnerId(owner));
            }
        };
        let other = beside(&table, turn(1, Arc::clone(&inside)));
        turn(2, inside)(&table);
        other.join().unwrap();
        all_is_given_back(&table);
    });
}

#[test]
fn l3_a_reader_and_two_writers_all_have_their_turn() {
    every_interleaving(Some(4), || {
        let table = table();
        let turn = |owner: u64, mode| {
            move |table: &LockTable| {
                table.acquire(OwnerId(owner), A, mode, Wait::Forever).unwrap();
                table.release_all(OwnerId(owner));
            }
        };
        let others = [beside(&table, turn(1, Mode::X)), beside(&table, turn(2, Mode::S))];
        turn(3, Mode::X)(&table);
        others.into_iter().for_each(|other| other.join().unwrap());
        all_is_given_back(&table);
    });
}

#[test]
fn two_who_wait_for_each_other_lose_one_and_the_other_goes_on() {
    every_interleaving(Some(4), || {
        let table = table();
        let cross = |owner: u64, first, second| {
            move |table: &LockTable| {
                table.acquire(OwnerId(owner), first, Mode::X, Wait::Forever).unwrap();
                let outcome = table.acquire(OwnerId(owner), second, Mode::X, Wait::Forever);
                table.release_all(OwnerId(owner));
                match outcome {
                    Ok(_) => true,
                    Err(LockError::Deadlock { .. }) => false,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let other = beside(&table, cross(1, A, B));
        let mine = cross(2, B, A)(&table);
        assert!(mine | other.join().unwrap(), "both were victims");
        all_is_given_back(&table);
    });
}

#[test]
fn two_readers_who_both_want_to_write_lose_one() {
    every_interleaving(Some(4), || {
        let table = table();
        let upgrade = |owner: u64| {
            move |table: &LockTable| {
                table.acquire(OwnerId(owner), A, Mode::S, Wait::Forever).unwrap();
                let outcome = table.acquire(OwnerId(owner), A, Mode::X, Wait::Forever);
                table.release_all(OwnerId(owner));
                outcome.is_ok()
            }
        };
        let other = beside(&table, upgrade(1));
        let mine = upgrade(2)(&table);
        assert!(mine | other.join().unwrap(), "both were victims");
        all_is_given_back(&table);
    });
}

#[test]
fn a_wait_that_runs_out_of_time_leaves_no_trace_and_a_grant_at_that_moment_counts() {
    every_interleaving(None, || {
        let table = table();
        let holder = beside(&table, |table| {
            table.acquire(OwnerId(1), A, Mode::X, Wait::Forever).unwrap();
            table.release_all(OwnerId(1));
        });
        let wait = Wait::AtMost(Duration::from_millis(1));
        match table.acquire(OwnerId(2), A, Mode::X, wait) {
            Ok(_) => assert_eq!(table.holds(OwnerId(2), A), Mode::X),
            Err(LockError::Timeout { .. }) => assert_eq!(table.holds(OwnerId(2), A), Mode::NONE),
            Err(error) => panic!("{error}"),
        }
        table.release_all(OwnerId(2));
        holder.join().unwrap();
        all_is_given_back(&table);
    });
}

#[test]
fn a_gap_asked_for_in_an_instant_is_given_when_its_holder_ends() {
    every_interleaving(None, || {
        let table = table();
        let scan = beside(&table, |table| {
            table.acquire(OwnerId(1), A, Mode::RANGE_S, Wait::Forever).unwrap();
            table.release_all(OwnerId(1));
        });
        table.acquire_instant(OwnerId(2), A, Mode::GAP_X, Wait::Forever).unwrap();
        assert_eq!(table.holds(OwnerId(2), A), Mode::NONE);
        table.release_all(OwnerId(2));
        scan.join().unwrap();
        all_is_given_back(&table);
    });
}

#[test]
fn closing_wakes_whoever_waits() {
    every_interleaving(None, || {
        let table = table();
        table.acquire(OwnerId(1), A, Mode::X, Wait::Forever).unwrap();
        let waiter = beside(&table, |table| {
            let outcome = table.acquire(OwnerId(2), A, Mode::X, Wait::Forever);
            assert!(matches!(outcome, Err(LockError::Closed)), "{outcome:?}");
        });
        table.close();
        waiter.join().unwrap();
    });
}
