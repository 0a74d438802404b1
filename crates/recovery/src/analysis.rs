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
use crate::report::{hex_of, text_of};

/// What a transaction's last record says that a checkpoint does not repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastWords {
    /// The coordinator's name of a prepared one.
    pub gid: Vec<u8>,
    /// Whose chain the next record to undo is in, of one that was rolling back.
    pub within: Lsn,
}

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

/// A transaction to roll back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loser {
    /// What the log says of it.
    pub entry: TxnEntry,
    /// Whose chain its next record to undo is in: NONE for its own, else that of the merged child
    /// which the `EnterChild` here went into.
    pub within: Lsn,
}

#[derive(Clone, Debug)]
struct Open {
    entry: TxnEntry,
    /// Whose chain its next record to undo is in.
    within: Lsn,
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

    /// Takes over a transaction that was active at the checkpoint, with what its last record says
    /// that the checkpoint does not.
    pub fn adopt_active(&mut self, entry: TxnEntry, last: &LastWords) {
        self.next_txn = self.next_txn.max(TxnId(entry.id.0.saturating_add(1)));
        let LastWords { gid, within } = last.clone();
        self.open.insert(entry.id, Open { entry, within, gid, unexplained: false });
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
            Body::ChildCommit { child, child_last } => {
                self.merge(lsn, record, *child, *child_last)?;
            }
            Body::Update { .. } | Body::Prepare { .. } | Body::EnterChild { .. } => {
                self.go_on(lsn, record)?;
            }
            Body::Checkpoint(checkpoint) => self.adopt(checkpoint),
            Body::ActiveTxns { .. }
            | Body::Durable { .. }
            | Body::RestorePoint { .. }
            | Body::Pad { .. }
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
            within: Lsn::NONE,
            gid: Vec::new(),
            unexplained: !record.prev.is_none(),
        });
        // The checkpoint looked at the table while the log went on: it may know more.
        if lsn <= open.entry.last {
            return Ok(());
        }
        open.entry.last = lsn;
        (open.entry.undo_next, open.within) = match record.body {
            Body::Compensate { undo_next, within, .. } => (undo_next, within),
            Body::EnterChild { undo_next, .. } => (undo_next, lsn),
            _ => (lsn, Lsn::NONE),
        };
        match &record.body {
            Body::Prepare { .. } if planted::is(Bug::PreparedRolledBack) => {}
            Body::Prepare { gid, .. } => {
                open.entry.state = TxnState::Prepared;
                open.gid = gid.to_vec();
            }
            // Whatever follows the preparation but a commit says that it is rolled back.
            _ => open.entry.state = TxnState::Active,
        }
        Ok(())
    }

    /// A parent takes over a child: the child's first record is the parent's, and so is its fate.
    fn merge(
        &mut self,
        lsn: Lsn,
        record: &Record<'_>,
        child: TxnId,
        child_last: Lsn,
    ) -> Result<(), RecoveryError> {
        let parent = record.txn;
        // A checkpoint that saw the parent after this has told of the child's first record, and
        // does not tell of the child: its records here need no explanation.
        let is_told = self.open.get(&parent).is_some_and(|open| open.entry.last >= lsn);
        self.go_on(lsn, record)?;
        let Some(found) = self.open.remove(&child) else { return Ok(()) };
        if found.entry.last != child_last {
            let why = format!(
                "{parent} takes over {child} with the last record {child_last}, but that is {}",
                found.entry.last
            );
            return Err(RecoveryError::Contradiction { lsn, why });
        }
        if planted::is(Bug::MergedChildUndone) {
            self.open.insert(child, found.clone());
        }
        if let Some(open) = self.open.get_mut(&parent)
            && !is_told
        {
            open.entry.first = open.entry.first.min(found.entry.first);
            open.unexplained |= found.unexplained;
        }
        Ok(())
    }

    /// The end of the log is reached: everything must be explained.
    pub fn finish(&self) -> Result<(), RecoveryError> {
        if let Some(open) = self.open.values().find(|open| open.unexplained) {
            return Err(RecoveryError::UnknownTxn { txn: open.entry.id, lsn: open.entry.first });
        }
        let prepared = self.open.values().filter(|open| open.entry.state == TxnState::Prepared);
        one_each(prepared.map(|open| (&open.entry, open.gid.as_slice())))
    }

    /// The transactions to roll back, the youngest first: so a nested one, which may have changed
    /// what its parent had changed before, comes before its parent.
    #[must_use]
    pub fn losers(&self) -> Vec<Loser> {
        let youngest_first = self.open.values().rev();
        youngest_first
            .filter(|open| open.entry.state == TxnState::Active)
            .map(|open| Loser { entry: open.entry, within: open.within })
            .collect()
    }

    /// The transactions that wait for their coordinator, with its names for them.
    pub fn prepared(&self) -> impl Iterator<Item = (&TxnEntry, &[u8])> {
        let prepared = self.open.values().filter(|open| open.entry.state == TxnState::Prepared);
        prepared
            .filter(|_| !planted::is(Bug::PreparedTakenForCommitted))
            .map(|open| (&open.entry, open.gid.as_slice()))
    }

    /// True if the log removes this file: its numbers are never used again, so nothing that
    /// concerns it needs replay.
    #[must_use]
    pub fn is_removed(&self, file: FileId) -> bool {
        self.removed.contains_key(&file)
    }
}

