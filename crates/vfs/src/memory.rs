//! Files in memory: the backend for unit tests and for environments that need no medium.
//!
//! Owns a tree of names and the bytes of each file. Promises the semantics of the operating
//! system's files while the process lives; every sync succeeds and means nothing. Must never
//! inject a fault: that is [`crate::sim`]'s work.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use campanile_sync::{Mutex, RwLock};

use crate::{File, FileLock, LockMode, Open, Vfs};

/// A file system that dies with its last clone.
#[derive(Clone, Debug, Default)]
pub struct MemoryVfs {
    tree: Arc<Mutex<Tree>>,
}

/// Names (normalised paths) and what they name. Directories above the first component, that is
/// the root and the working directory, always exist and are not in the map.
#[derive(Debug, Default)]
struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
    locks: BTreeMap<PathBuf, Held>,
}

#[derive(Clone, Debug)]
enum Node {
    Directory,
    File(Arc<RwLock<Vec<u8>>>),
}

#[derive(Debug)]
enum Held {
    Shared(usize),
    Exclusive,
}

impl MemoryVfs {
    /// An empty file system.
    pub fn new() -> MemoryVfs {
        MemoryVfs::default()
    }
}

/// The path without `.` components and doubled separators.
pub(crate) fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{}: no such file", path.display()))
}

impl Tree {
    fn is_dir(&self, path: &Path) -> bool {
        path.parent().is_none() || matches!(self.nodes.get(path), Some(Node::Directory))
    }

    fn need_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(up) if self.is_dir(up) => Ok(()),
            _ => Err(missing(path)),
        }
    }

    fn open(&mut self, path: PathBuf, how: Open) -> io::Result<Arc<RwLock<Vec<u8>>>> {
        match (self.nodes.get(&path), how) {
            (Some(_), Open::CreateNew) => Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{}: exists already", path.display()),
            )),
            (Some(Node::File(bytes)), _) => Ok(Arc::clone(bytes)),
            (Some(Node::Directory), _) => Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                format!("{}: is a directory", path.display()),
            )),
            (None, Open::CreateNew | Open::OpenOrCreate) => {
                self.need_parent(&path)?;
                let bytes = Arc::new(RwLock::new(Vec::new()));
                self.nodes.insert(path, Node::File(Arc::clone(&bytes)));
                Ok(bytes)
            }
            (None, Open::Read | Open::ReadWrite) => Err(missing(&path)),
        }
    }
}

impl Vfs for MemoryVfs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let bytes = self.tree.lock().open(normal(path), how)?;
        Ok(Arc::new(MemoryFile { bytes, writable: how.writes() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = normal(path);
        let mut tree = self.tree.lock();
        match tree.nodes.get(&path) {
            Some(Node::File(_)) => {
                tree.nodes.remove(&path);
                Ok(())
            }
            Some(Node::Directory) => Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                format!("{}: is a directory", path.display()),
            )),
            None => Err(missing(&path)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normal(from), normal(to));
        let mut tree = self.tree.lock();
        tree.need_parent(&to)?;
        match (tree.nodes.get(&from), tree.nodes.get(&to)) {
            (Some(Node::File(_)), Some(Node::Directory)) => Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                format!("{}: is a directory", to.display()),
            )),
            (Some(Node::File(_)), _) => {
                if let Some(node) = tree.nodes.remove(&from) {
                    tree.nodes.insert(to, node);
                }
                Ok(())
            }
            (Some(Node::Directory), _) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{}: only files are renamed", from.display()),
            )),
            (None, _) => Err(missing(&from)),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = normal(path);
        let mut tree = self.tree.lock();
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for dir in above {
            if tree.is_dir(dir) {
                continue;
            }
            if tree.nodes.contains_key(dir) {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("{}: is a file", dir.display()),
                ));
            }
            tree.nodes.insert(dir.to_path_buf(), Node::Directory);
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let path = normal(path);
        let mut tree = self.tree.lock();
        let refused = |kind| Err(io::Error::new(kind, format!("{}: {kind}", path.display())));
        match tree.nodes.get(&path) {
            Some(Node::Directory) => {}
            Some(Node::File(_)) => return refused(io::ErrorKind::NotADirectory),
            None => return Err(missing(&path)),
        }
        if tree.nodes.keys().any(|other| other.parent() == Some(&path)) {
            return refused(io::ErrorKind::DirectoryNotEmpty);
        }
        tree.nodes.remove(&path);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let dir = normal(dir);
        let tree = self.tree.lock();
        if !tree.is_dir(&dir) {
            return Err(missing(&dir));
        }
        let names = tree.nodes.keys().filter(|path| path.parent() == Some(&dir));
        let names = names.filter_map(|path| path.file_name());
        Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let path = normal(path);
        let tree = self.tree.lock();
        Ok(tree.is_dir(&path) || tree.nodes.contains_key(&path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = normal(dir);
        if self.tree.lock().is_dir(&dir) { Ok(()) } else { Err(missing(&dir)) }
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        let path = normal(path);
        let mut tree = self.tree.lock();
        tree.open(path.clone(), Open::OpenOrCreate)?;
        match (tree.locks.get_mut(&path), mode) {
            (None, LockMode::Exclusive) => {
                tree.locks.insert(path.clone(), Held::Exclusive);
            }
            (None, LockMode::Shared) => {
                tree.locks.insert(path.clone(), Held::Shared(1));
            }
            (Some(Held::Shared(holders)), LockMode::Shared) => *holders += 1,
            (Some(_), _) => return Ok(None),
        }
        Ok(Some(Box::new(MemoryLock { tree: Arc::clone(&self.tree), path })))
    }
}

#[derive(Debug)]
struct MemoryLock {
    tree: Arc<Mutex<Tree>>,
    path: PathBuf,
}

impl FileLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut tree = self.tree.lock();
        match tree.locks.get_mut(&self.path) {
            Some(Held::Shared(holders)) if *holders > 1 => *holders -= 1,
            _ => {
                tree.locks.remove(&self.path);
            }
        }
    }
}

#[derive(Debug)]
struct MemoryFile {
    bytes: Arc<RwLock<Vec<u8>>>,
    writable: bool,
}

impl MemoryFile {
    fn need_write(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is open for reading only"))
    }
}

fn to_index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset)
        .ok()
        .filter(|index| *index <= isize::MAX as usize)
        .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "the offset is too large"))
}

fn end_of(offset: u64, len: u64) -> io::Result<usize> {
    to_index(offset.saturating_add(len))
}

impl File for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.read();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(from..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.need_write()?;
        if buf.is_empty() {
            return Ok(0);
        }
        let end = end_of(offset, buf.len() as u64)?;
        let mut bytes = self.bytes.write();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[end - buf.len()..end].copy_from_slice(buf);
        Ok(buf.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.read().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.need_write()?;
        let len = to_index(len)?;
        self.bytes.write().resize(len, 0);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.need_write()?;
        let end = end_of(offset, len)?;
        let mut bytes = self.bytes.write();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        Ok(())
    }
}
