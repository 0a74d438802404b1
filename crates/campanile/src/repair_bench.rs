//! A place beside the data files, in which one of them is built anew under another name.
//!
//! Owns [`Bench`], a file system that shows everything as it is but for one data file, in whose
//! place stands the unfinished one. Promises that the page store and replay, which know nothing of
//! this, build there what will take the file's name in one step. Must never touch the file itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_format::{FileId, names};
use campanile_pagestore::DataDirs;
use campanile_vfs::{File, FileLock, Host, LockMode, Open, Vfs};

use crate::causes;
use crate::error::Result;

/// One data file under another name.
#[derive(Debug)]
pub(crate) struct Bench {
    base: Arc<dyn Vfs>,
    counts: PathBuf,
    unfinished: PathBuf,
}

impl Bench {
    /// For a data file of a home: beside it, or in `data` if it is in none of the directories.
    pub fn new(host: &Host, home: &Path, file: FileId) -> Result<Bench> {
        let dirs = DataDirs::read(&*host.vfs, home).map_err(causes::store)?;
        let found = dirs.files(&*host.vfs).map_err(causes::store)?;
        let place = found.get(&file).and_then(|number| dirs.get(*number));
        let dir = place.map_or_else(|| home.join(names::DATA_DIR), |place| place.path.clone());
        let name = names::data_file(file);
        let unfinished = dir.join(format!("{name}{}", names::UNFINISHED_SUFFIX));
        Ok(Bench { base: Arc::clone(&host.vfs), counts: dir.join(name), unfinished })
    }

    /// Where the file is that counts.
    pub fn counts(&self) -> &Path {
        &self.counts
    }

    /// Where the new one is being built.
    pub fn unfinished(&self) -> &Path {
        &self.unfinished
    }

    fn map<'p>(&'p self, path: &'p Path) -> &'p Path {
        if path == self.counts { &self.unfinished } else { path }
    }
}

impl Vfs for Bench {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        self.base.open(self.map(path), how)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.base.remove(self.map(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.base.rename(self.map(from), self.map(to))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.base.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.base.remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.base.list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.base.exists(self.map(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.base.sync_dir(path)
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        self.base.lock(path, mode)
    }
}
