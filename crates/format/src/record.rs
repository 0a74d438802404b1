//! Log records: everything the log can say.
//!
//! Owns: [`Record`], its kinds and what they carry; the bytes are in `record/encode.rs` and
//! `record/decode.rs`. Promises: a closed set, so a record without redo, undo or description does
//! not compile; kind numbers are never reused. Must never: know how a record is replayed.

mod decode;
mod encode;

use crate::ids::{DirNo, FileId, Lsn, PageId, PageNo, TxnId};
use crate::page_op::PageOp;
use crate::value::Value;

/// One record of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// Who wrote it; [`TxnId::SYSTEM`] for what belongs to no transaction.
    pub txn: TxnId,
    /// The transaction's record before this one; [`Lsn::NONE`] for its first.
    pub prev: Lsn,
    /// What happened.
    pub body: Body<'a>,
}

/// What happened to one page.
#[derive(Debug, Clone, PartialEq)]
pub struct PageChange<'a> {
    /// The page.
    pub page: PageId,
    /// The page's LSN before the change. Redo applies the operations to exactly that page, and
    /// reports any other as damage; [`Lsn::NONE`] with a first operation that needs no previous
    /// content fits every page.
    pub prev_page_lsn: Lsn,
    /// The operations, in order.
    pub ops: Vec<PageOp<'a>>,
}

/// What a record says happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Body<'a> {
    /// Pages changed. Without undo it stands whatever becomes of the transaction: structure
    /// changes are such records.
    Update {
        /// The pages, each once, in latch order.
        changes: Vec<PageChange<'a>>,
        /// How to take it back.
        undo: Undo<'a>,
    },
    /// Something was taken back. Never undone itself.
    Compensate {
        /// The next record to undo; [`Lsn::NONE`] when nothing is left in this chain.
        undo_next: Lsn,
        /// Whose chain that is: [`Lsn::NONE`] for the transaction's own, else that of the nested
        /// transaction which the [`Body::EnterChild`] here went into.
        within: Lsn,
        /// The pages changed by undoing.
        changes: Vec<PageChange<'a>>,
        /// What undoing did to a file.
        action: FileAction,
    },
    /// The transaction is committed.
    Commit {
        /// Wall-clock time, microseconds since 1970; never less than in the commit before.
        time_us: u64,
        /// The log was durable up to here when this was written.
        durable: Lsn,
    },
    /// The transaction is rolled back, completely.
    Abort,
    /// The transaction will commit or roll back as an outside coordinator says.
    Prepare {
        /// The coordinator's name for it.
        gid: &'a [u8],
        /// Wall-clock time, microseconds since 1970.
        time_us: u64,
    },
    /// A nested transaction is merged into this one, its parent.
    ChildCommit {
        /// The nested transaction.
        child: TxnId,
        /// Its last record: undoing the parent continues there.
        child_last: Lsn,
    },
    /// A rollback comes to a nested transaction that was merged, and goes into its chain. What it
    /// undoes there is compensated in the chain of the transaction that rolls back; after the
    /// child's first record it goes on before `merge`.
    EnterChild {
        /// The nested transaction.
        child: TxnId,
        /// Its last record: the next one to undo.
        undo_next: Lsn,
        /// The [`Body::ChildCommit`] that merged it.
        merge: Lsn,
        /// Whose chain `merge` is in, as in [`Body::Compensate`].
        within: Lsn,
    },
    /// A data file was made. Its pages follow in records of their own. Undone by removing it.
    FileCreate {
        /// The new file.
        file: FileId,
        /// False: its pages are not logged, and recovery makes it anew, empty.
        durable: bool,
        /// The directory that it was made in.
        directory: DirNo,
    },
    /// A data file was removed. Never undone: written when nothing can need the file again.
    FileRemove {
        /// The file.
        file: FileId,
    },
    /// Some of the transactions that were active at the checkpoint that follows.
    ActiveTxns {
        /// One entry a transaction.
        entries: Vec<TxnEntry>,
    },
    /// A checkpoint: replay needs nothing before `redo`, undo nothing before `undo_low`.
    Checkpoint(Checkpoint),
    /// The log is idle, and durable up to here.
    Durable {
        /// Everything before this is durable.
        durable: Lsn,
    },
    /// A point to which recovery can be asked to go.
    RestorePoint {
        /// Its name.
        name: &'a str,
        /// Wall-clock time, microseconds since 1970.
        time_us: u64,
    },
    /// Nothing: the rest of a physical block, so that what is durable in it is not written again.
    /// Whoever reads the log forward or backward passes over it.
    Pad {
        /// Zeros behind the frame's header.
        bytes: u32,
    },
    /// A kind that only a newer build knows and that its writer marked as changing nothing.
    Ignorable {
        /// The kind.
        kind: u8,
        /// The payload.
        bytes: &'a [u8],
    },
}

