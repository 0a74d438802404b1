//! What recovery did, for people, for programs and for tests.
//!
//! Owns: [`RecoveryReport`]. Promises: short readable text, and the same as JSON. Must never:
//! claim more than was done.

use std::fmt;

use campanile_format::record::Body;
use serde::Serialize;

use crate::progress::Phase;

/// How the environment came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is new.
    Created,
    /// It had been closed: nothing was to be done.
    #[default]
    Clean,
    /// It was recovered.
    Recovered,
    /// It would be recovered: nothing was written.
    DryRun,
}

/// A prepared transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PreparedReport {
    /// Its number.
    pub txn: u64,
    /// The coordinator's name for it, if it is text that can be printed.
    pub gid: Option<String>,
    /// The same, byte by byte in hexadecimal.
    pub gid_hex: String,
    /// Its first record: log from here on is kept for it.
    pub first: String,
}

impl fmt::Display for PreparedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.gid {
            Some(gid) => write!(f, "{gid:?}")?,
            None => write!(f, "0x{}", self.gid_hex)?,
        }
        write!(f, " (transaction {}, log kept from {})", self.txn, self.first)
    }
}

/// A global id as text, if all of it can be printed.
pub(crate) fn text_of(gid: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(gid).ok()?;
    let printable = text.chars().all(|char| !char.is_control());
    printable.then(|| text.to_owned())
}

/// A global id in hexadecimal.
pub(crate) fn hex_of(gid: &[u8]) -> String {
    gid.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Records replayed, by kind, and what became of their changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RedoCounts {
    /// Update records read.
    pub updates: u64,
    /// Compensation records read.
    pub compensations: u64,
    /// Changes of pages applied.
    pub applied: u64,
    /// Changes that the page showed already.
    pub skipped: u64,
    /// Changes that had to wait for a record that makes the page anew.
    pub deferred: u64,
    /// Changes of files that the log removes later.
    pub void: u64,
    /// Files made.
    pub files_created: u64,
    /// Files removed.
    pub files_removed: u64,
    /// Pages looked at.
    pub pages: u64,
    /// Files looked at.
    pub files: u64,
}

impl RedoCounts {
    pub(crate) fn count_record(&mut self, body: &Body<'_>) {
        match body {
            Body::Update { .. } => self.updates += 1,
            Body::Compensate { .. } => self.compensations += 1,
            _ => {}
        }
    }

    /// Adds what another share came to, which has none of the same pages. Files are counted by
    /// whoever knows which they are.
    pub(crate) fn add(&mut self, other: &RedoCounts) {
        self.updates += other.updates;
        self.compensations += other.compensations;
        self.applied += other.applied;
        self.skipped += other.skipped;
        self.deferred += other.deferred;
        self.void += other.void;
        self.files_created += other.files_created;
        self.files_removed += other.files_removed;
        self.pages += other.pages;
    }
}

/// What rolling back the losers undid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UndoCounts {
    /// Transactions rolled back.
    pub transactions: u64,
    /// Inserts, replacements and deletes undone.
    pub entries: u64,
    /// Allocations undone.
    pub extents: u64,
    /// File creations undone.
    pub files: u64,
}

/// Where a restore stopped, and what it cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RestoredTo {
    /// What was asked for.
    pub target: String,
    /// The end of the last record that counts.
    pub at: String,
    /// Position and time of the last commit that is in.
    pub last_commit: Option<String>,
    /// Position and time of the first commit that is not.
    pub next_commit: Option<String>,
    /// The history that was left.
    pub from_timeline: u32,
    /// The history that begins.
    pub timeline: u32,
}

