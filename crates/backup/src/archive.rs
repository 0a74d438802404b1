//! Putting log files away before their owner uses them again.
//!
//! Owns the way of a log file into an archive. Promises (B8) that a file counts as safe only when
//! its copy has its name durably and was read back, record by record, to its end; (B10) that a
//! copy never loses anything by being written again, whoever else archives the same home. Must
//! never tell an owner that a file is safe which might not be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_format::control::Control;
use campanile_format::{EnvironmentId, Lsn, names};
use campanile_vfs::{FileLock, Host, LockMode};
use campanile_wal::{ControlFile, Link, LogPin, LogSet, WalError};

use crate::directory::Directory;
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

/// What an archive has of the log of a home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// Everything before this is in the archive, as far as the home still has it.
    pub to: Lsn,
    /// The log of the home ends here.
    pub log_end: Lsn,
    /// Files that are not in the archive, or not up to their end; that in use counts.
    pub files: u32,
    /// Bytes of log that are not in the archive.
    pub bytes: u64,
}

/// The log may go on to a new file while it is archived; it does not so very often.
const LOOKS: u32 = 100;

/// Archives the log files of one home.
#[derive(Debug)]
pub struct Archiver {
    host: Host,
    home: PathBuf,
    repository: Repository,
    environment: EnvironmentId,
    /// Every file before this one is safe, or is not there any more.
    next: u32,
}

impl Archiver {
    /// An archiver from `home` into a repository, which is made that of its environment.
    pub fn open(host: &Host, home: &Path, repository: Repository) -> Result<Archiver, BackupError> {
        let archiver = Archiver::resume(host, home, repository)?;
        archiver.repository.claim(archiver.environment)?;
        Ok(archiver)
    }

    /// An archiver into the repository that has been that of the home for long. It need not be
    /// there now: then every step fails, and nothing counts as safe (B15). It is never made again:
    /// what is empty may be the place where a disk is not mounted.
    pub fn resume(
        host: &Host,
        home: &Path,
        repository: Repository,
    ) -> Result<Archiver, BackupError> {
        let environment = ControlFile::read(&*host.vfs, home)?.environment;
        let (host, home) = (host.clone(), home.to_owned());
        Ok(Archiver { host, home, repository, environment, next: 0 })
    }

    /// The repository must be there, and ours.
    fn check_repository(&self) -> Result<(), BackupError> {
        let (theirs, ours) = (self.repository.environment()?, self.environment.to_string());
        if theirs == ours {
            return Ok(());
        }
        let dir = self.repository.shelf().shown("");
        let why = format!("belongs to environment {theirs}, this log is that of {ours}");
        Err(BackupError::Place { dir, why })
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
        let links = chain(&logs)?;
        self.check_gap(&logs, &links)?;
        for link in links {
            let Some(ends) = link.ends else { break };
            if link.number < self.next {
                continue;
            }
            self.check_repository()?;
            self.put(&link, ends)?;
            // What its successor says is all there ever will be in it.
            self.next = link.number + 1;
            return Ok(Some(link.number));
        }
        Ok(None)
    }

    /// Log files go from the oldest on. If one that is not safe stands before what hangs together,
    /// the one between is lost: nothing behind it may count as safe, or those before it would go.
    fn check_gap(&self, logs: &LogSet, links: &[Link]) -> Result<(), BackupError> {
        let Some(first) = links.first() else { return Ok(()) };
        let ours = |file: &&campanile_wal::LogFile| {
            file.header.as_ref().map_or(true, |header| header.environment == self.environment)
        };
        let before =
            |file: &&campanile_wal::LogFile| (self.next..first.number).contains(&file.number);
        let Some(stranded) = logs.files().filter(ours).find(before) else { return Ok(()) };
        let lost = first.header.predecessor_end.file();
        let file = self.log_dir().join(names::log_file(lost)).display().to_string();
        let why = format!(
            "it is missing or damaged, and {} before it is not archived: the log is kept from \
             there on; put the file back if there is a copy, or make a backup and stop archiving",
            stranded.name()
        );
        Err(BackupError::Damaged { file, why })
    }

