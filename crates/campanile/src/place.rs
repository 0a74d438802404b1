//! Which data file, and which page of it, an error is about.
//!
//! Owns the way from any error of the layers below to the damage that it tells of. Promises an
//! answer only where the error itself names the file. Must never guess by words.

use campanile_btree::TreeError;
use campanile_format::{FileId, PageId, PageNo};
use campanile_pagestore::StoreError;
use campanile_recovery::RecoveryError;
use campanile_txn::TxnError;

use crate::error::Error;

/// What is damaged: a file, and a page of it if the error knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub file: FileId,
    pub page: Option<PageNo>,
}

impl From<PageId> for Place {
    fn from(page: PageId) -> Place {
        Place { file: page.file, page: Some(page.page) }
    }
}

impl From<FileId> for Place {
    fn from(file: FileId) -> Place {
        Place { file, page: None }
    }
}

/// The damage that an error tells of, if it tells of any.
pub(crate) fn of(error: &Error) -> Option<Place> {
    let source = std::error::Error::source(error)?;
    source
        .downcast_ref::<RecoveryError>()
        .and_then(of_recovery)
        .or_else(|| source.downcast_ref::<TreeError>().and_then(of_tree))
        .or_else(|| source.downcast_ref::<TxnError>().and_then(of_txn))
        .or_else(|| source.downcast_ref::<StoreError>().and_then(of_store))
}

fn of_recovery(error: &RecoveryError) -> Option<Place> {
    match error {
        RecoveryError::Page { page, .. } | RecoveryError::Unresolved { page, .. } => {
            Some((*page).into())
        }
        RecoveryError::MissingFile { file, .. } => Some((*file).into()),
        RecoveryError::Store(error) => of_store(error),
        RecoveryError::Txn(error) => of_txn(error),
        _ => None,
    }
}

fn of_txn(error: &TxnError) -> Option<Place> {
    match error {
        TxnError::Store(error) => of_store(error),
        TxnError::Misfit { page, .. } => Some((*page).into()),
        TxnError::Undo(cause) => cause.downcast_ref().and_then(of_tree),
        _ => None,
    }
}

pub(crate) fn of_tree(error: &TreeError) -> Option<Place> {
    match error {
        TreeError::Corrupt { page, .. } => Some((*page).into()),
        TreeError::Store(error) => of_store(error),
        TreeError::Txn(error) => of_txn(error),
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<Place> {
    match error {
        StoreError::Foreign { file, .. } | StoreError::NoSuchFile { file } => Some((*file).into()),
        error => error.page().map(Place::from),
    }
}
