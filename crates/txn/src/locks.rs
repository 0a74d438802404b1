//! The locks a transaction takes: for now one for the whole environment.
//!
//! Owns: when locks are taken and given back. Promises: a transaction is locked before its first
//! access and unlocked after its outcome is published (T7). Must never: be called with a page
//! latched.

use std::sync::Arc;
use std::time::Duration;

use campanile_lock::{LockError, LockName, LockTable, Mode, OwnerId, OwnerInfo, Wait};

use crate::error::TxnError;
use crate::transaction::{Txn, TxnOptions};
use crate::transactions::Transactions;

/// The locks of one transaction; given back all at once, when dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    table: Arc<LockTable>,
    owner: OwnerId,
}

impl Holder {
    fn new(table: &Arc<LockTable>, owner: OwnerId, options: &TxnOptions) -> Holder {
        if options.priority != OwnerInfo::DEFAULT_PRIORITY || !options.label.is_empty() {
            let info = OwnerInfo {
                priority: options.priority,
                label: options.label.clone(),
                ..OwnerInfo::default()
            };
            table.register(owner, info);
        }
        Holder { table: Arc::clone(table), owner }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.table.release_all(self.owner);
    }
}

impl Transactions {
    /// Takes the locks that `txn` needs to read and write, if it does not hold them yet. Waits
    /// for other writers; call it with nothing latched.
    pub fn lock_for_access(&self, txn: &mut Txn) -> Result<(), TxnError> {
        self.check_time(txn)?;
        if txn.holder.is_some() {
            return Ok(());
        }
        self.poison().check()?;
        let wait = self.patience(txn);
        let holder = Holder::new(self.locks(), OwnerId(txn.id().0), &txn.options);
        let taken = self.locks().acquire(holder.owner, LockName::ENVIRONMENT, Mode::X, wait);
        match taken {
            Ok(_) => txn.holder = Some(holder),
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
