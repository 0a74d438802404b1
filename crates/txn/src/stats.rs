//! Counters of what transactions did.
//!
//! Owns: [`TxnStats`] and the cells behind it. Promises: counting costs one relaxed addition.
//! Must never: decide anything.

use campanile_sync::plain::{AtomicU64, Ordering};

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn one_more(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Cells {
    pub begun: Cell,
    pub committed: Cell,
    pub merged: Cell,
    pub aborted: Cell,
    pub changes: Cell,
    pub undone_entries: Cell,
    pub undone_extents: Cell,
    pub undone_files: Cell,
    pub checkpoints: Cell,
    pub redo_checked: Cell,
    pub escalations: Cell,
}

/// What transactions did since the environment was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxnStats {
    /// Transactions begun.
    pub begun: u64,
    /// Transactions committed.
    pub committed: u64,
    /// Nested transactions committed into their parent.
    pub merged: u64,
    /// Transactions rolled back as a whole.
    pub aborted: u64,
    /// Calls of the one door that changed something.
    pub changes: u64,
    /// Inserts, replacements and deletes undone.
    pub undone_entries: u64,
    /// Allocations of pages for large values undone.
    pub undone_extents: u64,
    /// File creations undone.
    pub undone_files: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// Records replayed in memory right after they were made, and found equal (debug builds).
    pub redo_checked: u64,
    /// Times that one lock on a file took the place of very many on its keys.
    pub escalations: u64,
    /// Transactions that have changed something and not ended.
    pub active: u64,
    /// Transactions that are prepared and wait for their coordinator. Their log is kept.
    pub prepared: u64,
    /// Live snapshots.
    pub snapshots: u64,
    /// Bytes of before-images in memory.
    pub version_bytes: u64,
}

impl Cells {
    pub fn read(&self) -> TxnStats {
        TxnStats {
            begun: self.begun.get(),
            committed: self.committed.get(),
            merged: self.merged.get(),
            aborted: self.aborted.get(),
            changes: self.changes.get(),
            undone_entries: self.undone_entries.get(),
            undone_extents: self.undone_extents.get(),
            undone_files: self.undone_files.get(),
            checkpoints: self.checkpoints.get(),
            redo_checked: self.redo_checked.get(),
            escalations: self.escalations.get(),
            ..TxnStats::default()
        }
    }
}
