//! Proving the log of a backup: every record of every file from the backup to the end of a history.
//!
//! Owns the reading of log files one by one, so that damage in one does not hide damage in the
//! next. Promises (B18) that every missing file, every damaged copy in the archive and every file
//! that ends before its successor says is named. Must never take a good copy elsewhere for an
//! excuse: a damaged one is named, with where the good one is.

use std::collections::BTreeMap;
use std::sync::Arc;

use campanile_format::{EnvironmentId, Lsn, Timeline, names};
use campanile_wal::LogEnd;

use crate::error::BackupError;
use crate::gathered::{GatheredLogs, reach_of};
use crate::log_pool::{LogFileFound, LogPool};
use crate::manifest::join;
use crate::prune::backup_of;
use crate::repository::Repository;
use crate::verify_files::{Finding, damage};

/// What was read of a log, and what was found.
#[derive(Clone, Debug, Default)]
pub struct LogChecked {
    /// Log files from the beginning to the end, one copy each.
    pub files: u64,
    /// Records in them.
    pub records: u64,
    /// Damage; empty if all is well.
    pub findings: Vec<Finding>,
}

/// Reads log files, each copy once.
#[derive(Debug)]
pub struct LogProof<'a> {
    repository: &'a Repository,
    pool: &'a LogPool,
    environment: EnvironmentId,
    read: BTreeMap<String, Copy>,
}

/// What one copy of a log file is worth.
#[derive(Clone, Debug)]
struct Copy {
    reach: Lsn,
    records: u64,
    wrong: Option<String>,
}

impl<'a> LogProof<'a> {
    /// A proof of the log files of one environment.
    #[must_use]
    pub fn new(
        repository: &'a Repository,
        pool: &'a LogPool,
        environment: EnvironmentId,
    ) -> LogProof<'a> {
        LogProof { repository, pool, environment, read: BTreeMap::new() }
    }

    /// Files in the archive that have the name of a log file and are none: their headers are
    /// damaged, or they are of another environment.
    pub fn strangers(&self) -> Result<Vec<Finding>, BackupError> {
        let shelf = &**self.repository.shelf();
        let known: Vec<&str> = self.pool.files().map(|found| found.name).collect();
        let mut findings = Vec::new();
        for timeline in shelf.list(crate::repository::LOGS)? {
            let place = join(crate::repository::LOGS, &timeline);
            for name in shelf.list(&place)? {
                let full = join(&place, &name);
                if names::parse_log_file(&name).is_some() && !known.contains(&full.as_str()) {
                    let what = "its header is damaged, or it is of another environment: it cannot \
                                be used"
                        .to_owned();
                    findings.push(Finding { file: shelf.shown(&full), what });
                }
            }
        }
        Ok(findings)
    }

    /// Reads the log of a backup of history `base` that begins in file `first`, to the end of the
    /// history `tip`.
    pub fn line(
        &mut self,
        tip: Timeline,
        base: Timeline,
        first: u32,
    ) -> Result<LogChecked, BackupError> {
        let line = self.pool.line_for(tip, base, first)?;
        let mut checked = LogChecked::default();
        let last = line.numbers().last().unwrap_or(0);
        for number in first..=last {
            self.one(&line, number, &mut checked)?;
        }
        if last < first {
            let file = names::log_file(first);
            let what = "it is missing: the backup has no log at all".to_owned();
            checked.findings.push(Finding { file, what });
        }
        Ok(checked)
    }

    fn one(
        &mut self,
        line: &GatheredLogs,
        number: u32,
        checked: &mut LogChecked,
    ) -> Result<(), BackupError> {
        let Some(chosen) = self.chosen(line, number) else {
            let what = "it is missing in the archive and in all backups".to_owned();
            checked.findings.push(Finding { file: names::log_file(number), what });
            return Ok(());
        };
        let best = self.copy(&chosen)?;
        checked.files += 1;
        checked.records += best.records;
        let next = self.chosen(line, number + 1);
        let ends = next.map(|next| next.header.predecessor_end);
        let ends = ends.filter(|ends| ends.file() == number && *ends > best.reach);
        let shown = |found: &LogFileFound<'_>| found.shelf.shown(found.name);
        if let Some(ends) = ends {
            let what = match &best.wrong {
                Some(what) => format!("{what}; the log goes on at {ends} only"),
                None => format!("it ends at {}, the log goes on at {ends} only", best.reach),
            };
            checked.findings.push(Finding { file: shown(&chosen), what });
        } else if let Some(what) = &best.wrong {
            checked.findings.push(Finding { file: shown(&chosen), what: what.clone() });
        }
        let place = (chosen.header.timeline, number);
        let others: Vec<LogFileFound<'_>> = self
            .pool
            .files()
            .filter(|found| (found.header.timeline, found.header.file) == place)
            .filter(|found| found.name != chosen.name && backup_of(found.name).is_none())
            .collect();
        for other in others {
            if let Some(what) = self.copy(&other)?.wrong {
                let what = format!("{what}; {} is better", shown(&chosen));
                checked.findings.push(Finding { file: shown(&other), what });
            }
        }
        Ok(())
    }

    /// The file that stands for this number on the line.
    fn chosen(&self, line: &GatheredLogs, number: u32) -> Option<LogFileFound<'a>> {
        let (shelf, name) = line.place(number)?;
        let same = |found: &LogFileFound<'_>| {
            found.header.file == number && found.name == name && Arc::ptr_eq(found.shelf, shelf)
        };
        self.pool.files().find(same)
    }

    /// Reads a copy, or remembers it.
    fn copy(&mut self, found: &LogFileFound<'_>) -> Result<Copy, BackupError> {
        if let Some(known) = self.read.get(found.name) {
            return Ok(known.clone());
        }
        let number = found.header.file;
        let read = reach_of(found.shelf, found.name, self.environment, number);
        let copy = match read.map_err(BackupError::from) {
            Ok(end) => whole(found, &end)?,
            Err(BackupError::Wal(campanile_wal::WalError::Corrupt { offset, file, why })) => Copy {
                reach: Lsn::new(number, u32::try_from(offset).unwrap_or(u32::MAX)),
                records: 0,
                wrong: Some(format!("it is damaged at {file}, byte {offset}: {why}")),
            },
            Err(error) => {
                let (reach, records) = (Lsn::new(number, 0), 0);
                Copy { reach, records, wrong: Some(damage(error)?) }
            }
        };
        self.read.insert(found.name.to_owned(), copy.clone());
        Ok(copy)
    }
}

/// A copy holds nothing behind its last record.
fn whole(found: &LogFileFound<'_>, end: &LogEnd) -> Result<Copy, BackupError> {
    let failed = |source| BackupError::io("measure", found.shelf.shown(found.name), source);
    let len = found.shelf.open(found.name)?.len().map_err(failed)?;
    let wrong = (u64::from(end.end.offset()) < len)
        .then(|| format!("its records can be read up to {} only, it is {len} bytes long", end.end));
    Ok(Copy { reach: end.end, records: end.records, wrong })
}
