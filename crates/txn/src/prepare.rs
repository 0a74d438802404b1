//! Two-phase commit: a transaction that follows a coordinator's decision.
//!
//! Owns: [`Transactions::prepare`], the list of prepared transactions and their resolution.
//! Promises: once prepared, a transaction keeps its locks, its versions and its log until it is
//! resolved, in whatever life of the environment; one global id names one unresolved transaction;
//! a decision is durable before it is acknowledged (2P1-2P3). Must never: decide by itself.

use std::collections::BTreeMap;

use campanile_format::record::Body;
use campanile_format::{Lsn, TxnId};
use campanile_sync::Mutex;

use crate::error::TxnError;
use crate::transaction::{Durability, Txn};
use crate::transactions::Transactions;

/// The longest global id, in bytes: twice what X/Open XA asks for.
pub const GID_BYTES_MAX: usize = 256;

/// A transaction that waits for its coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedTxn {
    /// Its number.
    pub id: TxnId,
    /// The coordinator's name for it.
    pub gid: Vec<u8>,
    /// A bound: no record of it lies below, and log from here on is kept for it.
    pub first: Lsn,
    /// Its last record: the one that prepared it.
    pub last: Lsn,
    /// When it was prepared: wall-clock time, microseconds since 1970.
    pub time_us: u64,
}

/// The unresolved transactions by global id. One without its transaction is being prepared or
/// resolved at this moment: its id is still taken.
#[derive(Debug, Default)]
pub(crate) struct PreparedList(Mutex<BTreeMap<Vec<u8>, Option<Waiting>>>);

#[derive(Debug)]
pub(crate) struct Waiting {
    pub txn: Txn,
    pub known: PreparedTxn,
}

impl PreparedList {
    /// Takes a global id.
    pub fn reserve(&self, gid: &[u8]) -> Result<(), TxnError> {
        let mut list = self.0.lock();
        if list.contains_key(gid) {
            return Err(TxnError::GidInUse { gid: gid.to_vec() });
        }
        list.insert(gid.to_vec(), None);
        Ok(())
    }

    /// Lists a transaction under its global id.
    pub fn keep(&self, waiting: Waiting) {
        self.0.lock().insert(waiting.known.gid.clone(), Some(waiting));
    }

    /// Takes a transaction out to resolve it, if it is the one with this number; its global id
    /// stays taken.
    fn take(&self, gid: &[u8], id: Option<TxnId>) -> Result<Txn, TxnError> {
        let is_meant = |waiting: &mut Waiting| id.is_none_or(|id| waiting.known.id == id);
        let waiting = self.0.lock().get_mut(gid).and_then(|waiting| waiting.take_if(is_meant));
        let missing = || TxnError::NotPrepared { gid: gid.to_vec() };
        waiting.map(|waiting| waiting.txn).ok_or_else(missing)
    }

    /// Gives a global id back.
    fn forget(&self, gid: &[u8]) {
        self.0.lock().remove(gid);
    }

    pub fn len(&self) -> usize {
        self.0.lock().values().flatten().count()
    }
}

impl Transactions {
    /// Prepares a transaction under a coordinator's name: when this returns it is durable that it
    /// can be committed as well as rolled back, and only
    /// [`commit_prepared`](Self::commit_prepared) or [`abort_prepared`](Self::abort_prepared)
    /// ends it. Its locks stay.
    ///
    /// Refused, and the transaction rolled back, if the id is empty, too long or taken, or if the
    /// transaction is nested, or changed files that are not durable (the undo of which a crash
    /// would lose).
    pub fn prepare(&self, mut txn: Txn, gid: &[u8]) -> Result<Lsn, TxnError> {
        self.poison().check()?;
        txn.assert_childless();
        txn.take_over();
        if let Err(error) = check(&txn, gid).and_then(|()| self.prepared_list.reserve(gid)) {
            self.abort(txn)?;
            return Err(error);
        }
        let time_us = self.wal().commit_time_us();
        let (lsn, _) = self.append(Some(&mut txn), Body::Prepare { gid, time_us })?;
        self.wal().flush(lsn)?;
        // Nothing may fail from here on: it would leave the changes there and their locks not.
        self.keep(txn, gid.to_vec(), time_us);
        Ok(lsn)
    }

