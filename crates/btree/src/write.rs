//! Putting and deleting records.
//!
//! Owns: put, insert, replace, delete. Promises: an operation that fails leaves the transaction as
//! it was before it (B9); what it replaced can be undone by key alone. Must never: remove an entry
//! from a page (deleting leaves a ghost; see `clean.rs`).

use std::borrow::Cow;

use campanile_format::limits::MAX_VALUE_BYTES;
use campanile_format::planted::{self, Bug};
use campanile_format::record::Undo;
use campanile_format::{FileId, Lsn, Node, PageBytes, PageOp, Value, is_inline, max_key};
use campanile_pagestore::PageWrite;
use campanile_txn::{By, Txn};

use crate::descend::{damaged, node_of};
use crate::error::TreeError;
use crate::gap::{ClosedGap, Entry, place_of};
use crate::tree::{Tree, one};
use crate::visible::Stored;

/// How often one operation may have to make room before the tree must be damaged: more than there
/// are entries in the largest page.
const MAX_ATTEMPTS: usize = 8192;

/// What a write does about a key that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Put,
    InsertOnly,
    ReplaceOnly,
}

impl Mode {
    /// Whether nothing may be stored, given that the key is there or not.
    fn forbids(self, there: bool) -> bool {
        match self {
            Mode::Put => false,
            Mode::InsertOnly => there,
            Mode::ReplaceOnly => !there,
        }
    }
}

/// A latched leaf and the place in it.
pub(crate) type RoomFor<'e> = (PageWrite<'e>, Result<usize, usize>);

/// What became of a write on its leaf.
enum Outcome {
    /// The mode forbade it.
    Refused,
    /// The key is new.
    Inserted,
    /// The key was there with this value.
    Replaced(Stored),
}

impl<'e> Tree<'e> {
    /// Stores `value` under `key`. True if the key was there before.
    ///
    /// # Errors
    /// Key or value too long, damage, I/O, a lock that was not granted, a full file.
    pub fn put(&self, txn: &mut Txn, key: &[u8], value: &[u8]) -> Result<bool, TreeError> {
        let outcome = self.store_pair(txn, key, value, Mode::Put)?;
        Ok(matches!(outcome, Outcome::Replaced(_)))
    }

