//! The transactions that have written something and have not ended.
//!
//! Owns: [`Table`] and its entries. Promises: an entry and the log change together, under the
//! entry's latch (T3), so that whoever collects the table sees every record that was appended
//! before, and no commit record in an entry that still looks active; a nested transaction leaves
//! in the step in which its parent takes over (N2). Must never: hold an entry's latch across
//! anything but one append, or the table's across any.

use std::collections::BTreeMap;
use std::sync::Arc;

use campanile_format::record::{TxnEntry, TxnState};
use campanile_format::{Lsn, TxnId};
use campanile_sync::atomic::{AtomicBool, Ordering};
use campanile_sync::{Mutex, MutexGuard};

use crate::error::TxnError;
use crate::nested::Children;
use crate::versions::Writer;

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its end is open.
    Active,
    /// It has promised to follow a coordinator's decision.
    Prepared,
    /// Its commit or abort record is in the log, or its parent's record that merges it.
    Ended,
}

/// Where a rollback is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The next record to undo.
    pub next: Lsn,
    /// Whose chain that is: NONE for the transaction's own, else that of the merged child which
    /// the record here (an `EnterChild`) went into.
    pub within: Lsn,
}

impl Position {
    /// Nothing to undo, or a record of the transaction's own chain.
    pub const fn own(next: Lsn) -> Position {
        Position { next, within: Lsn::NONE }
    }
}

/// What the log says of a transaction, at this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// No record and no page stamp of the transaction lies below; NONE until its first change.
    pub first: Lsn,
    /// Its last record.
    pub last: Lsn,
    /// What is undone next.
    pub undo: Position,
    /// Where it stands.
    pub phase: Phase,
}

/// One transaction.
#[derive(Debug)]
pub(crate) struct Entry {
    id: TxnId,
    writer: Arc<Writer>,
    progress: Mutex<Progress>,
    /// It is in the table, or has been.
    listed: AtomicBool,
    /// The transaction that it is nested in.
    parent: Option<Arc<Entry>>,
    /// What those that are nested in it have left it.
    pub(crate) children: Children,
}

/// A transaction that has changed nothing.
const NO_PROGRESS: Progress = Progress {
    first: Lsn::NONE,
    last: Lsn::NONE,
    undo: Position::own(Lsn::NONE),
    phase: Phase::Active,
};

impl Entry {
    /// A transaction that has changed nothing yet.
    pub fn new(id: TxnId) -> Arc<Entry> {
        Entry::make(id, Arc::default(), None, NO_PROGRESS)
    }

    /// A transaction nested in `parent`.
    pub fn nested(id: TxnId, parent: &Arc<Entry>) -> Arc<Entry> {
        assert!(id > parent.id, "{id} is not younger than its parent {}", parent.id);
        let writer = Writer::nested(&parent.writer);
        Entry::make(id, writer, Some(Arc::clone(parent)), NO_PROGRESS)
    }

    /// A transaction found by recovery.
    pub fn resumed(id: TxnId, progress: Progress) -> Arc<Entry> {
        Entry::make(id, Arc::default(), None, progress)
    }

    fn make(
        id: TxnId,
        writer: Arc<Writer>,
        parent: Option<Arc<Entry>>,
        progress: Progress,
    ) -> Arc<Entry> {
        assert!(id != TxnId::SYSTEM, "the system is not a transaction");
        Arc::new(Entry {
            id,
            writer,
            progress: Mutex::new(progress),
            listed: AtomicBool::new(false),
            parent,
            children: Children::default(),
        })
    }

    pub fn id(&self) -> TxnId {
        self.id
    }

    /// The commit status that versions written by this transaction point to.
    pub fn writer(&self) -> &Arc<Writer> {
        &self.writer
    }

    /// The transaction that it is nested in.
    pub fn parent(&self) -> Option<&Arc<Entry>> {
        self.parent.as_ref()
    }

    /// Whether it was ever listed: it has changed something, or a child left it a change.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    /// The entry's latch: held while one record is appended.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }
}

