//! Names and directories: the [`Vfs`] trait.
//!
//! Owns how files are named, opened, renamed and locked. Promises nothing durable without a
//! [`Vfs::sync_dir`]. Must never interpret what is in a file.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::File;

/// A file system, as much of it as a storage engine needs.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// Opens a file. A file made here is durable only after [`Vfs::sync_dir`] of its directory.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Unlinks a file. Handles that are open keep working.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing what `to` named before, in one step that a crash cannot halve.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes a directory and its missing parents. It is no error if it is there already.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory; an error if anything is in it. A name that leads elsewhere is no
    /// directory. The removal is durable only after [`Vfs::sync_dir`] of the directory above.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in any order, files and directories alike.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// True if `path` names a file or a directory.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Makes the entries of a directory durable: creations, renames and removals in it, those of
    /// directories too.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that whoever runs this may still write below the directory `dir`, which exists;
    /// `None` where nobody can tell. Others may take them at any moment.
    fn space(&self, dir: &Path) -> io::Result<Option<u64>> {
        let _ = dir;
        Ok(None)
    }

    /// Locks the file at `path`, making it if it is missing, without waiting.
    ///
    /// `None`: somebody else holds it, in this process or in another. Dropping the lock, or the
    /// death of the process, releases it.
    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>>;
}

/// How [`Vfs::open`] treats a file that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Open {
    /// For reading; it must exist. Writes through the handle fail.
    Read,
    /// For reading and writing; it must exist.
    ReadWrite,
    /// For reading and writing; it must not exist.
    CreateNew,
    /// For reading and writing; made empty if it does not exist.
    OpenOrCreate,
}

impl Open {
    /// True if handles opened so may write.
    pub fn writes(self) -> bool {
        self != Open::Read
    }

    /// True if a missing file is made.
    pub fn creates(self) -> bool {
        matches!(self, Open::CreateNew | Open::OpenOrCreate)
    }
}

/// Who else may hold a file lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// Other shared holders.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A held file lock; dropping it releases.
pub trait FileLock: Send + Sync + fmt::Debug {}
