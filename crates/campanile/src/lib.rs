//! Campanile: an embedded, transactional key-value store.
#![allow(clippy::todo, dead_code)]

mod database;
mod environment;
mod error;
mod key_range;
mod options;
mod progress;
mod range;
mod snapshot;
pub mod text;
mod transaction;
mod verify;
mod view;

pub use campanile_format::Lsn;
pub use database::Database;
pub use environment::Environment;
pub use error::{Error, ErrorKind, Result};
pub use key_range::KeyRange;
pub use options::{DatabaseOptions, Durability, EnvironmentOptions, TransactionOptions};
pub use progress::{Progress, Step};
pub use range::Range;
pub use snapshot::Snapshot;
pub use transaction::{Savepoint, Transaction};
pub use verify::VerifyReport;
pub use view::Reads;
