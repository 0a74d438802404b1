//! Random programs against a `BTreeMap`: everything at once.

use std::collections::BTreeMap;
use std::ops::Bound;

use campanile_btree::{Cursor, Reader, Seek};
use campanile_txn::{Snapshot, Txn};

use crate::rig::{Dice, Rig, Sizes, pairs};

pub type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// What keys and values look like.
#[derive(Clone, Copy, Debug)]
pub struct Taste {
    /// Keys come from a pool of so many.
    pub keys: usize,
    /// Long keys that differ late, between short ones.
    pub adversarial: bool,
    /// One value in so many is large.
    pub large_one_in: usize,
}

/// Key number `index` of the pool.
pub fn key(taste: Taste, max_key: usize, index: usize) -> Vec<u8> {
    let mut dice = Dice::new(index as u64 + 1);
    if !taste.adversarial {
        let len = 1 + dice.below(12);
        return dice.bytes(len);
    }
    let common = [0, 1, max_key / 2, max_key - 4, max_key - 2][dice.below(5)];
    let mut key = vec![b'a' + (dice.below(2) as u8); common];
    let rest = dice.below(3.min(max_key - common + 1));
    key.extend(dice.bytes(rest));
    key
}

pub fn value(dice: &mut Dice, taste: Taste, page_bytes: usize) -> Vec<u8> {
    if taste.large_one_in > 0 && dice.one_in(taste.large_one_in) {
        let len = dice.below(page_bytes * 6);
        return dice.bytes(len);
    }
    let limit = page_bytes / 4;
    let len = match dice.below(6) {
        0 => limit - 2 + dice.below(5),
        1 => limit / 2,
        _ => dice.below(24),
    };
    dice.bytes(len)
}

/// A cursor and where the model has it.
struct Walker {
    cursor: Cursor,
    at: Option<Vec<u8>>,
}

/// A program under way.
pub struct Program {
    pub rig: Rig,
    dice: Dice,
    taste: Taste,
    committed: Model,
    snapshots: Vec<(Snapshot, Model, Walker)>,
    walkers: Vec<Walker>,
    /// What the programs came across: a test that never met something proves nothing about it.
    pub met: Met,
}

/// How often, or how much at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Met {
    pub depth: u64,
    pub leaves: u64,
    pub ghosts: u64,
    pub long_values: u64,
    pub buried_pages: u64,
    pub aborts: u64,
    pub partial_rollbacks: u64,
    pub shrinkings: u64,
    pub snapshots_checked: u64,
}

impl Program {
    pub fn new(seed: u64, sizes: Sizes, taste: Taste, durable: bool) -> Program {
        let walkers = (0..8).map(|_| Walker { cursor: Cursor::new(), at: None }).collect();
        Program {
            rig: Rig::durable(sizes, durable),
            dice: Dice::new(seed),
            taste,
            committed: Model::new(),
            snapshots: Vec::new(),
            walkers,
            met: Met::default(),
        }
    }

    fn verify(&mut self) {
        let stats = self.rig.verify().stats;
        let met = &mut self.met;
        met.depth = met.depth.max(stats.depth);
        met.shrinkings += u64::from(stats.leaf_pages < met.leaves);
        met.leaves = stats.leaf_pages;
        met.ghosts = met.ghosts.max(stats.ghosts);
        met.long_values = met.long_values.max(stats.overflow_entries);
        met.buried_pages = met.buried_pages.max(stats.buried_pages);
    }

    /// Runs `transactions` transactions of up to `steps` steps, checking all the way.
    pub fn run(&mut self, transactions: usize, steps: usize) {
        for _ in 0..transactions {
            if self.snapshots.len() < 3 && self.dice.one_in(3) {
                let snapshot = self.rig.txns.snapshot().unwrap();
                let walker = Walker { cursor: Cursor::new(), at: None };
                self.snapshots.push((snapshot, self.committed.clone(), walker));
            }
            self.transaction(steps);
            if self.dice.one_in(2) {
                self.rig.forest.clean(&self.rig.txns).unwrap();
            }
            if self.dice.one_in(4) {
                self.rig.txns.step().unwrap();
            }
            self.check_snapshots();
            if !self.snapshots.is_empty() && self.dice.one_in(3) {
                let which = self.dice.below(self.snapshots.len());
                self.snapshots.remove(which);
            }
            self.verify();
        }
        self.snapshots.clear();
        self.rig.clean_all();
        self.verify();
        let expected: Vec<_> = self.committed.clone().into_iter().collect();
        assert!(self.rig.pairs() == expected);
    }

