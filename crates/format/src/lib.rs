//! Every byte on disk and in the log, and the pure functions that change a page.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod access;
mod access_method;
pub mod catalog_row;
pub mod codec;
pub mod control;
pub mod data_dirs;
pub mod describe;
pub mod double_write;
mod error;
mod features;
pub mod frame;
pub mod header;
mod ids;
pub mod increment;
pub mod limits;
pub mod log_file;
pub mod map;
pub mod meta;
pub mod names;
pub mod node;
pub mod overflow;
pub mod page;
pub mod page_op;
pub mod planted;
pub mod record;
mod separator;
mod slot;
mod utc;
mod value;

pub use access::{PageBytes, PageBytesMut, Plain, PlainMut, Sparse, Words};
pub use access_method::AccessMethod;
pub use error::{Corrupt, FormatError};
pub use features::Features;
pub use ids::{DirNo, EnvironmentId, FileId, Lsn, PageId, PageNo, Timeline, TxnId};
pub use limits::{inline_limit, is_inline, max_key};
pub use meta::MetaFields;
pub use node::build::{NodeBuilder, NodeImage};
pub use node::{Node, validate};
pub use page_op::PageOp;
pub use separator::{common_prefix, separator};
pub use utc::Utc;
pub use value::{OverflowRef, Value, ValueLoc};
