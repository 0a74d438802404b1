//! Arbitrary records, as proptest strategies. Byte strings are leaked: they live as long as the
//! test does, and records borrow.

use std::borrow::Cow;

use campanile_format::record::{
    Body, Checkpoint, FileAction, PageChange, Record, TxnEntry, TxnState, Undo,
};
use campanile_format::{
    DirNo, EnvironmentId, FileId, Lsn, MetaFields, OverflowRef, PageId, PageNo, PageOp, TxnId,
    Value,
};
use proptest::prelude::*;

pub fn bytes(max: usize) -> impl Strategy<Value = &'static [u8]> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(|bytes| &*bytes.leak())
}

pub fn lsn() -> impl Strategy<Value = Lsn> {
    prop_oneof![Just(Lsn::NONE), any::<u64>().prop_map(Lsn)]
}

fn page() -> impl Strategy<Value = PageNo> {
    any::<u32>().prop_map(PageNo)
}

fn file() -> impl Strategy<Value = FileId> {
    any::<u32>().prop_map(FileId)
}

fn value() -> impl Strategy<Value = Value<'static>> {
    let overflow = (1..=u64::from(u32::MAX), 1..u32::MAX)
        .prop_map(|(len, first)| Value::Overflow(OverflowRef { len, first: PageNo(first) }));
    prop_oneof![bytes(300).prop_map(Value::Inline), overflow]
}

fn op() -> impl Strategy<Value = PageOp<'static>> {
    let slots = prop::collection::vec(any::<u16>(), 0..9);
    prop_oneof![
        (bytes(100), bytes(100)).prop_map(|(head, tail)| PageOp::Image { head, tail }),
        (any::<u8>(), bytes(40), prop::option::of(bytes(40)), page()).prop_map(
            |(level, lower, upper, first_child)| PageOp::FormatNode {
                level,
                lower,
                upper,
                first_child
            }
        ),
        any::<u32>().prop_map(|group| PageOp::FormatMap { group }),
        (any::<[u8; 16]>(), 9u32..16, any::<bool>()).prop_map(|(id, shift, durable)| {
            PageOp::FormatMeta(MetaFields::new(EnvironmentId(id), 1 << shift, durable))
        }),
        (any::<u32>(), page(), bytes(200)).prop_map(|(extent_pages, next_extent, data)| {
            PageOp::FormatOverflow { extent_pages, next_extent, data }
        }),
        (any::<u16>(), bytes(60), value()).prop_map(|(slot, key, value)| PageOp::LeafInsert {
            slot,
            key,
            value
        }),
        (any::<u16>(), value()).prop_map(|(slot, value)| PageOp::LeafReplace { slot, value }),
        (any::<u16>(), any::<bool>()).prop_map(|(slot, ghost)| PageOp::LeafGhost { slot, ghost }),
        slots.prop_map(|slots| PageOp::LeafPurge { slots: Cow::Owned(slots) }),
        (any::<u16>(), bytes(60), page()).prop_map(|(slot, separator, child)| {
            PageOp::InnerInsert { slot, separator, child }
        }),
        any::<u16>().prop_map(|slot| PageOp::InnerRemove { slot }),
        (prop::option::of(any::<u16>()), page())
            .prop_map(|(slot, child)| PageOp::InnerSetChild { slot, child }),
        (any::<u16>(), bytes(60)).prop_map(|(keep, upper)| PageOp::NodeTruncate { keep, upper }),
        (any::<u32>(), any::<u32>(), any::<bool>())
            .prop_map(|(first, count, allocated)| { PageOp::MapSet { first, count, allocated } }),
    ]
}

fn change() -> impl Strategy<Value = PageChange<'static>> {
    (file(), page(), lsn(), prop::collection::vec(op(), 0..4)).prop_map(
        |(file, page, prev_page_lsn, ops)| PageChange {
            page: PageId { file, page },
            prev_page_lsn,
            ops,
        },
    )
}

