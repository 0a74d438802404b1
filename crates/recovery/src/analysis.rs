//! Who was running, and what became of which file: one pass over the log.
//!
//! Owns: [`Analysis`]. Promises: starts from what the checkpoint recorded and follows the log to
//! its end; the result is the same however often it is repeated. Must never: write, or look at a
//! data file.

use std::collections::BTreeMap;

use campanile_format::planted::{self, Bug};
use campanile_format::record::{Body, Checkpoint, FileAction, Record, TxnEntry, TxnState};
use campanile_format::{FileId, Lsn, TxnId};

use crate::error::RecoveryError;

/// What the log says at its end.
#[derive(Clone, Debug, Default)]
pub struct Analysis {
    /// Transactions without an end.
    open: BTreeMap<TxnId, Open>,
    /// Files that the log removes, and where: no change of theirs is replayed.
    removed: BTreeMap<FileId, Lsn>,
    /// No transaction has this number, or any above.
    pub next_txn: TxnId,
    /// No file has this number, or any above.
    pub next_file: FileId,
    /// Records seen.
    pub records: u64,
    /// Commits seen.
    pub committed: u64,
    /// Finished rollbacks seen.
    pub aborted: u64,
}

#[derive(Clone, Debug)]
struct Open {
    entry: TxnEntry,
    gid: Vec<u8>,
    /// Its first record lies before the log that was read, and no checkpoint told of it.
    unexplained: bool,
}

impl Analysis {
    /// Before the first record: nobody was running.
    #[must_use]
    pub fn new(next_txn: TxnId, next_file: FileId) -> Analysis {
        Analysis { next_txn, next_file, ..Analysis::default() }
    }

    /// Takes over what a checkpoint recorded.
    pub fn adopt(&mut self, checkpoint: &Checkpoint) {
        self.next_txn = self.next_txn.max(checkpoint.next_txn);
        self.next_file = self.next_file.max(checkpoint.next_file);
    }

    /// Takes over a transaction that was active at the checkpoint. `gid` names a prepared one.
    pub fn adopt_active(&mut self, entry: TxnEntry, gid: &[u8]) {
        self.next_txn = self.next_txn.max(TxnId(entry.id.0.saturating_add(1)));
        let open = Open { entry, gid: gid.to_vec(), unexplained: false };
        self.open.insert(entry.id, open);
    }

