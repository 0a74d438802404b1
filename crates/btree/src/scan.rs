//! From a position to the next record, without locks.
//!
//! Owns: [`Way`], and the walk over leaf copies for readers whose eyes, not locks, say what they
//! see: snapshots, readers of uncommitted data, and transactions that hold the whole file. Must
//! never: stop at what its reader does not see.

use std::ops::Bound;

use campanile_txn::Snapshot;

use crate::cursor::Cursor;
use crate::descend::Target;
use crate::error::TreeError;
use crate::tree::Tree;

/// Which way, from where, how far.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'k> {
    /// To the first key that is not below (`inclusive`) or above `from`.
    Up {
        /// Where it begins.
        from: &'k [u8],
        /// Whether a record there counts.
        inclusive: bool,
        /// The upper bound.
        until: Bound<&'k [u8]>,
    },
    /// To the last key that is not above (`inclusive`) or below `from`.
    Down {
        /// Where it begins; `None`: at the end of the tree.
        from: Option<&'k [u8]>,
        /// Whether a record there counts.
        inclusive: bool,
        /// The lower bound.
        until: Bound<&'k [u8]>,
    },
}

impl Way<'_> {
    /// Whether `key`, to which the way leads, is within the bound.
    pub fn allows(&self, key: &[u8]) -> bool {
        match self {
            Way::Up { until: Bound::Included(until), .. } => key <= *until,
            Way::Up { until: Bound::Excluded(until), .. } => key < *until,
            Way::Down { until: Bound::Included(until), .. } => key >= *until,
            Way::Down { until: Bound::Excluded(until), .. } => key > *until,
            Way::Up { until: Bound::Unbounded, .. } | Way::Down { until: Bound::Unbounded, .. } => {
                true
            }
        }
    }
}

impl Cursor {
    /// The slot, in the spare copy, of the next visible record on the way.
    pub(crate) fn find_free(
        &mut self,
        tree: &Tree<'_>,
        snapshot: Option<&Snapshot>,
        way: Way<'_>,
    ) -> Result<Option<usize>, TreeError> {
        let found = match way {
            Way::Up { from, inclusive, .. } => self.find_up(tree, snapshot, from, inclusive)?,
            Way::Down { from: Some(from), inclusive, .. } => {
                self.find_down(tree, snapshot, from, inclusive)?
            }
            Way::Down { from: None, .. } => {
                self.spare.take(tree, snapshot, Target::Last)?;
                let end = self.spare.node().count();
                self.down_from_spare(tree, snapshot, end)?
            }
        };
        Ok(found.filter(|slot| way.allows(&self.spare.node().key(*slot))))
    }

    fn find_up(
        &mut self,
        tree: &Tree<'_>,
        snapshot: Option<&Snapshot>,
        from: &[u8],
        inclusive: bool,
    ) -> Result<Option<usize>, TreeError> {
        self.spare.take(tree, snapshot, Target::At(from))?;
        let mut first = self.spare_begin(from, inclusive);
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
            first = self.spare_begin(&fence, true);
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

    /// The slot in the spare copy, a leaf that `key` belongs to, where the keys from `key` on
    /// begin.
    pub(crate) fn spare_begin(&self, key: &[u8], inclusive: bool) -> usize {
        match self.spare.node().search(key) {
            Ok(slot) if !inclusive => slot + 1,
            Ok(slot) | Err(slot) => slot,
        }
    }

    /// The slot in the spare copy, a leaf of the keys below `key`, where these end.
    pub(crate) fn spare_end(&self, key: &[u8]) -> usize {
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
