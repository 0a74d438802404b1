//! How a log is opened: sizes, whose it is, and where it goes on.
//!
//! Owns [`WalOptions`] and [`Start`]. Promises that sizes that cannot work are refused by name
//! before anything is touched.

use std::path::PathBuf;

use campanile_format::frame::{LogIdentity, MAX_FRAME_BYTES};
use campanile_format::log_file::FIRST_RECORD_OFFSET;
use campanile_format::{EnvironmentId, Lsn, Timeline};

use crate::error::WalError;

/// Smallest length of a log file.
pub const LOG_FILE_BYTES_MIN: u32 = 4 << 10;
/// Largest length of a log file.
pub const LOG_FILE_BYTES_MAX: u32 = MAX_FRAME_BYTES as u32;
/// The length of a log file if the user does not say.
pub const LOG_FILE_BYTES_DEFAULT: u32 = 64 << 20;
/// The size of the log buffer if the user does not say.
pub const LOG_BUFFER_BYTES_DEFAULT: usize = 1 << 20;

/// Where the log is, whose it is, and how large its parts are.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// The directory of the log files.
    pub dir: PathBuf,
    /// Length of the files made from now on: a multiple of 512. Files that exist keep theirs.
    pub file_bytes: u32,
    /// Records waiting in memory beyond this are handed to the operating system. A record may be
    /// larger.
    pub buffer_bytes: usize,
    /// The environment.
    pub environment: EnvironmentId,
    /// The history that is being written.
    pub timeline: Timeline,
}

impl WalOptions {
    /// The log of an environment in `dir`, with default sizes.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, environment: EnvironmentId, timeline: Timeline) -> Self {
        WalOptions {
            dir: dir.into(),
            file_bytes: LOG_FILE_BYTES_DEFAULT,
            buffer_bytes: LOG_BUFFER_BYTES_DEFAULT,
            environment,
            timeline,
        }
    }

    /// What the checksums of the records are bound to.
    pub(crate) fn identity(&self) -> LogIdentity {
        LogIdentity::new(self.environment, self.timeline)
    }

    /// The longest record that a file made with these options holds (W3).
    pub(crate) fn max_record_bytes(&self) -> usize {
        (self.file_bytes - FIRST_RECORD_OFFSET) as usize
    }

    pub(crate) fn check(&self) -> Result<(), WalError> {
        let file_bytes = self.file_bytes;
        let possible = LOG_FILE_BYTES_MIN..=LOG_FILE_BYTES_MAX;
        if !possible.contains(&file_bytes) || !file_bytes.is_multiple_of(FIRST_RECORD_OFFSET) {
            return Err(WalError::BadOptions {
                why: format!(
                    "a log file of {file_bytes} bytes; possible are multiples of \
                     {FIRST_RECORD_OFFSET} from {LOG_FILE_BYTES_MIN} to {LOG_FILE_BYTES_MAX}"
                ),
            });
        }
        if self.timeline.0 == 0 {
            return Err(WalError::BadOptions { why: "timelines count from 1".into() });
        }
        Ok(())
    }
}

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// There is none yet. What a creation that never finished left of the same environment is
    /// replaced; any other log in the directory is an error.
    New,
    /// After a clean close: in the same file, exactly at `end`. An error if anything valid stands
    /// there or beyond.
    Continue {
        /// Where the log ended.
        end: Lsn,
    },
    /// After a crash: in a new file, which states that the log before it ended at `end`. What
    /// stands behind `end` is thereby cut; not a byte of the old file changes.
    After {
        /// Where the old log ends: see [`find_end`](crate::find_end).
        end: Lsn,
        /// Durable beyond doubt up to here. What stands between this and `end` was read, perhaps
        /// from a cache that a failed sync left behind: it is written once more, and synced,
        /// before the log relies on it (W5).
        proven: Lsn,
        /// Number of the new file: larger than that of every file there is.
        next_file: u32,
    },
}
