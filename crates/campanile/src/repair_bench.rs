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
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    base: Arc<dyn Vfs>,
    name: String,
    unfinished: String,
    dirs: Vec<PathBuf>,
    /// The directory that the damaged file is in; `None` if it is gone.
    damaged: Option<PathBuf>,
}

impl Bench {
    /// For a data file of a home.
    pub fn new(host: &Host, home: &Path, file: FileId) -> Result<Bench> {
        let name = names::data_file(file);
        let unfinished = format!("{name}{}", names::UNFINISHED_SUFFIX);
        let dirs = DataDirs::read(&*host.vfs, home).map_err(causes::store)?;
        let found = dirs.files(&*host.vfs).map_err(causes::store)?;
        let damaged = found.get(&file).and_then(|number| dirs.get(*number));
        let damaged = damaged.map(|place| place.path.clone());
        let dirs = dirs.all().map(|place| place.path.clone()).collect();
        Ok(Bench { base: Arc::clone(&host.vfs), name, unfinished, dirs, damaged })
    }

    /// The directory that the new file is built in: where the damaged one is, else where the log
    /// has it made, else the home's own.
    pub fn dir(&self) -> io::Result<PathBuf> {
        if let Some(dir) = &self.damaged {
            return Ok(dir.clone());
        }
        for dir in &self.dirs {
            if self.base.exists(&dir.join(&self.unfinished))? {
                return Ok(dir.clone());
            }
        }
        Ok(self.dirs.first().cloned().unwrap_or_default())
    }

    /// Where the file is that counts.
    pub fn counts(&self) -> io::Result<PathBuf> {
        Ok(self.dir()?.join(&self.name))
    }

    /// Where the new one is being built.
    pub fn unfinished(&self) -> io::Result<PathBuf> {
        Ok(self.dir()?.join(&self.unfinished))
    }

    /// Removes what was being built, wherever.
    pub fn clear(&self) -> io::Result<()> {
        for dir in &self.dirs {
            match self.base.remove(&dir.join(&self.unfinished)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn map(&self, path: &Path) -> PathBuf {
        if path.file_name().is_none_or(|name| name.to_string_lossy() != self.name) {
            return path.to_owned();
        }
        match &self.damaged {
            Some(dir) => dir.join(&self.unfinished),
            None => path.with_file_name(&self.unfinished),
        }
    }
}

impl Vfs for Bench {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        self.base.open(&self.map(path), how)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.base.remove(&self.map(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.base.rename(&self.map(from), &self.map(to))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.base.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.base.remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = self.base.list(path)?;
        names.retain(|name| *name != self.name);
        if let Some(name) = names.iter_mut().find(|name| **name == self.unfinished) {
            name.clone_from(&self.name);
        }
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.base.exists(&self.map(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.base.sync_dir(path)
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        self.base.lock(path, mode)
    }
}
