//! What of a home is damaged: found by opening it in memory, and checking all of it there.
//!
//! Owns [`Survey`]. Promises that nothing of the home is written: recovery itself runs, over a
//! layer that keeps all changes in memory. Must never take a home for sound that could not be
//! opened.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use campanile_format::FileId;
use campanile_vfs::{Background, Host, Vfs};

use crate::catalog::{self, Row};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::options::EnvironmentOptions;
use crate::overlay::OverlayVfs;
use crate::progress::Progress;
use crate::start::{self, Way};
use crate::view::View;
use crate::{causes, place};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The damaged data files, and what is wrong with each.
    pub damaged: BTreeMap<FileId, String>,
    /// The databases, as far as the catalog could be read.
    pub databases: BTreeMap<String, Row>,
    /// Whether the home could be opened. If not, there may be more.
    pub complete: bool,
}

impl Survey {
    /// The database in a file, if it is known.
    pub fn database_in(&self, file: FileId) -> Option<&str> {
        let found = self.databases.iter().find(|(_, row)| row.file == file);
        found.map(|(name, _)| name.as_str())
    }

    /// Whether the catalog says that the changes of a file are not in the log.
    pub fn is_volatile(&self, file: FileId) -> bool {
        self.databases.values().any(|row| row.file == file && !row.durable)
    }

    /// Looks at the home, whose lock the caller holds. What is not damage of a data file (a log
    /// that is damaged, a control file) is an error: no repair of pages helps there.
    pub fn take(
        host: &Host,
        home: &Path,
        options: &EnvironmentOptions,
        thorough: bool,
        progress: &Progress,
    ) -> Result<Survey> {
        let vfs: Arc<dyn Vfs> = Arc::new(OverlayVfs::new(Arc::clone(&host.vfs)));
        let host = Host { vfs, background: Background::Stepped, ..host.clone() };
        let options = options.clone().create(false).read_only(true).progress(progress.clone());
        let mut survey = Survey::default();
        match start::open(host, home, options, None, Way::Normal) {
            Ok(started) => {
                let env = Environment::wrap(started);
                survey.complete = true;
                let looked = survey.look(&env, thorough, progress);
                env.abandon();
                looked?;
            }
            Err(error) => {
                survey.note(None, error)?;
            }
        }
        Ok(survey)
    }

    fn look(&mut self, env: &Environment, thorough: bool, progress: &Progress) -> Result<()> {
        for file in [FileId::CATALOG, FileId::GRAVEYARD] {
            self.check(env, file, thorough)?;
        }
        let snapshot = env.snapshot()?;
        match catalog::list(View::Snapshot(&snapshot)) {
            Ok(rows) => self.databases = rows.into_iter().collect(),
            Err(error) => self.note(Some(FileId::CATALOG), error)?,
        }
        // What is wrong with these shows in every other tree: first they are repaired.
        if !self.damaged.is_empty() {
            self.complete = false;
            return Ok(());
        }
        let files: Vec<FileId> = self.databases.values().map(|row| row.file).collect();
        for (done, file) in files.iter().enumerate() {
            progress.report(
                "looking for damage",
                done as u64,
                Some(files.len() as u64),
                "databases",
            )?;
            self.check(env, *file, thorough)?;
        }
        Ok(())
    }

    fn check(&mut self, env: &Environment, file: FileId, thorough: bool) -> Result<()> {
        let core = env.core();
        match core.txns.store().open_file(file) {
            Ok(true) => {}
            Ok(false) => {
                self.damaged.entry(file).or_insert_with(|| "the data file is missing".to_owned());
                return Ok(());
            }
            Err(error) => return self.note(Some(file), causes::store(error)),
        }
        if !thorough {
            return Ok(());
        }
        match core.tree(file).verify() {
            Ok(found) => {
                for finding in &found.findings {
                    let what = || format!("{}: {}", finding.page, finding.what);
                    self.damaged.entry(finding.page.file).or_insert_with(what);
                }
                Ok(())
            }
            Err(error) => self.note(Some(file), causes::tree(error)),
        }
    }

    /// Takes note of an error, if it is damage of a data file.
    fn note(&mut self, file: Option<FileId>, error: Error) -> Result<()> {
        let damage = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound);
        let file = place::of(&error).map(|place| place.file).or(file);
        let Some(file) = file.filter(|_| damage) else { return Err(error) };
        self.damaged.entry(file).or_insert_with(|| error.to_string());
        Ok(())
    }
}
