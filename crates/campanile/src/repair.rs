//! Repairing a home: damaged pages and data files, built anew from a backup and the log.
//!
//! Owns what is repaired and in which order. Promises that a repair which is cut short, wherever,
//! leaves the home either as damaged as it was or repaired, and can be run again; that what was
//! committed is there afterwards, all of it, and nothing else; and that whatever cannot be repaired
//! is left as it is, and said. Must never repair a home that somebody has open.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let (home, repository) = (dir.path().join("home"), dir.path().join("backups"));
//! use campanile::{Environment, Progress, backup, repair::RepairOptions};
//!
//! let env = Environment::open(&home)?;
//! let accounts = env.create_database("accounts")?;
//! env.run(|txn| accounts.put(txn, "alice", "100"))?;
//! backup::back_up(&home, &repository, &Progress::none())?;
//! env.run(|txn| accounts.put(txn, "bob", "200"))?; // after the backup: the log has it
//! env.close()?;
//!
//! std::fs::remove_file(home.join("data/data.0000000016"))?;
//! let report = RepairOptions::new().all().repository(&repository).run(&home)?;
//! assert_eq!(report.repaired[0].database.as_deref(), Some("accounts"));
//!
//! let env = Environment::open(&home)?;
//! let accounts = env.open_database("accounts")?;
//! assert_eq!(accounts.get(&env.snapshot()?, "bob")?.as_deref(), Some(&b"200"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_backup::ArchiveNote;
use campanile_format::{FileId, PageNo, names};
use campanile_vfs::{Host, Vfs};
use campanile_wal::ControlFile;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::options::{EnvironmentOptions, PAGE_BYTES_MIN_TEST};
use crate::overlay::OverlayVfs;
use crate::progress::Progress;
use crate::repair_build::{Built, Order, Workshop};
use crate::repair_survey::Survey;
use crate::{Lsn, causes, owner, start};

/// What to repair, and from what.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RepairOptions {
    pages: BTreeMap<FileId, BTreeSet<PageNo>>,
    files: BTreeSet<FileId>,
    databases: Vec<String>,
    all: bool,
    repository: Option<PathBuf>,
    logs: Vec<PathBuf>,
    dry_run: bool,
    options: EnvironmentOptions,
    progress: Progress,
}

impl RepairOptions {
    /// Nothing yet: say what.
    pub fn new() -> RepairOptions {
        RepairOptions::default()
    }

    /// Builds one page anew: the number of the data file, as in `data.0000000016`, and of the
    /// page, as error messages name both. Nothing else of the file is read or written.
    pub fn page(mut self, file: u32, page: u32) -> RepairOptions {
        self.pages.entry(FileId(file)).or_default().insert(PageNo(page));
        self
    }

    /// Builds a whole data file anew, whatever is there now.
    pub fn file(mut self, file: u32) -> RepairOptions {
        self.files.insert(FileId(file));
        self
    }

    /// Builds the data file of a database anew.
    pub fn database(mut self, name: impl Into<String>) -> RepairOptions {
        self.databases.push(name.into());
        self
    }

    /// Looks for everything that is damaged or missing, as verification does, and builds each data
    /// file anew in which something is found.
    pub fn all(mut self) -> RepairOptions {
        self.all = true;
        self
    }

    /// The repository with the backups of this environment, and its archived log (default: the
    /// archive of the home, if it has one; else only what the log alone brings back).
    pub fn repository(mut self, dir: impl Into<PathBuf>) -> RepairOptions {
        self.repository = Some(dir.into());
        self
    }

    /// A directory with more log files. Names do not matter, duplicates do no harm.
    pub fn logs(mut self, dir: impl Into<PathBuf>) -> RepairOptions {
        self.logs.push(dir.into());
        self
    }

    /// Does all of it in memory, and writes nothing (default: no).
    pub fn dry_run(mut self, dry_run: bool) -> RepairOptions {
        self.dry_run = dry_run;
        self
    }

    /// Cache, log file size and the like for the replay.
    pub fn environment(mut self, options: EnvironmentOptions) -> RepairOptions {
        self.options = options;
        self
    }

