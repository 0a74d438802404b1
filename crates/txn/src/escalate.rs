//! One lock on a whole file instead of very many on its keys.
//!
//! Owns: when it is tried and how long it is waited for. Promises: a transaction never fails
//! because of it: refused, it goes on with locks on keys and tries again later. Must never: be
//! reached with a page latched.

use std::time::Duration;

use campanile_format::FileId;
use campanile_lock::{Intent, LockName, Mode, Part, Wait};

use crate::locks::may_wait;
use crate::table::Phase;
use crate::transaction::Txn;
use crate::transactions::Transactions;

/// From this many times the usual number of locks on, it is worth waiting for the whole file.
const WORTH_WAITING: u64 = 8;
/// How long.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// As long as `patience` says, but no longer than that.
fn at_most(longest: Duration, patience: Wait) -> Wait {
    match patience {
        Wait::No => Wait::No,
        Wait::AtMost(time) => Wait::AtMost(time.min(longest)),
        Wait::Default | Wait::Forever => Wait::AtMost(longest),
    }
}

impl Transactions {
    /// One more key of `file` is locked.
    pub(crate) fn count_key(&self, txn: &mut Txn, file: FileId) {
        // Others that are prepared are still to get back what they had in this file.
        if txn.entry.progress().phase == Phase::Prepared {
            return;
        }
        let files = &mut self.holder(txn).files;
        let Some(known) = files.iter_mut().rfind(|known| known.file == file) else { return };
        known.keys += 1;
        if known.keys >= known.escalate_at {
            self.escalate(txn, file);
        }
    }

    fn escalate(&self, txn: &mut Txn, file: FileId) {
        let limit = self.options().escalate_after.max(1);
        let owner = self.holder(txn).owner;
        let patience = self.patience(txn);
        let files = &mut self.holder(txn).files;
        let Some(known) = files.iter_mut().find(|known| known.file == file) else { return };
        // What the table knows, not what this transaction remembers: committed children have left
        // it locks that it never asked for. One that commits from now on leaves what stays below.
        let held = self.locks().holds(owner, LockName::whole(file.0));
        let changes = held.intent() == Intent::Exclusive || held.key() == Part::Exclusive;
        let mode = if changes { Mode::X } else { Mode::S };
        let worth_waiting = known.keys >= limit.saturating_mul(WORTH_WAITING);
        let wait = if worth_waiting { at_most(LONGEST_WAIT, patience) } else { Wait::No };
        debug_assert!(may_wait(wait), "{file} is awaited under a latch");
        if self.locks().acquire(owner, LockName::whole(file.0), mode, wait).is_err() {
            known.escalate_at = known.keys + (limit / 4).max(1);
            return;
        }
        tracing::debug!(txn = %txn.id(), %file, %mode, "many locks on keys become one on the file");
        let files = &mut self.holder(txn).files;
        if let Some(known) = files.iter_mut().find(|known| known.file == file) {
            known.mode = known.mode.join(mode);
            known.keys = 0;
            known.escalate_at = limit;
        }
        self.locks().release_keys(owner, file.0, mode.key());
        self.cells().escalations.one_more();
    }
}
