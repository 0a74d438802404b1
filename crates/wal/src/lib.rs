#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod append;
mod buffer;
mod control_file;
mod error;
mod find_end;
mod flush;
mod group;
mod log_set;
#[cfg(all(test, loom))]
mod models;
mod old_tail;
mod options;
mod pins;
mod read;
mod recycle;
mod resync;
mod rotate;
mod scanner;
mod spares;
mod start;
mod stats;
mod step;
mod tail;
mod wal;
mod walker;
mod window;

pub use control_file::ControlFile;
pub use error::WalError;
pub use find_end::{LogEnd, Tail, find_end};
pub use log_set::{Link, LogFile, LogSet};
pub use options::{
    LOG_BLOCK_BYTES_DEFAULT, LOG_BUFFER_BYTES_DEFAULT, LOG_FILE_BYTES_DEFAULT, LOG_FILE_BYTES_MAX,
    LOG_FILE_BYTES_MIN, Start, WalOptions,
};
pub use pins::LogPin;
pub use read::RecordBuf;
pub use recycle::Recycled;
pub use scanner::Scanner;
pub use stats::WalStats;
pub use tail::{Evidence, Found, Successor, Verdict};
pub use wal::Wal;

// What a log is opened with and answers with; `txn` above knows them by this name only.
pub use campanile_vfs::{Clock, Poison, Poisoned};
