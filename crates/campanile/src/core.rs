//! The engine behind the handles: one per open environment.
//!
//! Owns the layers and the question whether the environment is open. Promises that everything
//! that goes through a handle first asks whether it may (closed, read-only), and that a
//! transaction cannot slip in while the environment is being closed. Must never start a thread:
//! that is `keeper`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use campanile_backup::{Archiver, Lag};
use campanile_btree::{Forest, Tree};
use campanile_format::{FileId, TxnId};
use campanile_sync::{Mutex, RwLock};
use campanile_txn::{CheckpointInfo, CheckpointKind, Transactions};
use campanile_vfs::{FileLock, Host, Poison};

use crate::causes;
use crate::error::{Error, ErrorKind, Result};
use crate::gate::{Gate, closed};
use crate::live::Publisher;
use crate::options::EnvironmentOptions;
use crate::retired::{Retired, Retirement};
use crate::retry::Runs;

/// The layers of an open environment.
#[derive(Debug)]
pub(crate) struct Core {
    pub host: Host,
    pub home: PathBuf,
    pub options: EnvironmentOptions,
    pub poison: Poison,
    pub forest: Arc<Forest>,
    pub txns: Arc<Transactions>,
    pub retired: Retired,
    /// What the transactions that were prepared in this life retired.
    pub prepared_retirements: Mutex<BTreeMap<TxnId, Vec<Retirement>>>,
    pub gate: Gate,
    /// Runs of transactions that are under way.
    pub runs: Runs,
    /// Held while something is cleaned, and by whoever needs that nothing is, who may wait for
    /// locks meanwhile: who cleans does not wait for it.
    pub cleaning: Mutex<()>,
    /// Puts log files away before they are used again, if the home has an archive.
    pub archiver: Mutex<Option<Archiver>>,
    /// What the databases of which a handle was made are called: for messages.
    pub names: RwLock<HashMap<FileId, Arc<str>>>,
    /// Publishes live figures.
    pub publisher: Publisher,
    /// Held as long as the environment is open.
    pub lock: Mutex<Option<Box<dyn FileLock>>>,
}

impl Core {
    /// A tree, for one call.
    pub fn tree(&self, file: FileId) -> Tree<'_> {
        self.forest.tree(&self.txns, file)
    }

    /// Refuses a closed environment.
    pub fn check_open(&self) -> Result<()> {
        if self.gate.is_closed() { Err(closed()) } else { Ok(()) }
    }

    /// Refuses a closed environment, and one that is only read.
    pub fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.options.read_only {
            let what = format!("{} was opened for reading only", self.home.display());
            return Err(Error::new(ErrorKind::ReadOnly, what));
        }
        Ok(())
    }

    /// A handle was made of the database `name` in `file`.
    pub fn remember_name(&self, file: FileId, name: &str) {
        if self.names.read().get(&file).is_none_or(|known| **known != *name) {
            self.names.write().insert(file, name.into());
        }
    }

    /// An error, with the name of the database in it if it is about a lock.
    pub fn explain_lock(&self, error: Error) -> Error {
        let Some((kind, refused)) = causes::lock_refused(&error) else { return error };
        let names = self.names.read();
        let file = match names.get(&refused.file) {
            _ if refused.file == FileId::CATALOG => "the catalog of databases".to_owned(),
            Some(name) => format!("database {name:?}"),
            None => format!("data file {}", refused.file),
        };
        let message = refused.describe(&file);
        Error::because(kind, message, error)
    }

    /// Work beside transactions, which closing waits for.
    pub fn tend<T>(&self, work: impl FnOnce(&Core) -> Result<T>) -> Result<T> {
        self.check_writable()?;
        self.gate.tend(|| work(self))
    }

    pub fn checkpoint(&self, kind: CheckpointKind) -> Result<CheckpointInfo> {
        self.tend(|core| core.txns.checkpoint(kind).map_err(causes::txn))
    }

    /// One bounded piece of background work; true if there was any.
    pub fn step(&self) -> Result<bool> {
        self.check_open()?;
        if self.options.read_only {
            return Ok(false);
        }
        self.tend(|core| {
            let worked = core.txns.step().map_err(causes::txn)?;
            let archived = core.archive()?;
            Ok(core.clean()? || archived || worked)
        })
    }

    /// One bounded piece of cleaning: ghosts, sparse pages, the graveyard. Nothing while somebody
    /// else cleans, or checks.
    pub fn clean(&self) -> Result<bool> {
        let Some(_cleaning) = self.cleaning.try_lock() else { return Ok(false) };
        self.forest.clean(&self.txns).map_err(causes::tree)
    }

    /// Whether the home has an archive.
    pub fn archives(&self) -> bool {
        self.archiver.lock().is_some()
    }

    /// Archives a log file, if one is due, and lets the log use what is safe.
    pub fn archive(&self) -> Result<bool> {
        let mut archiver = self.archiver.lock();
        let Some(archiver) = archiver.as_mut() else { return Ok(false) };
        let wal = self.txns.wal();
        if archiver.safe_below() >= wal.durable().file() {
            return Ok(false);
        }
        let archived = archiver.step().map_err(causes::backup)?;
        wal.hold_from(archiver.safe_below());
        Ok(archived.is_some())
    }

    /// How far the archive is behind; `None` if the home has none.
    pub fn archive_lag(&self) -> Result<Option<Lag>> {
        let archiver = self.archiver.lock();
        archiver.as_ref().map(|archiver| archiver.lag().map_err(causes::backup)).transpose()
    }

    /// Archives all there is, the file in use too. What fails here is not lost: the files stay.
    fn archive_rest(&self) {
        let mut archiver = self.archiver.lock();
        if let Some(Err(error)) = archiver.as_mut().map(Archiver::all) {
            tracing::warn!(%error, "the end of the log was not archived; the log keeps it");
        }
    }

    pub fn page_bytes(&self) -> u32 {
        u32::try_from(self.txns.store().page_bytes()).unwrap_or(u32::MAX)
    }

    /// Closes cleanly: nothing is open, everything is on disk, and the control file says so.
    ///
    /// If that fails, the next open recovers; whatever the outcome, nothing is written any more
    /// when this returns.
    pub fn close(&self) -> Result<()> {
        self.gate.close(|| self.close_behind_the_last())?
    }

    /// What is left to do when nobody is inside.
    fn close_behind_the_last(&self) -> Result<()> {
        let result = if self.options.read_only {
            Ok(())
        } else {
            self.txns.checkpoint(CheckpointKind::Close).map(|_| ()).map_err(causes::txn)
        };
        match &result {
            Ok(()) => {
                tracing::info!(home = %self.home.display(), "environment closed");
                self.archive_rest();
            }
            Err(error) => self.poison.strike(format!("it could not be closed ({error})")),
        }
        self.let_go();
        result
    }

    /// Lets go of the home as if the process had died: the next open recovers.
    pub fn abandon(&self) {
        self.gate.force();
        self.poison.strike("it was abandoned");
        self.let_go();
    }

    /// Gives the home back, once nothing of this environment is being written: who gets it next
    /// must find it at rest.
    fn let_go(&self) {
        if self.poison.is_poisoned() {
            self.txns.store().await_batch();
            self.txns.wal().await_writers();
        }
        *self.lock.lock() = None;
    }
}