/// How long a phase took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// Microseconds.
    pub us: u64,
}

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// How the environment came up.
    pub outcome: Outcome,
    /// Why it had to be recovered.
    pub reason: String,
    /// The checkpoint that recovery started from; "none" for the beginning of the log.
    pub checkpoint: String,
    /// Where replay began.
    pub redo: String,
    /// Where the log ended.
    pub end: String,
    /// Bytes of log between the two.
    pub log_bytes: u64,
    /// Files they lie in.
    pub log_files: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of a torn tail that were cut.
    pub tail_bytes_cut: u64,
    /// Whole records that stood behind the cut: they were never acknowledged.
    pub tail_survivors: u64,
    /// Commits in the log that was read: all of them are in the data now.
    pub committed: u64,
    /// Rollbacks in the log that was read that had been finished.
    pub aborted: u64,
    /// Transactions that wait for their coordinator.
    pub prepared: Vec<PreparedReport>,
    /// Replay.
    pub replay: RedoCounts,
    /// Rollback of the transactions that were running: in a dry run, how many there are.
    pub undo: UndoCounts,
    /// Pages that the crash tore in two, repaired from their second copy.
    pub torn_pages_repaired: u64,
    /// Files that are not durable, made empty.
    pub files_emptied: u64,
    /// Data files with numbers that this environment has not given out: left alone.
    pub unknown_files: Vec<u32>,
    /// What else should be known.
    pub warnings: Vec<String>,
    /// Time of each phase.
    pub phases: Vec<PhaseTime>,
    /// Where a restore stopped; `None` after normal recovery.
    pub restored: Option<RestoredTo>,
    /// Log replayed per second, in millions of bytes.
    pub replay_mb_per_s: f64,
}

impl RecoveryReport {
    /// Microseconds of all phases.
    #[must_use]
    pub fn total_us(&self) -> u64 {
        self.phases.iter().map(|phase| phase.us).sum()
    }

    /// Microseconds of one phase.
    #[must_use]
    pub fn phase_us(&self, phase: Phase) -> u64 {
        self.phases.iter().filter(|time| time.phase == phase).map(|time| time.us).sum()
    }

    fn write_what_was_found(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  start     checkpoint {}, replay from {}", self.checkpoint, self.redo)?;
        writeln!(
            f,
            "  log       {} to {}: {} records, {} bytes in {} files",
            self.redo, self.end, self.records, self.log_bytes, self.log_files
        )?;
        if self.tail_bytes_cut > 0 {
            writeln!(
                f,
                "  tail      {} bytes cut, never acknowledged ({} whole records among them)",
                self.tail_bytes_cut, self.tail_survivors
            )?;
        }
        if self.torn_pages_repaired > 0 {
            writeln!(f, "  torn      {} pages repaired", self.torn_pages_repaired)?;
        }
        writeln!(
            f,
            "  txns      {} committed, {} rolled back now, {} rolled back before, {} prepared",
            self.committed,
            self.undo.transactions,
            self.aborted,
            self.prepared.len()
        )
    }

    fn write_what_was_done(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replay = &self.replay;
        writeln!(
            f,
            "  replay    {} changes applied, {} there already, {} pages of {} files",
            replay.applied, replay.skipped, replay.pages, replay.files
        )?;
        let undo = &self.undo;
        if undo.transactions > 0 {
            writeln!(
                f,
                "  rollback  {} entries, {} extents, {} files undone",
                undo.entries, undo.extents, undo.files
            )?;
        }
        if self.files_emptied > 0 {
            writeln!(f, "  emptied   {} databases that are not durable", self.files_emptied)?;
        }
        write!(f, "  time     ")?;
        for time in &self.phases {
            write!(f, " {} {:.1} ms,", time.phase, time.us as f64 / 1000.0)?;
        }
        writeln!(f, " replay {:.1} MB/s", self.replay_mb_per_s)
    }
}

impl RestoredTo {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "none".to_owned();
        writeln!(f, "  target    {}: stopped at {}", self.target, self.at)?;
        writeln!(f, "  last in   {}", self.last_commit.clone().unwrap_or_else(none))?;
        writeln!(f, "  first out {}", self.next_commit.clone().unwrap_or_else(none))?;
        writeln!(f, "  timeline  {} left, {} begun", self.from_timeline, self.timeline)
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Created => return writeln!(f, "new environment"),
            Outcome::Clean => return writeln!(f, "closed in good order: nothing to recover"),
            Outcome::Recovered => writeln!(f, "recovered: {}", self.reason)?,
            Outcome::DryRun => writeln!(f, "would be recovered: {}", self.reason)?,
        }
        self.write_what_was_found(f)?;
        if self.outcome == Outcome::Recovered {
            self.write_what_was_done(f)?;
        }
        if let Some(restored) = &self.restored {
            restored.write(f)?;
        }
        for prepared in &self.prepared {
            writeln!(f, "  prepared  {prepared}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  warning   {warning}")?;
        }
        Ok(())
    }
}
