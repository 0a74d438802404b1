//! The live figures of an owner, for programs beside it.
//!
//! Owns the file `campanile.stats` in the home. Promises that publishing never waits for a disk
//! and never fails anybody, and that a reader sees one whole publication or none. Must never be
//! read by recovery, or be needed for anything: after a crash the file may hold anything.

use std::io;
use std::path::Path;

use campanile_format::names;
use campanile_sync::Mutex;
use campanile_vfs::{Background, Host, Open, Vfs};
use serde::{Deserialize, Serialize};

use crate::activity::Activity;
use crate::core::Core;
use crate::stats::EnvironmentStats;

/// The version of the file that this build writes and reads.
const VERSION: u32 = 1;
/// No sane publication is longer.
const BYTES_MAX: u64 = 16 << 20;
/// At most so many transactions are published, the oldest.
const TRANSACTIONS_MAX: usize = 1000;

/// What an owner published of itself; see [`inspect::live`](crate::inspect::live).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LiveFigures {
    version: u32,
    /// The process that published it.
    pub pid: u32,
    /// When, in microseconds since 1970.
    pub written_us: u64,
    /// Counts since the environment was opened, and how full it is.
    pub stats: EnvironmentStats,
    /// What was going on: the 1000 oldest transactions at most.
    pub activity: Activity,
}

/// When the figures were published last, and which.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    last: Mutex<Option<(u64, EnvironmentStats)>>,
    /// The snapshot that was complained about.
    warned: Mutex<Option<u64>>,
}

/// A snapshot that is open so long is worth a line in the log of events, if it keeps memory.
const LONG_SNAPSHOT_US: u64 = 60_000_000;

impl Core {
    /// Publishes the figures, if it is time and there is news. Called by a background thread.
    pub(crate) fn publish(&self) {
        let Some(interval) = self.options.live_stats else { return };
        if self.host.background != Background::Threads {
            return;
        }
        let now = self.host.clock.monotonic_us();
        let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        let mut last = self.publisher.last.lock();
        if last.as_ref().is_some_and(|(at, _)| now.saturating_sub(*at) < interval) {
            return;
        }
        let stats = EnvironmentStats::of(self);
        let before = last.replace((now, stats));
        let quiet = stats.transactions.active == 0 && stats.transactions.snapshots == 0;
        if quiet && before.is_some_and(|(_, before)| before == stats) {
            return;
        }
        drop(last);
        let mut activity = Activity::of(self);
        self.warn_of_old_snapshot(&stats, &activity);
        activity.transactions.truncate(TRANSACTIONS_MAX);
        let (pid, written_us) = (std::process::id(), self.host.clock.now_us());
        let figures = LiveFigures { version: VERSION, pid, written_us, stats, activity };
        if let Err(error) = write(&*self.host.vfs, &self.home, &figures) {
            tracing::debug!(%error, "the live figures were not written");
        }
    }

    fn warn_of_old_snapshot(&self, stats: &EnvironmentStats, activity: &Activity) {
        let Some(oldest) = activity.oldest_snapshot else { return };
        let held = stats.transactions.version_bytes;
        if oldest.age_us < LONG_SNAPSHOT_US || held < self.options.version_bytes as u64 / 2 {
            return;
        }
        let mut warned = self.publisher.warned.lock();
        if warned.replace(oldest.lsn.0) != Some(oldest.lsn.0) {
            tracing::warn!(
                age_s = oldest.age_us / 1_000_000,
                lsn = %oldest.lsn,
                version_bytes = held,
                allowed = self.options.version_bytes,
                "an old snapshot keeps versions in memory; it fails when they are too many"
            );
        }
    }
}

/// Puts the figures in place in one step; nothing is synced.
fn write(vfs: &dyn Vfs, home: &Path, figures: &LiveFigures) -> io::Result<()> {
    let bytes = serde_json::to_vec(figures)?;
    let path = home.join(names::LIVE_STATS);
    let unfinished = home.join(format!("{}{}", names::LIVE_STATS, names::UNFINISHED_SUFFIX));
    let file = vfs.open(&unfinished, Open::OpenOrCreate)?;
    file.set_len(bytes.len() as u64)?;
    file.write_all_at(&bytes, 0)?;
    vfs.rename(&unfinished, &path)
}

/// The figures that stand in `home`; none if there are none, or none that this build understands.
pub(crate) fn read(host: &Host, home: &Path) -> io::Result<Option<LiveFigures>> {
    let path = home.join(names::LIVE_STATS);
    let file = match host.vfs.open(&path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; file.len()?.min(BYTES_MAX) as usize];
    let count = file.read_full_at(&mut bytes, 0)?;
    bytes.truncate(count);
    let figures: Option<LiveFigures> = serde_json::from_slice(&bytes).ok();
    Ok(figures.filter(|figures| figures.version == VERSION))
}
