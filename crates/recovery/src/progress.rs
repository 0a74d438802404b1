//! How far a long recovery is, and how to stop it.
//!
//! Owns: [`Phase`], [`Progress`] and the [`Hook`]. Promises: stopping is always safe: the next
//! recovery begins again and loses nothing. Must never: be called so often that it costs.

use std::fmt;
use std::ops::ControlFlow;

use campanile_format::Lsn;
use serde::Serialize;

use crate::error::RecoveryError;

/// The steps of a recovery, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Repairing pages that the crash tore in two.
    Repair,
    /// Finding the end of the log, and who was running.
    Analysis,
    /// Repeating history.
    Redo,
    /// Rolling back who was running.
    Undo,
    /// Making the result the new starting point.
    Checkpoint,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Repair => "repair",
            Phase::Analysis => "analysis",
            Phase::Redo => "redo",
            Phase::Undo => "undo",
            Phase::Checkpoint => "checkpoint",
        })
    }
}

/// How far the phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// The log position it has reached.
    pub at: Lsn,
    /// Units done, of [`total`](Self::total): bytes of log, or transactions in [`Phase::Undo`].
    pub done: u64,
    /// All units; 0 if not known yet.
    pub total: u64,
}

/// Called now and then; [`ControlFlow::Break`] stops the recovery.
pub type Hook<'h> = dyn FnMut(&Progress) -> ControlFlow<()> + 'h;

/// Calls the hook every so many records.
pub(crate) struct Pulse<'h> {
    hook: &'h mut Hook<'h>,
    count: u32,
}

/// Records between two calls of the hook.
const EVERY: u32 = 256;

impl<'h> Pulse<'h> {
    pub fn new(hook: &'h mut Hook<'h>) -> Pulse<'h> {
        Pulse { hook, count: 0 }
    }

    /// Reports at once.
    pub fn report(&mut self, progress: Progress) -> Result<(), RecoveryError> {
        match (self.hook)(&progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                Err(RecoveryError::Cancelled { phase: progress.phase, at: progress.at })
            }
        }
    }

    /// Reports every so often.
    pub fn beat(&mut self, progress: Progress) -> Result<(), RecoveryError> {
        self.count = self.count.wrapping_add(1);
        if self.count.is_multiple_of(EVERY) { self.report(progress) } else { Ok(()) }
    }
}
