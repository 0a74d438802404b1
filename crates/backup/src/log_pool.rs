//! All log files at hand, and the way back from the end of a history.
//!
//! Owns the choice among several files for one place, and among several histories. Promises (B12)
//! that a file is what its header says, that of several for one place the one whose records reach
//! furthest is taken, and that nothing is guessed where two histories end. Must never look at the
//! names of files.

use std::collections::BTreeMap;
use std::sync::Arc;

use campanile_format::log_file::{LOG_HEADER_BYTES, LogFileHeader};
use campanile_format::{EnvironmentId, Lsn, Timeline, Utc, names};
use campanile_wal::WalError;

use crate::error::BackupError;
use crate::gathered::{GatheredLogs, reach_of};
use crate::lineage::Lineage;
use crate::retention::{Completed, History};
use crate::shelf::Shelf;

/// A file that says that it is a log file of the environment.
#[derive(Clone, Debug)]
struct Candidate {
    shelf: Arc<dyn Shelf>,
    name: String,
    header: LogFileHeader,
}

/// A history of which there are log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineFound {
    /// Its number.
    pub timeline: Timeline,
    /// Its first file here.
    pub first: u32,
    /// Its last file here.
    pub last: u32,
    /// When its last file was begun, microseconds since 1970.
    pub begun_us: u64,
    /// The history that it left, if its beginning is here.
    pub left: Option<Timeline>,
    /// Where it left that.
    pub left_at: Option<Lsn>,
}

/// A log file at hand.
#[derive(Clone, Copy, Debug)]
pub struct LogFileFound<'p> {
    /// Its name on its shelf.
    pub name: &'p str,
    /// The shelf.
    pub shelf: &'p Arc<dyn Shelf>,
    /// What it says of itself.
    pub header: LogFileHeader,
}

/// All log files at hand.
#[derive(Debug)]
pub struct LogPool {
    environment: EnvironmentId,
    files: BTreeMap<(Timeline, u32), Vec<Candidate>>,
    unusable: Vec<Unusable>,
    passes_over: bool,
}

/// A file that has the name of a log file, and is none that can be used.
#[derive(Clone, Debug)]
pub struct Unusable {
    /// The file, as people find it.
    pub file: String,
    /// The number in its name.
    pub number: u32,
    /// The history in the name of its directory, if it is in an archive.
    pub timeline: Option<Timeline>,
    /// What is wrong.
    pub why: String,
    /// Whether the system would not let it be read: there may be nothing wrong with it.
    pub unread: bool,
}

impl LogPool {
    /// An empty pool for the log of one environment.
    #[must_use]
    pub fn new(environment: EnvironmentId) -> LogPool {
        LogPool { environment, files: BTreeMap::new(), unusable: Vec::new(), passes_over: false }
    }

    /// From now on a file that the system does not let anybody read is remembered and passed over:
    /// another copy may do. Not for whoever decides what is needless.
    pub(crate) fn pass_over_unreadable(&mut self) {
        self.passes_over = true;
    }

