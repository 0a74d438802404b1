//! Opening an environment, in whatever state it is: new, closed, or left by a crash.
//!
//! Owns: [`open`] and [`dry_run`]: gathering what the decision of `start_point.rs` needs, and
//! wiring the layers. Promises: whatever comes back is open, consistent, and says so in the
//! control file before anything changes. Must never: write before it has decided.

use std::path::Path;
use std::sync::Arc;

use campanile_format::control::Control;
use campanile_format::record::Body;
use campanile_format::{EnvironmentId, Features, Lsn, names};
use campanile_pagestore::{DataDirs, PageStore, StoreOptions};
use campanile_txn::{
    FlushLogFirst, LockOptions, LockTable, LogicalUndo, Parts, Transactions, TransactionsOptions,
};
use campanile_vfs::{Host, Poison};
use campanile_wal::{
    ControlFile, LOG_BLOCK_BYTES_DEFAULT, LOG_BUFFER_BYTES_DEFAULT, LOG_FILE_BYTES_DEFAULT,
    LOG_FILE_BYTES_MIN, LogSet, Start as LogStart, Wal, WalError, WalOptions,
};

use crate::create::{create, features_with, log_state};
use crate::error::RecoveryError;
use crate::plan::{Plan, not_a_checkpoint, prepared_at_close};
use crate::progress::{Hook, Pulse};
use crate::recover::recover;
use crate::replay::Replay;
use crate::report::{Outcome, RecoveryReport};
use crate::start_point::{CleanEnd, ControlState, LogState, Start, choose};

/// How to open an environment.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Make a new environment if there is none.
    pub create: bool,
    /// The page store. Its home and environment are filled in; its page size is that of a new
    /// environment, an existing one has its own.
    pub store: StoreOptions,
    /// Length of log files made from now on.
    pub log_file_bytes: u32,
    /// The physical block that the log is laid out for.
    pub log_block_bytes: u32,
    /// The disk promises that a write spares what is beside it.
    pub power_safe_overwrite: bool,
    /// Log waiting in memory beyond this is handed to the operating system.
    pub log_buffer_bytes: usize,
    /// Locks.
    pub locks: LockOptions,
    /// Transactions.
    pub transactions: TransactionsOptions,
    /// Gives up no log file until [`Wal::hold_from`] says which may go: the home has an archive.
    pub hold_log: bool,
    /// Directories of data files besides `data`: those that are not listed yet are added.
    pub data_dirs: Vec<String>,
    /// Who replays.
    pub replay: Replay,
}

