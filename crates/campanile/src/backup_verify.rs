//! Proving a repository: every file of its backups, every record of their log, and on request a
//! restore of each that is checked and thrown away.
//!
//! Owns the proof behind `campanile verify-backup`. Promises (B18) that all damage is named, and
//! that nothing is called sound which was not read. Must never change anything in the repository.

use std::fmt;
use std::path::{Path, PathBuf};

use campanile_backup::{Finding, LogPool, LogProof, Repository};
use campanile_format::control::Control;
use campanile_format::{EnvironmentId, Timeline, Utc};
use campanile_recovery::{RecoveryError, Target, examine};
use campanile_vfs::{Host, LockMode};
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::options::EnvironmentOptions;
use crate::progress::Progress;
use crate::restore::RestoreOptions;
use crate::scratch::Scratch;
use crate::{Environment, VerifyOptions, backup, causes};

/// What is proven.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let (home, repository) = (dir.path().join("home"), dir.path().join("backups"));
/// # let scratch = dir.path().join("scratch");
/// use campanile::backup::{self, VerifyBackupOptions};
/// use campanile::{Environment, Progress};
///
/// let env = Environment::open(&home)?;
/// env.create_database("accounts")?;
/// backup::back_up(&home, &repository, &Progress::none())?;
///
/// let proof = VerifyBackupOptions::new().restore(&scratch).run(&repository)?;
/// assert!(proof.is_clean(), "{proof}");
/// assert!(!scratch.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct VerifyBackupOptions {
    backup: Option<String>,
    restore: Option<PathBuf>,
    options: EnvironmentOptions,
    progress: Progress,
}

impl VerifyBackupOptions {
    /// Every complete backup in the repository, and all of its log; nothing is restored.
    pub fn new() -> VerifyBackupOptions {
        VerifyBackupOptions::default()
    }

    /// Only this backup, and its log.
    pub fn backup(mut self, name: impl Into<String>) -> VerifyBackupOptions {
        self.backup = Some(name.into());
        self
    }

    /// Restores each backup to the end of its log too, in `dir`, which must be empty or missing,
    /// checks the structure of every database, and removes what it wrote. What is not sound is
    /// left there to be looked at; the next run removes it.
    pub fn restore(mut self, dir: impl Into<PathBuf>) -> VerifyBackupOptions {
        self.restore = Some(dir.into());
        self
    }

    /// Cache, log file size and the like for the restores.
    pub fn environment(mut self, options: EnvironmentOptions) -> VerifyBackupOptions {
        self.options = options;
        self
    }

