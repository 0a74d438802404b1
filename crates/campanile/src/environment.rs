//! The environment: a home directory, opened.
//!
//! Owns the handle that users hold and the end of an environment. Promises that the last handle to
//! go closes the environment cleanly, and that dropping handles in any order is safe. Must never
//! contain an algorithm: it wires.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_sync::Mutex;
use campanile_txn::CheckpointKind;
use campanile_vfs::{Background, Host};

use crate::activity::Activity;
use crate::catalog;
use crate::core::Core;
use crate::database::Database;
use crate::error::{Error, ErrorKind, Result};
use crate::keeper::Keeper;
use crate::options::{DatabaseOptions, EnvironmentOptions};
use crate::retry;
use crate::snapshot::Snapshot;
use crate::start;
use crate::stats::EnvironmentStats;
use crate::ticket;
use crate::transaction::Transaction;
use crate::transaction_options::TransactionOptions;
use crate::view::{Reads, View};
use crate::{Lsn, RecoveryReport, causes};

/// A home directory that this process owns: many databases, one log, transactions across all.
///
/// Handles are cheap to clone and shared between threads. The last one to go closes the
/// environment; [`close`](Environment::close) does it where the outcome can be seen. If a process
/// dies without closing, the next open recovers, by itself:
///
/// ```
/// use campanile::Environment;
/// # let dir = tempfile::tempdir()?;
/// # let home = dir.path().join("home");
///
/// let env = Environment::open(&home)?;
/// let accounts = env.create_database("accounts")?;
/// env.run(|txn| accounts.put(txn, "alice", "100"))?;
/// # drop(accounts);
/// env.abandon(); // as if the process had been killed here
///
/// let env = Environment::open(&home)?;
/// println!("{}", env.recovery_report().expect("the last owner died"));
/// let accounts = env.open_database("accounts")?;
/// assert_eq!(accounts.get(&env.snapshot()?, "alice")?.as_deref(), Some(&b"100"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Environment {
    shared: Arc<Shared>,
}

/// What all handles of an environment share.
pub(crate) struct Shared {
    core: Arc<Core>,
    keeper: Mutex<Option<Keeper>>,
    report: Option<RecoveryReport>,
}

/// The home and nothing more: every handle shows this, and the engine behind it is large and holds
/// what users stored.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("home", &self.core.home).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    fn close(&self) -> Result<()> {
        // Nobody else may be writing when the log is closed: the threads end first, and start
        // again if there is a reason not to close.
        let keeper = self.keeper.lock().take();
        let had_threads = keeper.is_some();
        drop(keeper);
        let result = self.core.close();
        if had_threads && !self.core.gate.is_closed() {
            *self.keeper.lock() = Some(Keeper::start(&self.core)?);
        }
        result
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.keeper.lock().take());
        let core = &self.core;
        if core.gate.is_closed() || core.poison.is_poisoned() || campanile_sync::thread::panicking()
        {
            return;
        }
        if let Err(error) = core.close() {
            tracing::error!(%error, "closing failed; the next open recovers");
        }
    }
}

/// Whether an environment can be used; see [`Environment::health`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
#[non_exhaustive]
pub enum Health {
    /// It can.
    Running,
    /// A write or sync failed: every call fails until it is closed, opened again and recovered.
    Poisoned {
        /// What failed.
        cause: String,
    },
    /// It was closed.
    Closed,
}

/// What a checkpoint did; see [`Environment::checkpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The checkpoint's own record in the log.
    pub lsn: Lsn,
    /// Where recovery would begin.
    pub redo: Lsn,
}

impl Environment {
    /// Options with which to open; see [`EnvironmentOptions`].
    pub fn options() -> EnvironmentOptions {
        EnvironmentOptions::new()
    }

    /// Opens the environment in the directory `home`: creates it if there is none, recovers it if
    /// its last owner died.
    ///
    /// One process owns a home at a time; the error says who if it is taken.
    pub fn open(home: impl AsRef<Path>) -> Result<Environment> {
        EnvironmentOptions::new().open(home)
    }

    /// Opens on another host than the operating system: files in memory, simulated disks, a clock
    /// that stands still. Pages may be as small as 512 bytes. For tests of programs that embed an
    /// environment.
    ///
    /// A host with a stepped background starts no thread: nothing happens in the background but by
    /// calls of [`step`](Environment::step).
    pub fn open_on(
        host: Host,
        home: impl AsRef<Path>,
        options: EnvironmentOptions,
    ) -> Result<Environment> {
        let threads = host.background == Background::Threads && !options.read_only;
        let env = Environment::wrap(start::start(host, home.as_ref(), options)?);
        if threads {
            let keeper = Keeper::start(&env.shared.core)?;
            *env.shared.keeper.lock() = Some(keeper);
        }
        Ok(env)
    }

    /// The handle of an engine that runs, without threads of its own.
    pub(crate) fn wrap(started: start::Started) -> Environment {
        let start::Started { core, report } = started;
        let keeper = Mutex::new(None);
        Environment { shared: Arc::new(Shared { core: Arc::new(core), keeper, report }) }
    }

