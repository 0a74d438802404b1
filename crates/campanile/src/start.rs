//! From a directory to a running engine: create, open, recover.
//!
//! Owns the order of the first steps and what a home may look like when nobody is in it. Promises
//! (C1) that a home is created whole or not at all, whenever the process dies: a marker stands in
//! it until it is complete, and what stands beside a marker without a control file was never used;
//! (C2) that a home whose control file is gone is refused, never taken for an empty directory.
//! Must never remove anything that is not beside a marker.

use std::path::Path;
use std::sync::Arc;

use campanile_btree::Forest;
use campanile_format::{Control, EnvironmentId, Features, FileId, Lsn, Timeline, TxnId, names};
use campanile_lock::LockOptions;
use campanile_recovery::{Opened, Settings};
use campanile_txn::{Durability, TransactionsOptions, TxnOptions};
use campanile_vfs::{Background, Host, LockMode, Open, Poison, Vfs};
use campanile_wal::{ControlFile, Start, Wal, WalOptions};
use parking_lot::Mutex;

use crate::core::{Core, Gate};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{EnvironmentOptions, PAGE_BYTES_MIN_TEST};
use crate::overlay::OverlayVfs;
use crate::retired::Retired;
use crate::{RecoveryReport, causes, owner};

/// Stands in a home that is being created.
const MARKER: &str = "creating";

/// A running engine.
pub(crate) struct Started {
    pub core: Core,
    pub report: Option<RecoveryReport>,
}

/// What a directory looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// No home: nothing of ours is in it.
    Nothing,
    /// A creation that did not get far enough to have a control file.
    Unborn,
    /// A home whose creation may have to be completed.
    Unfinished,
    /// A home.
    Home,
}

/// Opens the environment in `home`.
pub(crate) fn start(host: Host, home: &Path, options: EnvironmentOptions) -> Result<Started> {
    options.check(PAGE_BYTES_MIN_TEST)?;
    if options.read_only {
        return start_to_read(host, home, options);
    }
    let vfs = &host.vfs;
    if options.create {
        vfs.create_dir(home).map_err(|error| Error::io("creating the home", error))?;
    } else if !exists(&**vfs, home)? {
        return Err(no_home(home));
    }
    let lock = owner::take(&host, home)?;
    let poison = Poison::new();
    let found = look(&**vfs, home)?;
    match found {
        Found::Home | Found::Unfinished => {}
        Found::Nothing | Found::Unborn if !options.create => return Err(no_home(home)),
        Found::Nothing | Found::Unborn => create(&host, &poison, home, &options)?,
    }
    let unfinished = found != Found::Home;
    let mut started = open(host, poison, home, options, unfinished)?;
    started.core.lock = Mutex::new(Some(lock));
    if unfinished {
        finish_creation(&started.core)?;
        started.report = None;
    }
    Ok(started)
}

/// Opens over a layer that keeps all changes in memory.
fn start_to_read(host: Host, home: &Path, options: EnvironmentOptions) -> Result<Started> {
    if look(&*host.vfs, home)? != Found::Home {
        return Err(no_home(home));
    }
    let lock = owner::share(&host, home)?;
    let vfs: Arc<dyn Vfs> = Arc::new(OverlayVfs::new(Arc::clone(&host.vfs)));
    let host = Host { vfs, background: Background::Stepped, ..host };
    let mut started = open(host, Poison::new(), home, options, false)?;
    started.core.lock = Mutex::new(lock);
    Ok(started)
}

fn exists(vfs: &dyn Vfs, path: &Path) -> Result<bool> {
    vfs.exists(path).map_err(|error| Error::io("looking for the home", error))
}

fn no_home(home: &Path) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("{} holds no environment; create one, or check the path", home.display()),
    )
}

