//! Golden files: the bytes of every kind of page and every page operation, once and for all.
//!
//! `CAMPANILE_BLESS=1 cargo test -p campanile-format --test pages` writes them anew. A golden file
//! that changes is a new format version.

use campanile_format::codec::{Reader, Writer};
use campanile_format::page_op::{OpTag, apply_all, check_all};
use campanile_format::{
    EnvironmentId, FileId, Lsn, MetaFields, NodeBuilder, OverflowRef, PageId, PageNo, PageOp,
    Plain, PlainMut, Value, page, validate,
};

use crate::hexdump;

/// What the golden file holds, which must be `bytes`.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let expected = hexdump::golden("pages", name, bytes);
    assert!(bytes == expected, "{name} differs from its golden file:\n{}", hexdump::hex(bytes));
    expected
}

const SIZE: usize = 512;
const FILE: FileId = FileId(16);
const LSN: Lsn = Lsn::new(3, 4096);

fn meta_fields() -> MetaFields {
    MetaFields::new(EnvironmentId(*b"0123456789abcdef"), SIZE, true)
}

/// The page that `ops` make, sealed, as it would stand on disk.
fn page_of(page: u32, ops: &[PageOp<'_>]) -> Vec<u8> {
    let id = PageId::new(FILE, PageNo(page));
    let mut bytes = vec![0; SIZE];
    check_all(ops, id, &Plain(&bytes)).unwrap();
    apply_all(ops, id, &mut PlainMut(&mut bytes), LSN);
    page::seal(&mut bytes, id);
    bytes
}

fn assert_page(name: &str, number: u32, ops: &[PageOp<'_>]) {
    let bytes = golden(name, &page_of(number, ops));
    page::check(&bytes, PageId::new(FILE, PageNo(number))).unwrap();
    validate(&Plain(&bytes)).unwrap();
}

#[test]
fn leaf() {
    let mut node = NodeBuilder::new(SIZE, 0, b"tower", Some(b"town"), PageNo::NONE);
    assert!(node.push_entry(b"tower", Value::Inline(b"campanile"), false));
    assert!(node.push_entry(b"tower bell", Value::Inline(b""), true));
    let far = OverflowRef { len: 1_000_000, first: PageNo(77) };
    assert!(node.push_entry(b"towline", Value::Overflow(far), false));
    assert_page("leaf", 7, &[node.into_image().op()]);
}

/// A leaf as it is after a while: holes in the heap, a longer prefix, slots out of heap order.
#[test]
fn leaf_with_a_history() {
    let long = [b'v'; 120];
    let insert = |slot, key, value| PageOp::LeafInsert { slot, key, value };
    let ops = [
        PageOp::FormatNode { level: 0, lower: b"item/", upper: None, first_child: PageNo::NONE },
        insert(0, b"item/b", Value::Inline(b"2")),
        insert(0, b"item/a", Value::Inline(&long)),
        insert(2, b"item/c", Value::Inline(b"3")),
        insert(3, b"item/d", Value::Inline(&long)),
        PageOp::LeafReplace { slot: 1, value: Value::Inline(b"longer than before") },
        PageOp::LeafReplace { slot: 3, value: Value::Inline(b"short") },
        PageOp::LeafGhost { slot: 0, ghost: true },
        PageOp::purge(&[0]),
        PageOp::LeafReplace { slot: 1, value: Value::Inline(&long) },
        PageOp::NodeTruncate { keep: 2, upper: b"item/d" },
        PageOp::LeafGhost { slot: 0, ghost: true },
        insert(2, b"item/c2", Value::Inline(b"after the split")),
    ];
    assert_page("leaf-with-a-history", 8, &ops);
}

#[test]
fn inner() {
    let ops = [
        PageOp::FormatNode { level: 1, lower: b"", upper: None, first_child: PageNo(10) },
        PageOp::InnerInsert { slot: 0, separator: b"m", child: PageNo(12) },
        PageOp::InnerInsert { slot: 0, separator: b"g", child: PageNo(11) },
        PageOp::InnerInsert { slot: 2, separator: b"t", child: PageNo(13) },
        PageOp::InnerSetChild { slot: Some(1), child: PageNo(14) },
        PageOp::InnerSetChild { slot: None, child: PageNo(15) },
        PageOp::InnerRemove { slot: 2 },
    ];
    assert_page("inner", 2, &ops);
}

#[test]
fn map() {
    let ops = [
        PageOp::FormatMap { group: 0 },
        PageOp::MapSet { first: 3, count: 100, allocated: true },
        PageOp::MapSet { first: 50, count: 20, allocated: false },
    ];
    assert_page("map", 1, &ops);
    let ops = [PageOp::FormatMap { group: 1 }];
    assert_page("map-of-group-1", 448 * 8 + 1, &ops);
}

#[test]
fn overflow() {
    let (extent_pages, next_extent) = (3, PageNo(200));
    let data: &[u8] = &[b'x'; SIZE - 64];
    assert_page(
        "overflow-first",
        100,
        &[PageOp::FormatOverflow { extent_pages, next_extent, data }],
    );
    let data = b"the end";
    let last = PageOp::FormatOverflow { extent_pages: 0, next_extent: PageNo::NONE, data };
    assert_page("overflow-last", 102, &[last]);
}

#[test]
fn meta() {
    assert_page("meta", 0, &[PageOp::FormatMeta(meta_fields())]);
    let grown = MetaFields { groups: 2, durable: false, ..meta_fields() };
    let ops = [PageOp::FormatMeta(meta_fields()), PageOp::MetaSet(grown)];
    assert_page("meta-not-durable", 0, &ops);
}

/// One op of each kind; two where an op has two shapes.
fn ops() -> Vec<PageOp<'static>> {
    let far =
        Value::Overflow(OverflowRef { len: 5_000_000_000 - 1_000_000_000, first: PageNo(300) });
    let lower = b"lower";
    vec![
        PageOp::Image { head: b"head", tail: b"tail" },
        PageOp::FormatNode { level: 0, lower, upper: None, first_child: PageNo::NONE },
        PageOp::FormatNode { level: 2, lower, upper: Some(b"upper"), first_child: PageNo(70_000) },
        PageOp::FormatMap { group: 300 },
        PageOp::FormatMeta(meta_fields()),
        PageOp::FormatOverflow { extent_pages: 9, next_extent: PageNo(40), data: b"data" },
        PageOp::LeafInsert { slot: 5, key: b"key", value: Value::Inline(b"value") },
        PageOp::LeafInsert { slot: 500, key: b"", value: far },
        PageOp::LeafReplace { slot: 1, value: Value::Inline(b"") },
        PageOp::LeafGhost { slot: 2, ghost: true },
        PageOp::LeafPurge { slots: vec![0, 7, 300].into() },
        PageOp::InnerInsert { slot: 3, separator: b"s", child: PageNo(u32::MAX - 1) },
        PageOp::InnerRemove { slot: 4 },
        PageOp::InnerSetChild { slot: None, child: PageNo(5) },
        PageOp::InnerSetChild { slot: Some(6), child: PageNo(7) },
        PageOp::NodeTruncate { keep: 8, upper: b"upper" },
        PageOp::MapSet { first: 260_000, count: 128, allocated: false },
        PageOp::MetaSet(meta_fields()),
    ]
}

/// All in one file, one after the other, as in a record.
#[test]
fn page_ops() {
    let ops = ops();
    let kinds: Vec<OpTag> = ops.iter().map(PageOp::tag).collect();
    assert!(OpTag::ALL.iter().all(|tag| kinds.contains(tag)), "an op without a golden form");
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    ops.iter().for_each(|op| op.encode(&mut writer));
    let bytes = golden("ops", &bytes);
    let mut reader = Reader::new(&bytes);
    for op in &ops {
        assert_eq!(PageOp::decode(&mut reader).as_ref(), Ok(op));
    }
    assert!(reader.is_empty());
}
