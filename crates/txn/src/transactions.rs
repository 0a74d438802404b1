//! All transactions of an open environment.
//!
//! Owns: [`Transactions`], their numbers, begin, commit and abort. Promises: a commit that
//! returned is as durable as was asked; its locks go last. Must never: hand out a number twice,
//! here or after recovery.

use std::sync::{Arc, OnceLock};

use campanile_format::control::Control;
use campanile_format::planted::{self, Bug};
use campanile_format::record::Body;
use campanile_format::{EnvironmentId, FileId, Lsn, TxnId};
use campanile_lock::{LockStats, LockTable};
use campanile_pagestore::PageStore;
use campanile_sync::Mutex;
use campanile_sync::atomic::{AtomicU32, AtomicU64, Ordering};
use campanile_wal::{Clock, ControlFile, Poison, Wal};

use crate::checkpoint::CheckpointState;
use crate::error::TxnError;
use crate::file_ops::PendingFiles;
use crate::key_hash::KeyHasher;
use crate::prepare::PreparedList;
use crate::rollback::LogicalUndo;
use crate::snapshot::{OldestSnapshot, Register, Snapshot};
use crate::space::SpaceHints;
use crate::stats::{Cells, TxnStats};
use crate::table::{Entry, Table};
use crate::transaction::{Durability, Txn, TxnOptions};
use crate::versions::{Seen, Versions};

/// Settings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TransactionsOptions {
    /// Memory for before-images of recent changes.
    pub version_bytes: usize,
    /// A background checkpoint is due after this much log.
    pub checkpoint_log_bytes: u64,
    /// A background checkpoint is due after this time, if anything was logged.
    pub checkpoint_interval_us: u64,
    /// After how many key locks in one file a transaction locks the whole file instead.
    pub escalate_after: u64,
    /// Replay every record in memory right after it was made, and compare.
    pub check_redo: bool,
}

impl Default for TransactionsOptions {
    fn default() -> Self {
        Self {
            version_bytes: 16 << 20,
            checkpoint_log_bytes: 64 << 20,
            checkpoint_interval_us: 60_000_000,
            escalate_after: 50_000,
            check_redo: cfg!(debug_assertions),
        }
    }
}

/// What [`Transactions::open`] is built over.
#[derive(Debug)]
pub struct Parts {
    /// Struck by the first failed write or sync.
    pub poison: Poison,
    /// Time, for checkpoints.
    pub clock: Arc<dyn Clock>,
    /// The log.
    pub wal: Arc<Wal>,
    /// The pages.
    pub store: Arc<PageStore>,
    /// The locks.
    pub locks: Arc<LockTable>,
    /// Where checkpoints are made known.
    pub control_file: ControlFile,
    /// What it says now: identity, sizes, the next numbers.
    pub control: Control,
}

/// The door to everything that changes.
#[derive(Debug)]
pub struct Transactions {
    poison: Poison,
    clock: Arc<dyn Clock>,
    pub(crate) identity: EnvironmentId,
    wal: Arc<Wal>,
    store: Arc<PageStore>,
    locks: Arc<LockTable>,
    options: TransactionsOptions,
    table: Table,
    register: Arc<Register>,
    undo: OnceLock<Arc<dyn LogicalUndo>>,
    next_txn: AtomicU64,
    next_file: AtomicU32,
    /// Makes the order of commit times the order of commit records.
    commit_order: Mutex<()>,
    pub(crate) pending_files: PendingFiles,
    pub(crate) space: SpaceHints,
    pub(crate) checkpoints: Mutex<CheckpointState>,
    pub(crate) prepared_list: PreparedList,
    stats: Cells,
    pub(crate) key_hasher: KeyHasher,
}

impl Transactions {
    /// Opens the door. Nothing is read or written yet. When the environment is poisoned, the locks
    /// are closed: every wait for one ends at once (K1).
    #[must_use]
    pub fn open(parts: Parts, options: TransactionsOptions) -> Transactions {
        let Parts { poison, clock, wal, store, locks, control_file, control } = parts;
        // The flag must not keep the table alive, nor the table what knows the flag.
        let to_close = Arc::downgrade(&locks);
        poison.when_struck(move || {
            if let Some(locks) = to_close.upgrade() {
                locks.close();
            }
        });
        Transactions {
            poison,
            clock,
            identity: control.environment,
            next_txn: AtomicU64::new(control.next_txn.0.max(1)),
            next_file: AtomicU32::new(control.next_file.0.max(FileId::MIN_USER.0)),
            register: Arc::new(Register::new(options.version_bytes)),
            checkpoints: Mutex::new(CheckpointState::new(control_file, control)),
            wal,
            store,
            locks,
            options,
            table: Table::default(),
            undo: OnceLock::new(),
            commit_order: Mutex::default(),
            pending_files: PendingFiles::default(),
            space: SpaceHints::default(),
            prepared_list: PreparedList::default(),
            stats: Cells::default(),
            key_hasher: KeyHasher::new(),
        }
    }

