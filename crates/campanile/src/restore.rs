//! Restoring a backup: to the end of the log, to a moment, to a position, to a named point.
//!
//! Owns the choice of the base and the order: everything is decided and proven on files that are
//! only read; then files are written; then they are replayed. Promises that a target which cannot
//! be reached is refused before anything is written, and that a restore which was cut short can be
//! run again.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_backup::{
    BackupError, Chain, Directory, GatheredLogs, LogPool, Manifest, Placing, Repository,
    RestoreNote, RestorePlan, Shelf, write_files,
};
use campanile_format::control::Control;
use campanile_format::planted::{self, Bug};
use campanile_format::{Features, Timeline, Utc, names};
use campanile_recovery::{CommitAt, Reach, RecoveryError, examine};
use campanile_vfs::{Background, Host, LockMode};
use campanile_wal::{ControlFile, LogSet, WalError};
use serde::Serialize;

pub use campanile_recovery::Target;

pub use crate::restore_only::{RestoreOnly, RestoredDatabase, RestoredDatabases};

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{EnvironmentOptions, PAGE_BYTES_MIN_TEST};
use crate::progress::Progress;
use crate::start::{self, Way};
use crate::{Lsn, RecoveryReport, backup, causes, owner};

/// What to restore, and how far.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RestoreOptions {
    target: Target,
    backup: Option<String>,
    timeline: Option<u32>,
    logs: Vec<PathBuf>,
    map: Vec<(String, String)>,
    one_directory: bool,
    dry_run: bool,
    options: EnvironmentOptions,
    progress: Progress,
}

impl RestoreOptions {
    /// The newest backup from which the end of the log can be reached, and all of the log.
    pub fn new() -> RestoreOptions {
        RestoreOptions::default()
    }

    /// How far to replay (default: to the end of the log).
    pub fn target(mut self, target: Target) -> RestoreOptions {
        self.target = target;
        self
    }

    /// The backup to begin with (default: the newest from which the target can be reached).
    pub fn backup(mut self, name: impl Into<String>) -> RestoreOptions {
        self.backup = Some(name.into());
        self
    }

    /// The history to follow. Needed only where several end: after a restore, what was written
    /// before and after it.
    pub fn timeline(mut self, timeline: u32) -> RestoreOptions {
        self.timeline = Some(timeline);
        self
    }

    /// A directory with more log files: what was salvaged from the failed machine. Names do not
    /// matter, duplicates do no harm: of several files for one place the best one is taken.
    pub fn logs(mut self, dir: impl Into<PathBuf>) -> RestoreOptions {
        self.logs.push(dir.into());
        self
    }

    /// Puts the data files that were in the directory `old` of the home that was backed up, as that
    /// home had it, into `new`: empty or missing; relative to the new home. May be called for
    /// several. Without it, directories that were inside of the home are made inside of the new
    /// one, and for each that was elsewhere `data-1` and so on: nothing is ever written outside of
    /// the new home that was not named here. See [`data_dirs`](crate::data_dirs).
    pub fn map(mut self, old: impl Into<String>, new: impl Into<String>) -> RestoreOptions {
        self.map.push((old.into(), new.into()));
        self
    }

    /// Puts all data files into `data`, whatever directories they were in.
    pub(crate) fn one_directory(mut self) -> RestoreOptions {
        self.one_directory = true;
        self
    }

    /// Only says what would be done: reads everything, writes nothing (default: no).
    pub fn dry_run(mut self, dry_run: bool) -> RestoreOptions {
        self.dry_run = dry_run;
        self
    }

    /// Cache, log file size and the like for the replay.
    pub fn environment(mut self, options: EnvironmentOptions) -> RestoreOptions {
        self.options = options;
        self
    }

