//! Files of the operating system.
//!
//! Owns how each platform spells positional I/O, syncs and locks. Promises what the README's
//! media assumptions list, and that files are made for their owner's eyes only. Must never hide
//! an error, retry a sync, or map a file.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::{File, FileLock, LockMode, Open, Vfs};

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsVfs;

impl OsVfs {
    /// The file system.
    pub fn new() -> OsVfs {
        OsVfs
    }
}

/// Says which file an error is about: the operating system's own errors do not.
fn at(path: &Path, doing: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {doing} {}: {error}", path.display()))
}

fn open_options(how: Open) -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(how.writes());
    match how {
        Open::Read | Open::ReadWrite => {}
        Open::CreateNew => {
            options.create_new(true);
        }
        Open::OpenOrCreate => {
            options.create(true).truncate(false);
        }
    }
    // A database is its owner's: nobody else reads it unless the owner says so.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

impl Vfs for OsVfs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = open_options(how).open(path).map_err(|e| at(path, "open", e))?;
        Ok(Arc::new(OsFile { file }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|e| at(path, "remove", e))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|e| at(from, "rename", e))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|e| at(path, "make directory", e))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path).map_err(|e| at(path, "remove directory", e))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(here(dir)).map_err(|e| at(dir, "list", e))? {
            let entry = entry.map_err(|e| at(dir, "list", e))?;
            // A name that is not Unicode is not one of ours, and is never opened.
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        here(path).try_exists().map_err(|e| at(path, "look for", e))
    }

    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let handle = fs::File::open(here(dir)).map_err(|e| at(dir, "open directory", e))?;
        handle.sync_all().map_err(|e| at(dir, "sync directory", e))
    }

    /// Windows has no handle on a directory that can be flushed: NTFS logs names in its own
    /// journal, in order, and the flush of a file carries the entry that made it.
    #[cfg(not(unix))]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::metadata(here(dir)).map(|_| ()).map_err(|e| at(dir, "sync directory", e))
    }

    #[cfg(target_os = "linux")]
    fn space(&self, dir: &Path) -> io::Result<Option<u64>> {
        let found = rustix::fs::statvfs(here(dir)).map_err(|e| at(dir, "measure", e.into()))?;
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        let file = match open_options(Open::OpenOrCreate).open(path) {
            // Somebody else's file, or a medium that is only read: it can be locked all the same.
            Err(error) if cannot_write(&error) => open_options(Open::Read).open(path),
            file => file,
        };
        let file = file.map_err(|error| at(path, "open", error))?;
        let taken = match mode {
            LockMode::Shared => file.try_lock_shared(),
            LockMode::Exclusive => file.try_lock(),
        };
        match taken {
            Ok(()) => Ok(Some(Box::new(OsLock { _file: file }))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(at(path, "lock", error)),
        }
    }
}

fn cannot_write(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// The empty path means the working directory, as it does where paths are joined.
fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// The lock is the open file's: closing releases it, and so does the death of the process.
#[derive(Debug)]
struct OsLock {
    _file: fs::File,
}

impl FileLock for OsLock {}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
}

impl File for OsFile {
    #[cfg(unix)]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buf, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buf, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.file, buf, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.file, buf, offset)
    }

    // The standard library syncs with F_FULLFSYNC on macOS and FlushFileBuffers on Windows.
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        allocate(&self.file, offset, len)
    }

    fn start_write_out(&self, offset: u64, len: u64) {
        start_write_out(&self.file, offset, len);
    }
}

/// Reserves real blocks where the file system can; grows the file with zeros where it cannot.
#[cfg(target_os = "linux")]
fn allocate(file: &fs::File, offset: u64, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    if len == 0 {
        return Ok(());
    }
    loop {
        match fallocate(file, FallocateFlags::empty(), offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return grow(file, offset, len),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &fs::File, offset: u64, len: u64) -> io::Result<()> {
    grow(file, offset, len)
}

fn grow(file: &fs::File, offset: u64, len: u64) -> io::Result<()> {
    let end = offset.saturating_add(len);
    if file.metadata()?.len() < end { file.set_len(end) } else { Ok(()) }
}

/// Starts write-back of the range so that the sync to come finds less to do. "Don't need" does
/// that on Linux (it starts write-back, then drops what is clean): no safe call is closer, and
/// pages that the engine caches itself are no loss to the operating system's cache.
#[cfg(target_os = "linux")]
fn start_write_out(file: &fs::File, offset: u64, len: u64) {
    let Some(len) = std::num::NonZeroU64::new(len) else { return };
    // A hint: if it fails, the sync does all the work.
    let _ = rustix::fs::fadvise(file, offset, Some(len), rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn start_write_out(_file: &fs::File, _offset: u64, _len: u64) {}
