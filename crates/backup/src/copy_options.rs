//! How a backup is made: packed or not, by how many threads, how fast.
//!
//! Owns [`CopyOptions`] and what its numbers may be. Must never change what a backup means: only
//! how it is stored and how long it takes.

use crate::error::BackupError;
use crate::manifest::Compression;

/// The highest level of compression. Higher ones need windows that a restore does not give room.
pub(crate) const LEVEL_MAX: i32 = 19;
/// More threads than this do not copy files faster.
const JOBS_MAX: usize = 64;

/// How a backup is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// How data files are packed (default: not).
    pub compression: Compression,
    /// Level of compression, 1 (fast) to 19 (small) (default: 3).
    pub level: i32,
    /// Threads that copy data files, one file each (default: 1). A host whose background work is
    /// stepped has none: there it is one.
    pub jobs: usize,
    /// Bytes a second that are read from the home; `None`: as many as it gives.
    pub max_rate: Option<u64>,
}

impl Default for CopyOptions {
    fn default() -> CopyOptions {
        CopyOptions { compression: Compression::None, level: 3, jobs: 1, max_rate: None }
    }
}

impl CopyOptions {
    /// Refuses numbers that mean nothing, before anything is done.
    pub fn check(&self) -> Result<(), BackupError> {
        let refuse = |why: String| Err(BackupError::Option { why });
        if !(1..=LEVEL_MAX).contains(&self.level) {
            return refuse(format!("level {} of compression: give 1 to {LEVEL_MAX}", self.level));
        }
        if !(1..=JOBS_MAX).contains(&self.jobs) {
            return refuse(format!("{} threads: give 1 to {JOBS_MAX}", self.jobs));
        }
        if self.max_rate == Some(0) {
            return refuse("0 bytes a second: give more, or leave the limit out".to_owned());
        }
        Ok(())
    }
}
