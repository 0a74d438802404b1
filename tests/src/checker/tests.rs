//! The checker against hand-made histories: each anomaly once, as small as it gets, and beside
//! each the nearest history that is right. What is expected comes from Adya's definitions.

use super::{Kind, Report, Time, check};
use crate::history::{Action, History, Key, Level, Level::*, Op, Outcome, Txn};

/// A transaction at the same time as all others; steps as "a1 7" (append 7 to key 1), "r1 7 8"
/// (read key 1, found 7 and 8), "s1 7" (the same in a range).
fn txn(level: Level, outcome: Outcome, steps: &[&str]) -> Txn {
    let ops = steps.iter().map(|step| {
        let (what, rest) = step.split_at(1);
        let mut words = rest.split(' ').map(|word| word.parse::<u32>().expect("a number"));
        let key: Key = words.next().expect("a key");
        let list: Vec<u32> = words.collect();
        let action = match what {
            "a" => Action::Append(list[0]),
            "s" => Action::ReadInRange(list),
            _ => Action::Read(list),
        };
        Op { key, action, at: 1 }
    });
    let ops = ops.collect();
    let (process, commit_lsn) = (0, 0);
    Txn { process, level, outcome, invoked: 0, ending: 9, completed: 9, commit_lsn, ops }
}

fn at(txn: Txn, invoked: u64, completed: u64) -> Txn {
    Txn { invoked, completed, ..txn }
}

fn ok(level: Level, steps: &[&str]) -> Txn {
    txn(level, Outcome::Committed, steps)
}

fn judge(txns: Vec<Txn>) -> Report {
    check(&History { txns, atomic_appends: true }, Time::Binds)
}

/// The same transactions at each level: found with this name, and forbidden at those levels only.
fn forbidden_at(kind: Kind, levels: &[Level], steps: &[&[&str]]) {
    for level in [ReadUncommitted, ReadCommitted, Serializable, Snapshot] {
        let report = judge(steps.iter().map(|steps| ok(level, steps)).collect());
        let wanted = levels.contains(&level);
        assert!(report.has(kind), "{level:?}: {} is missed: {report:?}", kind.name());
        assert_eq!(!report.is_clean(), wanted, "{level:?}: {} {report:?}", kind.name());
    }
}

const EVERY: &[Level] = &[ReadUncommitted, ReadCommitted, Serializable, Snapshot];
const COMMITTED: &[Level] = &[ReadCommitted, Serializable, Snapshot];
const PROTECTED: &[Level] = &[Serializable, Snapshot];

#[test]
fn a_serial_history_is_clean() {
    let report = judge(vec![
        at(ok(Serializable, &["r1", "a1 1", "r1 1", "a2 2"]), 0, 1),
        at(ok(Serializable, &["r1 1", "a1 3", "r2 2"]), 2, 3),
        at(ok(Snapshot, &["s1 1 3", "s2 2", "s3"]), 4, 5),
    ]);
    assert!(report.anomalies.is_empty(), "{report:?}");
}

#[test]
fn dirty_writes_are_g0_and_forbidden_everywhere() {
    let writers: [&[&str]; 3] = [&["a1 1", "a2 2"], &["a1 3", "a2 4"], &["r1 1 3", "r2 4 2"]];
    forbidden_at(Kind::G0, EVERY, &writers);
}

#[test]
fn reading_what_is_rolled_back_is_g1a_and_permitted_only_to_dirty_readers() {
    for level in EVERY {
        let report =
            judge(vec![txn(Serializable, Outcome::Aborted, &["a1 1"]), ok(*level, &["r1 1"])]);
        assert!(report.has(Kind::G1a));
        assert_eq!(report.is_clean(), *level == ReadUncommitted);
    }
    let aborted_reader = txn(ReadCommitted, Outcome::Aborted, &["r1 1"]);
    let writer = txn(Serializable, Outcome::Aborted, &["a1 1"]);
    assert!(!judge(vec![writer, aborted_reader]).is_clean(), "aborted readers are promised it too");
}

#[test]
fn reading_half_a_transaction_is_g1b() {
    forbidden_at(Kind::G1b, COMMITTED, &[&["a1 1", "a1 2"], &["r1 1"]]);
    assert!(judge(vec![ok(Serializable, &["a1 1", "a1 2"]), ok(Snapshot, &["r1 1 2"])]).is_clean());
}

#[test]
fn information_that_flows_in_a_circle_is_g1c() {
    forbidden_at(Kind::G1c, COMMITTED, &[&["a1 1", "r2 2"], &["a2 2", "r1 1"]]);
}

