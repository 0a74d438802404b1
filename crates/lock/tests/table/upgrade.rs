//! Upgrades: from every mode to every mode, alone and against others; and the way back.

use campanile_lock::{Granted, Mode, OwnerId, Part, Wait};

use crate::harness::{A, Scene};

const PARTS: [Part; 3] = [Part::None, Part::Shared, Part::Exclusive];

fn modes() -> Vec<Mode> {
    let mut modes = vec![Mode::IS, Mode::IX, Mode::SIX];
    modes.extend(PARTS.iter().flat_map(|key| PARTS.map(|gap| Mode::new(*key, gap))));
    modes.retain(|mode| !mode.is_none());
    modes
}

#[test]
fn an_owner_alone_upgrades_from_every_mode_to_every_mode_at_once() {
    for from in modes() {
        for to in modes() {
            let scene = Scene::new();
            assert_eq!(scene.ask(1, A, from), Ok(Granted::New));
            let expected =
                if from.covers(to) { Granted::Already } else { Granted::Upgraded { from } };
            assert_eq!(scene.ask(1, A, to), Ok(expected), "{from} to {to}");
            assert_eq!(scene.table.holds(OwnerId(1), A), from.join(to));
            assert_eq!(scene.table.held_count(OwnerId(1)), 1);
            scene.end(1);
            scene.assert_empty();
        }
    }
}

#[test]
fn an_upgrade_is_granted_beside_a_stranger_iff_the_join_goes_with_it() {
    for stranger in modes() {
        for from in modes().into_iter().filter(|from| from.is_compatible(stranger)) {
            for to in modes() {
                let scene = Scene::new();
                scene.take(1, A, from);
                scene.take(2, A, stranger);
                let granted = scene.ask(1, A, to).is_ok();
                assert_eq!(granted, from.join(to).is_compatible(stranger), "{from} to {to}");
                let expected = if granted { from.join(to) } else { from };
                assert_eq!(scene.table.holds(OwnerId(1), A), expected);
            }
        }
    }
}

#[test]
fn an_upgrade_waits_for_the_stranger_and_then_holds_both() {
    for (from, to, stranger) in [
        (Mode::S, Mode::X, Mode::S),
        (Mode::IS, Mode::X, Mode::IX),
        (Mode::GAP_S, Mode::GAP_X, Mode::RANGE_S),
        (Mode::S, Mode::IX, Mode::S),
    ] {
        let scene = Scene::new();
        scene.take(1, A, from);
        scene.take(2, A, stranger);
        let upgrade = scene.queue(1, A, to);
        assert_eq!(scene.table.holds(OwnerId(1), A), from, "still held while waiting");
        scene.end(2);
        assert_eq!(upgrade.answer(), Ok(Granted::Upgraded { from }));
        assert_eq!(scene.table.holds(OwnerId(1), A), from.join(to));
    }
}

#[test]
fn an_upgrade_goes_ahead_of_those_who_came_before() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    scene.take(2, A, Mode::S);
    let stranger = scene.queue(3, A, Mode::X);
    let upgrade = scene.queue(1, A, Mode::X);
    scene.end(2);
    upgrade.granted();
    assert!(stranger.is_waiting());
    scene.end(1);
    stranger.granted();
}

#[test]
fn a_downgrade_lets_others_in() {
    let scene = Scene::new();
    scene.take(1, A, Mode::RANGE_X);
    let reader = scene.queue(2, A, Mode::S);
    let inserter = scene.queue(3, A, Mode::GAP_X);
    scene.table.downgrade(OwnerId(1), A, Mode::new(Part::Shared, Part::Exclusive));
    reader.granted();
    assert!(inserter.is_waiting());
    scene.table.downgrade(OwnerId(1), A, Mode::S);
    inserter.granted();
    scene.table.downgrade(OwnerId(1), A, Mode::NONE);
    assert_eq!(scene.table.held_count(OwnerId(1)), 0);
    scene.table.assert_consistent();
}

#[test]
#[should_panic(expected = "holds S on")]
fn a_downgrade_to_more_than_is_held_is_a_bug() {
    let scene = Scene::new();
    scene.take(1, A, Mode::S);
    scene.table.downgrade(OwnerId(1), A, Mode::X);
}

#[test]
fn an_instant_request_leaves_nothing_behind() {
    let scene = Scene::new();
    let instant = |owner, wait| scene.table.acquire_instant(OwnerId(owner), A, Mode::GAP_X, wait);
    instant(1, Wait::No).unwrap();
    assert!(scene.table.is_free(A));
    scene.take(1, A, Mode::RANGE_S);
    instant(1, Wait::No).unwrap();
    assert_eq!(scene.table.holds(OwnerId(1), A), Mode::RANGE_S);
    assert!(instant(2, Wait::No).is_err());
    let scene_too = scene.clone();
    let waiting = std::thread::spawn(move || {
        scene_too.table.acquire_instant(OwnerId(2), A, Mode::GAP_X, Wait::Forever)
    });
    scene.until(|| scene.is_queued(2, A));
    scene.end(1);
    waiting.join().unwrap().unwrap();
    assert!(scene.table.is_free(A));
    scene.table.assert_consistent();
}
