//! Rolling back: to a savepoint, as a whole, and for recovery: one code path.
//!
//! Owns: the walk along a transaction's chain of records and [`LogicalUndo`], the one trait by
//! which an access method takes part. Promises: each undone record is compensated by a redo-only
//! record that says where the rollback goes on, so that a crash in the middle never undoes twice
//! (T6); memory does not grow with the transaction. Must never: be refused for lack of memory, or
//! leave a transaction half undone without poisoning the environment.

use std::fmt;

use campanile_format::record::{Body, FileAction, Record, Undo};
use campanile_format::{Lsn, TxnId, planted};

use crate::error::TxnError;
use crate::table::Position;
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
        Savepoint { txn: txn.id(), last: txn.last_lsn(), volatile: txn.volatile_mark() }
    }

    /// Undoes everything `txn` did since `savepoint`. Locks are kept.
    pub fn rollback_to(&self, txn: &mut Txn, savepoint: &Savepoint) -> Result<(), TxnError> {
        self.poison().check()?;
        assert!(savepoint.txn == txn.id(), "a savepoint of {} in {}", savepoint.txn, txn.id());
        txn.assert_childless();
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
        txn.take_over();
        while let Some(encoded) = txn.volatile.pop_above(mark) {
            let undo = encoded.decode().map_err(|error| TxnError::Undo(error.into()))?;
            let undo_next = txn.position().next;
            self.undo_one(txn, &undo, undo_next)?;
        }
        Ok(())
    }

    /// Undoes down to `last` in the transaction's own chain, and whole chains of merged children.
    fn undo_logged(&self, txn: &mut Txn, last: Lsn) -> Result<(), TxnError> {
        let mut chain = self.chain_at(txn, txn.position().within)?;
        loop {
            let at = txn.position();
            if at.within != chain.entry {
                chain = self.chain_at(txn, at.within)?;
            }
            if at.within.is_none() && at.next <= last {
                return Ok(());
            }
            if at.next.is_none() {
                self.leave_child(txn, &chain)?;
                continue;
            }
            self.undo_record(txn, chain.owner, at)?;
            let now = txn.position();
            if now.within == at.within && now.next >= at.next {
                return Err(broken(txn.id(), at.next, "it leads forward"));
            }
        }
    }

    /// Undoes the record at `at`, or steps over it, or goes into the child that it merged.
    fn undo_record(&self, txn: &mut Txn, owner: TxnId, at: Position) -> Result<(), TxnError> {
        let Position { next: at, within } = at;
        let buffer = self.wal().read(at)?;
        let record = buffer.record()?;
        check_link(txn.id(), &record, owner, at)?;
        let prev = record.prev;
        match &record.body {
            Body::Update { undo, .. } if planted::is(planted::Bug::UndoSkipped) => {
                let _ = undo;
                txn.step_to(prev);
            }
            Body::Update { undo: Undo::None, .. } | Body::Prepare { .. } => txn.step_to(prev),
            Body::Update { undo, .. } => {
                self.undo_one(txn, undo, prev)?;
                if txn.position().next != prev {
                    self.compensate_nothing(txn, Position { next: prev, within })?;
                }
            }
            Body::Compensate { undo_next, within: Lsn::NONE, .. } => txn.step_to(*undo_next),
            Body::FileCreate { file, .. } => self.undo_create_file(txn, *file, prev)?,
            Body::ChildCommit { .. } if planted::is(planted::Bug::MergedChildNotUndone) => {
                txn.step_to(prev);
            }
            Body::ChildCommit { child, child_last } => {
                let (child, undo_next) = (*child, *child_last);
                if undo_next >= at {
                    return Err(broken(txn.id(), at, "the child's last record lies ahead"));
                }
                self.append(Some(txn), Body::EnterChild { child, undo_next, merge: at, within })?;
            }
            _ => return Err(broken(txn.id(), at, "the record cannot be part of a chain")),
        }
        Ok(())
    }

    /// Whose chain it is that the entry `entry` went into; NONE is the transaction's own.
    fn chain_at(&self, txn: &Txn, entry: Lsn) -> Result<Chain, TxnError> {
        if entry.is_none() {
            return Ok(Chain { owner: txn.id(), entry, merge: Lsn::NONE, outer: Lsn::NONE });
        }
        let buffer = self.wal().read(entry)?;
        let record = buffer.record()?;
        match record.body {
            Body::EnterChild { child: owner, merge, within: outer, .. }
                if record.txn == txn.id() && outer < entry =>
            {
                Ok(Chain { owner, entry, merge, outer })
            }
            _ => Err(broken(txn.id(), entry, "a rollback did not go into a child here")),
        }
    }

    /// All of a child is undone: goes on before the record that merged it.
    fn leave_child(&self, txn: &mut Txn, chain: &Chain) -> Result<(), TxnError> {
        let outer = self.chain_at(txn, chain.outer)?;
        let next = {
            let buffer = self.wal().read(chain.merge)?;
            let record = buffer.record()?;
            check_link(txn.id(), &record, outer.owner, chain.merge)?;
            let merged =
                matches!(record.body, Body::ChildCommit { child, .. } if child == chain.owner);
            if !merged {
                return Err(broken(txn.id(), chain.merge, "it does not merge the child"));
            }
            record.prev
        };
        self.compensate_nothing(txn, Position { next, within: chain.outer })
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

    /// Records that there is nothing (more) to undo before `then`, so that nobody looks again.
    fn compensate_nothing(&self, txn: &mut Txn, then: Position) -> Result<(), TxnError> {
        let Position { next: undo_next, within } = then;
        let (changes, action) = (Vec::new(), FileAction::None);
        let body = Body::Compensate { undo_next, within, changes, action };
        self.append(Some(txn), body).map(|_| ())
    }
}

/// A chain of records: of the transaction that rolls back, or of a child merged into it.
#[derive(Debug)]
struct Chain {
    owner: TxnId,
    /// The `EnterChild` that went into it; NONE for the transaction's own.
    entry: Lsn,
    /// The `ChildCommit` that merged its owner.
    merge: Lsn,
    /// The entry of the chain that `merge` is in.
    outer: Lsn,
}

/// Checks that the record at `at` belongs to the chain of `owner`, which leads back.
pub(crate) fn check_link(
    txn: TxnId,
    record: &Record<'_>,
    owner: TxnId,
    at: Lsn,
) -> Result<(), TxnError> {
    if record.txn != owner {
        return Err(broken(txn, at, "the record belongs to another transaction"));
    }
    if record.prev >= at {
        return Err(broken(txn, at, "its predecessor lies ahead"));
    }
    Ok(())
}

pub(crate) fn broken(txn: TxnId, at: Lsn, why: &'static str) -> TxnError {
    TxnError::BrokenChain { txn, at, why }
}
