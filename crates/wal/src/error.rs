//! What can go wrong with the log, in words for whoever has to deal with it.
//!
//! Owns [`WalError`]. Promises that a message names the file (and the offset, where there is one)
//! and what to do next, and that damage, absence, I/O trouble and misuse are never confused: an
//! I/O error is not damage, and neither is the end of the log. Must never describe a bug of ours;
//! those are asserted.

use std::io;

use campanile_format::{FormatError, Lsn, names};
use campanile_vfs::Poisoned;
use thiserror::Error;

/// Why the log could not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WalError {
    /// The operating system said no. Says nothing about what the file holds.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried, in words that fit "cannot ...".
        action: &'static str,
        /// The file or directory.
        file: String,
        /// What the system answered.
        source: io::Error,
    },
    /// An earlier write or sync failed; nothing is promised until the environment is reopened.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// A record longer than one log file can hold.
    #[error(
        "a log record of {bytes} bytes does not fit: at most {max} bytes with this log file size; \
         split the change, or create the environment with larger log files"
    )]
    RecordTooLarge {
        /// The record, with its frame.
        bytes: usize,
        /// What fits.
        max: usize,
    },
    /// Bytes below a position known durable that are not what was written there.
    #[error(
        "{file} is damaged at offset {offset}: {why}; restore this file from an archive or a \
         backup, it must not be cut here"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// A file that the log needs is not there.
    #[error("{file} is missing: {why}; put it back from an archive or a backup")]
    Missing {
        /// The file.
        file: String,
        /// How it is known that it should be there.
        why: String,
    },
    /// A file under a log file's name that does not belong there.
    #[error("{file} does not belong here: {why}; move it away and put the right file in its place")]
    Foreign {
        /// The file.
        file: String,
        /// What tells.
        why: String,
    },
    /// A file or record of another build.
    #[error("{file}: {source}")]
    Format {
        /// The file.
        file: String,
        /// What this build does not know.
        source: FormatError,
    },
    /// A log was to be started where there is one already.
    #[error("{file} already holds a log; a new one is not started over it")]
    NotEmpty {
        /// The file that is in the way.
        file: String,
    },
    /// The log was said to end cleanly at `end`, and goes on.
    #[error("the log was closed cleanly at {end}, but {found}; run recovery")]
    PastCleanEnd {
        /// Where it was said to end.
        end: Lsn,
        /// What stands beyond.
        found: String,
    },
    /// No record starts at this position.
    #[error("there is no log record at {lsn}: {why}")]
    NoRecord {
        /// The position asked for.
        lsn: Lsn,
        /// What is known about it.
        why: String,
    },
    /// Sizes that cannot work.
    #[error("log options: {why}")]
    BadOptions {
        /// Which, and what would work.
        why: String,
    },
    /// There is no control file: this directory is no environment, or it was never completed.
    #[error("there is no file {path}: this is not a Campanile environment")]
    NoControl {
        /// Where it was looked for.
        path: String,
    },
}

impl WalError {
    /// An I/O error of `action` on `file`.
    pub(crate) fn io(action: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        WalError::Io { action, file: file.into(), source }
    }

    /// Damage at a position of the log.
    pub(crate) fn corrupt_at(lsn: Lsn, why: impl Into<String>) -> Self {
        WalError::Corrupt {
            file: names::log_file(lsn.file()),
            offset: u64::from(lsn.offset()),
            why: why.into(),
        }
    }

    /// True if bytes, or whole files, are not what was written: restoring helps, retrying does not.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            WalError::Corrupt { .. } | WalError::Missing { .. } | WalError::Foreign { .. } => true,
            WalError::Format { source, .. } => source.is_corruption(),
            _ => false,
        }
    }
}