    /// Who is told how far it is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> RestoreOptions {
        self.progress = progress;
        self
    }

    /// Restores from `repository` into `home`: an empty or missing directory, or what an earlier
    /// run of the same restore left.
    pub fn run(
        &self,
        repository: impl AsRef<Path>,
        home: impl AsRef<Path>,
    ) -> Result<RestoreReport> {
        let home =
            std::path::absolute(home).map_err(|error| Error::io("finding the home", error))?;
        self.run_on(&Host::os(), repository.as_ref(), &home)
    }

    /// The same on another host.
    pub fn run_on(&self, host: &Host, repository: &Path, home: &Path) -> Result<RestoreReport> {
        self.options.check(PAGE_BYTES_MIN_TEST)?;
        let shelves = Repository::in_directory(host, repository);
        let environment = shelves.environment().map_err(causes::backup)?;
        let _stays = shelves.lock(LockMode::Shared).map_err(causes::backup)?;
        let chosen = self.choose(host, &shelves, &environment)?;
        RestoreNote::check_empty(host, home).map_err(causes::backup)?;
        let placing = self.placing(host, home, &chosen)?;
        let plan = chosen.plan(&shelves, &placing);
        plan.check_space(host, home).map_err(causes::backup)?;
        let mut report = chosen.report(repository, home, &self.target);
        report.data_dirs = placing.others().map(|place| place.stated.clone()).collect();
        if self.dry_run {
            return Ok(report);
        }
        self.write(host, home, &plan, &report)?;
        report.recovery = Some(self.replay(host, home, &chosen)?);
        report.dry_run = false;
        Ok(report)
    }

    /// Where the data files go. Reads only.
    fn placing(&self, host: &Host, home: &Path, chosen: &Chosen) -> Result<Placing> {
        if self.one_directory {
            return Ok(Placing::in_one(home));
        }
        let manifest = &chosen.chain.newest().manifest;
        let placing = Placing::plan(home, manifest, &self.map).map_err(causes::backup)?;
        // What an earlier run left in them is cleared first, if it was of the same restore.
        if !campanile_backup::is_being_restored(host, home).map_err(causes::backup)? {
            placing.check(host, chosen.label.environment).map_err(causes::backup)?;
        }
        Ok(placing)
    }

    /// Decides on everything. Reads only.
    fn choose(&self, host: &Host, shelves: &Repository, environment: &str) -> Result<Chosen> {
        let mut bases = self.bases(shelves, environment)?;
        if bases.is_empty() {
            let what = "the repository holds no complete backup".to_owned();
            return Err(Error::new(ErrorKind::NotFound, what));
        }
        let environment = shelves.environment_id().map_err(causes::backup)?;
        let mut pool = shelves.readable_pool(environment).map_err(causes::backup)?;
        for dir in &self.logs {
            let more: Arc<dyn Shelf> = Arc::new(Directory::new(host, dir));
            if pool.gather(&more, "").map_err(causes::backup)? == 0 {
                let what = format!("{} holds no log file of this environment", dir.display());
                return Err(Error::new(ErrorKind::NotFound, what));
            }
        }
        let tip = pool.choose(self.timeline.map(Timeline)).map_err(causes::backup)?;
        let hidden = pool.hidden_end(tip, self.timeline.is_some());
        let hidden = hidden.filter(|_| self.target == Target::End);
        let hidden = hidden.cloned().or_else(|| match self.target {
            Target::End => pool.unread_end(tip),
            _ => None,
        });
        if let Some(hidden) = hidden {
            let what = format!(
                "{} cannot be used: {}; the log did not end before it: give a target (-t, --lsn) \
                 or a history (--timeline), a good copy of the file (--logs), or move it away to \
                 do without",
                hidden.file, hidden.why
            );
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        bases.reverse();
        let mut refused = None;
        for (_, name) in bases {
            match self.weigh(shelves, &pool, tip, &name)? {
                Ok(chosen) => return Ok(chosen),
                Err(error) => refused = Some(closer(refused, error)),
            }
        }
        Err(refused.expect("there is a backup, and it was refused"))
    }

    /// Whether the target can be reached from a backup; the inner error says why not.
    fn weigh(
        &self,
        shelves: &Repository,
        pool: &LogPool,
        tip: Timeline,
        name: &str,
    ) -> Result<Result<Chosen, Error>> {
        let chain = match Chain::of(shelves, name) {
            Ok(chain) => chain,
            // It needs a backup that is not there: an older one may do.
            Err(error @ (BackupError::NoBackup { .. } | BackupError::Damaged { .. })) => {
                return Ok(Err(causes::backup(error)));
            }
            Err(error) => return Err(causes::backup(error)),
        };
        let label = match shelves.label(name) {
            Ok(label) => label,
            Err(error @ BackupError::Damaged { .. }) => return Ok(Err(causes::backup(error))),
            // It is gone: an older backup may do.
            Err(BackupError::Io { source, path, action })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                let error = BackupError::Io { source, path, action };
                return Ok(Err(causes::backup(error)));
            }
            Err(error) => return Err(causes::backup(error)),
        };
        let first = chain.newest().manifest.first();
        let line = pool.line_for(tip, label.timeline, first.file());
        let line = line.map_err(causes::backup)?;
        let logs = line.logs(label.environment).map_err(causes::wal)?;
        let found = match examine(&logs, &label, &self.target) {
            Err(RecoveryError::Wal(error)) if error.is_corruption() => {
                self.below_gap(&logs, &label, error)
            }
            found => found.map_err(causes::recovery),
        };
        Ok(found.map(|reach| Chosen { chain, label, line, reach, tip }))
    }

    /// There is a gap in the log, or damage: what lies before it can still be reached.
    fn below_gap(&self, logs: &LogSet, label: &Control, error: WalError) -> Result<Reach> {
        let last = match &error {
            WalError::Missing { file, .. } => {
                names::parse_log_file(file).and_then(|number| number.checked_sub(1))
            }
            WalError::Corrupt { file, .. } => names::parse_log_file(file),
            _ => None,
        };
        let Some(last) = last else { return Err(causes::wal(error)) };
        // Records behind the spot prove that it is damage: the file that holds it may not be the
        // last one. Then those before it are all there is.
        let ends = [Some(last), last.checked_sub(1)].into_iter().flatten();
        let mut reached = ends.filter_map(|last| {
            let below = logs.up_to(last);
            let reach = examine(&below, label, &Target::End).ok()?;
            Some((below, reach))
        });
        let Some((below, reach)) = reached.next() else { return Err(causes::wal(error)) };
        if self.target == Target::End && !planted::is(Bug::ArchiveGapSkipped) {
            let what = format!(
                "{error}; without it the log can be replayed to {} (last time in it {}): give a \
                 target up to there",
                reach.end.end,
                Utc(reach.end.last_time_us)
            );
            return Err(Error::because(ErrorKind::Corrupt, what, error));
        }
        examine(&below, label, &self.target).map_err(causes::recovery)
    }

    /// The backups that come into question, oldest first.
    fn bases(&self, shelves: &Repository, environment: &str) -> Result<Vec<(Manifest, String)>> {
        if let Some(wanted) = &self.backup {
            // What is wrong with it is said; what is wrong with others is of no interest.
            shelves.backup(wanted).map_err(causes::backup)?;
        }
        let found = shelves.readable_backups().map_err(causes::backup)?;
        let complete = found.into_iter().filter_map(|found| Some((found.manifest?, found.name)));
        let ours = complete.filter(|(manifest, _)| manifest.environment == environment);
        let Some(wanted) = &self.backup else { return Ok(ours.collect()) };
        let wanted: Vec<_> = ours.filter(|(_, name)| name == wanted).collect();
        if wanted.is_empty() {
            let what = format!(
                "there is no complete backup {:?} in the repository",
                self.backup.as_deref().unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::NotFound, what));
        }
        Ok(wanted)
    }

    /// Makes the home a copy of the backup, with the log up to the target.
    fn write(
        &self,
        host: &Host,
        home: &Path,
        plan: &RestorePlan<'_>,
        report: &RestoreReport,
    ) -> Result<()> {
        start::make_home(host, home)?;
        let _alone = owner::take(host, home)?;
        // Once more, now that nobody else can begin the same.
        RestoreNote::check_empty(host, home).map_err(causes::backup)?;
        let note = RestoreNote {
            repository: report.repository.clone(),
            backup: report.backup.clone(),
            target: self.target.to_string(),
        };
        note.begin(host, home).map_err(causes::backup)?;
        let written = write_files(host, home, plan, &mut backup::hook(&self.progress));
        written.map_err(causes::backup)
    }

    /// Replays, and lets the home count.
    fn replay(&self, host: &Host, home: &Path, chosen: &Chosen) -> Result<RecoveryReport> {
        let target = Target::Lsn { at: chosen.reach.stop.at, inclusive: false };
        let options = self.options.clone().progress(self.progress.clone());
        let mut report = bring_up(host, home, options, &target, || {
            RestoreNote::finish(host, home).map_err(causes::backup)
        })?;
        if let Some(restored) = &mut report.restored {
            restored.target = self.target.to_string();
            restored.next_commit = chosen.reach.stop.next_commit.map(shown);
        }
        Ok(report)
    }
}

