//! What checks refuse, one rule at a time, and what several ops of one page do together.

use super::*;
use crate::limits::{inline_limit, max_key};
use crate::node::build::NodeBuilder;

fn reason(page: &mut Twins, op: &PageOp<'_>) -> &'static str {
    page.step(op).expect_err("must be refused").what
}

fn put(page: &mut Twins, slot: u16, key: &[u8]) {
    page.step(&PageOp::LeafInsert { slot, key, value: Value::Inline(b"v") }).unwrap();
}

#[test]
fn an_insert_must_keep_the_order_and_the_fences() {
    let mut page = leaf(512, b"b", Some(b"m"));
    put(&mut page, 0, b"d");
    put(&mut page, 1, b"h");
    let value = Value::Inline(b"v");
    let mut refused = |slot, key| reason(&mut page, &PageOp::LeafInsert { slot, key, value });
    assert_eq!(refused(0, b"a"), "key outside the fences");
    assert_eq!(refused(2, b"m"), "key outside the fences");
    assert_eq!(refused(0, b"e"), "key order");
    assert_eq!(refused(1, b"d"), "key order");
    assert_eq!(refused(1, b"h"), "key order");
    assert_eq!(refused(2, b"e"), "key order");
    assert_eq!(refused(3, b"k"), "slot number");
    let long = [b"c".repeat(max_key(512)), b"c".to_vec()].concat();
    assert_eq!(refused(0, &long), "key length");
}

#[test]
fn what_should_be_in_overflow_pages_is_not_stored_inline() {
    let mut page = leaf(512, b"", None);
    let value = vec![0; inline_limit(512) + 1];
    let op = PageOp::LeafInsert { slot: 0, key: b"k", value: Value::Inline(&value) };
    assert_eq!(reason(&mut page, &op), "length of an inline value");
    // Each alone is within its limit, together they are not.
    let (key, value) = (vec![b'k'; max_key(512)], vec![0; inline_limit(512)]);
    let op = PageOp::LeafInsert { slot: 0, key: &key, value: Value::Inline(&value) };
    assert_eq!(reason(&mut page, &op), "length of an inline value");
}

#[test]
fn the_longest_entry_fits_between_the_longest_fences() {
    for size in [512, 4096, 32768] {
        let lower = vec![b'a'; max_key(size)];
        let mut upper = vec![b'b'; max_key(size)];
        let key = [b"b".repeat(max_key(size) - 1), b"a".to_vec()].concat();
        for value_len in [0, 40, inline_limit(size)] {
            let mut page = leaf(size, &lower, Some(&upper));
            let bytes = vec![b'v'; value_len];
            let value = if crate::is_inline(size, key.len(), value_len as u64) {
                Value::Inline(&bytes)
            } else {
                let len = value_len as u64;
                Value::Overflow(OverflowRef { len, first: PageNo(9) })
            };
            page.step(&PageOp::LeafInsert { slot: 0, key: &key, value }).unwrap();
        }
        let mut page = Twins::new(size, ID);
        let (lower, first_child) = (&*lower, PageNo(3));
        page.step(&PageOp::FormatNode { level: 1, lower, upper: Some(&upper), first_child })
            .unwrap();
        page.step(&PageOp::InnerInsert { slot: 0, separator: &key, child: PageNo(4) }).unwrap();
        upper.push(b'c');
        let too_long = PageOp::FormatNode { level: 1, lower, upper: Some(&upper), first_child };
        assert_eq!(reason(&mut page, &too_long), "upper fence");
    }
}

#[test]
fn a_full_page_refuses_one_byte_too_many() {
    let mut page = leaf(512, b"", None);
    for slot in 0..8u16 {
        let key = format!("key{slot}");
        let value = Value::Inline(&[7; 40]);
        page.step(&PageOp::LeafInsert { slot, key: key.as_bytes(), value }).unwrap();
    }
    let free = page.node().free_bytes();
    let exact = vec![b'z'; free - 8 - 1];
    let over = vec![b'z'; free - 8];
    let value = Value::Inline(b"");
    let op = PageOp::LeafInsert { slot: 8, key: &over, value };
    assert_eq!(reason(&mut page, &op), "room");
    page.step(&PageOp::LeafInsert { slot: 8, key: &exact, value }).unwrap();
    assert_eq!(page.node().free_bytes(), 0);
    let op = PageOp::LeafReplace { slot: 0, value: Value::Inline(&[7; 41]) };
    assert_eq!(reason(&mut page, &op), "room");
    page.step(&PageOp::LeafReplace { slot: 0, value: Value::Inline(&[8; 40]) }).unwrap();
    page.step(&PageOp::LeafReplace { slot: 0, value: Value::Inline(b"") }).unwrap();
    page.step(&PageOp::LeafReplace { slot: 1, value: Value::Inline(&[9; 80]) }).unwrap();
    assert_eq!(page.node().free_bytes(), 0);
}

#[test]
fn ghosts_are_found_and_only_ghosts_are_purged() {
    let mut page = leaf(512, b"", None);
    put(&mut page, 0, b"a");
    put(&mut page, 1, b"b");
    assert_eq!(reason(&mut page, &PageOp::purge(&[0])), "purge of what is no ghost");
    page.step(&PageOp::LeafGhost { slot: 0, ghost: true }).unwrap();
    assert_eq!(page.node().search(b"a"), Ok(0));
    let again = PageOp::LeafGhost { slot: 0, ghost: true };
    assert_eq!(reason(&mut page, &again), "ghost state");
    page.step(&PageOp::LeafGhost { slot: 1, ghost: true }).unwrap();
    assert_eq!(reason(&mut page, &PageOp::purge(&[1, 0])), "order of slots");
    assert_eq!(reason(&mut page, &PageOp::purge(&[0, 0])), "order of slots");
    assert_eq!(reason(&mut page, &PageOp::purge(&[0, 2])), "slot number");
    page.step(&PageOp::LeafReplace { slot: 1, value: Value::Inline(b"new") }).unwrap();
    assert!(!page.node().is_ghost(1), "a new value ends a ghost");
    page.step(&PageOp::purge(&[0])).unwrap();
    assert_eq!(page.node().key(0), b"b");
}

#[test]
fn a_split_loses_no_key_and_moves_no_fence_outwards() {
    let mut page = leaf(512, b"b", Some(b"m"));
    put(&mut page, 0, b"d");
    put(&mut page, 1, b"h");
    let mut refused = |keep, upper| reason(&mut page, &PageOp::NodeTruncate { keep, upper });
    assert_eq!(refused(1, b"n"), "fence order");
    assert_eq!(refused(0, b"b"), "fence order");
    assert_eq!(refused(2, b"h"), "key above the upper fence");
    assert_eq!(refused(1, b"i"), "key lost by a split");
    assert_eq!(refused(3, b"i"), "slot number");
    page.step(&PageOp::NodeTruncate { keep: 1, upper: b"h" }).unwrap();
    assert_eq!(page.node().fences(), (b"b".to_vec(), Some(b"h".to_vec())));
    assert_eq!(page.node().count(), 1);
}

#[test]
fn a_tighter_fence_makes_a_longer_prefix() {
    let mut page = leaf(512, b"shop/apple", None);
    put(&mut page, 0, b"shop/apple/1");
    put(&mut page, 1, b"shop/apple/22222");
    put(&mut page, 2, b"zoo");
    let before = page.node().used_bytes();
    page.step(&PageOp::NodeTruncate { keep: 2, upper: b"shop/b" }).unwrap();
    let node = page.node();
    assert_eq!(node.prefix_len(), 5);
    assert_eq!(node.key(1), b"shop/apple/22222");
    assert_eq!(node.search(b"shop/apple/1"), Ok(0));
    assert_eq!(node.search(b"shop/apple/3"), Err(2));
    assert_eq!(node.used_bytes(), before - (8 + 3 + 2) - 2 * 5 + b"shop/b".len());
}

#[test]
fn ops_are_for_pages_of_their_kind_and_place() {
    let mut page = leaf(512, b"", None);
    let inner = PageOp::InnerInsert { slot: 0, separator: b"s", child: PageNo(3) };
    assert_eq!(reason(&mut page, &inner), "level of an inner node");
    let map = PageOp::MapSet { first: 9, count: 1, allocated: true };
    assert_eq!(reason(&mut page, &map), "page kind");
    let elsewhere = PageId::new(FileId(16), PageNo(8));
    let op = PageOp::LeafInsert { slot: 0, key: b"k", value: Value::Inline(b"") };
    assert_eq!(op.check(elsewhere, &Plain(&page.plain)).unwrap_err().what, "page number");
    let zeros = [0; 512];
    assert!(op.check(ID, &Plain(&zeros)).is_err(), "a page never written takes init ops only");
    assert_eq!(reason(&mut page, &PageOp::FormatMap { group: 0 }), "page number of a map");
}

#[test]
fn an_image_is_validated_in_full() {
    let mut builder = NodeBuilder::new(512, 0, b"", None, PageNo::NONE);
    assert!(builder.push_entry(b"a", Value::Inline(b"1"), false));
    assert!(builder.push_entry(b"b", Value::Inline(b"2"), true));
    let image = builder.into_image();
    let mut page = leaf(512, b"x", Some(b"y"));
    page.step(&image.op()).unwrap();
    assert_eq!(page.node().count(), 2);
    assert_eq!(page::id(&Plain(&page.plain)), ID);
    for at in [4, 24, 26, 28, 30, 44, 64, 66, 70, 71] {
        let mut head = image.head().to_vec();
        head[at] ^= 1;
        let op = PageOp::Image { head: &head, tail: image.tail() };
        assert!(page.step(&op).is_err(), "byte {at}");
    }
    let op = PageOp::Image { head: &image.head()[..63], tail: image.tail() };
    assert_eq!(reason(&mut page, &op), "image length");
    let op = PageOp::Image { head: image.head(), tail: &[0; 500] };
    assert_eq!(reason(&mut page, &op), "image length");
}

#[test]
fn later_ops_of_a_change_see_what_earlier_ones_did() {
    let page = leaf(512, b"", None);
    let value = Value::Inline(b"v");
    let ops = [
        PageOp::LeafInsert { slot: 0, key: b"a", value },
        PageOp::LeafInsert { slot: 1, key: b"b", value },
        PageOp::LeafGhost { slot: 0, ghost: true },
        PageOp::purge(&[0]),
    ];
    let before = page.plain.clone();
    check_all(&ops, ID, &Plain(&page.plain)).unwrap();
    assert!(check_all(&ops[1..], ID, &Plain(&page.plain)).is_err());
    assert!(page.plain == before, "checking changes nothing");
    let mut bytes = page.plain;
    apply_all(&ops, ID, &mut PlainMut(&mut bytes), Lsn::new(2, 512));
    let node = Node::new(Plain(&bytes));
    assert_eq!((node.count(), node.key(0)), (1, b"b".to_vec()));
    assert_eq!(page::lsn(&Plain(&bytes)), Lsn::new(2, 512));
}

#[test]
fn init_ops_need_no_content_and_leave_none() {
    let junk = vec![0xa5; 512];
    let ops = [
        PageOp::FormatNode { level: 1, lower: b"l", upper: Some(b"u"), first_child: PageNo(4) },
        PageOp::FormatOverflow { extent_pages: 2, next_extent: PageNo(77), data: b"data" },
    ];
    for op in ops {
        assert!(op.is_init());
        let mut fresh = Twins::new(512, ID);
        let mut reused = Twins::of(&junk, ID);
        fresh.step(&op).unwrap();
        reused.step(&op).unwrap();
        assert!(fresh.plain == reused.plain);
    }
    let fields = MetaFields::new(crate::EnvironmentId([9; 16]), 512, true);
    for (page, op) in [(0, PageOp::FormatMeta(fields)), (1, PageOp::FormatMap { group: 0 })] {
        let id = PageId::new(FileId(3), PageNo(page));
        let (mut fresh, mut reused) = (Twins::new(512, id), Twins::of(&junk, id));
        fresh.step(&op).unwrap();
        reused.step(&op).unwrap();
        assert!(fresh.plain == reused.plain);
    }
}

#[test]
fn an_image_brings_no_identity_of_its_own() {
    let mut page = leaf(512, b"", None);
    put(&mut page, 0, b"key");
    page::stamp(&mut PlainMut(&mut page.plain), Lsn::new(5, 512));
    let other = PageId::new(FileId(99), PageNo(50));
    page::put_id(&mut PlainMut(&mut page.plain), other);
    page::seal(&mut page.plain, other);
    let mut copy = Twins::new(512, ID);
    copy.step(&PageOp::Image { head: &page.plain[..72], tail: &page.plain[400..] }).unwrap();
    let view = Plain(&copy.plain);
    assert_eq!((page::id(&view), page::lsn(&view), view.u32_at(page::CRC)), (ID, Lsn::NONE, 0));
    assert_eq!(copy.node().key(0), b"key");
}

#[test]
fn a_value_that_is_not_longer_stays_where_it_is() {
    let mut page = leaf(512, b"", None);
    put(&mut page, 0, b"key");
    let before = page.node().value(0);
    page.step(&PageOp::LeafReplace { slot: 0, value: Value::Inline(b"w") }).unwrap();
    assert_eq!(page.node().value(0), before);
}

#[test]
fn the_first_child_keeps_something_to_cover() {
    let mut page = Twins::new(512, ID);
    let (upper, first_child) = (None, PageNo(3));
    page.step(&PageOp::FormatNode { level: 1, lower: b"f", upper, first_child }).unwrap();
    let op = PageOp::InnerInsert { slot: 0, separator: b"f", child: PageNo(4) };
    assert_eq!(reason(&mut page, &op), "separator at the lower fence");
    page.step(&PageOp::InnerInsert { slot: 0, separator: b"f\0", child: PageNo(4) }).unwrap();
    let op = PageOp::InnerSetChild { slot: None, child: PageNo::NONE };
    assert_eq!(reason(&mut page, &op), "child page number");
    let op = PageOp::InnerInsert { slot: 1, separator: b"z", child: PageNo::NONE };
    assert_eq!(reason(&mut page, &op), "child page number");
}

#[test]
fn merging_inner_nodes_takes_the_separator_between_them() {
    let build = |lower: &[u8], upper: Option<&[u8]>, entries: &[(&[u8], u32)]| {
        let mut node = NodeBuilder::new(512, 1, lower, upper, PageNo(3));
        assert!(entries.iter().all(|(key, child)| node.push_child(key, PageNo(*child))));
        node
    };
    let left = build(b"aa", Some(b"am"), &[(b"ab", 4), (b"af", 5)]).into_image();
    let right = build(b"am", Some(b"az"), &[(b"ap", 7)]).into_image();
    let entries: [(&[u8], u32); 4] = [(b"ab", 4), (b"af", 5), (b"am", 3), (b"ap", 7)];
    let merged = build(b"aa", Some(b"az"), &entries);
    assert_eq!(left.node().merged_bytes(&right.node()), merged.used_bytes());
}

#[test]
fn nodes_and_values_keep_off_the_pages_of_other_things() {
    let group_two = crate::map::map_page(512, 2).unwrap();
    for page in [PageNo(0), PageNo(1), group_two] {
        let mut page = Twins::new(512, PageId::new(FileId(16), page));
        let (lower, upper, first_child) = (&b""[..], None, PageNo::NONE);
        let node = PageOp::FormatNode { level: 0, lower, upper, first_child };
        assert_eq!(reason(&mut page, &node), "page number of a node or a value");
        let value = PageOp::FormatOverflow { extent_pages: 1, next_extent: PageNo(0), data: b"d" };
        assert_eq!(reason(&mut page, &value), "page number of a node or a value");
    }
}

#[test]
fn a_meta_page_keeps_its_identity_and_its_groups() {
    let fields = MetaFields::new(crate::EnvironmentId([9; 16]), 512, true);
    let id = PageId::new(FileId(16), PageNo(0));
    let mut page = Twins::new(512, id);
    page.step(&PageOp::FormatMeta(fields)).unwrap();
    let grown = MetaFields { groups: 3, durable: false, ..fields };
    page.step(&PageOp::MetaSet(grown)).unwrap();
    assert_eq!(MetaFields::read(&Plain(&page.plain)), Ok(grown));
    let mut refused = |fields| reason(&mut page, &PageOp::MetaSet(fields));
    assert_eq!(refused(fields), "number of groups");
    assert_eq!(refused(MetaFields { groups: 0, ..fields }), "number of groups");
    assert_eq!(refused(MetaFields { groups: u32::MAX, ..fields }), "number of groups");
    assert_eq!(refused(MetaFields { page_bytes: 1024, ..grown }), "page size");
    let environment = crate::EnvironmentId([8; 16]);
    assert_eq!(refused(MetaFields { environment, ..grown }), "identity of the file");
    let nowhere = PageOp::FormatMeta(fields).check(ID, &Plain(&page.plain));
    assert_eq!(nowhere.unwrap_err().what, "page number of the meta page");
    page.plain[crate::meta::GROUPS_AT] = 0;
    assert_eq!(crate::validate(&Plain(&page.plain)).unwrap_err().what, "number of groups");
}

#[test]
fn a_meta_page_of_another_build_is_no_damage() {
    let id = PageId::new(FileId(16), PageNo(0));
    let mut page = Twins::new(512, id);
    let fields = MetaFields::new(crate::EnvironmentId([9; 16]), 512, true);
    page.step(&PageOp::FormatMeta(fields)).unwrap();
    assert_eq!(MetaFields::peek_page_bytes(&page.plain), Some(512));
    let newer: [(usize, u8); 3] = [
        (crate::meta::VERSION_AT, 2),
        (crate::meta::REQUIRED_AT, 1),
        (crate::meta::ACCESS_METHOD_AT, 2),
    ];
    for (at, value) in newer {
        let mut bytes = page.plain.clone();
        bytes[at] = value;
        let error = MetaFields::read(&Plain(&bytes)).unwrap_err();
        assert!(!error.is_corruption(), "{error}");
        assert_eq!(crate::validate(&Plain(&bytes)), Ok(()));
    }
    let mut bytes = page.plain.clone();
    bytes[crate::meta::IGNORABLE_AT] = 1;
    assert!(MetaFields::read(&Plain(&bytes)).is_ok());
    for damaged in [crate::meta::MAGIC_AT, crate::meta::FILE_FLAGS_AT + 1, 30, 115] {
        let mut bytes = page.plain.clone();
        bytes[damaged] ^= 0x80;
        assert!(crate::validate(&Plain(&bytes)).is_err(), "byte {damaged}");
    }
}
