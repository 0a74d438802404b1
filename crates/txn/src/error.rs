//! What can go wrong below a transaction.
//!
//! Owns: [`TxnError`]. Promises: every variant says what happened, where, and what to do next.
//! Must never: hide the layer in which the trouble began.

use std::error::Error;

use campanile_format::{Corrupt, FileId, Lsn, PageId, TxnId};
use campanile_pagestore::StoreError;
use campanile_wal::{Poisoned, WalError};

use crate::lock_refused::LockRefused;

/// Why a call into the transaction layer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TxnError {
    /// An earlier failed write or sync ended this environment.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The log failed.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A data file or the page cache failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A lock was not granted: deadlock or timeout.
    #[error(transparent)]
    Lock(Box<LockRefused>),
    /// The transaction has used up the time that its options give it.
    #[error("transaction {txn} took longer than the {} ms it was given: roll it back", limit_us / 1000)]
    OutOfTime {
        /// The transaction.
        txn: TxnId,
        /// Its time.
        limit_us: u64,
    },
    /// A change does not fit the page it names, so nothing was logged and nothing changed.
    #[error("the change does not fit page {page} (page LSN {lsn}): {why}; verify the database")]
    Misfit {
        /// The page.
        page: PageId,
        /// The page's LSN.
        lsn: Lsn,
        /// What does not fit.
        why: Corrupt,
    },
    /// The chain of log records of a transaction does not lead where it must.
    #[error("the log chain of transaction {txn} is broken at {at}: {why}; restore from a backup")]
    BrokenChain {
        /// The transaction.
        txn: TxnId,
        /// The record that does not belong there.
        at: Lsn,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A transaction that failed in the middle of a statement was asked to go on or to commit.
    #[error("transaction {txn} must be rolled back: {why}")]
    MustRollBack {
        /// The transaction.
        txn: TxnId,
        /// What failed in it.
        why: String,
    },
    /// A global id that no unresolved transaction has.
    #[error("no transaction is prepared as {}: it was resolved, or never prepared", shown(gid))]
    NotPrepared {
        /// The id.
        gid: Vec<u8>,
    },
    /// A global id that an unresolved transaction has already.
    #[error(
        "a transaction is prepared as {} already: resolve it, or choose another id",
        shown(gid)
    )]
    GidInUse {
        /// The id.
        gid: Vec<u8>,
    },
    /// A global id of no possible length.
    #[error("a global id has 1 to {max} bytes, this one has {len}")]
    BadGid {
        /// Its length.
        len: usize,
        /// The longest possible.
        max: usize,
    },
    /// A transaction that cannot be prepared; it was rolled back.
    #[error("transaction {txn} cannot be prepared, so it was rolled back: {why}")]
    NotPreparable {
        /// The transaction.
        txn: TxnId,
        /// Why not.
        why: &'static str,
    },
    /// The versions that a snapshot needs no longer fit into memory.
    #[error(
        "the snapshot is too old: the versions it needs of file {file} went over the memory \
         budget; take a new snapshot, or raise version_bytes"
    )]
    SnapshotTooOld {
        /// The file that was read.
        file: FileId,
    },
    /// A file has no page numbers left.
    #[error("file {file} is full: it has no free page left")]
    FileFull {
        /// The file.
        file: FileId,
    },
    /// File numbers have run out.
    #[error("this environment has used up its file numbers; dump it and load it into a new one")]
    OutOfFileIds,
    /// A clean close was asked for while transactions are still running.
    #[error("{active} transactions are still active: finish them before closing")]
    StillActive {
        /// How many.
        active: usize,
    },
    /// The access method could not undo a change.
    #[error("undo failed: {0}")]
    Undo(#[source] Box<dyn Error + Send + Sync>),
}

/// A global id as people may read it: as text if it is text.
fn shown(gid: &[u8]) -> String {
    format!("\"{}\"", gid.escape_ascii())
}

impl TxnError {
    /// True if running the whole transaction again may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lock(refused) => refused.error.is_retryable(),
            Self::SnapshotTooOld { .. } | Self::OutOfTime { .. } => true,
            _ => false,
        }
    }
}