impl OpenOptions {
    /// The defaults: creates, and recovers.
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions {
            create: true,
            store: StoreOptions::new("", EnvironmentId([0; 16])),
            log_file_bytes: LOG_FILE_BYTES_DEFAULT,
            log_block_bytes: LOG_BLOCK_BYTES_DEFAULT,
            power_safe_overwrite: false,
            log_buffer_bytes: LOG_BUFFER_BYTES_DEFAULT,
            locks: LockOptions::default(),
            transactions: TransactionsOptions::default(),
            hold_log: false,
            data_dirs: Vec::new(),
            replay: Replay::default(),
        }
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// An open environment, below its databases.
#[derive(Debug)]
pub struct Opened {
    /// The door to everything: the log, the pages and the locks hang on it.
    pub transactions: Arc<Transactions>,
    /// How it came up.
    pub report: RecoveryReport,
}

/// Opens the environment in `home`: creates it, goes on where it was closed, or recovers it.
///
/// The caller holds the home's lock. `undo` is asked to roll back what was running at a crash;
/// `hook` hears how far recovery is and may stop it.
pub fn open(
    host: &Host,
    home: &Path,
    options: &OpenOptions,
    undo: Arc<dyn LogicalUndo>,
    hook: &mut Hook<'_>,
) -> Result<Opened, RecoveryError> {
    let opening = Opening { host, home, options, poison: Poison::new(), undo };
    let found = Found::look(host, home)?;
    let mut start = found.choose(CleanEnd::Exact);
    if let (Start::Continue(_) | Start::Recover(_), Some(control)) = (start, &found.control) {
        found.dirs.clone().add(&*host.vfs, control.environment, &options.data_dirs)?;
    }
    if let (Start::Continue(end), Some(control)) = (start, found.control) {
        match opening.go_on(control, end) {
            Err(RecoveryError::Wal(WalError::PastCleanEnd { .. })) => {
                start = found.choose(CleanEnd::Beyond);
            }
            result => return result,
        }
    }
    match (start, found.control) {
        (Start::Create, _) if options.create => opening.create(),
        (Start::Create, _) => Err(no_environment(home, "create it first")),
        (Start::Recover(reason), Some(control)) => {
            recover(&opening, control, reason, &mut Pulse::new(hook))
        }
        (Start::Refuse(hint), _) => Err(found.refuse(home, hint)),
        (Start::Recover(_) | Start::Continue(_), _) => {
            unreachable!("decided on a control file that was read")
        }
    }
}

/// What [`open`] would do, without writing anything.
pub fn dry_run(
    host: &Host,
    home: &Path,
    hook: &mut Hook<'_>,
) -> Result<RecoveryReport, RecoveryError> {
    let found = Found::look(host, home)?;
    let control = found.usable(home)?;
    let plan = Plan::read(host, home, control, &mut Pulse::new(hook))?;
    let beyond = control.clean_end.is_some_and(|end| plan.end.end > end);
    let end = if beyond { CleanEnd::Beyond } else { CleanEnd::Exact };
    Ok(match found.choose(end) {
        Start::Recover(reason) => {
            RecoveryReport { outcome: Outcome::DryRun, ..plan.describe(reason) }
        }
        _ => RecoveryReport { outcome: Outcome::Clean, ..plan.describe("") },
    })
}

/// What was found in a home.
pub(crate) struct Found {
    control: Option<Control>,
    state: ControlState,
    log: LogState,
    dirs: DataDirs,
    data: bool,
}

impl Found {
    pub fn look(host: &Host, home: &Path) -> Result<Found, RecoveryError> {
        let (control, state) = match ControlFile::read(&*host.vfs, home) {
            Ok(control) if is_backup_copy(&control) => (Some(control), ControlState::BackupCopy),
            Ok(control) => {
                let state = control.clean_end.map_or(ControlState::Open, ControlState::Clean);
                (Some(control), state)
            }
            Err(WalError::NoControl { .. }) => (None, ControlState::Absent),
            Err(WalError::Corrupt { .. }) => (None, ControlState::Damaged),
            Err(error) => return Err(error.into()),
        };
        let log = log_state(host, &home.join(names::LOG_DIR))?;
        let dirs = match &control {
            Some(control) => {
                let listed = control.features.required & Features::DATA_DIRS != 0;
                DataDirs::open(&*host.vfs, home, control.environment, listed)?
            }
            None => DataDirs::read(&*host.vfs, home)?,
        };
        let data = !dirs.files(&*host.vfs)?.is_empty();
        Ok(Found { control, state, log, dirs, data })
    }

    pub fn choose(&self, end: CleanEnd) -> Start {
        choose(self.state, self.log, self.data, end)
    }

    /// The control file, if there is an environment that could be opened by it.
    pub fn usable(&self, home: &Path) -> Result<Control, RecoveryError> {
        match (self.choose(CleanEnd::Exact), self.control) {
            (Start::Refuse(hint), _) => Err(self.refuse(home, hint)),
            (_, None) => Err(no_environment(home, "nothing to recover")),
            (_, Some(control)) => Ok(control),
        }
    }

    fn refuse(&self, home: &Path, hint: &'static str) -> RecoveryError {
        match self.state {
            ControlState::Absent => no_environment(home, hint),
            ControlState::BackupCopy => {
                RecoveryError::BackupCopy { home: home.display().to_string() }
            }
            _ => RecoveryError::Unusable { home: home.display().to_string(), why: hint },
        }
    }
}

/// Whether the control file is the label of a hot copy.
pub(crate) fn is_backup_copy(control: &Control) -> bool {
    control.features.required & Features::BACKUP_COPY != 0
}

fn no_environment(home: &Path, hint: &'static str) -> RecoveryError {
    RecoveryError::NoEnvironment { home: home.display().to_string(), hint }
}

/// Refuses log files that could not hold every record: no record crosses from one file into the
/// next, and the longest, a split, makes two pages anew and changes a third. Found out later, a
/// rollback could need a record that cannot be written, and so could every recovery after it.
pub(crate) fn check_sizes(log_file_bytes: u32, page_bytes: u32) -> Result<(), RecoveryError> {
    let least = (4 * u64::from(page_bytes)).max(u64::from(LOG_FILE_BYTES_MIN));
    if u64::from(log_file_bytes) >= least {
        return Ok(());
    }
    let why = format!(
        "log files of {log_file_bytes} bytes for pages of {page_bytes}: at least {least} are needed"
    );
    Err(WalError::BadOptions { why }.into())
}

/// Opens the log of a home for appending.
pub(crate) fn open_wal(
    host: &Host,
    home: &Path,
    options: &OpenOptions,
    poison: &Poison,
    control: &Control,
    start: LogStart,
) -> Result<Wal, RecoveryError> {
    check_sizes(options.log_file_bytes, control.page_bytes)?;
    let dir = home.join(names::LOG_DIR);
    let options = WalOptions {
        file_bytes: options.log_file_bytes,
        buffer_bytes: options.log_buffer_bytes,
        block_bytes: options.log_block_bytes,
        power_safe_overwrite: options.power_safe_overwrite,
        hold_all: options.hold_log,
        ..WalOptions::new(dir, control.environment, control.timeline)
    };
    Ok(Wal::open(host, poison, options, start)?)
}

/// What a directory shows may be in a cache only, from before the crash.
pub(crate) fn sync_home(host: &Host, home: &Path) -> Result<(), RecoveryError> {
    host.vfs.sync_dir(home).map_err(|source| RecoveryError::Io {
        action: "sync",
        path: home.display().to_string(),
        source,
    })
}

/// What all ways of opening share.
pub(crate) struct Opening<'o> {
    pub host: &'o Host,
    pub home: &'o Path,
    pub options: &'o OpenOptions,
    pub poison: Poison,
    pub undo: Arc<dyn LogicalUndo>,
}