    /// Says who undoes changes of trees. Once, before the first transaction.
    pub fn set_undo(&self, undo: Arc<dyn LogicalUndo>) {
        assert!(self.undo.set(undo).is_ok(), "undo is set once");
    }

    /// Begins a transaction. Costs nothing until it changes something.
    pub fn begin(&self, options: TxnOptions) -> Result<Txn, TxnError> {
        self.poison().check()?;
        self.stats.begun.one_more();
        let id = self.take_txn_id();
        let timeout = options.timeout_us;
        let mut txn = Txn::new(Entry::new(id), options);
        txn.deadline_us = timeout.map(|timeout| self.clock.monotonic_us().saturating_add(timeout));
        self.register(&mut txn);
        Ok(txn)
    }

    /// Takes a transaction number for good.
    pub(crate) fn take_txn_id(&self) -> TxnId {
        TxnId(self.next_txn.fetch_add(1, Ordering::Relaxed))
    }

    /// Commits: when this returns, the changes are as durable as `durability` says and everybody
    /// sees them. Returns the LSN of the commit record, NONE if there was nothing to log.
    ///
    /// On an error other than [`TxnError::MustRollBack`] and [`TxnError::OutOfTime`] (after which
    /// the transaction is rolled back) the outcome is decided by the next recovery.
    pub fn commit(&self, txn: Txn, durability: Durability) -> Result<Lsn, TxnError> {
        self.poison().check()?;
        if let Some(why) = txn.failure() {
            let error = TxnError::MustRollBack { txn: txn.id(), why: why.to_owned() };
            self.abort(txn)?;
            return Err(error);
        }
        if let Err(error) = self.check_time(&txn) {
            self.abort(txn)?;
            return Err(error);
        }
        self.commit_open(txn, durability)
    }

    pub(crate) fn commit_open(
        &self,
        mut txn: Txn,
        durability: Durability,
    ) -> Result<Lsn, TxnError> {
        assert!(txn.entry.parent().is_none(), "{} is nested: commit_child", txn.id());
        txn.assert_childless();
        txn.take_over();
        let mut committed = Lsn::NONE;
        if txn.last_lsn() != Lsn::NONE {
            if planted::is(Bug::LocksReleasedBeforeCommit) {
                txn.holder = None;
            }
            committed = self.append_commit(&mut txn)?;
            match durability {
                _ if planted::is(Bug::AcknowledgedBeforeDurable) => {}
                Durability::Sync => self.wal.flush(committed)?,
                Durability::WriteNoSync => self.wal.write(committed)?,
                Durability::NoSync => {}
            }
        }
        if txn.has_changes() {
            let list = std::mem::take(&mut txn.versions);
            self.register.publish(txn.entry.writer(), list);
            self.table.remove(txn.id());
        }
        self.stats.committed.one_more();
        drop(txn.holder.take());
        Ok(committed)
    }

    fn append_commit(&self, txn: &mut Txn) -> Result<Lsn, TxnError> {
        let _order = self.commit_order.lock();
        let body = Body::Commit { time_us: self.wal.commit_time_us(), durable: self.wal.durable() };
        self.append(Some(txn), body).map(|(lsn, _)| lsn)
    }

    /// Rolls back: undoes every change, then gives the locks back. Needs no room in memory, and
    /// works for any length of transaction. An error means that the environment is poisoned.
    pub fn abort(&self, mut txn: Txn) -> Result<(), TxnError> {
        self.poison().check()?;
        self.roll_back(&mut txn)?;
        if txn.last_lsn() != Lsn::NONE {
            self.append(Some(&mut txn), Body::Abort)?;
        }
        self.end_rolled_back(txn);
        Ok(())
    }

