//! The page store as a whole: opening it, and what it tells about itself.
//!
//! Owns the parts and their wiring; the work is in the rooms `fetch`, `evict`, `write_back`,
//! `double_write` and `files`. Promises that a store starts no thread: whoever owns it calls
//! [`PageStore::step`], from a thread of its own or not. Must never touch a log record.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use campanile_format::limits::is_page_size;
use campanile_format::{DirNo, FileId, Lsn, names};
use campanile_sync::Mutex;
use campanile_sync::atomic::{AtomicUsize, Ordering};
use campanile_vfs::{Host, Poison};

use crate::arena::Arena;
use crate::data_dirs::DataDirs;
use crate::data_file::DataFile;
use crate::dirt::Dirt;
use crate::file_table::FileTable;
use crate::frame::{Frame, Turn};
use crate::handles::Handles;
use crate::stats::Counters;
use crate::translation::Translation;
use crate::write_back::WriteBack;
use crate::{LogBarrier, Result, StoreError, StoreOptions, StoreStats};

/// The pages of an environment: on disk in data files, in memory in frames.
///
/// Safe to share between threads; see the crate's README for the order of latches.
pub struct PageStore {
    pub(crate) host: Host,
    pub(crate) poison: Poison,
    pub(crate) options: StoreOptions,
    pub(crate) barrier: Arc<dyn LogBarrier>,
    pub(crate) dirs: Arc<DataDirs>,
    /// The files that were found in another directory than `data`.
    elsewhere: BTreeMap<FileId, DirNo>,
    pub(crate) arena: Arena,
    pub(crate) frames: Box<[Frame]>,
    /// Frames without a page.
    pub(crate) free: Mutex<Vec<usize>>,
    /// Where the clock stands.
    pub(crate) hand: AtomicUsize,
    /// How many frames are not clean.
    pub(crate) dirty: AtomicUsize,
    pub(crate) files: FileTable,
    pub(crate) handles: Arc<Handles>,
    pub(crate) translation: Translation,
    /// One batch at a time; held through its I/O, and never while waiting for a latch (P7).
    pub(crate) write_back: Mutex<WriteBack>,
    /// How many wait for the batch that is under way.
    pub(crate) hurry: AtomicUsize,
    /// Page buffers for reading, one for each thread that reads at the same time.
    pub(crate) buffers: Mutex<Vec<Box<[u8]>>>,
    pub(crate) counters: Counters,
}

impl PageStore {
    /// Opens the store of a home, making its directory `data` if it is missing. No other directory
    /// of data files is made here: one that is missing is refused.
    ///
    /// After an unclean end, [`PageStore::repair_torn_pages`] comes before any page is read.
    pub fn open(
        host: &Host,
        poison: &Poison,
        options: StoreOptions,
        barrier: Arc<dyn LogBarrier>,
    ) -> Result<PageStore> {
        if !is_page_size(options.page_bytes) {
            return Err(StoreError::PageSize { page_bytes: options.page_bytes });
        }
        let count = options.frames();
        let data_dir = options.home.join(names::DATA_DIR);
        let io = |what, path: &PathBuf| {
            let path = path.clone();
            move |source| StoreError::Io { what, path, source }
        };
        if !host.vfs.exists(&data_dir).map_err(io("look for", &data_dir))? {
            host.vfs.create_dir(&data_dir).map_err(io("create", &data_dir))?;
            host.vfs.sync_dir(&options.home).map_err(io("sync", &options.home))?;
        }
        let dirs = Arc::new(DataDirs::open(&*host.vfs, &options.home, options.environment, false)?);
        let mut elsewhere = BTreeMap::new();
        if dirs.others().next().is_some() {
            elsewhere = dirs.files(&*host.vfs)?;
            elsewhere.retain(|_, directory| *directory != DirNo::HOME);
        }
        let arena =
            Arena::new(count, options.page_bytes).map_err(io("cache pages of", &data_dir))?;
        tracing::debug!(frames = count, page_bytes = options.page_bytes, "page store opened");
        Ok(PageStore {
            host: host.clone(),
            poison: poison.clone(),
            barrier,
            dirs,
            elsewhere,
            arena,
            frames: (0..count).map(|_| Frame::new()).collect(),
            free: Mutex::new((0..count).rev().collect()),
            hand: AtomicUsize::new(0),
            dirty: AtomicUsize::new(0),
            files: FileTable::new(),
            handles: Handles::new(Arc::clone(&host.vfs), options.open_files),
            translation: Translation::new(),
            write_back: Mutex::new(WriteBack::new()),
            hurry: AtomicUsize::new(0),
            buffers: Mutex::new(Vec::new()),
            counters: Counters::default(),
            options,
        })
    }