    /// Who is told how far it is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> VerifyBackupOptions {
        self.progress = progress;
        self
    }

    /// Proves `repository`. Nothing is pruned there meanwhile, and no backup begins.
    pub fn run(&self, repository: impl AsRef<Path>) -> Result<BackupProof> {
        self.run_on(&Host::os(), repository.as_ref())
    }

    /// The same on another host.
    pub fn run_on(&self, host: &Host, repository: &Path) -> Result<BackupProof> {
        let shelves = Repository::in_directory(host, repository);
        let environment = shelves.environment_id().map_err(causes::backup)?;
        let scratch = self.restore.as_deref().map(|dir| {
            let dir = std::path::absolute(dir).map_err(|e| Error::io("finding the scratch", e))?;
            Scratch::open(host, &dir)
        });
        let scratch = scratch.transpose()?;
        let mut proof = match (self.read(&shelves, environment, repository), &scratch) {
            (Ok(proof), _) => proof,
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) => {
                scratch.map(Scratch::remove).transpose()?;
                return Err(error);
            }
        };
        if let Some(scratch) = scratch {
            self.try_all(host, repository, &scratch, &mut proof)?;
            match proof.restores.iter().all(|trial| trial.findings.is_empty()) {
                true => scratch.remove()?,
                false => proof.left_in = Some(scratch.home().display().to_string()),
            }
        }
        Ok(proof)
    }

    /// Reads the files and the log.
    fn read(
        &self,
        shelves: &Repository,
        environment: EnvironmentId,
        repository: &Path,
    ) -> Result<BackupProof> {
        let _stays = shelves.lock(LockMode::Shared).map_err(causes::backup)?;
        let pool = shelves.pool(environment).map_err(causes::backup)?;
        let mut log = LogProof::new(shelves, &pool, environment);
        let mut proof = BackupProof {
            repository: repository.display().to_string(),
            environment: environment.to_string(),
            backups: Vec::new(),
            partial: Vec::new(),
            archive: log.strangers().map_err(causes::backup)?,
            restores: Vec::new(),
            left_in: None,
        };
        for name in shelves.names().map_err(causes::backup)? {
            if self.backup.as_ref().is_some_and(|wanted| *wanted != name) {
                continue;
            }
            if !shelves.is_complete(&name).map_err(causes::backup)? {
                proof.partial.push(name);
                continue;
            }
            let files = shelves.verify_files(&name, &mut backup::hook(&self.progress));
            let files = files.map_err(causes::backup)?;
            let lines = self.lines(shelves, &name, &pool, &mut log)?;
            proof.backups.push(ProvenBackup {
                name,
                files: files.files,
                bytes: files.bytes,
                pages: files.pages,
                findings: files.findings,
                lines,
            });
        }
        self.check_found(&proof)?;
        Ok(proof)
    }

    fn check_found(&self, proof: &BackupProof) -> Result<()> {
        let Some(wanted) = self.backup.as_ref().filter(|_| proof.backups.is_empty()) else {
            return Ok(());
        };
        let what = match proof.partial.is_empty() {
            true => format!("there is no backup {wanted:?} in the repository"),
            false => format!("backup {wanted:?} was never completed: there is nothing to prove"),
        };
        Err(Error::new(ErrorKind::NotFound, what))
    }

    /// Reads the log of a backup to every end that it can be brought to.
    fn lines(
        &self,
        shelves: &Repository,
        name: &str,
        pool: &LogPool,
        log: &mut LogProof<'_>,
    ) -> Result<Vec<ProvenLine>> {
        // What is wrong with the manifest or the label was found with the files.
        let (Ok(found), Ok(label)) = (shelves.backup(name), shelves.label(name)) else {
            return Ok(Vec::new());
        };
        let Some(manifest) = found.manifest else { return Ok(Vec::new()) };
        let mut tips = pool.tips().map_err(causes::backup)?;
        tips.retain(|tip| pool.leads_to(label.timeline, manifest.end(), *tip));
        // What was written on behind the place where another history left can be restored too.
        if !tips.contains(&label.timeline) && (tips.is_empty() || pool.goes_beyond(label.timeline))
        {
            tips.push(label.timeline);
        }
        let (mut lines, first) = (Vec::new(), manifest.first().file());
        for tip in tips {
            self.progress.report("verifying the log", lines.len() as u64, None, "histories")?;
            lines.extend(line(pool, log, &label, tip, first)?);
        }
        Ok(lines)
    }

    /// Restores what can be restored.
    fn try_all(
        &self,
        host: &Host,
        repository: &Path,
        scratch: &Scratch,
        proof: &mut BackupProof,
    ) -> Result<()> {
        let mut trials = Vec::new();
        for found in &proof.backups {
            for line in &found.lines {
                let mut trial = Trial {
                    backup: found.name.clone(),
                    timeline: line.timeline,
                    ..Trial::default()
                };
                self.try_one(host, repository, scratch, &mut trial)?;
                let sound = trial.findings.is_empty();
                trials.push(trial);
                if !sound {
                    proof.restores = trials;
                    return Ok(());
                }
                scratch.clear()?;
            }
        }
        proof.restores = trials;
        Ok(())
    }

    fn try_one(
        &self,
        host: &Host,
        repository: &Path,
        scratch: &Scratch,
        trial: &mut Trial,
    ) -> Result<()> {
        let options = RestoreOptions::new()
            .backup(&trial.backup)
            .timeline(trial.timeline)
            .environment(self.options.clone())
            .progress(self.progress.clone());
        let home = scratch.home();
        let restored = options.run_on(host, repository, &home).and_then(|report| {
            trial.stop = report.stop.to_string();
            let options = self.options.clone().create(false);
            let env = Environment::open_on(host.clone(), &home, options)?;
            let verify = VerifyOptions::new().progress(self.progress.clone());
            let report = env.verify_with(&verify)?;
            trial.databases = report.databases.len() as u64;
            trial.entries = report.databases.iter().map(|database| database.entries).sum();
            trial.findings.extend(
                report
                    .damage
                    .iter()
                    .map(|what| Finding { file: home.display().to_string(), what: what.clone() }),
            );
            env.close()
        });
        match restored {
            Ok(()) => Ok(()),
            Err(error) if error.is_corruption() || error.kind() == ErrorKind::NotFound => {
                let (file, what) = (home.display().to_string(), error.to_string());
                trial.findings.push(Finding { file, what });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// The log of one backup to the end of one history; `None` if it does not lead there.
fn line(
    pool: &LogPool,
    log: &mut LogProof<'_>,
    label: &Control,
    tip: Timeline,
    first: u32,
) -> Result<Option<ProvenLine>> {
    let logs = pool.line_for(tip, label.timeline, first);
    let logs = logs.and_then(|line| Ok(line.logs(label.environment)?));
    let reach = match logs.map(|logs| examine(&logs, label, &Target::End)) {
        Ok(Ok(reach)) => Ok(reach),
        // Another history than that of this backup.
        Ok(Err(RecoveryError::OffHistory { .. })) => return Ok(None),
        Ok(Err(error)) => Err(causes::recovery(error)),
        Err(error) => Err(causes::backup(error)),
    };
    let mut checked = log.line(tip, label.timeline, first).map_err(causes::backup)?;
    let (mut to, mut to_time) = (None, None);
    match reach {
        Ok(reach) => {
            to = Some(reach.end.end.to_string());
            to_time = Some(Utc(reach.end.last_time_us).to_string());
        }
        Err(error) if !error.is_corruption() && error.kind() == ErrorKind::Io => {
            return Err(error);
        }
        // Each file is sound by itself, but they do not hang together.
        Err(error) if checked.findings.is_empty() => {
            let (file, what) = (format!("the log of timeline {tip}"), error.to_string());
            checked.findings.push(Finding { file, what });
        }
        Err(_) => {}
    }
    let (files, records, findings) = (checked.files, checked.records, checked.findings);
    Ok(Some(ProvenLine { timeline: tip.0, to, to_time, files, records, findings }))
}

/// What was found in one backup.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProvenBackup {
    /// Its name.
    pub name: String,
    /// Files that were read.
    pub files: u64,
    /// Their bytes, as they lie in the repository.
    pub bytes: u64,
    /// Pages that were checked, of data files as they are restored.
    pub pages: u64,
    /// Damage to its files.
    pub findings: Vec<Finding>,
    /// Its log, to every end that it can be brought to.
    pub lines: Vec<ProvenLine>,
}

/// The log from a backup to the end of a history.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProvenLine {
    /// The history.
    pub timeline: u32,
    /// Its end; `None` if damage lies before.
    pub to: Option<String>,
    /// The latest time before it.
    pub to_time: Option<String>,
    /// Log files on the way.
    pub files: u64,
    /// Records in them that were read.
    pub records: u64,
    /// Damage to the log.
    pub findings: Vec<Finding>,
}

/// A restore that was made to be thrown away.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Trial {
    /// The backup.
    pub backup: String,
    /// The history whose end it was restored to.
    pub timeline: u32,
    /// Where that was.
    pub stop: String,
    /// Databases that were checked.
    pub databases: u64,
    /// Entries in them.
    pub entries: u64,
    /// Damage.
    pub findings: Vec<Finding>,
}

