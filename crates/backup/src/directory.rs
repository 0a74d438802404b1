//! A directory as a shelf.
//!
//! Owns the order of syncs that makes a file appear whole: data, name, directory, and the
//! directories above it. Promises that a file that can be listed is whole and durable. Must never
//! follow a name out of its directory.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_format::names;
use campanile_format::planted::{self, Bug};
use campanile_sync::Mutex;
use campanile_vfs::{File, FileLock, Host, LockMode, Open};

use crate::error::BackupError;
use crate::shelf::{Put, Shelf};

/// In the directory: whoever writes to the shelf holds its lock.
const LOCK: &str = "repository.lock";

/// A directory that keeps files by name.
#[derive(Debug)]
pub struct Directory {
    host: Host,
    root: PathBuf,
    /// Directories known to be durable.
    made: Mutex<BTreeSet<PathBuf>>,
}

impl Directory {
    /// The directory `root`, which is made when the first file is put.
    #[must_use]
    pub fn new(host: &Host, root: impl Into<PathBuf>) -> Directory {
        Directory { host: host.clone(), root: root.into(), made: Mutex::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: &str) -> PathBuf {
        let inside = name.split('/').filter(|part| !part.is_empty() && *part != "..");
        inside.fold(self.root.clone(), |path, part| path.join(part))
    }

    /// Makes a directory and makes it durable, with those above it down from the root's parent.
    fn make(&self, dir: &Path) -> Result<(), BackupError> {
        let mut made = self.made.lock();
        if made.contains(dir) {
            return Ok(());
        }
        let failed = |action, source| BackupError::io(action, dir.display().to_string(), source);
        self.host.vfs.create_dir(dir).map_err(|error| failed("create", error))?;
        let above = dir.ancestors().skip(1);
        for parent in above.take_while(|above| above.starts_with(&self.root)) {
            self.host.vfs.sync_dir(parent).map_err(|error| failed("sync", error))?;
        }
        if let Some(parent) = self.root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.host.vfs.sync_dir(parent).map_err(|error| failed("sync", error))?;
        }
        made.insert(dir.to_owned());
        Ok(())
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

impl Shelf for Directory {
    fn list(&self, under: &str) -> Result<Vec<String>, BackupError> {
        let dir = self.path(under);
        let mut names = match self.host.vfs.list(&dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(BackupError::io("list", dir.display().to_string(), error)),
        };
        names.retain(|name| !name.ends_with(names::UNFINISHED_SUFFIX));
        names.sort();
        Ok(names)
    }

    fn put(&self, name: &str) -> Result<Box<dyn Put + '_>, BackupError> {
        let path = self.path(name);
        self.make(parent(&path))?;
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(names::UNFINISHED_SUFFIX);
        let unfinished = PathBuf::from(unfinished);
        let failed =
            |action, source| BackupError::io(action, unfinished.display().to_string(), source);
        let file = self.host.vfs.open(&unfinished, Open::OpenOrCreate);
        let file = file.map_err(|error| failed("create", error))?;
        file.set_len(0).map_err(|error| failed("empty", error))?;
        Ok(Box::new(Unfinished { shelf: self, file, path, unfinished, at: 0 }))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn File>, BackupError> {
        let path = self.path(name);
        let file = self.host.vfs.open(&path, Open::Read);
        file.map_err(|error| BackupError::io("open", path.display().to_string(), error))
    }

    fn has(&self, name: &str) -> Result<bool, BackupError> {
        let path = self.path(name);
        let there = self.host.vfs.exists(&path);
        there.map_err(|error| BackupError::io("look for", path.display().to_string(), error))
    }

    fn remove(&self, name: &str) -> Result<(), BackupError> {
        let path = self.path(name);
        let failed = |action, source| BackupError::io(action, path.display().to_string(), source);
        match self.host.vfs.remove(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("remove", error)),
        }
        self.host.vfs.sync_dir(parent(&path)).map_err(|error| failed("sync", error))
    }

    fn space(&self) -> Result<Option<u64>, BackupError> {
        // The root is made by the first file: until then the space is that above it.
        for dir in self.root.ancestors() {
            let failed =
                |action, source| BackupError::io(action, dir.display().to_string(), source);
            let there = dir.as_os_str().is_empty()
                || self.host.vfs.exists(dir).map_err(|error| failed("look for", error))?;
            if there {
                return self.host.vfs.space(dir).map_err(|error| failed("measure", error));
            }
        }
        Ok(None)
    }

    fn lock(&self, mode: LockMode) -> Result<Option<Box<dyn FileLock>>, BackupError> {
        let path = self.root.join(LOCK);
        let lock = self.host.vfs.lock(&path, mode);
        match lock {
            // Nobody can write to a medium like this: nobody needs to be kept out.
            Err(error)
                if mode == LockMode::Shared
                    && error.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                Ok(Some(Box::new(Needless)))
            }
            lock => {
                lock.map_err(|error| BackupError::io("lock", path.display().to_string(), error))
            }
        }
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// The lock of a medium that cannot be written.
#[derive(Debug)]
struct Needless;

impl FileLock for Needless {}

struct Unfinished<'d> {
    shelf: &'d Directory,
    file: Arc<dyn File>,
    path: PathBuf,
    unfinished: PathBuf,
    at: u64,
}

impl Unfinished<'_> {
    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> BackupError + use<> {
        let path = self.path.display().to_string();
        move |source| BackupError::Io { action, path, source }
    }
}

impl Put for Unfinished<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.file.write_all_at(bytes, self.at).map_err(self.failed("write"))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), BackupError> {
        let vfs = &self.shelf.host.vfs;
        self.file.sync_data().map_err(self.failed("sync"))?;
        vfs.rename(&self.unfinished, &self.path).map_err(self.failed("rename"))?;
        if planted::is(Bug::ArchiveDirectorySyncSkipped) {
            return Ok(());
        }
        vfs.sync_dir(parent(&self.path)).map_err(self.failed("sync the directory of"))
    }
}
