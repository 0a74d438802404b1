//! Queues: first come, first served, without useless waiting.

use campanile_lock::{LockError, LockName, Mode, OwnerId};

use crate::harness::{A, B, C, Scene};

#[test]
fn waiters_are_served_in_order_of_arrival() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    let mut waiting: Vec<_> = (2..8).map(|owner| (owner, scene.queue(owner, A, Mode::X))).collect();
    scene.end(1);
    while !waiting.is_empty() {
        let (owner, first) = waiting.remove(0);
        first.granted();
        assert!(waiting.iter().all(|(_, later)| later.is_waiting()));
        scene.end(owner);
    }
    scene.assert_empty();
}

#[test]
fn a_reader_does_not_overtake_a_writer_that_waits() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    let writer = scene.queue(2, A, Mode::X);
    assert!(matches!(scene.ask(3, A, Mode::S), Err(LockError::WouldBlock { .. })));
    let reader = scene.queue(3, A, Mode::S);
    scene.end(1);
    writer.granted();
    assert!(reader.is_waiting());
    scene.end(2);
    reader.granted();
}

#[test]
fn a_request_overtakes_those_that_it_does_not_hinder() {
    let scene = Scene::new();
    scene.take(1, A, Mode::GAP_S);
    let inserter = scene.queue(2, A, Mode::GAP_X);
    scene.take(3, A, Mode::X);
    scene.end(1);
    inserter.granted();
}

#[test]
fn readers_behind_a_writer_are_served_together() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    let readers: Vec<_> = (2..6).map(|owner| scene.queue(owner, A, Mode::S)).collect();
    scene.end(1);
    readers.into_iter().for_each(|reader| reader.granted());
    assert_eq!(scene.table.stats().grants, 4);
}

#[test]
fn different_names_do_not_hinder_each_other() {
    let scene = Scene::new();
    for (owner, name) in [(1, A), (2, B), (3, C), (4, LockName::ENVIRONMENT)] {
        scene.take(owner, name, Mode::X);
    }
    scene.take(5, LockName::whole(16), Mode::X);
    scene.take(6, LockName::infinity(16), Mode::RANGE_X);
    assert_eq!(scene.table.stats().locks, 6);
}

#[test]
fn a_refusal_names_the_holder_and_changes_nothing() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    let error = scene.ask(2, A, Mode::S).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("S on key 00000000000003e9 of file 16"), "{text}");
    assert!(text.contains("transaction 1"), "{text}");
    assert_eq!(scene.table.holds(OwnerId(2), A), Mode::NONE);
    scene.end(2);
    scene.end(1);
    scene.assert_empty();
}

#[test]
fn the_table_grows_with_its_locks_and_forgets_them() {
    let scene = Scene::new();
    for hash in 0..20_000 {
        let name = LockName::key(16, hash);
        scene.table.acquire(OwnerId(1), name, Mode::X, campanile_lock::Wait::No).unwrap();
    }
    assert_eq!(scene.table.held_count(OwnerId(1)), 20_000);
    scene.table.assert_consistent();
    scene.end(1);
    scene.assert_empty();
}

#[test]
fn one_lock_can_be_given_back_alone() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    scene.take(1, B, Mode::X);
    assert_eq!(scene.table.release(OwnerId(1), A), Mode::S);
    assert_eq!(scene.table.release(OwnerId(1), A), Mode::NONE);
    scene.take(2, A, Mode::X);
    assert!(scene.ask(2, B, Mode::X).is_err());
    scene.table.assert_consistent();
}

#[test]
fn counters_count_and_the_dump_shows() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    scene.take(1, A, Mode::S);
    scene.take(1, A, Mode::X);
    let _ = scene.ask(2, A, Mode::S);
    let waiting = scene.queue(3, A, Mode::S);
    let stats = scene.table.stats();
    assert_eq!((stats.requests, stats.already_held, stats.upgrades), (5, 1, 1));
    assert_eq!((stats.would_block, stats.waits, stats.waiting), (1, 1, 1));
    assert_eq!((stats.locks, stats.grants, stats.owners), (1, 1, 3));
    let text = scene.table.dump().to_string();
    for part in ["3 owners", "1 holds X", "3 waits for S", "key 00000000000003e9 of file 16"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    scene.end(1);
    waiting.granted();
}

#[test]
fn closing_refuses_those_who_wait_and_those_who_come() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    let waiting = scene.queue(2, A, Mode::X);
    scene.table.close();
    assert_eq!(waiting.answer(), Err(LockError::Closed));
    assert_eq!(scene.ask(3, B, Mode::S), Err(LockError::Closed));
    scene.table.assert_consistent();
    (1..4).for_each(|owner| scene.end(owner));
    scene.assert_empty();
}
