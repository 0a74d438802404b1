//! Locks that are given back before the transaction ends: for one look, or for as long as a cursor
//! stands somewhere.
//!
//! Owns: [`Brief`] and [`KeptLock`]. Promises: what is given back is what was taken, once; what the
//! transaction holds to its end stays, be it older or younger, its own or a committed child's (K6):
//! the lock table counts brief holds beside lasting ones. Must never: keep a transaction alive.

use std::sync::Arc;

use campanile_format::FileId;
use campanile_lock::{Brief as Hold, LockName, LockTable, OwnerId};

use crate::error::TxnError;
use crate::lock_refused::Place;
use crate::locks::owner_of;
use crate::transaction::Txn;
use crate::transactions::Transactions;

/// A lock that is held while somebody looks, see [`Transactions::lock_briefly`].
#[derive(Debug)]
#[must_use = "give it back with `unlock`"]
pub struct Brief {
    name: LockName,
}

/// A brief lock that is given back when this is dropped, wherever the transaction is then, unless
/// others of the transaction keep it too.
#[derive(Debug)]
pub struct KeptLock {
    table: Arc<LockTable>,
    owner: OwnerId,
    name: LockName,
}

impl Drop for KeptLock {
    fn drop(&mut self) {
        self.table.give_back(self.owner, self.name, Hold::Look);
    }
}

impl Transactions {
    /// Locks a key for as long as the caller looks at it: what he sees is committed. `None` if the
    /// transaction holds the lock to its end in any case. Waits.
    pub fn lock_briefly(
        &self,
        txn: &mut Txn,
        file: FileId,
        key: &[u8],
    ) -> Result<Option<Brief>, TxnError> {
        let place = Place::Key(key);
        let brief = Brief { name: self.lock_name(file, place) };
        let given = self.acquire_briefly(txn, file, place, Hold::Look)?;
        if let Err(refused) = self.heed_children(txn, file) {
            if given {
                self.unlock(txn, brief);
            }
            return Err(refused);
        }
        // Nobody may look at what a transaction left that could not be rolled back.
        self.poison().check()?;
        Ok(given.then_some(brief))
    }

    /// Gives a brief lock back, unless others of the transaction need it.
    pub fn unlock(&self, txn: &mut Txn, brief: Brief) {
        self.locks().give_back(owner_of(&txn.entry), brief.name, Hold::Look);
    }

    /// Keeps a brief lock for longer than a call.
    pub fn keep_lock(&self, txn: &mut Txn, brief: Brief) -> KeptLock {
        let (table, owner) = (Arc::clone(self.locks()), owner_of(&txn.entry));
        KeptLock { table, owner, name: brief.name }
    }
}
