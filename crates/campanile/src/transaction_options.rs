//! What can be chosen for one transaction.
//!
//! Owns [`Isolation`] and [`TransactionOptions`]. Promises that every default is that of the
//! environment and the safest there is. Must never hold a choice that the engine does not follow.

use std::time::Duration;

use campanile_txn::TxnOptions;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::options::Durability;

/// What a read-write transaction may see of others that run beside it.
///
/// Whatever is chosen: what a transaction writes is seen by others (except those that read
/// uncommitted data) when it commits, all at once, and two transactions never write the same key at
/// the same time. For reading alone a [`Snapshot`](crate::Snapshot) is better than any of these: it
/// sees one moment, waits for nobody, and nobody waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// As if it ran alone: what it has read, the absence of keys in a range included, stays so
    /// until it ends.
    #[default]
    Serializable,
    /// It sees only what was committed, but may see something else when it looks again. A cursor
    /// keeps the entry that it stands on from being changed.
    ReadCommitted,
    /// It also sees what others have written and may still roll back. A value that has pages of its
    /// own is read as by [`ReadCommitted`](Isolation::ReadCommitted): pages of an uncommitted one
    /// may vanish while they are read.
    ReadUncommitted,
}

impl Isolation {
    fn inner(self) -> campanile_txn::Isolation {
        match self {
            Isolation::Serializable => campanile_txn::Isolation::Serializable,
            Isolation::ReadCommitted => campanile_txn::Isolation::ReadCommitted,
            Isolation::ReadUncommitted => campanile_txn::Isolation::ReadUncommitted,
        }
    }
}

/// How a transaction is begun. Every setter takes and returns the options.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let env = campanile::Environment::open(dir.path())?;
/// use std::time::Duration;
/// use campanile::{Isolation, TransactionOptions};
///
/// let db = env.create_database("db")?;
/// let options = TransactionOptions::new()
///     .isolation(Isolation::ReadCommitted)
///     .timeout(Duration::from_secs(5))
///     .label("nightly job");
/// env.run_with(options, |txn| db.put(txn, "k", "v"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct TransactionOptions {
    pub(crate) isolation: Isolation,
    pub(crate) durability: Option<Durability>,
    pub(crate) priority: u32,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) no_wait: bool,
    pub(crate) label: String,
}

impl Default for TransactionOptions {
    fn default() -> TransactionOptions {
        TransactionOptions {
            isolation: Isolation::default(),
            durability: None,
            priority: Self::PRIORITY,
            lock_timeout: None,
            timeout: None,
            no_wait: false,
            label: String::new(),
        }
    }
}

impl TransactionOptions {
    /// The priority of a transaction that asks for none.
    pub const PRIORITY: u32 = 100;

    /// The defaults: serializable, and otherwise as the environment's options say.
    pub fn new() -> TransactionOptions {
        TransactionOptions::default()
    }

    /// What the transaction may see of others (default: [`Isolation::Serializable`]).
    pub fn isolation(mut self, isolation: Isolation) -> TransactionOptions {
        self.isolation = isolation;
        self
    }

    /// What [`commit`](crate::Transaction::commit) promises (default: what the environment's
    /// options say).
    pub fn durability(mut self, durability: Durability) -> TransactionOptions {
        self.durability = Some(durability);
        self
    }

    /// In a deadlock, transactions of the lowest priority give way first (default: 100).
    /// [`Environment::run`](crate::Environment::run) raises it with every attempt.
    pub fn priority(mut self, priority: u32) -> TransactionOptions {
        self.priority = priority;
        self
    }

    /// How long this transaction waits for one lock before it fails with
    /// [`ErrorKind::LockTimeout`](crate::ErrorKind::LockTimeout) (default: what the environment's
    /// options say).
    pub fn lock_timeout(mut self, timeout: Duration) -> TransactionOptions {
        self.lock_timeout = Some(timeout);
        self
    }

    /// How long the transaction may take, from its begin (default: as long as it likes). After
    /// that every call through it, a wait for a lock and the commit included, fails with
    /// [`ErrorKind::TransactionTimeout`](crate::ErrorKind::TransactionTimeout).
    /// [`Environment::run_with`](crate::Environment::run_with) counts all its attempts together.
    pub fn timeout(mut self, timeout: Duration) -> TransactionOptions {
        self.timeout = Some(timeout);
        self
    }

    /// Whether a lock that is not free is an error,
    /// [`ErrorKind::WouldBlock`](crate::ErrorKind::WouldBlock), instead of a wait (default: no).
    pub fn no_wait(mut self, no_wait: bool) -> TransactionOptions {
        self.no_wait = no_wait;
        self
    }

    /// What messages about locks call the transaction (default: `transaction` and its number).
    pub fn label(mut self, label: impl Into<String>) -> TransactionOptions {
        self.label = label.into();
        self
    }

    /// The same for the layer below.
    pub(crate) fn inner(&self, core: &Core) -> TxnOptions {
        let mut inner = TxnOptions::default();
        inner.isolation = self.isolation.inner();
        inner.priority = self.priority;
        inner.label.clone_from(&self.label);
        inner.no_wait = self.no_wait;
        inner.lock_timeout_us = self.lock_timeout.or(core.options.lock_timeout).map(micros);
        inner.timeout_us = self.timeout.map(micros);
        inner
    }
}

/// Whole microseconds, as many as fit.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
