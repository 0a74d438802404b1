//! A word to wait on, from the checker's mutex and condition variable: a futex, as the kernel
//! makes one.

use crate::checked::atomic::{AtomicU32, Ordering};
use crate::checked_condvar::Condvar;
use crate::checked_mutex::Mutex;

/// See `real::WaitWord`.
#[derive(Debug, Default)]
pub struct WaitWord {
    value: AtomicU32,
    queue: Mutex<()>,
    woken: Condvar,
}

impl WaitWord {
    /// A word of this value, which nobody waits on.
    #[must_use]
    pub fn new(value: u32) -> WaitWord {
        WaitWord { value: AtomicU32::new(value), queue: Mutex::new(()), woken: Condvar::new() }
    }

    /// The value.
    pub fn load(&self, ordering: Ordering) -> u32 {
        self.value.load(ordering)
    }

    /// Sets the value; wakes nobody.
    pub fn store(&self, value: u32, ordering: Ordering) {
        self.value.store(value, ordering);
    }

    /// Sleeps until woken, unless the value is not `expected`.
    pub fn wait(&self, expected: u32) {
        let mut queue = self.queue.lock();
        if self.value.load(Ordering::SeqCst) == expected {
            self.woken.wait(&mut queue);
        }
    }

    /// Wakes all who wait.
    pub fn wake_all(&self) {
        drop(self.queue.lock());
        self.woken.notify_all();
    }
}
