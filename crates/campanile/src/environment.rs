//! The environment: a home directory, opened.

use std::path::Path;
use std::sync::Arc;

use campanile_vfs::Host;

use crate::database::Database;
use crate::error::Result;
use crate::options::{DatabaseOptions, EnvironmentOptions, TransactionOptions};
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;
use crate::verify::VerifyReport;
use crate::view::Reads;

/// A home directory that this process owns.
#[derive(Clone, Debug)]
pub struct Environment {
    _core: Arc<()>,
}

impl Environment {
    /// Options with which to open.
    pub fn options() -> EnvironmentOptions {
        EnvironmentOptions::new()
    }

    /// Opens the environment in `home`: creates it, or recovers it if the last owner died.
    pub fn open(home: impl AsRef<Path>) -> Result<Environment> {
        EnvironmentOptions::new().open(home)
    }

    /// Opens on any host: simulated files, a stepped background, small pages.
    pub fn open_on(
        _host: Host,
        _home: impl AsRef<Path>,
        _options: EnvironmentOptions,
    ) -> Result<Environment> {
        todo!()
    }

    /// Closes cleanly.
    pub fn close(self) -> Result<()> {
        todo!()
    }

    /// Begins a read-write transaction.
    pub fn begin(&self) -> Result<Transaction> {
        todo!()
    }

    /// Begins a read-write transaction with options.
    pub fn begin_with(&self, _options: TransactionOptions) -> Result<Transaction> {
        todo!()
    }

    /// Runs a transaction, again if it was picked to break a deadlock.
    pub fn run<T>(&self, _body: impl FnMut(&mut Transaction) -> Result<T>) -> Result<T> {
        todo!()
    }

    /// A read-only snapshot.
    pub fn snapshot(&self) -> Result<Snapshot> {
        todo!()
    }

    /// One bounded piece of background work; true if there was any.
    pub fn step(&self) -> Result<bool> {
        todo!()
    }

    /// Takes a checkpoint now.
    pub fn checkpoint(&self) -> Result<()> {
        todo!()
    }

    /// Opens a database, creating it if it is missing, in a transaction of its own.
    pub fn create_database(&self, _name: &str) -> Result<Database> {
        todo!()
    }

    /// Creates a database in a transaction.
    pub fn create_database_with(
        &self,
        _txn: &mut Transaction,
        _name: &str,
        _options: DatabaseOptions,
    ) -> Result<Database> {
        todo!()
    }

    /// Opens a database that exists.
    pub fn open_database(&self, _name: &str) -> Result<Database> {
        todo!()
    }

    /// Opens a database as a transaction sees it.
    pub fn open_database_in(&self, _txn: &mut Transaction, _name: &str) -> Result<Database> {
        todo!()
    }

    /// Opens a database as a transaction or snapshot sees it.
    pub fn open_database_at(&self, _reader: &impl Reads, _name: &str) -> Result<Database> {
        todo!()
    }

    /// Drops a database.
    pub fn drop_database_in(&self, _txn: &mut Transaction, _name: &str) -> Result<()> {
        todo!()
    }

    /// Renames a database.
    pub fn rename_database_in(
        &self,
        _txn: &mut Transaction,
        _name: &str,
        _new_name: &str,
    ) -> Result<()> {
        todo!()
    }

    /// Empties a database.
    pub fn empty_database_in(&self, _txn: &mut Transaction, _name: &str) -> Result<()> {
        todo!()
    }

    /// The names of all databases that the reader sees, in order.
    pub fn databases(&self, _reader: &impl Reads) -> Result<Vec<String>> {
        todo!()
    }

    /// Checks every database and the files of the home.
    pub fn verify(&self) -> Result<VerifyReport> {
        todo!()
    }
}
