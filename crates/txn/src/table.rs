//! The transactions that have written something and have not ended.
//!
//! Owns: [`Table`] and its entries. Promises: an entry and the log change together, under the
//! entry's latch (T3), so that whoever collects the table sees every record that was appended
//! before, and no commit record in an entry that still looks active. Must never: hold an entry's
//! latch across anything but one append.

use std::collections::BTreeMap;
use std::sync::Arc;

use campanile_format::record::{TxnEntry, TxnState};
use campanile_format::{Lsn, TxnId};
use campanile_sync::{Mutex, MutexGuard};

use crate::versions::Writer;

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its end is open.
    Active,
    /// It has promised to follow a coordinator's decision.
    Prepared,
    /// Its commit or abort record is in the log.
    Ended,
}

/// What the log says of a transaction, at this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// No record and no page stamp of the transaction lies below; NONE until its first change.
    pub first: Lsn,
    /// Its last record.
    pub last: Lsn,
    /// The next record to undo.
    pub undo_next: Lsn,
    /// Where it stands.
    pub phase: Phase,
}

/// One transaction.
#[derive(Debug)]
pub(crate) struct Entry {
    id: TxnId,
    writer: Arc<Writer>,
    progress: Mutex<Progress>,
}

impl Entry {
    /// A transaction that has changed nothing yet.
    pub fn new(id: TxnId) -> Arc<Entry> {
        Entry::resumed(
            id,
            Progress {
                first: Lsn::NONE,
                last: Lsn::NONE,
                undo_next: Lsn::NONE,
                phase: Phase::Active,
            },
        )
    }

    /// A transaction found by recovery.
    pub fn resumed(id: TxnId, progress: Progress) -> Arc<Entry> {
        assert!(id != TxnId::SYSTEM, "the system is not a transaction");
        Arc::new(Entry { id, writer: Arc::default(), progress: Mutex::new(progress) })
    }

    pub fn id(&self) -> TxnId {
        self.id
    }

    /// The commit status that versions written by this transaction point to.
    pub fn writer(&self) -> &Arc<Writer> {
        &self.writer
    }

    /// The entry's latch: held while one record is appended.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }
}

/// All transactions between their first change and their end.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Mutex<BTreeMap<TxnId, Arc<Entry>>>,
}

impl Table {
    /// Lists `entry`. Its owner calls this before its first change is stamped or logged.
    pub fn insert(&self, entry: &Arc<Entry>) {
        let before = self.entries.lock().insert(entry.id, Arc::clone(entry));
        assert!(before.is_none(), "transaction {} is listed twice", entry.id);
    }

    /// Takes a transaction off the list, after its outcome is published.
    pub fn remove(&self, id: TxnId) {
        self.entries.lock().remove(&id);
    }

    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// The lowest `first` of all listed transactions.
    pub fn lowest_first(&self) -> Option<Lsn> {
        let entries = self.entries.lock();
        entries.values().map(|entry| entry.progress().first).filter(|lsn| *lsn != Lsn::NONE).min()
    }

    /// What a checkpoint records: every transaction whose end is not yet in the log.
    ///
    /// Those without a record of their own (they only changed files that are not durable) are
    /// left out: recovery has nothing to undo for them.
    pub fn collect(&self) -> Vec<TxnEntry> {
        let entries = self.entries.lock();
        let open = entries.values().filter_map(|entry| {
            let progress = *entry.progress();
            let state = match progress.phase {
                Phase::Active => TxnState::Active,
                Phase::Prepared => TxnState::Prepared,
                Phase::Ended => return None,
            };
            (progress.last != Lsn::NONE).then_some(TxnEntry {
                id: entry.id,
                first: progress.first,
                last: progress.last,
                undo_next: progress.undo_next,
                state,
            })
        });
        open.collect()
    }
}