    /// Closes, opens again, checks.
    pub fn reopen(self) -> Program {
        let Program { rig, dice, taste, committed, met, .. } = self;
        let rig = rig.reopen();
        rig.verify();
        let expected: Vec<_> = committed.clone().into_iter().collect();
        assert!(rig.pairs() == expected);
        let walkers = (0..8).map(|_| Walker { cursor: Cursor::new(), at: None }).collect();
        Program { rig, dice, taste, committed, snapshots: Vec::new(), walkers, met }
    }

    fn transaction(&mut self, steps: usize) {
        let mut txn = self.rig.begin();
        let mut model = self.committed.clone();
        let mut saved = None;
        let deleting = self.dice.one_in(4);
        for _ in 0..1 + self.dice.below(steps) {
            match self.dice.below(20) {
                0 if saved.is_none() => {
                    saved = Some((self.rig.txns.savepoint(&txn), model.clone()));
                }
                1 => {
                    if let Some((savepoint, then)) = saved.take() {
                        self.rig.txns.rollback_to(&mut txn, &savepoint).unwrap();
                        model = then;
                        self.met.partial_rollbacks += 1;
                    }
                }
                2..=5 => self.walk(&mut txn, &mut model),
                6 => self.look(&mut txn, &model),
                _ => self.change(&mut txn, &mut model, deleting),
            }
        }
        self.check_state(&mut txn, &model);
        if self.dice.one_in(4) {
            self.rig.abort(txn);
            self.met.aborts += 1;
            self.check_uncommitted();
        } else {
            self.rig.commit(txn);
            self.committed = model;
        }
    }

    fn change(&mut self, txn: &mut Txn, model: &mut Model, deleting: bool) {
        let tree = self.rig.forest.tree(&self.rig.txns, self.rig.file);
        let key = any_key(&mut self.dice, self.taste, &self.rig);
        let there = model.contains_key(&key);
        if self.dice.below(10) < if deleting { 8 } else { 3 } {
            assert_eq!(tree.delete(txn, &key).unwrap(), there);
            model.remove(&key);
            return;
        }
        let value = value(&mut self.dice, self.taste, self.rig.sizes.page_bytes);
        let done = match self.dice.below(6) {
            0 => {
                let done = tree.insert(txn, &key, &value).unwrap();
                assert_eq!(done, !there);
                done
            }
            1 => {
                let done = tree.replace(txn, &key, &value).unwrap();
                assert_eq!(done, there);
                done
            }
            _ => {
                assert_eq!(tree.put(txn, &key, &value).unwrap(), there);
                true
            }
        };
        if done {
            model.insert(key, value);
        }
    }

    fn look(&mut self, txn: &mut Txn, model: &Model) {
        let tree = self.rig.forest.tree(&self.rig.txns, self.rig.file);
        let key = any_key(&mut self.dice, self.taste, &self.rig);
        let got = tree.get(Reader::Txn(txn), &key).unwrap();
        assert_eq!(got.as_ref(), model.get(&key));
        let len = tree.value_len(Reader::Txn(txn), &key).unwrap();
        assert_eq!(len, model.get(&key).map(|value| value.len() as u64));
        let below = (Bound::Unbounded, Bound::Excluded(key.clone()));
        let found = tree.find(Reader::Txn(txn), Seek::Below(&key)).unwrap();
        let expected = model.range(below).next_back();
        assert_eq!(found.as_ref().map(|(k, v)| (k, v)), expected);
        let found = tree.find(Reader::Txn(txn), Seek::AtLeast(&key)).unwrap();
        assert_eq!(found.as_ref().map(|(k, v)| (k, v)), model.range(key..).next());
    }

