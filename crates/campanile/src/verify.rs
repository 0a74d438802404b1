//! Checks of a whole environment: every database, and the files of the home.
//!
//! Owns what is compared with what: trees with themselves, catalog and graveyard with the files.
//! Promises that damage is reported in full and never changed, and that a check runs on one state:
//! writers wait meanwhile. Must never stop at the first finding.

use std::collections::{BTreeMap, BTreeSet};

use campanile_btree::buried_file;
use campanile_format::FileId;
use campanile_format::record::Undo;
use campanile_txn::{Txn, TxnOptions};
use serde::Serialize;

use crate::catalog::Row;
use crate::core::Core;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::{catalog, causes};

/// How long a check waits for a writer to end before it gives up, so that a caller who has a
/// transaction open himself learns of it.
const LOCK_TIMEOUT_US: u64 = 30_000_000;

/// What is checked.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct VerifyOptions {
    databases: Vec<String>,
    progress: Progress,
}

impl VerifyOptions {
    /// Everything.
    pub fn new() -> VerifyOptions {
        VerifyOptions::default()
    }

    /// Only this database, and others that are named.
    pub fn database(mut self, name: impl Into<String>) -> VerifyOptions {
        self.databases.push(name.into());
        self
    }

    /// Who is told how far the check is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> VerifyOptions {
        self.progress = progress;
        self
    }
}

/// What was found in one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifiedDatabase {
    /// Its name.
    pub name: String,
    /// Whether anything is wrong with it.
    pub damaged: bool,
    /// Entries that could be read.
    pub entries: u64,
    /// Pages that could be read.
    pub pages: u64,
}

/// What [`Environment::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The databases that were checked.
    pub databases: Vec<VerifiedDatabase>,
    /// Damage, one sentence each; empty if all is well.
    pub damage: Vec<String>,
    /// Findings beyond those that are listed.
    pub more_damage: u64,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.more_damage == 0
    }
}

impl Environment {
    /// Checks every page of every database, and the files of the home against the catalog.
    ///
    /// Waits for running writers to end, not for transactions that are prepared, and writers wait
    /// until it is done. Damage is not an error of this call but what it reports.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let env = campanile::Environment::open(dir.path())?;
    /// env.create_database("accounts")?;
    /// let report = env.verify()?;
    /// assert!(report.is_clean(), "{:?}", report.damage);
    /// assert_eq!(report.databases[0].name, "accounts");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(&VerifyOptions::new())
    }

    /// Checks what the options say.
    pub fn verify_with(&self, options: &VerifyOptions) -> Result<VerifyReport> {
        let core = self.core();
        core.check_open()?;
        core.gate.enter()?;
        let result = check(self, options);
        core.gate.leave();
        result
    }
}

fn check(env: &Environment, options: &VerifyOptions) -> Result<VerifyReport> {
    let core = env.core();
    let _no_cleaning = core.cleaning.lock();
    let mut waiting = TxnOptions::default();
    // A check is rare and long: rather the others give way.
    waiting.priority = u32::MAX;
    waiting.label = "verification".to_owned();
    waiting.lock_timeout_us =
        Some(core.options.lock_timeout.map_or(LOCK_TIMEOUT_US, |timeout| {
            u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX)
        }));
    let mut txn = core.txns.begin(waiting).map_err(causes::txn)?;
    let result = Check { core, txn: &mut txn, report: VerifyReport::default() }.run(env, options);
    core.txns.abort(txn).map_err(causes::txn)?;
    result
}

struct Check<'e> {
    core: &'e Core,
    /// Holds off the writers.
    txn: &'e mut Txn,
    report: VerifyReport,
}

