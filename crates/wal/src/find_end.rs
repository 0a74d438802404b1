//! Where the log ends.
//!
//! Owns the gathering of evidence for the table in `tail.rs`. Promises (W11) that everything from
//! the starting point to the end it reports was read and is whole, and that what follows the end
//! was never known to be durable. Must never write, and never answer on a read error.

use campanile_format::planted::{self, Bug};
use campanile_format::record::{Record, kind};
use campanile_format::{Lsn, names};

use crate::error::WalError;
use crate::log_set::LogSet;
use crate::options::Start;
use crate::resync::{Survivors, survivors};
use crate::tail::{Evidence, Found, Successor, Verdict};
use crate::walker::{Step, Walker};

/// The end of a log, and what was seen on the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// Behind the last record that counts.
    pub end: Lsn,
    /// Where that record starts; [`Lsn::NONE`] if there is none since the starting point.
    pub last: Lsn,
    /// Where the log ended in the file before that of `end`; [`Lsn::NONE`] in the first file.
    pub predecessor_end: Lsn,
    /// Where the records of the newest file begin.
    pub first: Lsn,
    /// Durable beyond doubt up to here, by what the log and the control file say.
    pub proven: Lsn,
    /// What follows.
    pub tail: Tail,
    /// The latest wall-clock time in a record; 0 if no record has one.
    pub last_time_us: u64,
    /// Records from the starting point on.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
}

/// What follows the end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// Remains of writes that a crash interrupted and nobody was told had succeeded.
    Torn {
        /// From the end to the last byte that looks like such a remain.
        bytes_cut: u64,
        /// Whole records among them, behind one that is not.
        survivors: u64,
    },
}

impl LogEnd {
    /// How to go on after this end in the same history: in a new file.
    ///
    /// A newest file in which nothing stands was made, perhaps, by a process that died before its
    /// name was durable: nothing is built on it, it is made once more.
    #[must_use]
    pub fn start(&self) -> Start {
        let untouched = self.tail == Tail::Clean && self.end == self.first;
        let (end, file) = (self.end, self.end.file());
        if untouched && !self.predecessor_end.is_none() {
            let end = self.predecessor_end;
            return Start::After { end, proven: end, next_file: file };
        }
        Start::After { end, proven: self.proven, next_file: file.saturating_add(1) }
    }
}

/// Reads the log from `from`, where a record starts, to its end.
///
/// The caller knows from elsewhere, usually the control file, that the log was durable up to
/// `known_durable`.
pub fn find_end(logs: &LogSet, from: Lsn, known_durable: Lsn) -> Result<LogEnd, WalError> {
    let mut walker = Walker::start(logs, from)?;
    let newest = walker.newest();
    if known_durable.file() > newest {
        return Err(WalError::Missing {
            file: names::log_file(newest + 1),
            why: format!("the log was durable up to {known_durable}"),
        });
    }
    // That there is a newer file says that everything before it is durable.
    let proven = known_durable.max(Lsn::new(newest, 0));
    let mut end = LogEnd {
        end: from,
        last: Lsn::NONE,
        predecessor_end: walker.predecessor_end(),
        first: walker.newest_first(),
        proven,
        tail: Tail::Clean,
        last_time_us: 0,
        records: 0,
        record_bytes: 0,
    };
    loop {
        match walker.step() {
            Ok(Step::Record(lsn, frame)) => {
                end.last = lsn;
                end.records += 1;
                end.record_bytes += frame.total_bytes() as u64;
                end.learn(frame.header.kind, frame.bytes);
            }
            Ok(Step::Bad { found, why, successor }) => {
                end.end = walker.at();
                return end.conclude(&mut walker, found, &why, successor);
            }
            Err(WalError::Io { .. }) if planted::is(Bug::ReadErrorTakenForEnd) => {
                end.end = walker.at();
                return Ok(end);
            }
            Err(error) => return Err(error),
        }
    }
}

impl LogEnd {
    /// Takes from a record what it says about time and durability. A record that cannot be decoded
    /// says nothing here; whoever replays it will find out.
    fn learn(&mut self, kind: u8, frame: &[u8]) {
        let telling = [kind::COMMIT, kind::PREPARE, kind::CHECKPOINT, kind::DURABLE];
        if !telling.contains(&kind) && kind != kind::RESTORE_POINT {
            return;
        }
        if let Ok(record) = Record::decode(frame) {
            self.proven = self.proven.max(record.proves_durable().unwrap_or(Lsn::NONE));
            self.last_time_us = self.last_time_us.max(record.time_us().unwrap_or_default());
        }
    }

    /// The walker stands at something that is no record: what does that mean?
    fn conclude(
        mut self,
        walker: &mut Walker,
        found: Found,
        why: &str,
        successor: Successor,
    ) -> Result<LogEnd, WalError> {
        let offset = u64::from(self.end.offset());
        // Behind a file that has a successor nothing needs to be looked for: the successor says
        // enough.
        let behind = match successor {
            Successor::None => Some(survivors(walker.window(), offset)?),
            Successor::EndsHere | Successor::EndsBeyond => None,
        };
        let count = behind.map_or(0, |behind| behind.count);
        self.proven = self.proven.max(behind.map_or(Lsn::NONE, |behind| behind.proven));
        let below_durable = self.end < self.proven;
        let evidence = Evidence { found, successor, below_durable, survivors: count > 0 };
        match evidence.judge() {
            Verdict::CleanEnd => self.tail = Tail::Clean,
            Verdict::TornTail => self.tail = self.torn(behind),
            Verdict::Corruption if planted::is(Bug::CorruptionTakenForTornTail) => {
                self.tail = self.torn(behind);
                self.proven = self.proven.min(self.end);
            }
            Verdict::Corruption => {
                let proof = match successor {
                    Successor::None => format!("the log was durable up to {}", self.proven),
                    _ => "the next file says that the log went on here".to_owned(),
                };
                return Err(WalError::corrupt_at(self.end, format!("{why}, but {proof}")));
            }
            Verdict::Take | Verdict::Skip | Verdict::NextFile | Verdict::IoError => {
                unreachable!("the walker passes records and file ends, and hands errors on")
            }
        }
        assert!(self.proven <= self.end, "what is proven durable was read");
        Ok(self)
    }

    fn torn(&self, behind: Option<Survivors>) -> Tail {
        let Some(behind) = behind else {
            return Tail::Torn { bytes_cut: 0, survivors: 0 };
        };
        let to_last = behind.end.0.saturating_sub(self.end.0);
        let bytes_cut = to_last.max(behind.written_bytes);
        Tail::Torn { bytes_cut, survivors: behind.count }
    }
}
