//! One frame: which page it holds, who is inside, and how it differs from the disk.
//!
//! Owns the frame's words of state and the rules between them (P2, P3, P5); who is inside is its
//! [`Latch`]'s. Must never do I/O, and never waits for anything but its own latch.

use campanile_format::{FileId, Lsn, PageId, PageNo};
use campanile_sync::atomic::{AtomicU8, AtomicU64, Ordering};
use campanile_sync::{Mutex, RwLockReadGuard, RwLockWriteGuard};

use crate::dirt::Dirt;
use crate::latch::{Latch, NO_PAGE};

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Frame>() == 128, "the first line for access, the second for dirt");

/// A frame survives this many rounds of the clock after its last use.
pub(crate) const USAGE_MAX: u8 = 3;

/// State of a frame. What every access reads stands first, in one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Frame {
    pub latch: Latch,
    /// Copy of `dirt.rec_lsn()`, to be scanned without a lock.
    rec_lsn: AtomicU64,
    usage: AtomicU8,
    dirt: Mutex<Dirt>,
}

impl Frame {
    /// An empty frame.
    pub fn new() -> Frame {
        Frame {
            latch: Latch::new(),
            rec_lsn: AtomicU64::new(0),
            usage: AtomicU8::new(0),
            dirt: Mutex::new(Dirt::Clean),
        }
    }

    /// The page in the frame. Certain only under the latch.
    pub fn page(&self) -> Option<PageId> {
        let word = self.latch.page();
        (word != NO_PAGE).then(|| PageId::new(FileId((word >> 32) as u32), PageNo(word as u32)))
    }

    /// Whether the page in the frame is this one. Certain only under the latch.
    #[inline]
    pub fn holds(&self, page: PageId) -> bool {
        self.latch.page() == pack(page)
    }

    /// Begins to read the page without the latch: see [`Latch::glimpse`].
    #[inline]
    pub fn glimpse(&self, page: PageId) -> Option<u64> {
        self.latch.glimpse(pack(page))
    }

    /// The shared latch, if the frame holds the page.
    #[inline]
    pub fn read(&self, page: PageId) -> Option<RwLockReadGuard<'_, ()>> {
        self.latch.read(pack(page))
    }

    /// The exclusive latch, if the frame holds the page.
    #[inline]
    pub fn write(&self, page: PageId) -> Option<RwLockWriteGuard<'_, ()>> {
        self.latch.write(pack(page))
    }

    /// Sets or clears the page. The caller has the exclusive latch and an open version.
    pub fn set_page(&self, page: Option<PageId>) {
        self.latch.set_page(page.map_or(NO_PAGE, pack));
        self.usage.store(0, Ordering::Relaxed);
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
