//! Deadlocks: found at once, one victim each, the right one.

use campanile_lock::{LockError, LockName, LockOptions, Mode, OwnerId, OwnerInfo, VictimPolicy};

use crate::harness::{A, B, C, Scene, Waiting};

/// `owners` hold one name each and ask for the next one's, in order: a circle.
fn circle(scene: &Scene, owners: &[u64]) -> Vec<Waiting> {
    let name = |at: usize| LockName::key(20, 100 + (at % owners.len()) as u64);
    for (at, owner) in owners.iter().enumerate() {
        scene.take(*owner, name(at), Mode::X);
    }
    let last = owners.len() - 1;
    let mut waiting: Vec<Waiting> =
        (0..last).map(|at| scene.queue(owners[at], name(at + 1), Mode::X)).collect();
    waiting.push(scene.start(owners[last], name(last + 1), Mode::X));
    waiting
}

/// Ends everybody as they can; exactly the owner at `victim` must be told of the deadlock.
fn assert_victim(scene: &Scene, owners: &[u64], waiting: Vec<Waiting>, victim: usize) {
    let mut waiting: Vec<Option<Waiting>> = waiting.into_iter().map(Some).collect();
    waiting[victim].take().unwrap().deadlock();
    scene.end(owners[victim]);
    // The owner before the victim in the circle gets the victim's lock, and so on around.
    for step in 1..owners.len() {
        let at = (victim + owners.len() - step) % owners.len();
        waiting[at].take().unwrap().granted();
        scene.end(owners[at]);
    }
    assert_eq!(scene.table.stats().deadlocks, 1);
    scene.assert_empty();
}

#[test]
fn circles_of_two_to_six_have_one_victim_the_youngest() {
    for len in 2..=6 {
        let scene = Scene::new();
        let owners: Vec<u64> = (1..=len).collect();
        let waiting = circle(&scene, &owners);
        assert_victim(&scene, &owners, waiting, owners.len() - 1);
    }
}

#[test]
fn the_error_names_both_sides_and_what_to_do() {
    let scene = Scene::new();
    for (id, label) in [(1, "payroll"), (2, "report")] {
        let info = OwnerInfo { label: label.into(), ..OwnerInfo::default() };
        scene.table.register(OwnerId(id), info);
    }
    let mut waiting = circle(&scene, &[1, 2]);
    let error = waiting.pop().unwrap().answer().unwrap_err();
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(text.contains("report was chosen as the victim of a deadlock with payroll"), "{text}");
    assert!(text.contains("X on key 0000000000000064 of file 20"), "{text}");
    assert!(text.contains("run it again"), "{text}");
    scene.end(2);
    waiting.pop().unwrap().granted();
}

#[test]
fn two_upgrades_of_one_lock_deadlock() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    scene.take(2, A, Mode::S);
    let first = scene.queue(1, A, Mode::X);
    scene.start(2, A, Mode::X).deadlock();
    assert!(first.is_waiting(), "the victim still holds its shared lock");
    assert_eq!(scene.table.holds(OwnerId(2), A), Mode::S);
    scene.end(2);
    first.granted();
}

#[test]
fn an_upgrade_closes_a_circle_over_two_locks() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    scene.take(2, A, Mode::S);
    scene.take(1, B, Mode::X);
    let second = scene.queue(2, B, Mode::S);
    let first = scene.start(1, A, Mode::X);
    second.deadlock();
    scene.end(2);
    first.granted();
}

#[test]
fn a_queue_can_close_a_circle() {
    // 3 waits for A behind 2, although it goes with 1, who holds it.
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    scene.take(3, B, Mode::X);
    let writer = scene.queue(2, A, Mode::X);
    let reader = scene.queue(3, A, Mode::S);
    let closing = scene.start(1, B, Mode::X);
    writer.deadlock();
    reader.granted();
    assert!(closing.is_waiting());
    scene.end(3);
    closing.granted();
}

