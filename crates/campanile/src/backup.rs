//! Backups of homes, running or closed, and the archive of log files.
//!
//! Owns the calls behind `campanile backup`, `db_hotbackup` and `db_archive`. Everything works from
//! the files of a home alone, in any process, beside a running owner. Must never open a home.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let (home, repository, other) =
//! #     (dir.path().join("home"), dir.path().join("backups"), dir.path().join("other"));
//! use campanile::{Environment, Progress, backup, restore::RestoreOptions};
//!
//! let env = Environment::open(&home)?;
//! let accounts = env.create_database("accounts")?;
//! env.run(|txn| accounts.put(txn, "alice", "100"))?;
//! let made = backup::back_up(&home, &repository, &Progress::none())?; // while it is open
//!
//! let report = RestoreOptions::new().run(&repository, &other)?;
//! assert_eq!(report.backup, made.name);
//! let restored = Environment::open(&other)?;
//! let accounts = restored.open_database("accounts")?;
//! assert_eq!(accounts.get(&restored.snapshot()?, "alice")?.as_deref(), Some(&b"100"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_backup::{ArchiveNote, Archiver, CopyOptions, CopyOrder, Directory, Repository};
use campanile_format::{Timeline, names};
use campanile_vfs::Host;
use campanile_wal::{ControlFile, LogPin, LogSet};

pub use campanile_backup::{Finding, Lag};

pub use crate::backup_options::{BackupOptions, BackupPart, BackupReport, Compression};

pub use crate::archive_state::{ArchiveState, archive_state, archive_state_on};
pub use crate::backup_catalog::{BackupEntry, Catalog, Gap, KeptMark, Window, catalog, catalog_on};
pub use crate::backup_prune::{
    PruneOptions, PruneReport, Pruning, keep, keep_no_longer, keep_no_longer_on, keep_on,
};
pub use crate::backup_verify::{BackupProof, ProvenBackup, ProvenLine, Trial, VerifyBackupOptions};

use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::{Lsn, causes, owner};

/// Makes a full backup of `home` in `repository`, which is made if it is not there: what
/// [`BackupOptions`] do by default.
///
/// The home may be in use: its owner goes on, and gives up no log files meanwhile. A home whose
/// owner died is refused: recover it first.
pub fn back_up(
    home: impl AsRef<Path>,
    repository: impl AsRef<Path>,
    progress: &Progress,
) -> Result<BackupReport> {
    back_up_on(&Host::os(), home.as_ref(), repository.as_ref(), progress)
}

/// The same on another host.
pub fn back_up_on(
    host: &Host,
    home: &Path,
    repository: &Path,
    progress: &Progress,
) -> Result<BackupReport> {
    BackupOptions::new().progress(progress.clone()).run_on(host, home, repository)
}

/// Copies `home`, which may be in use, into the empty or missing directory `target`: what
/// `db_hotbackup` does. The copy cannot be opened before catastrophic recovery
/// ([`restore::catastrophic`](crate::restore::catastrophic), `db_recover -c`) was run on it.
pub fn hot_copy(
    home: impl AsRef<Path>,
    target: impl AsRef<Path>,
    progress: &Progress,
) -> Result<BackupReport> {
    hot_copy_on(&Host::os(), home.as_ref(), target.as_ref(), progress)
}

/// The same on another host.
pub fn hot_copy_on(
    host: &Host,
    home: &Path,
    target: &Path,
    progress: &Progress,
) -> Result<BackupReport> {
    ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let found = match host.vfs.list(target) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io(format!("listing {}", target.display()), error)),
    };
    if let Some(stranger) = found.first() {
        let what = format!(
            "{} holds {stranger} already: give an empty directory, or update the copy in it (-u)",
            target.display()
        );
        return Err(Error::new(ErrorKind::AlreadyExists, what));
    }
    let order = CopyOrder {
        host: host.clone(),
        home: home.to_owned(),
        shelf: Arc::new(Directory::new(host, target)),
        prefix: String::new(),
        options: CopyOptions::default(),
        base: None,
        prior: None,
    };
    let copied = campanile_backup::hot_copy(&order, &mut hook(progress));
    let copied = copied.map_err(causes::backup)?;
    Ok(BackupReport::of("", target, &copied.manifest, copied.us))
}

