//! Counters of the page store.
//!
//! Owns [`StoreStats`] and what is counted where. Promises that counting costs a hit nothing that
//! other threads feel: the counter of requests is striped. Must never steer anything.

use std::cell::Cell;

use campanile_sync::plain::{AtomicU64, AtomicUsize, Ordering};

/// Stripes of the counter of requests.
const STRIPES: usize = 16;

/// What a page store has done since it was opened, and how full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Frames of the cache.
    pub frames: u64,
    /// Frames whose page differs from the disk.
    pub dirty_frames: u64,
    /// Frames that hold no page.
    pub free_frames: u64,
    /// Pages asked for.
    pub requests: u64,
    /// Looks without a latch that had to take one: the page was on disk, or being changed.
    pub glimpses_missed: u64,
    /// Pages read from disk.
    pub page_ins: u64,
    /// Pages that had to leave for another one.
    pub evictions: u64,
    /// Pages written back.
    pub pages_written: u64,
    /// Of these, pages that went to the double-write file first.
    pub pages_double_written: u64,
    /// Batches of pages written back.
    pub batches: u64,
    /// Batches that a caller had to write because no clean frame was left.
    pub foreground_batches: u64,
    /// Syncs of data files and of the double-write file.
    pub syncs: u64,
}

/// One counter to a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

/// The counters behind [`StoreStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: [Stripe; STRIPES],
    pub glimpses_missed: AtomicU64,
    pub page_ins: AtomicU64,
    pub evictions: AtomicU64,
    pub pages_written: AtomicU64,
    pub pages_double_written: AtomicU64,
    pub batches: AtomicU64,
    pub foreground_batches: AtomicU64,
    pub syncs: AtomicU64,
}

impl Counters {
    /// Counts one request of a page.
    #[inline]
    pub fn request(&self) {
        self.requests[stripe()].0.fetch_add(1, Ordering::Relaxed);
    }

    /// The sum over the stripes.
    pub fn requests(&self) -> u64 {
        self.requests.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

/// The stripe of this thread.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    STRIPE.with(|stripe| {
        if stripe.get() == usize::MAX {
            stripe.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        stripe.get()
    })
}
