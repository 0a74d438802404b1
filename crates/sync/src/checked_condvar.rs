//! A condition variable whose timed waits end: by a notification, or after the others have run
//! for a while. No checker's own does that.
//!
//! Under loom a timed wait always runs out, after a moment in which others may run: that is
//! legal at any time, and loom explores what follows. Under shuttle the scheduler's random source
//! says for how long others run first.

use std::time::Duration;

use crate::checked::base;
use crate::checked_mutex::MutexGuard;
use crate::checked_time::{self, Instant};

/// How a timed wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time ran out.
    #[must_use]
    pub fn timed_out(self) -> bool {
        self.0
    }
}

/// See `parking_lot::Condvar`.
#[derive(Debug, Default)]
pub struct Condvar {
    #[cfg(loom)]
    inner: base::sync::Condvar,
    /// Of the standard library: never held while another thread can run.
    #[cfg(shuttle)]
    waiting: std::sync::Mutex<std::collections::VecDeque<std::sync::Arc<Waiter>>>,
}

#[cfg(shuttle)]
#[derive(Debug)]
struct Waiter {
    thread: base::thread::Thread,
    told: crate::plain::AtomicBool,
}

impl Condvar {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Condvar {
        Condvar::default()
    }

    /// Waits until `deadline` at most.
    pub fn wait_until<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        self.wait_for(guard, deadline.saturating_duration_since(Instant::now()))
    }
}

#[cfg(loom)]
impl Condvar {
    /// Waits for a notification.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.lend(|guard| self.inner.wait(guard).expect("no poison in loom"));
    }

    /// Waits for a while: see the head of this file.
    pub fn wait_for<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        time: Duration,
    ) -> WaitTimeoutResult {
        guard.unlocked(base::thread::yield_now);
        checked_time::pass(time);
        WaitTimeoutResult(true)
    }

    /// Wakes one.
    pub fn notify_one(&self) {
        self.inner.notify_one();
    }

    /// Wakes all.
    pub fn notify_all(&self) {
        self.inner.notify_all();
    }
}

#[cfg(shuttle)]
impl Condvar {
    /// Waits for a notification.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        let me = self.enlist();
        guard.unlocked(|| {
            while !me.is_told() {
                base::thread::park();
            }
        });
    }

    /// Waits for a notification, or until the others have run for a while.
    pub fn wait_for<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        time: Duration,
    ) -> WaitTimeoutResult {
        use shuttle::rand::Rng;
        let me = self.enlist();
        guard.unlocked(|| {
            let mut turns = shuttle::rand::thread_rng().gen_range(0..32);
            while !me.is_told() && turns > 0 {
                base::thread::yield_now();
                turns -= 1;
            }
            self.waiting().retain(|waiter| !std::sync::Arc::ptr_eq(waiter, &me));
        });
        if !me.is_told() {
            checked_time::pass(time);
        }
        WaitTimeoutResult(!me.is_told())
    }

    /// Wakes the one who waits longest.
    pub fn notify_one(&self) {
        let first = self.waiting().pop_front();
        first.into_iter().for_each(|waiter| waiter.tell());
    }

    /// Wakes all.
    pub fn notify_all(&self) {
        let all = std::mem::take(&mut *self.waiting());
        all.into_iter().for_each(|waiter| waiter.tell());
    }

    fn enlist(&self) -> std::sync::Arc<Waiter> {
        let thread = base::thread::current();
        let told = crate::plain::AtomicBool::new(false);
        let me = std::sync::Arc::new(Waiter { thread, told });
        self.waiting().push_back(std::sync::Arc::clone(&me));
        me
    }

    fn waiting(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::VecDeque<std::sync::Arc<Waiter>>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(shuttle)]
impl Waiter {
    fn is_told(&self) -> bool {
        self.told.load(crate::plain::Ordering::Relaxed)
    }

    fn tell(&self) {
        self.told.store(true, crate::plain::Ordering::Relaxed);
        self.thread.unpark();
    }
}
