//! Frames for pages that have none: free ones, then the clock's victims, then by writing back.
//!
//! Owns the clock and the way a frame loses its page. Promises that only a clean, unlatched frame
//! is taken, and that a caller in need never waits for a latch (P7): if nothing can be had it is
//! told [`StoreError::CacheFull`]. Must never write a page by itself: see `write_back`.

use campanile_format::PageId;
use campanile_sync::RwLockWriteGuard;
use campanile_sync::atomic::Ordering;
use campanile_sync::thread;

use crate::dirt::Dirt;
use crate::frame::USAGE_MAX;
use crate::stats::count;
use crate::{PageStore, Result, StoreError};

/// Attempts that only let other threads run, before attempts that sleep.
const YIELDS: u32 = 64;
/// Attempts altogether.
const ATTEMPTS: u32 = YIELDS + 50;
/// Length of a sleep.
const SLEEP_US: u64 = 1000;

/// An empty frame, exclusively latched, that nobody waits for.
pub(crate) struct Claimed<'s> {
    pub index: usize,
    pub latch: RwLockWriteGuard<'s, ()>,
}

impl PageStore {
    /// Gets an empty frame, whatever it takes.
    ///
    /// The caller may hold latches: everything here is tried, never awaited, but for the batch of
    /// another thread, which itself waits for no latch.
    pub(crate) fn claim(&self) -> Result<Claimed<'_>> {
        let mut attempts = 0;
        loop {
            let pessimal = self.host.adversary.strikes("pagestore.evict");
            let claimed = if pessimal { None } else { self.claim_free() };
            let claimed = claimed.or_else(|| self.sweep()).or_else(|| self.claim_free());
            if let Some(claimed) = claimed {
                return Ok(claimed);
            }
            if self.help()? {
                continue;
            }
            attempts += 1;
            if attempts > ATTEMPTS {
                return Err(StoreError::CacheFull { frames: self.frames.len() });
            }
            // Nothing can be written back because all that is dirty is latched: by this thread,
            // or by others that will let go.
            if attempts <= YIELDS {
                thread::yield_now();
            } else {
                self.host.clock.sleep_us(SLEEP_US);
            }
        }
    }

    /// A frame that holds no page.
    fn claim_free(&self) -> Option<Claimed<'_>> {
        let mut free = self.free.lock();
        for at in (0..free.len()).rev() {
            let index = free[at];
            let frame = &self.frames[index];
            if let Some(latch) = frame.latch.try_write() {
                // P6: someone may still wait for the page that was here.
                if !frame.latch.is_awaited() {
                    free.swap_remove(at);
                    return Some(Claimed { index, latch });
                }
            }
        }
        None
    }

    /// A frame that the clock takes from a page.
    fn sweep(&self) -> Option<Claimed<'_>> {
        let count = self.frames.len();
        if self.dirty.load(Ordering::Relaxed) >= count {
            return None;
        }
        for _ in 0..count * (usize::from(USAGE_MAX) + 1) {
            let index = self.hand.fetch_add(1, Ordering::Relaxed) % count;
            let frame = &self.frames[index];
            if !frame.cool() || frame.rec_lsn().is_some() {
                continue;
            }
            let Some(latch) = frame.latch.try_write() else { continue };
            if self.evict(index) {
                return Some(Claimed { index, latch });
            }
        }
        None
    }

    /// Takes the page from an exclusively latched frame, unless there is none, it is dirty, or
    /// someone waits for it.
    fn evict(&self, index: usize) -> bool {
        let frame = &self.frames[index];
        let Some(page) = frame.page() else { return false };
        if frame.rec_lsn().is_some() {
            return false;
        }
        let evicted = frame.latch.evict();
        if evicted {
            self.retract(page, index);
            count(&self.counters.evictions, 1);
        }
        evicted
    }

    /// Empties a frame whose page has nothing worth keeping, and frees it. The version is odd.
    pub(crate) fn vacate(&self, index: usize, page: PageId, latch: RwLockWriteGuard<'_, ()>) {
        let frame = &self.frames[index];
        assert!(frame.holds(page));
        self.dirt(frame, |dirt| *dirt = Dirt::Clean);
        frame.set_page(None);
        self.retract(page, index);
        frame.latch.close_version();
        drop(latch);
        self.free.lock().push(index);
    }

    fn retract(&self, page: PageId, index: usize) {
        if let Some(file) = self.files.get(page.file) {
            self.translation.retract(&file.directory, page.page, index);
        }
    }
}
