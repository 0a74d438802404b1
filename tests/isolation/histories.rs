//! Random histories from many threads: nothing forbidden at any level, and everything that is
//! permitted is seen, else the flocks would be too tame to prove anything.

use crate::flocks::{Tally, campaign};
use campanile_tests::checker::Kind;
use campanile_tests::flock::{Layout, Plan};
use campanile_tests::history::Level;

/// Transactions for each of the campaigns, of which there are five.
fn transactions() -> u64 {
    let text = std::env::var("CAMPANILE_HISTORY_TRANSACTIONS").ok();
    let all: u64 = text.and_then(|text| text.parse().ok()).unwrap_or(15_000);
    all.div_ceil(5)
}

fn right(name: &str, plan: impl Fn(u64) -> Plan) -> Tally {
    let (tally, wrong) = campaign(name, transactions(), 1, plan);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    tally
}

const COMMITTED: &[(Level, u64)] = &[(Level::ReadCommitted, 3), (Level::Snapshot, 1)];
const UNCOMMITTED: &[(Level, u64)] = &[(Level::ReadUncommitted, 3), (Level::Snapshot, 1)];
const MIXED: &[(Level, u64)] = &[
    (Level::Serializable, 3),
    (Level::ReadCommitted, 2),
    (Level::ReadUncommitted, 1),
    (Level::Snapshot, 2),
];

#[test]
fn serializable_histories_show_nothing_at_all() {
    let tally = right("serializable", Plan::new);
    assert!(tally.seen.is_empty(), "every anomaly is forbidden here");
    assert!(tally.deadlocks > 0 && tally.rollbacks > 0, "too tame: {tally:?}");
}

#[test]
fn read_committed_histories_show_what_is_permitted_and_nothing_else() {
    let tally = right("read-committed", |seed| Plan::at(seed, COMMITTED));
    for kind in [Kind::GSingle, Kind::GNonadjacent] {
        assert!(tally.seen.contains_key(&kind), "{} was never seen: {tally:?}", kind.name());
    }
    let skew = [Kind::G2Item, Kind::G2];
    assert!(skew.iter().any(|kind| tally.seen.contains_key(kind)), "no write skew: {tally:?}");
    assert!(tally.phantoms > 0, "no phantom: {tally:?}");
    for kind in [Kind::G0, Kind::G1a, Kind::G1b, Kind::G1c] {
        assert!(!tally.seen.contains_key(&kind), "{}", kind.name());
    }
}

#[test]
fn read_uncommitted_histories_show_dirty_reads_but_no_dirty_writes() {
    let tally = right("read-uncommitted", |seed| Plan::at(seed, UNCOMMITTED));
    for kind in [Kind::G1a, Kind::G1b, Kind::G1c, Kind::GSingle] {
        assert!(tally.seen.contains_key(&kind), "{} was never seen: {tally:?}", kind.name());
    }
    assert!(!tally.seen.contains_key(&Kind::G0));
}

#[test]
fn mixed_histories_keep_every_promise() {
    let tally = right("all levels at once", |seed| Plan::at(seed, MIXED));
    for kind in [Kind::G1a, Kind::GSingle] {
        assert!(tally.seen.contains_key(&kind), "{} was never seen: {tally:?}", kind.name());
    }
}

#[test]
fn weak_levels_lose_updates_and_serializable_ones_do_not() {
    // No guard: an append is a read and, later, a write. (Dirty readers would write what they read
    // of others into their own lists, rolled back or not: nothing could be told from that.)
    let tally = right("appends without a guard", |seed| Plan {
        levels: COMMITTED,
        layout: Layout::Values,
        guarded: false,
        ..Plan::new(seed)
    });
    assert!(tally.seen.contains_key(&Kind::IncompatibleOrder), "no lost update: {tally:?}");
}
