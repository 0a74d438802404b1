//! Putting log files away before their owner uses them again.
//!
//! Owns the way of a log file into an archive. Promises (B8) that a file counts as safe only when
//! its copy has its name durably and was read back, record by record, to its end; (B10) that a
//! copy never loses anything by being written again, whoever else archives the same home. Must
//! never tell an owner that a file is safe which might not be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_format::control::Control;
use campanile_format::{Lsn, names};
use campanile_vfs::{FileLock, Host, LockMode};
use campanile_wal::{ControlFile, Link, LogPin, LogSet, WalError};

use crate::error::BackupError;
use crate::gathered::reach_of;
use crate::hot_backup::read_control;
use crate::log_copy::{LogOf, copy_head};
use crate::manifest::join;
use crate::progress::{Hook, Meter};
use crate::repository::Repository;
use crate::shelf::Shelf;

/// Whoever else archives the same home is done with its log file soon.
const ATTEMPTS: u32 = 500;
const PAUSE_US: u64 = 20_000;

/// How far the archive is behind the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Lag {
    /// Whole log files that are not archived yet.
    pub files: u32,
    /// The oldest file that is not safe; the log is kept from here on.
    pub next: u32,
}

/// Archives the log files of one home.
#[derive(Debug)]
pub struct Archiver {
    host: Host,
    home: PathBuf,
    repository: Repository,
    /// Every file before this one is safe, or is not there any more.
    next: u32,
}

impl Archiver {
    /// An archiver from `home` into a repository, which is made that of its environment.
    pub fn open(host: &Host, home: &Path, repository: Repository) -> Result<Archiver, BackupError> {
        let control = ControlFile::read(&*host.vfs, home)?;
        repository.claim(control.environment)?;
        Ok(Archiver { host: host.clone(), home: home.to_owned(), repository, next: 0 })
    }

