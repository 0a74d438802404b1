//! Phantoms on trees of many small pages: a random range is read, forward or backward, whole or in
//! part, and then every key there could be is tried, without waiting.
//!
//! What must come of it follows from the rows alone. Inside of what was read nobody else inserts,
//! changes or deletes. Beyond the nearest rows outside of it everybody may. Between the two lies
//! the rest of the gaps at both ends, which may be protected with the range or not.

use crate::script::{environment, tiny};
use campanile::{Database, Environment, ErrorKind, Transaction};
use campanile_tests::flock::options;
use campanile_tests::history::Level;
use campanile_tests::workload::Choices;
use std::collections::BTreeSet;

/// Keys are numbers below this; about a third of them are there.
const KEYS: u64 = 400;

fn name(key: u64) -> String {
    format!("{key:05}")
}

struct World {
    env: Environment,
    db: Database,
    rows: BTreeSet<u64>,
    /// Locks may become one lock on everything.
    escalates: bool,
}

/// Rows over many pages of 512 bytes; then some of them are deleted again, whole pages too, with
/// or without somebody to clean up behind.
fn world(choices: &mut Choices) -> World {
    let escalates = choices.one_in(4);
    let env = environment(if escalates { tiny().escalate_after(4) } else { tiny() });
    let db = env.create_database("t").expect("a database");
    let mut rows: BTreeSet<u64> = (0..KEYS).filter(|_| choices.one_in(3)).collect();
    let put = |txn: &mut Transaction| {
        rows.iter().try_for_each(|key| db.put(txn, name(*key), vec![b'v'; 40]).map(drop))
    };
    env.run(put).expect("rows");
    let from = choices.below(KEYS);
    let gone: Vec<u64> = match choices.below(4) {
        0 => vec![],
        1 => rows.iter().copied().collect(),
        2 => rows.range(from..).copied().collect(),
        _ => rows.range(from..from + 120).copied().collect(),
    };
    let delete = |txn: &mut Transaction| {
        gone.iter().try_for_each(|key| db.delete(txn, name(*key)).map(drop))
    };
    env.run(delete).expect("deletes");
    rows.retain(|key| !gone.contains(key));
    if choices.one_in(2) {
        while env.step().expect("background work") {}
    }
    World { env, db, rows, escalates }
}

/// Reads a range and returns the part of it that is known now: from, to (left out).
fn read(world: &World, txn: &Transaction, choices: &mut Choices) -> (u64, u64) {
    let low = choices.below(KEYS);
    let high = (low + 1 + choices.below(120)).min(KEYS);
    let range = world.db.range(txn, name(low)..name(high)).expect("a range");
    let inside: Vec<u64> = world.rows.range(low..high).copied().collect();
    let number = |row: (Vec<u8>, Vec<u8>)| -> u64 {
        String::from_utf8(row.0).expect("text").parse().expect("a number")
    };
    let wanted = match choices.below(3) {
        0 => choices.below(inside.len() as u64 + 1) as usize,
        _ => usize::MAX,
    };
    let backward = choices.one_in(2);
    let rows: Vec<u64> = if backward {
        range.rev().take(wanted).map(|row| number(row.expect("a row"))).collect()
    } else {
        range.take(wanted).map(|row| number(row.expect("a row"))).collect()
    };
    let expected: Vec<u64> = if backward {
        inside.iter().rev().take(wanted).copied().collect()
    } else {
        inside.iter().take(wanted).copied().collect()
    };
    assert_eq!(rows, expected, "the range itself is read wrong");
    // Read to the end: all of the range is known. Else up to the last row that was seen.
    match (wanted > inside.len(), backward, rows.last()) {
        (true, ..) => (low, high),
        (false, false, Some(last)) => (low, last + 1),
        (false, true, Some(last)) => (*last, high),
        (false, _, None) => (low, low),
    }
}

enum Verdict {
    Must,
    May,
    MustNot,
}

impl World {
    /// Whether whoever writes `key` must wait for a reader of `from..to`.
    fn must_wait(&self, key: u64, (from, to): (u64, u64)) -> Verdict {
        if from == to {
            return Verdict::MustNot;
        }
        if (from..to).contains(&key) {
            return Verdict::Must;
        }
        if self.escalates {
            return Verdict::May;
        }
        if self.rows.contains(&key) {
            return Verdict::MustNot; // A row outside of the range was not read.
        }
        // In the gap that the first key of the range lies in, or in the one behind its last.
        let below = self.rows.range(..from).next_back();
        let above = self.rows.range(to..).next();
        let in_gaps = below.is_none_or(|row| key > *row) && above.is_none_or(|row| key < *row);
        if in_gaps { Verdict::May } else { Verdict::MustNot }
    }

    /// Writes one key in a transaction that does not wait, and takes it back.
    fn waits(&self, key: u64, choices: &mut Choices) -> bool {
        let levels = [Level::Serializable, Level::ReadCommitted, Level::ReadUncommitted];
        let own = options(*choices.pick(&levels)).no_wait(true);
        let mut txn = self.env.begin_with(own).expect("a transaction");
        let there = self.rows.contains(&key);
        let written = match (there, choices.one_in(2)) {
            (true, true) => self.db.delete(&mut txn, name(key)).map(drop),
            (false, true) => self.db.insert(&mut txn, name(key), "new").map(drop),
            _ => self.db.put(&mut txn, name(key), "new").map(drop),
        };
        txn.abort().expect("a rollback");
        match written {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) => panic!("{error}"),
        }
    }
}

fn rounds() -> u64 {
    let text = std::env::var("CAMPANILE_PHANTOM_ROUNDS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[test]
fn nobody_writes_into_a_range_that_was_read_and_everybody_beyond_it() {
    let (mut must, mut must_not, mut may) = (0, 0, [0, 0]);
    let mut wrong = Vec::new();
    for seed in 0..rounds() {
        let mut choices = Choices::new(seed);
        let world = world(&mut choices);
        let txn = world.env.begin_with(options(Level::Serializable)).expect("a transaction");
        let range = read(&world, &txn, &mut choices);
        for key in 0..KEYS {
            let waits = world.waits(key, &mut choices);
            let (expected, right) = match world.must_wait(key, range) {
                Verdict::Must => {
                    must += 1;
                    ("must wait", waits)
                }
                Verdict::MustNot => {
                    must_not += 1;
                    ("must not wait", !waits)
                }
                Verdict::May => {
                    may[usize::from(waits)] += 1;
                    ("may wait", true)
                }
            };
            if !right && wrong.len() < 8 {
                let there = world.rows.contains(&key);
                wrong.push(format!("seed {seed}: {range:?} was read, {key} ({there}) {expected}"));
            }
        }
        txn.commit().expect("a commit");
        let locks = world.env.stats().locks;
        assert_eq!(locks.locks, 0, "seed {seed}: locks are left over: {locks:?}");
    }
    println!("{must} writes had to wait, {must_not} had not, {may:?} (free, waiting) in the gaps");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(must > 0 && must_not > 0);
}
