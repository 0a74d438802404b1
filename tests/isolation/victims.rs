//! Deadlocks, and waiting that ends: who gives way by which policy, what the error says, and time.

use crate::script::{TWO, stage, tiny};
use crate::stage::Stage;
use campanile::{ErrorKind, TransactionOptions, VictimPolicy};
use campanile_tests::flock::options;
use campanile_tests::history::Level;
use std::time::Duration;

/// Session 1 has locked first and written one row; session 2 later, and three. Then they wait for
/// each other; returns what the last step, which closes the circle, brings.
fn circle(policy: VictimPolicy, priorities: [u32; 2]) -> (Stage, String) {
    let mut stage = stage(tiny().victim(policy), TWO);
    enter(&mut stage, priorities);
    let outcome = close(&mut stage);
    (stage, outcome)
}

fn enter(stage: &mut Stage, priorities: [u32; 2]) {
    for (number, priority) in [1, 2].into_iter().zip(priorities) {
        let own = options(Level::Serializable).priority(priority).label(format!("clerk {number}"));
        stage.session(number, Level::Serializable, own);
    }
}

fn close(stage: &mut Stage) -> String {
    for number in [1, 2] {
        assert_eq!(stage.step(number, "begin"), "ok");
    }
    assert_eq!(stage.step(1, "put 1 11"), "ok");
    for key in 2..5 {
        assert_eq!(stage.step(2, &format!("put {key} 22")), "ok");
    }
    assert_eq!(stage.step(1, "put 2 12"), "waits");
    stage.step(2, "put 1 21")
}

const FIRST: &str = "waits; 1: deadlock";
const SECOND: &str = "deadlock";

#[test]
fn the_policy_says_who_gives_way() {
    let expected = [
        (VictimPolicy::Youngest, SECOND),
        (VictimPolicy::Oldest, FIRST),
        (VictimPolicy::FewestLocks, FIRST),
        (VictimPolicy::MostLocks, SECOND),
        (VictimPolicy::FewestWrites, FIRST),
    ];
    for (policy, who) in expected {
        let (mut stage, outcome) = circle(policy, [100, 100]);
        assert_eq!(outcome, who, "{policy:?}");
        let (victim, other) = if who == FIRST { (1, 2) } else { (2, 1) };
        assert_eq!(stage.step(victim, "end"), format!("aborted; {other}: ok"), "{policy:?}");
        assert_eq!(stage.step(other, "end"), "committed", "{policy:?}");
    }
}

#[test]
fn the_random_policy_hits_both_sooner_or_later() {
    let mut stage = stage(tiny().victim(VictimPolicy::Random), TWO);
    enter(&mut stage, [100, 100]);
    let mut hit = [false; 2];
    for _ in 0..200 {
        let outcome = close(&mut stage);
        assert!(outcome == FIRST || outcome == SECOND, "{outcome}");
        let (victim, other) = if outcome == FIRST { (1, 2) } else { (2, 1) };
        hit[victim - 1] = true;
        assert_eq!(stage.step(victim, "end"), format!("aborted; {other}: ok"));
        assert_eq!(stage.step(other, "end"), "committed");
        if hit == [true; 2] {
            return;
        }
    }
    panic!("one of two was never chosen: {hit:?}");
}

#[test]
fn priority_goes_before_policy() {
    assert_eq!(circle(VictimPolicy::Youngest, [50, 100]).1, FIRST);
    assert_eq!(circle(VictimPolicy::Oldest, [100, 50]).1, SECOND);
}