    /// Closes cleanly: everything is written back and the next open has nothing to recover.
    ///
    /// Refused with [`ErrorKind::Busy`](crate::ErrorKind::Busy) while a transaction is open. Other
    /// handles fail from then on.
    pub fn close(self) -> Result<()> {
        self.shared.close()
    }

    /// Lets go of the home as if this process had died: nothing is written, and the next open
    /// recovers. For tests of what a program does after a crash.
    pub fn abandon(self) {
        drop(self.shared.keeper.lock().take());
        self.shared.core.abandon();
    }

    /// The home directory.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.core().home
    }

    /// Page size of all databases.
    #[must_use]
    pub fn page_bytes(&self) -> u32 {
        self.core().page_bytes()
    }

    /// The directories in which its data files are, `data` in the home first; see
    /// [`data_dirs::list`](crate::data_dirs::list) for what is in them.
    #[must_use]
    pub fn data_dirs(&self) -> Vec<PathBuf> {
        self.core().txns.store().dirs().all().map(|place| place.path.clone()).collect()
    }

    /// What recovery did when this environment was opened; `None` if it had been closed cleanly or
    /// is new.
    #[must_use]
    pub fn recovery_report(&self) -> Option<&RecoveryReport> {
        self.shared.report.as_ref()
    }

    /// Whether the environment can be used.
    #[must_use]
    pub fn health(&self) -> Health {
        let core = self.core();
        if core.gate.is_closed() {
            return Health::Closed;
        }
        match core.poison.cause() {
            Some(cause) => Health::Poisoned { cause: cause.to_owned() },
            None => Health::Running,
        }
    }

    /// Begins a read-write transaction.
    pub fn begin(&self) -> Result<Transaction> {
        self.begin_with(TransactionOptions::new())
    }

    /// Begins a read-write transaction with options of its own.
    pub fn begin_with(&self, options: TransactionOptions) -> Result<Transaction> {
        let core = self.core();
        core.check_writable()?;
        core.gate.enter()?;
        let inner = options.inner(core);
        match core.txns.begin(inner) {
            Ok(txn) => {
                let durability = options.durability.unwrap_or(core.options.durability);
                Ok(Transaction::new(Arc::clone(&self.shared), txn, durability))
            }
            Err(error) => {
                core.gate.leave();
                Err(causes::txn(error))
            }
        }
    }

    /// Runs `body` in a transaction and commits it; runs it again, with random pauses that grow, if
    /// it was chosen to break a deadlock or waited too long for a lock. Every attempt has a higher
    /// [priority](TransactionOptions::priority) than the one before. It gives up after ten
    /// attempts, or after the first that fails when a minute has gone; a `run` within a `run` has
    /// no attempts of its own but shares those of the outermost one.
    ///
    /// `body` may run more than once: what it does outside the transaction must bear that. If it
    /// fails the transaction is rolled back.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let env = campanile::Environment::open(dir.path())?;
    /// let counters = env.create_database("counters")?;
    /// let visits = env.run(|txn| {
    ///     let old = counters.get_with(txn, "visits", |value| value.len())?.unwrap_or(0);
    ///     counters.put(txn, "visits", vec![b'|'; old + 1])?;
    ///     Ok(old + 1)
    /// })?;
    /// assert_eq!(visits, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run<T>(&self, body: impl FnMut(&mut Transaction) -> Result<T>) -> Result<T> {
        self.run_with(TransactionOptions::new(), body)
    }

    /// As [`run`](Environment::run), with options. Their
    /// [timeout](TransactionOptions::timeout) is for all attempts together.
    pub fn run_with<T>(
        &self,
        options: TransactionOptions,
        body: impl FnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        retry::run(self, &options, body)
    }

    /// A read-only view of this moment, in all databases; see [`Snapshot`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(&self.shared)
    }

    /// One bounded piece of background work, true if there was any: what the background threads
    /// do by themselves. For environments opened on a host with a stepped background.
    pub fn step(&self) -> Result<bool> {
        self.core().step()
    }

    /// Takes a checkpoint now: every change so far is written back, and recovery would begin here.
    ///
    /// Checkpoints happen by themselves; see
    /// [`checkpoint_log_bytes`](EnvironmentOptions::checkpoint_log_bytes).
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let core = self.core();
        core.check_writable()?;
        let info = core.checkpoint(CheckpointKind::Full)?;
        Ok(Checkpoint { lsn: info.lsn, redo: info.redo })
    }

    /// Names this moment, so that a restore can go back to it; see
    /// [`Target::RestorePoint`](crate::restore::Target). Durable when it returns. Transactions
    /// that are open now are not part of the moment.
    pub fn restore_point(&self, name: &str) -> Result<Lsn> {
        let most = campanile_txn::RESTORE_POINT_NAME_MAX;
        if name.is_empty() || name.len() > most {
            let what = format!("the name of a restore point has 1 to {most} bytes");
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        self.core().tend(|core| core.txns.restore_point(name).map_err(causes::txn))
    }

    /// How far the archive of log files is behind; `None` if the home has no archive.
    pub fn archive_lag(&self) -> Result<Option<crate::backup::Lag>> {
        self.core().archive_lag()
    }

    /// Returns when everything in the log up to the record at `lsn`, as a commit returned it or a
    /// [`Ticket`](crate::Ticket) names it, survives a power cut. [`Lsn::NONE`] is durable already;
    /// [`Lsn::MAX`] stands for everything committed so far.
    ///
    /// An error means that the environment is poisoned or closed; what was durable before is no
    /// error.
    pub fn wait_durable(&self, lsn: Lsn) -> Result<()> {
        ticket::wait_durable(self.core(), lsn)
    }

    /// What goes on now: which transactions run, for how long, with which locks, and who waits for
    /// whom; the oldest snapshot; who keeps the log from being used again.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let env = campanile::Environment::open(dir.path())?;
    /// let txn = env.begin()?;
    /// let activity = env.activity();
    /// assert_eq!(activity.transactions[0].id, txn.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn activity(&self) -> Activity {
        Activity::of(self.core())
    }

    /// What the environment has done since it was opened, and how full it is.
    #[must_use]
    pub fn stats(&self) -> EnvironmentStats {
        EnvironmentStats::of(self.core())
    }

    pub(crate) fn core(&self) -> &Core {
        self.shared.core()
    }
}

