//! What can go wrong in the page store, in one enum.
//!
//! Owns [`StoreError`]. Promises that a message says what, where, and what to do next, and that
//! damage on disk, a failed device and a full cache are never mixed up. Must never describe a bug
//! of ours: those are asserted.

use std::io;
use std::path::PathBuf;

use campanile_format::{Corrupt, DirNo, EnvironmentId, FileId, Lsn, PageId};
use campanile_vfs::Poisoned;
use thiserror::Error;

use crate::BarrierError;

/// Result of the page store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why a call of the page store failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The page on disk is damaged. Other pages stay usable.
    #[error(
        "{page} ({}) is damaged: {cause}; rebuild it from a backup and the log (campanile repair \
         --page {}:{}), or salvage the database",
        path.display(), page.file, page.page
    )]
    Corrupt {
        /// The page.
        page: PageId,
        /// The file it was read from.
        path: PathBuf,
        /// What does not hold.
        cause: Corrupt,
    },
    /// The page was never written, or lies beyond the end of its file. Damage, unless the caller
    /// was only asking.
    #[error("{page} was never written; if something points to it, its write was lost: verify the \
             database, and rebuild the file (campanile repair --file {})", page.file)]
    NeverWritten {
        /// The page.
        page: PageId,
    },
    /// The page was changed by a record that the log does not have.
    #[error(
        "{page} was changed at LSN {lsn}, but the log ends at {end}: log files are missing, or \
         the data file is not of this log's time; restore both from one backup"
    )]
    BeyondLog {
        /// The page.
        page: PageId,
        /// Its LSN.
        lsn: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// The data file was made in another environment.
    #[error(
        "data file {file} ({}) belongs to environment {theirs}, this one is {ours}; rebuild \
         the right one from a backup and the log (campanile repair --file {file})",
        path.display()
    )]
    Foreign {
        /// The file, by its name.
        file: FileId,
        /// Where it is.
        path: PathBuf,
        /// The environment in its meta page.
        theirs: EnvironmentId,
        /// The environment that is open.
        ours: EnvironmentId,
    },
    /// There is no such data file, or it has been removed.
    #[error("there is no data file {file}")]
    NoSuchFile {
        /// The file.
        file: FileId,
    },
    /// There is no such directory of data files.
    #[error("data file {file} belongs into directory {directory}, and the home lists no such")]
    NoSuchDirectory {
        /// The file.
        file: FileId,
        /// The number of the directory.
        directory: DirNo,
    },
    /// A data file was to be created that is there already.
    #[error("data file {file} exists already")]
    FileExists {
        /// The file.
        file: FileId,
    },
    /// Every frame is latched, or could not be written back.
    #[error("all {frames} pages of the cache are in use; open the environment with a larger cache")]
    CacheFull {
        /// Frames of the cache.
        frames: usize,
    },
    /// The page size is not a power of two within the bounds of the format.
    #[error("{page_bytes} bytes is not a page size: use a power of two from 512 to 32768")]
    PageSize {
        /// What was asked for.
        page_bytes: usize,
    },
    /// A directory of data files, or the list of them, is not there.
    #[error("data directory {}: {why}", path.display())]
    DirectoryMissing {
        /// Where it should be.
        path: PathBuf,
        /// What is missing, and what to do.
        why: String,
    },
    /// A directory of data files is not the one that the home means, or its mark is damaged.
    #[error("data directory {}: {why}", path.display())]
    DirectoryForeign {
        /// Where it is.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A directory cannot become one of data files.
    #[error("data directory {}: {why}", path.display())]
    DirectoryRefused {
        /// What was named.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A write or a sync failed before: nothing may be changed until recovery has run.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The log could not be made durable, so the page was not written.
    #[error("cannot write pages back: {0}")]
    Barrier(#[from] BarrierError),
    /// A call to the file system failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The call, as in "cannot ... the file".
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

impl StoreError {
    /// True if bytes on disk are not what was written there.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. }
                | Self::NeverWritten { .. }
                | Self::BeyondLog { .. }
                | Self::Foreign { .. }
                | Self::DirectoryForeign { .. }
        )
    }

    /// The page that the error is about, if it is about one.
    #[must_use]
    pub fn page(&self) -> Option<PageId> {
        match self {
            Self::Corrupt { page, .. }
            | Self::NeverWritten { page }
            | Self::BeyondLog { page, .. } => Some(*page),
            _ => None,
        }
    }
}
