//! How a backup is made: full or an increment, packed or not, by how many threads, how fast.
//!
//! Owns [`BackupOptions`] and what a backup reports. Promises that options which mean nothing are
//! refused before anything is written. Must never open a home.

use std::path::{Path, PathBuf};

use campanile_backup::{Base, CopyOptions, Manifest, Repository};
use campanile_format::Utc;
use campanile_vfs::Host;
use campanile_wal::ControlFile;
use serde::Serialize;

pub use campanile_backup::Compression;

use crate::backup::hook;
use crate::causes;
use crate::error::Result;
use crate::progress::Progress;

/// How a backup is made. The default is a full one, not compressed, as fast as it goes.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let (home, repository, other) =
/// #     (dir.path().join("home"), dir.path().join("backups"), dir.path().join("other"));
/// use campanile::{Environment, backup::{BackupOptions, Compression}, restore::RestoreOptions};
///
/// let env = Environment::open(&home)?;
/// let accounts = env.create_database("accounts")?;
/// env.run(|txn| accounts.put(txn, "alice", "100"))?;
/// BackupOptions::new().run(&home, &repository)?;
///
/// env.run(|txn| accounts.put(txn, "bob", "50"))?;
/// let nightly = BackupOptions::new().incremental(true).compression(Compression::Zstd);
/// let made = nightly.run(&home, &repository)?; // what changed since the full one
/// assert!(made.base.is_some());
///
/// let report = RestoreOptions::new().run(&repository, &other)?; // takes both
/// assert_eq!(report.backup, made.name);
/// let restored = Environment::open(&other)?;
/// let accounts = restored.open_database("accounts")?;
/// assert_eq!(accounts.get(&restored.snapshot()?, "bob")?.as_deref(), Some(&b"50"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct BackupOptions {
    base: Base,
    copy: CopyOptions,
    progress: Progress,
}

impl BackupOptions {
    /// A full backup, not compressed, by one thread, as fast as it goes.
    pub fn new() -> BackupOptions {
        BackupOptions::default()
    }

    /// Only what changed since the newest complete backup of this history, which a restore takes
    /// too. If there is none, the backup is full; [`BackupReport::base`] says which it was.
    pub fn incremental(mut self, incremental: bool) -> BackupOptions {
        self.base = if incremental { Base::Newest } else { Base::Nothing };
        self
    }

    /// Only what changed since this backup. It is an error if there is no such complete backup, or
    /// if it is of another environment or another history.
    pub fn base(mut self, name: impl Into<String>) -> BackupOptions {
        self.base = Base::Named(name.into());
        self
    }

    /// How data files are packed (default: not). Log files and label never are.
    pub fn compression(mut self, compression: Compression) -> BackupOptions {
        self.copy.compression = compression;
        self
    }

    /// Level of compression, 1 (fast) to 19 (small) (default: 3).
    pub fn level(mut self, level: i32) -> BackupOptions {
        self.copy.level = level;
        self
    }

    /// Threads that copy data files, 1 to 64, one file each (default: 1). The progress hook is
    /// still called by the caller's thread.
    pub fn jobs(mut self, jobs: usize) -> BackupOptions {
        self.copy.jobs = jobs;
        self
    }

    /// Reads so many bytes a second from the home at most, evenly (default: no limit). The log is
    /// kept as long as the backup takes.
    pub fn max_rate(mut self, bytes_per_second: u64) -> BackupOptions {
        self.copy.max_rate = Some(bytes_per_second);
        self
    }

    /// Who is told how far it is, and may stop it: what a stopped backup leaves is partial, as
    /// after a crash, and does not count.
    pub fn progress(mut self, progress: Progress) -> BackupOptions {
        self.progress = progress;
        self
    }

    /// Backs `home` up into `repository`, which is made if it is not there.
    ///
    /// The home may be in use: its owner goes on, and gives up no log files meanwhile. A home
    /// whose owner died is refused: recover it first. If it is known beforehand that there is not
    /// enough space, nothing is written.
    pub fn run(
        &self,
        home: impl AsRef<Path>,
        repository: impl AsRef<Path>,
    ) -> Result<BackupReport> {
        self.run_on(&Host::os(), home.as_ref(), repository.as_ref())
    }

    /// The same on another host.
    pub fn run_on(&self, host: &Host, home: &Path, repository: &Path) -> Result<BackupReport> {
        // Not a home at all: said before the log is pinned.
        ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
        let shelves = Repository::in_directory(host, repository);
        let made = shelves.back_up(home, self.copy, &self.base, &mut hook(&self.progress));
        let (name, copied) = made.map_err(causes::backup)?;
        let directory = repository.join(shelves.prefix(&name));
        Ok(BackupReport::of(&name, &directory, &copied.manifest, copied.us))
    }
}

/// A backup that was made, or updated.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BackupReport {
    /// Its name in the repository; empty for a copy in a directory.
    pub name: String,
    /// Where it is.
    pub directory: String,
    /// The environment.
    pub environment: String,
    /// Its history.
    pub timeline: u32,
    /// The backup that it is an increment of; `None` for a full one.
    pub base: Option<String>,
    /// How its data files are packed.
    pub compression: Compression,
    /// Where replay will begin.
    pub redo: String,
    /// The log in it begins here.
    pub first: String,
    /// The earliest position that it can be restored to.
    pub end: String,
    /// The latest time in its log.
    pub last_time: String,
    /// Files in it.
    pub files: u64,
    /// Their bytes when they are restored.
    pub bytes: u64,
    /// Their bytes as they are stored.
    pub stored_bytes: u64,
    /// Pages that were checked.
    pub pages: u64,
    /// Pages that were read again because their owner was writing them.
    pub pages_read_again: u64,
    /// When it was begun.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// Every file of it.
    pub parts: Vec<BackupPart>,
}

/// A file of a backup.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BackupPart {
    /// Its name in the backup.
    pub name: PathBuf,
    /// Its length when it is restored.
    pub bytes: u64,
    /// Its length as it is stored.
    pub stored_bytes: u64,
    /// Only what changed is stored: so many pages.
    pub changed_pages: Option<u64>,
}

impl BackupReport {
    pub(crate) fn of(name: &str, directory: &Path, manifest: &Manifest, us: u64) -> BackupReport {
        let parts = manifest.files.iter().map(|file| BackupPart {
            name: manifest.stored_name(file).into(),
            bytes: file.bytes,
            stored_bytes: file.on_shelf().bytes,
            changed_pages: file.pages,
        });
        BackupReport {
            name: name.to_owned(),
            directory: directory.display().to_string(),
            environment: manifest.environment.clone(),
            timeline: manifest.timeline,
            base: manifest.base.clone(),
            compression: manifest.compression,
            redo: manifest.redo.clone(),
            first: manifest.first.clone(),
            end: manifest.end.clone(),
            last_time: Utc(manifest.last_time_us).to_string(),
            files: manifest.files.len() as u64,
            bytes: manifest.bytes(),
            stored_bytes: manifest.stored_bytes(),
            pages: manifest.pages,
            pages_read_again: manifest.pages_read_again,
            started: Utc(manifest.started_us).to_string(),
            seconds: us as f64 / 1e6,
            parts: parts.collect(),
        }
    }
}