fn changes() -> impl Strategy<Value = Vec<PageChange<'static>>> {
    prop::collection::vec(change(), 0..4)
}

fn undo() -> impl Strategy<Value = Undo<'static>> {
    prop_oneof![
        Just(Undo::None),
        (file(), bytes(60)).prop_map(|(file, key)| Undo::Insert { file, key }),
        (file(), bytes(60), value()).prop_map(|(file, key, old)| Undo::Replace { file, key, old }),
        (file(), bytes(60), value()).prop_map(|(file, key, old)| Undo::Delete { file, key, old }),
        (file(), page(), any::<u32>()).prop_map(|(file, first, count)| Undo::AllocExtent {
            file,
            first,
            count
        }),
        file().prop_map(|file| Undo::CreateFile { file }),
        file().prop_map(|file| Undo::ClearTree { file }),
    ]
}

fn entry() -> impl Strategy<Value = TxnEntry> {
    (any::<u64>(), lsn(), lsn(), lsn(), any::<bool>()).prop_map(
        |(id, first, last, undo_next, prepared)| TxnEntry {
            id: TxnId(id),
            first,
            last,
            undo_next,
            state: if prepared { TxnState::Prepared } else { TxnState::Active },
        },
    )
}

fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    let positions = (lsn(), lsn(), lsn(), lsn());
    (positions, any::<u64>(), any::<u32>(), any::<u64>()).prop_map(
        |((redo, undo_low, active_from, durable), next_txn, next_file, time_us)| Checkpoint {
            redo,
            undo_low,
            active_from,
            next_txn: TxnId(next_txn),
            next_file: FileId(next_file),
            time_us,
            durable,
        },
    )
}

fn body() -> impl Strategy<Value = Body<'static>> {
    let name = "[ -~äß☂]{0,20}".prop_map(|name| &*name.leak());
    let action = prop_oneof![Just(FileAction::None), file().prop_map(FileAction::RemoveFile)];
    prop_oneof![
        4 => (changes(), undo()).prop_map(|(changes, undo)| Body::Update { changes, undo }),
        2 => (lsn(), lsn(), changes(), action).prop_map(|(undo_next, within, changes, action)| {
            Body::Compensate { undo_next, within, changes, action }
        }),
        1 => (any::<u64>(), lsn()).prop_map(|(time_us, durable)| Body::Commit { time_us, durable }),
        1 => Just(Body::Abort),
        1 => (bytes(130), any::<u64>()).prop_map(|(gid, time_us)| Body::Prepare { gid, time_us }),
        1 => (any::<u64>(), lsn()).prop_map(|(child, child_last)| {
            Body::ChildCommit { child: TxnId(child), child_last }
        }),
        1 => (any::<u64>(), lsn(), lsn(), lsn()).prop_map(|(child, undo_next, merge, within)| {
            Body::EnterChild { child: TxnId(child), undo_next, merge, within }
        }),
        1 => (file(), any::<bool>(), 0..3_u16).prop_map(|(file, durable, directory)| {
            Body::FileCreate { file, durable, directory: DirNo(directory) }
        }),
        1 => file().prop_map(|file| Body::FileRemove { file }),
        1 => prop::collection::vec(entry(), 0..9).prop_map(|entries| Body::ActiveTxns { entries }),
        1 => checkpoint().prop_map(Body::Checkpoint),
        1 => lsn().prop_map(|durable| Body::Durable { durable }),
        1 => (0..5000_u32).prop_map(|bytes| Body::Pad { bytes }),
        1 => (name, any::<u64>()).prop_map(|(name, time_us)| Body::RestorePoint { name, time_us }),
        1 => (100u8.., bytes(50)).prop_map(|(kind, bytes)| Body::Ignorable { kind, bytes }),
    ]
}

pub fn record() -> impl Strategy<Value = Record<'static>> {
    (any::<u64>(), lsn(), body()).prop_map(|(txn, prev, body)| Record {
        txn: TxnId(txn),
        prev,
        body,
    })
}
