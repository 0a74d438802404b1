//! The one door through which pages change.
//!
//! Owns: [`Transactions::apply`] and everything between a change that is wanted and a page that
//! shows it. Promises: check all, log, change, stamp, in this order and under the page's
//! exclusive latch (T1); nothing is logged that does not fit, and nothing is changed that is not
//! logged. Must never: return an error after the record was appended without poisoning the
//! environment.

use campanile_format::planted::{self, Bug};
use campanile_format::record::{Body, FileAction, PageChange, Record, Undo};
use campanile_format::{Lsn, PageOp, TxnId, page_op};
use campanile_pagestore::PageWrite;

use crate::error::TxnError;
use crate::redo_check::RedoCheck;
use crate::table::{Phase, Position, Progress};
use crate::transaction::Txn;
use crate::transactions::Transactions;

/// On whose account a change is made.
#[derive(Debug)]
pub enum By<'t> {
    /// A transaction changes data: undone if it rolls back.
    Txn(&'t mut Txn),
    /// The system changes structure: redo-only, belongs to no transaction, is never undone.
    System,
    /// A rollback undoes one record: redo-only; `undo_next` is where the rollback goes on.
    Compensate {
        /// The transaction that rolls back.
        txn: &'t mut Txn,
        /// Its next record to undo, once this change is made.
        undo_next: Lsn,
    },
}

/// What is to happen to one latched page. The door empties `ops`.
#[derive(Debug)]
pub struct Change<'p, 's, 'a> {
    /// The page, latched exclusively by the caller.
    pub page: &'p mut PageWrite<'s>,
    /// The operations, in order.
    pub ops: Vec<PageOp<'a>>,
}

impl<'p, 's, 'a> Change<'p, 's, 'a> {
    /// A change of one page.
    pub fn new(page: &'p mut PageWrite<'s>, ops: Vec<PageOp<'a>>) -> Self {
        Self { page, ops }
    }
}

