//! Bytes to records.
//!
//! Owns: the reading half of the record grammar (FORMAT.md, "Records"). Promises: no input makes
//! it panic; memory is bounded by a small multiple of the input's size; what a newer build wrote
//! is refused by name, unless its writer marked it as ignorable. Must never: trust a count.

use super::encode::{action_tag, sole_insert, state_tag, undo_tag};
use super::{Body, Checkpoint, FileAction, PageChange, Record, TxnEntry, TxnState, Undo, kind};
use crate::access_method::AccessMethod;
use crate::codec::Reader;
use crate::error::{Corrupt, FormatError};
use crate::frame::{self, Frame, FrameHeader};
use crate::ids::{DirNo, FileId, Lsn, PageId, PageNo, TxnId};
use crate::page_op::PageOp;
use crate::value::Value;

/// Least bytes of a page change: file, page, previous LSN, number of operations.
const MIN_CHANGE_BYTES: usize = 11;
/// Bytes of a transaction entry.
const ENTRY_BYTES: usize = 33;
const WHAT: &str = "the log record";

impl<'a> Record<'a> {
    /// Reads a record from its whole frame, whose checksum [`frame::parse`] has accepted before.
    pub fn decode(frame_bytes: &'a [u8]) -> Result<Record<'a>, FormatError> {
        let frame = frame::split(frame_bytes).ok_or(Corrupt::new("record length", 0))?;
        Self::from_frame(&frame)
    }

    /// Reads the record in `frame`.
    pub fn from_frame(frame: &Frame<'a>) -> Result<Record<'a>, FormatError> {
        let header = frame.header;
        let unknown = header.unknown_required_flags();
        if unknown != 0 {
            let names = format!("record flags {unknown:#06x}");
            return Err(FormatError::UnsupportedFeatures {
                what: WHAT,
                bits: unknown.into(),
                names,
            });
        }
        let body = decode_body(&header, frame.payload)?;
        Ok(Record { txn: header.txn, prev: header.prev, body })
    }
}

fn decode_body<'a>(header: &FrameHeader, payload: &'a [u8]) -> Result<Body<'a>, FormatError> {
    let known = kind::ALL.contains(&header.kind);
    if !known {
        if header.flags & FrameHeader::IGNORABLE != 0 {
            return Ok(Body::Ignorable { kind: header.kind, bytes: payload });
        }
        return Err(FormatError::UnknownRecordKind { kind: header.kind });
    }
    let reader = &mut Reader::new(payload);
    let body = match header.kind {
        kind::UPDATE | kind::COMPENSATE | kind::COMPENSATE_WITHIN => {
            AccessMethod::from_code(header.access_method, WHAT)?;
            decode_paged(header.kind, reader)?
        }
        _ if header.access_method != 0 => {
            return Err(Corrupt::new("access method of the record", 13).into());
        }
        _ => decode_plain(header.kind, reader)?,
    };
    reader.finish("record payload (too long)")?;
    Ok(body)
}

/// Records that change pages.
fn decode_paged<'a>(kind: u8, reader: &mut Reader<'a>) -> Result<Body<'a>, FormatError> {
    if kind == kind::UPDATE {
        let changes = decode_changes(reader)?;
        let undo = decode_undo(reader, &changes)?;
        return Ok(Body::Update { changes, undo });
    }
    let within = match kind {
        kind::COMPENSATE_WITHIN => decode_within(reader)?,
        _ => Lsn::NONE,
    };
    let undo_next = Lsn(reader.u64("next record to undo")?);
    let changes = decode_changes(reader)?;
    let action = decode_action(reader)?;
    Ok(Body::Compensate { undo_next, within, changes, action })
}

/// Where a rollback went into a child; there is another kind for those that did not.
fn decode_within(reader: &mut Reader<'_>) -> Result<Lsn, Corrupt> {
    let at = reader.position();
    match Lsn(reader.u64("entry into the child")?) {
        Lsn::NONE => Err(Corrupt::new("entry into the child", at)),
        within => Ok(within),
    }
}

