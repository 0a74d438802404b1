//! The white-box check: what two-phase locking and its log say of a history, beyond what readers
//! can tell.
//!
//! W1  While a transaction protects a key (it wrote it, or read it serializably), from then until
//!     its end is asked for, nobody else holds it in a way that does not go with it.
//! W2  Replayed one after the other in the order of their commit records, committed transactions
//!     read what they read: all reads of serializable ones.
//! W3  Those that wrote nothing fit between two commit records.
//! W4  A snapshot shows every commit acknowledged before it was asked for and none that was asked
//!     for after it was there.

use crate::history::{Element, History, Key, Level, Outcome, Txn};
use std::collections::HashMap;

/// Everything that is wrong.
#[must_use]
pub fn check(history: &History) -> Vec<String> {
    let mut wrong = overlaps(history);
    wrong.extend(replay(history));
    wrong.extend(snapshots(history));
    wrong
}

/// W1.
fn overlaps(history: &History) -> Vec<String> {
    struct Hold {
        from: u64,
        to: u64,
        txn: usize,
        writes: bool,
    }
    let mut holds: HashMap<Key, Vec<Hold>> = HashMap::new();
    for (at, txn) in history.txns.iter().enumerate() {
        for op in &txn.ops {
            let writes = op.appended().is_some();
            let protects = writes || txn.level == Level::Serializable;
            if protects && op.at < txn.ending {
                let hold = Hold { from: op.at, to: txn.ending, txn: at, writes };
                holds.entry(op.key).or_default().push(hold);
            }
        }
    }
    let mut wrong = Vec::new();
    for (key, mut holds) in holds {
        holds.sort_unstable_by_key(|hold| hold.from);
        // The two that reach furthest, writers and all: whoever comes must come after them.
        for (at, hold) in holds.iter().enumerate() {
            let earlier = holds[..at].iter().filter(|other| other.to > hold.from);
            let mut against = earlier.filter(|other| other.writes || hold.writes);
            if let Some(other) = against.find(|other| !is_one(history, other.txn, hold.txn)) {
                let what = |hold: &Hold| if hold.writes { "wrote" } else { "read" };
                wrong.push(format!(
                    "key {key}: T{} {} it at {} and held it until {}, T{} {} it at {}\n    {:?}\n    {:?}",
                    other.txn,
                    what(other),
                    other.from,
                    other.to,
                    hold.txn,
                    what(hold),
                    hold.from,
                    history.txns[other.txn],
                    history.txns[hold.txn],
                ));
            }
        }
    }
    wrong
}

/// Whether two records are of one transaction: a part that was rolled back has one of its own.
fn is_one(history: &History, a: usize, b: usize) -> bool {
    let (a, b) = (&history.txns[a], &history.txns[b]);
    (a.process, a.invoked) == (b.process, b.invoked)
}

/// The committed writers in the order of the log; `None` if the place of one is not known.
fn in_log_order(history: &History) -> Option<Vec<&Txn>> {
    let committed = history.txns.iter().filter(|txn| txn.outcome == Outcome::Committed);
    let mut writers: Vec<&Txn> = committed.filter(|txn| txn.appends().next().is_some()).collect();
    writers.sort_unstable_by_key(|txn| txn.commit_lsn);
    writers.iter().all(|txn| txn.commit_lsn != 0).then_some(writers)
}

/// W2 and W3.
fn replay(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(writers) = in_log_order(history) else { return wrong };
    let mut lists: HashMap<Key, Vec<Element>> = HashMap::new();
    // When each version of a list became the current one.
    let mut since: HashMap<Key, Vec<u64>> = HashMap::new();
    for txn in writers {
        let serializable = txn.level == Level::Serializable;
        for op in &txn.ops {
            let list = lists.entry(op.key).or_default();
            match (op.appended(), op.read()) {
                (Some(element), _) => {
                    list.push(element);
                    since.entry(op.key).or_default().push(txn.commit_lsn);
                }
                (None, Some(read)) if serializable && read != list => wrong.push(format!(
                    "committed at {}: key {} read as {read:?}, replayed as {list:?}",
                    txn.commit_lsn, op.key
                )),
                _ => {}
            }
        }
    }
    if !history.atomic_appends {
        return wrong.into_iter().filter(|_| is_all_serializable(history)).collect();
    }
    for (at, txn) in history.txns.iter().enumerate() {
        let committed = txn.outcome == Outcome::Committed && txn.level == Level::Serializable;
        if !committed || txn.appends().next().is_some() {
            continue;
        }
        // From the newest commit it saw to the oldest one that it did not see.
        let (mut from, mut to) = (0, u64::MAX);
        for op in &txn.ops {
            let since = since.get(&op.key).map(Vec::as_slice).unwrap_or_default();
            let seen = op.read().unwrap_or_default().len();
            from = from.max(seen.checked_sub(1).and_then(|at| since.get(at)).copied().unwrap_or(0));
            to = to.min(since.get(seen).copied().unwrap_or(u64::MAX));
        }
        if from >= to {
            wrong.push(format!("T{at} saw the commit at {from} but not the one at {to}: {txn:?}"));
        }
    }
    wrong
}

