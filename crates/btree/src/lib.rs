#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

// The rig of the tests of the tree, which some tests of its inside stand on too.
#[cfg(test)]
extern crate self as campanile_btree;

mod builder_level;
mod bulk_load;
mod clean;
mod cursor;
mod descend;
mod error;
mod forest;
mod gap;
mod glimpse;
mod graveyard;
mod leaf_copy;
mod locked_scan;
mod locking;
mod long_value;
mod merge;
mod range;
#[cfg(test)]
#[allow(dead_code, reason = "the tests of the tree use the rest")]
#[path = "../tests/tree/rig.rs"]
mod rig;
mod scan;
mod split;
mod split_point;
mod stats;
mod tree;
mod undo;
mod value_reader;
mod verify;
mod verify_space;
mod view;
mod visible;
mod write;

pub use cursor::Cursor;
pub use error::TreeError;
pub use forest::Forest;
pub use graveyard::{PurgeReport, buried_file};
pub use range::Range;
pub use stats::TreeStats;
pub use tree::Tree;
pub use value_reader::ValueReader;
pub use verify::{Finding, VerifyReport};
pub use view::{Reader, Seek};