/// Records that change no page.
fn decode_plain<'a>(kind: u8, reader: &mut Reader<'a>) -> Result<Body<'a>, FormatError> {
    Ok(match kind {
        kind::COMMIT => {
            let time_us = reader.u64("commit time")?;
            Body::Commit { time_us, durable: Lsn(reader.u64("durable LSN")?) }
        }
        kind::ABORT => Body::Abort,
        kind::PREPARE => {
            let time_us = reader.u64("prepare time")?;
            Body::Prepare { gid: reader.counted_bytes("global id")?, time_us }
        }
        kind::CHILD_COMMIT => Body::ChildCommit {
            child: TxnId(reader.u64("child transaction")?),
            child_last: Lsn(reader.u64("child's last record")?),
        },
        kind::ENTER_CHILD => Body::EnterChild {
            child: TxnId(reader.u64("child transaction")?),
            undo_next: Lsn(reader.u64("next record to undo")?),
            merge: Lsn(reader.u64("commit of the child")?),
            within: Lsn(reader.u64("entry into the child")?),
        },
        kind::FILE_CREATE => Body::FileCreate {
            file: FileId(reader.u32("file id")?),
            durable: decode_bool(reader, "durable flag")?,
            directory: DirNo::HOME,
        },
        kind::FILE_CREATE_IN => Body::FileCreate {
            file: FileId(reader.u32("file id")?),
            durable: decode_bool(reader, "durable flag")?,
            directory: decode_directory(reader)?,
        },
        kind::FILE_REMOVE => Body::FileRemove { file: FileId(reader.u32("file id")?) },
        kind::ACTIVE_TXNS => Body::ActiveTxns { entries: decode_entries(reader)? },
        kind::CHECKPOINT => Body::Checkpoint(decode_checkpoint(reader)?),
        kind::DURABLE => Body::Durable { durable: Lsn(reader.u64("durable LSN")?) },
        kind::RESTORE_POINT => {
            let time_us = reader.u64("restore point time")?;
            let at = reader.position();
            let name = std::str::from_utf8(reader.counted_bytes("restore point name")?)
                .map_err(|_| Corrupt::new("restore point name", at))?;
            Body::RestorePoint { name, time_us }
        }
        kind::PAD => Body::Pad { bytes: decode_zeros(reader)? },
        kind => return Err(FormatError::UnknownRecordKind { kind }),
    })
}

/// A directory; that of the home has a kind of its own.
fn decode_directory(reader: &mut Reader<'_>) -> Result<DirNo, Corrupt> {
    let at = reader.position();
    match reader.u16("directory number")? {
        0 => Err(Corrupt::new("directory number", at)),
        number => Ok(DirNo(number)),
    }
}

/// What is left of the payload, which is nothing but zeros.
fn decode_zeros(reader: &mut Reader<'_>) -> Result<u32, FormatError> {
    let at = reader.position();
    let zeros = reader.rest();
    match u32::try_from(zeros.len()) {
        Ok(bytes) if zeros.iter().all(|byte| *byte == 0) => Ok(bytes),
        _ => Err(Corrupt::new("padding", at).into()),
    }
}

fn decode_changes<'a>(reader: &mut Reader<'a>) -> Result<Vec<PageChange<'a>>, FormatError> {
    let count = reader.item_count(MIN_CHANGE_BYTES, "number of changed pages")?;
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        let file = FileId(reader.varint_u32("file id")?);
        let page = PageNo(reader.varint_u32("page number")?);
        let prev_page_lsn = Lsn(reader.u64("previous page LSN")?);
        let ops = decode_ops(reader)?;
        changes.push(PageChange { page: PageId { file, page }, prev_page_lsn, ops });
    }
    Ok(changes)
}

fn decode_ops<'a>(reader: &mut Reader<'a>) -> Result<Vec<PageOp<'a>>, FormatError> {
    let count = reader.item_count(1, "number of operations")?;
    // Operations are larger in memory than in the log: grow by what is really there.
    let mut ops = Vec::with_capacity(count.min(4));
    for _ in 0..count {
        ops.push(PageOp::decode(reader)?);
    }
    Ok(ops)
}

