//! How a tree is: height, pages by kind, fill.
//!
//! Owns: [`TreeStats`]. Promises: counted by walking the nodes, one page at a time; long values are
//! counted by their length, not read. Must never: stop writers (with writers the figures are those
//! of no single moment).

use crate::error::TreeError;
use crate::tree::Tree;
use crate::verify::Walk;

/// Figures of one tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeStats {
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Levels, the leaves included.
    pub depth: u64,
    /// Leaves.
    pub leaf_pages: u64,
    /// Nodes above the leaves.
    pub inner_pages: u64,
    /// Pages of long values.
    pub overflow_pages: u64,
    /// Space maps.
    pub map_pages: u64,
    /// Pages that the maps say are free, of those up to the end of the last group in use.
    pub free_pages: u64,
    /// Pages that wait in the graveyard.
    pub buried_pages: u64,
    /// Records.
    pub entries: u64,
    /// Deleted records that still take room.
    pub ghosts: u64,
    /// Records with a long value.
    pub overflow_entries: u64,
    /// Bytes of the keys of all records.
    pub key_bytes: u64,
    /// Bytes of the values of all records.
    pub value_bytes: u64,
    /// Bytes in use on leaves, headers included.
    pub leaf_used_bytes: u64,
    /// Bytes in use on nodes above the leaves, headers included.
    pub inner_used_bytes: u64,
}

impl TreeStats {
    /// How full the leaves are, in percent.
    #[must_use]
    pub fn leaf_fill_percent(&self) -> u64 {
        percent(self.leaf_used_bytes, self.leaf_pages * self.page_bytes)
    }

    /// How full the nodes above the leaves are, in percent.
    #[must_use]
    pub fn inner_fill_percent(&self) -> u64 {
        percent(self.inner_used_bytes, self.inner_pages * self.page_bytes)
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    (part * 100).checked_div(whole).unwrap_or(0)
}

impl Tree<'_> {
    /// Figures of this tree.
    ///
    /// # Errors
    /// I/O. Damaged pages are left out of the figures; [`Tree::verify`] names them.
    pub fn stats(&self) -> Result<TreeStats, TreeError> {
        Ok(Walk::run(*self, false)?.stats)
    }
}
