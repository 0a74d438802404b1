//! Counters of the page store.
//!
//! Owns [`StoreStats`] and what is counted where. Promises that counting costs a hit nothing that
//! other threads feel: the counter of requests is striped, and a stripe is one thread's. Must never
//! steer anything.

use std::cell::Cell;

use campanile_sync::plain::{AtomicU32, AtomicU64, Ordering};

/// Stripes of the counter of requests.
const STRIPES: usize = 32;
/// The stripe of all threads that own none; the others belong to one thread each.
const SHARED: usize = STRIPES - 1;
/// A thread that has not counted yet.
const UNKNOWN: usize = usize::MAX;

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
        let stripe = STRIPE.get();
        if stripe < SHARED {
            Counters::add_own(&self.requests[stripe]);
        } else {
            self.request_of_newcomer(stripe);
        }
    }

    /// Without a locked instruction: only this thread adds to its stripe.
    #[inline]
    fn add_own(stripe: &Stripe) {
        stripe.0.store(stripe.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    #[cold]
    fn request_of_newcomer(&self, stripe: usize) {
        match if stripe == UNKNOWN { find_stripe() } else { stripe } {
            SHARED => _ = self.requests[SHARED].0.fetch_add(1, Ordering::Relaxed),
            own => Counters::add_own(&self.requests[own]),
        }
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

/// Stripes that have an owner, one bit each.
static OWNED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The stripe of this thread; `UNKNOWN` until it counts for the first time.
    static STRIPE: Cell<usize> = const { Cell::new(UNKNOWN) };
    /// Gives an owned stripe back when the thread ends.
    static OWNER: Owner = const { Owner };
}

/// Of a thread that owns the stripe in `STRIPE`.
struct Owner;

impl Drop for Owner {
    fn drop(&mut self) {
        let stripe = STRIPE.replace(SHARED);
        if stripe < SHARED {
            // The next owner sees what this one counted.
            OWNED.fetch_and(!(1 << stripe), Ordering::Release);
        }
    }
}

/// Finds a stripe for this thread: its own, or the shared one.
#[cold]
fn find_stripe() -> usize {
    let stripe = (0..SHARED)
        .find(|stripe| OWNED.fetch_or(1 << stripe, Ordering::Acquire) & 1 << stripe == 0)
        .unwrap_or(SHARED);
    STRIPE.set(stripe);
    OWNER.with(|_| ());
    stripe
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn requests_of_any_number_of_threads_are_counted_exactly() {
        let counters = Counters::default();
        for _ in 0..3 {
            thread::scope(|scope| {
                for _ in 0..3 * STRIPES {
                    scope.spawn(|| (0..1000).for_each(|_| counters.request()));
                }
            });
        }
        assert_eq!(counters.requests(), 9 * STRIPES as u64 * 1000);
    }
}