impl Check<'_> {
    fn run(mut self, env: &Environment, options: &VerifyOptions) -> Result<VerifyReport> {
        // In the order in which those lock who make and drop databases.
        self.hold_off_writers(FileId::CATALOG)?;
        let snapshot = env.snapshot()?;
        let rows = catalog::list(crate::view::View::Snapshot(&snapshot));
        for (_, row) in rows.iter().flatten() {
            self.hold_off_writers(row.file)?;
        }
        self.hold_off_writers(FileId::GRAVEYARD)?;
        if options.databases.is_empty() {
            self.tree("the catalog", FileId::CATALOG)?;
            self.tree("the graveyard", FileId::GRAVEYARD)?;
        }
        let rows = match rows {
            Ok(rows) => rows,
            // Said already, by the check of the catalog's own tree.
            Err(error) if error.is_corruption() => {
                self.report.damage.push(error.to_string());
                return Ok(self.report);
            }
            Err(error) => return Err(error),
        };
        if options.databases.is_empty() {
            self.files(&rows)?;
        }
        let chosen = choose(&rows, &options.databases)?;
        for (done, (name, row)) in chosen.iter().enumerate() {
            options.progress.report(
                "verify",
                done as u64,
                Some(chosen.len() as u64),
                "databases",
            )?;
            let (before, more) = (self.report.damage.len(), self.report.more_damage);
            let (entries, pages) = self.tree(&format!("database {name:?}"), row.file)?;
            let damaged = self.report.damage.len() > before || self.report.more_damage > more;
            let verified = VerifiedDatabase { name: (*name).clone(), damaged, entries, pages };
            self.report.databases.push(verified);
        }
        let all = chosen.len() as u64;
        options.progress.report("verify", all, Some(all), "databases")?;
        Ok(self.report)
    }

    /// Locks a file, so that nobody writes there until the check is over. Waits for everybody who
    /// does to end, but not for transactions that are prepared.
    fn hold_off_writers(&mut self, file: FileId) -> Result<()> {
        let locked = self.core.txns.stop_changes(self.txn, file);
        locked.map_err(|error| self.core.explain_lock(causes::txn(error)))
    }

    /// Checks one tree; returns its entries and pages.
    fn tree(&mut self, what: &str, file: FileId) -> Result<(u64, u64)> {
        let found = match self.core.tree(file).verify() {
            Ok(found) => found,
            Err(error) => {
                let error = causes::tree(error);
                if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) {
                    return Err(error);
                }
                self.report.damage.push(format!("{what}: {error}"));
                return Ok((0, 0));
            }
        };
        for finding in &found.findings {
            self.report.damage.push(format!("{what}: {}: {}", finding.page, finding.what));
        }
        self.report.more_damage += found.more_findings;
        if found.incomplete {
            let what = format!("{what}: part of it could not be read; pages may be lost behind it");
            self.report.damage.push(what);
        }
        let stats = &found.stats;
        let pages =
            stats.leaf_pages + stats.inner_pages + stats.overflow_pages + stats.map_pages + 1;
        Ok((stats.entries, pages))
    }

    /// Compares the files there are with those that the catalog and the graveyard know.
    fn files(&mut self, rows: &[(String, Row)]) -> Result<()> {
        let there: BTreeSet<FileId> =
            self.core.txns.store().files().map_err(causes::store)?.into_iter().collect();
        let mut known = BTreeMap::new();
        known.insert(FileId::CATALOG, "the catalog".to_owned());
        known.insert(FileId::GRAVEYARD, "the graveyard".to_owned());
        for (name, row) in rows {
            let name = format!("database {name:?}");
            if let Some(other) = known.insert(row.file, name.clone()) {
                let file = row.file;
                self.report.damage.push(format!("{name} and {other} claim data file {file}"));
            }
        }
        let dying = self.files_to_remove()?;
        let undecided = self.undecided_files()?;
        for (file, name) in &known {
            if !there.contains(file) {
                self.report.damage.push(format!("{name}: its data file {file} is missing"));
            }
            if dying.contains(file) && !undecided.contains(file) {
                self.report.damage.push(format!("{name}: its data file {file} is to be removed"));
            }
        }
        for file in &there {
            let expected = known.contains_key(file) || dying.contains(file);
            if !expected && !undecided.contains(file) {
                self.report.damage.push(format!("data file {file} belongs to no database"));
            }
        }
        Ok(())
    }

    /// Files that prepared transactions have made or given up: whether they belong to a database is
    /// not decided.
    fn undecided_files(&self) -> Result<BTreeSet<FileId>> {
        let txns = &self.core.txns;
        let mut files = BTreeSet::new();
        for known in txns.prepared() {
            let changes = txns.prepared_changes(known.id, &mut |undo| match undo {
                Undo::CreateFile { file } => drop(files.insert(*file)),
                Undo::Insert { file: FileId::GRAVEYARD, key } => files.extend(buried_file(key)),
                _ => {}
            });
            changes.map_err(causes::txn)?;
        }
        Ok(files)
    }

    /// Files of dropped databases, which go as soon as no snapshot reads them.
    fn files_to_remove(&self) -> Result<BTreeSet<FileId>> {
        match self.core.forest.buried_files(&self.core.txns).map_err(causes::tree) {
            // Said already, by the check of the graveyard's own tree.
            Err(error) if error.is_corruption() => Ok(BTreeSet::new()),
            result => result,
        }
    }
}

fn choose<'r>(rows: &'r [(String, Row)], names: &[String]) -> Result<Vec<&'r (String, Row)>> {
    if names.is_empty() {
        return Ok(rows.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            rows.iter().find(|(known, _)| known == name).ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("there is no database {name:?}"))
            })
        })
        .collect()
}