    /// Undoes all of a transaction.
    pub(crate) fn roll_back(&self, txn: &mut Txn) -> Result<(), TxnError> {
        txn.assert_childless();
        txn.take_over();
        if planted::is(Bug::VersionsForgottenBeforeUndo) {
            self.register.versions.forget(txn.entry.writer(), std::mem::take(&mut txn.versions));
            campanile_sync::thread::yield_now();
        }
        self.undo_above(txn, Lsn::NONE, 0)
    }

    /// Takes a transaction off the table whose abort record is in the log.
    pub(crate) fn end_rolled_back(&self, mut txn: Txn) {
        if txn.has_changes() {
            let list = std::mem::take(&mut txn.versions);
            self.register.versions.forget(txn.entry.writer(), list);
            self.table.remove(txn.id());
        }
        self.stats.aborted.one_more();
        if planted::is(Bug::VictimKeepsLock) {
            std::mem::forget(txn.holder.take());
        }
        drop(txn.holder.take());
    }

    /// A read-only view of this moment.
    pub fn snapshot(&self) -> Result<Snapshot, TxnError> {
        self.poison().check()?;
        Ok(self.register.capture(&self.table, self.clock.monotonic_us(), || self.wal.end()))
    }

    /// What `snapshot` sees of a key that stands on a page with `page_lsn`.
    ///
    /// Call it with the page latched.
    pub fn seen(
        &self,
        snapshot: &Snapshot,
        page_lsn: Lsn,
        file: FileId,
        key: &[u8],
    ) -> Result<Seen, TxnError> {
        if snapshot.sees_all_of(page_lsn) {
            return Ok(Seen::Current);
        }
        let seen = self.register.versions.seen(snapshot.read_sequence(), file, key);
        seen.ok_or(TxnError::SnapshotTooOld { file })
    }

    /// Whatever is on a page whose LSN is below this is final: no running transaction may undo
    /// it and every snapshot sees it as it stands. Ghosts may be purged from such pages, and
    /// pages freed in them reused.
    #[must_use]
    pub fn settled_lsn(&self) -> Lsn {
        // The end first: a transaction that is not listed yet will write at or above it.
        let end = self.wal.end();
        let mut lowest = [self.table.lowest_first(), self.register.lowest_low_lsn()];
        if planted::is(Bug::GhostPurgedUnderSnapshot) {
            lowest[1] = None;
        }
        lowest.into_iter().flatten().fold(end, Lsn::min)
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> TxnStats {
        TxnStats {
            active: self.table.len() as u64,
            prepared: self.prepared_list.len() as u64,
            snapshots: self.register.live() as u64,
            version_bytes: self.register.versions.memory() as u64,
            ..self.stats.read()
        }
    }

    /// What the locks have seen so far.
    #[must_use]
    pub fn lock_stats(&self) -> LockStats {
        self.locks.stats()
    }

    /// The log.
    #[must_use]
    pub fn wal(&self) -> &Arc<Wal> {
        &self.wal
    }

    /// The pages.
    #[must_use]
    pub fn store(&self) -> &Arc<PageStore> {
        &self.store
    }

    /// Settings.
    #[must_use]
    pub fn options(&self) -> &TransactionsOptions {
        &self.options
    }

    /// The next transaction number; all below are used up.
    #[must_use]
    pub fn next_txn(&self) -> TxnId {
        TxnId(self.next_txn.load(Ordering::Relaxed))
    }

    /// The next file number; all below are used up.
    #[must_use]
    pub fn next_file(&self) -> FileId {
        FileId(self.next_file.load(Ordering::Relaxed))
    }

    /// Takes a file number for good.
    pub(crate) fn take_file_id(&self) -> Result<FileId, TxnError> {
        let next = |id: u32| id.checked_add(1);
        let taken = self.next_file.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.map(FileId).map_err(|_| TxnError::OutOfFileIds)
    }

    /// Fails once the environment is poisoned.
    #[must_use]
    pub fn poison(&self) -> &Poison {
        &self.poison
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn oldest_snapshot(&self) -> Option<OldestSnapshot> {
        self.register.oldest(self.clock.monotonic_us())
    }

    pub(crate) fn cells(&self) -> &Cells {
        &self.stats
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn locks(&self) -> &Arc<LockTable> {
        &self.locks
    }

    pub(crate) fn versions(&self) -> &Versions {
        &self.register.versions
    }

    pub(crate) fn logical_undo(&self) -> Arc<dyn LogicalUndo> {
        Arc::clone(self.undo.get().expect("set_undo comes before the first transaction"))
    }
}