#[test]
fn read_skew_is_g_single_and_permitted_below_serializable() {
    forbidden_at(Kind::GSingle, PROTECTED, &[&["r1", "r2 2"], &["a1 1", "a2 2"]]);
}

#[test]
fn a_lost_update_is_g_single() {
    // Both read the empty list; one append follows the other.
    let txns: [&[&str]; 3] = [&["r1", "a1 1"], &["r1", "a1 2"], &["r1 1 2"]];
    forbidden_at(Kind::GSingle, PROTECTED, &txns);
}

#[test]
fn two_anti_dependencies_that_are_not_adjacent_break_even_snapshots() {
    // The long fork: two readers see two writers in opposite orders.
    let txns: [&[&str]; 4] = [&["a1 1"], &["a2 2"], &["r1 1", "r2"], &["r1", "r2 2"]];
    forbidden_at(Kind::GNonadjacent, PROTECTED, &txns);
}

#[test]
fn write_skew_on_keys_is_g2_item() {
    let txns: [&[&str]; 3] = [&["r1", "r2", "a1 1"], &["r1", "r2", "a2 2"], &["r1 1", "r2 2"]];
    forbidden_at(Kind::G2Item, PROTECTED, &txns);
    let report = judge(txns.iter().map(|steps| ok(Serializable, steps)).collect());
    assert!(!report.has(Kind::GSingle) && !report.has(Kind::GNonadjacent), "{report:?}");
    assert!(!report.has_phantom());
}

#[test]
fn write_skew_on_a_range_is_g2_and_a_phantom() {
    let txns: [&[&str]; 3] = [&["s1", "s2", "a1 1"], &["s1", "s2", "a2 2"], &["r1 1", "r2 2"]];
    forbidden_at(Kind::G2, PROTECTED, &txns);
    let report = judge(txns.iter().map(|steps| ok(ReadCommitted, steps)).collect());
    assert!(report.is_clean() && report.has_phantom());
}

#[test]
fn the_read_only_anomaly_is_found() {
    // Fekete, O'Neil, O'Neil: T2 adds to 2, the reader sees it, T1 saw neither and writes 1.
    let txns: [&[&str]; 4] =
        [&["r1", "r2", "a1 1"], &["r2", "a2 2"], &["r1", "r2 2"], &["r1 1", "r2 2"]];
    let report = judge(txns.iter().map(|steps| ok(Serializable, steps)).collect());
    assert!(!report.is_clean() && report.has(Kind::G2Item), "{report:?}");
}

#[test]
fn levels_mix_by_the_promises_of_each() {
    // Write skew in which one side never protected its reads: nobody was promised anything else.
    let mixed = judge(vec![
        ok(Serializable, &["r1", "r2", "a1 1"]),
        ok(ReadCommitted, &["r1", "r2", "a2 2"]),
        ok(Snapshot, &["r1 1", "r2 2"]),
    ]);
    assert!(mixed.is_clean() && mixed.has(Kind::G2Item), "{mixed:?}");
    // A snapshot that sees half of a read-committed writer is wrong all the same.
    let half = judge(vec![ok(ReadCommitted, &["a1 1", "a2 2"]), ok(Snapshot, &["r1 1", "r2"])]);
    assert!(!half.is_clean(), "{half:?}");
}

#[test]
fn own_appends_must_be_seen() {
    for level in [ReadUncommitted, ReadCommitted, Serializable] {
        let report = judge(vec![ok(level, &["a1 1", "r1"])]);
        assert!(report.has(Kind::Internal) && !report.is_clean(), "{level:?}: {report:?}");
    }
}

#[test]
fn a_read_that_changes_is_internal_where_reads_are_protected() {
    let txns = |level| vec![ok(ReadCommitted, &["a1 1"]), ok(level, &["r1", "r1 1"])];
    assert!(judge(txns(Serializable)).has(Kind::Internal));
    assert!(judge(txns(Snapshot)).has(Kind::Internal));
    let permitted = judge(txns(ReadCommitted));
    assert!(permitted.is_clean() && permitted.has(Kind::GSingle), "{permitted:?}");
}

