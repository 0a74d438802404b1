//! Counters.
//!
//! Owns: [`LockStats`]. Promises: counts since the table was made, sums over all shards that may
//! be a moment apart.

/// What the table has done so far, and how full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LockStats {
    /// Requests.
    pub requests: u64,
    /// Requests for what the owner held already.
    pub already_held: u64,
    /// Requests that strengthened a lock.
    pub upgrades: u64,
    /// Requests that had to wait.
    pub waits: u64,
    /// Searches for a deadlock that are over: one for each request that had to wait.
    pub searches: u64,
    /// Requests that were refused because they were not allowed to wait.
    pub would_block: u64,
    /// Waits that ended by time.
    pub timeouts: u64,
    /// Waits that lasted longer than [`LockOptions::slow_wait`](crate::LockOptions::slow_wait).
    pub slow_waits: u64,
    /// Time spent in waits that are over, in microseconds.
    pub waited_us: u64,
    /// The longest wait that is over, in microseconds.
    pub longest_wait_us: u64,
    /// Deadlocks found; each had one victim.
    pub deadlocks: u64,
    /// Owners known now.
    pub owners: u64,
    /// Locks that somebody has or wants now.
    pub locks: u64,
    /// Grants now: an owner's hold on one lock.
    pub grants: u64,
    /// Requests waiting now.
    pub waiting: u64,
}

impl LockStats {
    /// Adds the counts of one shard.
    pub(crate) fn add(&mut self, other: &LockStats) {
        self.requests += other.requests;
        self.already_held += other.already_held;
        self.upgrades += other.upgrades;
        self.waits += other.waits;
        self.searches += other.searches;
        self.would_block += other.would_block;
        self.timeouts += other.timeouts;
        self.slow_waits += other.slow_waits;
        self.waited_us += other.waited_us;
        self.longest_wait_us = self.longest_wait_us.max(other.longest_wait_us);
        self.deadlocks += other.deadlocks;
        self.locks += other.locks;
        self.grants += other.grants;
        self.waiting += other.waiting;
    }
}
