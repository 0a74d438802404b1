//! The latch of one frame, and the version that lets others read without it.
//!
//! Owns who is inside a frame and which page is in it: four words and the rules between them (P4,
//! P6). Promises that page and words change only under the exclusive latch and inside an odd
//! version, so that what was read under one even version is one state, and that nobody waits for a
//! page that is not there. Must never look at a byte of the page; it stands alone, so that a model
//! checker can run it as it is.
//!
//! ```text
//!   who changes                         who reads without the latch
//!   takes the exclusive latch           v = version, acquire; odd: take the latch instead
//!   version + 1, relaxed                is the page the one wanted?
//!   fence, release                      reads words, relaxed
//!   stores words, relaxed               fence, acquire
//!   version + 1, release                version still v, relaxed? else it saw nothing
//! ```

use campanile_sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use campanile_sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// No page. No file has the number 0, so this names none.
pub(crate) const NO_PAGE: u64 = 0;

/// Latch, version and page of a frame.
#[derive(Debug)]
pub(crate) struct Latch {
    /// Odd while a writer is inside (P4).
    version: AtomicU64,
    /// The page as one number, [`NO_PAGE`] if the frame is empty.
    page: AtomicU64,
    lock: RwLock<()>,
    /// How many wait for the latch because the frame holds the page they want (P6).
    waiting: AtomicU32,
}

impl Latch {
    /// Of an empty frame.
    pub fn new() -> Latch {
        Latch {
            version: AtomicU64::new(0),
            page: AtomicU64::new(NO_PAGE),
            lock: RwLock::new(()),
            waiting: AtomicU32::new(0),
        }
    }

    /// The page. Certain only under the latch, or if the version did not change around it.
    #[inline]
    pub fn page(&self) -> u64 {
        self.page.load(Ordering::SeqCst)
    }

    /// The version word.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Begins to read `page` without the latch: the version to end with. `None` if a writer is
    /// inside, or the frame holds another page.
    #[inline]
    pub fn glimpse(&self, page: u64) -> Option<u64> {
        let version = self.version.load(Ordering::Acquire);
        // Should the page be a later one than the version, the version is not the same at the end.
        (version.is_multiple_of(2) && self.page.load(Ordering::Relaxed) == page).then_some(version)
    }

    /// Ends to read without the latch: whether all that was read since `version` was one state.
    #[inline]
    pub fn is_still(&self, version: u64) -> bool {
        // Whoever read a word of a writer sees that writer's version, too.
        fence(Ordering::Acquire);
        self.version.load(Ordering::Relaxed) == version
    }

    /// Enters as a writer. The caller has the exclusive latch.
    pub fn open_version(&self) {
        let version = self.version.load(Ordering::Relaxed);
        debug_assert!(version.is_multiple_of(2), "one writer at a time");
        self.version.store(version + 1, Ordering::Relaxed);
        // Whoever sees a word stored after this fence sees the odd version too.
        fence(Ordering::Release);
    }

    /// Leaves as a writer.
    pub fn close_version(&self) {
        let version = self.version.load(Ordering::Relaxed);
        debug_assert!(!version.is_multiple_of(2), "a writer leaves once");
        self.version.store(version + 1, Ordering::Release);
    }

