//! What an engine may know of the world: files, time, chance, adversity.
//!
//! Owns the seams besides files and their production versions. Promises that an engine which
//! takes everything from its [`Host`] is deterministic on a deterministic host. Must never hold
//! engine state.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use campanile_sync::plain::{AtomicU64, Ordering};

use crate::{MemoryVfs, OsVfs, Vfs};

/// Time. The wall clock may jump either way; the monotonic clock never goes back.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall clock, microseconds since 1970.
    fn now_us(&self) -> u64;
    /// Microseconds since some fixed moment of this host.
    fn monotonic_us(&self) -> u64;
    /// Waits, or pretends to.
    fn sleep_us(&self, us: u64);
}

/// Unpredictable numbers, for ids; not for secrets.
pub trait Random: Send + Sync + fmt::Debug {
    /// The next number.
    fn next_u64(&self) -> u64;
}

/// Decides, at named sites in the engine, whether to take a legal but pessimal choice: split
/// early, evict now, flush now, switch the log now, write short.
pub trait Adversary: Send + Sync + fmt::Debug {
    /// True if the choice at `site` should be the pessimal one this time.
    fn strikes(&self, site: &'static str) -> bool;
}

/// Whether background work runs by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Threads loop over the `step` functions.
    Threads,
    /// Nobody starts a thread; the caller calls the `step` functions.
    Stepped,
}

/// Everything outside the engine, in one value that every layer is given.
#[derive(Clone, Debug)]
pub struct Host {
    /// Files.
    pub vfs: Arc<dyn Vfs>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Adversity.
    pub adversary: Arc<dyn Adversary>,
    /// Who runs background work.
    pub background: Background,
}

impl Host {
    /// The operating system.
    pub fn os() -> Host {
        Host {
            vfs: Arc::new(OsVfs::new()),
            clock: Arc::new(OsClock::new()),
            random: Arc::new(OsRandom::new()),
            adversary: never(),
            background: Background::Threads,
        }
    }

    /// Files in memory, the real clock, no threads.
    pub fn memory() -> Host {
        Host { vfs: Arc::new(MemoryVfs::new()), background: Background::Stepped, ..Host::os() }
    }
}

/// The adversary that never strikes.
pub fn never() -> Arc<dyn Adversary> {
    Arc::new(Never)
}

#[derive(Debug)]
struct Never;

impl Adversary for Never {
    fn strikes(&self, _site: &'static str) -> bool {
        false
    }
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct OsClock {
    start: Instant,
}

impl OsClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> OsClock {
        OsClock { start: Instant::now() }
    }
}

impl Default for OsClock {
    fn default() -> OsClock {
        OsClock::new()
    }
}

impl Clock for OsClock {
    fn now_us(&self) -> u64 {
        // A wall clock before 1970 reads as 1970: commit times are made monotone above.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn sleep_us(&self, us: u64) {
        campanile_sync::thread::sleep(Duration::from_micros(us));
    }
}

/// Numbers from the keys with which the standard library seeds its hash maps, which it takes from
/// the operating system.
#[derive(Debug)]
pub struct OsRandom {
    keys: RandomState,
    drawn: AtomicU64,
}

impl OsRandom {
    /// A fresh source.
    pub fn new() -> OsRandom {
        OsRandom { keys: RandomState::new(), drawn: AtomicU64::new(0) }
    }
}

impl Default for OsRandom {
    fn default() -> OsRandom {
        OsRandom::new()
    }
}

impl Random for OsRandom {
    fn next_u64(&self) -> u64 {
        // SipHash under secret keys: distinct inputs, unpredictable outputs. The process id keeps
        // a forked child apart from its parent.
        let mut hasher = self.keys.build_hasher();
        hasher.write_u64(self.drawn.fetch_add(1, Ordering::Relaxed));
        hasher.write_u32(std::process::id());
        hasher.finish()
    }
}
