//! What can be chosen when an environment or a database is made.
//!
//! Owns the defaults and the limits. Promises that every default is the durable, safe choice and
//! that every value outside its limits is refused by name when it is used, not clamped in silence.
//! Must never hold a choice that is fixed when the home is created and then ignored: what a home
//! was created with wins, and [`EnvironmentOptions`] says which those are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;

/// How an environment is opened. Every setter takes and returns the options.
///
/// ```
/// use campanile::Environment;
/// # let dir = tempfile::tempdir()?;
/// # let home = dir.path();
///
/// let env = Environment::options().cache_bytes(64 << 20).open(home)?;
/// env.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct EnvironmentOptions {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) page_bytes: u32,
    pub(crate) cache_bytes: usize,
    pub(crate) log_file_bytes: u32,
    pub(crate) slow_lock_wait: Option<Duration>,
    pub(crate) live_stats: Option<Duration>,
    pub(crate) log_block_bytes: u32,
    pub(crate) power_safe_overwrite: bool,
    pub(crate) log_buffer_bytes: usize,
    pub(crate) recovery_threads: usize,
    pub(crate) checkpoint_log_bytes: u64,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) version_bytes: usize,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) victim: VictimPolicy,
    pub(crate) escalate_after: u64,
    pub(crate) durability: Durability,
    pub(crate) double_write: bool,
    pub(crate) open_files: usize,
    pub(crate) archive: Option<PathBuf>,
    pub(crate) data_dirs: Vec<PathBuf>,
    pub(crate) progress: Progress,
}

/// Longer than any transaction that is meant; short enough to find out what is wrong.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// The smallest page a product environment may have.
pub(crate) const PAGE_BYTES_MIN: u32 = 4096;
/// The smallest page the format allows: for tests that want many splits.
pub(crate) const PAGE_BYTES_MIN_TEST: u32 = 512;
pub(crate) const PAGE_BYTES_MAX: u32 = 32768;

impl Default for EnvironmentOptions {
    fn default() -> EnvironmentOptions {
        EnvironmentOptions {
            create: true,
            read_only: false,
            page_bytes: 8192,
            cache_bytes: 256 << 20,
            log_file_bytes: 64 << 20,
            slow_lock_wait: Some(Duration::from_secs(1)),
            live_stats: Some(Duration::from_secs(1)),
            log_block_bytes: 4096,
            power_safe_overwrite: false,
            log_buffer_bytes: 4 << 20,
            recovery_threads: 0,
            checkpoint_log_bytes: 256 << 20,
            checkpoint_interval: Duration::from_secs(60),
            version_bytes: 256 << 20,
            lock_timeout: Some(LOCK_TIMEOUT),
            victim: VictimPolicy::default(),
            escalate_after: 50_000,
            durability: Durability::Sync,
            double_write: true,
            open_files: 128,
            archive: None,
            data_dirs: Vec::new(),
            progress: Progress::none(),
        }
    }
}

impl EnvironmentOptions {
    /// The defaults.
    pub fn new() -> EnvironmentOptions {
        EnvironmentOptions::default()
    }

    /// Opens the environment in `home` with these options; see [`Environment::open`].
    pub fn open(self, home: impl AsRef<Path>) -> Result<Environment> {
        self.check(PAGE_BYTES_MIN)?;
        // A relative path means this place also after the process went to another directory.
        let home =
            std::path::absolute(home).map_err(|error| Error::io("finding the home", error))?;
        Environment::open_on(campanile_vfs::Host::os(), home, self)
    }

    /// Whether a missing home is created (default: yes).
    pub fn create(mut self, create: bool) -> EnvironmentOptions {
        self.create = create;
        self
    }

    /// Opens without changing a byte of the home (default: no). If the last owner did not close
    /// it, recovery runs in memory and the state it gives is shown. Several readers may hold a
    /// home at a time, but none beside an owner.
    pub fn read_only(mut self, read_only: bool) -> EnvironmentOptions {
        self.read_only = read_only;
        self
    }

    /// Page size of all databases: a power of two, 4096 to 32768 (default 8192). Fixed when the
    /// home is created; later opens go by the home.
    pub fn page_bytes(mut self, bytes: u32) -> EnvironmentOptions {
        self.page_bytes = bytes;
        self
    }

    /// Memory for pages (default 256 MiB).
    pub fn cache_bytes(mut self, bytes: usize) -> EnvironmentOptions {
        self.cache_bytes = bytes;
        self
    }

    /// Length of a log file (default 64 MiB). Fixed when the home is created.
    pub fn log_file_bytes(mut self, bytes: u32) -> EnvironmentOptions {
        self.log_file_bytes = bytes;
        self
    }

