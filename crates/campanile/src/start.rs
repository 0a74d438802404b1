//! From a directory to a running engine: lock, create or recover, first databases.
//!
//! Owns the order of the first steps. Promises that at most one process runs them on a home, that
//! a home is created whole or not at all whenever the process dies (C1), and that a home which
//! lost its catalog is refused, never given an empty one (C2). Must never write before the home
//! is locked.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_backup::ArchiveNote;
use campanile_btree::Forest;
use campanile_format::{EnvironmentId, FileId, names};
use campanile_lock::LockOptions;
use campanile_pagestore::{StoreError, StoreOptions};
use campanile_recovery::{
    OpenOptions, Opened, Outcome, Phase, RecoveryError, Replay, Target, catastrophic,
};
use campanile_sync::{Mutex, RwLock};
use campanile_txn::{Durability, Transactions, TransactionsOptions, TxnOptions};
use campanile_vfs::{Background, FileLock, Host, Vfs};
use campanile_wal::WalError;

use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::gate::Gate;
use crate::live::Publisher;
use crate::options::{EnvironmentOptions, PAGE_BYTES_MIN_TEST};
use crate::overlay::OverlayVfs;
use crate::progress::Progress;
use crate::retired::Retired;
use crate::retry::Runs;
use crate::{RecoveryReport, backup, causes, owner};

/// The environment's own databases.
const OWN_FILES: [(FileId, &str); 2] =
    [(FileId::CATALOG, "catalog"), (FileId::GRAVEYARD, "graveyard")];

/// A running engine.
pub(crate) struct Started {
    pub core: Core,
    /// What recovery did, if it ran.
    pub report: Option<RecoveryReport>,
}

/// Opens the environment in `home`.
pub(crate) fn start(host: Host, home: &Path, options: EnvironmentOptions) -> Result<Started> {
    options.check(PAGE_BYTES_MIN_TEST)?;
    if options.read_only {
        return start_to_read(host, home, options);
    }
    let there = exists(&host, home)?;
    if !there && !options.create {
        return Err(no_home(home));
    }
    if !there {
        make_home(&host, home)?;
    } else if !options.create
        && !exists(&host, &home.join(names::CONTROL))?
        && is_empty(&host, home)?
    {
        return Err(no_home(home));
    }
    let lock = owner::take(&host, home)?;
    refuse_unfinished(&host, home)?;
    if let Some(repository) = &options.archive {
        backup::remember_archive(&host, home, repository)?;
    }
    open(host, home, options, Some(lock), Way::Normal)
}

/// A home that is being restored, or whose restore was cut short, is not one yet.
pub(crate) fn refuse_unfinished(host: &Host, home: &Path) -> Result<()> {
    if !campanile_backup::is_being_restored(host, home).map_err(causes::backup)? {
        return Ok(());
    }
    let what = format!(
        "{} is being restored, and that was not finished: run the same restore again",
        home.display()
    );
    Err(Error::new(ErrorKind::NeedsRecovery, what))
}

/// How what is found is brought up.
pub(crate) enum Way<'t> {
    /// By normal recovery, if it was not closed.
    Normal,
    /// By catastrophic recovery, to a target.
    Catastrophic(&'t Target, Replay),
}

/// Opens over a layer that keeps all changes in memory.
fn start_to_read(host: Host, home: &Path, options: EnvironmentOptions) -> Result<Started> {
    let ours = [names::CONTROL, names::LOG_DIR, names::DATA_DIR];
    let there = ours.iter().map(|name| exists(&host, &home.join(name)));
    if !there.collect::<Result<Vec<_>>>()?.contains(&true) {
        return Err(no_home(home));
    }
    let lock = owner::share(&host, home)?;
    refuse_unfinished(&host, home)?;
    let vfs: Arc<dyn Vfs> = Arc::new(OverlayVfs::new(Arc::clone(&host.vfs)));
    let host = Host { vfs, background: Background::Stepped, ..host };
    open(host, home, options.create(false), lock, Way::Normal)
}