fn decode_undo<'a>(
    reader: &mut Reader<'a>,
    changes: &[PageChange<'a>],
) -> Result<Undo<'a>, FormatError> {
    let at = reader.position();
    let tag = reader.u8("undo kind")?;
    match tag {
        undo_tag::NONE => return Ok(Undo::None),
        undo_tag::INSERT_SAME_KEY => {
            let undo = sole_insert(changes);
            return undo.ok_or_else(|| Corrupt::new("undo without its key", at).into());
        }
        _ => {}
    }
    let file = FileId(reader.varint_u32("file id of the undo")?);
    Ok(match tag {
        undo_tag::INSERT => {
            let undo = Undo::Insert { file, key: reader.counted_bytes("undo key")? };
            if sole_insert(changes) == Some(undo) {
                return Err(Corrupt::new("undo key (repeated)", at).into());
            }
            undo
        }
        undo_tag::REPLACE => {
            let key = reader.counted_bytes("undo key")?;
            Undo::Replace { file, key, old: Value::decode(reader)? }
        }
        undo_tag::DELETE => {
            let key = reader.counted_bytes("undo key")?;
            Undo::Delete { file, key, old: Value::decode(reader)? }
        }
        undo_tag::ALLOC_EXTENT => {
            let first = PageNo(reader.varint_u32("first page of the extent")?);
            Undo::AllocExtent { file, first, count: reader.varint_u32("pages of the extent")? }
        }
        undo_tag::CREATE_FILE => Undo::CreateFile { file },
        undo_tag::CLEAR_TREE => Undo::ClearTree { file },
        other => return Err(FormatError::UnknownTag { what: "undo kind", value: other.into() }),
    })
}

fn decode_action(reader: &mut Reader<'_>) -> Result<FileAction, FormatError> {
    match reader.u8("file action")? {
        action_tag::NONE => Ok(FileAction::None),
        action_tag::REMOVE_FILE => {
            Ok(FileAction::RemoveFile(FileId(reader.varint_u32("file id")?)))
        }
        other => Err(FormatError::UnknownTag { what: "file action", value: other.into() }),
    }
}

fn decode_entries(reader: &mut Reader<'_>) -> Result<Vec<TxnEntry>, FormatError> {
    let count = reader.item_count(ENTRY_BYTES, "number of transactions")?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(TxnEntry {
            id: TxnId(reader.u64("transaction")?),
            first: Lsn(reader.u64("first record")?),
            last: Lsn(reader.u64("last record")?),
            undo_next: Lsn(reader.u64("next record to undo")?),
            state: decode_state(reader)?,
        });
    }
    Ok(entries)
}

fn decode_state(reader: &mut Reader<'_>) -> Result<TxnState, FormatError> {
    match reader.u8("transaction state")? {
        state_tag::ACTIVE => Ok(TxnState::Active),
        state_tag::PREPARED => Ok(TxnState::Prepared),
        other => Err(FormatError::UnknownTag { what: "transaction state", value: other.into() }),
    }
}

fn decode_checkpoint(reader: &mut Reader<'_>) -> Result<Checkpoint, Corrupt> {
    Ok(Checkpoint {
        redo: Lsn(reader.u64("redo LSN")?),
        undo_low: Lsn(reader.u64("undo LSN")?),
        active_from: Lsn(reader.u64("first list of transactions")?),
        next_txn: TxnId(reader.u64("next transaction")?),
        next_file: FileId(reader.u32("next file")?),
        time_us: reader.u64("checkpoint time")?,
        durable: Lsn(reader.u64("durable LSN")?),
    })
}

fn decode_bool(reader: &mut Reader<'_>, what: &'static str) -> Result<bool, Corrupt> {
    let at = reader.position();
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Corrupt::new(what, at)),
    }
}
