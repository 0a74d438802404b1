//! One transaction, as its owner holds it.
//!
//! Owns: [`Txn`], its options and savepoints. Promises: `Send`, no lifetime, small: what a
//! transaction changed is in the log, not in memory (except for files that are not durable, whose
//! undo lives here). Must never: end by being dropped; the layer above rolls back on drop.

use std::sync::Arc;

use campanile_format::{Lsn, TxnId};
use campanile_lock::OwnerInfo;

use crate::error::TxnError;
use crate::locks::Holder;
use crate::nested::Nesting;
use crate::table::{Entry, Phase, Position};
use crate::versions::VersionList;
use crate::volatile::VolatileUndo;

/// What a commit promises when it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The transaction survives a power cut.
    #[default]
    Sync,
    /// It survives the end of this process, not of the machine.
    WriteNoSync,
    /// It is in memory; it becomes durable soon, in commit order.
    NoSync,
}

/// What a transaction may see of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// As if it ran alone: reads lock keys and gaps until the end.
    #[default]
    Serializable,
    /// Only what was committed: reads lock keys for as long as they look at them.
    ReadCommitted,
    /// Whatever is there: reads take no locks.
    ReadUncommitted,
}

/// How a transaction behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TxnOptions {
    /// What it may see of others.
    pub isolation: Isolation,
    /// How long to wait for a lock; `None` leaves it to the lock table's options.
    pub lock_timeout_us: Option<u64>,
    /// How long it may take as a whole.
    pub timeout_us: Option<u64>,
    /// Whether a lock that is not free is refused at once.
    pub no_wait: bool,
    /// In a deadlock the lowest gives way first.
    pub priority: u32,
    /// What messages call it; empty: "transaction N".
    pub label: String,
}

impl Default for TxnOptions {
    fn default() -> TxnOptions {
        TxnOptions {
            isolation: Isolation::Serializable,
            lock_timeout_us: None,
            timeout_us: None,
            no_wait: false,
            priority: OwnerInfo::DEFAULT_PRIORITY,
            label: String::new(),
        }
    }
}

/// A place in a transaction to which it can be rolled back.
///
/// After a rollback beyond it, it stands for the nearest state that is left.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {
    pub(crate) txn: TxnId,
    pub(crate) last: Lsn,
    pub(crate) volatile: u64,
}

/// A read-write transaction.
///
/// End it with [`Transactions::commit`](crate::Transactions::commit) or
/// [`abort`](crate::Transactions::abort): one that has changed something and is merely dropped
/// keeps its locks and pins the log until the environment is closed and recovered, and if it is
/// nested its parent cannot end.
#[derive(Debug)]
#[must_use = "commit or abort it: a dropped transaction keeps its locks"]
pub struct Txn {
    pub(crate) entry: Arc<Entry>,
    pub(crate) options: TxnOptions,
    /// When its time is up, on the environment's clock.
    pub(crate) deadline_us: Option<u64>,
    pub(crate) holder: Option<Holder>,
    pub(crate) volatile: VolatileUndo,
    pub(crate) versions: VersionList,
    failure: Option<String>,
    /// Counts it among its parent's children; goes after the locks.
    nesting: Option<Nesting>,
}

impl Drop for Txn {
    /// What was changed and neither committed nor rolled back is nobody else's to see.
    fn drop(&mut self) {
        let orphans = self.live_children();
        let Some(holder) = &mut self.holder else { return };
        let phase = self.entry.progress().phase;
        let is_open = self.entry.is_listed() && phase != Phase::Ended;
        if orphans == 0 && (!is_open || holder.is_poisoned()) {
            return;
        }
        holder.hold_on();
        if let Some(nesting) = &mut self.nesting {
            nesting.hold_on();
        }
        if phase == Phase::Prepared {
            // The environment closes, and its next life finds it.
            return;
        }
        tracing::error!(txn = %self.entry.id(), orphans, "dropped before its end: its locks stay");
    }
}

impl Txn {
    pub(crate) fn new(entry: Arc<Entry>, options: TxnOptions) -> Txn {
        Txn {
            nesting: Nesting::begin(&entry),
            entry,
            options,
            deadline_us: None,
            holder: None,
            volatile: VolatileUndo::default(),
            versions: VersionList::default(),
            failure: None,
        }
    }

    /// Its number, unique in this environment for ever.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.entry.id()
    }

    /// A bound: no record of this transaction lies below. NONE if it has changed nothing.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        self.entry.progress().first
    }

    /// Its last record. NONE if it has logged nothing.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.entry.progress().last
    }

    /// The next record to undo, its own or one of a child merged into it.
    #[must_use]
    pub fn undo_next(&self) -> Lsn {
        self.position().next
    }

    /// Where a rollback of it is.
    pub(crate) fn position(&self) -> Position {
        self.entry.progress().undo
    }

    /// A rollback goes on with another record of the same chain; nothing was undone.
    pub(crate) fn step_to(&mut self, next: Lsn) {
        self.entry.progress().undo.next = next;
    }

    /// What it may see of others.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.options.isolation
    }

    /// True if it has changed something.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.entry.is_listed()
    }

    /// Says that a statement of this transaction stopped half-way: from now on it can only be
    /// rolled back (to a savepoint before the statement, or as a whole).
    pub fn fail(&mut self, why: impl Into<String>) {
        self.failure.get_or_insert(why.into());
    }

    /// Why it can only be rolled back, if so.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(crate) fn clear_failure(&mut self) {
        self.failure = None;
    }

    /// Fails unless new changes are allowed.
    pub(crate) fn check_open(&self) -> Result<(), TxnError> {
        assert!(self.entry.progress().phase == Phase::Active, "{} takes no changes", self.id());
        self.assert_childless();
        match &self.failure {
            None => Ok(()),
            Some(why) => Err(TxnError::MustRollBack { txn: self.id(), why: why.clone() }),
        }
    }
}