/// Of two reasons not to take a backup, the one that helps more: that of the newest backup, unless
/// an older one says which targets can be reached.
fn closer(known: Option<Error>, error: Error) -> Error {
    match known {
        Some(known) if error.kind() != ErrorKind::InvalidArgument => known,
        _ => error,
    }
}

fn shown(commit: CommitAt) -> String {
    format!("{} at {}", commit.lsn, Utc(commit.time_us))
}

/// What was decided.
struct Chosen {
    chain: Chain,
    label: Control,
    line: GatheredLogs,
    reach: Reach,
    tip: Timeline,
}

impl Chosen {
    fn plan<'a>(&'a self, shelves: &'a Repository, placing: &'a Placing) -> RestorePlan<'a> {
        RestorePlan {
            shelf: &**shelves.shelf(),
            chain: &self.chain,
            placing,
            label: self.label,
            logs: &self.line,
            first: self.reach.first,
            stop: self.reach.stop.at,
        }
    }

    fn report(&self, repository: &Path, home: &Path, target: &Target) -> RestoreReport {
        let (stop, reach) = (self.reach.stop, &self.reach);
        let files = self.line.numbers();
        let needed = reach.first.file()..=stop.at.file();
        RestoreReport {
            repository: repository.display().to_string(),
            home: home.display().to_string(),
            backup: self.chain.newest().name.clone(),
            stands_on: self.chain.links().skip(1).map(|link| link.name.clone()).collect(),
            timeline: self.tip.0,
            target: target.to_string(),
            stop: stop.at,
            last_commit: stop.last_commit.map(shown),
            next_commit: stop.next_commit.map(shown),
            earliest: reach.earliest,
            log_end: reach.end.end,
            log_last_time: Utc(reach.end.last_time_us).to_string(),
            log_files: files.filter(|number| needed.contains(number)).count() as u64,
            bytes: self.chain.newest().manifest.bytes(),
            data_dirs: Vec::new(),
            dry_run: true,
            recovery: None,
        }
    }
}