    /// Bytes of a page.
    #[must_use]
    pub fn page_bytes(&self) -> usize {
        self.options.page_bytes
    }

    /// Frames of the cache.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// The LSN at which redo must start so that no change is lost that is in memory only, or in
    /// a batch not yet durable. `None` if there is none.
    ///
    /// With `c` the end of the log read before the call, every change logged before `c` that is
    /// not durable in its data file is at or above the answer (P3).
    #[must_use]
    pub fn min_rec_lsn(&self) -> Option<Lsn> {
        self.dirty_frames().filter(|(_, _, durable)| *durable).map(|(_, lsn, _)| lsn).min()
    }

    /// The frames that are not clean: index, `rec_lsn`, and whether their file is durable.
    pub(crate) fn dirty_frames(&self) -> impl Iterator<Item = (usize, Lsn, bool)> {
        self.frames.iter().enumerate().filter_map(|(index, frame)| {
            // In this order: a frame that was cleaned and given to another page in between
            // yields an LSN that is too low at worst.
            let lsn = frame.rec_lsn()?;
            let page = frame.page()?;
            Some((index, lsn, self.is_durable(page.file)))
        })
    }

    /// Whether changes of the file are in the log.
    pub(crate) fn is_durable(&self, file: FileId) -> bool {
        self.files.get(file).is_none_or(|file| file.flags().durable)
    }

    /// Makes a transition of a frame's dirt and keeps the count of dirty frames.
    pub(crate) fn dirt<R>(&self, frame: &Frame, transition: impl FnOnce(&mut Dirt) -> R) -> R {
        let (result, turn) = frame.dirt(transition);
        match turn {
            Turn::Soiled => _ = self.dirty.fetch_add(1, Ordering::Relaxed),
            Turn::Cleaned => _ = self.dirty.fetch_sub(1, Ordering::Relaxed),
            Turn::Neither => {}
        }
        result
    }

    /// The entry of a file, whatever its state.
    pub(crate) fn entry(&self, file: FileId) -> Result<&DataFile> {
        if file.0 == 0 {
            return Err(StoreError::NoSuchFile { file });
        }
        Ok(self.files.get(file).unwrap_or_else(|| {
            let directory = self.elsewhere.get(&file).copied().unwrap_or(DirNo::HOME);
            self.files.fill(file, || DataFile::new(file, Arc::clone(&self.dirs), directory))
        }))
    }

    /// What the store has done, and how full it is.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let of = |counter: &campanile_sync::plain::AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            frames: self.frames.len() as u64,
            dirty_frames: self.dirty.load(Ordering::Relaxed) as u64,
            free_frames: self.free.lock().len() as u64,
            requests: self.counters.requests(),
            glimpses_missed: of(&self.counters.glimpses_missed),
            page_ins: of(&self.counters.page_ins),
            evictions: of(&self.counters.evictions),
            pages_written: of(&self.counters.pages_written),
            pages_double_written: of(&self.counters.pages_double_written),
            batches: of(&self.counters.batches),
            foreground_batches: of(&self.counters.foreground_batches),
            syncs: of(&self.counters.syncs),
        }
    }
}

impl fmt::Debug for PageStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageStore")
            .field("home", &self.options.home)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