/// What was proven of a repository, and all that is wrong with it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BackupProof {
    /// The repository.
    pub repository: String,
    /// Whose it is.
    pub environment: String,
    /// The complete backups.
    pub backups: Vec<ProvenBackup>,
    /// Backups that were never completed: they count for nothing, and are no damage.
    pub partial: Vec<String>,
    /// Files of the archive that are no log files.
    pub archive: Vec<Finding>,
    /// Restores that were tried. The first that is not sound is the last.
    pub restores: Vec<Trial>,
    /// Where the restore lies that is not sound.
    pub left_in: Option<String>,
}

impl BackupProof {
    /// All damage, each once.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let of_backups = self.backups.iter().flat_map(|found| {
            let lines = found.lines.iter().flat_map(|line| &line.findings);
            found.findings.iter().chain(lines)
        });
        let trials = self.restores.iter().flat_map(|trial| &trial.findings);
        let mut all: Vec<Finding> =
            of_backups.chain(&self.archive).chain(trials).cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether there is no damage.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings().is_empty()
    }
}

impl fmt::Display for BackupProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.backups {
            let damage = found.findings.len();
            let word = if damage == 0 { "sound" } else { "DAMAGED" };
            writeln!(
                f,
                "backup {}  {word}: {} files, {} bytes, {} pages",
                found.name, found.files, found.bytes, found.pages
            )?;
            for line in &found.lines {
                let (files, records) = (line.files, line.records);
                match (&line.to, &line.to_time, line.findings.is_empty()) {
                    (Some(to), Some(time), true) => writeln!(
                        f,
                        "  log  sound to {to} ({time}) on timeline {}: {files} files, {records} \
                         records",
                        line.timeline
                    )?,
                    _ => writeln!(
                        f,
                        "  log  DAMAGED on timeline {}: {files} files, {records} records",
                        line.timeline
                    )?,
                }
            }
        }
        for trial in &self.restores {
            let word = if trial.findings.is_empty() { "sound" } else { "DAMAGED" };
            writeln!(
                f,
                "restore of {} to {} on timeline {}  {word}: {} databases, {} entries",
                trial.backup, trial.stop, trial.timeline, trial.databases, trial.entries
            )?;
        }
        for name in &self.partial {
            writeln!(f, "backup {name}  partial: never completed, counts for nothing")?;
        }
        let findings = self.findings();
        for finding in &findings {
            writeln!(f, "  {}: {}", finding.file, finding.what)?;
        }
        if let Some(left) = &self.left_in {
            writeln!(f, "what was restored is left in {left}")?;
        }
        match findings.len() {
            0 => writeln!(f, "no damage"),
            count => writeln!(f, "{count} findings"),
        }
    }
}
