//! Read-only snapshots: what a reader without locks may see.
//!
//! Owns: the register of live snapshots and the commit sequence. Promises: a snapshot sees
//! exactly the transactions published before it was taken (V3); the order in which it captures
//! its two bounds is the whole proof, see [`Register::capture`]. Must never: keep a version or a
//! log file alive after the snapshot is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use campanile_format::Lsn;
use campanile_format::planted::{self, Bug};
use campanile_sync::Mutex;
use campanile_sync::atomic::{AtomicU64, Ordering};

use crate::table::Table;
use crate::versions::{VersionList, Versions, Writer};

#[derive(Debug, Default)]
struct Live {
    next: u64,
    /// Number of the snapshot -> its bounds, and when it was taken, by the monotonic clock.
    bounds: BTreeMap<u64, (u64, Lsn, u64)>,
}

/// The snapshot that was taken first of those that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldestSnapshot {
    /// Its number.
    pub number: u64,
    /// How long ago it was taken.
    pub age: Duration,
    /// Every change that it must not see has an LSN at or above this one.
    pub low_lsn: Lsn,
}

/// Live snapshots and the order of commits.
#[derive(Debug)]
pub(crate) struct Register {
    live: Mutex<Live>,
    /// The place of the newest published commit.
    published: AtomicU64,
    publishing: Mutex<()>,
    pub(crate) versions: Versions,
}

impl Register {
    pub fn new(version_bytes: usize) -> Register {
        Register {
            live: Mutex::default(),
            published: AtomicU64::new(0),
            publishing: Mutex::default(),
            versions: Versions::new(version_bytes),
        }
    }

    /// Makes the changes of a committed writer visible to all snapshots from now on, at once.
    pub fn publish(&self, writer: &Arc<Writer>, list: VersionList) {
        let sequence = {
            let _order = self.publishing.lock();
            let sequence = self.published.load(Ordering::Relaxed) + 1;
            writer.publish(sequence);
            self.published.store(sequence, Ordering::Release);
            self.versions.retire(sequence, writer, list);
            sequence
        };
        self.collect(sequence);
    }

    /// Registers a snapshot.
    ///
    /// The order is what makes it right. Registered first (the lock is held throughout), so that
    /// no version it may need is collected; then the end of the log, then the transaction table,
    /// and only then the commit sequence. A writer lists itself before its first record and
    /// leaves the table after it is published: so a writer that the table no longer shows is
    /// within `read_sequence`, and one that it does not show yet will write at or above
    /// `low_lsn`.
    pub fn capture(
        self: &Arc<Self>,
        table: &Table,
        now_us: u64,
        end: impl FnOnce() -> Lsn,
    ) -> Snapshot {
        // Under the lock an early look would be harmless: a commit ends by collecting, which waits.
        let early = planted::is(Bug::SnapshotClockEarly).then(|| {
            let early = self.published.load(Ordering::Acquire);
            campanile_sync::thread::yield_now();
            early
        });
        let mut live = self.live.lock();
        let end = end();
        let low_lsn = table.lowest_first().map_or(end, |first| first.min(end));
        let read_sequence = early.unwrap_or_else(|| self.published.load(Ordering::Acquire));
        let number = live.next;
        live.next += 1;
        if !planted::is(Bug::SnapshotNotRegistered) {
            live.bounds.insert(number, (read_sequence, low_lsn, now_us));
        }
        Snapshot { register: Arc::clone(self), number, read_sequence, low_lsn }
    }

    /// The lowest `low_lsn` of all live snapshots.
    pub fn lowest_low_lsn(&self) -> Option<Lsn> {
        self.live.lock().bounds.values().map(|bounds| bounds.1).min()
    }

    /// The oldest snapshot.
    pub fn oldest(&self, now_us: u64) -> Option<OldestSnapshot> {
        let live = self.live.lock();
        let (number, (_, low_lsn, taken)) = live.bounds.first_key_value()?;
        let age = Duration::from_micros(now_us.saturating_sub(*taken));
        Some(OldestSnapshot { number: *number, age, low_lsn: *low_lsn })
    }

    pub fn live(&self) -> usize {
        self.live.lock().bounds.len()
    }

    fn collect(&self, newest: u64) {
        let live = self.live.lock();
        // Numbers and read sequences rise together: the first is the oldest.
        let oldest = live.bounds.values().next().map_or(newest, |bounds| bounds.0);
        self.versions.collect(oldest);
    }
}

/// A reader's view of all databases at one moment. Takes no locks and blocks nobody.
#[derive(Debug)]
pub struct Snapshot {
    register: Arc<Register>,
    number: u64,
    read_sequence: u64,
    low_lsn: Lsn,
}

impl Snapshot {
    /// Tells this snapshot from all others of this life of the environment.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Every change that the snapshot must not see has an LSN at or above this one.
    #[must_use]
    pub fn low_lsn(&self) -> Lsn {
        self.low_lsn
    }

    /// True if everything on a page with this LSN is visible as it stands: no lookup needed.
    #[must_use]
    pub fn sees_all_of(&self, page_lsn: Lsn) -> bool {
        page_lsn < self.low_lsn
    }

    pub(crate) fn read_sequence(&self) -> u64 {
        self.read_sequence
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.register.live.lock().bounds.remove(&self.number);
        self.register.collect(self.register.published.load(Ordering::Acquire));
    }
}