    /// Follows the log by one record.
    pub fn follow(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<(), RecoveryError> {
        self.records += 1;
        if record.txn != TxnId::SYSTEM {
            self.next_txn = self.next_txn.max(TxnId(record.txn.0.saturating_add(1)));
        }
        match &record.body {
            Body::Commit { .. } => {
                self.committed += 1;
                self.open.remove(&record.txn);
            }
            Body::Abort => {
                self.aborted += 1;
                self.open.remove(&record.txn);
            }
            Body::FileCreate { file, .. } => {
                self.next_file = self.next_file.max(FileId(file.0.saturating_add(1)));
                self.go_on(lsn, record)?;
            }
            Body::FileRemove { file } => {
                self.removed.insert(*file, lsn);
            }
            Body::Compensate { action, .. } => {
                if let FileAction::RemoveFile(file) = action {
                    self.removed.insert(*file, lsn);
                }
                self.go_on(lsn, record)?;
            }
            Body::Update { .. } | Body::Prepare { .. } | Body::ChildCommit { .. } => {
                self.go_on(lsn, record)?;
            }
            Body::Checkpoint(checkpoint) => self.adopt(checkpoint),
            Body::ActiveTxns { .. }
            | Body::Durable { .. }
            | Body::RestorePoint { .. }
            | Body::Ignorable { .. } => {}
        }
        Ok(())
    }

    /// A record of a transaction that has not ended.
    fn go_on(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<(), RecoveryError> {
        if record.txn == TxnId::SYSTEM {
            return Ok(());
        }
        if record.prev >= lsn {
            let why = format!("{} goes back to {}", record.txn, record.prev);
            return Err(RecoveryError::Contradiction { lsn, why });
        }
        let open = self.open.entry(record.txn).or_insert_with(|| Open {
            entry: TxnEntry {
                id: record.txn,
                first: lsn,
                last: Lsn::NONE,
                undo_next: Lsn::NONE,
                state: TxnState::Active,
            },
            gid: Vec::new(),
            unexplained: !record.prev.is_none(),
        });
        // The checkpoint looked at the table while the log went on: it may know more.
        if lsn <= open.entry.last {
            return Ok(());
        }
        open.entry.last = lsn;
        open.entry.undo_next = match &record.body {
            Body::Compensate { undo_next, .. } => *undo_next,
            _ => lsn,
        };
        if let Body::Prepare { gid, .. } = &record.body
            && !planted::is(Bug::PreparedRolledBack)
        {
            open.entry.state = TxnState::Prepared;
            open.gid = gid.to_vec();
            if planted::is(Bug::PreparedTakenForCommitted) {
                self.open.remove(&record.txn);
            }
        }
        Ok(())
    }

    /// The end of the log is reached: everything must be explained.
    pub fn finish(&self) -> Result<(), RecoveryError> {
        let unexplained = self.open.values().find(|open| open.unexplained);
        unexplained.map_or(Ok(()), |open| {
            Err(RecoveryError::UnknownTxn { txn: open.entry.id, lsn: open.entry.first })
        })
    }

    /// The transactions to roll back, the one that wrote last first.
    #[must_use]
    pub fn losers(&self) -> Vec<TxnEntry> {
        let mut losers: Vec<TxnEntry> = self
            .open
            .values()
            .map(|open| open.entry)
            .filter(|entry| entry.state == TxnState::Active)
            .collect();
        losers.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.last));
        losers
    }

    /// The transactions that wait for their coordinator, with its names for them.
    pub fn prepared(&self) -> impl Iterator<Item = (&TxnEntry, &[u8])> {
        let prepared = self.open.values().filter(|open| open.entry.state == TxnState::Prepared);
        prepared.map(|open| (&open.entry, open.gid.as_slice()))
    }

