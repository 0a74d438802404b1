//! Why a lock was not granted.
//!
//! Owns: [`LockError`]. Promises: the message names who, what, against whom and what to do next.

use std::time::Duration;

use thiserror::Error;

use crate::mode::Mode;
use crate::name::LockName;

/// Why a lock was not granted. The owner keeps what it held before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Two or more owners wait for each other, and this one was chosen to give way.
    #[error(
        "{victim} was chosen as the victim of a deadlock with {other} \
         while waiting for {mode} on {name}: roll back and run it again"
    )]
    Deadlock {
        /// Who gives way.
        victim: String,
        /// The others of the circle.
        other: String,
        /// What the victim waited for.
        name: LockName,
        /// The mode it wanted.
        mode: Mode,
    },
    /// The wait took longer than allowed.
    #[error(
        "{owner} waited {} ms for {mode} on {name}, which {other} has or wants first: \
         roll back and run it again", waited.as_millis()
    )]
    Timeout {
        /// Who waited.
        owner: String,
        /// Whom it waited for.
        other: String,
        /// What it waited for.
        name: LockName,
        /// The mode it wanted.
        mode: Mode,
        /// How long.
        waited: Duration,
    },
    /// The request would have had to wait and was not allowed to.
    #[error("{mode} on {name} is not free: {other} has it or wants it first")]
    WouldBlock {
        /// Whom it would have waited for.
        other: String,
        /// The lock.
        name: LockName,
        /// The mode.
        mode: Mode,
    },
    /// The table was closed: the environment is shutting down or has failed.
    #[error("no more locks are granted: the environment is closing; reopen it")]
    Closed,
}

impl LockError {
    /// Whether the same transaction may well succeed when it is run again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Closed)
    }
}
