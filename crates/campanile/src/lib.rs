#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod activity;
mod archive_state;
pub mod backup;
mod backup_catalog;
mod backup_options;
mod backup_prune;
mod backup_verify;
mod catalog;
mod catalog_history;
mod causes;
mod copy;
mod core;
mod cursor;
pub mod data_dirs;
mod database;
pub mod diff;
mod dump;
mod environment;
mod error;
pub mod export;
mod family;
mod fingerprint;
mod gate;
pub mod import;
pub mod inspect;
mod keeper;
mod key_range;
mod live;
mod load;
mod nested;
mod options;
mod overlay;
mod owner;
mod pairs;
mod place;
mod prepared;
mod progress;
mod range;
pub mod repair;
mod repair_bench;
mod repair_build;
mod repair_survey;
pub mod restore;
mod restore_only;
mod retired;
mod retry;
mod scratch;
mod snapshot;
mod start;
mod stats;
pub mod text;
mod ticket;
mod transaction;
mod transaction_options;
mod verify;
mod view;

pub use activity::{ActiveTransaction, Activity, LockWait, LogHold, OldestSnapshot};
pub use campanile_format::Lsn;
pub use campanile_recovery::RecoveryReport;
pub use cursor::{Cursor, CursorMut};
pub use database::{Database, ValueReader};
pub use dump::{DumpOptions, DumpReport};
pub use environment::{Checkpoint, Environment, Health};
pub use error::{Error, ErrorKind, Result};
pub use fingerprint::{Content, DatabaseFingerprint, Fingerprint};
pub use key_range::KeyRange;
pub use live::LiveFigures;
pub use load::{LoadOptions, LoadReport, LoadedDatabase};
pub use nested::Nested;
pub use options::{DatabaseOptions, Durability, EnvironmentOptions, VictimPolicy};
pub use prepared::{Prepared, PreparedTransaction};
pub use progress::{Progress, Step};
pub use range::Range;
pub use snapshot::Snapshot;
pub use stats::{
    CacheStats, DatabaseStats, EnvironmentStats, LockStats, LogStats, TransactionStats,
};
pub use ticket::Ticket;
pub use transaction::{Savepoint, Transaction};
pub use transaction_options::{Isolation, TransactionOptions};
pub use verify::{VerifiedDatabase, VerifyOptions, VerifyReport};
pub use view::Reads;

/// What an environment runs on: files, clocks, chance. For [`Environment::open_on`].
pub mod host {
    pub use campanile_vfs::{
        Adversary, Background, Clock, File, FileLock, Host, LockMode, MemoryVfs, Open, OsClock,
        OsRandom, OsVfs, Random, Vfs, never,
    };
}

/// What recovery reports, in parts.
pub mod recovery {
    pub use campanile_recovery::{
        Outcome, Phase, PhaseTime, PreparedReport, RecoveryReport, RedoCounts, RestoredTo,
        UndoCounts,
    };
}
