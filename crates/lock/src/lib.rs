#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod detector;
mod dump;
mod error;
mod gap;
mod inspect;
mod lock;
mod mode;
#[cfg(all(test, loom))]
mod models;
mod name;
mod options;
mod owner;
mod release;
mod report;
mod stats;
mod table;
mod ticket;
mod waiting;

pub use dump::{Dump, DumpedLock, DumpedOwner};
pub use error::LockError;
pub use mode::{Brief, Intent, Mode, Part};
pub use name::LockName;
pub use options::{LockOptions, VictimPolicy, Wait};
pub use owner::{OwnerId, OwnerInfo};
pub use report::{OwnerReport, WaitReport};
pub use stats::LockStats;
pub use table::{Granted, LockTable};
