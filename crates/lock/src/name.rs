//! What locks are on.
//!
//! Owns: [`LockName`] and how it is spread over shards. Promises: two different things with the
//! same name share a lock, which delays but never permits too much. Must never: know a key.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// What a lock is on: a key of a file, a whole file, or the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockName {
    /// The file, 0 for the environment.
    pub space: u32,
    /// A hash of the key. Keys that collide share a lock.
    pub hash: u64,
}

impl LockName {
    /// The environment as a whole.
    pub const ENVIRONMENT: LockName = LockName { space: 0, hash: 0 };
    /// The hash that stands for a whole file rather than for a key. A key that hashes to it
    /// shares the lock, which is correct because every pair of modes is comparable.
    const WHOLE: u64 = 0;
    /// The hash that stands for the end of a file, above all of its keys.
    const INFINITY: u64 = u64::MAX;

    /// A key of file `space`, by its hash.
    #[must_use]
    pub const fn key(space: u32, hash: u64) -> LockName {
        LockName { space, hash }
    }

    /// File `space` as a whole.
    #[must_use]
    pub const fn whole(space: u32) -> LockName {
        LockName { space, hash: Self::WHOLE }
    }

    /// The place above the last key of file `space`: its gap part locks the end of the tree.
    #[must_use]
    pub const fn infinity(space: u32) -> LockName {
        LockName { space, hash: Self::INFINITY }
    }

    /// A number in which every bit of the name counts.
    pub(crate) fn spread(self) -> u64 {
        let mut bits = self.hash ^ u64::from(self.space).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.space, self.hash) {
            (0, 0) => f.write_str("the environment"),
            (space, Self::WHOLE) => write!(f, "file {space}"),
            (space, Self::INFINITY) => write!(f, "the end of file {space}"),
            (space, hash) => write!(f, "key {hash:016x} of file {space}"),
        }
    }
}

/// Hashes a name or an owner's number. Not for keys that an adversary chooses.
#[derive(Debug, Default)]
pub(crate) struct SpreadHasher(u64);

/// For maps keyed by names and owners: both are spread well enough by one multiplication.
pub(crate) type SpreadBuild = BuildHasherDefault<SpreadHasher>;

impl Hasher for SpreadHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}
