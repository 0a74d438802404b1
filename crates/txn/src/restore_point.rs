//! Named places in the log, to which a restore can go back.
//!
//! Owns the record that names one. Promises that it is durable when the call returns, and that
//! whatever was committed before the call lies before it. Must never fit a name that a log record
//! cannot hold.

use campanile_format::Lsn;
use campanile_format::record::Body;

use crate::error::TxnError;
use crate::transactions::Transactions;

/// Longest name of a restore point, in bytes.
pub const RESTORE_POINT_NAME_MAX: usize = 255;

impl Transactions {
    /// Writes a restore point and returns its position. Transactions that are open now count as
    /// not committed there. `name` has at most [`RESTORE_POINT_NAME_MAX`] bytes.
    pub fn restore_point(&self, name: &str) -> Result<Lsn, TxnError> {
        assert!(name.len() <= RESTORE_POINT_NAME_MAX, "checked by the caller");
        self.poison().check()?;
        let time_us = self.wal().commit_time_us();
        let (lsn, _) = self.append(None, Body::RestorePoint { name, time_us })?;
        self.wal().flush(lsn)?;
        Ok(lsn)
    }
}