/// The fields of [`Body::Checkpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Replay begins here.
    pub redo: Lsn,
    /// The first record of the oldest transaction that was active; the log's end if none was.
    pub undo_low: Lsn,
    /// The first [`Body::ActiveTxns`] record of this checkpoint; [`Lsn::NONE`] if there is none.
    pub active_from: Lsn,
    /// No transaction had this number yet, or any above it.
    pub next_txn: TxnId,
    /// No file had this number yet, or any above it.
    pub next_file: FileId,
    /// Wall-clock time, microseconds since 1970.
    pub time_us: u64,
    /// The log was durable up to here when this was written.
    pub durable: Lsn,
}

/// What undoing did to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAction {
    /// Nothing.
    None,
    /// The file is removed: its creation was undone.
    RemoveFile(FileId),
}

/// A transaction in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnEntry {
    /// The transaction.
    pub id: TxnId,
    /// Its first record.
    pub first: Lsn,
    /// Its last record so far.
    pub last: Lsn,
    /// Its next record to undo; equal to `last` unless it was rolling back.
    pub undo_next: Lsn,
    /// How far it is.
    pub state: TxnState,
}

/// How far a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnState {
    /// Changing things, or rolling back.
    Active,
    /// Prepared: its last record is a [`Body::Prepare`].
    Prepared,
}

/// How to take an update back. Logical: the key is searched again, because other transactions may
/// have moved it to another page since.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Undo<'a> {
    /// The update stands.
    None,
    /// Delete the key.
    Insert {
        /// The database's file.
        file: FileId,
        /// The key that was inserted.
        key: &'a [u8],
    },
    /// Give the key its old value again.
    Replace {
        /// The database's file.
        file: FileId,
        /// The key.
        key: &'a [u8],
        /// Its value before.
        old: Value<'a>,
    },
    /// Insert the key again.
    Delete {
        /// The database's file.
        file: FileId,
        /// The key that was deleted.
        key: &'a [u8],
        /// Its value before.
        old: Value<'a>,
    },
    /// Free the pages.
    AllocExtent {
        /// The file.
        file: FileId,
        /// The first page.
        first: PageNo,
        /// How many pages.
        count: u32,
    },
    /// Remove the file.
    CreateFile {
        /// The file.
        file: FileId,
    },
    /// Make the tree empty.
    ClearTree {
        /// The file.
        file: FileId,
    },
}

impl Undo<'_> {
    /// The file that undoing changes.
    #[must_use]
    pub fn file(&self) -> Option<FileId> {
        match *self {
            Undo::None => None,
            Undo::Insert { file, .. }
            | Undo::Replace { file, .. }
            | Undo::Delete { file, .. }
            | Undo::AllocExtent { file, .. }
            | Undo::CreateFile { file }
            | Undo::ClearTree { file } => Some(file),
        }
    }

    /// Whether there is nothing to undo.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Undo::None)
    }
}

/// The kind byte of each record. Never change a number, never use one again.
pub mod kind {
    /// [`super::Body::Update`]
    pub const UPDATE: u8 = 1;
    /// [`super::Body::Compensate`]
    pub const COMPENSATE: u8 = 2;
    /// [`super::Body::Commit`]
    pub const COMMIT: u8 = 3;
    /// [`super::Body::Abort`]
    pub const ABORT: u8 = 4;
    /// [`super::Body::Prepare`]
    pub const PREPARE: u8 = 5;
    /// [`super::Body::ChildCommit`]
    pub const CHILD_COMMIT: u8 = 6;
    /// [`super::Body::FileCreate`]
    pub const FILE_CREATE: u8 = 7;
    /// [`super::Body::FileRemove`]
    pub const FILE_REMOVE: u8 = 8;
    /// [`super::Body::ActiveTxns`]
    pub const ACTIVE_TXNS: u8 = 9;
    /// [`super::Body::Checkpoint`]
    pub const CHECKPOINT: u8 = 10;
    /// [`super::Body::Durable`]
    pub const DURABLE: u8 = 11;
    /// [`super::Body::RestorePoint`]
    pub const RESTORE_POINT: u8 = 12;
    /// [`super::Body::Compensate`] within a nested transaction
    pub const COMPENSATE_WITHIN: u8 = 13;
    /// [`super::Body::EnterChild`]
    pub const ENTER_CHILD: u8 = 14;
    /// [`super::Body::Pad`]
    pub const PAD: u8 = 15;
    /// [`super::Body::FileCreate`] in another directory than that of the home
    pub const FILE_CREATE_IN: u8 = 16;
    /// Every kind that this build writes.
    pub const ALL: [u8; 16] = [
        UPDATE,
        COMPENSATE,
        COMMIT,
        ABORT,
        PREPARE,
        CHILD_COMMIT,
        FILE_CREATE,
        FILE_REMOVE,
        ACTIVE_TXNS,
        CHECKPOINT,
        DURABLE,
        RESTORE_POINT,
        COMPENSATE_WITHIN,
        ENTER_CHILD,
        PAD,
        FILE_CREATE_IN,
    ];
}