    /// A wait for a lock that lasts longer than this is told as a `tracing` event of level WARN,
    /// once, with who waits, for what and for whom, and counted in
    /// [`LockStats::slow_waits`](crate::LockStats) (default one second). `None`: never.
    pub fn slow_lock_wait(mut self, limit: Option<Duration>) -> EnvironmentOptions {
        self.slow_lock_wait = limit;
        self
    }

    /// How often the figures of [`Environment::stats`] and [`Environment::activity`] are written
    /// into the home, where `db_stat` finds them (default every second while anything happens).
    /// The file is small, never synced and never needed. `None`: never.
    pub fn live_stats(mut self, interval: Option<Duration>) -> EnvironmentOptions {
        self.live_stats = interval;
        self
    }

    /// The physical block of the disk under the log: a power of two, 512 to 4096 (default 4096,
    /// right for nearly every disk). A disk may ruin the whole block around a write that a power
    /// cut interrupts; so a block of the log that holds durable records is never written again,
    /// and each durable commit, or group of them, takes a whole number of blocks. The pages are
    /// safe from the same if they are not smaller than such a block.
    pub fn log_block_bytes(mut self, bytes: u32) -> EnvironmentOptions {
        self.log_block_bytes = bytes;
        self
    }

    /// Whether the disk promises that a write leaves the bytes beside it alone, also if the power
    /// goes in the middle of it (default: no). Then durable commits need not fill their block:
    /// the log of small ones is several times smaller, and they are a little faster. If the disk
    /// promises and does not keep it, a power cut can ruin commits that were acknowledged; that
    /// is found out, not repaired. SQLite calls this property PSOW. May differ from open to open.
    pub fn power_safe_overwrite(mut self, promised: bool) -> EnvironmentOptions {
        self.power_safe_overwrite = promised;
        self
    }

    /// Memory for log records on their way to disk (default 4 MiB).
    pub fn log_buffer_bytes(mut self, bytes: usize) -> EnvironmentOptions {
        self.log_buffer_bytes = bytes;
        self
    }

    /// Threads that repeat history at recovery, each for its share of the pages (default 0: as many
    /// as there are processors, at most 8). More of them read more of the log at the same time:
    /// each reads all of it.
    pub fn recovery_threads(mut self, threads: usize) -> EnvironmentOptions {
        self.recovery_threads = threads;
        self
    }

    /// A checkpoint begins when this much log was written since the last one (default 256 MiB):
    /// about what recovery has to read.
    pub fn checkpoint_log_bytes(mut self, bytes: u64) -> EnvironmentOptions {
        self.checkpoint_log_bytes = bytes;
        self
    }

    /// A checkpoint begins when the last one is this long ago and something was written since
    /// (default one minute).
    pub fn checkpoint_interval(mut self, interval: Duration) -> EnvironmentOptions {
        self.checkpoint_interval = interval;
        self
    }

    /// Memory for old versions that snapshots may still read (default 256 MiB). Beyond it the
    /// oldest snapshots fail with [`ErrorKind::SnapshotTooOld`].
    pub fn version_bytes(mut self, bytes: usize) -> EnvironmentOptions {
        self.version_bytes = bytes;
        self
    }

    /// How long a transaction waits for a lock before it fails with [`ErrorKind::LockTimeout`],
    /// which names the transaction that holds it (default: 60 seconds). Deadlocks are found at
    /// once, without it; this is for a lock that is never given back, such as that of another
    /// transaction which the same thread still has open. `None`: for ever.
    pub fn lock_timeout(mut self, timeout: Option<Duration>) -> EnvironmentOptions {
        self.lock_timeout = timeout;
        self
    }

    /// Who gives way in a deadlock (default [`VictimPolicy::Youngest`]).
    pub fn victim(mut self, policy: VictimPolicy) -> EnvironmentOptions {
        self.victim = policy;
        self
    }

    /// After how many locks on keys of one database a transaction locks the database as a whole
    /// instead, if nobody else uses it (default 50 000). What it gains in memory, others lose in
    /// concurrency.
    pub fn escalate_after(mut self, locks: u64) -> EnvironmentOptions {
        self.escalate_after = locks;
        self
    }

    /// What [`Transaction::commit`](crate::Transaction::commit) promises (default
    /// [`Durability::Sync`]).
    pub fn durability(mut self, durability: Durability) -> EnvironmentOptions {
        self.durability = durability;
        self
    }

    /// Whether pages are written twice, so that a page torn by a power cut is repaired (default:
    /// yes). Turn it off only on a file system that never tears a page.
    pub fn double_write(mut self, double_write: bool) -> EnvironmentOptions {
        self.double_write = double_write;
        self
    }

    /// Data files that have a handle of the operating system at a time (default 128). There may
    /// be any number of databases; files that were written and not yet synced keep theirs.
    pub fn open_files(mut self, files: usize) -> EnvironmentOptions {
        self.open_files = files;
        self
    }

