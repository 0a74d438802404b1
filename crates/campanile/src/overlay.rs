//! A home that is read and never written: all changes stay in memory.
//!
//! Owns a file system laid over another one. Promises that nothing below it is ever written,
//! created, renamed or removed, so that an environment can be opened, and even recovered, for
//! reading only (dump, verify, dry run) by the same code that opens it for good. Must never be
//! used by the owner of a home: what is written here is gone when it is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_sync::{Mutex, RwLock};
use campanile_vfs::{File, FileLock, LockMode, Open, Vfs};

/// Changes are kept in pieces of this size.
const CHUNK_BYTES: u64 = 4096;

/// A file system whose changes stay in memory.
#[derive(Debug)]
pub(crate) struct OverlayVfs {
    base: Arc<dyn Vfs>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Files that were opened, made or moved here; `None`: removed here.
    files: BTreeMap<PathBuf, Option<Arc<OverlayFile>>>,
    dirs: BTreeSet<PathBuf>,
}

impl OverlayVfs {
    pub(crate) fn new(base: Arc<dyn Vfs>) -> OverlayVfs {
        OverlayVfs { base, state: Mutex::default() }
    }

    /// The file as it is seen here; `None` if there is none.
    fn find(&self, state: &mut State, path: &Path) -> io::Result<Option<Arc<OverlayFile>>> {
        if let Some(known) = state.files.get(path) {
            return Ok(known.clone());
        }
        if !self.base.exists(path)? {
            return Ok(None);
        }
        let len = self.base.open(path, Open::Read)?.len()?;
        let file = Arc::new(OverlayFile::over(path.to_owned(), len));
        state.files.insert(path.to_owned(), Some(Arc::clone(&file)));
        Ok(Some(file))
    }

