//! Reading before writing: where recovery starts, where the log ends, who was running.
//!
//! Owns: [`Plan`], everything that is known before the first byte is written; a dry run stops
//! here. Promises: reads only (R1). Must never: depend on a data file.

use std::path::Path;

use campanile_format::control::Control;
use campanile_format::names;
use campanile_format::record::{Body, Checkpoint, TxnEntry, TxnState};
use campanile_format::{Lsn, TxnId};
use campanile_txn::log_distance;
use campanile_vfs::Host;
use campanile_wal::{LogEnd, LogSet, Tail, WalError, find_end};

use crate::analysis::{Analysis, LastWords, one_each};
use crate::error::RecoveryError;
use crate::progress::{Phase, Progress, Pulse};
use crate::report::{PreparedReport, RecoveryReport, UndoCounts, hex_of, text_of};

/// What reading alone tells.
#[derive(Debug)]
pub(crate) struct Plan {
    pub control: Control,
    pub logs: LogSet,
    pub checkpoint: Lsn,
    pub redo: Lsn,
    pub end: LogEnd,
    pub analysis: Analysis,
    warnings: Vec<String>,
}

impl Plan {
    /// Reads the log of a home.
    pub fn read(
        host: &Host,
        home: &Path,
        control: Control,
        pulse: &mut Pulse<'_>,
    ) -> Result<Plan, RecoveryError> {
        let dir = home.join(names::LOG_DIR);
        let logs = LogSet::open(&host.vfs, &dir, control.environment, control.timeline)?;
        let mut warnings = Vec::new();
        let (checkpoint, redo) = start(&logs, &control, &mut warnings)?;
        let progress = Progress { phase: Phase::Analysis, at: redo, done: 0, total: 0 };
        pulse.report(progress)?;
        let end = find_end(&logs, redo, control.durable)?;
        let analysis = Analysis::new(control.next_txn, control.next_file);
        let mut plan = Plan { control, logs, checkpoint, redo, end, analysis, warnings };
        plan.read_checkpoint()?;
        plan.follow_log(pulse)?;
        Ok(plan)
    }

    /// Takes over what the checkpoint recorded.
    fn read_checkpoint(&mut self) -> Result<(), RecoveryError> {
        if self.checkpoint.is_none() {
            return Ok(());
        }
        let checkpoint = read_checkpoint(&self.logs, self.checkpoint)?;
        self.analysis.adopt(&checkpoint);
        if checkpoint.active_from.is_none() {
            return Ok(());
        }
        for found in self.logs.forward(checkpoint.active_from, self.checkpoint)? {
            let (lsn, buffer) = found?;
            if let Body::ActiveTxns { entries } = buffer.record()?.body {
                for entry in entries {
                    check_entry(lsn, &entry, checkpoint.next_txn)?;
                    let last = last_words(&self.logs, &entry)?;
                    self.analysis.adopt_active(entry, &last);
                }
            }
        }
        Ok(())
    }

    fn follow_log(&mut self, pulse: &mut Pulse<'_>) -> Result<(), RecoveryError> {
        for found in self.logs.forward(self.redo, self.end.end)? {
            let (lsn, buffer) = found?;
            self.analysis.follow(lsn, &buffer.record()?)?;
            pulse.beat(self.progress(Phase::Analysis, lsn))?;
        }
        self.analysis.finish()
    }

    /// How far a pass over the log is.
    pub fn progress(&self, phase: Phase, at: Lsn) -> Progress {
        Progress { phase, at, done: self.bytes_to(at), total: self.bytes_to(self.end.end) }
    }

    fn bytes_to(&self, at: Lsn) -> u64 {
        log_distance(self.redo, at, self.control.log_file_bytes)
    }

    /// What is known so far, for people.
    pub fn describe(&self, reason: &str) -> RecoveryReport {
        let (cut, survivors) = match self.end.tail {
            Tail::Clean => (0, 0),
            Tail::Torn { bytes_cut, survivors } => (bytes_cut, survivors),
        };
        let prepared = self.analysis.prepared().map(|(entry, gid)| PreparedReport {
            txn: entry.id.0,
            gid: text_of(gid),
            gid_hex: hex_of(gid),
            first: entry.first.to_string(),
        });
        let losers = self.analysis.losers().len() as u64;
        RecoveryReport {
            reason: reason.to_owned(),
            checkpoint: self.checkpoint.to_string(),
            redo: self.redo.to_string(),
            end: self.end.end.to_string(),
            log_bytes: self.end.record_bytes,
            log_files: u64::from(self.end.end.file().saturating_sub(self.redo.file())) + 1,
            records: self.end.records,
            tail_bytes_cut: cut,
            tail_survivors: survivors,
            committed: self.analysis.committed,
            aborted: self.analysis.aborted,
            prepared: prepared.collect(),
            undo: UndoCounts { transactions: losers, ..UndoCounts::default() },
            warnings: self.warnings.clone(),
            ..RecoveryReport::default()
        }
    }
}