    /// True if the log removes this file: its numbers are never used again, so nothing that
    /// concerns it needs replay.
    #[must_use]
    pub fn is_removed(&self, file: FileId) -> bool {
        self.removed.contains_key(&file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_format::record::Undo;

    const T7: TxnId = TxnId(7);

    fn at(offset: u32) -> Lsn {
        Lsn::new(1, offset)
    }

    fn update(txn: TxnId, prev: Lsn) -> Record<'static> {
        Record { txn, prev, body: Body::Update { changes: Vec::new(), undo: Undo::None } }
    }

    fn record(txn: TxnId, prev: Lsn, body: Body<'static>) -> Record<'static> {
        Record { txn, prev, body }
    }

    fn fresh() -> Analysis {
        Analysis::new(TxnId(1), FileId(16))
    }

    #[test]
    fn a_transaction_without_an_end_is_a_loser() {
        let mut analysis = fresh();
        analysis.follow(at(600), &update(T7, Lsn::NONE)).unwrap();
        analysis.follow(at(700), &update(T7, at(600))).unwrap();
        analysis.follow(at(800), &update(TxnId(8), Lsn::NONE)).unwrap();
        let commit = Body::Commit { time_us: 1, durable: Lsn::NONE };
        analysis.follow(at(900), &record(TxnId(8), at(800), commit)).unwrap();
        analysis.finish().unwrap();
        let losers = analysis.losers();
        assert_eq!(losers.len(), 1);
        assert_eq!((losers[0].id, losers[0].first, losers[0].last), (T7, at(600), at(700)));
        assert_eq!((analysis.next_txn, analysis.committed), (TxnId(9), 1));
    }

    #[test]
    fn a_rollback_that_was_under_way_goes_on_where_it_was() {
        let mut analysis = fresh();
        analysis.follow(at(600), &update(T7, Lsn::NONE)).unwrap();
        analysis.follow(at(700), &update(T7, at(600))).unwrap();
        let undone =
            Body::Compensate { undo_next: at(600), changes: Vec::new(), action: FileAction::None };
        analysis.follow(at(800), &record(T7, at(700), undone)).unwrap();
        assert_eq!(analysis.losers()[0].undo_next, at(600));
        assert_eq!(analysis.losers()[0].last, at(800));
        analysis.follow(at(900), &record(T7, at(800), Body::Abort)).unwrap();
        assert!(analysis.losers().is_empty());
    }

    #[test]
    fn what_a_checkpoint_saw_later_is_not_taken_back_by_earlier_records() {
        let mut analysis = fresh();
        let entry = TxnEntry {
            id: T7,
            first: at(600),
            last: at(900),
            undo_next: at(900),
            state: TxnState::Active,
        };
        analysis.adopt_active(entry, b"");
        analysis.follow(at(800), &update(T7, at(700))).unwrap();
        analysis.finish().unwrap();
        assert_eq!(analysis.losers()[0].last, at(900));
        assert_eq!(analysis.losers()[0].first, at(600));
    }

    #[test]
    fn an_end_that_replay_sees_counts_even_if_the_checkpoint_saw_the_transaction_active() {
        let mut analysis = fresh();
        let entry = TxnEntry {
            id: T7,
            first: at(600),
            last: at(700),
            undo_next: at(700),
            state: TxnState::Active,
        };
        analysis.adopt_active(entry, b"");
        let commit = Body::Commit { time_us: 1, durable: Lsn::NONE };
        analysis.follow(at(800), &record(T7, at(700), commit)).unwrap();
        assert!(analysis.losers().is_empty());
    }

    #[test]
    fn prepared_transactions_are_kept_and_named() {
        let mut analysis = fresh();
        analysis.follow(at(600), &update(T7, Lsn::NONE)).unwrap();
        let prepare = Body::Prepare { gid: b"order 66", time_us: 1 };
        analysis.follow(at(700), &record(T7, at(600), prepare)).unwrap();
        assert!(analysis.losers().is_empty());
        let prepared: Vec<_> = analysis.prepared().collect();
        assert_eq!((prepared[0].0.id, prepared[0].1), (T7, b"order 66".as_slice()));
    }

    #[test]
    fn a_transaction_whose_beginning_nobody_recorded_is_an_error_unless_it_ended() {
        let mut analysis = fresh();
        analysis.follow(at(800), &update(T7, at(100))).unwrap();
        let unknown = analysis.clone();
        assert!(matches!(unknown.finish(), Err(RecoveryError::UnknownTxn { txn: T7, .. })));
        let commit = Body::Commit { time_us: 1, durable: Lsn::NONE };
        analysis.follow(at(900), &record(T7, at(800), commit)).unwrap();
        analysis.finish().unwrap();
    }

    #[test]
    fn removed_files_are_known_before_replay_begins() {
        let mut analysis = fresh();
        let create = Body::FileCreate { file: FileId(20), durable: true };
        analysis.follow(at(600), &record(T7, Lsn::NONE, create)).unwrap();
        let remove = Body::Compensate {
            undo_next: Lsn::NONE,
            changes: Vec::new(),
            action: FileAction::RemoveFile(FileId(20)),
        };
        analysis.follow(at(700), &record(T7, at(600), remove)).unwrap();
        let system = record(TxnId::SYSTEM, Lsn::NONE, Body::FileRemove { file: FileId(3) });
        analysis.follow(at(800), &system).unwrap();
        assert!(analysis.is_removed(FileId(20)) && analysis.is_removed(FileId(3)));
        assert_eq!(analysis.next_file, FileId(21));
    }
}
