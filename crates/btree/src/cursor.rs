//! A place in a tree.
//!
//! Owns: [`Cursor`]. Promises: its position is a key, so it means the same whatever splits, merges,
//! purges and deletes do around it; no latch and no borrow between calls; after an error it says so
//! for ever instead of leaving something out. Must never: show bytes of a page that is not its
//! private copy.

use std::ops::Bound;

use campanile_format::TxnId;
use campanile_format::planted::{self, Bug};
use campanile_txn::{Brief, Isolation, KeptLock, Snapshot, Txn};

use crate::descend::Target;
use crate::error::TreeError;
use crate::leaf_copy::LeafCopy;
use crate::locking::{Held, Scanning};
use crate::scan::Way;
use crate::tree::Tree;
use crate::view::{Reader, Seek};
use crate::visible::Sight;

/// A position in a tree, and the record there as it was when the cursor moved to it.
///
/// A move that finds nothing leaves the cursor where it was. A cursor that was never moved stands
/// before the first record for `next` and behind the last one for `prev`. It must be used with one
/// tree; with one reader too, or else it takes a new copy of the leaf for each.
#[derive(Debug, Default)]
pub struct Cursor {
    pub(crate) leaf: LeafCopy,
    /// Where a move looks first, so that a failed one leaves `leaf` as it was.
    pub(crate) spare: LeafCopy,
    key: Vec<u8>,
    /// Memory for the next key.
    former_key: Vec<u8>,
    /// The slot of the position in `leaf`; `None` if unknown.
    slot: Option<usize>,
    value: Value,
    /// The transaction that has locked the gap below the position.
    entered: Option<TxnId>,
    /// The lock on the position, if it is for as long as the cursor stands there.
    held: Option<KeptLock>,
    stands: bool,
    failed: bool,
}

/// The value at the position.
#[derive(Debug, Default)]
enum Value {
    /// Not there, or moved away.
    #[default]
    None,
    /// As it was seen; inline bytes are in the cursor's leaf copy.
    Seen(Sight),
    /// Fetched, or put through the cursor.
    Owned(Vec<u8>),
}

impl Cursor {
    /// A cursor that stands nowhere yet.
    #[must_use]
    pub fn new() -> Cursor {
        Cursor::default()
    }

    /// Moves to the record that `seek` describes. False if there is none.
    ///
    /// # Errors
    /// As [`Tree::get`]. After an error every call fails.
    pub fn seek(
        &mut self,
        tree: &Tree<'_>,
        reader: Reader<'_>,
        seek: Seek<'_>,
    ) -> Result<bool, TreeError> {
        self.seek_within(tree, reader, seek, Bound::Unbounded)
    }

    /// As [`Cursor::seek`], but not beyond the bound, which is an upper one for those that look
    /// for the lowest key and a lower one for the others: what lies beyond is not locked.
    pub(crate) fn seek_within(
        &mut self,
        tree: &Tree<'_>,
        mut reader: Reader<'_>,
        seek: Seek<'_>,
        until: Bound<&[u8]>,
    ) -> Result<bool, TreeError> {
        let up = |from, inclusive| Way::Up { from, inclusive, until };
        let down = |from, inclusive| Way::Down { from, inclusive, until };
        let way = match seek {
            Seek::First => up(&[], true),
            Seek::AtLeast(from) => up(from, true),
            Seek::Above(from) => up(from, false),
            Seek::AtMost(from) => down(Some(from), true),
            Seek::Below(from) => down(Some(from), false),
            Seek::Last => down(None, true),
            Seek::Exactly(key) => {
                return self.guarded(|cursor| cursor.go_exactly(tree, &mut reader, key));
            }
        };
        self.guarded(|cursor| cursor.go(tree, &mut reader, way, false))
    }

