//! Transactions that a crash or a close interrupted, taken up again.
//!
//! Owns: what opening needs to go on with a transaction it found in the log. Promises: a loser is
//! rolled back by the same code as any abort; a prepared transaction is what it was before: in the
//! table, with its exclusive locks and the versions that hide its changes, before anybody reads
//! (2P4). Must never: decide the fate of a prepared transaction.

use std::sync::Arc;

use campanile_format::planted::{self, Bug};
use campanile_format::record::{Body, TxnEntry, TxnState, Undo};
use campanile_format::{Lsn, TxnId};

use crate::error::TxnError;
use crate::rollback::{broken, check_link};
use crate::table::{Entry, Phase, Position, Progress};
use crate::transaction::{Txn, TxnOptions};
use crate::transactions::Transactions;

impl Transactions {
    /// Takes up a transaction that was active at the crash; `within` says whose chain its next
    /// record to undo is in. Abort it. A child comes before its parent, which is older.
    pub fn resume(&self, found: &TxnEntry, within: Lsn) -> Txn {
        assert!(found.state == TxnState::Active, "{} is prepared, not a loser", found.id);
        assert!(found.first <= found.last && found.undo_next <= found.last);
        let undo = Position { next: found.undo_next, within };
        Txn::new(self.list_found(found, undo, Phase::Active), TxnOptions::default())
    }

    /// Keeps a prepared transaction until its coordinator decides: takes its locks again and
    /// rebuilds its versions from its records.
    pub fn keep_prepared(&self, found: &TxnEntry) -> Result<(), TxnError> {
        assert!(found.state == TxnState::Prepared, "{} is not prepared", found.id);
        let entry = self.list_found(found, Position::own(found.undo_next), Phase::Prepared);
        let label = format!("prepared transaction {}", found.id);
        let mut txn = Txn::new(entry, TxnOptions { label, ..TxnOptions::default() });
        self.register(&mut txn);
        let mut versions = std::mem::take(&mut txn.versions);
        let writer = Arc::clone(txn.entry.writer());
        self.walk_back(&mut txn, &mut |txn, undo| {
            if !planted::is(Bug::PreparedLocksForgotten) {
                self.lock_again(txn, undo)?;
            }
            // From the last change to the first: the first image of a key is the one that counts.
            self.versions().publish_older(&writer, &mut versions, undo);
            Ok(())
        })?;
        txn.versions = versions;
        self.keep_waiting(txn)
    }

    /// Shows `see` what the prepared transaction `id` changed, from its last change to its
    /// first, those of merged children included. Nothing if it is not waiting.
    pub fn prepared_changes(
        &self,
        id: TxnId,
        see: &mut dyn FnMut(&Undo<'_>),
    ) -> Result<(), TxnError> {
        let known = self.prepared().into_iter().find(|known| known.id == id);
        let Some(known) = known else { return Ok(()) };
        self.walk_chain(id, known.last, &mut |undo| {
            see(undo);
            Ok(())
        })
    }

    fn walk_back(
        &self,
        txn: &mut Txn,
        see: &mut dyn FnMut(&mut Txn, &Undo<'_>) -> Result<(), TxnError>,
    ) -> Result<(), TxnError> {
        let (id, last) = (txn.id(), txn.position().next);
        self.walk_chain(id, last, &mut |undo| see(txn, undo))
    }

    /// Shows everything that a rollback from `last` on would undo, in that order, and changes
    /// nothing. Memory grows with the depth of nesting only.
    fn walk_chain(
        &self,
        id: TxnId,
        last: Lsn,
        see: &mut dyn FnMut(&Undo<'_>) -> Result<(), TxnError>,
    ) -> Result<(), TxnError> {
        let mut chains = vec![(id, last)];
        while let Some((owner, at)) = chains.pop() {
            if at.is_none() {
                continue;
            }
            let buffer = self.wal().read(at)?;
            let record = buffer.record()?;
            check_link(id, &record, owner, at)?;
            match &record.body {
                Body::Update { .. } | Body::FileCreate { .. } => {
                    see(&record.undo())?;
                    chains.push((owner, record.prev));
                }
                Body::Prepare { .. } => chains.push((owner, record.prev)),
                Body::Compensate { undo_next, within: Lsn::NONE, .. } if *undo_next < at => {
                    chains.push((owner, *undo_next));
                }
                Body::ChildCommit { child, child_last } if *child_last < at => {
                    chains.push((owner, record.prev));
                    chains.push((*child, *child_last));
                }
                _ => return Err(broken(id, at, "the record cannot be part of a chain")),
            }
        }
        Ok(())
    }

    fn list_found(&self, found: &TxnEntry, undo: Position, phase: Phase) -> Arc<Entry> {
        let TxnEntry { id, first, last, .. } = *found;
        assert!(id < self.next_txn(), "{id} comes from the future");
        let entry = Entry::resumed(id, Progress { first, last, undo, phase });
        self.table().insert(&entry);
        entry
    }
}
