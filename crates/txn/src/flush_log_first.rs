//! The log as the page store's barrier: the write-ahead rule, made visible.
//!
//! Owns: [`FlushLogFirst`]. Promises: when `flush_to` returns, the log is durable up to and
//! including the record at that LSN. Must never: answer before the log has.

use std::sync::Arc;

use campanile_format::Lsn;
use campanile_pagestore::{BarrierError, LogBarrier};
use campanile_wal::Wal;

/// Makes the log durable before a page that depends on it is written back.
#[derive(Debug)]
pub struct FlushLogFirst(Arc<Wal>);

impl FlushLogFirst {
    /// A barrier over `wal`.
    #[must_use]
    pub fn new(wal: Arc<Wal>) -> Self {
        Self(wal)
    }
}

impl LogBarrier for FlushLogFirst {
    fn flush_to(&self, lsn: Lsn) -> Result<(), BarrierError> {
        self.0.flush(lsn).map_err(BarrierError::new)
    }

    fn end(&self) -> Lsn {
        self.0.end()
    }

    fn ended_before(&self, lsn: Lsn) -> Option<Lsn> {
        self.0.ended_before(lsn)
    }
}
