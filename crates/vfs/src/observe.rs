//! A wrapper that shows every call to an observer, before and after it is made.
//!
//! Owns nothing but the order: `before`, the call, `after`. Promises to pass every result through
//! unchanged. Must never decide anything; a write-order monitor asserts in its observer.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_sync::atomic::{AtomicU64, Ordering};

use crate::{Call, CallKind, File, FileLock, LockMode, Open, Outcome, Vfs};

/// Sees every call. Both functions may be called from several threads at once.
pub trait Observer: Send + Sync + fmt::Debug {
    /// The call is about to be made.
    fn before(&self, call: &Call<'_>) {
        let _ = call;
    }

    /// The call has been made and ended so.
    fn after(&self, call: &Call<'_>, outcome: Outcome<'_>) {
        let _ = (call, outcome);
    }
}

/// A file system whose every call is seen by an observer.
#[derive(Debug)]
pub struct Observed {
    inner: Arc<dyn Vfs>,
    watch: Arc<Watch>,
}

#[derive(Debug)]
struct Watch {
    observer: Arc<dyn Observer>,
    calls: AtomicU64,
    handles: AtomicU64,
}

impl Observed {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Vfs>, observer: Arc<dyn Observer>) -> Arc<Observed> {
        let watch = Watch { observer, calls: AtomicU64::new(0), handles: AtomicU64::new(1) };
        Arc::new(Observed { inner, watch: Arc::new(watch) })
    }

    fn call<T>(
        &self,
        kind: CallKind,
        path: &Path,
        made: impl FnOnce() -> io::Result<T>,
        count: impl FnOnce(&T) -> u64,
    ) -> io::Result<T> {
        let call = self.watch.call(kind, path, 0);
        self.watch.around(&call, made, count)
    }
}

impl Watch {
    fn call<'a>(&self, kind: CallKind, path: &'a Path, handle: u64) -> Call<'a> {
        let index = self.calls.fetch_add(1, Ordering::Relaxed);
        Call { index, kind, path, target: None, handle, offset: 0, len: 0, data: &[] }
    }

    fn around<T>(
        &self,
        call: &Call<'_>,
        made: impl FnOnce() -> io::Result<T>,
        count: impl FnOnce(&T) -> u64,
    ) -> io::Result<T> {
        self.observer.before(call);
        let result = made();
        self.observer.after(call, result.as_ref().map(count));
        result
    }
}

fn nothing<T>(_: &T) -> u64 {
    0
}

impl Vfs for Observed {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        // The handle has its number before it is open, so that both sides of the call show it.
        let handle = self.watch.handles.fetch_add(1, Ordering::Relaxed);
        let call = self.watch.call(CallKind::Open, path, handle);
        let inner = self.watch.around(&call, || self.inner.open(path, how), nothing)?;
        let watch = Arc::clone(&self.watch);
        Ok(Arc::new(ObservedFile { inner, watch, path: path.to_path_buf(), handle }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(CallKind::Remove, path, || self.inner.remove(path), nothing)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let call = Call { target: Some(to), ..self.watch.call(CallKind::Rename, from, 0) };
        self.watch.around(&call, || self.inner.rename(from, to), nothing)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(CallKind::CreateDir, path, || self.inner.create_dir(path), nothing)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call(CallKind::RemoveDir, path, || self.inner.remove_dir(path), nothing)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call(CallKind::List, dir, || self.inner.list(dir), |names| names.len() as u64)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.call(CallKind::Exists, path, || self.inner.exists(path), |yes| u64::from(*yes))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(CallKind::SyncDir, dir, || self.inner.sync_dir(dir), nothing)
    }

    /// Not a call that anything depends on: nobody is told.
    fn space(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.inner.space(dir)
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        let taken = |lock: &Option<_>| u64::from(lock.is_some());
        self.call(CallKind::Lock, path, || self.inner.lock(path, mode), taken)
    }
}

#[derive(Debug)]
struct ObservedFile {
    inner: Arc<dyn File>,
    watch: Arc<Watch>,
    path: PathBuf,
    handle: u64,
}

impl ObservedFile {
    fn call(&self, kind: CallKind) -> Call<'_> {
        self.watch.call(kind, &self.path, self.handle)
    }
}

impl File for ObservedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let call = Call { offset, len: buf.len() as u64, ..self.call(CallKind::Read) };
        self.watch.observer.before(&call);
        let result = self.inner.read_at(buf, offset);
        let data = result.as_ref().ok().and_then(|count| buf.get(..*count)).unwrap_or_default();
        let call = Call { data, ..call };
        self.watch.observer.after(&call, result.as_ref().map(|count| *count as u64));
        result
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let len = buf.len() as u64;
        let call = Call { offset, len, data: buf, ..self.call(CallKind::Write) };
        self.watch.around(&call, || self.inner.write_at(buf, offset), |count| *count as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.around(&self.call(CallKind::SyncData), || self.inner.sync_data(), nothing)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.watch.around(&self.call(CallKind::SyncAll), || self.inner.sync_all(), nothing)
    }

    fn len(&self) -> io::Result<u64> {
        self.watch.around(&self.call(CallKind::Len), || self.inner.len(), |len| *len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let call = Call { offset: len, ..self.call(CallKind::SetLen) };
        self.watch.around(&call, || self.inner.set_len(len), nothing)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let call = Call { offset, len, ..self.call(CallKind::Allocate) };
        self.watch.around(&call, || self.inner.allocate(offset, len), nothing)
    }

    fn start_write_out(&self, offset: u64, len: u64) {
        self.inner.start_write_out(offset, len);
    }
}