    /// The shared latch, if it is free.
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.lock.try_read()
    }

    /// The exclusive latch, if it is free.
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.lock.try_write()
    }

    /// The shared latch of the frame if it holds `page`; waits for it only then.
    #[inline]
    pub fn read(&self, page: u64) -> Option<RwLockReadGuard<'_, ()>> {
        match self.try_read() {
            Some(guard) => (self.page() == page).then_some(guard),
            None => self.wait(page, || self.lock.read()),
        }
    }

    /// The exclusive latch of the frame if it holds `page`; waits for it only then.
    #[inline]
    pub fn write(&self, page: u64) -> Option<RwLockWriteGuard<'_, ()>> {
        match self.try_write() {
            Some(guard) => (self.page() == page).then_some(guard),
            None => self.wait(page, || self.lock.write()),
        }
    }

    /// P6: announces the wait first and looks at the page second, while whoever empties the frame
    /// clears the page first and looks for waiters second. So either the waiter sees that the page
    /// is gone, or the frame is not given to another page before the waiter has left. Without it,
    /// one could wait for a page further up than those one has latched.
    fn wait<G>(&self, page: u64, lock: impl FnOnce() -> G) -> Option<G> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // One of the two fences is before the other: at least one side sees the other's store.
        fence(Ordering::SeqCst);
        let guard = (self.page() == page).then(lock);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        guard.filter(|_| self.page() == page)
    }

    /// Whether an empty, exclusively latched frame may be given to another page (P6).
    pub fn is_awaited(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiting.load(Ordering::SeqCst) != 0
    }

    /// Sets or clears the page. The caller has the exclusive latch and an open version.
    pub fn set_page(&self, page: u64) {
        self.page.store(page, Ordering::SeqCst);
    }

    /// Takes the page out of an exclusively latched frame, unless someone waits for it. Either way
    /// nobody who began to read it without the latch ends well.
    pub fn evict(&self) -> bool {
        let page = self.page();
        self.open_version();
        self.set_page(NO_PAGE);
        let evicted = !self.is_awaited();
        if !evicted {
            self.set_page(page);
        }
        self.close_version();
        evicted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    fn write(latch: &Latch, change: impl FnOnce()) {
        let _guard = latch.try_write().unwrap();
        latch.open_version();
        change();
        latch.close_version();
    }

    #[test]
    fn p4_what_is_read_around_a_change_is_not_taken_for_a_state() {
        let latch = Latch::new();
        write(&latch, || latch.set_page(7));
        assert_eq!(latch.glimpse(8), None, "another page");
        let version = latch.glimpse(7).unwrap();
        assert!(latch.is_still(version));
        let guard = latch.try_write().unwrap();
        assert!(latch.is_still(version), "a latch alone disturbs nobody");
        latch.open_version();
        assert!(!latch.is_still(version));
        assert_eq!(latch.glimpse(7), None, "a writer is inside");
        latch.close_version();
        drop(guard);
        assert!(!latch.is_still(version));
        assert!(latch.is_still(latch.glimpse(7).unwrap()));
    }

    #[test]
    fn p4_a_page_that_leaves_and_comes_back_is_another_state() {
        let latch = Latch::new();
        write(&latch, || latch.set_page(7));
        let version = latch.glimpse(7).unwrap();
        let guard = latch.try_write().unwrap();
        assert!(latch.evict());
        drop(guard);
        assert_eq!(latch.glimpse(7), None);
        write(&latch, || latch.set_page(7));
        assert!(latch.glimpse(7).is_some());
        assert!(!latch.is_still(version));
    }

    /// Two words that a writer always leaves equal, and evictions in between.
    #[test]
    fn p4_readers_without_a_latch_see_whole_states_or_nothing() {
        let rounds = if cfg!(miri) { 60 } else { 20_000 };
        let latch = Latch::new();
        let words = [AtomicU64::new(0), AtomicU64::new(0)];
        write(&latch, || latch.set_page(7));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let Some(version) = latch.glimpse(7) else { continue };
                        let seen = words.each_ref().map(|word| word.load(Ordering::Relaxed));
                        if latch.is_still(version) {
                            assert_eq!(seen[0], seen[1]);
                            assert!(seen[0] >= last, "a change was taken back");
                            last = seen[0];
                        }
                    }
                });
            }
            for round in 1..=rounds {
                let _guard = latch.write(7).unwrap();
                if round % 8 == 0 {
                    assert!(latch.evict());
                    latch.open_version();
                    // The frame serves another page for a moment.
                    latch.set_page(9);
                    words[0].store(u64::MAX, Ordering::Relaxed);
                    latch.close_version();
                    latch.open_version();
                    latch.set_page(7);
                    words[0].store(round - 1, Ordering::Relaxed);
                    latch.close_version();
                }
                latch.open_version();
                words.iter().for_each(|word| word.store(round, Ordering::Relaxed));
                latch.close_version();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn p6_a_frame_that_is_waited_for_keeps_its_page() {
        let latch = Latch::new();
        write(&latch, || latch.set_page(7));
        let guard = latch.try_write().unwrap();
        thread::scope(|scope| {
            // For a moment of an eviction that fails, the page is not there.
            let waiter = scope.spawn(|| while latch.read(7).is_none() {});
            while !latch.is_awaited() {
                thread::yield_now();
            }
            if !latch.evict() {
                assert_eq!(latch.page(), 7);
            } else {
                latch.open_version();
                latch.set_page(7);
                latch.close_version();
            }
            assert_eq!(latch.read(9).map(drop), None, "nobody waits for a page that is not there");
            drop(guard);
            waiter.join().unwrap();
        });
    }
}