    /// Archives everything up to the end of the log as it is now, the file in use too: what is
    /// appended to that later replaces its copy. For a home that is closed, or in quiet moments.
    pub fn all(&mut self) -> Result<Lsn, BackupError> {
        let _alone = self.wait_alone()?;
        let _pin = LogPin::take(&self.host, &self.log_dir())?;
        self.check_repository()?;
        for _ in 0..LOOKS {
            while self.step_alone()?.is_some() {}
            let control = read_control(&self.host, &self.home)?;
            let links = chain(&self.logs()?)?;
            let Some(newest) = links.last() else { return Ok(Lsn::NONE) };
            let first = newest.header.first_record();
            let (end, _) = self.log(&control).end_now(first.max(control.redo), control.durable)?;
            if end.file() < self.next {
                return Ok(end);
            }
            // The log may have gone on to a new file since: then the one before is not safe yet.
            let before = links.iter().filter(|link| link.number != newest.number);
            if end.file() == newest.number && before.clone().all(|link| link.number < self.next) {
                self.put(newest, end)?;
                return Ok(end);
            }
        }
        let why = "the log goes on faster than it is archived".to_owned();
        Err(BackupError::Changed { why })
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

    /// Compares the log of the home, to its very end, with the archive: by lengths, what is there
    /// was read back when it came. Reads only.
    pub fn archived(&self) -> Result<Archived, BackupError> {
        let _pin = LogPin::take(&self.host, &self.log_dir())?;
        let control = read_control(&self.host, &self.home)?;
        let links = chain(&self.logs()?)?;
        let Some(newest) = links.last() else { return Ok(Archived::default()) };
        let first = newest.header.first_record();
        let (log_end, _) = self.log(&control).end_now(first.max(control.redo), control.durable)?;
        let mut found = Archived { to: log_end, log_end, files: 0, bytes: 0 };
        for link in links.iter().filter(|link| link.number <= log_end.file()) {
            let ends = link.ends.map_or(log_end, |ends| ends.min(log_end));
            let wanted =
                u64::from(if link.number == log_end.file() { log_end } else { ends }.offset());
            let under = Repository::archive_of(link.header.timeline);
            let have = self.length_of(&join(&under, &names::log_file(link.number)))?;
            if have < wanted {
                let to = Lsn::new(link.number, u32::try_from(have).unwrap_or(u32::MAX));
                found.to = found.to.min(to);
                found.files += 1;
                found.bytes += wanted - have;
            }
        }
        Ok(found)
    }

    fn length_of(&self, name: &str) -> Result<u64, BackupError> {
        let shelf = &**self.repository.shelf();
        if !shelf.has(name)? {
            return Ok(0);
        }
        let failed = |source| BackupError::io("measure", shelf.shown(name), source);
        shelf.open(name)?.len().map_err(failed)
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
                let equal = a.iter().zip(b.iter()).take_while(|(a, b)| a == b).count();
                return self.which_is_whole(link, ends, at + equal as u64, name);
            }
            at += count as u64;
        }
        if have < wanted {
            return Ok(false);
        }
        self.proven(link, ends, name).map(|()| true)
    }

    /// The archive has something else under the name, from offset `at` on. If one of the two is
    /// damaged there, the other counts: true if it is the archive's. Records that are whole there
    /// are what somebody committed, however far they go: a home that was cloned writes the same
    /// files, and neither of the two may take the place of the other.
    fn which_is_whole(
        &self,
        link: &Link,
        ends: Lsn,
        at: u64,
        name: &str,
    ) -> Result<bool, BackupError> {
        let home: Arc<dyn Shelf> = Arc::new(Directory::new(&self.host, &self.home));
        let ours = join(names::LOG_DIR, &names::log_file(link.number));
        let ours_is_rotten = is_rotten(&home, &ours, link, at)?;
        let theirs_is_rotten = is_rotten(self.repository.shelf(), name, link, at)?;
        if theirs_is_rotten && !ours_is_rotten {
            tracing::warn!(file = %name, "a damaged copy in the archive is replaced");
            return Ok(false);
        }
        if ours_is_rotten && !theirs_is_rotten && self.proven(link, ends, name).is_ok() {
            tracing::warn!(file = %name, "the log file of the home is damaged, its copy is good");
            return Ok(true);
        }
        let why = format!(
            "the archive has another log file under this name, of timeline {}: keep both apart in \
             repositories of their own",
            link.header.timeline
        );
        Err(BackupError::Damaged { file: self.repository.shelf().shown(name), why })
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

/// Whether a log file cannot be read beyond offset `at`, where another differs from it. What cannot
/// be read now may be read later: that is an error, and no damage.
fn is_rotten(
    shelf: &Arc<dyn Shelf>,
    name: &str,
    link: &Link,
    at: u64,
) -> Result<bool, BackupError> {
    match reach_of(shelf, name, link.header.environment, link.number) {
        Ok(found) => Ok(u64::from(found.end.offset()) <= at),
        // Damage to a header is told of some place before the first record.
        Err(WalError::Corrupt { offset, .. }) => {
            Ok(offset <= at.max(u64::from(link.header.first_record().offset())))
        }
        Err(WalError::Format { source, .. }) if source.is_corruption() => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The files of a log that hang together, oldest first.
fn chain(logs: &LogSet) -> Result<Vec<Link>, WalError> {
    logs.chain(logs.oldest_readable()?)
}
