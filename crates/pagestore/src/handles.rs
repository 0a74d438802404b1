//! A bounded number of handles of the operating system for any number of data files.
//!
//! Owns which data files have a handle right now. Promises that a file works the same with and
//! without one, and that a handle through which anything was written is kept until a sync through
//! it has answered: the first sync after a failed write-back is the one that is told. Must
//! never hold its list while a file is opened.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use campanile_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use campanile_sync::{Mutex, RwLock};
use campanile_vfs::{File, Open, Vfs};

/// The handles of a page store.
#[derive(Debug)]
pub(crate) struct Handles {
    vfs: Arc<dyn Vfs>,
    max: usize,
    /// The files that have a handle, roughly in the order in which they got it.
    open: Mutex<VecDeque<Weak<PooledFile>>>,
}

/// A data file that may have to be opened again before it is used.
#[derive(Debug)]
pub(crate) struct PooledFile {
    path: PathBuf,
    pool: Arc<Handles>,
    me: Weak<PooledFile>,
    handle: RwLock<Option<Arc<dyn File>>>,
    /// Used since the clock went by.
    used: AtomicBool,
    /// Changes announced, and how many of them a sync has answered for.
    changes: AtomicU64,
    synced: AtomicU64,
}

impl Handles {
    pub fn new(vfs: Arc<dyn Vfs>, max: usize) -> Arc<Handles> {
        Arc::new(Handles { vfs, max: max.max(1), open: Mutex::default() })
    }

    /// Takes over the handle of a file at `path`, through which nothing is left to be synced.
    pub fn adopt(self: &Arc<Self>, path: &Path, handle: Arc<dyn File>) -> Arc<PooledFile> {
        let file = Arc::new_cyclic(|me| PooledFile {
            path: path.to_owned(),
            pool: Arc::clone(self),
            me: Weak::clone(me),
            handle: RwLock::new(Some(handle)),
            used: AtomicBool::new(true),
            changes: AtomicU64::new(0),
            synced: AtomicU64::new(0),
        });
        self.enter(Arc::downgrade(&file));
        file
    }

    /// Counts a file in that has a handle now, and takes the handles of others if there are too
    /// many. If none can be spared there are more for a while.
    fn enter(&self, file: Weak<PooledFile>) {
        let mut open = self.open.lock();
        open.push_back(file);
        for _ in 0..2 * open.len() {
            if open.len() <= self.max {
                return;
            }
            let Some(oldest) = open.pop_front() else { return };
            if let Some(other) = oldest.upgrade()
                && !other.park()
            {
                open.push_back(oldest);
            }
        }
    }
}

impl PooledFile {
    /// Closes the handle, unless it was used lately or may have to answer for a write.
    fn park(&self) -> bool {
        if self.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        // Whoever has it is in the middle of opening, or of looking.
        let Some(mut handle) = self.handle.try_write() else { return false };
        if self.changes.load(Ordering::SeqCst) != self.synced.load(Ordering::SeqCst) {
            return false;
        }
        *handle = None;
        true
    }

    /// The handle, opened again if it was parked.
    fn handle(&self) -> io::Result<Arc<dyn File>> {
        self.used.store(true, Ordering::Relaxed);
        if let Some(handle) = &*self.handle.read() {
            return Ok(Arc::clone(handle));
        }
        let mut slot = self.handle.write();
        if let Some(handle) = &*slot {
            return Ok(Arc::clone(handle));
        }
        let handle = self.pool.vfs.open(&self.path, Open::ReadWrite)?;
        *slot = Some(Arc::clone(&handle));
        drop(slot);
        self.pool.enter(Weak::clone(&self.me));
        Ok(handle)
    }

    /// Announces a change before the handle is taken: from then on it is not parked.
    fn changing(&self) -> io::Result<Arc<dyn File>> {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.handle()
    }

    /// Announces writes, and opens the file for them. If that fails, nothing has been written.
    pub fn prepare(&self) -> io::Result<()> {
        self.changing().map(drop)
    }

    fn sync(&self, sync: impl FnOnce(&dyn File) -> io::Result<()>) -> io::Result<()> {
        let answered = self.changes.load(Ordering::SeqCst);
        sync(&*self.handle()?)?;
        self.synced.fetch_max(answered, Ordering::SeqCst);
        Ok(())
    }
}

impl File for PooledFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.handle()?.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.changing()?.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(|file| file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(|file| file.sync_all())
    }

    fn len(&self) -> io::Result<u64> {
        self.handle()?.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.changing()?.set_len(len)
    }

    /// Growth is not a change to wait for: nobody relies on it before pages in it were synced.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.handle()?.allocate(offset, len)
    }

    fn start_write_out(&self, offset: u64, len: u64) {
        if let Ok(handle) = self.handle() {
            handle.start_write_out(offset, len);
        }
    }
}

#[cfg(test)]
mod tests {
    use campanile_vfs::MemoryVfs;

    use super::*;

    fn file(pool: &Arc<Handles>, number: u8) -> Arc<PooledFile> {
        let path = PathBuf::from(format!("/{number}"));
        let handle = pool.vfs.open(&path, Open::OpenOrCreate).unwrap();
        pool.adopt(&path, handle)
    }

    fn open(pool: &Handles) -> usize {
        pool.open.lock().len()
    }

    #[test]
    fn any_number_of_files_work_through_a_few_handles() {
        let pool = Handles::new(Arc::new(MemoryVfs::new()), 3);
        let files: Vec<_> = (0..20).map(|number| file(&pool, number)).collect();
        for round in 0..3_u8 {
            for (number, file) in files.iter().enumerate() {
                file.write_all_at(&[number as u8, round], 0).unwrap();
                file.sync_data().unwrap();
                assert!(open(&pool) <= 3);
            }
            for (number, file) in files.iter().enumerate() {
                let mut read = [0; 2];
                file.read_exact_at(&mut read, 0).unwrap();
                assert_eq!(read, [number as u8, round]);
            }
        }
    }

    #[test]
    fn a_file_that_was_written_keeps_its_handle_until_it_is_synced() {
        let pool = Handles::new(Arc::new(MemoryVfs::new()), 2);
        let files: Vec<_> = (0..5).map(|number| file(&pool, number)).collect();
        for file in &files {
            file.write_all_at(b"x", 0).unwrap();
        }
        assert_eq!(open(&pool), 5, "none can be spared");
        for file in &files {
            file.sync_data().unwrap();
        }
        let _one_more = file(&pool, 9);
        assert_eq!(open(&pool), 2);
    }

    #[test]
    fn a_file_that_is_dropped_gives_its_place_back() {
        let pool = Handles::new(Arc::new(MemoryVfs::new()), 2);
        for number in 0..50 {
            drop(file(&pool, number));
        }
        assert!(open(&pool) <= 2);
    }
}
