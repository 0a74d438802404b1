//! Where backups and archived log files are kept: the [`Shelf`] trait.
//!
//! Owns the contract between this crate and a store. Promises to ask no more of a store than an
//! object store can give: files are written from beginning to end and appear whole, or not at all.
//! Must never assume that a name can be changed, or a file be appended to.

use std::fmt;
use std::sync::Arc;

use campanile_vfs::{File, FileLock, LockMode};

use crate::error::BackupError;

/// A place for files with names like `backup/20261120_124500/control`.
pub trait Shelf: Send + Sync + fmt::Debug {
    /// The last parts of the names right under `under`, sorted; nothing if there is no such place.
    /// Files in the making are not among them.
    fn list(&self, under: &str) -> Result<Vec<String>, BackupError>;

    /// Begins a file. It has its name, durably, when [`Put::finish`] returns, and not before; a
    /// file that had the name is replaced in that moment.
    fn put(&self, name: &str) -> Result<Box<dyn Put + '_>, BackupError>;

    /// Opens a file for reading.
    fn open(&self, name: &str) -> Result<Arc<dyn File>, BackupError>;

    /// Whether there is such a file.
    fn has(&self, name: &str) -> Result<bool, BackupError>;

    /// Removes a file. It is no error if it is not there.
    fn remove(&self, name: &str) -> Result<(), BackupError>;

    /// Bytes that can still be put; `None` where nobody can tell.
    fn space(&self) -> Result<Option<u64>, BackupError> {
        Ok(None)
    }

    /// Removes everything under a name, files in the making too, and the place itself, durably. It
    /// is no error if nothing is there. What fails half-way is gone on with by the next call.
    fn clear(&self, under: &str) -> Result<(), BackupError>;

    /// Removes what was left of files in the making right under a name: of those which `whose`
    /// picks by what they were to be called. Whoever is writing one fails.
    fn sweep(&self, under: &str, whose: &dyn Fn(&str) -> bool) -> Result<(), BackupError>;

    /// Forgets a place under which nothing is, if the shelf keeps such places at all. Whatever is
    /// put there later makes it anew.
    fn forget_empty(&self, under: &str) -> Result<(), BackupError>;

    /// Locks the shelf; `None` while somebody else has it in a way that forbids this.
    fn lock(&self, mode: LockMode) -> Result<Option<Box<dyn FileLock>>, BackupError>;

    /// A name as people find it.
    fn shown(&self, name: &str) -> String;
}

/// A file in the making. Dropped unfinished, it never was.
pub trait Put {
    /// Writes what comes next.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError>;

    /// Makes what was written so far durable, as far as the shelf can: little is left to do for
    /// [`Put::finish`] then.
    fn sync(&mut self) -> Result<(), BackupError> {
        Ok(())
    }

    /// Gives the file its name, durably.
    fn finish(self: Box<Self>) -> Result<(), BackupError>;
}

/// Refuses to begin what would not fit.
pub(crate) fn check_space(shelf: &dyn Shelf, needed: u64) -> Result<(), BackupError> {
    match shelf.space()? {
        Some(available) if available < needed => {
            Err(BackupError::NoSpace { dir: shelf.shown(""), needed, available })
        }
        _ => Ok(()),
    }
}

/// Reads a small file whole.
pub(crate) fn read_small(shelf: &dyn Shelf, name: &str) -> Result<Vec<u8>, BackupError> {
    let failed = |source| BackupError::io("read", shelf.shown(name), source);
    let file = shelf.open(name)?;
    let len = file.len().map_err(failed)?;
    let mut bytes = vec![0; usize::try_from(len.min(SMALL_MAX)).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}

/// A manifest of a hundred thousand files fits.
const SMALL_MAX: u64 = 64 << 20;

/// Writes a small file whole.
pub(crate) fn put_small(shelf: &dyn Shelf, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
    let mut put = shelf.put(name)?;
    put.write(bytes)?;
    put.finish()
}
