//! A repository: backups and archived log files of one environment.
//!
//! Owns the layout and the names. Promises (B6, B7) that a backup is listed as one only when it is
//! complete, and that a new one never takes the place of another. Must never hold what cannot be
//! learned from the shelf again.

use std::path::Path;
use std::sync::Arc;

use campanile_format::control::Control;
use campanile_format::{EnvironmentId, Timeline, Utc, names};
use campanile_vfs::{FileLock, Host, LockMode};
use serde::{Deserialize, Serialize};

use crate::directory::Directory;
use crate::error::BackupError;
use crate::keep_mark::{KEEP, KeepMark};
use crate::log_pool::LogPool;
use crate::manifest::{MANIFEST, Manifest, join, read_label};
use crate::sealed::{seal, unseal};
use crate::shelf::{Shelf, put_small, read_small};

/// Says whose repository it is.
const IDENTITY: &str = "campanile.repository";
const BACKUPS: &str = "backup";
pub(crate) const LOGS: &str = "log";
const FORMAT: u32 = 1;
/// Whoever else works in it may be done soon.
const ATTEMPTS: u32 = 50;
const PAUSE_US: u64 = 100_000;

#[derive(Serialize, Deserialize)]
struct Identity {
    format: u32,
    environment: String,
}

/// A backup in a repository, or what is left of one.
#[derive(Clone, Debug)]
pub struct BackupFound {
    /// Its name, a timestamp.
    pub name: String,
    /// What it is; `None` if it was never completed.
    pub manifest: Option<Manifest>,
    /// Why it stays whatever the policy says, if somebody said so.
    pub mark: Option<KeepMark>,
}

/// Backups and archived log files.
#[derive(Clone, Debug)]
pub struct Repository {
    host: Host,
    shelf: Arc<dyn Shelf>,
    shown: String,
}

impl Repository {
    /// The repository in a directory, which is made by the first backup.
    #[must_use]
    pub fn in_directory(host: &Host, dir: &Path) -> Repository {
        let shelf = Arc::new(Directory::new(host, dir));
        Repository { host: host.clone(), shelf, shown: dir.display().to_string() }
    }

    /// Whether the directory is a repository.
    pub fn is_at(host: &Host, dir: &Path) -> Result<bool, BackupError> {
        let path = dir.join(IDENTITY);
        let there = host.vfs.exists(&path);
        there.map_err(|error| BackupError::io("look for", path.display().to_string(), error))
    }