fn look(vfs: &dyn Vfs, home: &Path) -> Result<Found> {
    if !exists(vfs, home)? {
        return Ok(Found::Nothing);
    }
    let marker = exists(vfs, &home.join(MARKER))?;
    let control = exists(vfs, &home.join(names::CONTROL))?;
    match (control, marker) {
        (true, false) => return Ok(Found::Home),
        (true, true) => return Ok(Found::Unfinished),
        (false, true) => return Ok(Found::Unborn),
        (false, false) => {}
    }
    if let Some(name) = remains(vfs, home)? {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "{} holds {name} but no file {:?}: the control file of this environment is lost; \
                 restore it from a backup, nothing was changed",
                home.display(),
                names::CONTROL
            ),
        ));
    }
    Ok(Found::Nothing)
}

/// A file of ours in a directory, if there is one.
fn remains(vfs: &dyn Vfs, home: &Path) -> Result<Option<String>> {
    let listing = |error| Error::io("listing the home", error);
    if exists(vfs, &home.join(names::DOUBLE_WRITE))? {
        return Ok(Some(names::DOUBLE_WRITE.to_owned()));
    }
    for dir in [names::LOG_DIR, names::DATA_DIR] {
        if !exists(vfs, &home.join(dir))? {
            continue;
        }
        for name in vfs.list(&home.join(dir)).map_err(listing)? {
            if is_ours(&name) {
                return Ok(Some(format!("{dir}/{name}")));
            }
        }
    }
    Ok(None)
}

fn is_ours(name: &str) -> bool {
    names::parse_log_file(name).is_some() || names::parse_data_file(name).is_some()
}

/// Makes the marker, the directories, an empty log and, as the last step, the control file.
///
/// From then on the home is one that recovery can open; what it lacks, its first databases of its
/// own, is made by `finish_creation`, now or after a crash.
fn create(host: &Host, poison: &Poison, home: &Path, options: &EnvironmentOptions) -> Result<()> {
    let vfs = &*host.vfs;
    let failed = |error| Error::io("creating the environment", error);
    let marker = vfs.open(&home.join(MARKER), Open::OpenOrCreate).map_err(failed)?;
    marker.sync_all().map_err(failed)?;
    // The home's own entry, for a directory that was just made.
    if let Some(parent) = home.parent() {
        vfs.sync_dir(parent).map_err(failed)?;
    }
    vfs.sync_dir(home).map_err(failed)?;
    for dir in [names::LOG_DIR, names::DATA_DIR] {
        vfs.create_dir(&home.join(dir)).map_err(failed)?;
        for name in vfs.list(&home.join(dir)).map_err(failed)? {
            if is_ours(&name) || name.ends_with(names::UNFINISHED_SUFFIX) {
                vfs.remove(&home.join(dir).join(name)).map_err(failed)?;
            }
        }
        vfs.sync_dir(&home.join(dir)).map_err(failed)?;
    }
    vfs.sync_dir(home).map_err(failed)?;
    let environment = new_id(host);
    let wal = Wal::open(host, poison, wal_options(home, options, environment), Start::New);
    let wal = wal.map_err(causes::wal)?;
    let control = Control {
        features: Features::NONE,
        environment,
        timeline: Timeline(1),
        page_bytes: options.page_bytes,
        log_file_bytes: options.log_file_bytes,
        generation: 1,
        checkpoint: Lsn::NONE,
        redo: wal.end(),
        durable: wal.durable(),
        clean_end: Some(wal.end()),
        next_txn: TxnId(1),
        next_file: FileId::MIN_USER,
        time_us: host.clock.now_us(),
    };
    drop(wal);
    ControlFile::create(host, poison, home, &control).map_err(causes::wal)?;
    tracing::info!(home = %home.display(), %environment, "environment created");
    Ok(())
}

fn new_id(host: &Host) -> EnvironmentId {
    let (high, low) = (host.random.next_u64(), host.random.next_u64());
    let mut id = [0; 16];
    let (first, second) = id.split_at_mut(8);
    first.copy_from_slice(&high.to_le_bytes());
    second.copy_from_slice(&low.to_le_bytes());
    EnvironmentId(id)
}

