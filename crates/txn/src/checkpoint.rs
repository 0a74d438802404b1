//! Checkpoints: where replay may start, and which log is still needed.
//!
//! Owns: the order of steps of a checkpoint and the one checkpointer. Promises: whatever the
//! record says is true of the disk before the control file points to it (T5); transactions go on
//! meanwhile. Must never: let two checkpoints overlap, or give up log that an active transaction
//! or a dirty page needs.

use campanile_format::control::Control;
use campanile_format::planted::{self, Bug};
use campanile_format::record::{Body, Checkpoint, TxnEntry};
use campanile_format::{EnvironmentId, Lsn};
use campanile_wal::ControlFile;

use crate::error::TxnError;
use crate::table::Look;
use crate::transactions::Transactions;

/// Bytes that bound the encoded length of one transaction in a checkpoint.
const ENTRY_BYTES: usize = 48;
/// Bytes that bound what a record adds to its entries.
const RECORD_OVERHEAD: usize = 64;

/// How much a checkpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKind {
    /// What runs in the background: pages that were dirty at the checkpoint before are written
    /// back, so that replay never starts further back than two checkpoints.
    Fuzzy,
    /// All dirty pages are written back first: replay would start here.
    Full,
    /// The last one of an orderly close: no transaction is active but those that wait for their
    /// coordinator, which are recorded; everything is written back,
    /// and the control file says where the log ended.
    Close,
}

/// What a checkpoint recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// The checkpoint record.
    pub lsn: Lsn,
    /// Where replay would start.
    pub redo: Lsn,
    /// Log below this is no longer needed by this environment.
    pub pin: Lsn,
    /// Transactions that were active.
    pub active: usize,
}

/// What the one checkpointer remembers.
#[derive(Debug)]
pub(crate) struct CheckpointState {
    file: ControlFile,
    control: Control,
    /// Changes made when the last checkpoint began.
    changes: u64,
    /// The end of the log when the last checkpoint began.
    began: Lsn,
    time_us: u64,
}

impl CheckpointState {
    pub fn new(file: ControlFile, control: Control) -> CheckpointState {
        let began = control.redo;
        CheckpointState { file, control, changes: 0, began, time_us: 0 }
    }
}

impl Transactions {
    /// Takes a checkpoint. A second caller waits for the first.
    pub fn checkpoint(&self, kind: CheckpointKind) -> Result<CheckpointInfo, TxnError> {
        self.poison().check()?;
        let mut state = self.checkpoints.lock();
        match kind {
            CheckpointKind::Fuzzy => self.store().write_back_below(state.began)?,
            CheckpointKind::Full | CheckpointKind::Close => self.store().write_back_all()?,
        };
        let unprepared = self.table().unprepared();
        // Before the looks: a change that is made during them is reason enough for another one.
        let changes = self.cells().changes.get();
        if kind == CheckpointKind::Close && unprepared > 0 {
            return Err(TxnError::StillActive { active: unprepared });
        }
        // From here on, the order of the steps is the proof. The end of the log first: whatever
        // is logged later, replay will read. A change logged earlier has listed its transaction,
        // its pages and its files before it was logged, so the looks that follow see it.
        let Look { end: began, undo_low, active } = self.table().look(|| self.wal().end());
        let pending = self.pending_files.lowest();
        let dirty = self.store().min_rec_lsn();
        let mut redo = [pending, dirty].into_iter().flatten().fold(began, Lsn::min);
        if planted::is(Bug::CheckpointRedoTooHigh) {
            redo = began;
        }
        let body = Checkpoint {
            redo,
            undo_low,
            active_from: self.append_active(&active)?,
            next_txn: self.next_txn(),
            next_file: self.next_file(),
            time_us: self.wal().commit_time_us(),
            durable: self.wal().durable(),
        };
        let (lsn, _) = self.append(None, Body::Checkpoint(body))?;
        if !planted::is(Bug::ControlBeforeCheckpoint) {
            self.wal().flush(lsn)?;
        }
        let pin = redo.min(undo_low);
        let info = CheckpointInfo { lsn, redo, pin, active: active.len() };
        self.make_known(&mut state, kind, info, body, began)?;
        state.began = began;
        state.changes = changes;
        state.time_us = self.clock().monotonic_us();
        self.wal().recycle_below(pin)?;
        self.cells().checkpoints.one_more();
        tracing::debug!(%lsn, %redo, %pin, active = active.len(), "checkpoint");
        Ok(info)
    }

