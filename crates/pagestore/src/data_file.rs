//! One data file: its handle, its length, and reading and growing it.
//!
//! Owns the state of a file between "never seen" and "removed". Promises that a page is read from
//! the length of the file that was seen on disk or grown to, so a page number out of a damaged
//! page reserves no memory. Must never cache a page, nor write one: see `write_back`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use campanile_format::{Corrupt, DirNo, FileId, PageId, PageNo, Plain, names, page};
use campanile_sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use campanile_sync::{Mutex, RwLock, RwLockReadGuard};
use campanile_vfs::File;

use crate::data_dirs::{DataDirs, Place};
use crate::handles::PooledFile;
use crate::translation::Directory;
use crate::{FileFlags, Result, StoreError};

/// Pages a file grows by at least, where the options allow.
const GROWTH_MIN: u64 = 8;

/// A data file of the environment. Never dropped before the store: readers hold references.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub id: FileId,
    dirs: Arc<DataDirs>,
    /// The number of its directory.
    directory_no: AtomicU32,
    /// Where its pages are in the cache.
    pub directory: Directory,
    state: RwLock<State>,
    growth: Mutex<()>,
    /// Whole pages in the file, as far as known: never more than there are.
    pages: AtomicU64,
    durable: AtomicBool,
    /// Written without a sync: only ever true of files that are not durable.
    unsynced: AtomicBool,
}

/// Whether the file can be used.
#[derive(Debug)]
pub(crate) enum State {
    /// Not looked for yet.
    Unknown,
    /// In use.
    Open(Arc<PooledFile>),
    /// Removed, or not there.
    Absent,
}

/// What a read from disk found.
#[derive(Debug)]
pub(crate) enum PageIn {
    /// A sound page.
    Sound,
    /// Zeros, or beyond the end.
    NeverWritten,
    /// Something else.
    Damaged(Corrupt),
}

impl DataFile {
    pub fn new(id: FileId, dirs: Arc<DataDirs>, directory: DirNo) -> DataFile {
        DataFile {
            id,
            dirs,
            directory_no: AtomicU32::new(directory.0.into()),
            directory: Directory::new(),
            state: RwLock::new(State::Unknown),
            growth: Mutex::new(()),
            pages: AtomicU64::new(0),
            durable: AtomicBool::new(true),
            unsynced: AtomicBool::new(false),
        }
    }

    /// The directory that it is in, or will be.
    pub fn place(&self) -> &Place {
        let number = DirNo(self.directory_no.load(Ordering::Relaxed) as u16);
        self.dirs.get(number).expect("a file is put into a directory that there is")
    }

    /// Puts a file that is not there yet into another directory; false if there is none such.
    pub fn put_into(&self, directory: DirNo) -> bool {
        let known = self.dirs.get(directory).is_some();
        if known {
            self.directory_no.store(directory.0.into(), Ordering::Relaxed);
        }
        known
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.place().path.join(names::data_file(self.id))
    }

    /// The state, for changing it.
    pub fn state(&self) -> &RwLock<State> {
        &self.state
    }

    /// The handle, with the promise that the file is not removed before the guard is dropped.
    pub fn hold(&self) -> Result<Held<'_>> {
        let guard = self.state.read();
        match &*guard {
            State::Open(_) => Ok(Held(guard)),
            State::Unknown | State::Absent => Err(StoreError::NoSuchFile { file: self.id }),
        }
    }

    pub fn flags(&self) -> FileFlags {
        FileFlags { durable: self.durable.load(Ordering::Relaxed) }
    }

    pub fn set_flags(&self, flags: FileFlags) {
        self.durable.store(flags.durable, Ordering::Relaxed);
    }

    /// Notes that pages were written without a sync.
    pub fn set_unsynced(&self) {
        self.unsynced.store(true, Ordering::Relaxed);
    }

    /// Whether pages were written without a sync since this was last asked.
    pub fn take_unsynced(&self) -> bool {
        self.unsynced.swap(false, Ordering::Relaxed)
    }

    /// Whole pages in the file.
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Acquire)
    }

    pub fn set_pages(&self, pages: u64) {
        self.pages.store(pages, Ordering::Release);
    }

    /// Makes the file long enough for the page, by a step of up to `growth_pages`, so that lack
    /// of space is met here, before anything of the page is logged.
    pub fn grow(&self, page: PageNo, page_bytes: usize, growth_pages: u32) -> Result<()> {
        let needed = u64::from(page.0) + 1;
        if needed <= self.pages() {
            return Ok(());
        }
        let _growth = self.growth.lock();
        let pages = self.pages();
        if needed <= pages {
            return Ok(());
        }
        let step = (pages / 4).clamp(GROWTH_MIN, u64::from(growth_pages).max(GROWTH_MIN));
        let held = self.hold()?;
        let file = held.file();
        let most = u64::from(u32::MAX);
        // A full disk may still have room for the one page.
        let grown = [(pages + step).min(most).max(needed), needed].into_iter().find_map(|target| {
            let from = pages * page_bytes as u64;
            match file.allocate(from, target * page_bytes as u64 - from) {
                Ok(()) => Some(Ok(target)),
                Err(error) if target == needed => Some(Err(error)),
                Err(_) => None,
            }
        });
        match grown.expect("the last attempt answers") {
            Ok(target) => {
                self.set_pages(target);
                Ok(())
            }
            Err(source) => Err(self.io("grow", source)),
        }
    }

    /// Reads a page into `buf` and checks it; the content is validated by kind.
    pub fn read(&self, file: &dyn File, page: PageNo, buf: &mut [u8]) -> Result<PageIn> {
        let id = PageId::new(self.id, page);
        let count = file
            .read_full_at(buf, u64::from(page.0) * buf.len() as u64)
            .map_err(|source| self.io("read", source))?;
        if count < buf.len() {
            // An error is never taken for an end: the page is there, or was grown to.
            if u64::from(page.0) < self.pages() {
                return Err(self.io("read", io::ErrorKind::UnexpectedEof.into()));
            }
            return Ok(PageIn::NeverWritten);
        }
        if page::is_never_written(buf) {
            return Ok(PageIn::NeverWritten);
        }
        let sound = page::check(buf, id).and_then(|()| campanile_format::validate(&Plain(buf)));
        Ok(match sound {
            Ok(()) => PageIn::Sound,
            Err(cause) => PageIn::Damaged(cause),
        })
    }

    /// An error of the file system on this file.
    pub fn io(&self, what: &'static str, source: io::Error) -> StoreError {
        StoreError::Io { what, path: self.path(), source }
    }
}

/// A file that is open and stays so.
pub(crate) struct Held<'a>(RwLockReadGuard<'a, State>);

impl Held<'_> {
    /// The handle.
    pub fn file(&self) -> &Arc<PooledFile> {
        match &*self.0 {
            State::Open(file) => file,
            State::Unknown | State::Absent => unreachable!("checked when it was taken"),
        }
    }
}
