//! Families: a nested transaction is not hindered by what its ancestors hold.

use campanile_lock::{Granted, LockError, LockName, Mode, OwnerId, OwnerInfo, Wait};

use crate::harness::{A, Answer, B, Scene, Waiting};

fn child(scene: &Scene, id: u64, parent: u64) {
    let info = OwnerInfo { parent: Some(OwnerId(parent)), ..OwnerInfo::default() };
    scene.table.register(OwnerId(id), info);
}

#[test]
fn ancestors_do_not_hinder_but_siblings_children_and_strangers_do() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    child(&scene, 11, 1);
    child(&scene, 12, 1);
    child(&scene, 111, 11);
    assert_eq!(scene.ask(111, A, Mode::X), Ok(Granted::New), "grandparent");
    assert!(scene.ask(12, A, Mode::S).is_err(), "nephew");
    assert!(scene.ask(11, A, Mode::S).is_err(), "child");
    assert!(scene.ask(2, A, Mode::S).is_err(), "stranger");
    scene.end(111);
    assert_eq!(scene.ask(11, A, Mode::X), Ok(Granted::New), "parent");
    assert!(scene.ask(12, A, Mode::S).is_err(), "sibling");
}

#[test]
fn a_committed_child_leaves_its_locks_to_the_parent() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    child(&scene, 11, 1);
    scene.take(11, A, Mode::GAP_S);
    scene.take(11, B, Mode::X);
    scene.table.note_write(OwnerId(11));
    let stranger = scene.queue(2, B, Mode::S);
    scene.table.transfer(OwnerId(11), OwnerId(1));
    scene.table.assert_consistent();
    assert_eq!(scene.table.holds(OwnerId(1), A), Mode::RANGE_S);
    assert_eq!(scene.table.holds(OwnerId(1), B), Mode::X);
    assert_eq!(scene.table.holds(OwnerId(11), B), Mode::NONE);
    assert_eq!(scene.table.held_count(OwnerId(1)), 2);
    assert_eq!(scene.table.dump().owners.iter().map(|owner| owner.writes).sum::<u64>(), 1);
    assert!(stranger.is_waiting());
    scene.end(1);
    stranger.granted();
}

#[test]
fn an_aborted_child_leaves_nothing() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    child(&scene, 11, 1);
    scene.take(11, A, Mode::X);
    scene.take(11, B, Mode::X);
    scene.end(11);
    assert_eq!(scene.table.holds(OwnerId(1), A), Mode::S);
    scene.take(2, A, Mode::S);
    scene.take(2, B, Mode::X);
}

#[test]
fn a_sibling_that_waits_goes_on_when_the_lock_goes_to_the_parent() {
    let scene = Scene::new();
    scene.take(1, B, Mode::S);
    child(&scene, 11, 1);
    child(&scene, 12, 1);
    scene.take(11, A, Mode::X);
    let sibling = scene.queue(12, A, Mode::X);
    scene.table.transfer(OwnerId(11), OwnerId(1));
    sibling.granted();
    scene.table.assert_consistent();
}

#[test]
fn a_child_goes_ahead_of_strangers_who_wait_for_its_parent() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    let stranger = scene.queue(2, A, Mode::X);
    child(&scene, 11, 1);
    // Waiting behind the stranger would be a deadlock: the parent ends after the child.
    scene.take(11, A, Mode::X);
    scene.table.transfer(OwnerId(11), OwnerId(1));
    assert!(stranger.is_waiting());
    scene.end(1);
    stranger.granted();
}

#[test]
fn a_circle_through_a_parent_that_only_waits_for_its_child_is_found() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    scene.take(2, B, Mode::X);
    child(&scene, 11, 1);
    let stranger = scene.queue(2, A, Mode::X);
    // 11 waits for 2, 2 for 1, and 1 cannot end before 11.
    scene.start(11, B, Mode::X).deadlock();
    scene.end(11);
    assert!(stranger.is_waiting());
    scene.end(1);
    stranger.granted();
}

#[test]
fn a_handed_over_lock_can_close_a_circle_in_a_family_on_two_threads() {
    let scene = Scene::new();
    scene.take(2, B, Mode::X);
    scene.take(1, LockName::whole(16), Mode::S);
    child(&scene, 11, 1);
    child(&scene, 12, 1);
    scene.take(11, A, Mode::X);
    let stranger = scene.queue(2, A, Mode::X);
    let nested = scene.queue(12, B, Mode::X);
    // Now 2 waits for 1 instead of 11, and 1 for 12, which waits for 2.
    scene.table.transfer(OwnerId(11), OwnerId(1));
    nested.deadlock();
    scene.end(12);
    scene.end(1);
    stranger.granted();
}

#[test]
#[should_panic(expected = "ended before its children")]
fn a_parent_does_not_end_before_its_child() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    child(&scene, 11, 1);
    scene.end(1);
}

