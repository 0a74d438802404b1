//! What the log did so far, in numbers.
//!
//! Owns the counters and their snapshot, [`WalStats`]. Promises nothing about one counter relative
//! to another while the log is in use. Must never influence anything.

use campanile_sync::plain::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the log was opened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct WalStats { $($(#[$doc])* pub $name: u64,)* }

        /// The counters, as they are counted.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)* }

        impl Counters {
            pub(crate) fn snapshot(&self) -> WalStats {
                WalStats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Records appended, those of the log itself included.
    records,
    /// Their bytes.
    record_bytes,
    /// Records that only state what is durable.
    durable_records,
    /// Pads: ends of physical blocks given up so that what is durable in them stays untouched.
    pads,
    /// Their bytes.
    pad_bytes,
    /// Calls of `flush` that had to wait for a sync.
    flushes,
    /// Syncs that answered them: `flushes / groups` is the mean size of a group.
    groups,
    /// The largest group.
    group_members_max,
    /// Syncs of log files, for groups and otherwise.
    syncs,
    /// Times the buffer was written out.
    writes,
    /// Of those, because it was full.
    buffer_full,
    /// Switches to another file.
    rotations,
    /// Switches that found no file prepared.
    rotations_unprepared,
    /// Old files kept for reuse.
    files_recycled,
    /// Old files given up.
    files_retired,
    /// Preparations given up because the disk said no.
    preparations_failed,
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
