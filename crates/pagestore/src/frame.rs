//! One frame: which page it holds, who is inside, and how it differs from the disk.
//!
//! Owns the frame's words of state and the rules between them (P2 to P6). Promises that a page's
//! identity and words change only under the exclusive latch and inside an odd version. Must never
//! do I/O, and never waits for anything but its own latch.

use campanile_format::{FileId, Lsn, PageId, PageNo};
use campanile_sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use campanile_sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::dirt::Dirt;

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Frame>() == 128, "the first line for access, the second for dirt");

/// The frame holds no page. No file has the number 0.
const NO_PAGE: u64 = 0;

/// A frame survives this many rounds of the clock after its last use.
pub(crate) const USAGE_MAX: u8 = 3;

/// State of a frame. What every access reads stands first, in one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Frame {
    /// Odd while a writer is inside (P4).
    version: AtomicU64,
    /// File number in the high half, page number in the low half.
    page: AtomicU64,
    latch: RwLock<()>,
    /// Copy of `dirt.rec_lsn()`, to be scanned without a lock.
    rec_lsn: AtomicU64,
    /// How many wait for the latch because the frame holds the page they want (P6).
    waiting: AtomicU32,
    usage: AtomicU8,
    dirt: Mutex<Dirt>,
}

impl Frame {
    /// An empty frame.
    pub fn new() -> Frame {
        Frame {
            version: AtomicU64::new(0),
            page: AtomicU64::new(NO_PAGE),
            latch: RwLock::new(()),
            rec_lsn: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            usage: AtomicU8::new(0),
            dirt: Mutex::new(Dirt::Clean),
        }
    }

    /// The page in the frame. Certain only under the latch.
    pub fn page(&self) -> Option<PageId> {
        let word = self.page.load(Ordering::SeqCst);
        (word != NO_PAGE).then(|| PageId::new(FileId((word >> 32) as u32), PageNo(word as u32)))
    }

    /// Whether the page in the frame is this one. Certain only under the latch.
    #[inline]
    pub fn holds(&self, page: PageId) -> bool {
        self.page.load(Ordering::SeqCst) == pack(page)
    }

    /// The version word: even and unchanged around a read means that the read was whole.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Enters the frame as a writer. The caller has the exclusive latch.
    pub fn open_version(&self) {
        let version = self.version.load(Ordering::Relaxed);
        debug_assert!(version.is_multiple_of(2), "one writer at a time");
        self.version.store(version + 1, Ordering::Relaxed);
        // Whoever sees a word stored after this fence sees the odd version too.
        fence(Ordering::Release);
    }

    /// Leaves the frame as a writer.
    pub fn close_version(&self) {
        let version = self.version.load(Ordering::Relaxed);
        debug_assert!(!version.is_multiple_of(2), "a writer leaves once");
        self.version.store(version + 1, Ordering::Release);
    }

    /// Notes a use; stores nothing once the frame is hot.
    #[inline]
    pub fn touch(&self) {
        let usage = self.usage.load(Ordering::Relaxed);
        if usage < USAGE_MAX {
            self.usage.store(usage + 1, Ordering::Relaxed);
        }
    }

    /// Takes one use away; true if there was none.
    pub fn cool(&self) -> bool {
        let usage = self.usage.load(Ordering::Relaxed);
        self.usage.store(usage.saturating_sub(1), Ordering::Relaxed);
        usage == 0
    }

    /// Whether nobody used the frame since the clock passed last.
    pub fn is_cold(&self) -> bool {
        self.usage.load(Ordering::Relaxed) == 0
    }

    /// The shared latch, if it is free.
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.latch.try_read()
    }

    /// The exclusive latch, if it is free.
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.latch.try_write()
    }

    /// Waits for the shared latch, if the frame holds the page; the caller checks again after.
    pub fn wait_read(&self, page: PageId) -> Option<RwLockReadGuard<'_, ()>> {
        self.wait(page, || self.latch.read())
    }

    /// Waits for the exclusive latch, if the frame holds the page; the caller checks again after.
    pub fn wait_write(&self, page: PageId) -> Option<RwLockWriteGuard<'_, ()>> {
        self.wait(page, || self.latch.write())
    }

    /// P6: announces the wait first and looks at the page second, while whoever empties the frame
    /// clears the page first and looks for waiters second. So either the waiter sees that the page
    /// is gone, or the frame is not given to another page before the waiter has left. Without it,
    /// one could wait for a page further up than those one has latched.
    fn wait<G>(&self, page: PageId, latch: impl FnOnce() -> G) -> Option<G> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let guard = self.holds(page).then(latch);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        guard.filter(|_| self.holds(page))
    }

    /// Whether an empty, exclusively latched frame may be given to another page (P6).
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) != 0
    }

    /// Sets or clears the page. The caller has the exclusive latch and an open version.
    pub fn set_page(&self, page: Option<PageId>) {
        self.page.store(page.map_or(NO_PAGE, pack), Ordering::SeqCst);
        self.usage.store(0, Ordering::Relaxed);
    }

    /// Where redo for the frame must start; `None` if it is clean.
    pub fn rec_lsn(&self) -> Option<Lsn> {
        let lsn = self.rec_lsn.load(Ordering::SeqCst);
        (lsn != 0).then_some(Lsn(lsn))
    }

    /// Makes a transition, and answers with the state before and after it besides.
    pub fn dirt<R>(&self, transition: impl FnOnce(&mut Dirt) -> R) -> (R, Turn) {
        let mut dirt = self.dirt.lock();
        let was_clean = *dirt == Dirt::Clean;
        let result = transition(&mut dirt);
        self.rec_lsn.store(dirt.rec_lsn().0, Ordering::SeqCst);
        let turn = match (was_clean, *dirt == Dirt::Clean) {
            (true, false) => Turn::Soiled,
            (false, true) => Turn::Cleaned,
            _ => Turn::Neither,
        };
        (result, turn)
    }
}

/// What a transition meant for the number of dirty frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Clean became dirty.
    Soiled,
    /// Dirty became clean.
    Cleaned,
    /// No change of that.
    Neither,
}

fn pack(page: PageId) -> u64 {
    u64::from(page.file.0) << 32 | u64::from(page.page.0)
}
