//! A readers-writer lock from the checker's mutex: with downgrading, which the checkers' own lack,
//! and with `parking_lot`'s preference for writers, so that a thread which reads twice while a
//! writer waits is found.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};

use crate::checked_condvar::Condvar;
use crate::checked_mutex::Mutex;

/// See `parking_lot::RwLock`.
#[derive(Default)]
pub struct RwLock<T: ?Sized> {
    state: Mutex<State>,
    changed: Condvar,
    value: UnsafeCell<T>,
}

#[derive(Default)]
struct State {
    readers: usize,
    writer: bool,
    waiting_writers: usize,
}

// SAFETY: readers share `&T` between threads and a writer has `&mut T` in one at a time, as `State`
// says, which is changed under a mutex only: the conditions of `std::sync::RwLock`.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: see above.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

/// The right to read, until dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized>(&'a RwLock<T>);

/// The right to read and write, until dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized>(&'a RwLock<T>);

impl<T> RwLock<T> {
    /// A free lock.
    #[track_caller]
    pub fn new(value: T) -> RwLock<T> {
        RwLock {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits for the right to read.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let mut state = self.state.lock();
        while state.writer || state.waiting_writers > 0 {
            self.changed.wait(&mut state);
        }
        state.readers += 1;
        RwLockReadGuard(self)
    }

    /// The right to read, unless a writer has it or waits for it.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let mut state = self.state.lock();
        let free = !state.writer && state.waiting_writers == 0;
        state.readers += usize::from(free);
        free.then(|| RwLockReadGuard(self))
    }

    /// Waits for the right to write.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let mut state = self.state.lock();
        state.waiting_writers += 1;
        while state.writer || state.readers > 0 {
            self.changed.wait(&mut state);
        }
        state.waiting_writers -= 1;
        state.writer = true;
        RwLockWriteGuard(self)
    }

    /// The right to write, unless somebody has a right.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        let mut state = self.state.lock();
        if state.writer || state.readers > 0 {
            return None;
        }
        state.writer = true;
        Some(RwLockWriteGuard(self))
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // A model that went wrong under loom: its threads are gone, and a second panic would abort.
        if cfg!(loom) && std::thread::panicking() {
            return;
        }
        change(&mut self.state.lock());
        self.changed.notify_all();
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Lets others read, without a moment in which another could write.
    pub fn downgrade(this: Self) -> RwLockReadGuard<'a, T> {
        let lock = this.0;
        mem::forget(this);
        lock.change(|state| {
            state.writer = false;
            state.readers += 1;
        });
        RwLockReadGuard(lock)
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.0.change(|state| state.readers -= 1);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.0.change(|state| state.writer = false);
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: while this guard lives `State::readers` counts it, and no writer gets in.
        unsafe { &*self.0.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: while this guard lives `State::writer` is set, and nobody else gets in.
        unsafe { &*self.0.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` keeps this guard's own references apart.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
