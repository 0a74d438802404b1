//! Locks that are given back before the transaction ends: for one look, or for as long as a cursor
//! stands somewhere.
//!
//! Owns: [`Brief`], [`KeptLock`] and what a transaction knows of those that are kept. Promises: a
//! lock that several need is given back by the last of them (K6), and not at all once the
//! transaction needs it to its end; wherever and whenever a kept one is dropped. Must never: give
//! back what somebody else of the transaction relies upon, or cost a transaction that keeps none.

use std::sync::Arc;

use campanile_format::FileId;
use campanile_lock::{Granted, LockName, LockTable, Mode, OwnerId};
use campanile_sync::Mutex;
use campanile_sync::atomic::{AtomicBool, Ordering};

use crate::error::TxnError;
use crate::lock_refused::Place;
use crate::locks::{Access, owner_of};
use crate::table::Entry;
use crate::transaction::Txn;
use crate::transactions::Transactions;

/// A lock that is held while somebody looks, see [`Transactions::lock_briefly`].
#[derive(Debug)]
#[must_use = "give it back with `unlock`"]
pub struct Brief {
    name: LockName,
    before: Mode,
    during: Mode,
    /// It is one of those that are kept, and counted there.
    kept: bool,
}

/// A brief lock that is given back when this is dropped, wherever the transaction is then, unless
/// others of the transaction keep it too.
#[derive(Debug)]
pub struct KeptLock {
    table: Arc<LockTable>,
    entry: Arc<Entry>,
    name: LockName,
}

impl Drop for KeptLock {
    fn drop(&mut self) {
        self.entry.kept.leave(&self.table, owner_of(&self.entry), self.name);
    }
}

/// The locks that a transaction keeps for longer than a call and not to its end.
#[derive(Debug, Default)]
pub(crate) struct KeptLocks {
    /// There has been one.
    any: AtomicBool,
    /// Locked while one is given back, so that whoever finds none here may ask for it anew.
    list: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    name: LockName,
    before: Mode,
    during: Mode,
    /// How many rely on it.
    users: usize,
    /// It stays when the last of them leaves.
    stays: bool,
}

impl KeptLocks {
    /// Whether there has been one.
    pub fn is_used(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Remembers a lock that was a brief one.
    fn add(&self, name: LockName, before: Mode, during: Mode) {
        self.any.store(true, Ordering::Release);
        self.list.lock().push(Kept { name, before, during, users: 1, stays: false });
    }

    /// One more relies on the lock, if it is kept. False if it is not.
    fn join(&self, name: LockName) -> bool {
        if !self.is_used() {
            return false;
        }
        let mut list = self.list.lock();
        let kept = list.iter_mut().find(|kept| kept.name == name);
        kept.map(|kept| kept.users += 1).is_some()
    }

    /// One less relies on the lock; the last one gives it back.
    fn leave(&self, table: &LockTable, owner: OwnerId, name: LockName) {
        let mut list = self.list.lock();
        let Some(at) = list.iter().position(|kept| kept.name == name) else {
            unreachable!("{name:?} is kept by whoever leaves it");
        };
        list[at].users -= 1;
        if list[at].users > 0 {
            return;
        }
        let Kept { before, during, stays, .. } = list.swap_remove(at);
        if !stays {
            table.give_back(owner, name, during, before);
        }
    }

    /// The transaction needs `mode` on `name` to its end. Call it before asking for that: the lock
    /// that is kept may be given back on another thread at any time.
    pub fn needed(&self, name: LockName, mode: Mode) {
        let mut list = self.list.lock();
        if let Some(kept) = list.iter_mut().find(|kept| kept.name == name) {
            kept.stays |= !kept.before.covers(mode);
        }
    }

    /// A child, which holds locks of its own to the end, hands them over by `transfer`: of those
    /// that are kept here, they stay.
    pub fn inherit(&self, table: &LockTable, child: OwnerId, transfer: impl FnOnce()) {
        if !self.is_used() {
            return transfer();
        }
        let mut list = self.list.lock();
        for kept in &mut *list {
            kept.stays |= !kept.before.covers(table.holds(child, kept.name));
        }
        transfer();
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
        if txn.has_whole(file, Access::Read) {
            return Ok(None);
        }
        let name = self.lock_name(file, Place::Key(key));
        if txn.entry.kept.join(name) {
            return Ok(Some(Brief { name, before: Mode::NONE, during: Mode::NONE, kept: true }));
        }
        let wait = self.patience(txn);
        let granted = self.acquire(txn, file, Place::Key(key), Mode::S, wait)?;
        // Nobody may look at what a transaction left that could not be rolled back.
        self.poison().check()?;
        let before = match granted {
            Granted::Already => return Ok(None),
            Granted::New => Mode::NONE,
            Granted::Upgraded { from } => from,
        };
        Ok(Some(Brief { name, before, during: before.join(Mode::S), kept: false }))
    }

    /// Gives a brief lock back, unless it was made stronger meanwhile or others keep it.
    pub fn unlock(&self, txn: &mut Txn, brief: Brief) {
        let (owner, Brief { name, before, during, kept }) = (owner_of(&txn.entry), brief);
        if kept {
            txn.entry.kept.leave(self.locks(), owner, name);
        } else {
            self.locks().give_back(owner, name, during, before);
        }
    }

    /// Keeps a brief lock for longer than a call.
    pub fn keep_lock(&self, txn: &mut Txn, brief: Brief) -> KeptLock {
        let Brief { name, before, during, kept } = brief;
        let (table, entry) = (Arc::clone(self.locks()), Arc::clone(&txn.entry));
        if !kept {
            entry.kept.add(name, before, during);
        }
        KeptLock { table, entry, name }
    }
}