#[test]
#[should_panic(expected = "is not nested in")]
fn locks_are_not_handed_to_a_stranger() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    scene.take(2, B, Mode::X);
    scene.table.transfer(OwnerId(1), OwnerId(2));
}

#[test]
#[should_panic(expected = "is registered already")]
fn an_owner_is_registered_once() {
    let scene = Scene::new();
    scene.table.register(OwnerId(1), OwnerInfo::default());
    scene.table.register(OwnerId(1), OwnerInfo::default());
}

#[test]
fn a_key_put_where_an_ancestor_has_scanned_is_scanned_by_it_whatever_becomes_of_the_child() {
    let scene = Scene::new();
    scene.take(1, B, Mode::RANGE_S);
    child(&scene, 11, 1);
    child(&scene, 111, 11);
    let (owner, stranger) = (OwnerId(111), OwnerId(2));
    assert!(scene.table.acquire_instant(owner, B, Mode::GAP_X, Wait::No).unwrap());
    scene.take(111, A, Mode::X);
    let waits = scene.queue(2, A, Mode::X);
    scene.table.inherit_gap(owner, B, A, false).unwrap();
    scene.table.assert_consistent();
    assert_eq!(scene.table.holds(OwnerId(1), A), Mode::RANGE_S);
    assert_eq!(scene.table.holds(OwnerId(11), A), Mode::NONE, "it had not scanned");
    scene.end(111);
    scene.end(11);
    assert!(waits.is_waiting(), "the key is still the parent's");
    assert!(scene.table.acquire_instant(stranger, A, Mode::GAP_X, Wait::No).is_err());
    scene.end(1);
    waits.granted();
    scene.table.assert_consistent();
}

#[test]
fn what_a_child_holds_hinders_its_parent_even_where_that_holds_as_much() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    scene.take(1, B, Mode::S);
    child(&scene, 11, 1);
    child(&scene, 111, 11);
    scene.take(111, A, Mode::X);
    scene.take(11, B, Mode::GAP_X);
    for mode in [Mode::X, Mode::S] {
        let answer = scene.ask(1, A, mode);
        assert!(answer.is_err(), "the grandparent overlooks what is going on: {answer:?}");
        assert!(scene.ask(11, A, mode).is_err(), "the parent does");
    }
    assert_eq!(scene.ask(1, B, Mode::S), Ok(Granted::Already), "they go together");
    let parent = scene.queue(1, A, Mode::S);
    scene.end(111);
    assert_eq!(parent.answer(), Ok(Granted::Upgraded { from: Mode::X }));
    assert_eq!(scene.ask(1, A, Mode::X), Ok(Granted::Already));
}

/// A grant to a parent puts a stranger who waits behind one of its children: nobody new waits.
#[test]
fn a_grant_that_goes_ahead_of_a_stranger_can_close_a_circle_through_a_child() {
    let scene = Scene::new();
    let (grandma, stranger, quick) = (1, 2, 3);
    child(&scene, 11, grandma);
    scene.take(quick, A, Mode::S);
    scene.take(grandma, A, Mode::GAP_S);
    scene.take(stranger, B, Mode::X);
    let waits = scene.queue(stranger, A, Mode::X);
    let below = scene.queue(11, B, Mode::S);
    assert_eq!(scene.ask(grandma, A, Mode::S), Ok(Granted::Upgraded { from: Mode::GAP_S }));
    scene.end(quick);
    scene.until(|| !waits.is_waiting() || !below.is_waiting());
    let (lost, other, name) = match waits.is_waiting() {
        true => (below, waits, A),
        false => (waits, below, B),
    };
    lost.deadlock();
    scene.end(if name == B { stranger } else { 11 });
    scene.end(if name == B { 11 } else { grandma });
    other.granted();
}

/// The same by a grant to a parent that has waited itself.
#[test]
fn a_grant_to_a_parent_that_waits_can_close_a_circle_through_a_child_behind_it() {
    let scene = Scene::new();
    let (parent, stranger, quick, reader, nested) = (1, 2, 3, 4, 11);
    child(&scene, nested, parent);
    scene.take(quick, A, Mode::GAP_X);
    scene.take(reader, A, Mode::S);
    scene.take(stranger, B, Mode::X);
    let first = scene.queue(parent, A, Mode::RANGE_S);
    let waiting = [
        scene.queue(stranger, A, Mode::RANGE_S),
        scene.queue(nested, A, Mode::X),
        scene.queue(reader, B, Mode::S),
    ];
    // Now the child goes ahead of the stranger, who so waits for it, it for the reader, and that
    // one for the stranger.
    scene.end(quick);
    first.granted();
    scene.until(|| !waiting.iter().all(Waiting::is_waiting));
    scene.table.close();
    let answers = waiting.map(Waiting::answer);
    let is_victim = |answer: &&Answer| matches!(answer, Err(LockError::Deadlock { .. }));
    assert_eq!(answers.iter().filter(is_victim).count(), 1, "{answers:?}");
}