#[test]
fn the_error_names_both_transactions_the_database_and_the_key() {
    let (stage, outcome) = circle(VictimPolicy::Youngest, [100, 100]);
    assert_eq!(outcome, SECOND);
    let error = stage.error(2);
    assert_eq!(error.kind(), ErrorKind::Deadlock);
    assert!(error.is_retryable());
    let text = error.to_string();
    for part in ["clerk 1", "clerk 2", "\"t\"", "\"1\""] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[test]
fn the_victim_gives_back_everything() {
    let (mut stage, outcome) = circle(VictimPolicy::Youngest, [100, 100]);
    assert_eq!(outcome, SECOND);
    assert_eq!(stage.step(2, "end"), "aborted; 1: ok");
    assert_eq!(stage.step(1, "end"), "committed");
    let locks = stage.env().stats().locks;
    assert_eq!((locks.locks, locks.waiting), (0, 0), "{locks:?}");
    assert_eq!(locks.deadlocks, 1);
    // Whoever comes next finds every row free.
    stage.session(3, Level::Serializable, options(Level::Serializable).no_wait(true));
    stage.step(3, "begin");
    for key in 1..5 {
        assert_eq!(stage.step(3, &format!("put {key} 0")), "ok");
    }
    assert_eq!(stage.step(3, "end"), "committed");
    assert_eq!(stage.finish(), "1=0 2=0 3=0 4=0");
}

#[test]
fn three_transactions_in_a_circle_lose_one() {
    let mut stage = stage(tiny(), &[("1", "1"), ("2", "2"), ("3", "3")]);
    for number in 1..=3 {
        stage.session(number, Level::Serializable, options(Level::Serializable));
        stage.step(number, "begin");
        assert_eq!(stage.step(number, &format!("put {number} 0")), "ok");
    }
    assert_eq!(stage.step(1, "put 2 0"), "waits");
    assert_eq!(stage.step(2, "put 3 0"), "waits");
    assert_eq!(stage.step(3, "put 1 0"), "deadlock");
    assert_eq!(stage.step(3, "end"), "aborted; 2: ok");
    assert_eq!(stage.step(2, "end"), "committed; 1: ok");
    assert_eq!(stage.step(1, "end"), "committed");
}

fn holder_and(second: TransactionOptions) -> Stage {
    let mut stage = stage(tiny(), TWO);
    stage.session(1, Level::Serializable, options(Level::Serializable).label("holder"));
    stage.session(2, Level::Serializable, second);
    stage.step(1, "begin");
    stage.step(2, "begin");
    assert_eq!(stage.step(1, "put 1 11"), "ok");
    stage
}

#[test]
fn a_reader_whose_child_has_written_goes_over_to_the_whole_database_as_a_writer() {
    let mut stage = stage(tiny().escalate_after(4), TWO);
    for number in [1, 2] {
        stage.session(number, Level::Serializable, options(Level::Serializable));
        stage.step(number, "begin");
    }
    for (step, answer) in [("get 2", "20"), ("child", "ok"), ("put 1 11", "ok"), ("merge", "ok")] {
        assert_eq!(stage.step(1, step), answer, "{step}");
    }
    for key in 3..20 {
        assert_eq!(stage.step(1, &format!("get {key}")), "-");
    }
    assert_eq!(stage.step(2, "get 1"), "waits", "what the child wrote is locked no more");
    assert_eq!(stage.step(1, "abort"), "aborted; 2: 10");
}

#[test]
fn a_lock_that_is_not_granted_in_time_is_refused_and_names_its_holder() {
    let own = options(Level::Serializable).lock_timeout(Duration::from_millis(20));
    let mut stage = holder_and(own);
    assert_eq!(stage.step(2, "get 2"), "20");
    assert_eq!(stage.step(2, "put 1 12"), "waits");
    assert_eq!(stage.await_answer(2), "timeout");
    let error = stage.error(2);
    assert!(error.is_retryable());
    assert!(error.to_string().contains("holder"), "{error}");
    assert_eq!(stage.step(2, "end"), "aborted");
    assert_eq!(stage.step(1, "end"), "committed");
    assert_eq!(stage.finish(), "1=11 2=20");
}

#[test]
fn a_transaction_that_takes_too_long_is_refused() {
    let own = options(Level::Serializable).timeout(Duration::from_millis(20));
    let mut stage = holder_and(own);
    assert_eq!(stage.step(2, "put 1 12"), "waits");
    assert_eq!(stage.await_answer(2), "late");
    assert_eq!(stage.error(2).kind(), ErrorKind::TransactionTimeout);
    assert_eq!(stage.step(2, "end"), "aborted");
    assert_eq!(stage.step(1, "end"), "committed");
}

#[test]
fn who_does_not_want_to_wait_is_told_at_once() {
    let mut stage = holder_and(options(Level::Serializable).no_wait(true));
    assert_eq!(stage.step(2, "put 1 12"), "would-block");
    assert!(stage.error(2).to_string().contains("holder"), "{}", stage.error(2));
    assert_eq!(stage.step(2, "end"), "aborted");
    assert_eq!(stage.step(1, "end"), "committed");
}

#[test]
fn a_snapshot_over_the_budget_for_versions_is_too_old_and_the_next_one_is_not() {
    let mut stage = stage(tiny().version_bytes(4096), TWO);
    stage.session(1, Level::Snapshot, TransactionOptions::new());
    stage.session(2, Level::Serializable, options(Level::Serializable));
    assert_eq!(stage.step(1, "begin"), "ok");
    for round in 0..40 {
        assert_eq!(stage.step(2, "begin"), "ok");
        assert_eq!(stage.step(2, &format!("put k{round} {round}")), "ok");
        assert_eq!(stage.step(2, "put 1 99"), "ok");
        assert_eq!(stage.step(2, "end"), "committed");
    }
    assert_eq!(stage.step(1, "get 1"), "too-old");
    assert!(stage.error(1).is_retryable());
    assert_eq!(stage.step(1, "begin"), "ok");
    assert_eq!(stage.step(1, "get 1"), "99");
}