/// What a restore did, or would do.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Where it came from.
    pub repository: String,
    /// Where it went.
    pub home: String,
    /// The backup it began with.
    pub backup: String,
    /// If that is an increment: the backups that it stands on, newest first; the last one is full.
    pub stands_on: Vec<String>,
    /// The history that was followed.
    pub timeline: u32,
    /// What was asked for.
    pub target: String,
    /// The end of the last record that counts.
    #[serde(serialize_with = "crate::inspect::lsn_as_text")]
    pub stop: Lsn,
    /// Position and time of the last commit that is in.
    pub last_commit: Option<String>,
    /// Position and time of the first commit that is not.
    pub next_commit: Option<String>,
    /// The earliest position that this backup could be restored to.
    #[serde(serialize_with = "crate::inspect::lsn_as_text")]
    pub earliest: Lsn,
    /// Where the log at hand ends.
    #[serde(serialize_with = "crate::inspect::lsn_as_text")]
    pub log_end: Lsn,
    /// The latest time in it.
    pub log_last_time: String,
    /// Log files that are needed.
    pub log_files: u64,
    /// Bytes of the backup.
    pub bytes: u64,
    /// The directories of data files besides `data`, from the home or from the root.
    pub data_dirs: Vec<String>,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// What replay did.
    pub recovery: Option<RecoveryReport>,
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "none".to_owned();
        let verb = if self.dry_run { "would restore" } else { "restored" };
        writeln!(f, "{verb} backup {} into {}", self.backup, self.home)?;
        if !self.stands_on.is_empty() {
            writeln!(f, "  stands on {}", self.stands_on.join(", "))?;
        }
        writeln!(f, "  target    {}", self.target)?;
        writeln!(f, "  stop      {} on timeline {}", self.stop, self.timeline)?;
        writeln!(f, "  last in   {}", self.last_commit.clone().unwrap_or_else(none))?;
        writeln!(f, "  first out {}", self.next_commit.clone().unwrap_or_else(none))?;
        writeln!(
            f,
            "  reachable {} to {} (last time in the log {})",
            self.earliest, self.log_end, self.log_last_time
        )?;
        writeln!(f, "  copies    {} bytes, {} log files", self.bytes, self.log_files)?;
        for dir in &self.data_dirs {
            writeln!(f, "  data in   {dir}")?;
        }
        match &self.recovery {
            None => Ok(()),
            Some(report) => write!(f, "{report}"),
        }
    }
}