    fn keep(&self, txn: Txn, gid: Vec<u8>, time_us: u64) {
        let (id, first, last) = (txn.id(), txn.first_lsn(), txn.last_lsn());
        self.rest(&txn);
        let known = PreparedTxn { id, gid, first, last, time_us };
        self.prepared_list.keep(Waiting { txn, known });
    }

    /// Lists a transaction, found by recovery, whose last record prepares it.
    pub(crate) fn keep_waiting(&self, txn: Txn) -> Result<(), TxnError> {
        let (id, last) = (txn.id(), txn.last_lsn());
        let buffer = self.wal().read(last)?;
        let Body::Prepare { gid, time_us } = buffer.record()?.body else {
            return Err(TxnError::BrokenChain { txn: id, at: last, why: "it does not prepare it" });
        };
        self.keep(txn, gid.to_vec(), time_us);
        Ok(())
    }

    /// The transactions that are prepared and not resolved, by global id.
    #[must_use]
    pub fn prepared(&self) -> Vec<PreparedTxn> {
        let list = self.prepared_list.0.lock();
        list.values().flatten().map(|waiting| waiting.known.clone()).collect()
    }

    /// The transaction that waits as `gid`.
    pub fn find_prepared(&self, gid: &[u8]) -> Result<PreparedTxn, TxnError> {
        let list = self.prepared_list.0.lock();
        let known = list.get(gid).and_then(Option::as_ref).map(|waiting| waiting.known.clone());
        known.ok_or_else(|| TxnError::NotPrepared { gid: gid.to_vec() })
    }

    /// Commits the transaction prepared as `gid`, durably. Returns the LSN of the commit.
    pub fn commit_prepared(&self, gid: &[u8]) -> Result<Lsn, TxnError> {
        self.commit_waiting(gid, None)
    }

    /// Commits the prepared transaction `known`, durably, and no other that has its global id by
    /// now.
    pub fn commit_known(&self, known: &PreparedTxn) -> Result<Lsn, TxnError> {
        self.commit_waiting(&known.gid, Some(known.id))
    }

    fn commit_waiting(&self, gid: &[u8], id: Option<TxnId>) -> Result<Lsn, TxnError> {
        self.poison().check()?;
        let txn = self.prepared_list.take(gid, id)?;
        let committed = self.commit_open(txn, Durability::Sync)?;
        self.prepared_list.forget(gid);
        Ok(committed)
    }

    /// Rolls the transaction prepared as `gid` back; when this returns that is durable.
    pub fn abort_prepared(&self, gid: &[u8]) -> Result<(), TxnError> {
        self.abort_waiting(gid, None)
    }

    /// Rolls the prepared transaction `known` back, durably, and no other that has its global id by
    /// now.
    pub fn abort_known(&self, known: &PreparedTxn) -> Result<(), TxnError> {
        self.abort_waiting(&known.gid, Some(known.id))
    }

    fn abort_waiting(&self, gid: &[u8], id: Option<TxnId>) -> Result<(), TxnError> {
        self.poison().check()?;
        let mut txn = self.prepared_list.take(gid, id)?;
        while let Err(error) = self.resume_changes(&txn) {
            // Whoever we waited for goes first: nothing that hinders him may be held meanwhile.
            self.rest(&txn);
            let lost = matches!(&error, TxnError::Lock(refused) if refused.error.is_retryable());
            if !lost {
                self.keep_waiting(txn)?;
                return Err(error);
            }
        }
        self.roll_back(&mut txn)?;
        let (lsn, _) = self.append(Some(&mut txn), Body::Abort)?;
        self.wal().flush(lsn)?;
        self.end_rolled_back(txn);
        self.prepared_list.forget(gid);
        Ok(())
    }
}

/// What can be prepared, and as what.
fn check(txn: &Txn, gid: &[u8]) -> Result<(), TxnError> {
    let id = txn.id();
    if let Some(why) = txn.failure() {
        return Err(TxnError::MustRollBack { txn: id, why: why.to_owned() });
    }
    if txn.is_nested() {
        let why = "it is nested: prepare the outermost one";
        return Err(TxnError::NotPreparable { txn: id, why });
    }
    if txn.volatile.len() > 0 {
        let why = "it changed databases that are not durable, and a crash would lose their undo";
        return Err(TxnError::NotPreparable { txn: id, why });
    }
    if gid.is_empty() || gid.len() > GID_BYTES_MAX {
        return Err(TxnError::BadGid { len: gid.len(), max: GID_BYTES_MAX });
    }
    Ok(())
}
