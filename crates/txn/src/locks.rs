//! The lock a writer takes: one for the whole environment, for now.
//!
//! Owns: when locks are taken and given back. Promises: a transaction is locked before its first
//! access and unlocked after its outcome is published (T7); waiters are served in order. Must
//! never: be called with a page latched.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::TxnError;
use crate::transaction::Txn;
use crate::transactions::Transactions;

/// A lock was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The wait took longer than the transaction allows.
    #[error("waited {waited_us} us for a lock; run the transaction again")]
    Timeout {
        /// How long it waited.
        waited_us: u64,
    },
}

#[derive(Debug, Default)]
struct Queue {
    /// The first holds the lock, the others wait.
    tickets: VecDeque<u64>,
    next: u64,
}

/// First come, first served.
#[derive(Debug, Default)]
pub struct LockTable {
    queue: Mutex<Queue>,
    moved: Condvar,
}

/// Proof that the lock is held; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    table: Arc<LockTable>,
    ticket: u64,
}

impl LockTable {
    fn acquire(self: &Arc<Self>, timeout_us: Option<u64>) -> Result<Holder, LockError> {
        let begun = Instant::now();
        let deadline = timeout_us.map(|us| begun + Duration::from_micros(us));
        let mut queue = self.queue.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.tickets.push_back(ticket);
        while queue.tickets.front() != Some(&ticket) {
            let late = match deadline {
                None => {
                    self.moved.wait(&mut queue);
                    false
                }
                Some(deadline) => self.moved.wait_until(&mut queue, deadline).timed_out(),
            };
            if late && queue.tickets.front() != Some(&ticket) {
                queue.tickets.retain(|waiting| *waiting != ticket);
                let waited = begun.elapsed().as_micros();
                return Err(LockError::Timeout {
                    waited_us: u64::try_from(waited).unwrap_or(u64::MAX),
                });
            }
        }
        Ok(Holder { table: Arc::clone(self), ticket })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.table.queue.lock().tickets.retain(|ticket| *ticket != self.ticket);
        self.table.moved.notify_all();
    }
}

impl Transactions {
    /// Takes the locks that `txn` needs to read and write, if it does not hold them yet. Waits
    /// for other writers; call it with nothing latched.
    pub fn lock_for_access(&self, txn: &mut Txn) -> Result<(), TxnError> {
        if txn.holder.is_none() {
            self.poison().check()?;
            txn.holder = Some(self.locks().acquire(txn.options.lock_timeout_us)?);
            // Whoever held it may have poisoned the environment.
            self.poison().check()?;
        }
        Ok(())
    }
}