/// Each global id names one unresolved transaction (2P2): of two with the same, a decision would
/// reach one only, and nobody knows which.
pub(crate) fn one_each<'a>(
    prepared: impl Iterator<Item = (&'a TxnEntry, &'a [u8])>,
) -> Result<(), RecoveryError> {
    let mut known: BTreeMap<&[u8], &TxnEntry> = BTreeMap::new();
    for (entry, gid) in prepared {
        if let Some(other) = known.insert(gid, entry) {
            let (first, second) =
                if other.last < entry.last { (other, entry) } else { (entry, other) };
            let name = text_of(gid).unwrap_or_else(|| format!("0x{}", hex_of(gid)));
            let why = format!(
                "{} is prepared here as {name:?}, which {}, prepared at {}, is called too and was \
                 not resolved",
                second.id, first.id, first.last
            );
            return Err(RecoveryError::Contradiction { lsn: second.last, why });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_format::DirNo;
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

    fn undone(undo_next: Lsn, within: Lsn) -> Body<'static> {
        Body::Compensate { undo_next, within, changes: Vec::new(), action: FileAction::None }
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
        let entry = losers[0].entry;
        assert_eq!((entry.id, entry.first, entry.last), (T7, at(600), at(700)));
        assert_eq!((analysis.next_txn, analysis.committed), (TxnId(9), 1));
    }

    #[test]
    fn a_rollback_that_was_under_way_goes_on_where_it_was() {
        let mut analysis = fresh();
        analysis.follow(at(600), &update(T7, Lsn::NONE)).unwrap();
        analysis.follow(at(700), &update(T7, at(600))).unwrap();
        let undone = undone(at(600), Lsn::NONE);
        analysis.follow(at(800), &record(T7, at(700), undone)).unwrap();
        assert_eq!(analysis.losers()[0].entry.undo_next, at(600));
        assert_eq!(analysis.losers()[0].entry.last, at(800));
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
        analysis.adopt_active(entry, &LastWords::default());
        analysis.follow(at(800), &update(T7, at(700))).unwrap();
        analysis.finish().unwrap();
        assert_eq!(analysis.losers()[0].entry.last, at(900));
        assert_eq!(analysis.losers()[0].entry.first, at(600));
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
        analysis.adopt_active(entry, &LastWords::default());
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
    fn two_that_wait_under_one_global_id_are_refused_by_name_unless_the_first_is_resolved() {
        let (prepare, commit) = (
            || Body::Prepare { gid: b"order 66", time_us: 1 },
            Body::Commit { time_us: 2, durable: Lsn::NONE },
        );
        let mut analysis = fresh();
        analysis.follow(at(600), &update(T7, Lsn::NONE)).unwrap();
        analysis.follow(at(700), &record(T7, at(600), prepare())).unwrap();
        analysis.follow(at(800), &update(TxnId(8), Lsn::NONE)).unwrap();
        let mut resolved = analysis.clone();
        analysis.follow(at(900), &record(TxnId(8), at(800), prepare())).unwrap();
        let text = analysis.finish().unwrap_err().to_string();
        for part in ["contradicts itself at 1/900", "order 66", "at 1/700", "8", "7"] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        resolved.follow(at(850), &record(T7, at(700), commit)).unwrap();
        resolved.follow(at(900), &record(TxnId(8), at(800), prepare())).unwrap();
        resolved.finish().unwrap();
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
        let create = Body::FileCreate { file: FileId(20), durable: true, directory: DirNo::HOME };
        analysis.follow(at(600), &record(T7, Lsn::NONE, create)).unwrap();
        let remove = Body::Compensate {
            undo_next: Lsn::NONE,
            within: Lsn::NONE,
            changes: Vec::new(),
            action: FileAction::RemoveFile(FileId(20)),
        };
        analysis.follow(at(700), &record(T7, at(600), remove)).unwrap();
        let system = record(TxnId::SYSTEM, Lsn::NONE, Body::FileRemove { file: FileId(3) });
        analysis.follow(at(800), &system).unwrap();
        assert!(analysis.is_removed(FileId(20)) && analysis.is_removed(FileId(3)));
        assert_eq!(analysis.next_file, FileId(21));
    }

    const T9: TxnId = TxnId(9);

    fn merge(child_last: Lsn) -> Body<'static> {
        Body::ChildCommit { child: T9, child_last }
    }

    #[test]
    fn a_merged_child_shares_its_parents_fate() {
        let mut analysis = fresh();
        analysis.follow(at(600), &update(T9, Lsn::NONE)).unwrap();
        analysis.follow(at(700), &update(T7, Lsn::NONE)).unwrap();
        assert_eq!(analysis.losers()[0].entry.id, T9, "the child is rolled back first");
        analysis.follow(at(800), &record(T7, at(700), merge(at(600)))).unwrap();
        let losers = analysis.losers();
        assert_eq!(losers.len(), 1);
        let entry = losers[0].entry;
        assert_eq!((entry.id, entry.first, entry.last), (T7, at(600), at(800)));
        let commit = Body::Commit { time_us: 1, durable: Lsn::NONE };
        analysis.follow(at(900), &record(T7, at(800), commit)).unwrap();
        assert!(analysis.losers().is_empty());
    }

    #[test]
    fn a_child_merged_before_the_checkpoint_needs_no_explanation() {
        for last in [at(800), at(900)] {
            let mut analysis = fresh();
            let (id, first, state) = (T7, at(500), TxnState::Active);
            let entry = TxnEntry { id, first, last, undo_next: last, state };
            analysis.adopt_active(entry, &LastWords::default());
            analysis.follow(at(700), &update(T9, at(500))).unwrap();
            analysis.follow(at(800), &record(T7, at(600), merge(at(700)))).unwrap();
            analysis.finish().unwrap();
            assert_eq!(analysis.losers().len(), 1);
            assert_eq!(analysis.losers()[0].entry, entry);
        }
    }

    #[test]
    fn a_child_whose_beginning_nobody_recorded_makes_its_parent_unexplained() {
        let mut analysis = fresh();
        analysis.follow(at(700), &update(T9, at(500))).unwrap();
        analysis.follow(at(800), &record(T7, Lsn::NONE, merge(at(700)))).unwrap();
        assert!(matches!(analysis.finish(), Err(RecoveryError::UnknownTxn { txn: T7, .. })));
        let other = analysis.follow(at(900), &record(T7, at(800), merge(at(850))));
        other.unwrap();
        analysis.follow(at(950), &update(T9, at(900))).unwrap();
        let torn = analysis.follow(at(990), &record(T7, at(900), merge(at(900))));
        assert!(matches!(torn, Err(RecoveryError::Contradiction { .. })));
    }

    #[test]
    fn a_rollback_inside_a_child_goes_on_there() {
        let mut analysis = fresh();
        analysis.follow(at(600), &update(T9, Lsn::NONE)).unwrap();
        analysis.follow(at(700), &record(T7, Lsn::NONE, merge(at(600)))).unwrap();
        let (child, merge, within) = (T9, at(700), Lsn::NONE);
        let enter = Body::EnterChild { child, undo_next: at(600), merge, within };
        analysis.follow(at(800), &record(T7, at(700), enter)).unwrap();
        let place = |analysis: &Analysis| {
            let loser = analysis.losers()[0];
            (loser.entry.undo_next, loser.within)
        };
        assert_eq!(place(&analysis), (at(600), at(800)));
        let body = undone(Lsn::NONE, at(800));
        analysis.follow(at(900), &record(T7, at(800), body)).unwrap();
        assert_eq!(place(&analysis), (Lsn::NONE, at(800)));
        let body = undone(Lsn::NONE, Lsn::NONE);
        analysis.follow(at(950), &record(T7, at(900), body)).unwrap();
        assert_eq!(place(&analysis), (Lsn::NONE, Lsn::NONE));
    }

    #[test]
    fn what_follows_a_preparation_says_that_it_is_rolled_back() {
        let mut analysis = fresh();
        analysis.follow(at(600), &update(T7, Lsn::NONE)).unwrap();
        let prepare = Body::Prepare { gid: b"order 66", time_us: 1 };
        analysis.follow(at(700), &record(T7, at(600), prepare)).unwrap();
        let body = undone(Lsn::NONE, Lsn::NONE);
        analysis.follow(at(800), &record(T7, at(700), body)).unwrap();
        assert_eq!(analysis.prepared().count(), 0);
        assert_eq!(analysis.losers()[0].entry.last, at(800));
    }
}
