//! How a log is opened: sizes, whose it is, and where it goes on.
//!
//! Owns [`WalOptions`] and [`Start`]. Promises that sizes that cannot work are refused by name
//! before anything is touched.

use std::path::PathBuf;

use campanile_format::frame::{LogIdentity, MAX_FRAME_BYTES};
use campanile_format::log_file::{LOG_BLOCK_BYTES_MAX, LOG_BLOCK_BYTES_MIN, is_log_block_size};
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

/// The physical block of a disk if the user does not say.
pub const LOG_BLOCK_BYTES_DEFAULT: u32 = 4096;
/// A log file holds at least so many blocks.
const BLOCKS_MIN: u32 = 4;

/// Where the log is, whose it is, and how large its parts are.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// The directory of the log files.
    pub dir: PathBuf,
    /// Length of the files made from now on: a multiple of the block, at least four. Files that
    /// exist keep theirs.
    pub file_bytes: u32,
    /// The physical block of the disk: a power of two, 512 to 4096. What is durable in a block is
    /// not written again.
    pub block_bytes: u32,
    /// The disk promises that a write spares what is beside it, also in a power cut: flushes do
    /// not end on block boundaries then.
    pub power_safe_overwrite: bool,
    /// Records waiting in memory beyond this are handed to the operating system. A record may be
    /// larger.
    pub buffer_bytes: usize,
    /// The environment.
    pub environment: EnvironmentId,
    /// The history that is being written.
    pub timeline: Timeline,
    /// Gives up no file before [`Wal::hold_from`](crate::Wal::hold_from) says which may go: there
    /// is an archive, and what it has is not known yet.
    pub hold_all: bool,
}

impl WalOptions {
    /// The log of an environment in `dir`, with default sizes.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, environment: EnvironmentId, timeline: Timeline) -> Self {
        WalOptions {
            dir: dir.into(),
            file_bytes: LOG_FILE_BYTES_DEFAULT,
            block_bytes: LOG_BLOCK_BYTES_DEFAULT,
            power_safe_overwrite: false,
            buffer_bytes: LOG_BUFFER_BYTES_DEFAULT,
            environment,
            timeline,
            hold_all: false,
        }
    }

    /// Where a flush that somebody waits for has to end: at multiples of this.
    pub(crate) fn rest_bytes(&self) -> u32 {
        if self.power_safe_overwrite { 1 } else { self.block_bytes }
    }

    /// What the checksums of the records are bound to.
    pub(crate) fn identity(&self) -> LogIdentity {
        LogIdentity::new(self.environment, self.timeline)
    }

    /// The longest record that a file made with these options holds (W3).
    pub(crate) fn max_record_bytes(&self) -> usize {
        (self.file_bytes - self.block_bytes) as usize
    }

    pub(crate) fn check(&self) -> Result<(), WalError> {
        let file_bytes = self.file_bytes;
        let block_bytes = self.block_bytes;
        if !is_log_block_size(block_bytes) {
            return Err(WalError::BadOptions {
                why: format!(
                    "log blocks of {block_bytes} bytes; possible are powers of two from \
                     {LOG_BLOCK_BYTES_MIN} to {LOG_BLOCK_BYTES_MAX}"
                ),
            });
        }
        let least = LOG_FILE_BYTES_MIN.max(BLOCKS_MIN * block_bytes);
        let possible = least..=LOG_FILE_BYTES_MAX;
        if !possible.contains(&file_bytes) || !file_bytes.is_multiple_of(block_bytes) {
            return Err(WalError::BadOptions {
                why: format!(
                    "a log file of {file_bytes} bytes; possible are multiples of the block, \
                     {block_bytes}, from {least} to {LOG_FILE_BYTES_MAX}"
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
    /// After a clean close: in the same file, exactly at `end`; in a new one if `end` lies within a
    /// block. An error if anything valid stands there or beyond.
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