/// Databases.
impl Environment {
    /// Opens a database, creating it if it is missing, in a transaction of its own.
    pub fn create_database(&self, name: &str) -> Result<Database> {
        if self.core().options.read_only {
            return self.open_database(name);
        }
        self.run(|txn| self.create_database_with(txn, name, DatabaseOptions::new()))
    }

    /// Opens a database, creating it if it is missing, in a transaction, with options.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let env = campanile::Environment::open(dir.path())?;
    /// use campanile::DatabaseOptions;
    ///
    /// let mut txn = env.begin()?;
    /// let options = DatabaseOptions::new().durable(false);
    /// let cache = env.create_database_with(&mut txn, "cache", options)?;
    /// cache.put(&mut txn, "k", "v")?;
    /// txn.abort()?; // takes the database with it
    /// assert!(env.open_database("cache").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_database_with(
        &self,
        txn: &mut Transaction,
        name: &str,
        options: DatabaseOptions,
    ) -> Result<Database> {
        self.check_same(View::Transaction(txn))?;
        let row = catalog::create(txn, name, &options)?;
        Ok(Database::new(&self.shared, name, row))
    }

    /// Opens a database that exists.
    pub fn open_database(&self, name: &str) -> Result<Database> {
        self.open_database_at(&self.snapshot()?, name)
    }

    /// Opens a database that exists for a transaction.
    pub fn open_database_in(&self, txn: &mut Transaction, name: &str) -> Result<Database> {
        self.open_database_at(txn, name)
    }

    /// Opens a database that exists for a transaction or in a snapshot.
    pub fn open_database_at(&self, reader: &impl Reads, name: &str) -> Result<Database> {
        let view = reader.view();
        self.check_same(view)?;
        let row = catalog::find_usable(view, name)?;
        Ok(Database::new(&self.shared, name, row))
    }

    /// Drops a database with all that is in it, in a transaction of its own.
    pub fn drop_database(&self, name: &str) -> Result<()> {
        self.run(|txn| self.drop_database_in(txn, name))
    }

    /// Drops a database in a transaction. Snapshots taken before it commits still read it.
    pub fn drop_database_in(&self, txn: &mut Transaction, name: &str) -> Result<()> {
        self.check_same(View::Transaction(txn))?;
        catalog::remove(txn, name)
    }

    /// Renames a database, in a transaction of its own. Handles follow it.
    pub fn rename_database(&self, name: &str, new_name: &str) -> Result<()> {
        self.run(|txn| self.rename_database_in(txn, name, new_name))
    }

    /// Renames a database in a transaction. The new name must be free.
    pub fn rename_database_in(
        &self,
        txn: &mut Transaction,
        name: &str,
        new_name: &str,
    ) -> Result<()> {
        self.check_same(View::Transaction(txn))?;
        catalog::rename(txn, name, new_name)
    }

    /// Empties a database, in a transaction of its own.
    pub fn empty_database(&self, name: &str) -> Result<()> {
        self.run(|txn| self.empty_database_in(txn, name))
    }

    /// Empties a database in a transaction. Snapshots taken before it commits still read what was
    /// in it; handles stay good.
    pub fn empty_database_in(&self, txn: &mut Transaction, name: &str) -> Result<()> {
        self.check_same(View::Transaction(txn))?;
        catalog::empty(txn, name)
    }

    /// The names of all databases that the reader sees, in order.
    pub fn databases(&self, reader: &impl Reads) -> Result<Vec<String>> {
        let view = reader.view();
        self.check_same(view)?;
        Ok(catalog::list(view)?.into_iter().map(|(name, _)| name).collect())
    }

    fn check_same(&self, view: View<'_>) -> Result<()> {
        if Arc::ptr_eq(&self.shared, view.shared()) {
            return Ok(());
        }
        let what = "this transaction or snapshot is of another environment";
        Err(crate::Error::new(crate::ErrorKind::InvalidArgument, what))
    }
}