fn exists(host: &Host, path: &Path) -> Result<bool> {
    host.vfs.exists(path).map_err(|error| Error::io("looking for the home", error))
}

fn is_empty(host: &Host, home: &Path) -> Result<bool> {
    let names = host.vfs.list(home).map_err(|error| Error::io("listing the home", error))?;
    Ok(names.is_empty())
}

fn no_home(home: &Path) -> Error {
    let what = format!("{} holds no environment: check the path", home.display());
    Error::new(ErrorKind::NotFound, what)
}

/// Makes the directory, durably.
pub(crate) fn make_home(host: &Host, home: &Path) -> Result<()> {
    let failed = |error| Error::io("creating the home", error);
    host.vfs.create_dir(home).map_err(failed)?;
    match home.parent() {
        Some(parent) => host.vfs.sync_dir(parent).map_err(failed),
        None => Ok(()),
    }
}

/// Opens a home that is locked.
pub(crate) fn open(
    host: Host,
    home: &Path,
    options: EnvironmentOptions,
    lock: Option<Box<dyn FileLock>>,
    way: Way<'_>,
) -> Result<Started> {
    let forest = Arc::new(Forest::new());
    let undo: Arc<Forest> = Arc::clone(&forest);
    let progress = options.progress.clone();
    let mut hook = hook(&progress);
    let note = ArchiveNote::read(&host, home).map_err(causes::backup)?;
    let listable = |path: &PathBuf| crate::data_dirs::listable(path);
    let data_dirs = options.data_dirs.iter().map(listable).collect::<Result<_>>()?;
    let replay = match way {
        Way::Normal => replay_of(&host, &options),
        Way::Catastrophic(_, replay) => replay,
    };
    let hold_log = note.is_some();
    let how = OpenOptions { hold_log, data_dirs, replay, ..open_options(&options) };
    let opened = match way {
        Way::Normal => campanile_recovery::open(&host, home, &how, undo, &mut hook),
        Way::Catastrophic(target, _) => catastrophic(&host, home, &how, target, undo, &mut hook),
    };
    let Opened { transactions: txns, report } =
        opened.map_err(|error| refused(&host, home, error))?;
    make_own_files(&txns, home)?;
    let archiver = match note.filter(|_| !options.read_only) {
        Some(note) => Some(backup::archiver(&host, home, &note)?),
        None => None,
    };
    let core = Core {
        archiver: Mutex::new(archiver),
        home: home.to_owned(),
        host,
        poison: txns.poison().clone(),
        forest,
        txns,
        retired: Retired::default(),
        prepared_retirements: Mutex::default(),
        runs: Runs::default(),
        gate: Gate::default(),
        cleaning: Mutex::new(()),
        names: RwLock::default(),
        publisher: Publisher::default(),
        lock: Mutex::new(lock),
        options,
    };
    let recovered = report.outcome == Outcome::Recovered;
    if recovered {
        tracing::warn!(home = %home.display(), reason = report.reason, "environment recovered");
        core.forest.purge_after_recovery(&core.txns).map_err(causes::tree)?;
    } else {
        tracing::info!(home = %home.display(), outcome = ?report.outcome, "environment opened");
    }
    Ok(Started { core, report: recovered.then_some(report) })
}

/// A home without a control file is damaged, not absent, if anything of ours is in it.
fn refused(host: &Host, home: &Path, error: RecoveryError) -> Error {
    if matches!(error, RecoveryError::NoEnvironment { .. }) && holds_files(host, home) {
        return Error::because(ErrorKind::Corrupt, error.to_string(), error);
    }
    causes::recovery(error)
}

/// The same for what does without recovery's words.
pub(crate) fn no_control(host: &Host, home: &Path, error: WalError) -> Error {
    if matches!(error, WalError::NoControl { .. }) && holds_files(host, home) {
        let what = format!(
            "{}: the control file is lost, though there are data or log files; restore from a \
             backup, with the log files that are there (campanile restore --logs)",
            home.display()
        );
        return Error::because(ErrorKind::Corrupt, what, error);
    }
    causes::wal(error)
}

