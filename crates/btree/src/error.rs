//! What can go wrong in a tree.
//!
//! Owns: [`TreeError`]. Promises: damage names file, page and LSN and says what to do next.
//! Must never: be used for a bug of ours (those are asserted).

use campanile_format::{FileId, Lsn, PageId};
use campanile_pagestore::StoreError;
use campanile_txn::TxnError;

/// Why an operation on a tree failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A page is not what the tree says it must be.
    #[error(
        "{page} (page LSN {lsn}) is damaged: {what}; verify the database, then rebuild it from a \
         backup and the log (campanile repair --file {}), or salvage it",
        page.file
    )]
    Corrupt {
        /// The page.
        page: PageId,
        /// The page's LSN.
        lsn: Lsn,
        /// What does not hold.
        what: String,
    },
    /// A key is longer than a page allows.
    #[error("a key of {len} bytes is longer than the {max} bytes that the page size allows")]
    KeyTooLong {
        /// Bytes in the key.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A value is longer than 4 GiB.
    #[error("a value of {len} bytes is longer than the {max} bytes that a value may have")]
    ValueTooLong {
        /// Bytes in the value.
        len: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The input of a bulk load does not ascend.
    #[error(
        "pair {index} of the bulk load is not above the pair before it: sort the input, without repeated keys"
    )]
    NotAscending {
        /// Which pair, counted from 0.
        index: u64,
    },
    /// The source of a bulk load, or a caller's callback, gave up.
    #[error("the input failed: {0}")]
    Input(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A cursor or range is used after it has failed.
    #[error(
        "this cursor failed before and stays failed, so that nothing is left out silently: open a new one"
    )]
    CursorFailed,
    /// A data file or the page cache failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The transaction layer failed.
    #[error(transparent)]
    Txn(#[from] TxnError),
}

impl TreeError {
    /// Damage on `page`.
    pub(crate) fn corrupt(page: PageId, lsn: Lsn, what: impl Into<String>) -> TreeError {
        let what = what.into();
        tracing::error!(%page, %lsn, what, "damaged page");
        TreeError::Corrupt { page, lsn, what }
    }

    /// Damage that a check of format found on `page`.
    pub(crate) fn from_format(page: PageId, lsn: Lsn, why: &dyn std::fmt::Display) -> TreeError {
        TreeError::corrupt(page, lsn, why.to_string())
    }

    /// True if bytes on disk are wrong.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            TreeError::Corrupt { .. } => true,
            TreeError::Store(error) | TreeError::Txn(TxnError::Store(error)) => {
                error.is_corruption()
            }
            TreeError::Txn(TxnError::Misfit { .. } | TxnError::BrokenChain { .. }) => true,
            _ => false,
        }
    }

    /// The snapshot can no longer be served from `file`.
    #[must_use]
    pub fn is_snapshot_too_old(&self) -> Option<FileId> {
        match self {
            TreeError::Txn(TxnError::SnapshotTooOld { file }) => Some(*file),
            _ => None,
        }
    }
}

impl From<TreeError> for TxnError {
    fn from(error: TreeError) -> TxnError {
        match error {
            TreeError::Txn(error) => error,
            TreeError::Store(error) => TxnError::Store(error),
            other => TxnError::Undo(Box::new(other)),
        }
    }
}
