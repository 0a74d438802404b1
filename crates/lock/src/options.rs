//! What can be chosen: sizes, victims, how long to wait.
//!
//! Owns: the options of the table and of one request. Promises: every default is fit for use.

use std::time::Duration;

/// Options of a lock table.
#[derive(Debug, Clone)]
pub struct LockOptions {
    /// Independent parts of the table, rounded up to a power of two: more of them, less
    /// contention between unrelated locks. The table grows as needed whatever this is.
    pub shards: usize,
    /// How long [`Wait::Default`] waits; `None` = until granted or rejected.
    pub default_timeout: Option<Duration>,
    /// Who gives way in a deadlock.
    pub victim: VictimPolicy,
    /// Seed of [`VictimPolicy::Random`].
    pub seed: u64,
    /// A wait that lasts longer than this is counted as slow, and told as an event when it does.
    pub slow_wait: Option<Duration>,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self {
            shards: 64,
            default_timeout: None,
            victim: VictimPolicy::Youngest,
            seed: 0x2545_f491_4f6c_dd1d,
            slow_wait: Some(Duration::from_secs(1)),
        }
    }
}

/// Who gives way in a deadlock, among those of the lowest priority. Ties go to the youngest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum VictimPolicy {
    /// The owner registered last: it has probably done least, and retries make progress.
    #[default]
    Youngest,
    /// The owner registered first.
    Oldest,
    /// The owner with the fewest locks.
    FewestLocks,
    /// The owner with the most locks.
    MostLocks,
    /// The owner with the fewest writes, see [`crate::LockTable::note_write`].
    FewestWrites,
    /// Any one.
    Random,
}

/// How long a request may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// As long as [`LockOptions::default_timeout`] says.
    #[default]
    Default,
    /// Not at all.
    No,
    /// Until granted, or rejected as a deadlock's victim.
    Forever,
    /// At most this long, in real time.
    AtMost(Duration),
}
