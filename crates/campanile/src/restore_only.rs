//! Some databases as they were at a moment, brought into an environment that lives.
//!
//! Owns the order: the whole environment is restored to the moment in a scratch directory, and the
//! databases asked for are copied from there, pair by pair, each in one transaction. Promises that
//! nothing is written into the environment if a name is taken there or a database did not exist at
//! that moment; that each database is there whole or not at all, under its new name; and that what
//! others do in the environment meanwhile goes on. Must never write over a directory that it did
//! not make itself.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let (home, repository) = (dir.path().join("home"), dir.path().join("backups"));
//! use campanile::{Environment, Progress, backup};
//! use campanile::restore::{RestoreOnly, RestoreOptions};
//!
//! let env = Environment::open(&home)?;
//! let accounts = env.create_database("accounts")?;
//! env.run(|txn| accounts.put(txn, "alice", "100"))?;
//! backup::back_up(&home, &repository, &Progress::none())?;
//! env.run(|txn| accounts.delete(txn, "alice"))?; // a mistake, and the environment must stay up
//!
//! let only = RestoreOnly::new(RestoreOptions::new()).database_as("accounts", "accounts.before");
//! let report = only.into_environment(&repository, &env)?;
//! assert_eq!(report.databases[0].content.pairs, 1);
//! let before = env.open_database("accounts.before")?;
//! assert_eq!(before.get(&env.snapshot()?, "alice")?.as_deref(), Some(&b"100"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use campanile_format::names;
use campanile_vfs::{Background, FileLock, Host, LockMode, Open};
use serde::Serialize;

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::Content;
use crate::options::EnvironmentOptions;
use crate::progress::Progress;
use crate::restore::{RestoreOptions, RestoreReport};

/// In a scratch directory: it is one.
const MARK: &str = names::SCRATCH;
/// After the name of a home: its scratch directory, unless another is given.
const SCRATCH_SUFFIX: &str = ".restore-only";

/// Which databases to bring back, and from when.
#[derive(Clone, Debug)]
#[must_use]
pub struct RestoreOnly {
    restore: RestoreOptions,
    databases: Vec<(String, String)>,
    scratch: Option<PathBuf>,
    options: EnvironmentOptions,
    progress: Progress,
}

impl RestoreOnly {
    /// As of the moment that `restore` says: its target, its backup, its timeline, its logs.
    pub fn new(restore: RestoreOptions) -> RestoreOnly {
        RestoreOnly {
            restore,
            databases: Vec::new(),
            scratch: None,
            options: EnvironmentOptions::new(),
            progress: Progress::none(),
        }
    }

    /// This database, under its own name.
    pub fn database(self, name: impl Into<String>) -> RestoreOnly {
        let name = name.into();
        self.database_as(name.clone(), name)
    }

    /// This database, under another name.
    pub fn database_as(
        mut self,
        name: impl Into<String>,
        new_name: impl Into<String>,
    ) -> RestoreOnly {
        self.databases.push((name.into(), new_name.into()));
        self
    }

    /// Where the environment is restored to first (default: beside the home, with the suffix
    /// `.restore-only`): a missing or empty directory with room for all of it. It is removed when
    /// the databases are there.
    pub fn scratch(mut self, dir: impl Into<PathBuf>) -> RestoreOnly {
        self.scratch = Some(dir.into());
        self
    }

    /// Cache, log file size and the like, for the replay and for a home that is made.
    pub fn environment(mut self, options: EnvironmentOptions) -> RestoreOnly {
        self.restore = self.restore.environment(options.clone());
        self.options = options;
        self
    }