/// Runs catastrophic recovery on a home: `db_recover -c`.
///
/// On a copy ([`hot_copy`](crate::backup::hot_copy)) it replays the log in the copy from where the
/// copy was begun up to `target`, and begins a new history. On any other home it replays the whole
/// log there is, for data files that were put in from an older copy; that goes to the end only.
pub fn catastrophic(
    home: impl AsRef<Path>,
    target: &Target,
    options: EnvironmentOptions,
) -> Result<RecoveryReport> {
    let home = std::path::absolute(home).map_err(|error| Error::io("finding the home", error))?;
    catastrophic_on(&Host::os(), &home, target, options)
}

/// The same on another host.
pub fn catastrophic_on(
    host: &Host,
    home: &Path,
    target: &Target,
    options: EnvironmentOptions,
) -> Result<RecoveryReport> {
    refuse_inside_repository(host, home)?;
    // Not a home at all: said before the lock makes a file in it.
    ControlFile::read(&*host.vfs, home).map_err(|error| start::no_control(host, home, error))?;
    if campanile_backup::is_being_restored(host, home).map_err(causes::backup)? {
        let what = format!(
            "{} is being restored, and that was not finished: run the same restore again",
            home.display()
        );
        return Err(Error::new(ErrorKind::NeedsRecovery, what));
    }
    campanile_backup::must_be_whole(host, home).map_err(causes::backup)?;
    bring_up(host, home, options, target, || Ok(()))
}

/// A backup in its repository would be a home from then on, and no backup any more.
fn refuse_inside_repository(host: &Host, home: &Path) -> Result<()> {
    let Some(repository) = home.parent().and_then(Path::parent) else { return Ok(()) };
    let there = Repository::is_at(host, repository).map_err(causes::backup)?;
    if !there {
        return Ok(());
    }
    let what = format!(
        "{} is a backup in the repository {}: restore it to another directory (campanile restore), \
         or copy the directory elsewhere first",
        home.display(),
        repository.display()
    );
    Err(Error::new(ErrorKind::InvalidArgument, what))
}

/// Where a target lies in a copy, without changing anything: the dry run of [`catastrophic`].
pub fn examine_copy(home: impl AsRef<Path>, target: &Target) -> Result<CopyReach> {
    let (host, home) = (Host::os(), home.as_ref());
    let label = ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    campanile_backup::must_be_whole(&host, home).map_err(causes::backup)?;
    if label.features.required & Features::BACKUP_COPY == 0 {
        let (home, target) = (home.display().to_string(), target.to_string());
        return Err(causes::recovery(RecoveryError::NotABackup { home, target }));
    }
    let dir = home.join(names::LOG_DIR);
    let logs = LogSet::open(&host.vfs, &dir, label.environment, Timeline(u32::MAX));
    let reach = examine(&logs.map_err(causes::wal)?, &label, target).map_err(causes::recovery)?;
    Ok(CopyReach {
        target: target.to_string(),
        stop: reach.stop.at,
        last_commit: reach.stop.last_commit.map(shown),
        next_commit: reach.stop.next_commit.map(shown),
        earliest: reach.earliest,
        log_end: reach.end.end,
    })
}

/// Where a target lies in a copy.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CopyReach {
    /// What was asked for.
    pub target: String,
    /// Replay would stop here.
    #[serde(serialize_with = "crate::inspect::lsn_as_text")]
    pub stop: Lsn,
    /// Position and time of the last commit that would be in.
    pub last_commit: Option<String>,
    /// Position and time of the first that would not.
    pub next_commit: Option<String>,
    /// The earliest position that can be reached.
    #[serde(serialize_with = "crate::inspect::lsn_as_text")]
    pub earliest: Lsn,
    /// The last.
    #[serde(serialize_with = "crate::inspect::lsn_as_text")]
    pub log_end: Lsn,
}

/// Locks the home, recovers it to the target, calls `finish`, and closes it.
fn bring_up(
    host: &Host,
    home: &Path,
    options: EnvironmentOptions,
    target: &Target,
    finish: impl FnOnce() -> Result<()>,
) -> Result<RecoveryReport> {
    let lock = owner::take(host, home)?;
    let way = Way::Catastrophic(target, start::replay_of(host, &options));
    let host = Host { background: Background::Stepped, ..host.clone() };
    let options = options.create(false).read_only(false);
    let started = start::open(host, home, options, Some(lock), way)?;
    let env = Environment::wrap(started);
    let report = env.recovery_report().cloned();
    env.clone().close()?;
    finish()?;
    report.ok_or_else(|| {
        let what = "catastrophic recovery reported nothing".to_owned();
        Error::new(ErrorKind::Internal, what)
    })
}
