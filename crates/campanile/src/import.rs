//! Exports into an environment.
//!
//! Owns the call behind `campanile import`. Promises that an export is read and proven before
//! anything is changed, and again while it is loaded; that each database comes in one transaction,
//! whole or not at all; and that nothing is replaced unless that was asked for. Must never believe
//! a damaged export for as much as one pair.
//!
//! For an example see [`export`](crate::export).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use campanile_vfs::Host;
use serde::Serialize;

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Export, ExportedDatabase};
use crate::fingerprint::Content;
use crate::options::DatabaseOptions;
use crate::progress::Progress;
use crate::transaction::Transaction;

/// How an export is imported.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ImportOptions {
    /// Name in the export, and the name that it is given.
    only: BTreeMap<String, String>,
    replace: bool,
    progress: Progress,
}

impl ImportOptions {
    /// All databases, under their names, none of which may be taken.
    pub fn new() -> ImportOptions {
        ImportOptions::default()
    }

    /// Imports this database, and others only if they are named too.
    pub fn only(self, name: impl Into<String>) -> ImportOptions {
        let name = name.into();
        self.only_as(name.clone(), name)
    }

    /// Imports the database `name` as `new_name`, and others only if they are named too.
    pub fn only_as(
        mut self,
        name: impl Into<String>,
        new_name: impl Into<String>,
    ) -> ImportOptions {
        self.only.insert(name.into(), new_name.into());
        self
    }

    /// Whether a database that has the name of an imported one is dropped in the transaction that
    /// brings the imported one (default: no, it is an error).
    pub fn replace(mut self, replace: bool) -> ImportOptions {
        self.replace = replace;
        self
    }

    /// Who is told how far it is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> ImportOptions {
        self.progress = progress;
        self
    }

    /// Imports `export` into `env`.
    ///
    /// What was imported stays if a later database fails: the error says so, and the rest is
    /// imported by naming it. A key that is too long for the pages of `env` is an error.
    pub fn run(&self, env: &Environment, export: &Export) -> Result<ImportReport> {
        let selected = self.select(export)?;
        let there = env.databases(&env.snapshot()?)?;
        for (_, name) in &selected {
            if !self.replace && there.contains(name) {
                let what = format!(
                    "there is a database {name:?} already, nothing was imported: drop it, import \
                     under another name, or ask for it to be replaced (--replace)"
                );
                return Err(Error::new(ErrorKind::AlreadyExists, what));
            }
        }
        let databases: Vec<&ExportedDatabase> = selected.iter().map(|(one, _)| *one).collect();
        export.prove_some(&databases, &self.progress)?;
        let mut report = ImportReport::default();
        for (database, name) in selected {
            let loaded = env.run(|txn| self.load(env, txn, export, database, &name));
            let replaced = loaded.map_err(|error| after(error, &report))?;
            report.databases.push(ImportedDatabase {
                name,
                replaced,
                durable: database.durable,
                content: database.content,
            });
        }
        Ok(report)
    }

    /// Opens the export at `path` and imports it.
    pub fn run_on(&self, host: &Host, env: &Environment, path: &Path) -> Result<ImportReport> {
        self.run(env, &Export::open_on(host, path, &self.progress)?)
    }

    fn select<'e>(&self, export: &'e Export) -> Result<Vec<(&'e ExportedDatabase, String)>> {
        let manifest = export.manifest();
        if self.only.is_empty() {
            return Ok(manifest.databases.iter().map(|one| (one, one.name.clone())).collect());
        }
        let mut selected: Vec<(&ExportedDatabase, String)> = Vec::new();
        for (name, new_name) in &self.only {
            let Some(database) = manifest.database(name) else {
                let what = format!("there is no database {name:?} in {}", export.path().display());
                return Err(Error::new(ErrorKind::NotFound, what));
            };
            if selected.iter().any(|(_, taken)| taken == new_name) {
                let what = format!("two databases would be imported as {new_name:?}");
                return Err(Error::new(ErrorKind::InvalidArgument, what));
            }
            selected.push((database, new_name.clone()));
        }
        Ok(selected)
    }

    /// Brings a database in; true if it took the place of another.
    fn load(
        &self,
        env: &Environment,
        txn: &mut Transaction,
        export: &Export,
        database: &ExportedDatabase,
        name: &str,
    ) -> Result<bool> {
        let replaced = self.replace
            && match env.drop_database_in(txn, name) {
                Ok(()) => true,
                Err(error) if error.kind() == ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
        let options = DatabaseOptions::new().durable(database.durable).exclusive(true);
        let target = env.create_database_with(txn, name, options)?;
        let mut section = export.section(database, "import", &self.progress)?;
        target.bulk_load(txn, std::iter::from_fn(|| section.next().transpose()))?;
        if !section.is_over() {
            let what = format!("database {name:?} was not read to its end: nothing of it is kept");
            return Err(Error::new(ErrorKind::Internal, what));
        }
        Ok(replaced)
    }
}

/// A database that was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportedDatabase {
    /// Its name now.
    pub name: String,
    /// Whether it took the place of another.
    pub replaced: bool,
    /// Whether its content survives a crash.
    pub durable: bool,
    /// What it holds.
    #[serde(flatten)]
    pub content: Content,
}

/// What was imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// The databases, each committed.
    pub databases: Vec<ImportedDatabase>,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: u64 = self.databases.iter().map(|database| database.content.pairs).sum();
        write!(f, "{} databases, {pairs} pairs", self.databases.len())
    }
}

/// An error, with what was imported before it.
fn after(error: Error, report: &ImportReport) -> Error {
    if report.databases.is_empty() {
        return error;
    }
    let names: Vec<&str> = report.databases.iter().map(|one| one.name.as_str()).collect();
    let what = format!("{error}; imported before that, and kept: {}", names.join(", "));
    Error::because(error.kind(), what, error)
}
