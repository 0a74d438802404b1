//! Looking at a home without opening it: its state, its files, its log.
//!
//! Owns what can be learned from files alone. Promises that nothing is written or locked for
//! longer than a glance, so that it works on a home that cannot be opened and beside a running
//! owner. Must never take what it cannot read for the end.

mod log;
mod prepared;

use std::fmt;
use std::path::Path;

use campanile_format::{Features, names};
use campanile_recovery::Outcome;
use campanile_txn::log_distance;
use campanile_vfs::{Host, Open, Vfs};
use campanile_wal::ControlFile;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::inspect::log::{LogOptions, LogRecord, LogRecords, log, log_on, parse_lsn};
pub use crate::inspect::prepared::{prepared, prepared_on};
pub use crate::owner::Owner;

use crate::data_dirs::{self, DataDirectory};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::{LiveFigures, Lsn, RecoveryReport, causes, live, owner, start};

/// In what state a home is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HomeState {
    /// Closed cleanly: the next open has nothing to do.
    Closed,
    /// A process owns it now.
    Owned,
    /// Its last owner died: the next open recovers.
    NeedsRecovery,
    /// It is a hot copy that no catastrophic recovery was run on.
    BackupCopy,
    /// It is being restored, or a restore was cut short.
    Restoring,
}

impl fmt::Display for HomeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HomeState::Closed => "closed cleanly",
            HomeState::Owned => "owned by a running process",
            HomeState::NeedsRecovery => "the last owner died: needs recovery",
            HomeState::BackupCopy => "a hot copy: needs catastrophic recovery (db_recover -c)",
            HomeState::Restoring => "being restored, not finished: run the same restore again",
        })
    }
}

/// A file of a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HomeFile {
    /// The directory it is in, from the home or from the root.
    pub directory: String,
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// What the control file and the names of the files say of a home.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct HomeInfo {
    /// In what state it is.
    pub state: HomeState,
    /// Who owns it, if somebody does and said so.
    pub owner: Option<Owner>,
    /// The environment's random number.
    pub environment: String,
    /// Which history of it is being written.
    pub timeline: u32,
    /// Page size of all databases.
    pub page_bytes: u32,
    /// Length of new log files.
    pub log_file_bytes: u32,
    /// The last checkpoint.
    #[serde(serialize_with = "lsn_as_text")]
    pub checkpoint: Lsn,
    /// Where recovery would begin.
    #[serde(serialize_with = "lsn_as_text")]
    pub redo: Lsn,
    /// Where the log ended when it was closed cleanly.
    #[serde(serialize_with = "optional_lsn_as_text")]
    pub clean_end: Option<Lsn>,
    /// When the control file was written, in microseconds since 1970.
    pub control_written_us: u64,
    /// How long ago that was; 0 if the clock says it is yet to come.
    pub control_age_seconds: u64,
    /// Log that recovery would have to read, at most.
    pub log_bytes_since_checkpoint: u64,
    /// Log files.
    pub log_files: Vec<HomeFile>,
    /// Data files, in all directories that are there.
    pub data_files: Vec<HomeFile>,
    /// The directories that data files are in.
    pub data_dirs: Vec<DataDirectory>,
}

/// Looks at the home in the directory `home`.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let home = dir.path();
/// use campanile::inspect::{self, HomeState};
///
/// campanile::Environment::open(home)?.close()?;
/// assert_eq!(inspect::home(home)?.state, HomeState::Closed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn home(home: impl AsRef<Path>) -> Result<HomeInfo> {
    home_on(&Host::os(), home)
}

