//! Figures: of a database on disk, and of a running environment.
//!
//! Owns the shapes that users and `--json` see. Promises that a field never changes its meaning.
//! Must never cost anything while nobody asks.

use campanile_btree::TreeStats;
use serde::Serialize;

/// Figures of one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DatabaseStats {
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Levels of the tree, the leaves included.
    pub depth: u64,
    /// Entries.
    pub entries: u64,
    /// Entries whose value has pages of its own.
    pub overflow_entries: u64,
    /// Deleted entries that still take room.
    pub ghosts: u64,
    /// Bytes of all keys.
    pub key_bytes: u64,
    /// Bytes of all values.
    pub value_bytes: u64,
    /// Leaves.
    pub leaf_pages: u64,
    /// How full the leaves are.
    pub leaf_fill_percent: u64,
    /// Nodes above the leaves.
    pub inner_pages: u64,
    /// How full they are.
    pub inner_fill_percent: u64,
    /// Pages of long values.
    pub overflow_pages: u64,
    /// Pages of the space maps.
    pub map_pages: u64,
    /// Pages free to be used.
    pub free_pages: u64,
    /// Pages that become free when no reader needs them.
    pub buried_pages: u64,
}

impl DatabaseStats {
    pub(crate) fn new(stats: TreeStats) -> DatabaseStats {
        DatabaseStats {
            page_bytes: stats.page_bytes,
            depth: stats.depth,
            entries: stats.entries,
            overflow_entries: stats.overflow_entries,
            ghosts: stats.ghosts,
            key_bytes: stats.key_bytes,
            value_bytes: stats.value_bytes,
            leaf_pages: stats.leaf_pages,
            leaf_fill_percent: stats.leaf_fill_percent(),
            inner_pages: stats.inner_pages,
            inner_fill_percent: stats.inner_fill_percent(),
            overflow_pages: stats.overflow_pages,
            map_pages: stats.map_pages,
            free_pages: stats.free_pages,
            buried_pages: stats.buried_pages,
        }
    }

    /// The figures with what they mean, for people.
    #[must_use]
    pub fn lines(&self) -> Vec<(u64, &'static str)> {
        vec![
            (self.page_bytes, "Page size in bytes"),
            (self.depth, "Number of levels in the tree"),
            (self.entries, "Number of entries"),
            (self.overflow_entries, "Number of entries with a long value"),
            (self.ghosts, "Number of deleted entries that still take room"),
            (self.key_bytes, "Bytes of keys"),
            (self.value_bytes, "Bytes of values"),
            (self.leaf_pages, "Number of leaf pages"),
            (self.leaf_fill_percent, "Percent of leaf pages in use"),
            (self.inner_pages, "Number of inner pages"),
            (self.inner_fill_percent, "Percent of inner pages in use"),
            (self.overflow_pages, "Number of pages of long values"),
            (self.map_pages, "Number of space map pages"),
            (self.free_pages, "Number of free pages"),
            (self.buried_pages, "Number of pages that become free soon"),
        ]
    }
}
