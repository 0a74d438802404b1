//! Log files from many places as one directory to read.
//!
//! Owns [`GatheredLogs`], a file system that shows chosen files under the names of log files.
//! Promises that what recovery finds out about them is what it will find in the restored home.
//! Must never write.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use campanile_format::{EnvironmentId, Lsn, Timeline, names};
use campanile_vfs::{File, FileLock, LockMode, Open, Vfs};
use campanile_wal::{LogEnd, LogSet, WalError, find_end};

use crate::error::BackupError;
use crate::shelf::Shelf;

/// Where a file is.
type Place = (Arc<dyn Shelf>, String);

/// Chosen files, by the number that they have in the log.
#[derive(Clone, Debug, Default)]
pub struct GatheredLogs {
    files: BTreeMap<u32, Place>,
}

impl GatheredLogs {
    /// Shows the file `name` of `shelf` as log file `number`.
    pub fn insert(&mut self, number: u32, shelf: Arc<dyn Shelf>, name: String) {
        self.files.insert(number, (shelf, name));
    }

    /// Where log file `number` is.
    #[must_use]
    pub fn place(&self, number: u32) -> Option<(&Arc<dyn Shelf>, &str)> {
        self.files.get(&number).map(|(shelf, name)| (shelf, name.as_str()))
    }

    /// The numbers that are there.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.files.keys().copied()
    }

    /// All of them as a log.
    pub fn logs(&self, environment: EnvironmentId) -> Result<LogSet, WalError> {
        let vfs: Arc<dyn Vfs> = Arc::new(self.clone());
        LogSet::open(&vfs, Path::new(""), environment, Timeline(u32::MAX))
    }

    fn at(&self, path: &Path) -> io::Result<&Place> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = names::parse_log_file(&name);
        let place = number.and_then(|number| self.files.get(&number));
        place.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name}: not here")))
    }
}

impl Vfs for GatheredLogs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        if how.writes() {
            return Err(read_only());
        }
        let (shelf, name) = self.at(path)?;
        shelf.open(name).map_err(|error| match error {
            BackupError::Io { source, .. } => source,
            other => io::Error::other(other.to_string()),
        })
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(self.files.keys().map(|number| names::log_file(*number)).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.at(path).is_ok())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn lock(&self, _: &Path, _: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        Err(read_only())
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "gathered log files are only read")
}

/// How far the records of one log file reach, all by itself.
pub(crate) fn reach_of(
    shelf: &Arc<dyn Shelf>,
    name: &str,
    environment: EnvironmentId,
    number: u32,
) -> Result<LogEnd, WalError> {
    let mut alone = GatheredLogs::default();
    alone.insert(number, Arc::clone(shelf), name.to_owned());
    let logs = alone.logs(environment)?;
    find_end(&logs, logs.oldest_readable()?, Lsn::NONE)
}
