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
    #[error("{page} cannot take log record {lsn}: {why}; rebuild the file (campanile repair)")]
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
         {page} (needed by log record {lsn}); rebuild the file from a backup and the log \
         (campanile repair --file {})",
        page.file
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
    #[error(
        "data file {file} is missing (needed by log record {lsn}); rebuild it from a backup and \
         the log (campanile repair --file {file})"
    )]
    MissingFile {
        /// The file.
        file: FileId,
        /// The first record that needed it.
        lsn: Lsn,
    },
    /// A data file was to be built anew that the log removes.
    #[error("data file {file} is removed by log record {lsn}: there is nothing to build anew")]
    Removed {
        /// The file.
        file: FileId,
        /// The record.
        lsn: Lsn,
    },
    /// A data file was to be built anew, and neither a backup nor the log has its beginning.
    #[error(
        "data file {file} cannot be built anew: no backup at hand holds it, and the log at hand \
         begins at {from}, after the file was made; give the repository that holds its backups"
    )]
    NoBirth {
        /// The file.
        file: FileId,
        /// Where the log was read from.
        from: Lsn,
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
    /// The home is a hot copy of an environment: its pages are of many moments.
    #[error(
        "{home} is a backup that has not been brought to one moment yet: its pages are of many; \
         run catastrophic recovery on it (db_recover -c), normal recovery would give wrong data"
    )]
    BackupCopy {
        /// The directory.
        home: String,
    },
    /// Only a backup can go back in time.
    #[error(
        "{home} is no backup: its data files may hold changes from after {target}, and recovery \
         does not take back what was committed; restore a backup to that target into another \
         directory (campanile restore)"
    )]
    NotABackup {
        /// The directory.
        home: String,
        /// What was asked for.
        target: String,
    },
    /// The backup holds pages from after the target.
    #[error(
        "this backup cannot go back to {target}: it reaches back to {earliest} (last commit \
         {time}); use an earlier backup"
    )]
    TargetTooEarly {
        /// What was asked for.
        target: String,
        /// The earliest position.
        earliest: Lsn,
        /// The time of the last commit before it.
        time: String,
    },
    /// The log does not show that it goes as far as the target.
    #[error(
        "the log does not reach {target}: it ends at {reach} (last time in it {time}); give a \
         target up to there, or none to replay to the end"
    )]
    TargetBeyond {
        /// What was asked for.
        target: String,
        /// Where the log ends.
        reach: Lsn,
        /// The latest time in it.
        time: String,
    },
    /// No such restore point in the log.
    #[error("the log holds no restore point {name:?}; it holds: {known}")]
    NoRestorePoint {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The log leads to another history than that of the backup.
    #[error("these logs do not continue this backup: {why}")]
    OffHistory {
        /// How it is known.
        why: String,
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
