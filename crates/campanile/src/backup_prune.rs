//! Retention: which backups and log files of a repository go, and marks on those that must not.
//!
//! Owns the calls behind `campanile prune` and `campanile keep`. Promises that everything is
//! decided before anything is removed, that the plan says why for every single thing, and that a
//! dry run decides exactly as the run would. Must never remove anything without a policy.

use std::fmt;
use std::path::Path;

use campanile_backup::{Decision, KeepMark, Policy, Pruned, Repository};
use campanile_vfs::Host;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::{backup, causes};

/// What stays in a repository, and what goes.
///
/// A backup stays if one of the rules that are given keeps it, if it has a keep mark, if another
/// that stays is an increment of it, or if it is the only way to the end of a history. The newest
/// complete backup always stays. A log file stays as long as a backup that stays needs it to be
/// brought to any moment up to the end of its history.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let (home, repository) = (dir.path().join("home"), dir.path().join("backups"));
/// use campanile::backup::{self, PruneOptions};
/// use campanile::{Environment, Progress};
///
/// let env = Environment::open(&home)?;
/// let first = backup::back_up(&home, &repository, &Progress::none())?;
/// let second = backup::back_up(&home, &repository, &Progress::none())?;
///
/// let plan = PruneOptions::new().keep_last(1).dry_run(true).run(&repository)?;
/// assert_eq!(plan.removed_backups().collect::<Vec<_>>(), [&first.name]);
///
/// backup::keep(&repository, &first.name, "before the migration")?;
/// let report = PruneOptions::new().keep_last(1).run(&repository)?;
/// assert_eq!(report.removed_backups().count(), 0);
/// # let _ = second;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PruneOptions {
    policy: Policy,
    dry_run: bool,
    progress: Progress,
}

impl PruneOptions {
    /// No rule yet: [`run`](PruneOptions::run) refuses to go by none.
    pub fn new() -> PruneOptions {
        PruneOptions::default()
    }

    /// The newest `backups` complete backups stay, increments counted as any other.
    pub fn keep_last(mut self, backups: u32) -> PruneOptions {
        self.policy.keep_last = Some(backups);
        self
    }

    /// Every moment of the last `days` days stays restorable: the backups of these days, and the
    /// newest one before.
    pub fn keep_days(mut self, days: u32) -> PruneOptions {
        self.policy.keep_days = Some(days);
        self
    }

    /// Only says what would be done (default: no).
    pub fn dry_run(mut self, dry_run: bool) -> PruneOptions {
        self.dry_run = dry_run;
        self
    }

    /// Who is told how far it is, and may stop it: what is left can be restored, and the next run
    /// goes on.
    pub fn progress(mut self, progress: Progress) -> PruneOptions {
        self.progress = progress;
        self
    }

    /// Prunes `repository`. Refused while a backup is made there, and while something is restored
    /// from it.
    pub fn run(&self, repository: impl AsRef<Path>) -> Result<PruneReport> {
        self.run_on(&Host::os(), repository.as_ref())
    }

    /// The same on another host.
    pub fn run_on(&self, host: &Host, repository: &Path) -> Result<PruneReport> {
        let refused = |what: &str| Err(Error::new(ErrorKind::InvalidArgument, what.to_owned()));
        match (self.policy.keep_last, self.policy.keep_days) {
            (None, None) => return refused("say what stays: --keep-last, --keep-days or both"),
            (Some(0), _) => return refused("the last 0 backups are none: keep at least one"),
            _ => {}
        }
        let shelves = Repository::in_directory(host, repository);
        let pruned = shelves.prune(&self.policy, self.dry_run, &mut backup::hook(&self.progress));
        let pruned = pruned.map_err(causes::backup)?;
        Ok(PruneReport::of(repository, self.dry_run, &pruned))
    }
}

/// What becomes of one backup or log file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pruning {
    /// The backup's name, or the log file's in the repository.
    pub name: String,
    /// Whether it stays.
    pub stays: bool,
    /// Why.
    pub why: String,
}

/// What was removed from a repository, or would be, and what stays.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// The repository.
    pub repository: String,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Every backup, oldest first.
    pub backups: Vec<Pruning>,
    /// Every log file of the archive.
    pub logs: Vec<Pruning>,
    /// Log files that only a backup which goes has whole: they are in the archive from now on.
    pub archived: Vec<String>,
}

impl PruneReport {
    fn of(repository: &Path, dry_run: bool, pruned: &Pruned) -> PruneReport {
        let of = |decision: &Decision| Pruning {
            name: decision.name.clone(),
            stays: decision.reason.stays(),
            why: decision.reason.to_string(),
        };
        PruneReport {
            repository: repository.display().to_string(),
            dry_run,
            backups: pruned.verdict.backups.iter().map(of).collect(),
            logs: pruned.verdict.logs.iter().map(of).collect(),
            archived: pruned.moved.clone(),
        }
    }

    /// The backups that went, or would go.
    pub fn removed_backups(&self) -> impl Iterator<Item = &String> {
        self.backups.iter().filter(|one| !one.stays).map(|one| &one.name)
    }

    /// The log files of the archive that went, or would go.
    pub fn removed_logs(&self) -> impl Iterator<Item = &String> {
        self.logs.iter().filter(|one| !one.stays).map(|one| &one.name)
    }
}

impl fmt::Display for PruneReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let goes = if self.dry_run { "would go" } else { "removed" };
        writeln!(f, "backups")?;
        for one in &self.backups {
            let what = if one.stays { "stays" } else { goes };
            writeln!(f, "  {:<8}  {}  {}", what, one.name, one.why)?;
        }
        writeln!(f, "log files")?;
        // A year of log is many files: those that share their fate are one line.
        for run in self.logs.chunk_by(|a, b| (a.stays, &a.why) == (b.stays, &b.why)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let what = if first.stays { "stays" } else { goes };
            let names = match run.len() {
                1 => first.name.clone(),
                count => format!("{} to {} ({count} files)", first.name, last.name),
            };
            writeln!(f, "  {what:<8}  {names}  {}", first.why)?;
        }
        for name in &self.archived {
            let verb = if self.dry_run { "would be archived" } else { "archived" };
            writeln!(f, "  {verb} from a backup that goes: {name}")?;
        }
        Ok(())
    }
}

/// Marks a complete backup so that retention leaves it, what it is an increment of, and the log
/// that it needs. `note` says why, for whoever wonders later.
pub fn keep(repository: impl AsRef<Path>, name: &str, note: &str) -> Result<()> {
    keep_on(&Host::os(), repository.as_ref(), name, note)
}

/// The same on another host.
pub fn keep_on(host: &Host, repository: &Path, name: &str, note: &str) -> Result<()> {
    let mark = KeepMark { note: note.to_owned(), set_us: host.clock.now_us() };
    let marked = Repository::in_directory(host, repository).mark(name, Some(&mark));
    marked.map_err(causes::backup)
}

/// Takes the mark of a backup away: from now on the policy decides.
pub fn keep_no_longer(repository: impl AsRef<Path>, name: &str) -> Result<()> {
    keep_no_longer_on(&Host::os(), repository.as_ref(), name)
}

/// The same on another host.
pub fn keep_no_longer_on(host: &Host, repository: &Path, name: &str) -> Result<()> {
    Repository::in_directory(host, repository).mark(name, None).map_err(causes::backup)
}
