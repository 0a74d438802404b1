//! Locks that are given back early stand beside those that last.

use campanile_lock::{Brief, LockName, Mode, OwnerId, OwnerInfo, Part, Wait};

use crate::harness::{A, B, Scene};

const ONE: OwnerId = OwnerId(1);

fn look(scene: &Scene, name: LockName) -> bool {
    scene.table.acquire_briefly(ONE, name, Brief::Look, Wait::No).unwrap()
}

fn is_writable(scene: &Scene, name: LockName) -> bool {
    let written = scene.ask(9, name, Mode::X).is_ok();
    scene.end(9);
    written
}

#[test]
fn the_last_of_several_looks_gives_the_lock_back() {
    let scene = Scene::new();
    assert!(look(&scene, A) && look(&scene, A));
    for _ in 0..2 {
        assert!(!is_writable(&scene, A));
        scene.table.give_back(ONE, A, Brief::Look);
        scene.table.assert_consistent();
    }
    assert!(is_writable(&scene, A));
    scene.table.give_back(ONE, A, Brief::Look);
    scene.end(1);
    scene.assert_empty();
}

#[test]
fn what_lasts_stays_whether_it_came_before_or_meanwhile() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    assert!(!look(&scene, A), "there is nothing to be given back");
    assert!(look(&scene, B));
    scene.take(1, B, Mode::S);
    assert_eq!(scene.table.holds(ONE, B), Mode::S);
    scene.table.give_back(ONE, B, Brief::Look);
    assert!(!is_writable(&scene, A) && !is_writable(&scene, B));
}

#[test]
fn a_look_and_a_division_are_given_back_apart() {
    let scene = Scene::new();
    assert!(scene.table.acquire_briefly(ONE, A, Brief::Divide, Wait::No).unwrap());
    assert!(look(&scene, A));
    assert!(scene.ask(2, A, Mode::GAP_S).is_err() && scene.ask(2, A, Mode::X).is_err());
    assert_eq!(scene.table.holds(ONE, A), Mode::NONE, "none of it lasts");
    scene.table.give_back(ONE, A, Brief::Divide);
    scene.take(2, A, Mode::GAP_S);
    assert!(scene.ask(2, A, Mode::X).is_err());
    scene.table.give_back(ONE, A, Brief::Look);
    scene.take(2, A, Mode::X);
}

#[test]
fn whoever_waits_goes_on_when_a_brief_lock_is_given_back() {
    let scene = Scene::new();
    assert!(look(&scene, A));
    let writer = scene.queue(2, A, Mode::X);
    scene.table.give_back(ONE, A, Brief::Look);
    writer.granted();
}

#[test]
fn what_a_child_hands_over_lasts_and_what_it_had_for_a_while_is_gone() {
    let scene = Scene::new();
    let child = OwnerId(11);
    scene.table.register(child, OwnerInfo { parent: Some(ONE), ..OwnerInfo::default() });
    assert!(look(&scene, A));
    scene.take(11, A, Mode::S);
    scene.table.acquire_briefly(child, B, Brief::Look, Wait::No).unwrap();
    scene.table.transfer(child, ONE);
    scene.table.assert_consistent();
    scene.table.give_back(ONE, A, Brief::Look);
    scene.table.give_back(child, B, Brief::Look);
    assert!(!is_writable(&scene, A) && is_writable(&scene, B));
    scene.end(1);
    scene.assert_empty();
}

/// Quadratic in the keys of the other file, this would take minutes.
#[test]
fn giving_the_keys_of_one_file_back_costs_nothing_for_those_of_another() {
    let scene = Scene::new();
    let keys = 60_000;
    for key in 1..=keys {
        for file in [16, 17] {
            let name = LockName::key(file, key);
            scene.table.acquire(ONE, name, Mode::X, Wait::No).unwrap();
        }
    }
    let begun = std::time::Instant::now();
    scene.table.release_keys(ONE, 16, Part::Exclusive);
    let took = begun.elapsed();
    assert!(took.as_secs() < 5, "{took:?}");
    assert_eq!(scene.table.held_count(ONE), keys as usize);
    assert!(scene.ask(2, LockName::key(17, 5), Mode::S).is_err());
    scene.take(2, LockName::key(16, 5), Mode::X);
}

#[test]
fn a_shared_whole_covers_no_exclusive_key() {
    let scene = Scene::new();
    for (key, mode) in [(1, Mode::S), (2, Mode::X), (3, Mode::RANGE_S), (4, Mode::RANGE_X)] {
        scene.take(1, LockName::key(16, key), mode);
    }
    scene.table.release_keys(ONE, 16, Part::Shared);
    scene.table.assert_consistent();
    let held = |key| scene.table.holds(ONE, LockName::key(16, key));
    assert_eq!([1, 2, 3, 4].map(held), [Mode::NONE, Mode::X, Mode::NONE, Mode::RANGE_X]);
}