    /// Every log file with a smaller number is safe. Only grows.
    #[must_use]
    pub fn safe_below(&self) -> u32 {
        self.next
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Archives one log file, the oldest whole one that is not safe; its number, or `None` if
    /// there is none, or somebody else is archiving this home just now.
    pub fn step(&mut self) -> Result<Option<u32>, BackupError> {
        let Some(_alone) = self.alone()? else { return Ok(None) };
        self.step_alone()
    }

    /// Keeps all others from archiving this home: the owner does it, and `db_archive --now`. Two
    /// at once would write one file together, and the one that looked first could put its shorter
    /// copy over the longer one of the other (B10).
    fn alone(&self) -> Result<Option<Box<dyn FileLock>>, BackupError> {
        let path = self.log_dir().join(names::LOG_ARCHIVER);
        let lock = self.host.vfs.lock(&path, LockMode::Exclusive);
        lock.map_err(|error| BackupError::io("lock", path.display().to_string(), error))
    }

    fn step_alone(&mut self) -> Result<Option<u32>, BackupError> {
        let _pin = LogPin::take(&self.host, &self.log_dir())?;
        let logs = self.logs()?;
        for link in chain(&logs)? {
            let Some(ends) = link.ends else { break };
            if link.number < self.next {
                continue;
            }
            self.put(&link, ends)?;
            // What its successor says is all there ever will be in it.
            self.next = link.number + 1;
            return Ok(Some(link.number));
        }
        Ok(None)
    }

    /// Archives everything up to the end of the log as it is now, the file in use too: what is
    /// appended to that later replaces its copy. For a home that is closed, or in quiet moments.
    pub fn all(&mut self) -> Result<Lsn, BackupError> {
        let _alone = self.wait_alone()?;
        while self.step_alone()?.is_some() {}
        let _pin = LogPin::take(&self.host, &self.log_dir())?;
        let control = read_control(&self.host, &self.home)?;
        let log = self.log(&control);
        let newest = chain(&self.logs()?)?.last().copied();
        let Some(newest) = newest else { return Ok(Lsn::NONE) };
        let first = newest.header.first_record();
        let (end, _) = log.end_now(first.max(control.redo), control.durable)?;
        if end.file() == newest.number {
            self.put(&newest, end)?;
        }
        Ok(end)
    }

    fn wait_alone(&self) -> Result<Box<dyn FileLock>, BackupError> {
        for _ in 0..ATTEMPTS {
            if let Some(lock) = self.alone()? {
                return Ok(lock);
            }
            self.host.clock.sleep_us(PAUSE_US);
        }
        Err(BackupError::Busy { dir: self.home.display().to_string() })
    }

    /// How far behind the archive is.
    pub fn lag(&self) -> Result<Lag, BackupError> {
        let whole = chain(&self.logs()?)?.into_iter().filter(|link| link.ends.is_some());
        let files = whole.filter(|link| link.number >= self.next).count();
        Ok(Lag { files: u32::try_from(files).unwrap_or(u32::MAX), next: self.next })
    }

    fn log_dir(&self) -> PathBuf {
        self.home.join(names::LOG_DIR)
    }

    fn log<'a>(&'a self, control: &Control) -> LogOf<'a> {
        let Control { environment, timeline, .. } = *control;
        LogOf { host: &self.host, home: &self.home, environment, timeline }
    }

    fn logs(&self) -> Result<LogSet, BackupError> {
        let control = ControlFile::read(&*self.host.vfs, &self.home)?;
        Ok(self.log(&control).open()?)
    }

    /// Sees to it that the archive has this file up to `ends`.
    fn put(&self, link: &Link, ends: Lsn) -> Result<(), BackupError> {
        let under = Repository::archive_of(link.header.timeline);
        let name = join(&under, &names::log_file(link.number));
        let bytes = u64::from(ends.offset());
        let from = self.log_dir().join(names::log_file(link.number));
        if self.has(link, ends, &from, &name)? {
            return Ok(());
        }
        let shelf = &**self.repository.shelf();
        let nobody: &mut Hook<'_> = &mut |_| std::ops::ControlFlow::Continue(());
        copy_head(&self.host, &from, bytes, (shelf, &name), None, &mut Meter::new(nobody))?;
        self.proven(link, ends, &name)?;
        tracing::debug!(file = %name, %ends, "log file archived");
        Ok(())
    }

    /// Whether the archive has it already, or more of it; an error if it has something else.
    fn has(&self, link: &Link, ends: Lsn, from: &Path, name: &str) -> Result<bool, BackupError> {
        let shelf = &**self.repository.shelf();
        if !shelf.has(name)? {
            return Ok(false);
        }
        let failed = |source| BackupError::io("read", shelf.shown(name), source);
        let theirs = shelf.open(name)?;
        let ours = self.host.vfs.open(from, campanile_vfs::Open::Read).map_err(failed)?;
        let have = theirs.len().map_err(failed)?;
        let wanted = u64::from(ends.offset());
        let (mut at, mut a, mut b) = (0, vec![0; 1 << 16], vec![0; 1 << 16]);
        while at < have.min(wanted) {
            let count = (have.min(wanted) - at).min(1 << 16) as usize;
            let (Some(a), Some(b)) = (a.get_mut(..count), b.get_mut(..count)) else { break };
            ours.read_exact_at(a, at).map_err(failed)?;
            theirs.read_exact_at(b, at).map_err(failed)?;
            if a != b {
                let why = format!(
                    "the archive has another log file under this name, of timeline {}: keep both \
                     apart in repositories of their own",
                    link.header.timeline
                );
                return Err(BackupError::Damaged { file: shelf.shown(name), why });
            }
            at += count as u64;
        }
        if have < wanted {
            return Ok(false);
        }
        self.proven(link, ends, name).map(|()| true)
    }

    /// Reads the copy back.
    fn proven(&self, link: &Link, ends: Lsn, name: &str) -> Result<(), BackupError> {
        let shelf: &Arc<dyn Shelf> = self.repository.shelf();
        let found = reach_of(shelf, name, link.header.environment, link.number)?;
        if found.end >= ends {
            return Ok(());
        }
        let why = format!("its copy can be read up to {} only, it ended at {ends}", found.end);
        Err(BackupError::Damaged { file: shelf.shown(name), why })
    }
}

/// The files of a log that hang together, oldest first.
fn chain(logs: &LogSet) -> Result<Vec<Link>, WalError> {
    logs.chain(logs.oldest_readable()?)
}