impl Opening<'_> {
    fn create(&self) -> Result<Opened, RecoveryError> {
        let (wal, control_file, control) =
            create(self.host, &self.poison, self.home, self.options)?;
        let wal = Arc::new(wal);
        let store = self.store(&wal, &control)?;
        let transactions = self.wire(wal, store, control_file, control);
        let report = RecoveryReport { outcome: Outcome::Created, ..RecoveryReport::default() };
        Ok(Opened { transactions, report })
    }

    fn go_on(&self, control: Control, end: Lsn) -> Result<Opened, RecoveryError> {
        let wal = Arc::new(self.wal(&control, LogStart::Continue { end })?);
        let (control_file, control) = ControlFile::open(self.host, &self.poison, self.home)?;
        wal.commit_times_after(control.time_us);
        let store = self.store(&wal, &control)?;
        let transactions = self.wire(wal, store, control_file, control);
        self.keep_prepared(&control, &transactions)?;
        transactions.mark_open()?;
        Ok(Opened { transactions, report: RecoveryReport::default() })
    }

    /// Takes up the prepared transactions that a clean close left.
    fn keep_prepared(&self, control: &Control, txns: &Transactions) -> Result<(), RecoveryError> {
        let checkpoint = control.checkpoint;
        if checkpoint.is_none() {
            return Ok(());
        }
        let active_from = match txns.wal().read(checkpoint)?.record()?.body {
            Body::Checkpoint(checkpoint) => checkpoint.active_from,
            other => return Err(not_a_checkpoint(checkpoint, &other)),
        };
        if active_from.is_none() {
            return Ok(());
        }
        let dir = self.home.join(names::LOG_DIR);
        let logs = LogSet::open(&self.host.vfs, &dir, control.environment, control.timeline)?;
        for entry in prepared_at_close(&logs, active_from, checkpoint, txns.next_txn())? {
            txns.keep_prepared(&entry)?;
        }
        Ok(())
    }

    /// Opens the log for appending.
    pub fn wal(&self, control: &Control, start: LogStart) -> Result<Wal, RecoveryError> {
        open_wal(self.host, self.home, self.options, &self.poison, control, start)
    }

    /// Opens the page store behind the log.
    pub fn store(
        &self,
        wal: &Arc<Wal>,
        control: &Control,
    ) -> Result<Arc<PageStore>, RecoveryError> {
        let options = StoreOptions {
            environment: control.environment,
            home: self.home.to_owned(),
            page_bytes: control.page_bytes as usize,
            ..self.options.store.clone()
        };
        let barrier = Arc::new(FlushLogFirst::new(Arc::clone(wal)));
        Ok(Arc::new(PageStore::open(self.host, &self.poison, options, barrier)?))
    }

    /// Puts the transactions on top.
    pub fn wire(
        &self,
        wal: Arc<Wal>,
        store: Arc<PageStore>,
        control_file: ControlFile,
        control: Control,
    ) -> Arc<Transactions> {
        let several = store.dirs().others().next().is_some();
        let control = Control {
            features: features_with(control.features, several),
            log_file_bytes: self.options.log_file_bytes,
            ..control
        };
        let parts = Parts {
            poison: self.poison.clone(),
            clock: Arc::clone(&self.host.clock),
            wal,
            store,
            locks: Arc::new(LockTable::new(self.options.locks.clone())),
            control_file,
            control,
        };
        let transactions = Transactions::open(parts, self.options.transactions.clone());
        transactions.set_undo(Arc::clone(&self.undo));
        Arc::new(transactions)
    }
}
