//! One thread of a flock: which transactions it runs, and what it writes down of them.
//!
//! Owns the choices. Promises that a step is recorded before anybody else can see what it did.

use super::{Layout, read_range};
use super::{Meadow, PASTURE, Plan, Record, bytes, elements, name, open_record, options, row};
use crate::history::{Action, Element, Key, Level, Op, Outcome, Txn};
use crate::workload::Choices;
use campanile::{Durability, Environment, Lsn, Reads, Result, Transaction};
use std::sync::atomic::Ordering;

/// One thread.
pub(super) struct Animal<'a> {
    env: &'a Environment,
    plan: &'a Plan,
    pub(super) record: &'a Record,
    meadow: &'a Meadow,
    choices: Choices,
    process: u32,
    /// What it did.
    pub(super) txns: Vec<Txn>,
}

/// Steps that were taken back inside a transaction.
struct Gone {
    ops: Vec<Op>,
    /// When their locks went; `None`: with the transaction.
    ending: Option<u64>,
}

impl<'a> Animal<'a> {
    pub(super) fn new(
        env: &'a Environment,
        plan: &'a Plan,
        record: &'a Record,
        meadow: &'a Meadow,
        seed: u64,
        process: u32,
    ) -> Animal<'a> {
        let choices = Choices::new(seed);
        Animal { env, plan, record, meadow, choices, process, txns: Vec::new() }
    }

    pub(super) fn live(&mut self) -> Result<()> {
        for _ in 0..self.plan.txns {
            let window = self.record.begun.fetch_add(1, Ordering::Relaxed) / PASTURE;
            let first = window * self.plan.keys;
            match self.level() {
                Level::Snapshot => self.look(first)?,
                level => self.transact(level, first)?,
            }
        }
        Ok(())
    }

    fn level(&mut self) -> Level {
        let sum = self.plan.levels.iter().map(|(_, weight)| weight).sum();
        let mut chance = self.choices.below(sum);
        for (level, weight) in self.plan.levels {
            if chance < *weight {
                return *level;
            }
            chance -= weight;
        }
        unreachable!("chance is below the sum")
    }

    fn key(&mut self, first: Key) -> Key {
        first + self.choices.below(u64::from(self.plan.keys)) as Key
    }

    /// Lets others in.
    fn pause(&mut self) {
        if self.choices.one_in(2) {
            std::thread::yield_now();
        }
    }

    fn look(&mut self, first: Key) -> Result<()> {
        let mut txn = open_record(self.process, Level::Snapshot, self.record.tick());
        let snapshot = self.env.snapshot()?;
        txn.ending = self.record.tick();
        for _ in 0..1 + self.choices.below(4) {
            self.pause();
            self.read(&snapshot, first, &mut txn.ops)?;
        }
        drop(snapshot);
        txn.completed = self.record.tick();
        self.txns.push(txn);
        Ok(())
    }

    fn read(&mut self, reader: &impl Reads, first: Key, ops: &mut Vec<Op>) -> Result<()> {
        let plan = self.plan;
        if plan.ranges && self.choices.one_in(3) {
            let from = self.key(first);
            let to = from + 1 + self.choices.below(u64::from(plan.keys)) as Key;
            let keys = from..to.min(first + plan.keys);
            return read_range(self.meadow, plan, self.record, reader, keys, ops);
        }
        let key = self.key(first);
        let list = self.list(reader, key)?;
        ops.push(Op { key, action: Action::Read(list), at: self.record.tick() });
        Ok(())
    }

    fn list(&self, reader: &impl Reads, key: Key) -> Result<Vec<Element>> {
        let lists = &self.meadow.lists;
        match self.plan.layout {
            Layout::Values => {
                Ok(lists.get(reader, name(key))?.map_or(vec![], |value| elements(&value)))
            }
            Layout::Rows => {
                let mut list = Vec::new();
                for row in lists.prefix(reader, format!("{}/", name(key)))? {
                    list.extend(elements(&row?.1));
                }
                Ok(list)
            }
        }
    }

    fn transact(&mut self, level: Level, first: Key) -> Result<()> {
        let mut record = open_record(self.process, level, self.record.tick());
        let mut gone = Vec::new();
        let mut txn = self.env.begin_with(options(level))?;
        let result = self.steps(&mut txn, first, &mut record, &mut gone);
        let abort = result.is_err() || self.choices.one_in(12);
        let ended = match (abort, self.plan.prepares && self.choices.one_in(8)) {
            (true, _) => {
                (record.ending, record.outcome) = (self.record.tick(), Outcome::Aborted);
                txn.abort()
            }
            (false, true) => self.in_two_phases(txn, &mut record),
            (false, false) => {
                record.ending = self.record.tick();
                let committed = txn.commit_with(self.plan.durability);
                committed.map(|lsn| record.commit_lsn = number_of(lsn))
            }
        };
        if ended.is_err() && !abort {
            record.outcome = Outcome::InDoubt;
        }
        record.completed = self.record.tick();
        for Gone { ops, ending } in gone {
            let ending = ending.unwrap_or(record.ending);
            self.txns.push(Txn { outcome: Outcome::Aborted, ops, ending, ..record.clone() });
        }
        self.txns.push(record);
        self.excuse(result)?;
        ended
    }

    fn in_two_phases(&mut self, txn: Transaction, record: &mut Txn) -> Result<()> {
        // Nobody asks for its end yet; after a crash somebody else may.
        record.ending = u64::MAX;
        let gid = record.invoked;
        let prepared = txn.prepare(gid.to_string().as_bytes())?;
        self.record.prepared[0].fetch_add(1, Ordering::Relaxed);
        let waiting = &self.record.waiting;
        if record.appends().next().is_some() {
            waiting.lock().expect("the record").insert(gid);
        }
        // Where a crash may come, long enough to be hit by it.
        let patience = if self.plan.durability == Durability::Sync { 60 } else { 2 };
        (0..self.choices.below(patience)).for_each(|_| std::thread::yield_now());
        waiting.lock().expect("the record").remove(&gid);
        record.ending = self.record.tick();
        if self.choices.one_in(3) {
            // Until that is acknowledged it may still be resolved the other way.
            prepared.abort()?;
            record.outcome = Outcome::Aborted;
            Ok(())
        } else {
            prepared.commit().map(|lsn| record.commit_lsn = number_of(lsn))
        }
    }

    /// Losing a deadlock is part of the game; anything else ends the thread.
    fn excuse(&self, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == campanile::ErrorKind::Deadlock => {
                self.record.deadlocks.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            other => other,
        }
    }

    fn steps(
        &mut self,
        txn: &mut Transaction,
        first: Key,
        record: &mut Txn,
        gone: &mut Vec<Gone>,
    ) -> Result<()> {
        for _ in 0..1 + self.choices.below(5) {
            self.pause();
            match self.choices.below(20) {
                0 if self.plan.scopes => self.scope(txn, first, record, gone)?,
                1 if self.plan.scopes => self.child(txn, first, record, gone)?,
                _ => self.step(txn, first, &mut record.ops)?,
            }
        }
        Ok(())
    }

    /// Some steps after a savepoint, kept or taken back.
    fn scope(
        &mut self,
        txn: &mut Transaction,
        first: Key,
        record: &mut Txn,
        gone: &mut Vec<Gone>,
    ) -> Result<()> {
        let savepoint = txn.savepoint()?;
        let before = record.ops.len();
        for _ in 0..1 + self.choices.below(3) {
            self.step(txn, first, &mut record.ops)?;
        }
        if self.choices.one_in(2) {
            txn.rollback_to(&savepoint)?;
            self.record.rollbacks.fetch_add(1, Ordering::Relaxed);
            gone.push(Gone { ops: appends_from(record, before), ending: None });
        }
        Ok(())
    }

    /// Some steps in a nested transaction, which ends one way or the other; a deadlock there costs
    /// the parent nothing.
    fn child(
        &mut self,
        txn: &Transaction,
        first: Key,
        record: &mut Txn,
        gone: &mut Vec<Gone>,
    ) -> Result<()> {
        let mut child = txn.nested()?;
        let before = record.ops.len();
        let mut result = Ok(());
        for _ in 0..1 + self.choices.below(3) {
            result = match self.choices.below(6) {
                // To any depth.
                0 => self.child(&child, first, record, gone),
                _ => self.step(&mut child, first, &mut record.ops),
            };
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() && !self.choices.one_in(3) {
            self.record.nested[0].fetch_add(1, Ordering::Relaxed);
            return child.commit();
        }
        let ending = Some(self.record.tick());
        child.abort()?;
        self.record.nested[1].fetch_add(1, Ordering::Relaxed);
        gone.push(Gone { ops: appends_from(record, before), ending });
        self.excuse(result)
    }

    fn step(&mut self, txn: &mut Transaction, first: Key, ops: &mut Vec<Op>) -> Result<()> {
        match self.choices.below(20) {
            0 => self.noise(txn, first),
            1..=9 => self.append(txn, first, ops),
            _ => self.read(txn, first, ops),
        }
    }

    /// Records between the lists that come and go: gaps split, boundaries become ghosts.
    fn noise(&mut self, txn: &mut Transaction, first: Key) -> Result<()> {
        let key = format!("{}~{}", name(self.key(first)), self.choices.below(3));
        if self.choices.one_in(2) {
            self.meadow.lists.delete(txn, key).map(drop)
        } else {
            self.meadow.lists.put(txn, key, vec![b'~'; 40]).map(drop)
        }
    }

    fn append(&mut self, txn: &mut Transaction, first: Key, ops: &mut Vec<Op>) -> Result<()> {
        let key = self.key(first);
        let Meadow { lists, guards } = self.meadow;
        if self.plan.guarded {
            guards.put(txn, name(key), "")?;
        }
        let mut list = self.list(txn, key)?;
        ops.push(Op { key, action: Action::Read(list.clone()), at: self.record.tick() });
        self.pause();
        let element = self.record.element.fetch_add(1, Ordering::Relaxed);
        // Recorded first: a step that fails half-way is undone, and nobody may have seen it.
        ops.push(Op { key, action: Action::Append(element), at: u64::MAX });
        match self.plan.layout {
            Layout::Values => {
                list.push(element);
                if self.choices.one_in(5) {
                    lists.delete(txn, name(key))?;
                }
                lists.put(txn, name(key), bytes(&list))?;
            }
            Layout::Rows => {
                if !lists.insert(txn, row(key, list.len()), bytes(&[element]))? {
                    let what = format!("key {key}: a row that was not read is there: {list:?}");
                    self.record.complain(what);
                }
            }
        }
        ops.last_mut().expect("it was pushed").at = self.record.tick();
        Ok(())
    }
}

fn number_of(lsn: Lsn) -> u64 {
    if lsn == Lsn::NONE { 0 } else { lsn.0 }
}

/// Takes the steps from `before` on out of the record; what they added is what others may not see.
fn appends_from(record: &mut Txn, before: usize) -> Vec<Op> {
    let undone = record.ops.split_off(before);
    undone.into_iter().filter(|op| op.appended().is_some()).collect()
}
