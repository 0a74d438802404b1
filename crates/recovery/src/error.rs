//! Why an environment could not be brought back.
//!
//! Owns: [`RecoveryError`]. Promises: names file, page and LSN, and says what helps. Must never:
//! stand for something that reopening would have solved.

use campanile_format::{FileId, Lsn, PageId, TxnId};
use campanile_pagestore::StoreError;
use campanile_txn::TxnError;
use campanile_wal::WalError;

use crate::progress::Phase;

/// Why recovery stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The log cannot be used.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The data files cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Rolling back failed.
    #[error(transparent)]
    Txn(#[from] TxnError),
    /// A directory could not be read or made.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no environment here.
    #[error("{home} holds no environment: there is no control file; {hint}")]
    NoEnvironment {
        /// The directory.
        home: String,
        /// What to do.
        hint: &'static str,
    },
    /// The records of the log contradict each other.
    #[error("the log contradicts itself at {lsn}: {why}; restore from a backup")]
    Contradiction {
        /// Where.
        lsn: Lsn,
        /// How.
        why: String,
    },
    /// A page and the log contradict each other.
    #[error("{page} cannot take log record {lsn}: {why}; restore the file from a backup")]
    Page {
        /// The page.
        page: PageId,
        /// The record.
        lsn: Lsn,
        /// How.
        why: String,
    },
    /// Pages are damaged or missing, and no record makes them anew.
    #[error(
        "{count} pages are damaged or missing and cannot be rebuilt from the log, the first is \
         {page} (needed by log record {lsn}); restore the file from a backup"
    )]
    Unresolved {
        /// How many.
        count: usize,
        /// The first.
        page: PageId,
        /// The first record that needed it.
        lsn: Lsn,
    },
    /// A data file is not there, and nothing in the log removes it.
    #[error("data file {file} is missing (needed by log record {lsn}); restore it from a backup")]
    MissingFile {
        /// The file.
        file: FileId,
        /// The first record that needed it.
        lsn: Lsn,
    },
    /// The log goes on with a transaction that its checkpoint does not know.
    #[error("transaction {txn} goes on at {lsn} but the checkpoint does not know it")]
    UnknownTxn {
        /// The transaction.
        txn: TxnId,
        /// Its record.
        lsn: Lsn,
    },
    /// There is an environment, but what it needs most is lost or damaged.
    #[error("the environment in {home} cannot be opened: {why}")]
    Unusable {
        /// The directory.
        home: String,
        /// What is wrong, and what helps.
        why: &'static str,
    },
    /// The hook said stop. Nothing is lost: the next open begins again.
    #[error("recovery was stopped in its {phase} phase at {at}; the next open begins it again")]
    Cancelled {
        /// Where it was.
        phase: Phase,
        /// How far.
        at: Lsn,
    },
}
