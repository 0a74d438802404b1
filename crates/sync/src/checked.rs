//! Builds for a model checker: the same names, over the checker's primitives.
//!
//! Owns the choice of the checker. Promises the signatures of `real` as far as the engine uses
//! them; what a checker lacks is built here from its mutex, so the checker sees every step. Must
//! never be compiled into a product.

/// What the checker provides.
pub(crate) mod base {
    #[cfg(loom)]
    pub(crate) use loom::{sync, thread};
    #[cfg(shuttle)]
    pub(crate) use shuttle::{sync, thread};
}

pub use crate::checked_condvar::{Condvar, WaitTimeoutResult};
pub use crate::checked_mutex::{Mutex, MutexGuard};
pub use crate::checked_rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use crate::checked_word::WaitWord;

/// Hashes without a secret: a schedule is repeated in another process. See
/// `std::hash::RandomState`.
pub type RandomState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// Atomics: every access is a point where another thread may run.
pub mod atomic {
    #[cfg(loom)]
    pub use loom::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    #[cfg(shuttle)]
    pub use shuttle::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// Threads of the checker.
pub mod thread {
    #[cfg(loom)]
    pub use loom::thread::{
        Builder, JoinHandle, Thread, ThreadId, current, park, spawn, yield_now,
    };
    #[cfg(shuttle)]
    pub use shuttle::thread::{
        Builder, JoinHandle, Scope, ScopedJoinHandle, Thread, ThreadId, current, park, scope,
        spawn, yield_now,
    };
    pub use std::thread::{available_parallelism, panicking};

    /// Lets others run; time is virtual.
    pub fn sleep(time: std::time::Duration) {
        crate::checked_time::pass(time);
        yield_now();
    }
}

/// Hints to the processor.
pub mod hint {
    /// Whoever spins waits for another thread: it has to run.
    pub fn spin_loop() {
        crate::checked::base::thread::yield_now();
    }
}

/// Virtual time.
pub mod time {
    pub use crate::checked_time::Instant;
}
