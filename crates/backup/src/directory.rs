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

/// How often a name for a file in the making is drawn.
const LOOKS: u32 = 8;
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

impl Directory {
    /// Removes what is in a directory, and it. A name that leads elsewhere is removed, not
    /// followed: it counts as a directory only if it cannot be removed as a file.
    fn clear_dir(&self, dir: &Path) -> Result<(), BackupError> {
        let vfs = &self.host.vfs;
        let failed = |action, path: &Path, source| {
            BackupError::io(action, path.display().to_string(), source)
        };
        let mut names = match vfs.list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("list", dir, error)),
        };
        names.sort();
        for name in names {
            let path = dir.join(name);
            match vfs.remove(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) if vfs.list(&path).is_ok() => self.clear_dir(&path)?,
                Err(error) => return Err(failed("remove", &path, error)),
            }
        }
        match vfs.remove_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", dir, error))
            }
            _ => Ok(()),
        }
    }

    /// Makes the unfinished form of a file, under a name that is the writer's own: two that write
    /// the same file never write into each other's. The directory may have been removed since it
    /// was made: nothing was in it.
    fn begin(&self, path: &Path) -> Result<(Arc<dyn File>, PathBuf), BackupError> {
        let dir = parent(path);
        self.make(dir)?;
        let mut looks = 0;
        loop {
            let mut unfinished = path.to_owned().into_os_string();
            let drawn = self.host.random.next_u64();
            unfinished.push(format!(".{drawn:016x}{}", names::UNFINISHED_SUFFIX));
            let unfinished = PathBuf::from(unfinished);
            let error = match self.host.vfs.open(&unfinished, Open::CreateNew) {
                Ok(file) => return Ok((file, unfinished)),
                Err(error) => error,
            };
            looks += 1;
            match error.kind() {
                // Left by somebody who drew the same, and died.
                io::ErrorKind::AlreadyExists if looks < LOOKS => {}
                io::ErrorKind::NotFound if looks < LOOKS => {
                    self.forget(dir);
                    self.make(dir)?;
                }
                _ => {
                    let shown = unfinished.display().to_string();
                    return Err(BackupError::io("create", shown, error));
                }
            }
        }
    }

    /// Makes the removal of a directory durable.
    fn sync_above(&self, dir: &Path) -> Result<(), BackupError> {
        let above = parent(dir);
        match self.host.vfs.sync_dir(above) {
            // Nothing was ever there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => {
                synced.map_err(|error| BackupError::io("sync", above.display().to_string(), error))
            }
        }
    }

    /// From now on nothing is known of a directory and those in it.
    fn forget(&self, dir: &Path) {
        self.made.lock().retain(|made| !made.starts_with(dir));
    }
}

/// What a file in the making is to be called: `log.0000000007` for `log.0000000007.N.tmp`.
fn finished_name(unfinished: &str) -> Option<&str> {
    let name = unfinished.strip_suffix(names::UNFINISHED_SUFFIX)?;
    match name.rsplit_once('.') {
        Some((name, drawn)) if drawn.len() == 16 => Some(name),
        _ => Some(name),
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
        let (file, unfinished) = self.begin(&path)?;
        Ok(Box::new(Unfinished { shelf: self, file, path, unfinished, at: 0, done: false }))
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

    fn clear(&self, under: &str) -> Result<(), BackupError> {
        let dir = self.path(under);
        self.forget(&dir);
        self.clear_dir(&dir)?;
        self.sync_above(&dir)
    }

    fn sweep(&self, under: &str, whose: &dyn Fn(&str) -> bool) -> Result<(), BackupError> {
        let dir = self.path(under);
        let failed = |action, error| BackupError::io(action, dir.display().to_string(), error);
        let found = match self.host.vfs.list(&dir) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("list", error)),
        };
        for name in found {
            if !finished_name(&name).is_some_and(whose) {
                continue;
            }
            match self.host.vfs.remove(&dir.join(&name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove a file in", error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn forget_empty(&self, under: &str) -> Result<(), BackupError> {
        let dir = self.path(under);
        self.forget(&dir);
        match self.host.vfs.remove_dir(&dir) {
            Ok(()) => self.sync_above(&dir),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(BackupError::io("remove", dir.display().to_string(), error)),
        }
    }

    fn lock(&self, mode: LockMode) -> Result<Option<Box<dyn FileLock>>, BackupError> {
        let path = self.root.join(LOCK);
        if mode == LockMode::Exclusive {
            self.make(&self.root)?;
        }
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
    done: bool,
}

impl Drop for Unfinished<'_> {
    /// What cannot be removed now is left for whoever sweeps.
    fn drop(&mut self) {
        if !self.done {
            let _ = self.shelf.host.vfs.remove(&self.unfinished);
        }
    }
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

    fn sync(&mut self) -> Result<(), BackupError> {
        self.file.sync_data().map_err(self.failed("sync"))
    }

    fn finish(mut self: Box<Self>) -> Result<(), BackupError> {
        let vfs = &self.shelf.host.vfs;
        self.file.sync_data().map_err(self.failed("sync"))?;
        vfs.rename(&self.unfinished, &self.path).map_err(self.failed("rename"))?;
        self.done = true;
        if planted::is(Bug::ArchiveDirectorySyncSkipped) {
            return Ok(());
        }
        vfs.sync_dir(parent(&self.path)).map_err(self.failed("sync the directory of"))
    }
}