/// Adds to a copy made by [`hot_copy`] the log that its home has written since: `db_hotbackup -u`.
/// Refused if log files between were given up, or if the copy was recovered.
pub fn update_copy(
    home: impl AsRef<Path>,
    target: impl AsRef<Path>,
    progress: &Progress,
) -> Result<BackupReport> {
    update_copy_on(&Host::os(), home.as_ref(), target.as_ref(), progress)
}

/// The same on another host.
pub fn update_copy_on(
    host: &Host,
    home: &Path,
    target: &Path,
    progress: &Progress,
) -> Result<BackupReport> {
    let began = host.clock.monotonic_us();
    let updated = campanile_backup::update_copy(host, home, target, &mut hook(progress));
    let updated = updated.map_err(causes::backup)?;
    let us = host.clock.monotonic_us().saturating_sub(began);
    Ok(BackupReport::of("", target, &updated.manifest, us))
}

/// Tells a home that nobody uses to archive its log files into `repository`, from now on and
/// whoever opens it: a log file is used again only when its copy there was read back. What is in
/// the log now is archived at once.
pub fn archive(home: impl AsRef<Path>, repository: impl AsRef<Path>) -> Result<Lsn> {
    archive_on(&Host::os(), home.as_ref(), repository.as_ref())
}

/// The same on another host.
pub fn archive_on(host: &Host, home: &Path, repository: &Path) -> Result<Lsn> {
    ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let _nobody = owner::take(host, home)?;
    remember_archive(host, home, repository)?;
    let note = ArchiveNote::read(host, home).map_err(causes::backup)?;
    let note = note.ok_or_else(|| {
        let what = "the home does not remember the archive that it was just given".to_owned();
        Error::new(ErrorKind::Internal, what)
    })?;
    // Somebody asks for it: what is not there is made.
    let mut archiver = archiver(host, home, &ArchiveNote { claimed: false, ..note })?;
    archiver.all().map_err(causes::backup)
}

/// Archives what the log of a home holds now, to its end, in use or not: for a schedule, or before
/// a machine is switched off. Returns the end. The home must have an archive.
pub fn archive_now(home: impl AsRef<Path>) -> Result<Lsn> {
    archive_now_on(&Host::os(), home.as_ref())
}

/// The same on another host.
pub fn archive_now_on(host: &Host, home: &Path) -> Result<Lsn> {
    ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let note = ArchiveNote::read(host, home).map_err(causes::backup)?;
    let Some(note) = note else {
        let what = format!("{} has no archive: give it one first (--to)", home.display());
        return Err(Error::new(ErrorKind::NotFound, what));
    };
    archiver(host, home, &note)?.all().map_err(causes::backup)
}

/// Tells a home that nobody uses to archive no more: log files are used again as soon as recovery
/// does not need them.
pub fn stop_archiving(home: impl AsRef<Path>) -> Result<()> {
    let (host, home) = (Host::os(), home.as_ref());
    ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let _nobody = owner::take(&host, home)?;
    ArchiveNote::remove(&host, home).map_err(causes::backup)
}

/// The repository into which a home archives its log files.
pub fn archive_of(home: impl AsRef<Path>) -> Result<Option<PathBuf>> {
    let note = ArchiveNote::read(&Host::os(), home.as_ref()).map_err(causes::backup)?;
    Ok(note.map(|note| note.directory()))
}

/// Which files of a home matter for what; see [`log_files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFiles {
    /// All that are there.
    All,
    /// Those that recovery does not need any more: they are kept for a reader or for the archive.
    Removable,
}

/// The log files of a home, by name, oldest first: what `db_archive` lists. Beside a running owner
/// the answer may be old when it is given.
pub fn log_files(home: impl AsRef<Path>, which: LogFiles) -> Result<Vec<String>> {
    log_files_on(&Host::os(), home.as_ref(), which)
}

