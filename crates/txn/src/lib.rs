#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod activity;
mod alone;
mod apply;
mod brief_locks;
mod checkpoint;
mod error;
mod escalate;
mod file_ops;
mod flush_log_first;
mod key_hash;
mod lock_refused;
mod locks;
#[cfg(all(test, loom))]
mod models;
mod nested;
mod prepare;
mod redo_check;
mod restore_point;
mod resume;
mod rollback;
mod snapshot;
mod space;
mod stats;
mod table;
mod transaction;
mod transactions;
mod versions;
mod volatile;

pub use activity::{ActiveTxn, Activity, LogHold};
pub use alone::Alone;
pub use apply::{By, Change};
pub use brief_locks::{Brief, KeptLock};
pub use checkpoint::{CheckpointInfo, CheckpointKind, log_distance};
pub use error::TxnError;
pub use flush_log_first::FlushLogFirst;
pub use lock_refused::{LockRefused, Place};
pub use locks::{Access, GapLock};
pub use nested::{ChildrenMark, Parent};
pub use prepare::{GID_BYTES_MAX, PreparedTxn};
pub use restore_point::RESTORE_POINT_NAME_MAX;
pub use rollback::LogicalUndo;
pub use snapshot::{OldestSnapshot, Snapshot};
pub use space::{FreePages, MapChange};
pub use stats::TxnStats;
pub use transaction::{Durability, Isolation, Savepoint, Txn, TxnOptions};
pub use transactions::{Parts, Transactions, TransactionsOptions};
pub use versions::{Before, Seen};

// What a transaction layer is opened with; `recovery` above knows them by this name only.
pub use campanile_lock::{LockName, LockOptions, LockTable};