    /// The shelf that it is on.
    #[must_use]
    pub fn shelf(&self) -> &Arc<dyn Shelf> {
        &self.shelf
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Whose repository it is; an error if it is none.
    pub fn environment_id(&self) -> Result<EnvironmentId, BackupError> {
        let text = self.environment()?;
        EnvironmentId::parse(&text).ok_or_else(|| BackupError::Damaged {
            file: self.shelf.shown(IDENTITY),
            why: format!("it names environment {text:?}, which is none"),
        })
    }

    /// Whose repository it is, as text; an error if it is none.
    pub fn environment(&self) -> Result<String, BackupError> {
        if !self.shelf.has(IDENTITY)? {
            let why = format!("is no repository: it has no file {IDENTITY}");
            return Err(BackupError::Place { dir: self.shown.clone(), why });
        }
        let identity: Identity = unseal(&read_small(&*self.shelf, IDENTITY)?)
            .map_err(|why| BackupError::Damaged { file: self.shelf.shown(IDENTITY), why })?;
        if identity.format != FORMAT {
            let why = format!("is of format {}: use a newer build", identity.format);
            return Err(BackupError::Place { dir: self.shown.clone(), why });
        }
        Ok(identity.environment)
    }

    /// Makes it the repository of this environment, or refuses if it is that of another.
    pub fn claim(&self, environment: EnvironmentId) -> Result<(), BackupError> {
        if self.shelf.has(IDENTITY)? {
            let theirs = self.environment()?;
            if theirs == environment.to_string() {
                return Ok(());
            }
            let why = format!("belongs to environment {theirs}: use another directory");
            return Err(BackupError::Place { dir: self.shown.clone(), why });
        }
        let _alone = self.lock(LockMode::Exclusive)?;
        // Somebody may have been first.
        if self.shelf.has(IDENTITY)? {
            return self.claim(environment);
        }
        if let Some(stranger) = self.shelf.list("")?.iter().find(|name| !name.ends_with(".lock")) {
            let why = format!("is no repository and holds {stranger}: give an empty directory");
            return Err(BackupError::Place { dir: self.shown.clone(), why });
        }
        let identity = Identity { format: FORMAT, environment: environment.to_string() };
        put_small(&*self.shelf, IDENTITY, seal(&identity).as_bytes())
    }

    /// Refuses the repository of another environment, or a directory that is none.
    pub fn claimed_by(&self, environment: EnvironmentId) -> Result<(), BackupError> {
        let theirs = self.environment()?;
        if theirs == environment.to_string() {
            return Ok(());
        }
        let why = format!("belongs to environment {theirs}, not to {environment}");
        Err(BackupError::Place { dir: self.shown.clone(), why })
    }

    /// Keeps others out, or with [`LockMode::Shared`] only those who change something.
    pub fn lock(&self, mode: LockMode) -> Result<Box<dyn FileLock>, BackupError> {
        for _ in 0..ATTEMPTS {
            if let Some(lock) = self.shelf.lock(mode)? {
                return Ok(lock);
            }
            self.host.clock.sleep_us(PAUSE_US);
        }
        Err(BackupError::Busy { dir: self.shown.clone() })
    }

    /// A name for a backup that begins now. Two in one second are told apart.
    pub(crate) fn free_name(&self) -> Result<String, BackupError> {
        let now = Utc(self.host.clock.now_us()).compact();
        let taken = self.shelf.list(BACKUPS)?;
        let more = (2u32..).map(|count| format!("{now}_{count:02}"));
        let mut names = std::iter::once(now.clone()).chain(more);
        Ok(names.find(|name| !taken.contains(name)).unwrap_or(now))
    }

    /// The backups, oldest first, those that were never completed among them.
    pub fn backups(&self) -> Result<Vec<BackupFound>, BackupError> {
        let all = self.names()?.into_iter().map(|name| self.backup(&name));
        let mut found = all.collect::<Result<Vec<_>, _>>()?;
        sort(&mut found);
        Ok(found)
    }

    /// Marks a complete backup: retention leaves it, what it is an increment of, and its log.
    /// `None` takes the mark away.
    pub fn mark(&self, name: &str, mark: Option<&KeepMark>) -> Result<(), BackupError> {
        self.environment()?;
        let _alone = self.lock(LockMode::Exclusive)?;
        let is_there = self.names()?.iter().any(|found| found == name);
        if !is_there || self.backup(name)?.manifest.is_none() {
            let why = format!("there is no complete backup {name:?} in the repository");
            return Err(BackupError::NoBackup { why });
        }
        match mark {
            Some(mark) => mark.write(&*self.shelf, &self.prefix(name)),
            None => self.shelf.remove(&join(&self.prefix(name), KEEP)),
        }
    }

    /// The backups whose manifests can be read, oldest first: one that is damaged does not keep
    /// the others from being restored.
    pub fn readable_backups(&self) -> Result<Vec<BackupFound>, BackupError> {
        let mut all = Vec::new();
        for name in self.names()? {
            match self.backup(&name) {
                Ok(found) => all.push(found),
                Err(error @ BackupError::Damaged { .. }) => {
                    tracing::warn!(backup = %name, %error, "a backup is passed over");
                }
                Err(error) => return Err(error),
            }
        }
        sort(&mut all);
        Ok(all)
    }

    /// The names of all backups, finished or not.
    pub fn names(&self) -> Result<Vec<String>, BackupError> {
        self.shelf.list(BACKUPS)
    }

    /// Whether it was completed.
    pub fn is_complete(&self, name: &str) -> Result<bool, BackupError> {
        self.shelf.has(&join(&self.prefix(name), MANIFEST))
    }

    /// One of them; an error if its manifest is damaged.
    pub fn backup(&self, name: &str) -> Result<BackupFound, BackupError> {
        let prefix = self.prefix(name);
        let manifest = match self.shelf.has(&join(&prefix, MANIFEST))? {
            true => Some(Manifest::read(&*self.shelf, &prefix)?),
            false => None,
        };
        let mark = KeepMark::read(&*self.shelf, &prefix)?;
        Ok(BackupFound { name: name.to_owned(), manifest, mark })
    }

    /// Where the files of a backup are.
    #[must_use]
    pub fn prefix(&self, name: &str) -> String {
        format!("{BACKUPS}/{name}")
    }

    /// The label of a backup.
    pub fn label(&self, name: &str) -> Result<Control, BackupError> {
        read_label(&*self.shelf, &self.prefix(name))
    }

    /// Where archived log files of a history are.
    #[must_use]
    pub fn archive_of(timeline: Timeline) -> String {
        format!("{LOGS}/{:010}", timeline.0)
    }

    /// All log files in it: of the archive, and of all backups, finished or not.
    pub fn pool(&self, environment: EnvironmentId) -> Result<LogPool, BackupError> {
        self.fill(LogPool::new(environment))
    }

    /// The same for whoever only reads: files that cannot be read are passed over, for there may
    /// be other copies of them.
    pub fn readable_pool(&self, environment: EnvironmentId) -> Result<LogPool, BackupError> {
        let mut pool = LogPool::new(environment);
        pool.pass_over_unreadable();
        self.fill(pool)
    }

    fn fill(&self, mut pool: LogPool) -> Result<LogPool, BackupError> {
        for timeline in self.shelf.list(LOGS)? {
            pool.gather(&self.shelf, &join(LOGS, &timeline))?;
        }
        for backup in self.shelf.list(BACKUPS)? {
            pool.gather(&self.shelf, &join(&self.prefix(&backup), names::LOG_DIR))?;
        }
        Ok(pool)
    }
}

/// Oldest first; those that were never completed before all.
fn sort(found: &mut [BackupFound]) {
    found.sort_by_key(|backup| {
        let started = backup.manifest.as_ref().map_or(0, |manifest| manifest.started_us);
        (started, backup.name.clone())
    });
}
