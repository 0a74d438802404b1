//! Figures: of a database on disk, and of a running environment.
//!
//! Owns the shapes that users and `--json` see. Promises that a field never changes its meaning.
//! Must never cost anything while nobody asks.

use campanile_btree::TreeStats;
use campanile_lock::LockStats as LockCounts;
use campanile_pagestore::StoreStats as StoreCounts;
use campanile_txn::TxnStats as TxnCounts;
use campanile_wal::WalStats as WalCounts;
use serde::{Deserialize, Serialize};

use crate::core::Core;

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

/// A public copy of the counters of a layer.
macro_rules! figures {
    ($(#[$doc:meta])* $name:ident of $counts:ident {
        $($(#[$field_doc:meta])* $field:ident,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct $name { $($(#[$field_doc])* pub $field: u64,)* }

        impl $name {
            fn new(counts: &$counts) -> $name {
                $name { $($field: counts.$field,)* }
            }
        }
    };
}

figures! {
    /// Figures of the log.
    LogStats of WalCounts {
        /// Records appended.
        records,
        /// Their bytes.
        record_bytes,
        /// Commits and other calls that had to wait for a sync.
        flushes,
        /// Syncs that answered them: `flushes / groups` is the mean size of a group commit.
        groups,
        /// The largest group.
        group_members_max,
        /// Syncs of log files in all.
        syncs,
        /// Ends of physical blocks given up; see
        /// [`power_safe_overwrite`](crate::EnvironmentOptions::power_safe_overwrite).
        pads,
        /// Their bytes.
        pad_bytes,
        /// Switches to another log file.
        rotations,
        /// Switches that had to wait because no file was ready.
        rotations_unprepared,
        /// Old files used again.
        files_recycled,
    }
}

figures! {
    /// Figures of the page cache.
    CacheStats of StoreCounts {
        /// Pages it has room for.
        frames,
        /// Pages that differ from the disk.
        dirty_frames,
        /// Places that hold no page.
        free_frames,
        /// Pages asked for.
        requests,
        /// Looks at a page without a latch that had to take one after all.
        glimpses_missed,
        /// Pages read from disk.
        page_ins,
        /// Pages that had to leave for others.
        evictions,
        /// Pages written back.
        pages_written,
        /// Of these, pages that were written twice, against torn pages.
        pages_double_written,
        /// Times somebody had to write pages back before going on.
        foreground_batches,
        /// Syncs of data files.
        syncs,
    }
}

figures! {
    /// Figures of the transactions.
    TransactionStats of TxnCounts {
        /// Begun.
        begun,
        /// Committed.
        committed,
        /// Nested ones committed into their parent.
        merged,
        /// Rolled back.
        aborted,
        /// Changes of pages.
        changes,
        /// Checkpoints.
        checkpoints,
        /// Transactions that have changed something and not ended.
        active,
        /// Prepared, and waiting for their coordinator: the log is kept from the first record of
        /// the oldest; see [`Environment::prepared`](crate::Environment::prepared).
        prepared,
        /// Snapshots that are open.
        snapshots,
        /// Memory of the versions that snapshots may read.
        version_bytes,
    }
}

figures! {
    /// Figures of the locks.
    LockStats of LockCounts {
        /// Requests.
        requests,
        /// Requests that had to wait.
        waits,
        /// Waits that lasted longer than
        /// [`slow_lock_wait`](crate::EnvironmentOptions::slow_lock_wait).
        slow_waits,
        /// Microseconds spent in waits that are over.
        waited_us,
        /// The longest of them.
        longest_wait_us,
        /// Searches for a deadlock that are over: one for each request that had to wait.
        searches,
        /// Waits that ended by time.
        timeouts,
        /// Deadlocks that were broken.
        deadlocks,
        /// Locks that somebody has or wants.
        locks,
        /// Requests waiting now.
        waiting,
    }
}

/// What an environment has done since it was opened, and how full it is; see
/// [`Environment::stats`](crate::Environment::stats).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let env = campanile::Environment::open(dir.path())?;
/// let before = env.stats().transactions.committed;
/// env.create_database("accounts")?;
/// assert_eq!(env.stats().transactions.committed, before + 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EnvironmentStats {
    /// The log.
    pub log: LogStats,
    /// The page cache.
    pub cache: CacheStats,
    /// Transactions and snapshots.
    pub transactions: TransactionStats,
    /// Locks.
    pub locks: LockStats,
}

impl EnvironmentStats {
    pub(crate) fn of(core: &Core) -> EnvironmentStats {
        EnvironmentStats {
            log: LogStats::new(&core.txns.wal().stats()),
            cache: CacheStats::new(&core.txns.store().stats()),
            transactions: TransactionStats::new(&core.txns.stats()),
            locks: LockStats::new(&core.txns.lock_stats()),
        }
    }
}