fn wal_options(home: &Path, options: &EnvironmentOptions, id: EnvironmentId) -> WalOptions {
    let mut wal = WalOptions::new(home.join(names::LOG_DIR), id, Timeline(1));
    wal.file_bytes = options.log_file_bytes;
    wal.buffer_bytes = options.log_buffer_bytes;
    wal
}

/// Makes the catalog and the graveyard of a new home, and takes the marker away.
fn finish_creation(core: &Core) -> Result<()> {
    let missing = [FileId::CATALOG, FileId::GRAVEYARD];
    let mut txn = core.txns.begin(TxnOptions::default()).map_err(causes::txn)?;
    for file in missing {
        if !core.txns.store().has_file(file) {
            core.txns.create_file_as(&mut txn, file, true).map_err(causes::txn)?;
        }
    }
    core.txns.commit(txn, Durability::Sync).map_err(causes::txn)?;
    let failed = |error| Error::io("completing the environment", error);
    let marker = core.home.join(MARKER);
    if core.host.vfs.exists(&marker).map_err(failed)? {
        core.host.vfs.remove(&marker).map_err(failed)?;
        core.host.vfs.sync_dir(&core.home).map_err(failed)?;
    }
    Ok(())
}

/// Opens a home that has a control file, and recovers it if that is needed.
fn open(
    host: Host,
    poison: Poison,
    home: &Path,
    options: EnvironmentOptions,
    unfinished: bool,
) -> Result<Started> {
    let forest = Arc::new(Forest::new());
    let undo: Arc<Forest> = Arc::clone(&forest);
    let progress = options.progress.clone();
    let mut hook = |step: &campanile_recovery::Progress| {
        let total = (step.total > 0).then_some(step.total);
        let unit = match step.phase {
            campanile_recovery::Phase::Undo => "transactions",
            _ => "bytes",
        };
        match progress.report(&step.phase.to_string(), step.done, total, unit) {
            Ok(()) => std::ops::ControlFlow::Continue(()),
            Err(_) => std::ops::ControlFlow::Break(()),
        }
    };
    let settings = settings(&options);
    let opened = campanile_recovery::open(&host, &poison, home, &settings, undo, &mut hook);
    let Opened { txns, report } = opened.map_err(causes::recovery)?;
    if !unfinished && !txns.store().has_file(FileId::CATALOG) {
        let what = format!(
            "the catalog of {} is missing ({}/{}); restore it from a backup",
            home.display(),
            names::DATA_DIR,
            names::data_file(FileId::CATALOG)
        );
        return Err(Error::new(ErrorKind::Corrupt, what));
    }
    if let Some(report) = &report {
        tracing::warn!(home = %home.display(), reason = report.reason, "environment recovered");
    }
    let core = Core {
        home: home.to_owned(),
        host,
        poison,
        forest,
        txns,
        retired: Retired::default(),
        gate: Gate::default(),
        cleaning: Mutex::new(()),
        lock: Mutex::new(None),
        options,
    };
    if report.is_some() && !unfinished {
        core.forest.purge_graveyard(&core.txns).map_err(causes::tree)?;
    }
    Ok(Started { core, report })
}

fn settings(options: &EnvironmentOptions) -> Settings {
    let mut transactions = TransactionsOptions::default();
    transactions.version_bytes = options.version_bytes;
    transactions.checkpoint_log_bytes = options.checkpoint_log_bytes;
    transactions.checkpoint_interval_us =
        u64::try_from(options.checkpoint_interval.as_micros()).unwrap_or(u64::MAX);
    Settings {
        cache_bytes: options.cache_bytes,
        log_buffer_bytes: options.log_buffer_bytes,
        double_write: options.double_write,
        transactions,
        locks: LockOptions { default_timeout: options.lock_timeout, ..LockOptions::default() },
    }
}