/// The same on another host.
pub fn log_files_on(host: &Host, home: &Path, which: LogFiles) -> Result<Vec<String>> {
    let control = ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let dir = home.join(names::LOG_DIR);
    let logs = LogSet::open(&host.vfs, &dir, control.environment, Timeline(u32::MAX));
    let logs = logs.map_err(causes::wal)?;
    let needed = match which {
        LogFiles::All => u32::MAX,
        LogFiles::Removable => {
            campanile_backup::first_needed(&logs, &control).map_err(causes::wal)?.file()
        }
    };
    Ok(logs.files().filter(|file| file.number < needed).map(|file| file.name()).collect())
}

/// Removes the log files of a home that nobody uses which recovery does not need; if the home has
/// an archive, once they are safe in it. What `db_archive -d` does. Returns their names.
pub fn remove_log_files(home: impl AsRef<Path>) -> Result<Vec<String>> {
    remove_log_files_on(&Host::os(), home.as_ref())
}

/// The same on another host.
pub fn remove_log_files_on(host: &Host, home: &Path) -> Result<Vec<String>> {
    // Not a home at all: said before the lock makes a file in it.
    ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let _nobody = owner::take(host, home)?;
    let note = ArchiveNote::read(host, home).map_err(causes::backup)?;
    let safe_below = match note {
        None => u32::MAX,
        Some(note) => {
            let mut archiver = archiver(host, home, &note)?;
            while archiver.step().map_err(causes::backup)?.is_some() {}
            archiver.safe_below()
        }
    };
    let dir = home.join(names::LOG_DIR);
    let Some(_alone) = LogPin::alone(host, &dir).map_err(causes::wal)? else {
        let what = format!("somebody reads the log of {}: wait for it", home.display());
        return Err(Error::new(ErrorKind::Locked, what));
    };
    let mut removed = log_files_on(host, home, LogFiles::Removable)?;
    removed.retain(|name| names::parse_log_file(name).is_some_and(|number| number < safe_below));
    let failed = |error| Error::io(format!("removing log files in {}", dir.display()), error);
    for name in &removed {
        host.vfs.remove(&dir.join(name)).map_err(failed)?;
    }
    host.vfs.sync_dir(&dir).map_err(failed)?;
    Ok(removed)
}

/// The archiver of a home.
pub(crate) fn archiver(host: &Host, home: &Path, note: &ArchiveNote) -> Result<Archiver> {
    let repository = Repository::in_directory(host, &note.directory());
    if note.claimed {
        return Archiver::resume(host, home, repository).map_err(causes::backup);
    }
    let archiver = Archiver::open(host, home, repository).map_err(causes::backup)?;
    let note = ArchiveNote { claimed: true, ..note.clone() };
    note.write(host, home).map_err(causes::backup)?;
    Ok(archiver)
}

/// Makes the home remember its archive.
pub(crate) fn remember_archive(host: &Host, home: &Path, repository: &Path) -> Result<()> {
    let repository = std::path::absolute(repository)
        .map_err(|error| Error::io("finding the repository", error))?;
    let Some(repository) = repository.to_str() else {
        let what = "the path of a repository must be text".to_owned();
        return Err(Error::new(ErrorKind::InvalidArgument, what));
    };
    let known = ArchiveNote::read(host, home).map_err(causes::backup)?;
    if known.is_some_and(|known| known.repository == repository) {
        return Ok(());
    }
    let note = ArchiveNote { repository: repository.to_owned(), claimed: false };
    note.write(host, home).map_err(causes::backup)
}

/// The hook of backups that tells ours.
pub(crate) fn hook(
    progress: &Progress,
) -> impl FnMut(&campanile_backup::Step) -> ControlFlow<()> + '_ {
    move |step| {
        let total = (step.total > 0).then_some(step.total);
        match progress.report(step.phase, step.done, total, "bytes") {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}
