//! A place in a tree.
//!
//! Owns: [`Cursor`]. Promises: its position is a key, so it means the same whatever splits, merges,
//! purges and deletes do around it; no latch and no borrow between calls; after an error it says so
//! for ever instead of leaving something out. Must never: show bytes of a page that is not its
//! private copy.

use campanile_format::planted::{self, Bug};
use campanile_txn::{Snapshot, Txn};

use crate::descend::Target;
use crate::error::TreeError;
use crate::leaf_copy::LeafCopy;
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
    leaf: LeafCopy,
    /// Where a move looks first, so that a failed one leaves `leaf` as it was.
    spare: LeafCopy,
    key: Vec<u8>,
    /// The slot of the position in `leaf`; `None` if unknown.
    slot: Option<usize>,
    value: Value,
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

/// Which way, and from where.
#[derive(Clone, Copy, Debug)]
enum Way<'k> {
    /// To the first key that is not below (`inclusive`) or above this one.
    Up { from: &'k [u8], inclusive: bool },
    /// To the last key that is not above (`inclusive`) or below this one.
    Down { from: &'k [u8], inclusive: bool },
    /// To the last key.
    Last,
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
        mut reader: Reader<'_>,
        seek: Seek<'_>,
    ) -> Result<bool, TreeError> {
        let way = match seek {
            Seek::First => Way::Up { from: &[], inclusive: true },
            Seek::AtLeast(from) | Seek::Exactly(from) => Way::Up { from, inclusive: true },
            Seek::Above(from) => Way::Up { from, inclusive: false },
            Seek::AtMost(from) => Way::Down { from, inclusive: true },
            Seek::Below(from) => Way::Down { from, inclusive: false },
            Seek::Last => Way::Last,
        };
        let exactly = match seek {
            Seek::Exactly(key) => Some(key),
            _ => None,
        };
        self.guarded(|cursor| {
            tree.lock_to_read(&mut reader)?;
            cursor.go(tree, reader.snapshot(), way, exactly)
        })
    }

    /// Moves to the next record. False if there is none.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    pub fn next(&mut self, tree: &Tree<'_>, mut reader: Reader<'_>) -> Result<bool, TreeError> {
        self.guarded(|cursor| {
            tree.lock_to_read(&mut reader)?;
            let snapshot = reader.snapshot();
            if let Some(slot) = cursor.slot_in_copy(tree, snapshot)
                && let Some(next) = cursor.leaf.visible_from(slot + 1)
            {
                cursor.stand_on(next);
                return Ok(true);
            }
            let stands = cursor.stands;
            let key = std::mem::take(&mut cursor.key);
            let way = Way::Up { from: &key, inclusive: !stands };
            cursor.go_keeping(tree, snapshot, way, &key)
        })
    }

    /// Moves to the previous record. False if there is none.
    ///
    /// # Errors
    /// As [`Cursor::seek`].
    pub fn prev(&mut self, tree: &Tree<'_>, mut reader: Reader<'_>) -> Result<bool, TreeError> {
        self.guarded(|cursor| {
            tree.lock_to_read(&mut reader)?;
            let snapshot = reader.snapshot();
            if let Some(slot) = cursor.slot_in_copy(tree, snapshot)
                && let Some(prev) = cursor.leaf.visible_below(slot)
            {
                cursor.stand_on(prev);
                return Ok(true);
            }
            let key = std::mem::take(&mut cursor.key);
            let way = match cursor.stands {
                true => Way::Down { from: &key, inclusive: false },
                false => Way::Last,
            };
            cursor.go_keeping(tree, snapshot, way, &key)
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

    /// As [`Cursor::go`]; puts `key`, which was taken out of the cursor, back if nothing is found.
    fn go_keeping(
        &mut self,
        tree: &Tree<'_>,
        snapshot: Option<&Snapshot>,
        way: Way<'_>,
        key: &[u8],
    ) -> Result<bool, TreeError> {
        let found = self.go(tree, snapshot, way, None);
        if !matches!(found, Ok(true)) {
            self.key.clear();
            self.key.extend_from_slice(key);
        }
        found
    }

    /// Descends, leaf after leaf, until something is visible; stands on it.
    fn go(
        &mut self,
        tree: &Tree<'_>,
        snapshot: Option<&Snapshot>,
        way: Way<'_>,
        exactly: Option<&[u8]>,
    ) -> Result<bool, TreeError> {
        let found = match way {
            Way::Up { from, inclusive } => self.find_up(tree, snapshot, from, inclusive)?,
            Way::Down { from, inclusive } => self.find_down(tree, snapshot, from, inclusive)?,
            Way::Last => {
                self.spare.take(tree, snapshot, Target::Last)?;
                let end = self.spare.node().count();
                self.down_from_spare(tree, snapshot, end)?
            }
        };
        let Some(slot) = found else { return Ok(false) };
        if exactly.is_some_and(|key| self.spare.node().key(slot) != key) {
            return Ok(false);
        }
        std::mem::swap(&mut self.leaf, &mut self.spare);
        self.stand_on(slot);
        Ok(true)
    }

    fn find_up(
        &mut self,
        tree: &Tree<'_>,
        snapshot: Option<&Snapshot>,
        from: &[u8],
        inclusive: bool,
    ) -> Result<Option<usize>, TreeError> {
        self.spare.take(tree, snapshot, Target::At(from))?;
        let mut first = match self.spare.node().search(from) {
            Ok(slot) if !inclusive => slot + 1,
            Ok(slot) | Err(slot) => slot,
        };
        let mut fence = Vec::new();
        loop {
            if let Some(slot) = self.spare.visible_from(first) {
                return Ok(Some(slot));
            }
            if !self.spare.node().upper(&mut fence) {
                return Ok(None);
            }
            self.spare.take(tree, snapshot, Target::At(&fence))?;
            // Not simply its first entry: it may have been merged meanwhile with what we have seen.
            let (Ok(slot) | Err(slot)) = self.spare.node().search(&fence);
            first = slot;
        }
    }

    fn find_down(
        &mut self,
        tree: &Tree<'_>,
        snapshot: Option<&Snapshot>,
        from: &[u8],
        inclusive: bool,
    ) -> Result<Option<usize>, TreeError> {
        if from.is_empty() && !inclusive {
            return Ok(None);
        }
        let target = if inclusive { Target::At(from) } else { Target::Below(from) };
        self.spare.take(tree, snapshot, target)?;
        let mut end = self.spare_end(from);
        if inclusive && self.spare.node().search(from) == Ok(end) {
            end += 1;
        }
        self.down_from_spare(tree, snapshot, end)
    }

    /// The slot in the spare copy, a leaf of the keys below `key`, where these end.
    fn spare_end(&self, key: &[u8]) -> usize {
        let node = self.spare.node();
        if !node.covers(key) {
            return node.count();
        }
        let (Ok(slot) | Err(slot)) = node.search(key);
        slot
    }

    /// The last visible slot below `end` of the spare copy, or of the leaves before it.
    fn down_from_spare(
        &mut self,
        tree: &Tree<'_>,
        snapshot: Option<&Snapshot>,
        mut end: usize,
    ) -> Result<Option<usize>, TreeError> {
        let mut fence = Vec::new();
        loop {
            if let Some(slot) = self.spare.visible_below(end) {
                return Ok(Some(slot));
            }
            self.spare.node().lower(&mut fence);
            if fence.is_empty() {
                return Ok(None);
            }
            self.spare.take(tree, snapshot, Target::Below(&fence))?;
            end = self.spare_end(&fence);
        }
    }
}
