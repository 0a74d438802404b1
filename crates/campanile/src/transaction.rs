//! Read-write transactions.

use crate::error::Result;
use crate::options::Durability;
use campanile_format::Lsn;

/// A read-write transaction.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction {}

/// A place in a transaction to which it can be rolled back.
#[derive(Clone, Debug)]
pub struct Savepoint {}

impl Transaction {
    /// Commits as the environment's options say.
    pub fn commit(self) -> Result<Lsn> {
        todo!()
    }

    /// Commits with a promise of its own.
    pub fn commit_with(self, _durability: Durability) -> Result<Lsn> {
        todo!()
    }

    /// Rolls back.
    pub fn abort(self) -> Result<()> {
        todo!()
    }

    /// Marks a place to which the transaction can be rolled back.
    pub fn savepoint(&mut self) -> Result<Savepoint> {
        todo!()
    }

    /// Undoes what was done since the savepoint, which stays usable.
    pub fn rollback_to(&mut self, _savepoint: &Savepoint) -> Result<()> {
        todo!()
    }
}