impl<'a> Record<'a> {
    /// The pages that the record changes.
    #[must_use]
    pub fn changes(&self) -> &[PageChange<'a>] {
        match &self.body {
            Body::Update { changes, .. } | Body::Compensate { changes, .. } => changes,
            _ => &[],
        }
    }

    /// How to take the record back: of an update its undo, of a file creation the removal.
    #[must_use]
    pub fn undo(&self) -> Undo<'a> {
        match self.body {
            Body::Update { undo, .. } => undo,
            Body::FileCreate { file, .. } => Undo::CreateFile { file },
            _ => Undo::None,
        }
    }

    /// Where undoing the transaction goes on after this record: a compensation skips what is
    /// undone already, every other record leads to the one before.
    #[must_use]
    pub fn undo_next(&self) -> Lsn {
        match self.body {
            Body::Compensate { undo_next, .. } | Body::EnterChild { undo_next, .. } => undo_next,
            _ => self.prev,
        }
    }

    /// The LSN below which this record proves the log to have been durable.
    #[must_use]
    pub fn proves_durable(&self) -> Option<Lsn> {
        match self.body {
            Body::Commit { durable, .. }
            | Body::Durable { durable }
            | Body::Checkpoint(Checkpoint { durable, .. }) => Some(durable),
            _ => None,
        }
    }

    /// The wall-clock time that the record carries.
    #[must_use]
    pub fn time_us(&self) -> Option<u64> {
        match self.body {
            Body::Commit { time_us, .. }
            | Body::Prepare { time_us, .. }
            | Body::RestorePoint { time_us, .. }
            | Body::Checkpoint(Checkpoint { time_us, .. }) => Some(time_us),
            _ => None,
        }
    }
}

impl Body<'_> {
    /// The kind byte.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Body::Update { .. } => kind::UPDATE,
            Body::Compensate { within, .. } if within.is_none() => kind::COMPENSATE,
            Body::Compensate { .. } => kind::COMPENSATE_WITHIN,
            Body::Commit { .. } => kind::COMMIT,
            Body::Abort => kind::ABORT,
            Body::Prepare { .. } => kind::PREPARE,
            Body::ChildCommit { .. } => kind::CHILD_COMMIT,
            Body::EnterChild { .. } => kind::ENTER_CHILD,
            Body::FileCreate { directory: DirNo::HOME, .. } => kind::FILE_CREATE,
            Body::FileCreate { .. } => kind::FILE_CREATE_IN,
            Body::FileRemove { .. } => kind::FILE_REMOVE,
            Body::ActiveTxns { .. } => kind::ACTIVE_TXNS,
            Body::Checkpoint(_) => kind::CHECKPOINT,
            Body::Durable { .. } => kind::DURABLE,
            Body::RestorePoint { .. } => kind::RESTORE_POINT,
            Body::Pad { .. } => kind::PAD,
            Body::Ignorable { kind, .. } => *kind,
        }
    }

    /// The kind's name, as `db_printlog` prints it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Body::Update { .. } => "update",
            Body::Compensate { within, .. } if within.is_none() => "compensate",
            Body::Compensate { .. } => "compensate_within",
            Body::Commit { .. } => "commit",
            Body::Abort => "abort",
            Body::Prepare { .. } => "prepare",
            Body::ChildCommit { .. } => "child_commit",
            Body::EnterChild { .. } => "enter_child",
            Body::FileCreate { directory: DirNo::HOME, .. } => "file_create",
            Body::FileCreate { .. } => "file_create_in",
            Body::FileRemove { .. } => "file_remove",
            Body::ActiveTxns { .. } => "active_txns",
            Body::Checkpoint(_) => "checkpoint",
            Body::Durable { .. } => "durable",
            Body::RestorePoint { .. } => "restore_point",
            Body::Pad { .. } => "pad",
            Body::Ignorable { .. } => "ignorable",
        }
    }
}
