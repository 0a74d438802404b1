//! Who reads, and where.
//!
//! Owns: [`Reader`] (whose eyes a read goes through) and [`Seek`] (which record it looks for).
//! Must never: know pages.

use campanile_txn::{ChildrenMark, Snapshot, Txn};

/// Whose eyes a read goes through.
#[derive(Debug)]
pub enum Reader<'r> {
    /// A read-write transaction: sees the newest state, own changes included, as its isolation
    /// says.
    Txn(&'r mut Txn),
    /// A snapshot: sees what was committed when it was taken, takes no locks, never waits.
    Snapshot(&'r Snapshot),
    /// Nobody: what stands on the pages now, committed or not. For tools that have the environment
    /// to themselves and for reads that may be wrong; a large value that is deleted meanwhile may
    /// be reported as damage.
    Uncommitted,
}

impl Reader<'_> {
    /// The same reader, for one more call.
    pub fn reborrow(&mut self) -> Reader<'_> {
        match self {
            Reader::Txn(txn) => Reader::Txn(txn),
            Reader::Snapshot(snapshot) => Reader::Snapshot(snapshot),
            Reader::Uncommitted => Reader::Uncommitted,
        }
    }

    /// The transaction, if it is one.
    pub(crate) fn txn(&mut self) -> Option<&mut Txn> {
        match self {
            Reader::Txn(txn) => Some(txn),
            Reader::Snapshot(_) | Reader::Uncommitted => None,
        }
    }

    /// Before a look of a transaction; see [`Tree::is_still_so`](crate::tree::Tree::is_still_so).
    pub(crate) fn children_mark(&self) -> Option<ChildrenMark> {
        match self {
            Reader::Txn(txn) => Some(txn.children_mark()),
            Reader::Snapshot(_) | Reader::Uncommitted => None,
        }
    }

    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Reader::Snapshot(snapshot) => Some(snapshot),
            Reader::Txn(_) | Reader::Uncommitted => None,
        }
    }
}

/// Which record to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek<'k> {
    /// The lowest key.
    First,
    /// The highest key.
    Last,
    /// Exactly this key.
    Exactly(&'k [u8]),
    /// The lowest key that is not below this one (>=).
    AtLeast(&'k [u8]),
    /// The lowest key above this one (>).
    Above(&'k [u8]),
    /// The highest key that is not above this one (<=).
    AtMost(&'k [u8]),
    /// The highest key below this one (<).
    Below(&'k [u8]),
}