/// Looks at a home on another host.
pub fn home_on(host: &Host, home: impl AsRef<Path>) -> Result<HomeInfo> {
    let (vfs, home) = (&*host.vfs, home.as_ref());
    let control = ControlFile::read(vfs, home).map_err(causes::wal)?;
    let probed =
        owner::probe(vfs, home).map_err(|error| Error::io("looking for an owner", error))?;
    let copy = control.features.required & Features::BACKUP_COPY != 0;
    let restoring = campanile_backup::is_being_restored(host, home).map_err(causes::backup)?;
    let state = match (&probed, control.clean_end) {
        _ if restoring => HomeState::Restoring,
        _ if copy => HomeState::BackupCopy,
        (Some(_), _) => HomeState::Owned,
        (None, Some(_)) => HomeState::Closed,
        (None, None) => HomeState::NeedsRecovery,
    };
    let log_files = files(vfs, home, names::LOG_DIR, |name| names::parse_log_file(name).is_some())?;
    let data_dirs = data_dirs::list_on(host, home)?;
    let mut data_files = Vec::new();
    for dir in data_dirs.iter().filter(|dir| dir.number == 0 || dir.problem.is_none()) {
        let is_ours = |name: &str| names::parse_data_file(name).is_some();
        data_files.extend(files(vfs, home, &dir.path, is_ours)?);
    }
    let newest = log_files.iter().filter_map(|file| names::parse_log_file(&file.name)).max();
    let end = control.clean_end.unwrap_or_else(|| {
        newest.map_or(control.durable, |newest| Lsn::new(newest, control.log_file_bytes))
    });
    Ok(HomeInfo {
        state,
        owner: probed.flatten(),
        environment: control.environment.to_string(),
        timeline: control.timeline.0,
        page_bytes: control.page_bytes,
        log_file_bytes: control.log_file_bytes,
        checkpoint: control.checkpoint,
        redo: control.redo,
        clean_end: control.clean_end,
        control_written_us: control.time_us,
        control_age_seconds: host.clock.now_us().saturating_sub(control.time_us) / 1_000_000,
        log_bytes_since_checkpoint: log_distance(control.redo, end, control.log_file_bytes),
        log_files,
        data_files,
        data_dirs,
    })
}

/// What the process that owns the home in the directory `home` last published of itself, or the
/// last owner if there is none now: compare [`LiveFigures::pid`] and the time. `None` if there is
/// nothing, or nothing that this build understands. Works beside a running owner.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let home = dir.path();
/// use campanile::inspect;
///
/// let env = campanile::Environment::open(home)?;
/// # for _ in 0..1000 {
/// #     if inspect::live(home)?.is_some() { break; }
/// #     std::thread::sleep(std::time::Duration::from_millis(10));
/// # }
/// let figures = inspect::live(home)?.expect("soon after opening");
/// assert_eq!(figures.pid, std::process::id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn live(home: impl AsRef<Path>) -> Result<Option<LiveFigures>> {
    live_on(&Host::os(), home)
}

/// What the owner of a home on another host published.
pub fn live_on(host: &Host, home: impl AsRef<Path>) -> Result<Option<LiveFigures>> {
    let read = live::read(host, home.as_ref());
    read.map_err(|error| Error::io("reading the live figures", error))
}

/// What opening the home in the directory `home` would have to recover; `None` if it was closed
/// cleanly. Reads the log and changes nothing.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let home = dir.path();
/// use campanile::{Environment, Progress, inspect};
///
/// Environment::open(home)?.abandon(); // as if the process had been killed
/// let report = inspect::dry_run_recovery(home, &Progress::none())?;
/// println!("{}", report.expect("the last owner died"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn dry_run_recovery(
    home: impl AsRef<Path>,
    progress: &Progress,
) -> Result<Option<RecoveryReport>> {
    dry_run_recovery_on(&Host::os(), home, progress)
}

/// What opening a home on another host would have to recover.
pub fn dry_run_recovery_on(
    host: &Host,
    home: impl AsRef<Path>,
    progress: &Progress,
) -> Result<Option<RecoveryReport>> {
    let home = home.as_ref();
    // Not a home at all: said before the lock makes a file in it.
    ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let _no_owner = owner::share(host, home)?;
    let report = campanile_recovery::dry_run(host, home, &mut start::hook(progress));
    let report = report.map_err(causes::recovery)?;
    Ok((report.outcome != Outcome::Clean).then_some(report))
}

fn files(
    vfs: &dyn Vfs,
    home: &Path,
    directory: &str,
    is_ours: impl Fn(&str) -> bool,
) -> Result<Vec<HomeFile>> {
    let dir = home.join(directory);
    let failed = |error| Error::io(format!("listing {}", dir.display()), error);
    let mut found = Vec::new();
    let mut names = vfs.list(&dir).map_err(failed)?;
    names.sort();
    for name in names {
        if is_ours(&name) {
            let file = vfs.open(&dir.join(&name), Open::Read).map_err(failed)?;
            let (directory, bytes) = (directory.to_owned(), file.len().map_err(failed)?);
            found.push(HomeFile { directory, name, bytes });
        }
    }
    Ok(found)
}

pub(crate) fn lsn_as_text<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(lsn)
}

pub(crate) fn lsn_from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Lsn, D::Error> {
    let text = String::deserialize(from)?;
    parse_lsn(&text).ok_or_else(|| serde::de::Error::custom("not a position in the log"))
}

fn optional_lsn_as_text<S: Serializer>(
    lsn: &Option<Lsn>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match lsn {
        Some(lsn) => serializer.collect_str(lsn),
        None => serializer.serialize_none(),
    }
}
