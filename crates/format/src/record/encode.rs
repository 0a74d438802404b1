//! Records to bytes.
//!
//! Owns: the writing half of the record grammar (FORMAT.md, "Records"). Promises: one encoding
//! for each record, and all of it made before the record's place in the log is known. Must never:
//! choose what is logged.

use super::{Body, Checkpoint, FileAction, PageChange, Record, TxnEntry, TxnState, Undo};
use crate::access_method::AccessMethod;
use crate::codec::Writer;
use crate::frame::{self, FrameHeader};
use crate::ids::DirNo;
use crate::page_op::PageOp;

/// First byte of an encoded [`Undo`].
pub(super) mod undo_tag {
    pub const NONE: u8 = 0;
    pub const INSERT: u8 = 1;
    pub const REPLACE: u8 = 2;
    pub const DELETE: u8 = 3;
    pub const ALLOC_EXTENT: u8 = 4;
    pub const CREATE_FILE: u8 = 5;
    pub const CLEAR_TREE: u8 = 6;
    /// [`INSERT`] of the very key that the record's only operation inserts: not repeated.
    pub const INSERT_SAME_KEY: u8 = 7;
}

/// First byte of an encoded [`FileAction`].
pub(super) mod action_tag {
    pub const NONE: u8 = 0;
    pub const REMOVE_FILE: u8 = 1;
}

/// An encoded [`TxnState`].
pub(super) mod state_tag {
    pub const ACTIVE: u8 = 0;
    pub const PREPARED: u8 = 1;
}

impl Record<'_> {
    /// Appends the record to `out` as a whole frame, complete but for its place:
    /// [`frame::finish`] adds that. The frame is a multiple of [`frame::FRAME_ALIGN`] long.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let header = FrameHeader {
            kind: self.body.kind(),
            access_method: self.body.access_method_code(),
            flags: self.body.flags(),
            txn: self.txn,
            prev: self.prev,
        };
        frame::begin(&header, out, |payload| encode_body(&self.body, &mut Writer::new(payload)));
    }
}

impl Body<'_> {
    /// The access method in the frame header: whose operations the payload holds.
    pub(super) fn access_method_code(&self) -> u8 {
        match self {
            Body::Update { .. } | Body::Compensate { .. } => AccessMethod::BTree.code(),
            _ => 0,
        }
    }

    fn flags(&self) -> u16 {
        match self {
            Body::Ignorable { .. } => FrameHeader::IGNORABLE,
            _ => 0,
        }
    }
}

fn encode_body(body: &Body<'_>, writer: &mut Writer<'_>) {
    match body {
        Body::Update { changes, undo } => {
            encode_changes(changes, writer);
            encode_undo(undo, changes, writer);
        }
        Body::Compensate { undo_next, within, changes, action } => {
            if !within.is_none() {
                writer.u64(within.0);
            }
            writer.u64(undo_next.0);
            encode_changes(changes, writer);
            encode_action(action, writer);
        }
        Body::Commit { time_us, durable } => {
            writer.u64(*time_us);
            writer.u64(durable.0);
        }
        Body::Abort => {}
        Body::Prepare { gid, time_us } => {
            writer.u64(*time_us);
            writer.counted_bytes(gid);
        }
        Body::ChildCommit { child, child_last } => {
            writer.u64(child.0);
            writer.u64(child_last.0);
        }
        Body::EnterChild { child, undo_next, merge, within } => {
            writer.u64(child.0);
            writer.u64(undo_next.0);
            writer.u64(merge.0);
            writer.u64(within.0);
        }
        Body::FileCreate { file, durable, directory } => {
            writer.u32(file.0);
            writer.u8(u8::from(*durable));
            if *directory != DirNo::HOME {
                writer.u16(directory.0);
            }
        }
        Body::FileRemove { file } => writer.u32(file.0),
        Body::ActiveTxns { entries } => {
            writer.varint(entries.len() as u64);
            entries.iter().for_each(|entry| encode_entry(entry, writer));
        }
        Body::Checkpoint(checkpoint) => encode_checkpoint(checkpoint, writer),
        Body::Durable { durable } => writer.u64(durable.0),
        Body::RestorePoint { name, time_us } => {
            writer.u64(*time_us);
            writer.counted_bytes(name.as_bytes());
        }
        Body::Pad { bytes } => writer.zeros(*bytes as usize),
        Body::Ignorable { bytes, .. } => writer.bytes(bytes),
    }
}