    /// Who is told how far it is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> RepairOptions {
        self.progress = progress;
        self
    }

    /// Repairs the home, which nobody may have open.
    pub fn run(&self, home: impl AsRef<Path>) -> Result<RepairReport> {
        let home =
            std::path::absolute(home).map_err(|error| Error::io("finding the home", error))?;
        self.run_on(&Host::os(), &home)
    }

    /// The same on another host.
    pub fn run_on(&self, host: &Host, home: &Path) -> Result<RepairReport> {
        self.options.check(PAGE_BYTES_MIN_TEST)?;
        if !self.all && self.pages.is_empty() && self.files.is_empty() && self.databases.is_empty()
        {
            let what = "say what to repair: a page, a file, a database, or all that is damaged";
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        // Not a home at all: said before the lock makes a file in it.
        ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
        let _alone = match self.dry_run {
            true => owner::share(host, home)?,
            false => Some(owner::take(host, home)?),
        };
        start::refuse_unfinished(host, home)?;
        let disk = host;
        let mut over = host.clone();
        if self.dry_run {
            let vfs: Arc<dyn Vfs> = Arc::new(OverlayVfs::new(Arc::clone(&host.vfs)));
            over.vfs = vfs;
        }
        let repository = match &self.repository {
            Some(dir) => Some(dir.clone()),
            None => {
                ArchiveNote::read(disk, home).map_err(causes::backup)?.map(|note| note.directory())
            }
        };
        let sources = (repository.as_deref(), &*self.logs);
        let how = start::open_options(&self.options);
        let workshop = Workshop::open(disk, &over, home, sources, how, &self.progress)?;
        let report = RepairReport {
            home: home.display().to_string(),
            repository: repository.map(|dir| dir.display().to_string()),
            log_end: workshop.log_end(),
            dry_run: self.dry_run,
            repaired: Vec::new(),
            left: Vec::new(),
        };
        let run = Run { options: self, host: &over, home, workshop, report };
        run.repair()
    }
}

/// A repair that is under way.
struct Run<'r> {
    options: &'r RepairOptions,
    host: &'r Host,
    home: &'r Path,
    workshop: Workshop<'r>,
    report: RepairReport,
}

impl Run<'_> {
    fn repair(mut self) -> Result<RepairReport> {
        let asked = "asked for".to_owned();
        let mut files = self.options.files.clone();
        let names_wanted = !self.options.all;
        let known = if names_wanted { self.survey(false) } else { Ok(Survey::default()) };
        if !self.options.databases.is_empty() {
            files.extend(self.files_of(known.as_ref())?);
        }
        let known = known.unwrap_or_default();
        for (file, pages) in &self.options.pages {
            let order = Order { file: *file, pages: Some(pages), volatile: false };
            self.one(order, &known, asked.clone())?;
        }
        for file in files {
            let volatile = known.is_volatile(file);
            self.one(Order { file, pages: None, volatile }, &known, asked.clone())?;
        }
        if self.options.all {
            self.all_that_is_damaged()?;
        }
        Ok(self.report)
    }

    fn survey(&self, thorough: bool) -> Result<Survey> {
        let (options, progress) = (&self.options.options, &self.options.progress);
        Survey::take(self.host, self.home, options, thorough, progress)
    }

    /// The data files of the databases that were named.
    fn files_of(&self, known: Result<&Survey, &Error>) -> Result<Vec<FileId>> {
        let known = known.map_err(|error| {
            let what = format!("the catalog cannot be read: {error}");
            Error::new(error.kind(), what)
        })?;
        let file_of = |name: &String| {
            if let Some(row) = known.databases.get(name) {
                return Ok(row.file);
            }
            match known.damaged.first_key_value() {
                Some((file, why)) if !known.complete => {
                    let what = format!(
                        "which data file holds database {name:?} is not known before data file \
                         {file} is repaired ({why}): repair that first (--file {file}), or all \
                         that is damaged (--all)"
                    );
                    Err(Error::new(ErrorKind::Corrupt, what))
                }
                _ => {
                    let what = format!("there is no database {name:?}");
                    Err(Error::new(ErrorKind::NotFound, what))
                }
            }
        };
        self.options.databases.iter().map(file_of).collect()
    }

    fn one(&mut self, order: Order<'_>, known: &Survey, damage: String) -> Result<()> {
        let built = self.workshop.rebuild(order)?;
        let Built { base, from, rebuilt, differed } = built;
        tracing::info!(file = %order.file, ?base, %from, differed, "rebuilt");
        self.report.repaired.push(Repaired {
            file: order.file.0,
            name: names::data_file(order.file),
            database: known.database_in(order.file).map(str::to_owned),
            pages: order.pages.into_iter().flatten().map(|page| page.0).collect(),
            damage,
            backup: base,
            from,
            changes: rebuilt.counts.applied,
            durable: rebuilt.durable,
            differed,
        });
        Ok(())
    }

    /// One damaged file can hide another: recovery stops at the first.
    fn all_that_is_damaged(&mut self) -> Result<()> {
        let mut tried = BTreeSet::new();
        loop {
            let found = self.survey(true)?;
            for repaired in &mut self.report.repaired {
                let name = found.database_in(FileId(repaired.file)).map(str::to_owned);
                repaired.database = repaired.database.take().or(name);
            }
            self.report.left.clear();
            let mut progressed = false;
            for (file, damage) in &found.damaged {
                let (file, damage) = (*file, damage.clone());
                let volatile = found.is_volatile(file);
                let order = Order { file, pages: None, volatile };
                if !tried.insert(file) {
                    self.leave(file, &found, damage, "it was built anew and is damaged still");
                    continue;
                }
                match self.one(order, &found, damage.clone()) {
                    Ok(()) => progressed = true,
                    Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                    Err(error) => self.leave(file, &found, damage, &error.to_string()),
                }
            }
            if !progressed {
                return Ok(());
            }
        }
    }

    fn leave(&mut self, file: FileId, known: &Survey, damage: String, why: &str) {
        self.report.left.push(Left {
            file: file.0,
            name: names::data_file(file),
            database: known.database_in(file).map(str::to_owned),
            damage,
            why: why.to_owned(),
        });
    }
}