impl Transactions {
    /// Changes pages: checks that every operation fits, appends one log record for all of them,
    /// applies the operations and stamps the pages with the record's LSN, which is returned.
    ///
    /// `undo` says how a rollback undoes the change logically; it is [`Undo::None`] for
    /// [`By::System`] and [`By::Compensate`]. The before-image in it is published for snapshots
    /// before the page changes. Pages of files that are not durable are changed without a record;
    /// their undo is kept in the transaction.
    ///
    /// On an error nothing was changed and nothing was logged, or the environment is poisoned.
    pub fn apply(
        &self,
        by: By<'_>,
        changes: &mut [Change<'_, '_, '_>],
        undo: Undo<'_>,
    ) -> Result<Lsn, TxnError> {
        self.poison().check()?;
        assert!(!changes.is_empty(), "a change names at least one page");
        for change in changes.iter() {
            check_fits(change)?;
        }
        let durable = self.which_are_durable(changes)?;
        let any_durable = durable.contains(&true);
        self.cells().changes.one_more();
        match by {
            By::System => {
                assert!(undo == Undo::None, "structure changes are redo-only");
                if any_durable {
                    self.log_and_apply(None, changes, &durable, undo, None)
                } else {
                    Ok(self.apply_unlogged(changes))
                }
            }
            By::Compensate { txn, undo_next } => {
                assert!(undo == Undo::None, "what undoes is never undone");
                if planted::is(Bug::CompensationSkipped) {
                    txn.entry.progress().undo.next = undo_next;
                    Ok(self.apply_unlogged(changes))
                } else if any_durable {
                    self.log_and_apply(Some(txn), changes, &durable, undo, Some(undo_next))
                } else {
                    Ok(self.apply_unlogged(changes))
                }
            }
            By::Txn(txn) => {
                txn.check_open()?;
                txn.take_over();
                self.list(txn);
                self.versions().publish(txn.entry.writer(), &mut txn.versions, &undo);
                if any_durable {
                    self.log_and_apply(Some(txn), changes, &durable, undo, None)
                } else {
                    txn.volatile.push(&undo);
                    Ok(self.apply_unlogged(changes))
                }
            }
        }
    }

    fn which_are_durable(&self, changes: &[Change<'_, '_, '_>]) -> Result<Vec<bool>, TxnError> {
        let is_durable = |change: &Change<'_, '_, '_>| {
            let map = matches!(change.ops.last(), Some(PageOp::MapSet { .. }));
            if map && planted::is(Bug::AllocationNotLogged) {
                return Ok(false);
            }
            self.is_durable(change.page.id().file)
        };
        changes.iter().map(is_durable).collect()
    }

    /// Announces the changes to the page store, appends the record, changes the pages.
    fn log_and_apply(
        &self,
        txn: Option<&mut Txn>,
        changes: &mut [Change<'_, '_, '_>],
        durable: &[bool],
        undo: Undo<'_>,
        undo_next: Option<Lsn>,
    ) -> Result<Lsn, TxnError> {
        // The end is read before the record is placed: `rec_lsn` is a bound from below, and a
        // checkpoint that reads the end later will find the page dirty (T4).
        let end = self.wal().end();
        let mut logged = Vec::with_capacity(changes.len());
        for (change, durable) in changes.iter_mut().zip(durable) {
            change.page.begin_change(end);
            if *durable {
                logged.push(PageChange {
                    page: change.page.id(),
                    prev_page_lsn: change.page.lsn(),
                    ops: std::mem::take(&mut change.ops),
                });
            }
        }
        let body = match undo_next {
            None => Body::Update { changes: logged, undo },
            Some(undo_next) => {
                let within = txn.as_ref().map_or(Lsn::NONE, |txn| txn.position().within);
                Body::Compensate { undo_next, within, changes: logged, action: FileAction::None }
            }
        };
        let check = RedoCheck::before(self.options().check_redo, &body, changes);
        // The log would know of a change that the pages lack, and the next change contradict it.
        let _whole = self.poison().if_unwound("a logged change was made");
        let (lsn, body) = self.append(txn, body)?;
        let (Body::Update { changes: logged, .. } | Body::Compensate { changes: logged, .. }) =
            body
        else {
            unreachable!("the body was built above");
        };
        let mut logged = logged.into_iter().peekable();
        for (change, durable) in changes.iter_mut().zip(durable) {
            match logged.next_if(|_| *durable) {
                Some(page) => change.page.apply(&page.ops, lsn),
                None => change.page.apply(&change.ops, lsn),
            }
            change.ops.clear();
        }
        if let Some(check) = check {
            check.after(changes, lsn);
            self.cells().redo_checked.one_more();
        }
        Ok(lsn)
    }

    /// Changes pages of files that are not durable.
    fn apply_unlogged(&self, changes: &mut [Change<'_, '_, '_>]) -> Lsn {
        // Stamped like a record placed now: the page-LSN tests of ghosts and snapshots hold.
        let stamp = self.wal().end();
        for change in changes {
            change.page.begin_change(stamp);
            change.page.apply(&change.ops, stamp);
            change.ops.clear();
        }
        stamp
    }

    /// Lists a transaction in the table before its first change.
    pub(crate) fn list(&self, txn: &mut Txn) {
        if !txn.entry.is_listed() {
            txn.entry.progress().first = self.wal().end();
            self.table().insert(&txn.entry);
        }
    }

    /// Appends a record on behalf of a transaction (or of the system), and notes it in the
    /// transaction's entry under the same latch (T3). Gives the body back.
    pub(crate) fn append<'a>(
        &self,
        txn: Option<&mut Txn>,
        body: Body<'a>,
    ) -> Result<(Lsn, Body<'a>), TxnError> {
        let Some(txn) = txn else {
            let record = Record { txn: TxnId::SYSTEM, prev: Lsn::NONE, body };
            return Ok((self.wal().append(&record)?, record.body));
        };
        self.list(txn);
        let mut progress = txn.entry.progress();
        assert!(progress.phase != Phase::Ended, "{} has ended", txn.id());
        let mut record = Record { txn: txn.id(), prev: progress.last, body };
        if let Body::Compensate { undo_next, .. } = &mut record.body
            && planted::is(Bug::UndoNextWrong)
        {
            *undo_next = progress.last;
        }
        let lsn = self.wal().append(&record)?;
        assert!(lsn >= progress.first && lsn > progress.last, "the log goes forward");
        note(&mut progress, &record.body, lsn);
        Ok((lsn, record.body))
    }
}

/// What a record means for the entry of its transaction: the same words as recovery's analysis.
pub(crate) fn note(progress: &mut Progress, body: &Body<'_>, lsn: Lsn) {
    progress.last = lsn;
    match *body {
        Body::Compensate { undo_next: next, within, .. } => {
            progress.undo = Position { next, within };
            // Of a prepared transaction: it was decided that it is rolled back.
            progress.phase = Phase::Active;
        }
        Body::EnterChild { undo_next: next, .. } => {
            progress.undo = Position { next, within: lsn };
            progress.phase = Phase::Active;
        }
        Body::Commit { .. } | Body::Abort => progress.phase = Phase::Ended,
        Body::Prepare { .. } => {
            progress.undo = Position::own(lsn);
            progress.phase = Phase::Prepared;
        }
        _ => progress.undo = Position::own(lsn),
    }
}

/// Checks that the operations fit the page, each on the page that the one before it leaves.
fn check_fits(change: &Change<'_, '_, '_>) -> Result<(), TxnError> {
    let page = &*change.page;
    assert!(!change.ops.is_empty(), "a change of {} without operations", page.id());
    page_op::check_all(&change.ops, page.id(), &page.bytes()).map_err(|why| TxnError::Misfit {
        page: page.id(),
        lsn: page.lsn(),
        why,
    })
}