    /// Who is told how far it is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> RestoreOnly {
        self.restore = self.restore.progress(progress.clone());
        self.progress = progress;
        self
    }

    /// Brings the databases into an environment that this process has open, while it is used.
    pub fn into_environment(
        &self,
        repository: impl AsRef<Path>,
        env: &Environment,
    ) -> Result<RestoredDatabases> {
        let host = env.core().host.clone();
        self.bring(&host, repository.as_ref(), env)
    }

    /// Brings the databases into the home in a directory, which nobody has open; with `create`
    /// one is made if there is none.
    pub fn into_home(
        &self,
        repository: impl AsRef<Path>,
        home: impl AsRef<Path>,
        create: bool,
    ) -> Result<RestoredDatabases> {
        let home =
            std::path::absolute(home).map_err(|error| Error::io("finding the home", error))?;
        self.into_home_on(&Host::os(), repository.as_ref(), &home, create)
    }

    /// The same on another host.
    pub fn into_home_on(
        &self,
        host: &Host,
        repository: &Path,
        home: &Path,
        create: bool,
    ) -> Result<RestoredDatabases> {
        let options = self.options.clone().create(create);
        let env = Environment::open_on(host.clone(), home, options)?;
        let report = self.bring(host, repository, &env)?;
        env.close()?;
        Ok(report)
    }

    fn bring(
        &self,
        host: &Host,
        repository: &Path,
        env: &Environment,
    ) -> Result<RestoredDatabases> {
        self.check_names(env)?;
        let scratch = self.scratch.clone().unwrap_or_else(|| {
            let mut beside = env.home().as_os_str().to_owned();
            beside.push(SCRATCH_SUFFIX);
            PathBuf::from(beside)
        });
        let scratch = Scratch::prepare(host, &scratch)?;
        let restore =
            self.restore.clone().one_directory().run_on(host, repository, &scratch.dir)?;
        let quiet = Host { background: Background::Stepped, ..host.clone() };
        let options = self.options.clone().create(false);
        let source = Environment::open_on(quiet, &scratch.dir, options)?;
        let databases = self.copy(&source, env);
        source.abandon();
        let databases = databases?;
        scratch.remove()?;
        Ok(RestoredDatabases { home: env.home().display().to_string(), restore, databases })
    }

    /// Refuses before anything is written.
    fn check_names(&self, env: &Environment) -> Result<()> {
        if self.databases.is_empty() {
            let what = "say which databases to bring back";
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        let there = env.databases(&env.snapshot()?)?;
        let mut new = BTreeSet::new();
        for (_, name) in &self.databases {
            if there.contains(name) {
                let what = format!(
                    "there is a database {name:?} in {} already: give it another name \
                     (database=new name)",
                    env.home().display()
                );
                return Err(Error::new(ErrorKind::AlreadyExists, what));
            }
            if !new.insert(name) {
                let what = format!("two databases would be called {name:?}");
                return Err(Error::new(ErrorKind::InvalidArgument, what));
            }
        }
        Ok(())
    }

    fn copy(&self, source: &Environment, env: &Environment) -> Result<Vec<RestoredDatabase>> {
        let from = source.snapshot()?;
        let there = source.databases(&from)?;
        if let Some((missing, _)) = self.databases.iter().find(|(name, _)| !there.contains(name)) {
            let what = format!(
                "there was no database {missing:?} at that moment; there were: {}",
                there.join(", ")
            );
            return Err(Error::new(ErrorKind::NotFound, what));
        }
        let mut done = Vec::new();
        for (name, new_name) in &self.databases {
            let mut txn = env.begin()?;
            let content =
                source.copy_database(&from, name, env, &mut txn, new_name, &self.progress)?;
            txn.commit()?;
            done.push(RestoredDatabase { name: name.clone(), new_name: new_name.clone(), content });
        }
        Ok(done)
    }
}

/// A directory for an environment that nobody keeps.
struct Scratch {
    host: Host,
    dir: PathBuf,
    /// Nobody else uses it meanwhile.
    _alone: Option<Box<dyn FileLock>>,
}

impl Scratch {
    /// Makes it, or empties what an earlier attempt left.
    fn prepare(host: &Host, dir: &Path) -> Result<Scratch> {
        let failed = |error| Error::io(format!("preparing {}", dir.display()), error);
        let found = match host.vfs.list(dir) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let ours = found.iter().any(|name| name == MARK);
        if !ours && !found.is_empty() {
            let what = format!(
                "{} is needed for the restore and is not empty: move it away, or give another \
                 scratch directory",
                dir.display()
            );
            return Err(Error::new(ErrorKind::AlreadyExists, what));
        }
        host.vfs.create_dir(dir).map_err(failed)?;
        let alone = host.vfs.lock(&dir.join(MARK), LockMode::Exclusive).map_err(failed)?;
        if alone.is_none() {
            let what = format!("{} is being used by another restore", dir.display());
            return Err(Error::new(ErrorKind::Locked, what));
        }
        let scratch = Scratch { host: host.clone(), dir: dir.to_owned(), _alone: alone };
        scratch.clear()?;
        let mark = host.vfs.open(&dir.join(MARK), Open::OpenOrCreate).map_err(failed)?;
        mark.sync_data().map_err(failed)?;
        host.vfs.sync_dir(dir).map_err(failed)?;
        Ok(scratch)
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(format!("removing {}", self.dir.display()), error)
    }

    /// Removes everything but the mark.
    fn clear(&self) -> Result<()> {
        let failed = |error| self.failed(error);
        let vfs = &*self.host.vfs;
        for under in [names::DATA_DIR, names::LOG_DIR] {
            let under = self.dir.join(under);
            if vfs.exists(&under).map_err(failed)? {
                for name in vfs.list(&under).map_err(failed)? {
                    vfs.remove(&under.join(name)).map_err(failed)?;
                }
                vfs.remove_dir(&under).map_err(failed)?;
            }
        }
        let rest = vfs.list(&self.dir).map_err(failed)?;
        for name in rest.iter().filter(|name| *name != MARK) {
            vfs.remove(&self.dir.join(name)).map_err(failed)?;
        }
        Ok(())
    }

    /// Removes all of it, the mark last.
    fn remove(self) -> Result<()> {
        self.clear()?;
        let vfs = &*self.host.vfs;
        vfs.remove(&self.dir.join(MARK)).map_err(|error| self.failed(error))?;
        vfs.remove_dir(&self.dir).map_err(|error| self.failed(error))
    }
}

/// A database that was brought back.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RestoredDatabase {
    /// Its name at that moment.
    pub name: String,
    /// Its name now.
    pub new_name: String,
    /// What is in it: counted and summed up when it was read, and again after it was written.
    pub content: Content,
}

/// What [`RestoreOnly`] did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RestoredDatabases {
    /// Where the databases are now.
    pub home: String,
    /// The restore that they came from.
    pub restore: RestoreReport,
    /// The databases.
    pub databases: Vec<RestoredDatabase>,
}

impl fmt::Display for RestoredDatabases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "brought into {} as of {}:", self.home, self.restore.stop)?;
        writeln!(f, "  last in   {}", self.restore.last_commit.as_deref().unwrap_or("none"))?;
        for one in &self.databases {
            writeln!(f, "  {} as {}: {}", one.name, one.new_name, one.content)?;
        }
        Ok(())
    }
}
