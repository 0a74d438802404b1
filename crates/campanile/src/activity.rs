//! What goes on in an environment: transactions, waits, snapshots, and who keeps the log.
//!
//! Owns the shapes that users and `--json` see. Promises that looking hinders nobody for longer
//! than it takes to copy one line, and that a field never changes its meaning. Must never cost
//! anything while nobody asks.

use std::fmt;

use campanile_txn::{ActiveTxn, LogHold as Hold};
use serde::{Deserialize, Serialize};

use crate::Lsn;
use crate::core::Core;
use crate::inspect::{lsn_as_text, lsn_from_text};

/// What goes on now; see [`Environment::activity`](crate::Environment::activity). Each line is
/// true of one moment, different lines may be a moment apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Activity {
    /// Transactions that have begun and not ended, oldest first.
    pub transactions: Vec<ActiveTransaction>,
    /// The snapshot that was taken first of those that are open.
    pub oldest_snapshot: Option<OldestSnapshot>,
    /// What keeps old log files from being used again, the strongest hold first: files before the
    /// first line are free, once the next checkpoint is through.
    pub log_holds: Vec<LogHold>,
}

/// A transaction that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ActiveTransaction {
    /// Its number.
    pub id: u64,
    /// What its options call it, or "transaction" and its number.
    pub label: String,
    /// The transaction that it is nested in.
    pub parent: Option<u64>,
    /// Microseconds since it began, or was found by recovery.
    pub age_us: u64,
    /// Its first record in the log; [`Lsn::NONE`] if it has changed nothing.
    #[serde(serialize_with = "lsn_as_text", deserialize_with = "lsn_from_text")]
    pub first_lsn: Lsn,
    /// Its last.
    #[serde(serialize_with = "lsn_as_text", deserialize_with = "lsn_from_text")]
    pub last_lsn: Lsn,
    /// It waits for its coordinator.
    pub prepared: bool,
    /// Locks that it holds.
    pub locks: u64,
    /// The lock that it waits for.
    pub waiting: Option<LockWait>,
}

/// A transaction's wait for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LockWait {
    /// What the lock is on, in words.
    pub lock: String,
    /// Microseconds so far.
    pub waited_us: u64,
    /// The first transaction that stands in the way; none if that was over when it was looked for.
    pub blocker: Option<u64>,
}

/// The snapshot that was taken first of those that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OldestSnapshot {
    /// Microseconds since it was taken.
    pub age_us: u64,
    /// Changes from here on may not be part of it.
    #[serde(serialize_with = "lsn_as_text", deserialize_with = "lsn_from_text")]
    pub lsn: Lsn,
}

/// Somebody who keeps log files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogHold {
    /// Who, in words.
    pub holder: String,
    /// From where on.
    #[serde(serialize_with = "lsn_as_text", deserialize_with = "lsn_from_text")]
    pub lsn: Lsn,
}

impl Activity {
    pub(crate) fn of(core: &Core) -> Activity {
        let now = core.txns.activity();
        Activity {
            transactions: now.transactions.into_iter().map(ActiveTransaction::new).collect(),
            oldest_snapshot: now
                .oldest_snapshot
                .map(|oldest| OldestSnapshot { age_us: micros(oldest.age), lsn: oldest.low_lsn }),
            log_holds: now.log_holds.into_iter().map(LogHold::new).collect(),
        }
    }
}

impl ActiveTransaction {
    fn new(txn: ActiveTxn) -> ActiveTransaction {
        ActiveTransaction {
            id: txn.id.0,
            label: txn.label,
            parent: txn.parent.map(|parent| parent.0),
            age_us: micros(txn.age),
            first_lsn: txn.first,
            last_lsn: txn.last,
            prepared: txn.prepared,
            locks: txn.locks,
            waiting: txn.waiting.map(|wait| LockWait {
                lock: wait.name.to_string(),
                waited_us: micros(wait.waited),
                blocker: wait.blocker.map(|blocker| blocker.0),
            }),
        }
    }
}

impl LogHold {
    fn new((hold, lsn): (Hold, Lsn)) -> LogHold {
        let holder = match hold {
            Hold::Checkpoint => "the last checkpoint: recovery would begin here".to_owned(),
            Hold::DirtyPage => "a page that is not on disk yet".to_owned(),
            Hold::Transaction(id) => format!("transaction {id}, running"),
            Hold::Prepared(id) => format!("transaction {id}, prepared: its coordinator decides"),
            Hold::Archive => "the archive, which is behind".to_owned(),
            _ => "somebody".to_owned(),
        };
        LogHold { holder, lsn }
    }
}

impl fmt::Display for ActiveTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ActiveTransaction { id, label, age_us, locks, .. } = self;
        write!(f, "{id}: {label}, {}, {locks} locks", seconds(*age_us))?;
        if let Some(parent) = self.parent {
            write!(f, ", nested in {parent}")?;
        }
        if !self.first_lsn.is_none() {
            write!(f, ", log {} to {}", self.first_lsn, self.last_lsn)?;
        }
        if self.prepared {
            write!(f, ", prepared")?;
        }
        if let Some(LockWait { lock, waited_us, blocker }) = &self.waiting {
            write!(f, ", waits {} for {lock}", seconds(*waited_us))?;
            if let Some(blocker) = blocker {
                write!(f, ", which {blocker} has")?;
            }
        }
        Ok(())
    }
}

/// A time for people.
fn seconds(us: u64) -> String {
    format!("{}.{:03} s", us / 1_000_000, us / 1000 % 1000)
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