/// The checkpoint to start from: the one the control file names. Only if its log is gone, which
/// means that the newer control slot is damaged and this is the older one, the newest checkpoint
/// in the log that is there: a checkpoint record by itself proves what was durable when it was
/// written.
fn start(
    logs: &LogSet,
    control: &Control,
    warnings: &mut Vec<String>,
) -> Result<(Lsn, Lsn), RecoveryError> {
    let named = (control.checkpoint, control.redo);
    let oldest = logs.oldest_readable()?;
    if control.redo >= oldest {
        return Ok(named);
    }
    let mut newest = None;
    let end = find_end(logs, oldest, control.durable)?;
    for found in logs.forward(oldest, end.end)? {
        let (lsn, buffer) = found?;
        if let Body::Checkpoint(checkpoint) = buffer.record()?.body
            && checkpoint.redo.min(checkpoint.undo_low) >= oldest
        {
            newest = Some((lsn, checkpoint.redo));
        }
    }
    let Some(newest) = newest else { return Ok(named) };
    warnings.push(format!(
        "the control file names the checkpoint {}, whose log is gone: its newer slot must be \
         damaged; started from the newest checkpoint in the log instead",
        control.checkpoint
    ));
    Ok(newest)
}

/// What the last record of a transaction says of it: the coordinator's name of a prepared one, and
/// whose records one that was rolling back was undoing.
fn last_words(logs: &LogSet, entry: &TxnEntry) -> Result<LastWords, RecoveryError> {
    if entry.state == TxnState::Active && entry.undo_next == entry.last {
        return Ok(LastWords::default());
    }
    let buffer = logs.read(entry.last)?;
    match (entry.state, buffer.record()?.body) {
        (TxnState::Prepared, Body::Prepare { gid, .. }) => {
            Ok(LastWords { gid: gid.to_vec(), within: Lsn::NONE })
        }
        (TxnState::Prepared, _) => Err(RecoveryError::Contradiction {
            lsn: entry.last,
            why: format!("{} is prepared, but this record does not prepare it", entry.id),
        }),
        (TxnState::Active, Body::Compensate { within, .. }) => {
            Ok(LastWords { gid: Vec::new(), within })
        }
        (TxnState::Active, Body::EnterChild { .. }) => {
            Ok(LastWords { gid: Vec::new(), within: entry.last })
        }
        (TxnState::Active, _) => Ok(LastWords::default()),
    }
}

/// The prepared transactions that a clean close recorded before its checkpoint record, from
/// `active_from` on.
pub(crate) fn prepared_at_close(
    logs: &LogSet,
    active_from: Lsn,
    checkpoint: Lsn,
    next_txn: TxnId,
) -> Result<Vec<TxnEntry>, RecoveryError> {
    let (mut prepared, mut gids) = (Vec::new(), Vec::new());
    for found in logs.forward(active_from, checkpoint)? {
        let (lsn, buffer) = found?;
        if let Body::ActiveTxns { entries } = buffer.record()?.body {
            if let Some(active) = entries.iter().find(|entry| entry.state == TxnState::Active) {
                let why = format!("{} was active, but the close says clean", active.id);
                return Err(RecoveryError::Contradiction { lsn, why });
            }
            for entry in entries {
                check_entry(lsn, &entry, next_txn)?;
                if prepared.iter().any(|known: &TxnEntry| known.id == entry.id) {
                    let why = format!("{} is listed twice", entry.id);
                    return Err(RecoveryError::Contradiction { lsn, why });
                }
                gids.push(last_words(logs, &entry)?.gid);
                prepared.push(entry);
            }
        }
    }
    one_each(prepared.iter().zip(gids.iter().map(Vec::as_slice)))?;
    Ok(prepared)
}

/// Checks that an entry in a list of transactions can be true at all: nobody after this may
/// stumble over it.
fn check_entry(lsn: Lsn, entry: &TxnEntry, next_txn: TxnId) -> Result<(), RecoveryError> {
    let TxnEntry { id, first, last, undo_next, .. } = *entry;
    let true_to_form = id != TxnId::SYSTEM && id < next_txn && first <= last && undo_next <= last;
    if true_to_form {
        return Ok(());
    }
    let why = format!("it lists {id} from {first} to {last}, to be undone from {undo_next}");
    Err(RecoveryError::Contradiction { lsn, why })
}

fn read_checkpoint(logs: &LogSet, lsn: Lsn) -> Result<Checkpoint, RecoveryError> {
    let buffer = logs.read(lsn)?;
    match buffer.record()?.body {
        Body::Checkpoint(checkpoint) => Ok(checkpoint),
        other => Err(not_a_checkpoint(lsn, &other)),
    }
}

