//! What a page store is opened with.
//!
//! Owns [`StoreOptions`] and [`FileFlags`] and their defaults. Promises that any value a caller
//! can write down either works or is refused by [`crate::PageStore::open`] with a reason.

use std::path::PathBuf;

use campanile_format::EnvironmentId;
use campanile_format::limits::DEFAULT_PAGE_BYTES;

/// The fewest frames a cache has, whatever was asked for: a structure change holds several.
pub const MIN_FRAMES: usize = 16;

/// The most pages between two syncs, whatever was asked for.
const BATCH_PAGES_MAX: usize = 1 << 14;

/// How to open a page store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The environment: bound into the double-write file, so that no copy of another is used.
    pub environment: EnvironmentId,
    /// The home of the environment.
    pub home: PathBuf,
    /// Bytes of a page: the same for all files of an environment.
    pub page_bytes: usize,
    /// Bytes of the cache; at least [`MIN_FRAMES`] pages are held whatever is asked for.
    pub cache_bytes: usize,
    /// Whether pages go to the double-write file first. Without it the medium must write a page
    /// in one piece or not at all.
    pub double_write: bool,
    /// The most pages written back between two syncs.
    pub batch_pages: usize,
    /// Data files that have a handle of the operating system at a time; there may be any number
    /// of data files.
    pub open_files: usize,
    /// The most pages a file grows by at once.
    pub growth_pages: u32,
    /// Pause after each eight pages of a background batch, so that commits find the device idle;
    /// dropped as soon as anybody waits for the batch. Only with background threads.
    pub trickle_us: u64,
}

impl StoreOptions {
    /// The defaults, for the home of an environment.
    pub fn new(home: impl Into<PathBuf>, environment: EnvironmentId) -> StoreOptions {
        StoreOptions {
            environment,
            home: home.into(),
            page_bytes: DEFAULT_PAGE_BYTES,
            cache_bytes: 64 << 20,
            double_write: true,
            batch_pages: 256,
            open_files: 128,
            growth_pages: 1024,
            trickle_us: 500,
        }
    }

    /// The most pages in a batch, such that its header is found again.
    pub(crate) fn batch_limit(&self) -> usize {
        self.batch_pages.clamp(1, BATCH_PAGES_MAX)
    }

    /// The number of frames these options ask for.
    pub(crate) fn frames(&self) -> usize {
        (self.cache_bytes / self.page_bytes).clamp(MIN_FRAMES, u32::MAX as usize - 1)
    }
}

/// What a data file is, beyond its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFlags {
    /// Whether changes of its pages are in the log. If not, its pages are written back without
    /// asking the log, without the double-write file and without a sync, except at a clean close.
    pub durable: bool,
}

impl Default for FileFlags {
    fn default() -> FileFlags {
        FileFlags { durable: true }
    }
}
