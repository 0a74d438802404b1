//! What goes on now: for operators.
//!
//! Owns: [`Activity`]. Promises: costs nothing while nobody asks; every line is true of one moment,
//! different lines may be a moment apart. Must never: decide anything.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_format::record::{TxnEntry, TxnState};
use campanile_format::{Lsn, TxnId};
use campanile_lock::WaitReport;

use crate::snapshot::OldestSnapshot;
use crate::transactions::Transactions;

/// What goes on now.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Activity {
    /// Transactions that have begun and not ended, oldest first.
    pub transactions: Vec<ActiveTxn>,
    /// The snapshot that was taken first of those that are open.
    pub oldest_snapshot: Option<OldestSnapshot>,
    /// What keeps old log files from being used again, the strongest hold first.
    pub log_holds: Vec<(LogHold, Lsn)>,
}

/// A transaction that has not ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ActiveTxn {
    /// Its number.
    pub id: TxnId,
    /// What errors call it.
    pub label: String,
    /// The transaction that it is nested in.
    pub parent: Option<TxnId>,
    /// Since it began, or was found by recovery.
    pub age: Duration,
    /// Its first record in the log; NONE if it has changed nothing.
    pub first: Lsn,
    /// Its last.
    pub last: Lsn,
    /// It waits for its coordinator.
    pub prepared: bool,
    /// Locks that it holds.
    pub locks: u64,
    /// The lock that it waits for.
    pub waiting: Option<WaitReport>,
}

/// Who keeps log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogHold {
    /// Recovery would begin there.
    Checkpoint,
    /// A page that was changed there is not on disk yet.
    DirtyPage,
    /// A transaction that may still have to be undone from there on.
    Transaction(TxnId),
    /// A prepared transaction.
    Prepared(TxnId),
    /// An archive wants the file.
    Archive,
}

impl Transactions {
    /// What goes on now.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let listed: BTreeMap<TxnId, TxnEntry> =
            self.table().collect().into_iter().map(|entry| (entry.id, entry)).collect();
        let mut log_holds = vec![(LogHold::Checkpoint, self.control().redo)];
        log_holds.extend(self.store().min_rec_lsn().map(|lsn| (LogHold::DirtyPage, lsn)));
        log_holds.extend(listed.values().filter(|entry| !entry.first.is_none()).map(|entry| {
            let hold = match entry.state {
                TxnState::Active => LogHold::Transaction(entry.id),
                TxnState::Prepared => LogHold::Prepared(entry.id),
            };
            (hold, entry.first)
        }));
        let archive = self.wal().held_from();
        if archive != u32::MAX {
            log_holds.push((LogHold::Archive, Lsn::new(archive, 0)));
        }
        log_holds.sort_by_key(|(_, lsn)| *lsn);
        let owners = self.locks().report().into_iter();
        let transactions = owners.map(|owner| {
            let id = TxnId(owner.owner.0);
            let entry = listed.get(&id);
            ActiveTxn {
                id,
                label: owner.label,
                parent: owner.parent.map(|parent| TxnId(parent.0)),
                age: owner.age,
                first: entry.map_or(Lsn::NONE, |entry| entry.first),
                last: entry.map_or(Lsn::NONE, |entry| entry.last),
                prepared: entry.is_some_and(|entry| entry.state == TxnState::Prepared),
                locks: owner.locks as u64,
                waiting: owner.waiting,
            }
        });
        Activity {
            transactions: transactions.collect(),
            oldest_snapshot: self.oldest_snapshot(),
            log_holds,
        }
    }
}