/// Whether there are data or log files.
fn holds_files(host: &Host, home: &Path) -> bool {
    [names::LOG_DIR, names::DATA_DIR].iter().any(|dir| {
        let names = host.vfs.list(&home.join(dir)).unwrap_or_default();
        let is_ours = |name: &String| {
            names::parse_log_file(name).is_some() || names::parse_data_file(name).is_some()
        };
        names.iter().any(is_ours)
    })
}

/// The hook of recovery that tells ours.
pub(crate) fn hook(
    progress: &Progress,
) -> impl FnMut(&campanile_recovery::Progress) -> ControlFlow<()> + '_ {
    move |step| {
        let total = (step.total > 0).then_some(step.total);
        let unit = match step.phase {
            Phase::Undo => "transactions",
            _ => "bytes",
        };
        match progress.report(&step.phase.to_string(), step.done, total, unit) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Makes the catalog and the graveyard of a new environment.
///
/// They may be missing only while there was never a database: a creation that was cut short.
fn make_own_files(txns: &Transactions, home: &Path) -> Result<()> {
    let mut missing = Vec::new();
    for (file, what) in OWN_FILES {
        if !txns.store().open_file(file).map_err(causes::store)? {
            missing.push((file, what));
        }
    }
    let Some((file, what)) = missing.first() else { return Ok(()) };
    if txns.next_file() > FileId::MIN_USER {
        let what = format!(
            "the {what} of {} is missing ({}/{}): rebuild it from a backup and the log \
             (campanile repair --file {file})",
            home.display(),
            names::DATA_DIR,
            names::data_file(*file)
        );
        let lost = StoreError::NoSuchFile { file: *file };
        return Err(Error::because(ErrorKind::Corrupt, what, lost));
    }
    let mut txn = txns.begin(TxnOptions::default()).map_err(causes::txn)?;
    for (file, _) in missing {
        txns.create_file_as(&mut txn, file, true).map_err(causes::txn)?;
    }
    txns.commit(txn, Durability::Sync).map_err(causes::txn)?;
    Ok(())
}

pub(crate) fn open_options(options: &EnvironmentOptions) -> OpenOptions {
    let mut transactions = TransactionsOptions::default();
    transactions.version_bytes = options.version_bytes;
    transactions.checkpoint_log_bytes = options.checkpoint_log_bytes;
    transactions.checkpoint_interval_us =
        u64::try_from(options.checkpoint_interval.as_micros()).unwrap_or(u64::MAX);
    transactions.escalate_after = options.escalate_after;
    let store = StoreOptions {
        page_bytes: options.page_bytes as usize,
        cache_bytes: options.cache_bytes,
        double_write: options.double_write,
        open_files: options.open_files,
        ..StoreOptions::new("", EnvironmentId::default())
    };
    OpenOptions {
        create: options.create,
        store,
        log_file_bytes: options.log_file_bytes,
        log_block_bytes: options.log_block_bytes,
        power_safe_overwrite: options.power_safe_overwrite,
        log_buffer_bytes: options.log_buffer_bytes,
        locks: LockOptions {
            slow_wait: options.slow_lock_wait,
            default_timeout: options.lock_timeout,
            victim: options.victim.inner(),
            ..LockOptions::default()
        },
        transactions,
        hold_log: false,
        data_dirs: Vec::new(),
        replay: Replay::ALONE,
    }
}

/// So many threads are worth their while at most: each reads all of the log.
const REPLAY_THREADS_MAX: usize = 8;

/// On a host without threads of its own everything happens in one order.
pub(crate) fn replay_of(host: &Host, options: &EnvironmentOptions) -> Replay {
    let threads = host.background == Background::Threads;
    let there = || campanile_sync::thread::available_parallelism().map_or(1, usize::from);
    let shares = match options.recovery_threads {
        0 if threads => there().min(REPLAY_THREADS_MAX),
        0 => 1,
        asked => asked,
    };
    Replay { shares: u32::try_from(shares).unwrap_or(1), threads }
}
