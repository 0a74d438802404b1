//! How far long work is, and how to stop it.
//!
//! Owns [`Step`] and the [`Hook`]. Promises that stopping is always safe: what was there before
//! stays. Must never be called while a file lock is being waited for.

use std::ops::ControlFlow;

use crate::error::BackupError;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is being done: "copying pages" ...
    pub phase: &'static str,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, as far as known.
    pub total: u64,
}

/// Called now and then; [`ControlFlow::Break`] stops the work.
pub type Hook<'h> = dyn FnMut(&Step) -> ControlFlow<()> + 'h;

/// Counts bytes and tells the hook.
pub(crate) struct Meter<'h> {
    hook: &'h mut Hook<'h>,
    step: Step,
}

impl<'h> Meter<'h> {
    pub fn new(hook: &'h mut Hook<'h>) -> Meter<'h> {
        Meter { hook, step: Step { phase: "starting", done: 0, total: 0 } }
    }

    /// Something else begins.
    pub fn phase(&mut self, phase: &'static str, total: u64) -> Result<(), BackupError> {
        self.step = Step { phase, done: 0, total };
        self.tell()
    }

    /// So many bytes more are done.
    pub fn add(&mut self, bytes: u64) -> Result<(), BackupError> {
        self.step.done += bytes;
        self.tell()
    }

    fn tell(&mut self) -> Result<(), BackupError> {
        match (self.hook)(&self.step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BackupError::Cancelled { phase: self.step.phase }),
        }
    }
}