fn is_all_serializable(history: &History) -> bool {
    history.txns.iter().all(|txn| txn.level.protects_reads())
}

/// W4.
fn snapshots(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    if !history.atomic_appends {
        return wrong;
    }
    let mut appends: HashMap<Key, Vec<(&Txn, Element)>> = HashMap::new();
    for txn in history.txns.iter().filter(|txn| txn.outcome == Outcome::Committed) {
        for (key, element) in txn.appends() {
            appends.entry(key).or_default().push((txn, element));
        }
    }
    let shots = history.txns.iter().enumerate().filter(|(_, txn)| txn.level == Level::Snapshot);
    for (at, shot) in shots {
        for op in &shot.ops {
            let list = op.read().unwrap_or_default();
            for (txn, element) in appends.get(&op.key).into_iter().flatten() {
                let seen = list.contains(element);
                if !seen && txn.completed < shot.invoked {
                    wrong.push(format!("T{at} misses {element} under key {}", op.key));
                }
                // Its `ending` is the tick after it was taken.
                if seen && txn.ending > shot.ending {
                    wrong.push(format!("T{at} sees {element}, committed after it was taken"));
                }
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Action, Op};

    fn txn(level: Level, lsn: u64, times: [u64; 3], ops: &[(u64, Key, Action)]) -> Txn {
        let [invoked, ending, completed] = times;
        let ops =
            ops.iter().map(|(at, key, action)| Op { at: *at, key: *key, action: action.clone() });
        Txn {
            process: invoked as u32,
            level,
            outcome: Outcome::Committed,
            invoked,
            ending,
            completed,
            commit_lsn: lsn,
            ops: ops.collect(),
        }
    }

    fn wrong(txns: Vec<Txn>) -> String {
        check(&History { txns, atomic_appends: true }).join("\n")
    }

    use Action::{Append, Read};
    use Level::{Serializable, Snapshot};

    #[test]
    fn a_serial_history_is_right() {
        let first = txn(Serializable, 1, [0, 3, 4], &[(1, 1, Read(vec![])), (2, 1, Append(7))]);
        let second = txn(Serializable, 0, [5, 7, 8], &[(6, 1, Read(vec![7]))]);
        let third = txn(Snapshot, 0, [9, 10, 12], &[(11, 1, Read(vec![7]))]);
        assert_eq!(wrong(vec![first, second, third]), "");
    }

    #[test]
    fn two_who_hold_one_key_at_once_are_seen_even_if_all_reads_are_right() {
        let first = txn(Serializable, 1, [0, 9, 10], &[(2, 1, Append(7))]);
        let second = txn(Serializable, 2, [1, 5, 6], &[(4, 1, Append(8))]);
        assert!(wrong(vec![first, second]).contains("held it until 9"));
        let reader = txn(Serializable, 0, [0, 9, 10], &[(2, 1, Read(vec![]))]);
        let writer = txn(Serializable, 2, [1, 5, 6], &[(4, 1, Append(8))]);
        assert!(wrong(vec![reader, writer]).contains("T0 read it at 2"));
    }

    #[test]
    fn a_read_that_the_log_does_not_explain_is_seen() {
        let first = txn(Serializable, 2, [0, 2, 3], &[(1, 1, Append(7))]);
        let second = txn(Serializable, 1, [4, 7, 8], &[(5, 1, Read(vec![7])), (6, 2, Append(8))]);
        assert!(wrong(vec![first, second]).contains("replayed as []"));
    }

    #[test]
    fn a_reader_between_no_two_commits_is_seen() {
        let first = txn(Serializable, 1, [0, 2, 3], &[(1, 1, Append(7))]);
        let second = txn(Serializable, 2, [4, 6, 7], &[(5, 2, Append(8))]);
        let reader = [(9, 1, Read(vec![])), (10, 2, Read(vec![8]))];
        let reader = txn(Serializable, 0, [8, 11, 12], &reader);
        assert!(wrong(vec![first, second, reader]).contains("saw the commit at 2 but not"));
    }

    #[test]
    fn snapshots_show_what_was_acknowledged_and_nothing_that_came_later() {
        let writer = |times| txn(Serializable, 1, times, &[(1, 1, Append(7))]);
        let stale = txn(Snapshot, 0, [5, 6, 9], &[(7, 1, Read(vec![]))]);
        assert!(wrong(vec![writer([0, 2, 3]), stale]).contains("misses 7"));
        let early = txn(Snapshot, 0, [0, 1, 9], &[(7, 1, Read(vec![7]))]);
        assert!(wrong(vec![writer([0, 2, 3]), early]).contains("after it was taken"));
    }
}
