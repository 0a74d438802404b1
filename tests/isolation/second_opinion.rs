//! A second opinion: the checker of somebody else, crate `adya`, on the same histories. Two
//! programs that know nothing of each other must agree on every level.
//!
//! Owns the translation. What the two define differently is left out of the comparison: reads of
//! transactions that were rolled back (ours holds them to their promise too).

use adya::history::{Interner, Mop, Op as TheirOp, OpType, ReadValue, Scalar};
use adya::{Opts, Valid, Workload};
use campanile_tests::checker::{self, Time};
use campanile_tests::history::{Action, History, Level, Outcome, Txn};

/// What to ask both for: their name of the model, our level, whether time binds.
const MODELS: &[(&str, Level, Time)] = &[
    ("read-uncommitted", Level::ReadUncommitted, Time::Ignored),
    ("read-committed", Level::ReadCommitted, Time::Ignored),
    ("serializable", Level::Serializable, Time::Ignored),
    ("strict-serializable", Level::Serializable, Time::Binds),
];

/// Models on which the two disagree, with what each says.
pub fn disagreements(history: &History) -> Vec<String> {
    let history = comparable(history);
    let theirs = translate(&history);
    let mut found = Vec::new();
    for (model, level, time) in MODELS {
        let ours = checker::check(&history.promised(*level), *time);
        let opts = Opts { models: vec![(*model).to_owned()], ..Opts::default() };
        let theirs = adya::check(&theirs, Workload::ListAppend, &opts);
        // They call it unknown if there was nothing to infer from.
        if theirs.valid == Valid::Unknown {
            continue;
        }
        if ours.is_clean() != (theirs.valid == Valid::True) {
            let first = ours.forbidden().next().map(ToString::to_string);
            found.push(format!("{model}: theirs {:?}, ours {first:?}", theirs.anomaly_types));
        }
    }
    found
}

fn comparable(history: &History) -> History {
    let mut history = history.clone();
    history.atomic_appends = true;
    for txn in history.txns.iter_mut().filter(|txn| txn.outcome == Outcome::Aborted) {
        txn.ops.retain(|op| op.appended().is_some());
    }
    history
}

/// A history as they want it: every transaction invoked and completed by a process of its own, in
/// the order of time.
fn translate(history: &History) -> adya::History {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, txn) in history.txns.iter().enumerate() {
        events.push((txn.invoked, true, at));
        events.push((txn.completed, false, at));
    }
    events.sort_unstable();
    let mut interner = Interner::default();
    let mut ops = Vec::new();
    for (index, (_, begins, at)) in events.into_iter().enumerate() {
        let txn = &history.txns[at];
        let kind = match (begins, txn.outcome) {
            (true, _) => OpType::Invoke,
            (false, Outcome::Committed) if txn.completed == u64::MAX => OpType::Info,
            (false, Outcome::Committed) => OpType::Ok,
            (false, _) => OpType::Fail,
        };
        let value = steps(txn, begins, &mut interner);
        let process = Some(at as i64);
        ops.push(TheirOp { index: index as u64, kind, process, value, time: None });
    }
    adya::History::from_ops(ops, interner)
}

fn steps(txn: &Txn, begins: bool, interner: &mut Interner) -> Vec<Mop> {
    let mut number = |n: u32| interner.intern(Scalar::Int(i64::from(n)));
    let steps = txn.ops.iter().map(|op| {
        // Keys and elements must not meet.
        let key = number(op.key + 1_000_000_000);
        match &op.action {
            Action::Append(element) => Mop::Append { key, value: number(*element) },
            Action::Read(_) | Action::ReadInRange(_) if begins => {
                Mop::Read { key, value: ReadValue::Nil }
            }
            Action::Read(list) | Action::ReadInRange(list) => {
                let list = list.iter().map(|element| number(*element)).collect();
                Mop::Read { key, value: ReadValue::List(list) }
            }
        }
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use adya::sim::{Isolation, SimOpts, run};
    use campanile_tests::history::Op;
    use serde_json::Value;
    use std::collections::HashMap;

    /// A history of their simulated database, as ours.
    fn simulated(isolation: Isolation, seed: u64) -> History {
        let opts = SimOpts { isolation, seed, txns: 300, ..SimOpts::default() };
        let mut begun: HashMap<i64, u64> = HashMap::new();
        let mut txns = Vec::new();
        for (tick, line) in run(&opts).lines().enumerate() {
            let tick = tick as u64;
            let op: Value = serde_json::from_str(line).expect("a line of JSON");
            let process = op["process"].as_i64().expect("a process");
            let outcome = match op["type"].as_str() {
                Some("invoke") => {
                    begun.insert(process, tick);
                    continue;
                }
                Some("ok") => Outcome::Committed,
                Some("fail") => Outcome::Aborted,
                _ => Outcome::InDoubt,
            };
            let ops = op["value"].as_array().expect("steps").iter();
            let ops = ops.filter_map(|step| {
                let key = step[1].as_u64()? as u32;
                let action = match step[0].as_str() {
                    Some("append") => Action::Append(element(key, step[2].as_u64()?)),
                    _ => {
                        let list = step[2].as_array()?.iter();
                        Action::Read(list.map(|e| element(key, e.as_u64().unwrap_or(0))).collect())
                    }
                };
                Some(Op { key, action, at: tick })
            });
            txns.push(Txn {
                process: process as u32,
                level: Level::Serializable,
                outcome,
                invoked: begun[&process],
                ending: tick,
                completed: tick,
                commit_lsn: 0,
                ops: ops.collect(),
            });
        }
        History { txns, atomic_appends: true }
    }

    /// Theirs are unique for each key, ours in the whole history.
    fn element(key: u32, element: u64) -> u32 {
        key * 10_000 + element as u32
    }

    #[test]
    fn both_say_the_same_of_simulated_databases_right_and_wrong() {
        let (mut wrong, mut verdicts) = (Vec::new(), [0, 0]);
        for seed in 0..8 {
            for isolation in [
                Isolation::Serializable,
                Isolation::SnapshotIsolation,
                Isolation::ReadCommitted,
                Isolation::ReadUncommitted,
                Isolation::LostUpdate,
            ] {
                let mut history = simulated(isolation, seed);
                history.resolve_doubts();
                let clean = checker::check(&history, Time::Binds).is_clean();
                verdicts[usize::from(clean)] += 1;
                let found = disagreements(&history);
                wrong.extend(found.iter().map(|what| format!("{isolation:?} {seed}: {what}")));
            }
        }
        println!("{verdicts:?} histories (wrong, right)");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(verdicts[0] > 0 && verdicts[1] > 0);
    }
}
