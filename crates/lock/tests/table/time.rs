//! Time: waits end when they should, and leave the queue in order.

use std::time::{Duration, Instant};

use campanile_lock::{LockError, LockOptions, Mode, OwnerId, Wait};

use crate::harness::{A, Scene};

const SHORT: Duration = Duration::from_millis(30);

#[test]
fn a_wait_ends_after_its_time_and_says_so() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    let begun = Instant::now();
    let error = scene.table.acquire(OwnerId(2), A, Mode::S, Wait::AtMost(SHORT)).unwrap_err();
    assert!(begun.elapsed() >= SHORT);
    let LockError::Timeout { waited, .. } = &error else { panic!("{error}") };
    assert!(*waited >= SHORT);
    let text = error.to_string();
    assert!(text.contains("transaction 2 waited"), "{text}");
    assert!(text.contains("which transaction 1 has"), "{text}");
    assert_eq!(scene.table.holds(OwnerId(2), A), Mode::NONE);
    assert_eq!((scene.table.stats().timeouts, scene.table.stats().waiting), (1, 0));
    scene.table.assert_consistent();
}

#[test]
fn the_default_time_is_the_table_s() {
    let options = LockOptions { default_timeout: Some(SHORT), ..LockOptions::default() };
    let scene = Scene::with(options);
    scene.take(1, A, Mode::X);
    let error = scene.table.acquire(OwnerId(2), A, Mode::S, Wait::Default).unwrap_err();
    assert!(matches!(error, LockError::Timeout { .. }));
}

#[test]
fn no_time_at_all_is_a_timeout_and_not_a_hang() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    let wait = Wait::AtMost(Duration::ZERO);
    let error = scene.table.acquire(OwnerId(2), A, Mode::S, wait).unwrap_err();
    assert!(matches!(error, LockError::Timeout { .. }));
}

#[test]
fn a_time_beyond_all_clocks_is_a_wait_without_end() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    let table = scene.table.clone();
    let wait = Wait::AtMost(Duration::MAX);
    let waiting = std::thread::spawn(move || table.acquire(OwnerId(2), A, Mode::X, wait));
    scene.until(|| scene.is_queued(2, A));
    scene.end(1);
    assert!(waiting.join().unwrap().is_ok());
}

#[test]
fn whoever_gives_up_lets_those_behind_pass() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    let table = scene.table.clone();
    let writer =
        std::thread::spawn(move || table.acquire(OwnerId(2), A, Mode::X, Wait::AtMost(SHORT)));
    scene.until(|| scene.is_queued(2, A));
    let reader = scene.queue(3, A, Mode::S);
    assert!(writer.join().unwrap().is_err());
    reader.granted();
    scene.table.assert_consistent();
}

#[test]
fn an_upgrade_that_gives_up_keeps_what_it_had() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    scene.take(2, A, Mode::S);
    let error = scene.table.acquire(OwnerId(1), A, Mode::X, Wait::AtMost(SHORT)).unwrap_err();
    assert!(matches!(error, LockError::Timeout { .. }));
    assert_eq!(scene.table.holds(OwnerId(1), A), Mode::S);
    scene.table.assert_consistent();
}
