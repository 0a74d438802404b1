//! Gaps that new keys divide, wholes with their structure, and giving back by file.

use campanile_lock::{Granted, LockName, Mode, OwnerId, OwnerInfo, Part, Wait};

use crate::harness::{A, B, Scene};

fn insert(scene: &Scene, owner: u64, next: LockName, new: LockName) {
    let owner = OwnerId(owner);
    scene.take(owner.0, new, Mode::X);
    let inside = scene.table.acquire_instant(owner, next, Mode::GAP_X, Wait::No).unwrap();
    if inside {
        let own = scene.table.holds(owner, next).covers(Mode::GAP_S);
        scene.table.inherit_gap(owner, next, new, own).unwrap();
    }
    scene.table.assert_consistent();
}

#[test]
fn whoever_of_a_family_has_the_gap_has_both_parts_of_it() {
    let scene = Scene::new();
    scene.take(1, A, Mode::RANGE_S);
    let info = OwnerInfo { parent: Some(OwnerId(1)), ..OwnerInfo::default() };
    scene.table.register(OwnerId(11), info);
    insert(&scene, 11, A, B);
    assert_eq!(scene.table.holds(OwnerId(1), B), Mode::RANGE_S, "the parent has scanned it");
    assert_eq!(scene.table.holds(OwnerId(11), B), Mode::X, "the child has not");
    scene.end(11);
    let wanted = scene.table.acquire_instant(OwnerId(2), B, Mode::GAP_X, Wait::No);
    assert!(wanted.is_err(), "the child's end opens nothing");
}

#[test]
fn a_gap_that_nobody_of_the_family_has_is_not_inherited() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    insert(&scene, 1, A, B);
    assert_eq!(scene.table.holds(OwnerId(1), B), Mode::X);
}

#[test]
fn who_waits_for_a_key_does_not_hold_up_its_holder_in_the_gap() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    scene.take(2, A, Mode::S);
    let upgrade = scene.queue(2, A, Mode::X);
    let inside = scene.table.acquire_instant(OwnerId(1), A, Mode::GAP_X, Wait::No);
    assert_eq!(inside, Ok(true), "the gap is free, and only the gap was asked for");
    scene.end(1);
    upgrade.granted();
}

#[test]
fn a_check_of_the_structure_keeps_off_who_changes_but_not_who_reads_or_has_promised() {
    let whole = LockName::whole(16);
    let scene = Scene::new();
    scene.take(1, whole, Mode::IS);
    scene.take(2, whole, Mode::IX_CHANGING);
    assert!(scene.ask(9, whole, Mode::GAP_X).is_err());
    scene.table.downgrade(OwnerId(2), whole, Mode::IX_CHANGING.without_gap());
    assert_eq!(scene.ask(9, whole, Mode::GAP_X), Ok(Granted::New));
    assert!(scene.ask(3, whole, Mode::IX_CHANGING).is_err());
    assert_eq!(scene.ask(3, whole, Mode::IS), Ok(Granted::New));
    assert_eq!(scene.table.held_wholes(OwnerId(2)), [(whole, Mode::IX)]);
}

#[test]
fn keys_of_one_file_are_given_back_together() {
    let scene = Scene::new();
    let (whole, other) = (LockName::whole(16), LockName::key(17, 5));
    scene.take(1, whole, Mode::X);
    scene.take(1, other, Mode::X);
    for number in 1..100 {
        scene.take(1, LockName::key(16, number), Mode::X);
    }
    let waiter = scene.queue(2, LockName::key(16, 7), Mode::S);
    scene.table.release_keys(OwnerId(1), 16, Part::Exclusive);
    scene.table.assert_consistent();
    waiter.granted();
    assert_eq!(scene.table.held_count(OwnerId(1)), 2);
    assert_eq!(scene.table.holds(OwnerId(1), whole), Mode::X);
    assert_eq!(scene.table.holds(OwnerId(1), other), Mode::X);
}