#[test]
fn reads_that_contradict_each_other_are_an_incompatible_order() {
    let txns = |level| {
        vec![
            ok(level, &["r1", "a1 1"]),
            ok(level, &["r1", "a1 2"]),
            ok(Snapshot, &["r1 1"]),
            ok(Snapshot, &["r1 2"]),
        ]
    };
    let history = |level, atomic_appends| History { txns: txns(level), atomic_appends };
    let report = check(&history(ReadCommitted, true), Time::Binds);
    assert!(report.has(Kind::IncompatibleOrder) && !report.is_clean());
    let lost = check(&history(ReadCommitted, false), Time::Binds);
    assert!(lost.has(Kind::IncompatibleOrder) && lost.is_clean(), "lost updates are permitted");
    assert!(!check(&history(Serializable, false), Time::Binds).is_clean(), "but not here");
}

#[test]
fn garbage_is_garbage() {
    assert!(judge(vec![ok(Serializable, &["a1 1"]), ok(Snapshot, &["r1 1 1"])]).has(Kind::Garbage));
    assert!(judge(vec![ok(Snapshot, &["r1 5"])]).has(Kind::Garbage), "nobody wrote it");
    assert!(judge(vec![ok(Serializable, &["a2 1"]), ok(Snapshot, &["r1 1"])]).has(Kind::Garbage));
    let twice = judge(vec![ok(Serializable, &["a1 1"]), ok(Serializable, &["a1 1"])]);
    assert!(twice.has(Kind::Malformed));
}

#[test]
fn a_stale_read_breaks_the_order_of_time_and_nothing_else() {
    let txns = vec![
        at(ok(Serializable, &["a1 1"]), 0, 1),
        at(ok(Snapshot, &["r1"]), 2, 3),
        at(ok(Snapshot, &["r1 1"]), 4, 5),
    ];
    let history = History { txns, atomic_appends: true };
    assert!(check(&history, Time::Ignored).is_clean());
    let strict = check(&history, Time::Binds);
    assert!(strict.has(Kind::Realtime) && !strict.is_clean(), "{strict:?}");
}

#[test]
fn an_acknowledged_append_that_nobody_ever_sees_again_is_lost() {
    let txns = vec![at(ok(Serializable, &["a1 1"]), 0, 1), at(ok(Serializable, &["r1"]), 2, 3)];
    assert!(judge(txns).has(Kind::Realtime));
    let behind = vec![
        at(ok(Serializable, &["a1 1"]), 0, 1),
        at(ok(Serializable, &["a1 2"]), 2, 3),
        at(ok(Serializable, &["r1 1"]), 4, 5),
    ];
    assert!(judge(behind).has(Kind::Realtime));
}

#[test]
fn the_order_of_time_is_kept_through_chains_although_only_its_reduction_is_stored() {
    let mut txns = vec![at(ok(Serializable, &["a1 1"]), 0, 1)];
    for step in 1..50_u64 {
        txns.push(at(ok(Serializable, &["r2"]), 2 * step, 2 * step + 1));
    }
    txns.push(at(ok(Serializable, &["r1"]), 200, 201));
    assert!(judge(txns).has(Kind::Realtime));
}

#[test]
fn what_was_in_doubt_committed_if_anybody_saw_it() {
    let mut history = History {
        txns: vec![
            txn(Serializable, Outcome::InDoubt, &["a1 1"]),
            txn(Serializable, Outcome::InDoubt, &["a1 2", "a2 3"]),
            at(ok(Snapshot, &["r1 1", "r2"]), 10, 11),
        ],
        atomic_appends: true,
    };
    history.resolve_doubts();
    assert_eq!(history.txns[0].outcome, Outcome::Committed);
    assert_eq!(history.txns[1].outcome, Outcome::Aborted);
    assert!(check(&history, Time::Binds).is_clean());
    // Half of one that was in doubt: it is there, so all of it must be.
    history.txns[0].ops.push(Op { key: 2, action: Action::Append(9), at: 1 });
    assert!(!check(&history, Time::Binds).is_clean());
}

#[test]
fn a_proof_names_every_step_of_the_shortest_circle() {
    let mut txns = vec![ok(Serializable, &["r1", "r2 2"]), ok(Serializable, &["a1 1", "a2 2"])];
    // A longer way around, which is no news.
    txns.push(ok(Serializable, &["r1 1", "a3 3"]));
    txns.push(ok(Serializable, &["r3 3"]));
    let report = judge(txns);
    let proof = &report.forbidden().next().expect("it is found").proof;
    assert!(
        proof.contains("T0 < T1: T0 read key 1 up to nothing yet, T1 appended next"),
        "{proof}"
    );
    assert!(proof.contains("T1 < T0: T0 read T1's 2 under key 2"), "{proof}");
    assert!(!proof.contains("T2"), "{proof}");
}
