//! Ordinary builds: the primitives themselves, under their own names.
//!
//! Owns only [`WaitWord`], the one thing that neither the standard library nor `parking_lot` has.
//! Promises that nothing here costs an instruction: these are re-exports and inlined calls.

use std::sync::atomic::{AtomicU32, Ordering};

pub use parking_lot::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult,
};
pub use std::hash::RandomState;
pub use std::hint;
pub use std::sync::atomic;
pub use std::thread;

/// Clocks that a wait may be bounded by. The engine's time is `vfs::Clock`; this is for timeouts.
pub mod time {
    pub use std::time::Instant;
}

/// A word to wait on: a futex.
#[derive(Debug, Default)]
pub struct WaitWord(AtomicU32);

impl WaitWord {
    /// A word of this value, which nobody waits on.
    #[must_use]
    pub const fn new(value: u32) -> WaitWord {
        WaitWord(AtomicU32::new(value))
    }

    /// The value.
    #[inline]
    pub fn load(&self, ordering: Ordering) -> u32 {
        self.0.load(ordering)
    }

    /// Sets the value; wakes nobody.
    #[inline]
    pub fn store(&self, value: u32, ordering: Ordering) {
        self.0.store(value, ordering);
    }

    /// Sleeps until woken, unless the value is not `expected`. May return at any time without a
    /// reason: look at the value again.
    #[inline]
    pub fn wait(&self, expected: u32) {
        atomic_wait::wait(&self.0, expected);
    }

    /// Wakes all who wait.
    #[inline]
    pub fn wake_all(&self) {
        atomic_wait::wake_all(&self.0);
    }
}
