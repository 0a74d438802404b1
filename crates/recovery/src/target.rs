//! How far to replay: the end of the log, a moment, a position, a named point.
//!
//! Owns [`Target`] and the way from a target to a place between two records. Promises that a
//! target is a position in the log and nothing else: a time means "before the first commit in the
//! log that is later", whatever clocks did; and that a target which the log does not prove to
//! reach is refused. Must never write.

use std::fmt;

use campanile_format::planted::{self, Bug};
use campanile_format::record::Body;
use campanile_format::{Lsn, Utc};
use campanile_wal::{LogEnd, RecordBuf};

use crate::error::RecoveryError;

/// How far to replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// To the end of the log.
    #[default]
    End,
    /// To the moment at which the backup was complete: the earliest that it can show.
    BackupEnd,
    /// To a position. Inclusive: with the record that starts there, or around it. Exclusive: up to
    /// the last record that ends there or before.
    Lsn {
        /// The position.
        at: Lsn,
        /// Whether the record there counts.
        inclusive: bool,
    },
    /// To a moment: up to the first commit in the log that is later. Inclusive: a commit at
    /// exactly this microsecond counts.
    Time {
        /// Microseconds since 1970.
        us: u64,
        /// Whether a commit at exactly that time counts.
        inclusive: bool,
    },
    /// To a named restore point; of several with the name, the newest.
    RestorePoint {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |inclusive: bool| if inclusive { "and with" } else { "but without" };
        match self {
            Target::End => write!(f, "the end of the log"),
            Target::BackupEnd => write!(f, "the end of the backup"),
            Target::Lsn { at, inclusive } => write!(f, "up to {} {at}", with(*inclusive)),
            Target::Time { us, inclusive } => write!(f, "up to {} {}", with(*inclusive), Utc(*us)),
            Target::RestorePoint { name } => write!(f, "restore point {name:?}"),
        }
    }
}

/// A commit in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitAt {
    /// Its record.
    pub lsn: Lsn,
    /// Its time, microseconds since 1970.
    pub time_us: u64,
}

/// Where a target lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Replay goes up to here: the end of the last record that counts.
    pub at: Lsn,
    /// The last commit that counts.
    pub last_commit: Option<CommitAt>,
    /// The first that does not.
    pub next_commit: Option<CommitAt>,
}

/// Goes along the log, and remembers where the target was met.
pub(crate) struct Search<'t> {
    target: &'t Target,
    /// The end of the last record that counts, so far.
    at: Lsn,
    last_commit: Option<CommitAt>,
    stop: Option<Stop>,
    restore_points: Vec<String>,
    /// Nothing before this can be a target.
    earliest: Lsn,
    /// The end of the last record before that, and a time that no commit before that is later than.
    complete: Lsn,
    complete_us: u64,
}

impl<'t> Search<'t> {
    /// Begins at `from`, where the first record starts; a stop before `earliest` is refused.
    /// Commits before `from` are known to be no later than `before_us`.
    pub fn new(target: &'t Target, from: Lsn, earliest: Lsn, before_us: u64) -> Search<'t> {
        Search {
            target,
            at: from,
            last_commit: None,
            stop: None,
            restore_points: Vec::new(),
            earliest,
            complete: from,
            complete_us: before_us,
        }
    }

    /// Takes the next record; what follows a stop is looked at for the next commit only.
    pub fn take(&mut self, record: &RecordBuf) -> Result<(), RecoveryError> {
        let (lsn, end) = (record.lsn(), record.next_lsn());
        let record = record.record()?;
        let commit = match &record.body {
            Body::Commit { time_us, .. } => Some(CommitAt { lsn, time_us: *time_us }),
            _ => None,
        };
        let late = planted::is(Bug::RestoredOneRecordTooFar);
        let before = match self.target {
            Target::End | Target::RestorePoint { .. } => false,
            Target::BackupEnd => lsn >= self.earliest,
            Target::Lsn { at, inclusive: true } => lsn > *at || (late && lsn >= *at),
            Target::Lsn { at, inclusive: false } => end > *at && !(late && lsn <= *at),
            Target::Time { us, inclusive } => commit.is_some_and(|commit| {
                commit.time_us > *us || (commit.time_us == *us && !inclusive)
            }),
        };
        if before && self.stop.is_none() {
            self.stop = Some(self.here());
        }
        self.at = end;
        self.last_commit = commit.or(self.last_commit);
        if end <= self.earliest {
            self.complete = end;
            self.complete_us = self.last_commit.map_or(self.complete_us, |last| last.time_us);
        }
        if let Body::RestorePoint { name, .. } = &record.body {
            self.restore_points.push((*name).to_owned());
            if matches!(self.target, Target::RestorePoint { name: wanted } if wanted == name) {
                self.stop = Some(self.here());
            }
        }
        if let (Some(stop), Some(commit)) = (&mut self.stop, commit)
            && stop.next_commit.is_none()
            && commit.lsn >= stop.at
        {
            stop.next_commit = Some(commit);
        }
        Ok(())
    }

    fn here(&self) -> Stop {
        Stop { at: self.at, last_commit: self.last_commit, next_commit: None }
    }

    /// The end of the log is reached: where the target lies, if the log proves to go so far.
    pub fn finish(self, end: &LogEnd) -> Result<Stop, RecoveryError> {
        // The copy shows commits that are later than the time, perhaps from before its log.
        let shows_later = match self.target {
            Target::Time { us, inclusive: true } => *us < self.complete_us,
            Target::Time { us, inclusive: false } => *us <= self.complete_us,
            _ => false,
        };
        if shows_later || self.stop.is_some_and(|stop| stop.at < self.complete) {
            return Err(RecoveryError::TargetTooEarly {
                target: self.target.to_string(),
                earliest: self.earliest,
                time: Utc(self.complete_us).to_string(),
            });
        }
        if let Some(stop) = self.stop {
            return Ok(stop);
        }
        let reached = match self.target {
            Target::End | Target::BackupEnd => true,
            Target::Lsn { at, .. } => *at <= end.end,
            Target::Time { us, inclusive: true } => *us <= end.last_time_us,
            Target::Time { us, inclusive: false } => *us <= end.last_time_us.saturating_add(1),
            Target::RestorePoint { name } => {
                let (name, known) = (name.clone(), self.restore_points);
                return Err(RecoveryError::NoRestorePoint { name, known: known.join(", ") });
            }
        };
        if reached {
            // What pads the end of the log belongs to it.
            let all = matches!(self.target, Target::End | Target::BackupEnd);
            let here = self.here();
            return Ok(Stop { at: if all { end.end } else { here.at }, ..here });
        }
        Err(RecoveryError::TargetBeyond {
            target: self.target.to_string(),
            reach: end.end,
            time: Utc(end.last_time_us).to_string(),
        })
    }
}
