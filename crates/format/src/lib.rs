//! Every byte on disk and in the log, and the pure functions that change a page.
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod codec;
mod error;
mod ids;

pub use error::{Corrupt, FormatError};
pub use ids::{EnvironmentId, FileId, Lsn, PageId, PageNo, Timeline, TxnId};
