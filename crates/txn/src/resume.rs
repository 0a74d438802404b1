//! Transactions that a crash interrupted, taken up again.
//!
//! Owns: what recovery needs to go on with a transaction it found in the log. Promises: a loser
//! is rolled back by the same code as any abort; a prepared transaction stays in the table, pins
//! its log, and is in every checkpoint until it is resolved. Must never: decide the fate of a
//! prepared transaction.

use campanile_format::record::{TxnEntry, TxnState};
use campanile_format::{Lsn, TxnId};
use campanile_sync::Mutex;

use crate::table::{Entry, Phase, Progress};
use crate::transaction::{Txn, TxnOptions};
use crate::transactions::Transactions;

/// A transaction that waits for its coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedTxn {
    /// Its number.
    pub id: TxnId,
    /// The coordinator's name for it.
    pub gid: Vec<u8>,
    /// Its first record.
    pub first: Lsn,
    /// Its last record: the one that prepared it.
    pub last: Lsn,
}

/// The prepared transactions.
#[derive(Debug, Default)]
pub(crate) struct PreparedList(Mutex<Vec<PreparedTxn>>);

impl Transactions {
    /// Takes up a transaction that was active at the crash. Abort it.
    pub fn resume(&self, found: &TxnEntry) -> Txn {
        assert!(found.state == TxnState::Active, "{} is prepared, not a loser", found.id);
        assert!(found.first <= found.last && found.undo_next <= found.last);
        Txn::new(self.list_found(found, Phase::Active), TxnOptions::default(), true)
    }

    /// Keeps a prepared transaction until its coordinator decides.
    pub fn keep_prepared(&self, found: &TxnEntry, gid: &[u8]) {
        assert!(found.state == TxnState::Prepared, "{} is not prepared", found.id);
        self.list_found(found, Phase::Prepared);
        self.prepared_list.0.lock().push(PreparedTxn {
            id: found.id,
            gid: gid.to_vec(),
            first: found.first,
            last: found.last,
        });
    }

    /// The transactions that are prepared and not resolved.
    #[must_use]
    pub fn prepared(&self) -> Vec<PreparedTxn> {
        self.prepared_list.0.lock().clone()
    }

    fn list_found(&self, found: &TxnEntry, phase: Phase) -> std::sync::Arc<Entry> {
        let TxnEntry { id, first, last, undo_next, .. } = *found;
        assert!(id < self.next_txn(), "{id} comes from the future");
        let entry = Entry::resumed(id, Progress { first, last, undo_next, phase });
        self.table().insert(&entry);
        entry
    }
}