#[test]
fn one_request_can_close_two_circles() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    scene.take(2, A, Mode::S);
    scene.take(3, B, Mode::X);
    scene.take(3, C, Mode::X);
    let one = scene.queue(1, B, Mode::X);
    let two = scene.queue(2, C, Mode::X);
    // 3 is the youngest and in both circles: alone it gives way.
    scene.start(3, A, Mode::X).deadlock();
    scene.end(3);
    one.granted();
    two.granted();
    assert_eq!(scene.table.stats().deadlocks, 1);
}

#[test]
fn two_circles_with_the_oldest_in_both_have_two_victims() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    scene.take(2, B, Mode::S);
    scene.take(3, B, Mode::S);
    let two = scene.queue(2, A, Mode::X);
    let three = scene.queue(3, A, Mode::X);
    let one = scene.start(1, B, Mode::X);
    two.deadlock();
    three.deadlock();
    scene.end(2);
    scene.end(3);
    one.granted();
    assert_eq!(scene.table.stats().deadlocks, 2);
}

#[test]
fn waiting_in_a_line_is_no_deadlock() {
    let scene = Scene::new();
    scene.take(1, A, Mode::X);
    scene.take(2, B, Mode::X);
    let two = scene.queue(2, A, Mode::X);
    let three = scene.queue(3, B, Mode::X);
    let four = scene.queue(4, B, Mode::X);
    assert!(two.is_waiting() && three.is_waiting() && four.is_waiting());
    assert_eq!(scene.table.stats().deadlocks, 0);
    scene.end(1);
    two.granted();
    scene.end(2);
    three.granted();
    scene.end(3);
    four.granted();
}

#[test]
fn a_lower_priority_gives_way_first() {
    let scene = Scene::new();
    let info = OwnerInfo { priority: 10, ..OwnerInfo::default() };
    scene.table.register(OwnerId(1), info);
    let waiting = circle(&scene, &[1, 2, 3]);
    assert_victim(&scene, &[1, 2, 3], waiting, 0);
}

#[test]
fn each_policy_has_its_victim() {
    // Registered in the order 1, 2, 3; 2 holds most, 3 least; 1 has written least.
    let expected = [
        (VictimPolicy::Youngest, 2),
        (VictimPolicy::Oldest, 0),
        (VictimPolicy::FewestLocks, 2),
        (VictimPolicy::MostLocks, 1),
        (VictimPolicy::FewestWrites, 0),
    ];
    for (victim, at) in expected {
        let scene = Scene::with(LockOptions { victim, ..LockOptions::default() });
        for (owner, locks, writes) in [(1, 2, 0), (2, 3, 5), (3, 1, 9)] {
            for extra in 0..locks {
                scene.take(owner, LockName::key(21, owner * 10 + extra), Mode::X);
            }
            (0..writes).for_each(|_| scene.table.note_write(OwnerId(owner)));
        }
        let waiting = circle(&scene, &[1, 2, 3]);
        assert_victim(&scene, &[1, 2, 3], waiting, at);
    }
}

#[test]
fn a_random_victim_is_one_of_the_circle_and_not_always_the_same() {
    let mut seen = [false; 3];
    for seed in 0..30 {
        let options = LockOptions {
            victim: VictimPolicy::Random,
            seed: seed * 7919,
            ..LockOptions::default()
        };
        let scene = Scene::with(options);
        let waiting = circle(&scene, &[1, 2, 3]);
        scene.until(|| waiting.iter().any(|one| !one.is_waiting()));
        let at = waiting.iter().position(|one| !one.is_waiting()).unwrap();
        seen[at] = true;
        assert_victim(&scene, &[1, 2, 3], waiting, at);
    }
    assert!(seen.iter().filter(|seen| **seen).count() > 1, "{seen:?}");
}

#[test]
fn a_victim_can_begin_again_under_the_same_number() {
    let scene = Scene::new();
    let mut waiting = circle(&scene, &[1, 2]);
    let error = waiting.pop().unwrap().answer().unwrap_err();
    assert!(matches!(error, LockError::Deadlock { .. }));
    scene.end(2);
    waiting.pop().unwrap().granted();
    let again = scene.queue(2, LockName::key(20, 100), Mode::X);
    scene.end(1);
    again.granted();
}