    /// Logs the active transactions, in as many records as it takes.
    fn append_active(&self, active: &[TxnEntry]) -> Result<Lsn, TxnError> {
        let chunk = (self.wal().max_record_bytes() - RECORD_OVERHEAD) / ENTRY_BYTES;
        let mut first = Lsn::NONE;
        for entries in active.chunks(chunk) {
            let body = Body::ActiveTxns { entries: entries.to_vec() };
            let (lsn, _) = self.append(None, body)?;
            if first.is_none() {
                first = lsn;
            }
        }
        Ok(first)
    }

    /// Points the control file to the checkpoint.
    fn make_known(
        &self,
        state: &mut CheckpointState,
        kind: CheckpointKind,
        info: CheckpointInfo,
        body: Checkpoint,
        began: Lsn,
    ) -> Result<(), TxnError> {
        // Clean only if all of the log is durable (a note of the idle log may just have come), and
        // replay would find nothing to do before the checkpoint.
        let (durable, end) = (self.wal().durable(), self.wal().end());
        let clean = kind == CheckpointKind::Close && durable >= end && info.redo == began;
        let control = Control {
            generation: state.control.generation + 1,
            checkpoint: info.lsn,
            redo: info.redo,
            durable,
            clean_end: clean.then_some(end),
            next_txn: body.next_txn,
            next_file: body.next_file,
            time_us: body.time_us,
            ..state.control
        };
        state.file.write(&control)?;
        state.control = control;
        Ok(())
    }

    /// Says in the control file that the environment is open again: from now on its log may grow
    /// beyond the clean end. Before the first change after a clean close.
    pub fn mark_open(&self) -> Result<(), TxnError> {
        let mut state = self.checkpoints.lock();
        let control =
            Control { generation: state.control.generation + 1, clean_end: None, ..state.control };
        state.file.write(&control)?;
        state.control = control;
        Ok(())
    }

    /// The newest control slot.
    #[must_use]
    pub fn control(&self) -> Control {
        self.checkpoints.lock().control
    }

    /// Whose log and files these are.
    #[must_use]
    pub fn environment(&self) -> EnvironmentId {
        self.identity
    }

    /// A little background work, if there is any: prepares log files, writes back pages, takes
    /// the checkpoint that is due. True if something was done.
    pub fn step(&self) -> Result<bool, TxnError> {
        self.poison().check()?;
        let mut worked = self.wal().step()?;
        let target = self.checkpoints.lock().began;
        worked |= self.store().step(target)?;
        worked |= self.note_log_file()?;
        if self.checkpoint_is_due() {
            self.checkpoint(CheckpointKind::Fuzzy)?;
            worked = true;
        }
        Ok(worked)
    }

    /// Says in the control file that the log has reached another file. Only the control file can
    /// tell of a newest log file that was lost: the log before it ends as any other.
    fn note_log_file(&self) -> Result<bool, TxnError> {
        let Some(mut state) = self.checkpoints.try_lock() else { return Ok(false) };
        let durable = self.wal().durable();
        let known = state.control.durable.file() >= durable.file();
        if known || state.control.clean_end.is_some() {
            return Ok(false);
        }
        let generation = state.control.generation + 1;
        let control = Control { generation, durable, ..state.control };
        state.file.write(&control)?;
        state.control = control;
        Ok(true)
    }

    fn checkpoint_is_due(&self) -> bool {
        let state = self.checkpoints.lock();
        // Checkpoints and the notes of an idle log are no reason for another one.
        if self.cells().changes.get() == state.changes {
            return false;
        }
        let end = self.wal().end();
        let logged = log_distance(state.began, end, state.control.log_file_bytes);
        let elapsed = self.clock().monotonic_us().saturating_sub(state.time_us);
        logged >= self.options().checkpoint_log_bytes
            || elapsed >= self.options().checkpoint_interval_us
    }
}

/// About how many bytes of log lie between two positions.
#[must_use]
pub fn log_distance(from: Lsn, to: Lsn, file_bytes: u32) -> u64 {
    let files = u64::from(to.file().saturating_sub(from.file()));
    (files * u64::from(file_bytes) + u64::from(to.offset()))
        .saturating_sub(u64::from(from.offset()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_distance_counts_across_files() {
        let at = Lsn::new;
        assert_eq!(log_distance(at(3, 600), at(3, 1000), 8192), 400);
        assert_eq!(log_distance(at(3, 8000), at(4, 512), 8192), 704);
        assert_eq!(log_distance(at(4, 512), at(3, 8000), 8192), 7488, "never negative");
    }
}
