//! One hook through which all long work reports how far it is and asks whether to go on.
//!
//! Owns the shape of a report. Promises that a hook which answers [`ControlFlow::Break`] stops the
//! work at a safe place, and the call then fails with [`ErrorKind::Cancelled`]. Must never be
//! called under a latch or a lock of the engine.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// How far long work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step<'a> {
    /// What is being done: "redo", "verify accounts" ...
    pub phase: &'a str,
    /// How much of it is done, in `unit`s.
    pub done: u64,
    /// How much there is in all, where that is known.
    pub total: Option<u64>,
    /// What is counted: "bytes", "pages", "pairs".
    pub unit: &'a str,
}

type Hook = dyn Fn(Step<'_>) -> ControlFlow<()> + Send + Sync;

/// Who is told of progress. Clones share the hook.
///
/// ```
/// use campanile::Progress;
/// use std::ops::ControlFlow;
///
/// let progress = Progress::new(|step| {
///     eprintln!("{}: {} {}", step.phase, step.done, step.unit);
///     ControlFlow::Continue(())
/// });
/// # let _ = progress;
/// ```
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Hook>>);

impl Progress {
    /// A hook. Answering [`ControlFlow::Break`] cancels the work.
    pub fn new(hook: impl Fn(Step<'_>) -> ControlFlow<()> + Send + Sync + 'static) -> Progress {
        Progress(Some(Arc::new(hook)))
    }

    /// Nobody is told.
    #[must_use]
    pub fn none() -> Progress {
        Progress(None)
    }

    /// Tells the hook; the error if it asks to stop.
    pub(crate) fn report(
        &self,
        phase: &str,
        done: u64,
        total: Option<u64>,
        unit: &str,
    ) -> Result<()> {
        let Some(hook) = &self.0 else { return Ok(()) };
        match hook(Step { phase, done, total, unit }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                let what = format!("{phase} was cancelled after {done} {unit}; run it again");
                Err(Error::new(ErrorKind::Cancelled, what))
            }
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(hook)" } else { "Progress(none)" })
    }
}
