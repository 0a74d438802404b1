#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod arena;
mod barrier;
mod batch;
mod cells;
mod data_dirs;
mod data_file;
mod dirt;
mod double_write;
mod error;
mod evict;
mod fetch;
mod file_table;
mod files;
mod frame;
mod glimpse;
mod guard;
mod handles;
mod held;
mod latch;
#[cfg(all(test, loom))]
mod models;
mod options;
mod stats;
mod store;
mod translation;
mod write_back;

pub use barrier::{BarrierError, LogBarrier};
pub use data_dirs::{DataDirs, Place};
pub use double_write::RepairReport;
pub use error::{Result, StoreError};
pub use glimpse::{PageGlimpse, PageVersion};
pub use guard::{PageRead, PageWrite, RedoPage};
pub use held::latches_held;
pub use options::{FileFlags, MIN_FRAMES, StoreOptions};
pub use stats::StoreStats;
pub use store::PageStore;