    /// A handle. What is below is open as long as the handle is, and no longer: there may be more
    /// files than a process may have open.
    fn handle(&self, file: Arc<OverlayFile>) -> io::Result<Arc<dyn File>> {
        let base = match &file.below {
            Some(path) => Some(self.base.open(path, Open::Read)?),
            None => None,
        };
        Ok(Arc::new(OverlayHandle { file, base }))
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

impl Vfs for OverlayVfs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        match (self.find(&mut state, path)?, how) {
            (Some(_), Open::CreateNew) => Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} exists", path.display()),
            )),
            (Some(file), _) => self.handle(file),
            (None, _) if how.creates() => {
                let file = Arc::new(OverlayFile::default());
                state.files.insert(path.to_owned(), Some(Arc::clone(&file)));
                self.handle(file)
            }
            (None, _) => Err(missing(path)),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.find(&mut state, path)?.ok_or_else(|| missing(path))?;
        state.files.insert(path.to_owned(), None);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = self.find(&mut state, from)?.ok_or_else(|| missing(from))?;
        state.files.insert(from.to_owned(), None);
        state.files.insert(to.to_owned(), Some(file));
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.state.lock().dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    /// Only a directory that was made here goes: what is below stays as it is.
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            let what = format!("{}: not empty", path.display());
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, what));
        }
        match !self.base.exists(path)? && self.state.lock().dirs.remove(path) {
            true => Ok(()),
            false => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let mut names: BTreeSet<String> = match self.base.list(dir) {
            Ok(names) => names.into_iter().collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && state.dirs.contains(dir) => {
                BTreeSet::new()
            }
            Err(error) => return Err(error),
        };
        for (path, file) in &state.files {
            if path.parent() == Some(dir)
                && let Some(name) = path.file_name()
            {
                let name = name.to_string_lossy().into_owned();
                match file {
                    Some(_) => names.insert(name),
                    None => names.remove(&name),
                };
            }
        }
        Ok(names.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state.lock();
        match state.files.get(path) {
            Some(file) => Ok(file.is_some()),
            None => Ok(state.dirs.contains(path) || self.base.exists(path)?),
        }
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    /// The home itself is locked below; locks on files seen here concern nobody else.
    fn lock(&self, _path: &Path, _mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        Ok(Some(Box::new(NoLock)))
    }
}

#[derive(Debug)]
struct NoLock;

impl FileLock for NoLock {}

/// One file: what was written here, over what is below.
#[derive(Debug, Default)]
struct OverlayFile {
    /// The file below, by the name it has there: nothing there is renamed.
    below: Option<PathBuf>,
    written: RwLock<Written>,
}

/// One opened handle of it.
#[derive(Debug)]
struct OverlayHandle {
    file: Arc<OverlayFile>,
    base: Option<Arc<dyn File>>,
}

#[derive(Debug, Default)]
struct Written {
    len: u64,
    /// How far the file below still shows through.
    base_len: u64,
    chunks: BTreeMap<u64, Box<[u8]>>,
}

impl OverlayFile {
    fn over(below: PathBuf, len: u64) -> OverlayFile {
        let written = Written { len, base_len: len, chunks: BTreeMap::new() };
        OverlayFile { below: Some(below), written: RwLock::new(written) }
    }
}

impl OverlayHandle {
    /// What the file below shows at `offset`, zeros beyond it.
    fn read_below(&self, buf: &mut [u8], offset: u64, base_len: u64) -> io::Result<()> {
        buf.fill(0);
        let visible = clamp(base_len.saturating_sub(offset), buf.len());
        match (&self.base, buf.get_mut(..visible)) {
            (Some(base), Some(buf)) if !buf.is_empty() => {
                base.read_full_at(buf, offset)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn clamp(bytes: u64, max: usize) -> usize {
    usize::try_from(bytes).map_or(max, |bytes| bytes.min(max))
}

/// The chunk of `offset`, where in it that is, and how many of `len` bytes it holds.
fn place(offset: u64, len: usize) -> (u64, usize, usize) {
    let at = (offset % CHUNK_BYTES) as usize;
    (offset / CHUNK_BYTES, at, len.min(CHUNK_BYTES as usize - at))
}

impl File for OverlayHandle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let written = self.file.written.read();
        let count = clamp(written.len.saturating_sub(offset), buf.len());
        let mut done = 0;
        while done < count {
            let position = offset + done as u64;
            let (chunk, at, step) = place(position, count - done);
            let into = buf.get_mut(done..done + step).unwrap_or_default();
            match written.chunks.get(&chunk) {
                Some(bytes) => into.copy_from_slice(bytes.get(at..at + step).unwrap_or_default()),
                None => self.read_below(into, position, written.base_len)?,
            }
            done += step;
        }
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut written = self.file.written.write();
        let base_len = written.base_len;
        let mut done = 0;
        while done < buf.len() {
            let position = offset + done as u64;
            let (chunk, at, step) = place(position, buf.len() - done);
            let from = buf.get(done..done + step).unwrap_or_default();
            done += step;
            // Zeros where nothing else was need no memory: log files are filled with them ahead.
            let is_new = !written.chunks.contains_key(&chunk);
            if is_new && chunk * CHUNK_BYTES >= base_len && from.iter().all(|byte| *byte == 0) {
                continue;
            }
            if is_new {
                let mut bytes = vec![0; CHUNK_BYTES as usize].into_boxed_slice();
                self.read_below(&mut bytes, chunk * CHUNK_BYTES, base_len)?;
                written.chunks.insert(chunk, bytes);
            }
            if let Some(bytes) = written.chunks.get_mut(&chunk) {
                bytes.get_mut(at..at + step).unwrap_or_default().copy_from_slice(from);
            }
        }
        written.len = written.len.max(offset + buf.len() as u64);
        Ok(buf.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.written.read().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.file.written.write();
        if len < written.len {
            let (chunk, at, _) = place(len, 0);
            written.chunks.split_off(&(chunk + u64::from(at > 0)));
            if let Some(last) = written.chunks.get_mut(&chunk) {
                last.get_mut(at..).unwrap_or_default().fill(0);
            }
            written.base_len = written.base_len.min(len);
        }
        written.len = len;
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut written = self.file.written.write();
        written.len = written.len.max(offset.saturating_add(len));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