    /// Stores `value` under `key` if the key is not there. True if it was stored.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn insert(&self, txn: &mut Txn, key: &[u8], value: &[u8]) -> Result<bool, TreeError> {
        let outcome = self.store_pair(txn, key, value, Mode::InsertOnly)?;
        Ok(matches!(outcome, Outcome::Inserted))
    }

    /// Stores `value` under `key` if the key is there. True if it was stored.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn replace(&self, txn: &mut Txn, key: &[u8], value: &[u8]) -> Result<bool, TreeError> {
        let outcome = self.store_pair(txn, key, value, Mode::ReplaceOnly)?;
        Ok(matches!(outcome, Outcome::Replaced(_)))
    }

    /// Deletes `key`. True if it was there.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn delete(&self, txn: &mut Txn, key: &[u8]) -> Result<bool, TreeError> {
        if key.len() > max_key(self.page_bytes()) {
            return Ok(false);
        }
        self.lock_to_write(txn, key)?;
        self.statement(txn, |tree, txn| {
            let Some(old) = tree.make_ghost(txn, key)? else { return Ok(false) };
            if let Stored::Overflow(overflow) = old {
                tree.bury_value(txn, overflow)?;
            }
            Ok(true)
        })
    }

    fn store_pair(
        &self,
        txn: &mut Txn,
        key: &[u8],
        value: &[u8],
        mode: Mode,
    ) -> Result<Outcome, TreeError> {
        self.check_lengths(key, value)?;
        self.lock_to_write(txn, key)?;
        if is_inline(self.page_bytes(), key.len(), value.len() as u64) {
            return self.statement(txn, |tree, txn| {
                tree.store_and_bury(txn, key, &Value::Inline(value), mode)
            });
        }
        if mode != Mode::Put {
            // The key is locked: it will not come or go.
            let there = self.look_up(None, key, &mut Vec::new())?.0.is_some();
            if there != (mode == Mode::ReplaceOnly) {
                return Ok(Outcome::Refused);
            }
        }
        self.statement(txn, |tree, txn| {
            let overflow = tree.write_long(txn, value)?;
            tree.store_and_bury(txn, key, &Value::Overflow(overflow), mode)
        })
    }

    pub(crate) fn check_lengths(&self, key: &[u8], value: &[u8]) -> Result<(), TreeError> {
        let max = max_key(self.page_bytes());
        if key.len() > max {
            return Err(TreeError::KeyTooLong { len: key.len(), max });
        }
        let (len, max) = (value.len() as u64, MAX_VALUE_BYTES);
        if len > max {
            return Err(TreeError::ValueTooLong { len, max });
        }
        Ok(())
    }

    fn store_and_bury(
        &self,
        txn: &mut Txn,
        key: &[u8],
        value: &Value<'_>,
        mode: Mode,
    ) -> Result<Outcome, TreeError> {
        let outcome = self.store_entry(txn, key, value, mode)?;
        if let Outcome::Replaced(Stored::Overflow(overflow)) = &outcome {
            self.bury_value(txn, *overflow)?;
        }
        Ok(outcome)
    }

    fn store_entry(
        &self,
        txn: &mut Txn,
        key: &[u8],
        value: &Value<'_>,
        mode: Mode,
    ) -> Result<Outcome, TreeError> {
        // Until the new key is there, should it go into a gap that reaches over the end of its
        // leaf.
        let mut closed: Option<ClosedGap> = None;
        let (mut leaf, found) = loop {
            let Some((leaf, found)) = self.leaf_with_room(key, value, mode)? else {
                return Ok(Outcome::Refused);
            };
            // Whoever has scanned over a ghost has locked its key: only a new key needs the gap.
            let Err(slot) = found else { break (leaf, found) };
            match self.enter_gap(txn, leaf, slot, key, closed.as_ref())? {
                Entry::Open(leaf) => break (leaf, found),
                Entry::Shut(next) => {
                    drop(closed.take());
                    self.txns.wait_for_gap(txn, self.file, place_of(next.as_deref()))?;
                }
                Entry::Beyond(fence) => {
                    drop(closed.take());
                    closed = Some(self.close_gap(txn, fence)?);
                }
            }
        };
        let node = node_of(&leaf);
        let live = found.ok().filter(|slot| !node.is_ghost(*slot));
        let old = live.map(|slot| Stored::of(&node, slot));
        let file = self.file;
        let undo = match &old {
            Some(old) => Undo::Replace { file, key, old: old.value() },
            None => Undo::Insert { file, key },
        };
        let op = entry_op(found, key, *value);
        self.apply(By::Txn(txn), &mut [one(&mut leaf, op)], undo)?;
        Ok(old.map_or(Outcome::Inserted, Outcome::Replaced))
    }

    /// The leaf for `key`, latched, with room for an entry of `key` and `value` in the place that
    /// the search gave. Splits as often as needed. `None` if the mode forbids to store it there.
    pub(crate) fn leaf_with_room(
        &self,
        key: &[u8],
        value: &Value<'_>,
        mode: Mode,
    ) -> Result<Option<RoomFor<'e>>, TreeError> {
        for _ in 0..MAX_ATTEMPTS {
            let mut leaf = self.write_leaf(key)?;
            let node = node_of(&leaf);
            let mut found = node.search(key);
            if mode.forbids(found.is_ok_and(|slot| !node.is_ghost(slot))) {
                return Ok(None);
            }
            let mut fits = fits_at(&node, found, key, value);
            if !fits && self.purge_ghosts(&mut leaf)? {
                let node = node_of(&leaf);
                found = node.search(key);
                fits = fits_at(&node, found, key, value);
            }
            if fits {
                return Ok(Some((leaf, found)));
            }
            drop(leaf);
            self.make_room(key, value)?;
        }
        let leaf = self.write_leaf(key)?;
        Err(damaged(&leaf, "splitting it makes no room"))
    }

    /// Removes the ghosts of a latched leaf if nobody can need them any more (B7). True if there
    /// were any to remove.
    pub(crate) fn purge_ghosts(&self, leaf: &mut PageWrite<'e>) -> Result<bool, TreeError> {
        let node = node_of(leaf);
        let has_ghosts = (0..node.count()).any(|slot| node.is_ghost(slot));
        if !has_ghosts || !self.is_settled(leaf.lsn()) {
            return Ok(false);
        }
        // A scan that locks a ghost after the look at its lock finds its copy of the leaf outdated.
        leaf.expel();
        let node = node_of(leaf);
        let mut key = Vec::new();
        let ghosts: Vec<u16> = (0..node.count())
            .filter(|slot| node.is_ghost(*slot))
            .filter(|slot| {
                node.key_into(*slot, &mut key);
                self.is_boundary_for_nobody(&key)
            })
            .map(|slot| slot as u16)
            .collect();
        if ghosts.is_empty() {
            return Ok(false);
        }
        let op = PageOp::LeafPurge { slots: Cow::Owned(ghosts) };
        self.apply(By::System, &mut [one(leaf, op)], Undo::None)?;
        Ok(true)
    }

    /// Whether nobody has locked the key, or the gap below it, of a ghost.
    fn is_boundary_for_nobody(&self, key: &[u8]) -> bool {
        self.file == FileId::GRAVEYARD
            || self.txns.is_key_free(self.file, key)
            || planted::is(Bug::GhostPurgedUnderLock)
            || planted::is(Bug::GhostPurgedEarly)
    }

    /// Whether no active transaction changed a page of this LSN and every snapshot sees all of it.
    pub(crate) fn is_settled(&self, lsn: Lsn) -> bool {
        lsn < self.txns.settled_lsn() || planted::is(Bug::GhostPurgedEarly)
    }

    /// Turns the entry of `key` into a ghost; gives its value, or `None` if it is not there.
    fn make_ghost(&self, txn: &mut Txn, key: &[u8]) -> Result<Option<Stored>, TreeError> {
        let mut leaf = self.write_leaf(key)?;
        let node = node_of(&leaf);
        let Some(slot) = node.search(key).ok().filter(|slot| !node.is_ghost(*slot)) else {
            return Ok(None);
        };
        let old = Stored::of(&node, slot);
        let undo = Undo::Delete { file: self.file, key, old: old.value() };
        let op = PageOp::LeafGhost { slot: slot as u16, ghost: true };
        self.apply(By::Txn(txn), &mut [one(&mut leaf, op)], undo)?;
        self.forest.backlog.note(leaf.id());
        Ok(Some(old))
    }
}

/// Whether an entry of `key` and `value` fits this leaf, in place of the one there if there is one.
pub(crate) fn has_room<P: PageBytes>(node: &Node<P>, key: &[u8], value: &Value<'_>) -> bool {
    fits_at(node, node.search(key), key, value)
}

/// The same, where the search found its place.
fn fits_at<P: PageBytes>(
    node: &Node<P>,
    found: Result<usize, usize>,
    key: &[u8],
    value: &Value<'_>,
) -> bool {
    match found {
        Ok(slot) => node.replacement_fits(slot, value),
        Err(_) => node.entry_fits(key.len(), value),
    }
}

/// The op that stores an entry where the search found its place.
pub(crate) fn entry_op<'a>(
    found: Result<usize, usize>,
    key: &'a [u8],
    value: Value<'a>,
) -> PageOp<'a> {
    match found {
        Ok(slot) => PageOp::LeafReplace { slot: slot as u16, value },
        Err(slot) => PageOp::LeafInsert { slot: slot as u16, key, value },
    }
}