/// A data file, or pages of one, that was built anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Repaired {
    /// The number of the data file.
    pub file: u32,
    /// Its name in the home.
    pub name: String,
    /// The database in it, if that is known; its own databases have no name.
    pub database: Option<String>,
    /// The pages, if not all of the file was built anew.
    pub pages: Vec<u32>,
    /// What was wrong.
    pub damage: String,
    /// The backup that it was built on; `None`: the log has all of its history.
    pub backup: Option<String>,
    /// The log was replayed from here.
    #[serde(serialize_with = "crate::inspect::lsn_as_text")]
    pub from: Lsn,
    /// Changes that were replayed.
    pub changes: u64,
    /// Whether its changes are in the log. If not, the database is empty now.
    pub durable: bool,
    /// False if the pages asked for were in good order already.
    pub differed: bool,
}

/// A damaged data file that could not be built anew: it is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Left {
    /// The number of the data file.
    pub file: u32,
    /// Its name in the home.
    pub name: String,
    /// The database in it, if that is known.
    pub database: Option<String>,
    /// What is wrong with it.
    pub damage: String,
    /// Why it could not be built anew.
    pub why: String,
}

/// What a repair did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RepairReport {
    /// The home.
    pub home: String,
    /// Where the backups are.
    pub repository: Option<String>,
    /// Everything up to here is in what was built.
    #[serde(serialize_with = "crate::inspect::lsn_as_text")]
    pub log_end: Lsn,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// What was built anew.
    pub repaired: Vec<Repaired>,
    /// What is damaged still.
    pub left: Vec<Left>,
}

impl RepairReport {
    /// Whether nothing is left damaged of what was found.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.left.is_empty()
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.dry_run { "would rebuild" } else { "rebuilt" };
        if self.repaired.is_empty() && self.left.is_empty() {
            return writeln!(f, "{}: nothing is damaged", self.home);
        }
        for one in &self.repaired {
            write!(f, "{verb} {}", one.name)?;
            if !one.pages.is_empty() {
                let pages: Vec<_> = one.pages.iter().map(u32::to_string).collect();
                write!(f, " page {}", pages.join(", "))?;
            }
            if let Some(name) = &one.database {
                write!(f, " (database {name:?})")?;
            }
            writeln!(f)?;
            writeln!(f, "  damage    {}", one.damage)?;
            match &one.backup {
                Some(name) => {
                    writeln!(f, "  from      backup {name} and the log from {}", one.from)?
                }
                None => writeln!(f, "  from      the log alone, from {}", one.from)?,
            }
            writeln!(
                f,
                "  to        {}, the end of the log; {} changes",
                self.log_end, one.changes
            )?;
            if !one.durable {
                writeln!(
                    f,
                    "  empty     the database is not durable: its content is not in the log"
                )?;
            }
            if !one.differed {
                writeln!(f, "  note      it was in good order: nothing was written")?;
            }
        }
        for one in &self.left {
            write!(f, "NOT rebuilt: {}", one.name)?;
            if let Some(name) = &one.database {
                write!(f, " (database {name:?})")?;
            }
            writeln!(f, "\n  damage    {}\n  why       {}", one.damage, one.why)?;
        }
        Ok(())
    }
}