fn encode_changes(changes: &[PageChange<'_>], writer: &mut Writer<'_>) {
    writer.varint(changes.len() as u64);
    for change in changes {
        writer.varint(change.page.file.0.into());
        writer.varint(change.page.page.0.into());
        writer.u64(change.prev_page_lsn.0);
        writer.varint(change.ops.len() as u64);
        for op in &change.ops {
            op.encode(writer);
        }
    }
}

fn encode_undo(undo: &Undo<'_>, changes: &[PageChange<'_>], writer: &mut Writer<'_>) {
    match undo {
        Undo::None => writer.u8(undo_tag::NONE),
        Undo::Insert { .. } if sole_insert(changes) == Some(*undo) => {
            writer.u8(undo_tag::INSERT_SAME_KEY);
        }
        Undo::Insert { file, key } => {
            writer.u8(undo_tag::INSERT);
            writer.varint(file.0.into());
            writer.counted_bytes(key);
        }
        Undo::Replace { file, key, old } => {
            writer.u8(undo_tag::REPLACE);
            writer.varint(file.0.into());
            writer.counted_bytes(key);
            old.encode(writer);
        }
        Undo::Delete { file, key, old } => {
            writer.u8(undo_tag::DELETE);
            writer.varint(file.0.into());
            writer.counted_bytes(key);
            old.encode(writer);
        }
        Undo::AllocExtent { file, first, count } => {
            writer.u8(undo_tag::ALLOC_EXTENT);
            writer.varint(file.0.into());
            writer.varint(first.0.into());
            writer.varint((*count).into());
        }
        Undo::CreateFile { file } => {
            writer.u8(undo_tag::CREATE_FILE);
            writer.varint(file.0.into());
        }
        Undo::ClearTree { file } => {
            writer.u8(undo_tag::CLEAR_TREE);
            writer.varint(file.0.into());
        }
    }
}

/// The undo of a record that does nothing but insert one key: it need not be written down.
pub(super) fn sole_insert<'a>(changes: &[PageChange<'a>]) -> Option<Undo<'a>> {
    let [PageChange { page, ops, .. }] = changes else { return None };
    match ops.as_slice() {
        [PageOp::LeafInsert { key, .. }] => Some(Undo::Insert { file: page.file, key }),
        _ => None,
    }
}

fn encode_action(action: &FileAction, writer: &mut Writer<'_>) {
    match action {
        FileAction::None => writer.u8(action_tag::NONE),
        FileAction::RemoveFile(file) => {
            writer.u8(action_tag::REMOVE_FILE);
            writer.varint(file.0.into());
        }
    }
}

fn encode_entry(entry: &TxnEntry, writer: &mut Writer<'_>) {
    writer.u64(entry.id.0);
    writer.u64(entry.first.0);
    writer.u64(entry.last.0);
    writer.u64(entry.undo_next.0);
    writer.u8(match entry.state {
        TxnState::Active => state_tag::ACTIVE,
        TxnState::Prepared => state_tag::PREPARED,
    });
}

fn encode_checkpoint(checkpoint: &Checkpoint, writer: &mut Writer<'_>) {
    writer.u64(checkpoint.redo.0);
    writer.u64(checkpoint.undo_low.0);
    writer.u64(checkpoint.active_from.0);
    writer.u64(checkpoint.next_txn.0);
    writer.u32(checkpoint.next_file.0);
    writer.u64(checkpoint.time_us);
    writer.u64(checkpoint.durable.0);
}
