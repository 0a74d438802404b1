//! The engine behind the handles: one per open environment.
//!
//! Owns the layers and the question whether the environment is open. Promises that everything
//! that goes through a handle first asks whether it may (closed, read-only), and that a
//! transaction cannot slip in while the environment is being closed. Must never start a thread:
//! that is `keeper`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use campanile_backup::{Archiver, Lag};
use campanile_btree::{Forest, Tree};
use campanile_format::{FileId, TxnId};
use campanile_sync::atomic::{AtomicU64, Ordering};
use campanile_sync::{Mutex, RwLock};
use campanile_txn::{CheckpointInfo, CheckpointKind, Transactions};
use campanile_vfs::{FileLock, Host, Poison};

use crate::causes;
use crate::error::{Error, ErrorKind, Result};
use crate::options::EnvironmentOptions;
use crate::retired::{Retired, Retirement};

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
    /// Held while something is cleaned, and by whoever needs that nothing is.
    pub cleaning: Mutex<()>,
    /// Shared by whoever works beside transactions (checkpoints, background steps), so that
    /// closing begins when they are out, and keeps them out.
    pub upkeep: RwLock<()>,
    /// Puts log files away before they are used again, if the home has an archive.
    pub archiver: Mutex<Option<Archiver>>,
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

    /// Work beside transactions, which closing waits for.
    pub fn tend<T>(&self, work: impl FnOnce(&Core) -> Result<T>) -> Result<T> {
        let _upkeep = self.upkeep.read();
        self.check_writable()?;
        work(self)
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

    /// One bounded piece of cleaning: ghosts, sparse pages, the graveyard.
    pub fn clean(&self) -> Result<bool> {
        let _cleaning = self.cleaning.lock();
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
        self.gate.close()?;
        let _nobody = self.upkeep.write();
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

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the environment was closed; open it again")
}

/// Who is inside: closing waits for nobody, but refuses while a transaction is open.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How many are inside, and [`CLOSED`]: one word, so that nobody slips in while it closes and
    /// nobody is turned away by an attempt to close that is refused.
    state: AtomicU64,
}

const CLOSED: u64 = 1 << 63;

impl Gate {
    /// Counts a transaction in.
    pub fn enter(&self) -> Result<()> {
        if self.state.fetch_add(1, Ordering::SeqCst) & CLOSED != 0 {
            self.leave();
            return Err(closed());
        }
        Ok(())
    }

    /// Counts a transaction out.
    pub fn leave(&self) {
        self.state.fetch_sub(1, Ordering::SeqCst);
    }

    fn close(&self) -> Result<()> {
        match self.state.compare_exchange(0, CLOSED, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(()),
            Err(state) if state & CLOSED != 0 => Err(closed()),
            Err(open) => {
                let what =
                    format!("{open} transactions are open: commit or abort them, then close");
                Err(Error::new(ErrorKind::Busy, what))
            }
        }
    }

    fn force(&self) {
        self.state.fetch_or(CLOSED, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_closes_only_behind_the_last_transaction() {
        let gate = Gate::default();
        gate.enter().unwrap();
        assert_eq!(gate.close().unwrap_err().kind(), ErrorKind::Busy);
        gate.enter().unwrap();
        gate.leave();
        gate.leave();
        gate.close().unwrap();
        assert_eq!(gate.enter().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(gate.close().unwrap_err().kind(), ErrorKind::Closed);
    }
}
