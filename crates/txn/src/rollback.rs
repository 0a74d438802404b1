//! Rolling back: to a savepoint, as a whole, and for recovery: one code path.
//!
//! Owns: the walk along a transaction's chain of records and [`LogicalUndo`], the one trait by
//! which an access method takes part. Promises: each undone record is compensated by a redo-only
//! record that says where the rollback goes on, so that a crash in the middle never undoes twice
//! (T6); memory does not grow with the transaction. Must never: be refused for lack of memory, or
//! leave a transaction half undone without poisoning the environment.

use std::fmt;

use campanile_format::record::{Body, FileAction, Undo};
use campanile_format::{Lsn, planted};

use crate::error::TxnError;
use crate::transaction::{Savepoint, Txn};
use crate::transactions::Transactions;

/// How an access method undoes: it finds the key again, wherever splits have moved it.
pub trait LogicalUndo: Send + Sync + fmt::Debug {
    /// Undoes one [`Undo::Insert`], [`Replace`](Undo::Replace), [`Delete`](Undo::Delete) or
    /// [`ClearTree`](Undo::ClearTree), by one change through
    /// [`By::Compensate`](crate::By::Compensate) with this `undo_next`. It may make room before
    /// that by changes [`By::System`](crate::By::System).
    ///
    /// If the effect is not there (recovery: the record was never replayed because its file is
    /// gone) it returns without a change, and the rollback goes on.
    fn undo(
        &self,
        txns: &Transactions,
        txn: &mut Txn,
        undo: &Undo<'_>,
        undo_next: Lsn,
    ) -> Result<(), TxnError>;
}

impl Transactions {
    /// A place to which [`rollback_to`](Self::rollback_to) can return.
    #[must_use]
    pub fn savepoint(&self, txn: &Txn) -> Savepoint {
        Savepoint { txn: txn.id(), last: txn.last_lsn(), volatile: txn.volatile.mark() }
    }

    /// Undoes everything `txn` did since `savepoint`. Locks are kept.
    pub fn rollback_to(&self, txn: &mut Txn, savepoint: &Savepoint) -> Result<(), TxnError> {
        self.poison().check()?;
        assert!(savepoint.txn == txn.id(), "a savepoint of {} in {}", savepoint.txn, txn.id());
        self.undo_above(txn, savepoint.last, savepoint.volatile)?;
        txn.clear_failure();
        Ok(())
    }

    /// Undoes what lies above `last` in the log and above `mark` in memory; any failure poisons.
    pub(crate) fn undo_above(&self, txn: &mut Txn, last: Lsn, mark: u64) -> Result<(), TxnError> {
        let result = self.undo_volatile(txn, mark).and_then(|()| self.undo_logged(txn, last));
        if let Err(error) = &result {
            self.poison().strike(format!("rollback of transaction {} ({error})", txn.id()));
        }
        result
    }

    /// Files that are not durable go first: a file must still be there to be emptied.
    fn undo_volatile(&self, txn: &mut Txn, mark: u64) -> Result<(), TxnError> {
        while let Some(encoded) = txn.volatile.pop_above(mark) {
            let undo = encoded.decode().map_err(|error| TxnError::Undo(error.into()))?;
            let undo_next = txn.undo_next();
            self.undo_one(txn, &undo, undo_next)?;
        }
        Ok(())
    }

    fn undo_logged(&self, txn: &mut Txn, last: Lsn) -> Result<(), TxnError> {
        loop {
            let at = txn.undo_next();
            if at <= last {
                return Ok(());
            }
            self.undo_record(txn, at)?;
            let next = txn.undo_next();
            if next >= at {
                return Err(broken(txn, at, "it leads forward"));
            }
        }
    }

    /// Undoes the record at `at`, or steps over it.
    fn undo_record(&self, txn: &mut Txn, at: Lsn) -> Result<(), TxnError> {
        let buffer = self.wal().read(at)?;
        let record = buffer.record()?;
        if record.txn != txn.id() {
            return Err(broken(txn, at, "the record belongs to another transaction"));
        }
        if record.prev >= at {
            return Err(broken(txn, at, "its predecessor lies ahead"));
        }
        let prev = record.prev;
        match &record.body {
            Body::Update { undo, .. } if planted::is(planted::Bug::UndoSkipped) => {
                let _ = undo;
                txn.entry.progress().undo_next = prev;
            }
            Body::Update { undo: Undo::None, .. } | Body::Prepare { .. } => {
                txn.entry.progress().undo_next = prev;
            }
            Body::Update { undo, .. } => {
                self.undo_one(txn, undo, prev)?;
                if txn.undo_next() != prev {
                    self.compensate_nothing(txn, prev)?;
                }
            }
            Body::Compensate { undo_next, .. } => txn.entry.progress().undo_next = *undo_next,
            Body::FileCreate { file, .. } => self.undo_create_file(txn, *file, prev)?,
            Body::ChildCommit { .. } => {
                return Err(broken(txn, at, "nested transactions need a newer build"));
            }
            _ => return Err(broken(txn, at, "the record cannot be part of a chain")),
        }
        Ok(())
    }

    fn undo_one(&self, txn: &mut Txn, undo: &Undo<'_>, undo_next: Lsn) -> Result<(), TxnError> {
        match undo {
            Undo::None => Ok(()),
            Undo::AllocExtent { file, first, count } => {
                self.cells().undone_extents.one_more();
                self.undo_extent(txn, *file, *first, *count, undo_next)
            }
            Undo::CreateFile { file } => self.undo_create_file(txn, *file, undo_next),
            Undo::Insert { .. }
            | Undo::Replace { .. }
            | Undo::Delete { .. }
            | Undo::ClearTree { .. } => {
                self.cells().undone_entries.one_more();
                self.logical_undo().undo(self, txn, undo, undo_next)
            }
        }
    }

    /// Records that there was nothing left to undo, so that nobody looks again.
    fn compensate_nothing(&self, txn: &mut Txn, undo_next: Lsn) -> Result<(), TxnError> {
        let body = Body::Compensate { undo_next, changes: Vec::new(), action: FileAction::None };
        self.append(Some(txn), body).map(|_| ())
    }
}

fn broken(txn: &Txn, at: Lsn, why: &'static str) -> TxnError {
    TxnError::BrokenChain { txn: txn.id(), at, why }
}