    /// Moves one of the cursors, and now and then changes the record under it.
    fn walk(&mut self, txn: &mut Txn, model: &mut Model) {
        let which = self.dice.below(self.walkers.len());
        let mut walker =
            std::mem::replace(&mut self.walkers[which], Walker { cursor: Cursor::new(), at: None });
        let tree = self.rig.forest.tree(&self.rig.txns, self.rig.file);
        if self.dice.one_in(6) {
            let key = any_key(&mut self.dice, self.taste, &self.rig);
            let found = walker.cursor.seek(&tree, Reader::Txn(txn), Seek::AtLeast(&key)).unwrap();
            let expected = model.range(key..).next().map(|(key, _)| key.clone());
            assert_eq!(found, expected.is_some());
            walker.at = expected.or(walker.at);
        }
        for _ in 0..1 + self.dice.below(6) {
            let forward = self.dice.one_in(2);
            step_walker(&mut walker, &tree, Reader::Txn(txn), model, forward);
        }
        if let Some(at) = walker.at.clone() {
            let there = model.contains_key(&at);
            match self.dice.below(6) {
                0 => {
                    assert_eq!(walker.cursor.delete(&tree, txn).unwrap(), there);
                    model.remove(&at);
                }
                1 => {
                    let value = value(&mut self.dice, self.taste, self.rig.sizes.page_bytes);
                    assert_eq!(walker.cursor.put(&tree, txn, &value).unwrap(), there);
                    if there {
                        assert_eq!(walker.cursor.value(&tree).unwrap(), value);
                        model.insert(at, value);
                    }
                }
                _ => {}
            }
        }
        self.walkers[which] = walker;
    }

    fn check_state(&mut self, txn: &mut Txn, model: &Model) {
        let tree = self.rig.forest.tree(&self.rig.txns, self.rig.file);
        let seen = pairs(&tree, &mut Reader::Txn(txn));
        assert!(seen.iter().map(|(k, v)| (k, v)).eq(model.iter()), "the transaction's own view");
    }

    fn check_uncommitted(&self) {
        let seen = self.rig.pairs();
        assert!(seen.iter().map(|(k, v)| (k, v)).eq(self.committed.iter()), "after the rollback");
    }

    fn check_snapshots(&mut self) {
        let tree = self.rig.forest.tree(&self.rig.txns, self.rig.file);
        for (snapshot, model, walker) in &mut self.snapshots {
            self.met.snapshots_checked += 1;
            let seen = pairs(&tree, &mut Reader::Snapshot(snapshot));
            assert!(seen.iter().map(|(k, v)| (k, v)).eq(model.iter()), "a snapshot's view");
            for _ in 0..4 {
                let forward = self.dice.below(3) > 0;
                step_walker(walker, &tree, Reader::Snapshot(snapshot), model, forward);
            }
            let index = self.dice.below(self.taste.keys);
            let key = key(self.taste, self.rig.sizes.page_bytes / 4, index);
            let got = tree.get(Reader::Snapshot(snapshot), &key).unwrap();
            assert_eq!(got.as_ref(), model.get(&key));
        }
    }
}

fn step_walker(
    walker: &mut Walker,
    tree: &campanile_btree::Tree<'_>,
    reader: Reader<'_>,
    model: &Model,
    forward: bool,
) {
    let expected = match (&walker.at, forward) {
        (None, true) => model.iter().next(),
        (None, false) => model.iter().next_back(),
        (Some(at), true) => model.range((Bound::Excluded(at.clone()), Bound::Unbounded)).next(),
        (Some(at), false) => model.range(..at.clone()).next_back(),
    };
    let moved = if forward {
        walker.cursor.next(tree, reader).unwrap()
    } else {
        walker.cursor.prev(tree, reader).unwrap()
    };
    assert_eq!(moved, expected.is_some(), "from {:?}, forward {forward}", walker.at);
    if let Some((key, value)) = expected {
        assert_eq!(walker.cursor.key(), Some(key.as_slice()));
        assert_eq!(walker.cursor.value(tree).unwrap(), value);
        walker.at = Some(key.clone());
    }
    assert_eq!(walker.cursor.key(), walker.at.as_deref());
}

fn any_key(dice: &mut Dice, taste: Taste, rig: &Rig) -> Vec<u8> {
    key(taste, rig.sizes.page_bytes / 4, dice.below(taste.keys))
}
