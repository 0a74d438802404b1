//! FORMAT.md says what the code does, part 3: pages and operations on them.

use campanile_format::page::{self, Kind};
use campanile_format::page_op::OpTag;
use campanile_format::{limits, map, meta, node, overflow};

use crate::tables::{FORMAT, assert_fields, numbers};

#[test]
fn the_page_header_is_as_documented() {
    let fields = [
        (page::CRC, "crc"),
        (page::KIND, "kind"),
        (page::LEVEL, "level"),
        (page::FLAGS, "flags"),
        (page::LSN, "lsn"),
        (page::PAGE_NO, "page_no"),
        (page::FILE_ID, "file_id"),
        (page::KIND_FIELDS, "kind_fields"),
        (page::RESERVED, "reserved"),
    ];
    assert_fields("page-header", &fields, limits::PAGE_HEADER_BYTES);
}

#[test]
fn the_page_kinds_are_as_documented() {
    let known = (0..=u8::MAX).filter_map(|number| {
        let kind = Kind::from_number(number)?;
        Some((usize::from(number), format!("{kind:?}")))
    });
    assert_eq!(numbers("page-kinds"), known.collect::<Vec<_>>());
}

#[test]
fn the_fields_of_each_kind_are_as_documented() {
    let fields = [
        (node::COUNT, "count"),
        (node::HEAP_START, "heap_start"),
        (node::LIVE_BYTES, "live_bytes"),
        (node::PREFIX_LEN, "prefix_len"),
        (node::LOWER, "lower"),
        (node::UPPER, "upper"),
        (node::FIRST_CHILD, "first_child"),
    ];
    assert_fields("node-fields", &fields, page::RESERVED);
    let fields = [(page::KIND_FIELDS, "reserved"), (map::ALLOCATED, "allocated")];
    assert_fields("map-fields", &fields, page::RESERVED);
    let fields = [
        (page::KIND_FIELDS, "reserved"),
        (overflow::DATA_BYTES, "data_bytes"),
        (overflow::DATA_BYTES + 2, "reserved_two"),
        (overflow::EXTENT_PAGES, "extent_pages"),
        (overflow::EXTENT_PAGES + 4, "reserved_three"),
        (overflow::NEXT_EXTENT, "next_extent"),
    ];
    assert_fields("overflow-fields", &fields, page::RESERVED);
}

#[test]
fn the_meta_page_is_as_documented() {
    let fields = [
        (page::KIND_FIELDS, "kind_fields"),
        (page::RESERVED, "reserved"),
        (meta::MAGIC_AT, "magic"),
        (meta::VERSION_AT, "version"),
        (meta::RESERVED_AT, "reserved_two"),
        (meta::PAGE_BYTES_AT, "page_bytes"),
        (meta::REQUIRED_AT, "required"),
        (meta::IGNORABLE_AT, "ignorable"),
        (meta::ENVIRONMENT_AT, "environment"),
        (meta::ACCESS_METHOD_AT, "access_method"),
        (meta::DUPLICATES_AT, "duplicates"),
        (meta::FILE_FLAGS_AT, "file_flags"),
        (meta::GROUPS_AT, "groups"),
        (meta::KEY_ORDER_AT, "key_order"),
    ];
    assert_fields("meta-fields", &fields, meta::FIELDS_END);
    assert!(FORMAT.contains(&format!("`{}`", String::from_utf8_lossy(&meta::MAGIC))));
    assert_eq!(meta::VERSION, 1);
}

#[test]
fn the_slot_is_as_documented() {
    let fields = [(0, "offset"), (16, "key_len"), (30, "ghost"), (31, "overflow"), (32, "head")];
    assert_fields("slot", &fields, 8 * limits::SLOT_BYTES);
}

#[test]
fn the_operations_are_as_documented() {
    let known = OpTag::ALL.map(|tag| (tag as usize, format!("{tag:?}")));
    assert_eq!(numbers("operations"), known);
}

#[test]
fn the_limits_are_as_documented() {
    assert_eq!((limits::MIN_PAGE_BYTES, limits::MAX_PAGE_BYTES), (512, 32768));
    assert_eq!(limits::DEFAULT_PAGE_BYTES, 8192);
    assert_eq!(limits::MAX_PAGE_NO, 4_294_967_294);
    assert_eq!(limits::MAX_VALUE_BYTES, 4_294_967_295);
    for size in [512usize, 8192, 32768] {
        assert_eq!(limits::max_key(size), size / 4);
        assert_eq!(limits::inline_limit(size), size / 4);
        assert_eq!(limits::max_entry(size), size - 64 - 2 * (size / 4) - 8);
        assert_eq!(map::pages_per_group(size) as usize, (size - 64) * 8);
    }
}

/// The dump in the document is that of the golden page.
#[test]
fn the_leaf_in_the_document_is_the_golden_leaf() {
    let dump = include_str!("../../golden/pages/leaf.hex");
    assert!(FORMAT.contains(&format!("```text\n{dump}```")), "it should be:\n{dump}");
}
