//! The locks a transaction takes: for now one for the whole environment.
//!
//! Owns: when locks are taken and given back. Promises: a transaction is locked before its first
//! access and unlocked after its outcome is published (T7). Must never: be called with a page
//! latched.

use std::sync::Arc;
use std::time::Duration;

use campanile_lock::{LockName, LockTable, Mode, OwnerId, Wait};

use crate::error::TxnError;
use crate::transaction::Txn;
use crate::transactions::Transactions;

/// The locks of one transaction; given back all at once, when dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    table: Arc<LockTable>,
    owner: OwnerId,
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
        if txn.holder.is_some() {
            return Ok(());
        }
        self.poison().check()?;
        let wait = match txn.options.lock_timeout_us {
            None => Wait::Default,
            Some(us) => Wait::AtMost(Duration::from_micros(us)),
        };
        let owner = OwnerId(txn.id().0);
        self.locks().acquire(owner, LockName::ENVIRONMENT, Mode::X, wait)?;
        txn.holder = Some(Holder { table: Arc::clone(self.locks()), owner });
        // Whoever held it before may have poisoned the environment.
        self.poison().check()?;
        Ok(())
    }
}
