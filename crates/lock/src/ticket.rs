//! One request's place to wait.
//!
//! Owns: the sleep and the waking. Promises: an outcome is set once and never lost, whether it
//! comes before or after the sleep begins. Must never: decide the outcome.

use campanile_sync::time::Instant;
use campanile_sync::{Condvar, Mutex};

use crate::error::LockError;

/// What became of a request.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Granted,
    Refused(LockError),
}

#[derive(Debug, Default)]
pub(crate) struct Ticket {
    outcome: Mutex<Option<Outcome>>,
    ready: Condvar,
}

impl Ticket {
    /// Sets the outcome and wakes the waiter. Called with the lock's shard locked, by whoever
    /// took the request off the queue.
    pub fn settle(&self, outcome: Outcome) {
        let mut slot = self.outcome.lock();
        assert!(slot.is_none(), "a lock request is settled once");
        *slot = Some(outcome);
        self.ready.notify_one();
    }

    /// Sleeps until settled or until `deadline`; `None` when the deadline came first.
    pub fn wait(&self, deadline: Option<Instant>) -> Option<Outcome> {
        let mut slot = self.outcome.lock();
        loop {
            if let Some(outcome) = slot.as_ref() {
                return Some(outcome.clone());
            }
            match deadline {
                None => self.ready.wait(&mut slot),
                Some(deadline) => {
                    if self.ready.wait_until(&mut slot, deadline).timed_out() {
                        return slot.clone();
                    }
                }
            }
        }
    }

    /// The outcome, if there is one.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.lock().clone()
    }
}
