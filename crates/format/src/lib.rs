//! Every byte on disk and in the log, and the pure functions that change a page.
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod access_method;
pub mod catalog_row;
pub mod codec;
pub mod control;
pub mod double_write;
mod error;
mod features;
pub mod frame;
pub mod header;
mod ids;
pub mod log_file;
pub mod names;
pub mod planted;

pub use access_method::AccessMethod;
pub use error::{Corrupt, FormatError};
pub use features::Features;
pub use ids::{EnvironmentId, FileId, Lsn, PageId, PageNo, Timeline, TxnId};
