//! All that the page store knows of the log: the [`LogBarrier`].
//!
//! Owns the trait. Promises that the store asks for the log to be durable up to the LSN of a
//! page's image before it writes that image anywhere. Must never learn what a log record is.

use std::error::Error;
use std::fmt;

use campanile_format::Lsn;

/// The log, as the page store sees it.
pub trait LogBarrier: Send + Sync {
    /// Returns once the record that starts at `lsn` is durable, and all before it.
    ///
    /// May be called while the caller's caller holds page latches: it must never wait for one.
    fn flush_to(&self, lsn: Lsn) -> Result<(), BarrierError>;

    /// Where the next record will start, at or after.
    fn end(&self) -> Lsn;

    /// Where the log ended, if it has no record at `lsn`, as after a tail that was cut off.
    fn ended_before(&self, lsn: Lsn) -> Option<Lsn> {
        let end = self.end();
        (lsn >= end).then_some(end)
    }
}

/// Why the log could not be made durable.
#[derive(Debug)]
pub struct BarrierError(Box<dyn Error + Send + Sync>);

impl BarrierError {
    /// Wraps the error of the log.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> BarrierError {
        BarrierError(cause.into())
    }

    /// The error of the log.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn Error + Send + Sync> {
        self.0
    }
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log cannot be flushed: {}", self.0)
    }
}

impl Error for BarrierError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}
