//! How the errors of the layers below become the one [`Error`].
//!
//! Owns the map from their variants to kinds. Promises that no layer's error type shows in the
//! public interface, and that the original stays reachable as the source. Must never lose words:
//! the message of the layer that knows best is the message.

use campanile_backup::BackupError;
use campanile_btree::TreeError;
use campanile_lock::LockError;
use campanile_pagestore::StoreError;
use campanile_recovery::RecoveryError;
use campanile_txn::{LockRefused, TxnError};
use campanile_wal::WalError;

use crate::error::{Error, ErrorKind};

pub(crate) fn tree(error: TreeError) -> Error {
    let error = match error {
        // What a bulk load was fed from failed, in our own words already.
        TreeError::Input(cause) => match cause.downcast::<Error>() {
            Ok(error) => return *error,
            Err(cause) => TreeError::Input(cause),
        },
        error => error,
    };
    Error::because(kind_of_tree(&error), error.to_string(), error)
}

/// What the lower layers say of the lock that was not granted, if the error is about one and still
/// in their words.
pub(crate) fn lock_refused(error: &Error) -> Option<(ErrorKind, &LockRefused)> {
    let source = std::error::Error::source(error)?;
    let inner = match source.downcast_ref::<TreeError>() {
        Some(TreeError::Txn(error)) => error,
        Some(_) => return None,
        None => source.downcast_ref::<TxnError>()?,
    };
    match inner {
        TxnError::Lock(refused) => Some((error.kind(), refused)),
        _ => None,
    }
}

pub(crate) fn txn(error: TxnError) -> Error {
    Error::because(kind_of_txn(&error), error.to_string(), error)
}

pub(crate) fn wal(error: WalError) -> Error {
    Error::because(kind_of_wal(&error), error.to_string(), error)
}

pub(crate) fn store(error: StoreError) -> Error {
    Error::because(kind_of_store(&error), error.to_string(), error)
}

pub(crate) fn recovery(error: RecoveryError) -> Error {
    Error::because(kind_of_recovery(&error), error.to_string(), error)
}

pub(crate) fn backup(error: BackupError) -> Error {
    Error::because(kind_of_backup(&error), error.to_string(), error)
}

fn kind_of_backup(error: &BackupError) -> ErrorKind {
    match error {
        BackupError::Io { .. } => ErrorKind::Io,
        BackupError::Wal(error) => kind_of_wal(error),
        BackupError::Store(error) => kind_of_store(error),
        BackupError::DamagedPages { .. } | BackupError::Damaged { .. } => ErrorKind::Corrupt,
        BackupError::NeedsRecovery { .. } | BackupError::BackupCopy { .. } => {
            ErrorKind::NeedsRecovery
        }
        BackupError::Place { .. }
        | BackupError::SeveralTimelines { .. }
        | BackupError::Option { .. } => ErrorKind::InvalidArgument,
        BackupError::NoSpace { .. } => ErrorKind::Io,
        BackupError::Busy { .. } => ErrorKind::Locked,
        BackupError::Changed { .. } => ErrorKind::Busy,
        BackupError::NoBackup { .. } => ErrorKind::NotFound,
        BackupError::Cancelled { .. } => ErrorKind::Cancelled,
        _ => ErrorKind::Internal,
    }
}

fn kind_of_tree(error: &TreeError) -> ErrorKind {
    match error {
        error if error.is_corruption() => ErrorKind::Corrupt,
        TreeError::KeyTooLong { .. }
        | TreeError::ValueTooLong { .. }
        | TreeError::NotAscending { .. } => ErrorKind::InvalidArgument,
        TreeError::Store(error) => kind_of_store(error),
        TreeError::Txn(error) => kind_of_txn(error),
        TreeError::Input(_) => ErrorKind::InvalidInput,
        _ => ErrorKind::InvalidArgument,
    }
}

