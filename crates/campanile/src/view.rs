//! Who reads: a transaction or a snapshot.
//!
//! Owns the sealed trait by which every reading call takes either. Must never be implemented
//! outside this crate: what a reader may see is decided here.

use std::sync::Arc;

use campanile_btree::Reader;
use campanile_format::FileId;

use crate::core::Core;
use crate::environment::Shared;
use crate::error::Result;
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;

/// What can be read through: a [`Transaction`], which sees its own changes, or a [`Snapshot`].
pub trait Reads: sealed::Reads {}

impl Reads for Transaction {}
impl Reads for Snapshot {}

pub(crate) mod sealed {
    use super::View;

    pub trait Reads {
        #[doc(hidden)]
        fn view(&self) -> View<'_>;
    }
}

/// A reader, by reference.
#[derive(Clone, Copy, Debug)]
pub enum View<'r> {
    /// Through a transaction.
    Transaction(&'r Transaction),
    /// Through a snapshot.
    Snapshot(&'r Snapshot),
}

impl sealed::Reads for Transaction {
    fn view(&self) -> View<'_> {
        View::Transaction(self)
    }
}

impl sealed::Reads for Snapshot {
    fn view(&self) -> View<'_> {
        View::Snapshot(self)
    }
}

impl<'r> View<'r> {
    pub(crate) fn shared(&self) -> &'r Arc<Shared> {
        match self {
            View::Transaction(txn) => txn.shared(),
            View::Snapshot(snapshot) => snapshot.shared(),
        }
    }

    /// Runs a read.
    pub(crate) fn read<T>(
        &self,
        body: impl FnOnce(&'r Core, Reader<'_>) -> Result<T>,
    ) -> Result<T> {
        match self {
            View::Transaction(txn) => txn.read(body),
            View::Snapshot(snapshot) => snapshot.read(body),
        }
    }

    /// The file that a handle opened on `file` means for this reader; `None` if its database was
    /// dropped. A transaction keeps it from being dropped from now on.
    pub(crate) fn enter(&self, file: FileId) -> Result<Option<FileId>> {
        match self {
            View::Transaction(txn) => txn.enter(file),
            View::Snapshot(snapshot) => Ok(snapshot.resolve(file)),
        }
    }
}
