//! The locks a transaction takes: for now one for the whole environment.
//!
//! Owns: when locks are taken and given back. Promises: a transaction is locked before its first
//! access and unlocked after its outcome is published (T7). Must never: be called with a page
//! latched.

use std::sync::Arc;
use std::time::Duration;

use campanile_format::record::Undo;
use campanile_lock::{LockError, LockName, LockTable, Mode, OwnerId, OwnerInfo, Wait};

use crate::error::TxnError;
use crate::table::Entry;
use crate::transaction::{Txn, TxnOptions};
use crate::transactions::Transactions;

/// The locks of one transaction; given back all at once, when dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    table: Arc<LockTable>,
    owner: OwnerId,
}

impl Holder {
    /// Hands all locks to the parent, in which this owner is nested.
    pub fn hand_to(self, parent: OwnerId) {
        self.table.transfer(self.owner, parent);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.table.release_all(self.owner);
    }
}

/// Under which number the lock table knows a transaction.
pub(crate) fn owner_of(entry: &Entry) -> OwnerId {
    OwnerId(entry.id().0)
}

impl Transactions {
    /// Makes a transaction known to the lock table, under its parent if it has one. A parent is
    /// known before its children, because it was begun before.
    pub(crate) fn register(&self, txn: &mut Txn) {
        let owner = owner_of(&txn.entry);
        let parent = txn.entry.parent().map(|parent| owner_of(parent));
        let TxnOptions { priority, label, .. } = &txn.options;
        let (priority, label) = (*priority, label.clone());
        self.locks().register(owner, OwnerInfo { parent, priority, label });
        txn.holder = Some(Holder { table: Arc::clone(self.locks()), owner });
    }

    /// Takes the locks again that `txn`, which a crash or a close interrupted when it was
    /// prepared, held because of the change that `undo` would take back. Nobody else has locks
    /// that hinder it: the environment is not open yet.
    pub(crate) fn lock_again(&self, txn: &mut Txn, undo: &Undo<'_>) -> Result<(), TxnError> {
        let _ = undo;
        let owner = owner_of(&txn.entry);
        match self.locks().acquire(owner, LockName::ENVIRONMENT, Mode::X, Wait::No) {
            // Another prepared transaction has it: one is enough to keep everybody out.
            Ok(_) | Err(LockError::WouldBlock { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the locks that `txn` needs to read and write, if it does not hold them yet. Waits
    /// for other writers; call it with nothing latched.
    pub fn lock_for_access(&self, txn: &mut Txn) -> Result<(), TxnError> {
        self.check_time(txn)?;
        let owner = owner_of(&txn.entry);
        if self.locks().holds(owner, LockName::ENVIRONMENT) == Mode::X {
            return Ok(());
        }
        self.poison().check()?;
        let wait = self.patience(txn);
        match self.locks().acquire(owner, LockName::ENVIRONMENT, Mode::X, wait) {
            Ok(_) => {}
            Err(LockError::Timeout { .. }) if self.check_time(txn).is_err() => {
                return self.check_time(txn);
            }
            Err(error) => return Err(error.into()),
        }
        // Whoever held it before may have poisoned the environment.
        self.poison().check()?;
        Ok(())
    }

    /// Fails once the transaction has used up its time.
    pub(crate) fn check_time(&self, txn: &Txn) -> Result<(), TxnError> {
        let Some(deadline) = txn.deadline_us else { return Ok(()) };
        if self.clock().monotonic_us() < deadline {
            return Ok(());
        }
        let limit_us = txn.options.timeout_us.unwrap_or_default();
        Err(TxnError::OutOfTime { txn: txn.id(), limit_us })
    }

    /// How long the transaction may wait for a lock now.
    fn patience(&self, txn: &Txn) -> Wait {
        if txn.options.no_wait {
            return Wait::No;
        }
        let asked = txn.options.lock_timeout_us.map(Duration::from_micros);
        let Some(deadline) = txn.deadline_us else {
            return asked.map_or(Wait::Default, Wait::AtMost);
        };
        let left = deadline.saturating_sub(self.clock().monotonic_us());
        let left = Duration::from_micros(left);
        let usual = asked.or(self.locks().options().default_timeout);
        Wait::AtMost(usual.map_or(left, |usual| usual.min(left)))
    }
}