fn kind_of_txn(error: &TxnError) -> ErrorKind {
    match error {
        TxnError::Poisoned(_) => ErrorKind::Poisoned,
        TxnError::Wal(error) => kind_of_wal(error),
        TxnError::Store(error) => kind_of_store(error),
        TxnError::Lock(refused) => kind_of_lock(&refused.error),
        TxnError::OutOfTime { .. } => ErrorKind::TransactionTimeout,
        TxnError::Misfit { .. } | TxnError::BrokenChain { .. } => ErrorKind::Corrupt,
        TxnError::MustRollBack { .. } => ErrorKind::MustRollBack,
        TxnError::SnapshotTooOld { .. } => ErrorKind::SnapshotTooOld,
        TxnError::FileFull { .. } | TxnError::OutOfFileIds => ErrorKind::Full,
        TxnError::StillActive { .. } => ErrorKind::Busy,
        TxnError::NotPrepared { .. } => ErrorKind::NotFound,
        TxnError::GidInUse { .. } => ErrorKind::AlreadyExists,
        TxnError::BadGid { .. } | TxnError::NotPreparable { .. } => ErrorKind::InvalidArgument,
        TxnError::Undo(cause) => match cause.downcast_ref::<TreeError>() {
            Some(error) => kind_of_tree(error),
            None => ErrorKind::Internal,
        },
        _ => ErrorKind::Internal,
    }
}

fn kind_of_lock(error: &LockError) -> ErrorKind {
    match error {
        LockError::Deadlock { .. } => ErrorKind::Deadlock,
        LockError::Timeout { .. } => ErrorKind::LockTimeout,
        LockError::WouldBlock { .. } => ErrorKind::WouldBlock,
        LockError::Closed => ErrorKind::Closed,
        _ => ErrorKind::Internal,
    }
}

fn kind_of_wal(error: &WalError) -> ErrorKind {
    match error {
        WalError::Io { .. } => ErrorKind::Io,
        WalError::Poisoned(_) => ErrorKind::Poisoned,
        WalError::RecordTooLarge { .. }
        | WalError::BadOptions { .. }
        | WalError::NoRecord { .. } => ErrorKind::InvalidArgument,
        WalError::PastCleanEnd { .. } => ErrorKind::Corrupt,
        error if error.is_corruption() => ErrorKind::Corrupt,
        WalError::Format { .. } => ErrorKind::Unsupported,
        WalError::NotEmpty { .. } => ErrorKind::AlreadyExists,
        WalError::NoControl { .. } => ErrorKind::NotFound,
        _ => ErrorKind::Internal,
    }
}

fn kind_of_store(error: &StoreError) -> ErrorKind {
    match error {
        error if error.is_corruption() => ErrorKind::Corrupt,
        StoreError::NoSuchFile { .. } => ErrorKind::NotFound,
        StoreError::CacheFull { .. } => ErrorKind::Busy,
        StoreError::PageSize { .. } | StoreError::DirectoryRefused { .. } => {
            ErrorKind::InvalidArgument
        }
        // A disk that is not mounted.
        StoreError::DirectoryMissing { .. } => ErrorKind::Io,
        StoreError::Poisoned(_) => ErrorKind::Poisoned,
        // The log could not be flushed: the same as its own failure.
        StoreError::Barrier(_) | StoreError::Io { .. } => ErrorKind::Io,
        _ => ErrorKind::Internal,
    }
}

fn kind_of_recovery(error: &RecoveryError) -> ErrorKind {
    match error {
        RecoveryError::Wal(error) => kind_of_wal(error),
        RecoveryError::Store(error) => kind_of_store(error),
        RecoveryError::Txn(error) => kind_of_txn(error),
        RecoveryError::Io { .. } => ErrorKind::Io,
        RecoveryError::NoEnvironment { .. } => ErrorKind::NotFound,
        RecoveryError::Cancelled { .. } => ErrorKind::Cancelled,
        RecoveryError::BackupCopy { .. } => ErrorKind::NeedsRecovery,
        RecoveryError::NotABackup { .. }
        | RecoveryError::TargetTooEarly { .. }
        | RecoveryError::TargetBeyond { .. }
        | RecoveryError::NoRestorePoint { .. } => ErrorKind::InvalidArgument,
        _ => ErrorKind::Corrupt,
    }
}
