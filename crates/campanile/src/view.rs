//! Who reads: a transaction or a snapshot.
//!
//! Owns the sealed trait by which every reading call takes either. Must never be implemented
//! outside this crate: what a reader may see is decided here.

use crate::snapshot::Snapshot;
use crate::transaction::Transaction;

/// What can be read through: a [`Transaction`], which sees its own changes, or a [`Snapshot`].
pub trait Reads: sealed::Reads {}

impl Reads for Transaction {}
impl Reads for Snapshot {}

pub(crate) mod sealed {
    use super::View;

    pub trait Reads {
        fn view(&self) -> View<'_>;
    }
}

/// A reader, by reference.
#[derive(Clone, Copy, Debug)]
pub enum View<'r> {
    Transaction(&'r Transaction),
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