    /// Takes in the log files right under `under`, whatever they are called. Files that are no log
    /// files of this environment are passed over; how many were taken is returned.
    pub fn gather(&mut self, shelf: &Arc<dyn Shelf>, under: &str) -> Result<usize, BackupError> {
        let mut taken = 0;
        for name in shelf.list(under)? {
            let name = crate::manifest::join(under, &name);
            let header = match header_of(&**shelf, &name) {
                Ok(Some(header)) => header,
                Ok(None) => {
                    let why = "its header is damaged".to_owned();
                    self.note_unusable(&**shelf, &name, why, false);
                    continue;
                }
                // What was salvaged may be on a disk that is dying: another copy may do.
                Err(error) if under.is_empty() || self.passes_over => {
                    tracing::warn!(%error, "a log file is passed over");
                    self.note_unusable(&**shelf, &name, error.to_string(), true);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if header.environment != self.environment {
                continue;
            }
            let place = self.files.entry((header.timeline, header.file)).or_default();
            place.push(Candidate { shelf: Arc::clone(shelf), name, header });
            taken += 1;
        }
        Ok(taken)
    }

    /// Remembers a file of an archive, or a salvaged one that kept its name: a log file has its
    /// name only because it had a whole header once. What else cannot be used, among what was
    /// salvaged, may never have been a log file.
    fn note_unusable(&mut self, shelf: &dyn Shelf, name: &str, why: String, unread: bool) {
        let parts: Vec<&str> = name.split('/').collect();
        let (timeline, last) = match parts.as_slice() {
            [crate::repository::LOGS, timeline, last] => match timeline.parse() {
                Ok(timeline) => (Some(Timeline(timeline)), last),
                Err(_) => return,
            },
            [last] => (None, last),
            [.., last] if unread => (None, last),
            _ => return,
        };
        if let Some(number) = names::parse_log_file(last) {
            let file = shelf.shown(name);
            self.unusable.push(Unusable { file, number, timeline, why, unread });
        }
    }

    /// A file that would stand behind the end of a history, and cannot be used: the log did not end
    /// there. Where `tip` was not asked for, a later history of which nothing else is here may be
    /// the one that counts.
    #[must_use]
    pub fn hidden_end(&self, tip: Timeline, asked_for: bool) -> Option<&Unusable> {
        let all = self.timelines();
        let last = all.iter().find(|found| found.timeline == tip)?.last;
        let is_known = |timeline| all.iter().any(|found| found.timeline == timeline);
        let behind = |file: &&Unusable| match file.timeline {
            Some(timeline) if timeline != tip => {
                !asked_for && timeline > tip && !is_known(timeline)
            }
            _ => file.number > last || (file.unread && file.number == last),
        };
        self.unusable.iter().filter(behind).min_by_key(|file| file.number)
    }

    /// One of several files for the last place of a history that cannot be read: it might reach
    /// further than the others, and nothing comes after them that would tell.
    #[must_use]
    pub fn unread_end(&self, tip: Timeline) -> Option<Unusable> {
        let (place, candidates) = self.files.range((tip, 0)..=(tip, u32::MAX)).next_back()?;
        let (timeline, number) = (Some(tip), place.1);
        candidates.iter().filter(|_| candidates.len() > 1).find_map(|candidate| {
            let Candidate { shelf, name, .. } = candidate;
            let why = match reach_of(shelf, name, self.environment, number) {
                Ok(_) | Err(WalError::Corrupt { .. }) => return None,
                Err(error) => error.to_string(),
            };
            Some(Unusable { file: shelf.shown(name), number, timeline, why, unread: true })
        })
    }

    /// Whether a backup of history `base` that is complete at `end` can be brought to the end of
    /// the history `tip`, by what their headers say of each other.
    #[must_use]
    pub fn leads_to(&self, base: Timeline, end: Lsn, tip: Timeline) -> bool {
        let histories: Vec<History> = self.timelines().iter().map(history_of).collect();
        let (first, finished_us) = (Lsn::NONE, 0);
        let backup = Completed { base: None, timeline: base, first, end, finished_us };
        Lineage::new(&histories).reaches(&backup, tip)
    }

    /// Whether a history has files behind all places where others left it.
    #[must_use]
    pub fn goes_beyond(&self, timeline: Timeline) -> bool {
        let all = self.timelines();
        let leavers = all.iter().filter(|found| found.left == Some(timeline));
        let left_in = leavers.filter_map(|found| found.left_at).map(|at| at.file()).max();
        let last = all.iter().find(|found| found.timeline == timeline).map(|found| found.last);
        left_in.is_some() && last > left_in
    }

    /// All files, by history and number; several for one place one after the other.
    pub fn files(&self) -> impl Iterator<Item = LogFileFound<'_>> {
        let all = self.files.values().flatten();
        all.map(|Candidate { shelf, name, header }| LogFileFound { name, shelf, header: *header })
    }

    /// The histories, by number.
    #[must_use]
    pub fn timelines(&self) -> Vec<TimelineFound> {
        let mut found: BTreeMap<Timeline, TimelineFound> = BTreeMap::new();
        for ((timeline, number), candidates) in &self.files {
            let Some(header) = candidates.first().map(|candidate| candidate.header) else {
                continue;
            };
            let branches = header.predecessor_timeline != *timeline;
            let entry = found.entry(*timeline).or_insert(TimelineFound {
                timeline: *timeline,
                first: *number,
                last: *number,
                begun_us: 0,
                left: None,
                left_at: None,
            });
            entry.last = entry.last.max(*number);
            entry.begun_us = entry.begun_us.max(header.created_us);
            entry.left = entry.left.or(branches.then_some(header.predecessor_timeline));
            entry.left_at = entry.left_at.or(branches.then_some(header.predecessor_end));
        }
        found.into_values().collect()
    }

    /// The history to restore: the wanted one, or the one that no other has left.
    pub fn choose(&self, wanted: Option<Timeline>) -> Result<Timeline, BackupError> {
        let all = self.timelines();
        if let Some(wanted) = wanted {
            return match all.iter().any(|found| found.timeline == wanted) {
                true => Ok(wanted),
                false => Err(BackupError::NoBackup {
                    why: format!("there is no log file of timeline {wanted}"),
                }),
            };
        }
        let tips = self.tips()?;
        let tips: Vec<_> = all.iter().filter(|found| tips.contains(&found.timeline)).collect();
        match tips.as_slice() {
            [] => Err(BackupError::NoBackup { why: "there is no log file at all".into() }),
            [only] => Ok(only.timeline),
            several => {
                let shown = |tip: &&&TimelineFound| {
                    format!("{} (last file of {})", tip.timeline, Utc(tip.begun_us))
                };
                let timelines = several.iter().map(|tip| shown(&tip)).collect::<Vec<_>>();
                Err(BackupError::SeveralTimelines { timelines: timelines.join(", ") })
            }
        }
    }

    /// The histories that go on: those that no other has left, and those that went on all the same
    /// after one had left them.
    pub fn tips(&self) -> Result<Vec<Timeline>, BackupError> {
        let all = self.timelines();
        let mut tips = Vec::new();
        for found in &all {
            let leavers: Vec<_> =
                all.iter().filter(|other| other.left == Some(found.timeline)).collect();
            if leavers.is_empty() || self.went_on(found, &leavers)? {
                tips.push(found.timeline);
            }
        }
        Ok(tips)
    }

    /// Whether a history was written after the last of those that left it began, and beyond where
    /// they left.
    fn went_on(
        &self,
        found: &TimelineFound,
        leavers: &[&TimelineFound],
    ) -> Result<bool, BackupError> {
        let left_us = leavers.iter().map(|leaver| self.first_us(leaver)).max().unwrap_or(0);
        let left_at = leavers.iter().filter_map(|leaver| leaver.left_at).max();
        let place = (found.timeline, found.last);
        let Some(candidates) = self.files.get(&place) else { return Ok(false) };
        let Some(newest) = self.best(candidates, found.last)? else { return Ok(false) };
        let read = reach_of(&newest.shelf, &newest.name, self.environment, found.last);
        Ok(match read {
            Ok(end) => {
                let last_us = end.last_time_us.max(newest.header.created_us);
                last_us > left_us && Some(end.end) > left_at
            }
            // What can be read of it is from when it was begun, at least.
            Err(_) => newest.header.created_us > left_us,
        })
    }

    /// The histories, and where and when the records of each end: what its last file says of when
    /// it was begun may be long before that.
    pub(crate) fn histories(&self) -> Result<Vec<History>, BackupError> {
        let mut all = Vec::new();
        for found in self.timelines() {
            let mut history = history_of(&found);
            let candidates = self.files.get(&(found.timeline, found.last));
            let newest = candidates.map(|all| self.best(all, found.last)).transpose()?.flatten();
            let read = newest
                .map(|it| reach_of(&it.shelf, &it.name, self.environment, found.last))
                .transpose();
            match read {
                Ok(Some(end)) => {
                    history.end = end.end;
                    history.last_us = history.last_us.max(end.last_time_us);
                }
                Ok(None) | Err(WalError::Corrupt { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            all.push(history);
        }
        Ok(all)
    }

    /// When the first file of a history was begun.
    fn first_us(&self, found: &TimelineFound) -> u64 {
        let candidates = self.files.get(&(found.timeline, found.first));
        let first = candidates.and_then(|candidates| candidates.first());
        first.map_or(0, |candidate| candidate.header.created_us)
    }

    /// The files from the end of a history backward, as far as each names one that is here.
    pub fn line(&self, tip: Timeline) -> Result<GatheredLogs, BackupError> {
        let mut line = GatheredLogs::default();
        self.follow_back(&mut line, tip, u32::MAX)?;
        Ok(line)
    }

    /// The line of `tip`, with what there is below a gap in it on the history of a backup whose log
    /// begins in file `first`: as far as that goes, the backup can be brought.
    pub fn line_for(
        &self,
        tip: Timeline,
        base: Timeline,
        first: u32,
    ) -> Result<GatheredLogs, BackupError> {
        let mut line = self.line(tip)?;
        let mut lowest = line.numbers().next().unwrap_or(0);
        while lowest > first {
            self.follow_back(&mut line, base, lowest - 1)?;
            match line.numbers().next() {
                Some(lower) if lower < lowest => lowest = lower,
                _ => break,
            }
        }
        Ok(line)
    }

    fn follow_back(
        &self,
        line: &mut GatheredLogs,
        tip: Timeline,
        last: u32,
    ) -> Result<(), BackupError> {
        let last = self.files.range((tip, 0)..=(tip, last)).next_back();
        let mut place = last.map(|(place, _)| *place);
        while let Some(at) = place {
            let Some(candidates) = self.files.get(&at) else { break };
            let Some(best) = self.best(candidates, at.1)? else { break };
            line.insert(at.1, Arc::clone(&best.shelf), best.name.clone());
            let before = best.header.predecessor_end;
            let next = (best.header.predecessor_timeline, before.file());
            place = (!before.is_none() && next.1 < at.1).then_some(next);
        }
        Ok(())
    }

    /// Of several files for one place, the one whose records reach furthest.
    fn best<'c>(
        &self,
        candidates: &'c [Candidate],
        number: u32,
    ) -> Result<Option<&'c Candidate>, BackupError> {
        if let [only] = candidates {
            return Ok(Some(only));
        }
        let mut best: Option<(&Candidate, u64)> = None;
        let mut failed = None;
        for candidate in candidates {
            let found = reach_of(&candidate.shelf, &candidate.name, self.environment, number);
            let reach = match found {
                Ok(end) => u64::from(end.end.offset()),
                // Up to the damage it is as good as another.
                Err(WalError::Corrupt { offset, .. }) => offset,
                // Another copy may do.
                Err(error) => {
                    tracing::warn!(file = %candidate.name, %error, "a log file is passed over");
                    failed = failed.or(Some(error));
                    continue;
                }
            };
            if best.is_none_or(|(_, furthest)| reach > furthest) {
                best = Some((candidate, reach));
            }
        }
        match (best, failed) {
            (None, Some(error)) => Err(error.into()),
            (best, _) => Ok(best.map(|(candidate, _)| candidate)),
        }
    }

    /// A word about what is here, for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        let all = self.timelines().into_iter().map(|found| {
            let (first, last) = (names::log_file(found.first), names::log_file(found.last));
            format!("timeline {}: {first} to {last}", found.timeline)
        });
        all.collect::<Vec<_>>().join("; ")
    }
}

/// A history by what its headers say: its last file may go on to its very end.
fn history_of(found: &TimelineFound) -> History {
    History {
        timeline: found.timeline,
        first: found.first,
        last: found.last,
        end: Lsn::new(found.last, u32::MAX),
        left: found.left.zip(found.left_at),
        last_us: found.begun_us,
    }
}

/// What a file says in its header; `None` if it is no log file.
fn header_of(shelf: &dyn Shelf, name: &str) -> Result<Option<LogFileHeader>, BackupError> {
    let file = match shelf.open(name) {
        Ok(file) => file,
        Err(BackupError::Io { source, .. }) if is_no_file(&source) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut head = vec![0; LOG_HEADER_BYTES];
    match file.read_full_at(&mut head, 0) {
        Ok(count) if count == head.len() => Ok(LogFileHeader::decode(&head).ok()),
        Ok(_) => Ok(None),
        Err(error) if is_no_file(&error) => Ok(None),
        Err(error) => Err(BackupError::io("read", shelf.shown(name), error)),
    }
}

fn is_no_file(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory)
}