/// The table as a checkpoint sees it.
#[derive(Debug)]
pub(crate) struct Look {
    /// Where the log ended, before anything else was looked at.
    pub end: Lsn,
    /// No record of an open transaction lies below.
    pub undo_low: Lsn,
    /// The open transactions, by number.
    pub active: Vec<TxnEntry>,
}

/// All transactions between their first change and their end.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Mutex<BTreeMap<TxnId, Arc<Entry>>>,
}

impl Table {
    /// Lists `entry`. Its owner calls this before its first change is stamped or logged.
    pub fn insert(&self, entry: &Arc<Entry>) {
        insert(&mut self.entries.lock(), entry);
    }

    /// Merges a child into its parent: `append` puts the record into the log and into both
    /// entries, if the child has records. The parent is listed, with the child's first LSN, before
    /// that, and the child is taken off the list after it: whoever looks at the table, at children
    /// before parents, sees the child, or the parent after, or both (N2).
    pub fn merge(
        &self,
        child: &Entry,
        parent: &Arc<Entry>,
        append: impl FnOnce(&mut Progress, &mut Progress) -> Result<(), TxnError>,
    ) -> Result<(), TxnError> {
        let first = child.progress().first;
        {
            let mut entries = self.entries.lock();
            let mut ours = parent.progress();
            if ours.first.is_none() || first < ours.first {
                ours.first = first;
            }
            drop(ours);
            if !parent.is_listed() {
                insert(&mut entries, parent);
            }
        }
        {
            let mut theirs = child.progress();
            let mut ours = parent.progress();
            if theirs.last != Lsn::NONE {
                append(&mut theirs, &mut ours)?;
            }
            theirs.phase = Phase::Ended;
        }
        self.remove(child.id);
        Ok(())
    }

    /// Takes a transaction off the list, after its outcome is published.
    pub fn remove(&self, id: TxnId) {
        self.entries.lock().remove(&id);
    }

    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// How many of them are not just waiting for a coordinator.
    pub fn unprepared(&self) -> usize {
        let entries = self.entries.lock();
        entries.values().filter(|entry| entry.progress().phase != Phase::Prepared).count()
    }

    /// The lowest `first` of all listed transactions.
    pub fn lowest_first(&self) -> Option<Lsn> {
        let entries = self.entries.lock();
        entries.values().map(|entry| entry.progress().first).filter(|lsn| *lsn != Lsn::NONE).min()
    }

    /// What a checkpoint says of the log and of those who write it: where the log ended, below
    /// which no open transaction has a record, and which are open. The order of the looks is the
    /// proof (T5): whatever is logged behind the end, replay will read. Whoever is collected was
    /// there when the lowest was looked for, or began behind the end; the other way round, one that
    /// ends in between would be named, and its log given up.
    pub fn look(&self, end: impl FnOnce() -> Lsn) -> Look {
        let end = end();
        let lowest = self.lowest_first();
        Look { end, undo_low: lowest.map_or(end, |first| first.min(end)), active: self.collect() }
    }

    /// What a checkpoint records: every transaction whose end is not yet in the log. The youngest
    /// is looked at first, and so a child before its parent: see [`Table::merge`].
    ///
    /// Those without a record of their own (they only changed files that are not durable) are
    /// left out: recovery has nothing to undo for them.
    pub fn collect(&self) -> Vec<TxnEntry> {
        let entries = self.entries.lock();
        let open = entries.values().rev().filter_map(|entry| {
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
                undo_next: progress.undo.next,
                state,
            })
        });
        let mut open: Vec<TxnEntry> = open.collect();
        open.reverse();
        open
    }
}

fn insert(entries: &mut BTreeMap<TxnId, Arc<Entry>>, entry: &Arc<Entry>) {
    let before = entries.insert(entry.id, Arc::clone(entry));
    assert!(before.is_none(), "transaction {} is listed twice", entry.id);
    entry.listed.store(true, Ordering::Release);
}