    /// Moves to the next record. False if there is none.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    pub fn next(&mut self, tree: &Tree<'_>, reader: Reader<'_>) -> Result<bool, TreeError> {
        self.next_within(tree, reader, Bound::Unbounded)
    }

    /// As [`Cursor::next`], but not beyond an upper bound.
    pub(crate) fn next_within(
        &mut self,
        tree: &Tree<'_>,
        mut reader: Reader<'_>,
        until: Bound<&[u8]>,
    ) -> Result<bool, TreeError> {
        self.guarded(|cursor| {
            let key = cursor.take_key();
            let way = Way::Up { from: &key, inclusive: !cursor.stands, until };
            let found = cursor.go_on(tree, &mut reader, way, &key);
            cursor.former_key = key;
            found
        })
    }

    /// Moves to the previous record. False if there is none.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    pub fn prev(&mut self, tree: &Tree<'_>, reader: Reader<'_>) -> Result<bool, TreeError> {
        self.prev_within(tree, reader, Bound::Unbounded)
    }

    /// As [`Cursor::prev`], but not beyond a lower bound.
    pub(crate) fn prev_within(
        &mut self,
        tree: &Tree<'_>,
        mut reader: Reader<'_>,
        until: Bound<&[u8]>,
    ) -> Result<bool, TreeError> {
        self.guarded(|cursor| {
            let key = cursor.take_key();
            let from = cursor.stands.then_some(&key[..]);
            let way = Way::Down { from, inclusive: false, until };
            let found = cursor.go_on(tree, &mut reader, way, &key);
            cursor.former_key = key;
            found
        })
    }

    /// The key at the position; `None` if the cursor stands nowhere.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.stands.then_some(&self.key)
    }

    /// The value that the record had when the cursor moved there; a large one is fetched now.
    ///
    /// # Errors
    /// As [`Tree::get`].
    ///
    /// # Panics
    /// If the cursor stands nowhere.
    pub fn value(&mut self, tree: &Tree<'_>) -> Result<&[u8], TreeError> {
        assert!(self.stands, "a cursor that stands nowhere has no value");
        if let Value::Seen(Sight::Overflow(overflow)) = self.value {
            let bytes = self.guarded(|_| {
                let mut bytes = Vec::new();
                tree.read_long(overflow, &mut bytes)?;
                Ok(bytes)
            })?;
            self.value = Value::Owned(bytes);
        }
        Ok(match &self.value {
            Value::Seen(Sight::OnPage(range)) => &self.leaf.bytes()[range.clone()],
            Value::Seen(Sight::Version(bytes)) => bytes,
            Value::Owned(bytes) => bytes,
            Value::None | Value::Seen(Sight::Overflow(_)) => &[],
        })
    }

    /// The length of the value, without fetching a large one. `None` if it stands nowhere.
    #[must_use]
    pub fn value_len(&self) -> Option<u64> {
        match &self.value {
            Value::None => None,
            Value::Seen(Sight::OnPage(range)) => Some(range.len() as u64),
            Value::Seen(Sight::Version(bytes)) => Some(bytes.len() as u64),
            Value::Seen(Sight::Overflow(overflow)) => Some(overflow.len),
            Value::Owned(bytes) => Some(bytes.len() as u64),
        }
    }

    /// Copies of key and value; `None` if the cursor stands nowhere.
    ///
    /// # Errors
    /// As [`Tree::get`].
    #[allow(clippy::type_complexity)]
    pub fn entry(&mut self, tree: &Tree<'_>) -> Result<Option<(Vec<u8>, Vec<u8>)>, TreeError> {
        if !self.stands {
            return Ok(None);
        }
        let value = self.value(tree)?.to_vec();
        Ok(Some((self.key.clone(), value)))
    }

    /// Replaces the value of the record at the position. False, and nothing done, if the record is
    /// gone or the cursor stands nowhere.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn put(&mut self, tree: &Tree<'_>, txn: &mut Txn, value: &[u8]) -> Result<bool, TreeError> {
        if !self.stands || !tree.replace(txn, &self.key, value)? {
            return Ok(false);
        }
        self.value = Value::Owned(value.to_vec());
        Ok(true)
    }

    /// Deletes the record at the position; the cursor stays between its neighbours. False if the
    /// record is gone already or the cursor stands nowhere.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn delete(&mut self, tree: &Tree<'_>, txn: &mut Txn) -> Result<bool, TreeError> {
        Ok(self.stands && tree.delete(txn, &self.key)?)
    }

    /// Runs a call, unless an earlier one failed, and remembers if this one does.
    fn guarded<R>(
        &mut self,
        call: impl FnOnce(&mut Self) -> Result<R, TreeError>,
    ) -> Result<R, TreeError> {
        if self.failed && !planted::is(Bug::IteratorContinuesAfterError) {
            return Err(TreeError::CursorFailed);
        }
        let result = call(self);
        self.failed = result.is_err();
        result
    }

    /// The slot of the position in a copy that is still good.
    fn slot_in_copy(&self, tree: &Tree<'_>, snapshot: Option<&Snapshot>) -> Option<usize> {
        self.slot.filter(|_| self.leaf.is_current(tree, snapshot))
    }

    fn stand_on(&mut self, slot: usize) {
        self.leaf.node().key_into(slot, &mut self.key);
        self.value = self.leaf.sight(slot).map_or(Value::None, Value::Seen);
        self.slot = Some(slot);
        self.stands = true;
    }

    /// Takes the key of the position out, and leaves the memory of the one before it.
    fn take_key(&mut self) -> Vec<u8> {
        self.former_key.clear();
        std::mem::replace(&mut self.key, std::mem::take(&mut self.former_key))
    }

    /// Moves from the position, whose key was taken out of the cursor: within the cursor's copy if
    /// it is still good and has what is looked for. Puts the key back if nothing is found.
    fn go_on(
        &mut self,
        tree: &Tree<'_>,
        reader: &mut Reader<'_>,
        way: Way<'_>,
        key: &[u8],
    ) -> Result<bool, TreeError> {
        let found = self.go_on_here(tree, reader, way).and_then(|found| match found {
            Some(found) => Ok(found),
            None => {
                let entered = self.has_entered(reader);
                self.go(tree, reader, way, entered)
            }
        });
        if !matches!(found, Ok(true)) {
            self.key.clear();
            self.key.extend_from_slice(key);
        }
        found
    }

    /// Moves within the cursor's copy; `None` if that does not say where to.
    fn go_on_here(
        &mut self,
        tree: &Tree<'_>,
        reader: &mut Reader<'_>,
        way: Way<'_>,
    ) -> Result<Option<bool>, TreeError> {
        let scanning = tree.how_to_scan(reader)?;
        let Some(slot) = self.slot_in_copy(tree, reader.snapshot()) else { return Ok(None) };
        if let Scanning::Free { .. } = scanning {
            let dirty = reader.txn().is_some_and(|txn| tree.reads_dirty(txn));
            let found = self.step_here(way, slot, dirty);
            if found == Some(true) {
                // What was held for the record before is needed no more.
                self.held = None;
            }
            return Ok(found);
        }
        if matches!(way, Way::Down { .. }) && !self.has_entered(reader) {
            return Ok(None);
        }
        let Some(txn) = reader.txn() else { return Ok(None) };
        let Some(found) = self.find_locked_here(tree, txn, way, slot)? else { return Ok(None) };
        let Some((slot, brief)) = found else { return Ok(Some(false)) };
        self.stand_on(slot);
        self.keep(tree, txn, brief);
        Ok(Some(true))
    }

    /// Moves within the copy without locks; not to what needs one.
    fn step_here(&mut self, way: Way<'_>, slot: usize, dirty: bool) -> Option<bool> {
        let next = match way {
            Way::Up { .. } => self.leaf.visible_from(slot + 1),
            Way::Down { .. } => self.leaf.visible_below(slot),
        }?;
        if dirty && self.leaf.is_overflow(next) {
            return None;
        }
        // The key of the position was taken out, and comes back if this is not the next one.
        self.leaf.node().key_into(next, &mut self.key);
        if !way.allows(&self.key) {
            return Some(false);
        }
        self.stand_on(next);
        Some(true)
    }

    /// Whether the gap below the position is locked, or need not be.
    fn has_entered(&self, reader: &Reader<'_>) -> bool {
        match reader {
            Reader::Txn(txn) => {
                txn.isolation() != Isolation::Serializable || self.entered == Some(txn.id())
            }
            Reader::Snapshot(_) | Reader::Uncommitted => true,
        }
    }

    /// Descends, leaf after leaf, until something is to be seen; stands on it.
    fn go(
        &mut self,
        tree: &Tree<'_>,
        reader: &mut Reader<'_>,
        way: Way<'_>,
        entered: bool,
    ) -> Result<bool, TreeError> {
        loop {
            let scanning = tree.how_to_scan(reader)?;
            if let (Scanning::Locking, Some(txn)) = (&scanning, reader.txn()) {
                let found = self.find_locked(tree, txn, way, entered)?;
                let Some((slot, brief)) = found else { return Ok(false) };
                self.arrive(slot);
                self.keep(tree, txn, brief);
                return Ok(true);
            }
            let Some(slot) = self.find_free(tree, reader.snapshot(), way)? else {
                return Ok(false);
            };
            if self.arrive_unlocked(tree, reader, slot)? {
                return Ok(true);
            }
        }
    }

    /// Stands on a slot of the spare copy.
    fn arrive(&mut self, slot: usize) {
        std::mem::swap(&mut self.leaf, &mut self.spare);
        self.stand_on(slot);
    }

    /// Stands on a slot of the spare copy that no lock protects. False if what it shows must not be
    /// looked at and has changed: look again.
    fn arrive_unlocked(
        &mut self,
        tree: &Tree<'_>,
        reader: &mut Reader<'_>,
        slot: usize,
    ) -> Result<bool, TreeError> {
        let mut brief = None;
        if let Reader::Txn(txn) = reader
            && tree.reads_dirty(txn)
            && self.spare.is_overflow(slot)
        {
            // Pages of a value that is taken back are free.
            brief = tree.txns.lock_briefly(txn, tree.file, &self.spare.node().key(slot))?;
            if !self.spare.is_current(tree, None) {
                if let Some(brief) = brief {
                    tree.txns.unlock(txn, brief);
                }
                return Ok(false);
            }
        }
        self.arrive(slot);
        if let Reader::Txn(txn) = reader {
            self.keep(tree, txn, brief);
        }
        Ok(true)
    }

    /// Stands on exactly this key.
    fn go_exactly(
        &mut self,
        tree: &Tree<'_>,
        reader: &mut Reader<'_>,
        key: &[u8],
    ) -> Result<bool, TreeError> {
        let (slot, held) = loop {
            let mark = reader.children_mark();
            let mut held = tree.lock_to_read(reader, key)?;
            let found = self.copy_exactly(tree, reader, key, &mut held).and_then(|slot| {
                let leaf = self.spare.version();
                Ok((slot, tree.is_still_so(reader, mark, key, leaf, &held)?))
            });
            match found {
                Ok((Some(slot), true)) => break (slot, held),
                found => {
                    tree.unlock(reader, held);
                    if let (None, true) = found? {
                        return Ok(false);
                    }
                }
            }
        };
        self.arrive(slot);
        if let Some(txn) = reader.txn() {
            let brief = if let Held::Briefly(brief) = held { Some(brief) } else { None };
            self.keep(tree, txn, brief);
        }
        self.entered = None;
        Ok(true)
    }

    /// Copies the leaf with this key, which is locked as `held` says; its slot in the spare copy.
    fn copy_exactly(
        &mut self,
        tree: &Tree<'_>,
        reader: &mut Reader<'_>,
        key: &[u8],
        held: &mut Held,
    ) -> Result<Option<usize>, TreeError> {
        loop {
            self.spare.take(tree, reader.snapshot(), Target::At(key))?;
            let found = self.spare.node().search(key).ok();
            let Some(slot) = found.filter(|slot| self.spare.is_visible(*slot)) else {
                return Ok(None);
            };
            match (&held, reader.txn()) {
                (Held::Nothing, Some(txn)) if self.spare.is_overflow(slot) => {
                    *held = tree.lock_briefly(txn, key)?;
                }
                _ => return Ok(Some(slot)),
            }
        }
    }

    /// Holds on to what the new position needs, and gives back what the old one needed.
    fn keep(&mut self, tree: &Tree<'_>, txn: &mut Txn, brief: Option<Brief>) {
        self.entered = Some(txn.id());
        // The new one first: it may be the old one.
        self.held = brief.map(|brief| tree.txns.keep_lock(txn, brief));
    }
}
