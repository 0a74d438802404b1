//! Why a backup, an archive or the files of a restore could not be made.
//!
//! Owns [`BackupError`]. Promises that a message names the file and says what helps, and that
//! damage, absence and trouble with the system are never confused. Must never stand for something
//! that trying again would have solved.

use std::io;

use campanile_pagestore::StoreError;
use campanile_wal::WalError;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The operating system said no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, in words that fit "cannot ...".
        action: &'static str,
        /// The file or directory.
        path: String,
        /// What the system answered.
        source: io::Error,
    },
    /// The log cannot be used.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The data files cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Pages of the home are damaged.
    #[error(
        "{count} pages are damaged, the first is page {page} of {file}: no backup was made, older \
         ones are as they were; restore the file from one of them"
    )]
    DamagedPages {
        /// How many.
        count: usize,
        /// The file of the first.
        file: String,
        /// Its page number.
        page: u32,
    },
    /// A file of a backup or an archive is not what was written.
    #[error("{file} is damaged: {why}")]
    Damaged {
        /// The file.
        file: String,
        /// How it is known.
        why: String,
    },
    /// The home's owner died.
    #[error("{home} needs recovery first: its last owner did not close it (run db_recover)")]
    NeedsRecovery {
        /// The directory.
        home: String,
    },
    /// The home is a copy itself.
    #[error(
        "{home} is a backup that has not been recovered (db_recover -c): copy it as files instead"
    )]
    BackupCopy {
        /// The directory.
        home: String,
    },
    /// The directory is not what it should be.
    #[error("{dir} {why}")]
    Place {
        /// The directory.
        dir: String,
        /// What is wrong, and what helps.
        why: String,
    },
    /// Somebody else works in the repository.
    #[error("{dir} is in use by another backup, restore or archive: wait for it")]
    Busy {
        /// The repository.
        dir: String,
    },
    /// The home was changed under the backup.
    #[error("the home changed while it was copied: {why}; make the backup again")]
    Changed {
        /// How.
        why: String,
    },
    /// No backup that would do.
    #[error("{why}")]
    NoBackup {
        /// What there is instead.
        why: String,
    },
    /// Several histories: the user must choose.
    #[error("there are several histories, choose one (--timeline): {timelines}")]
    SeveralTimelines {
        /// Their numbers and dates.
        timelines: String,
    },
    /// What was asked for means nothing.
    #[error("{why}")]
    Option {
        /// What it is, and what would do.
        why: String,
    },
    /// There is not enough space for what would be written.
    #[error(
        "{dir} has {available} bytes left, and {needed} are needed: nothing was written; give \
         another directory, or make room"
    )]
    NoSpace {
        /// Where.
        dir: String,
        /// Bytes that would be written, as far as that is known beforehand.
        needed: u64,
        /// Bytes that are left.
        available: u64,
    },
    /// The hook said stop.
    #[error("it was cancelled while {phase}; what was there before is as it was")]
    Cancelled {
        /// What was being done.
        phase: &'static str,
    },
}

impl BackupError {
    /// An error of the system.
    pub(crate) fn io(action: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        BackupError::Io { action, path: path.into(), source }
    }
}