/// The error of a control file that names another record.
pub(crate) fn not_a_checkpoint(lsn: Lsn, found: &Body<'_>) -> RecoveryError {
    RecoveryError::Wal(WalError::NoRecord {
        lsn,
        why: format!("the control file says checkpoint, the log says {}", found.name()),
    })
}

#[cfg(test)]
mod tests {
    use campanile_format::record::Record;
    use campanile_format::{EnvironmentId, Timeline};
    use campanile_vfs::Poison;
    use campanile_wal::{Start, Wal, WalOptions};

    use super::*;

    const ID: EnvironmentId = EnvironmentId([3; 16]);
    const NEXT: TxnId = TxnId(20);

    fn waiting(id: u64, last: Lsn) -> TxnEntry {
        let state = TxnState::Prepared;
        TxnEntry { id: TxnId(id), first: last, last, undo_next: last, state }
    }

    /// What a close finds in a log in which transactions 7 and up were prepared under these names,
    /// and the list in its checkpoint is this.
    fn closed(
        gids: &[&[u8]],
        list: impl FnOnce(&[Lsn]) -> Vec<TxnEntry>,
    ) -> Result<Vec<TxnEntry>, RecoveryError> {
        let host = Host::memory();
        host.vfs.create_dir("/log".as_ref()).unwrap();
        let wal =
            Wal::open(&host, &Poison::new(), WalOptions::new("/log", ID, Timeline(1)), Start::New);
        let wal = wal.unwrap();
        let append = |txn, body| wal.append(&Record { txn, prev: Lsn::NONE, body }).unwrap();
        let numbered = gids.iter().zip(7..);
        let lsns: Vec<Lsn> = numbered
            .map(|(gid, id)| append(TxnId(id), Body::Prepare { gid, time_us: 1 }))
            .collect();
        let from = append(TxnId::SYSTEM, Body::ActiveTxns { entries: list(&lsns) });
        let end = append(TxnId::SYSTEM, Body::Durable { durable: Lsn::NONE });
        wal.flush(end).unwrap();
        let logs = LogSet::open(&host.vfs, "/log".as_ref(), ID, Timeline(1)).unwrap();
        prepared_at_close(&logs, from, end, NEXT)
    }

    fn refused(result: Result<Vec<TxnEntry>, RecoveryError>, why: &str) {
        match result {
            Err(RecoveryError::Contradiction { why: told, .. }) if told.contains(why) => {}
            other => panic!("not refused because {why}: {other:?}"),
        }
    }

    #[test]
    fn a_clean_close_that_names_prepared_transactions_gives_them_back() {
        let list = |lsns: &[Lsn]| vec![waiting(7, lsns[0]), waiting(8, lsns[1])];
        let found = closed(&[b"one", b"two"], list).unwrap();
        assert_eq!(found.iter().map(|entry| entry.id.0).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn a_list_that_cannot_be_true_is_refused_after_a_clean_close() {
        let twice = |lsns: &[Lsn]| vec![waiting(7, lsns[0]), waiting(7, lsns[0])];
        refused(closed(&[b"one"], twice), "is listed twice");
        let active =
            |lsns: &[Lsn]| vec![TxnEntry { state: TxnState::Active, ..waiting(7, lsns[0]) }];
        refused(closed(&[b"one"], active), "was active, but the close says clean");
        let both = |lsns: &[Lsn]| vec![waiting(7, lsns[0]), waiting(8, lsns[1])];
        let result = closed(&[b"same", b"same"], both);
        let text = result.as_ref().unwrap_err().to_string();
        assert!(text.matches("1/").count() >= 2, "both places are named: {text}");
        refused(result, "\"same\"");
        let other = |lsns: &[Lsn]| {
            let not_a_prepare = Lsn(lsns[0].0 - 1);
            vec![waiting(7, not_a_prepare)]
        };
        assert!(closed(&[b"one"], other).is_err());
    }

    #[test]
    fn an_entry_that_cannot_be_true_is_refused_wherever_it_is_listed() {
        let at = |offset| Lsn::new(1, offset);
        let good = TxnEntry { first: at(600), undo_next: at(700), ..waiting(7, at(800)) };
        check_entry(at(900), &good, NEXT).unwrap();
        let none = TxnEntry { undo_next: Lsn::NONE, ..good };
        check_entry(at(900), &none, NEXT).unwrap();
        let bad = [
            TxnEntry { id: TxnId::SYSTEM, ..good },
            TxnEntry { id: NEXT, ..good },
            TxnEntry { first: at(801), ..good },
            TxnEntry { undo_next: at(801), ..good },
        ];
        for entry in bad {
            let told = check_entry(at(900), &entry, NEXT).unwrap_err().to_string();
            assert!(told.contains("contradicts itself at 1/900: it lists"), "{told}");
        }
    }
}
