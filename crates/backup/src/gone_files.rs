//! Data files that a backup should hold and that are not there, and what the log says of them.
//!
//! Owns the question whether such a file was removed by its owner or was lost. Promises (B25) that
//! a backup lacks a file only if replaying its log needs none, or if the log says that the owner
//! removed it. Must never take a file that was lost for one that was removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use campanile_format::record::{Body, FileAction};
use campanile_format::{FileId, Lsn, names};
use campanile_wal::{LogSet, WalError};

use crate::chain::Link;
use crate::directory::Directory;
use crate::error::BackupError;
use crate::hot_backup::Task;
use crate::log_copy::LogOf;
use crate::repository::Repository;
use crate::shelf::Shelf;

/// An earlier backup of the same history: the data files in it are there still, or were removed.
#[derive(Clone, Debug)]
pub struct Prior {
    name: String,
    redo: Lsn,
    files: BTreeSet<FileId>,
    repository: Repository,
}

impl Prior {
    /// What is known from a backup in a repository.
    #[must_use]
    pub fn of(link: &Link, repository: &Repository) -> Prior {
        let names = link.manifest.files.iter().filter_map(|entry| {
            let (dir, name) = entry.name.split_once('/')?;
            (dir == names::DATA_DIR).then(|| names::parse_data_file(name)).flatten()
        });
        Prior {
            name: link.name.clone(),
            redo: link.manifest.redo(),
            files: names.collect(),
            repository: repository.clone(),
        }
    }

    /// Refuses to go on if a file of the earlier backup is gone from the home and was not removed.
    ///
    /// A directory never shows a removal that the log could lose, so its record is before the end
    /// that the log has after the listing.
    pub(crate) fn check(&self, task: &Task, log: &LogOf<'_>) -> Result<(), BackupError> {
        let gone = self.files.iter().filter(|file| !task.files.contains_key(file));
        let mut gone = Gone { files: gone.copied().collect() };
        if gone.files.is_empty() {
            return Ok(());
        }
        let redo = task.control.redo;
        let (end, _) = log.end_now(redo, task.control.durable)?;
        let logs = log.open()?;
        if logs.oldest_readable()? <= self.redo {
            gone.explain(&logs, self.redo, end, redo)?;
            return gone.none_is_left(task);
        }
        match self.explain_by_archive(&mut gone, log, end, redo) {
            Ok(true) => gone.none_is_left(task),
            Ok(false) => self.nobody_knows(&gone, task, "is not at hand".into()),
            Err(error) => self.nobody_knows(&gone, task, format!("cannot be read ({error})")),
        }
    }

    /// False if the archive does not reach back far enough either.
    fn explain_by_archive(
        &self,
        gone: &mut Gone,
        log: &LogOf<'_>,
        end: Lsn,
        redo: Lsn,
    ) -> Result<bool, BackupError> {
        let mut pool = self.repository.pool(log.environment)?;
        let own: Arc<dyn Shelf> = Arc::new(Directory::new(log.host, log.home));
        pool.gather(&own, names::LOG_DIR)?;
        let logs = pool.line(log.timeline)?.logs(log.environment)?;
        if logs.oldest_readable()? > self.redo {
            return Ok(false);
        }
        gone.explain(&logs, self.redo, end, redo)?;
        Ok(true)
    }

    /// An increment would end the only copy of what may have been lost; a full backup takes away
    /// nothing.
    fn nobody_knows(&self, gone: &Gone, task: &Task, why: String) -> Result<(), BackupError> {
        let Some(first) = gone.files.first() else { return Ok(()) };
        let (file, name) = (task.place_of(*first).1, &self.name);
        let why = format!(
            "{} is in backup {name} and is gone, and the log since then, which would tell whether \
             it was removed, {why}",
            file.display()
        );
        if task.base.is_some() {
            return Err(BackupError::NoBackup { why: format!("{why}: make a full backup") });
        }
        tracing::warn!("{why}: if it was not removed, restore it from there");
        Ok(())
    }
}

/// Data files that are not there and that nothing has explained yet.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    pub files: BTreeSet<FileId>,
}

impl Gone {
    /// Takes in those of another thread.
    pub fn merge(&mut self, other: Gone) {
        self.files.extend(other.files);
    }

    /// Looks for them in the log of the backup that is being made; an error names one that stays.
    pub fn check(mut self, task: &Task, logs: &LogSet, end: Lsn) -> Result<(), BackupError> {
        self.explain(logs, task.control.redo, end, task.control.redo)?;
        self.none_is_left(task)
    }

    /// Forgets those that were removed, and those that replay from `redo` makes anew.
    fn explain(&mut self, logs: &LogSet, from: Lsn, end: Lsn, redo: Lsn) -> Result<(), WalError> {
        if self.files.is_empty() {
            return Ok(());
        }
        for found in logs.forward(from, end)? {
            let (at, buffer) = found?;
            match buffer.record()?.body {
                Body::FileRemove { file }
                | Body::Compensate { action: FileAction::RemoveFile(file), .. } => {
                    self.files.remove(&file);
                }
                Body::FileCreate { file, .. } if at >= redo => {
                    self.files.remove(&file);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn none_is_left(&self, task: &Task) -> Result<(), BackupError> {
        let Some(first) = self.files.first() else { return Ok(()) };
        let why = "it is gone, and the log does not say that it was removed: no backup was made, \
                   older ones are as they were; bring it back (campanile repair), or drop its \
                   database";
        let file = task.place_of(*first).1.display().to_string();
        Err(BackupError::Damaged { file, why: why.to_owned() })
    }
}