    /// Archives log files into this repository before they are used again (default: as the home
    /// was told before; see [`archive`](crate::backup::archive)). The home remembers it: whoever
    /// opens it from now on keeps log files until they are archived.
    pub fn archive(mut self, repository: impl Into<PathBuf>) -> EnvironmentOptions {
        self.archive = Some(repository.into());
        self
    }

    /// Keeps data files in this directory too, on another disk perhaps (default: all in `data` in
    /// the home). May be called for several. A relative path is relative to the home. The directory
    /// is made if it is missing, or must hold no data files yet; the home remembers it from then
    /// on, and is refused as long as one of its directories is missing. Log, control file and the
    /// copies of pages being written stay in the home.
    ///
    /// A database lies in the directory that [`DatabaseOptions::data_dir`] names; see
    /// [`data_dirs`](crate::data_dirs) for moving one.
    pub fn add_data_dir(mut self, path: impl Into<PathBuf>) -> EnvironmentOptions {
        self.data_dirs.push(path.into());
        self
    }

    /// Who is told how far recovery is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> EnvironmentOptions {
        self.progress = progress;
        self
    }

    /// Refuses what is outside the limits.
    pub(crate) fn check(&self, min: u32) -> Result<()> {
        let refuse = |what: String| Err(Error::new(ErrorKind::InvalidArgument, what));
        let page = self.page_bytes;
        if !page.is_power_of_two() || !(min..=PAGE_BYTES_MAX).contains(&page) {
            return refuse(format!(
                "page_bytes is {page}; it must be a power of two from {min} to {PAGE_BYTES_MAX}"
            ));
        }
        let cache_min = 16 * page as usize;
        if self.cache_bytes < cache_min {
            return refuse(format!(
                "cache_bytes is {}; it must hold 16 pages, which is {cache_min}",
                self.cache_bytes
            ));
        }
        Ok(())
    }
}

/// Who gives way when transactions wait for each other in a circle, among those of the lowest
/// [priority](crate::TransactionOptions::priority). Ties go to the youngest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum VictimPolicy {
    /// The one that took its first lock last: it has probably done least.
    #[default]
    Youngest,
    /// The one that took its first lock first.
    Oldest,
    /// The one with the fewest locks.
    FewestLocks,
    /// The one with the most locks.
    MostLocks,
    /// The one that has written least.
    FewestWrites,
    /// Any one.
    Random,
}

impl VictimPolicy {
    pub(crate) fn inner(self) -> campanile_lock::VictimPolicy {
        match self {
            VictimPolicy::Youngest => campanile_lock::VictimPolicy::Youngest,
            VictimPolicy::Oldest => campanile_lock::VictimPolicy::Oldest,
            VictimPolicy::FewestLocks => campanile_lock::VictimPolicy::FewestLocks,
            VictimPolicy::MostLocks => campanile_lock::VictimPolicy::MostLocks,
            VictimPolicy::FewestWrites => campanile_lock::VictimPolicy::FewestWrites,
            VictimPolicy::Random => campanile_lock::VictimPolicy::Random,
        }
    }
}

/// What a commit promises when it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The transaction survives a power cut.
    #[default]
    Sync,
    /// It survives the end of this process, and a power cut a little later.
    WriteNoSync,
    /// It becomes durable soon, in commit order. Whatever survives, survives whole.
    NoSync,
}

/// How a database is made.
#[derive(Clone, Debug)]
#[must_use]
pub struct DatabaseOptions {
    pub(crate) durable: bool,
    pub(crate) exclusive: bool,
    pub(crate) data_dir: Option<PathBuf>,
}

impl Default for DatabaseOptions {
    fn default() -> DatabaseOptions {
        DatabaseOptions { durable: true, exclusive: false, data_dir: None }
    }
}

impl DatabaseOptions {
    /// The defaults.
    pub fn new() -> DatabaseOptions {
        DatabaseOptions::default()
    }

    /// Whether what is in the database survives a crash (default: yes). One that is not durable
    /// writes no log and is empty after recovery; transactions still roll back and isolate.
    pub fn durable(mut self, durable: bool) -> DatabaseOptions {
        self.durable = durable;
        self
    }

    /// The directory that its data file is made in (default: `data` in the home), as it was named
    /// to [`EnvironmentOptions::add_data_dir`]. A database that exists stays where it is.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> DatabaseOptions {
        self.data_dir = Some(path.into());
        self
    }

    /// Whether it is an error if the database exists already (default: no, it is opened).
    pub fn exclusive(mut self, exclusive: bool) -> DatabaseOptions {
        self.exclusive = exclusive;
        self
    }
}
