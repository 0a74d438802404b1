//! The rules of FORMAT.md for nodes, broken one at a time; and readers whose page changes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use proptest::prelude::*;

use super::build::{NodeBuilder, NodeImage};
use super::*;
use crate::access::{PageBytesMut, Plain, PlainMut, Words, le_prefix};
use crate::slot::head_of;

/// Fences `bb` and `bz`, so a prefix of one; entries bc, bcd (ghost), bm (far).
fn leaf() -> NodeImage {
    let mut node = NodeBuilder::new(512, 0, b"bb", Some(b"bz"), PageNo::NONE);
    assert!(node.push_entry(b"bc", Value::Inline(b"one"), false));
    assert!(node.push_entry(b"bcd", Value::Inline(b""), true));
    let far = OverflowRef { len: 4096, first: PageNo(9) };
    assert!(node.push_entry(b"bm", Value::Overflow(far), false));
    node.into_image()
}

/// No upper fence; separators g and m.
fn inner() -> NodeImage {
    let mut node = NodeBuilder::new(512, 1, b"", None, PageNo(3));
    assert!(node.push_child(b"g", PageNo(4)));
    assert!(node.push_child(b"m", PageNo(5)));
    node.into_image()
}

/// What `validate` finds after `damage`.
#[track_caller]
fn found(image: &NodeImage, damage: impl FnOnce(&mut PlainMut<'_>)) -> &'static str {
    let mut bytes = image.bytes().to_vec();
    Node::new(Plain(&bytes)).validate().unwrap();
    damage(&mut PlainMut(&mut bytes));
    Node::new(Plain(&bytes)).validate().expect_err("the damage must be found").what
}

fn offset_of(image: &NodeImage, slot: usize) -> usize {
    image.node().slot(slot).offset()
}

fn change_slot(page: &mut PlainMut<'_>, slot: usize, change: impl FnOnce(u64) -> u64) {
    let index = 8 + slot;
    page.put_word(index, change(page.word(index)));
}

#[test]
fn n1_the_slots_fit_below_the_heap() {
    assert_eq!(found(&leaf(), |page| page.put_u16(COUNT, 1000)), "entry count");
    assert_eq!(found(&leaf(), |page| page.put_u16(COUNT, 56)), "heap start");
    assert_eq!(found(&leaf(), |page| page.put_u16(HEAP_START, 80)), "heap start");
    assert_eq!(found(&leaf(), |page| page.put_u16(HEAP_START, 513)), "heap start");
}

#[test]
fn n2_flags_are_known_and_no_upper_fence_means_none() {
    assert_eq!(found(&leaf(), |page| page.put_u16(page::FLAGS, 2)), "node flags");
    assert_eq!(found(&leaf(), |page| page.put_u16(page::FLAGS, 1)), "upper fence");
    assert_eq!(found(&inner(), |page| page.put_u16(UPPER, 500)), "upper fence");
}

#[test]
fn n3_fences_have_a_place_and_an_order() {
    assert_eq!(found(&leaf(), |page| page.put_u16(LOWER + 2, 129)), "lower fence");
    assert_eq!(found(&leaf(), |page| page.put_u16(UPPER + 2, 129)), "upper fence");
    assert_eq!(found(&leaf(), |page| page.put_u16(LOWER, 511)), "lower fence");
    assert_eq!(found(&inner(), |page| page.put_u16(LOWER, 500)), "lower fence");
    let upper = usize::from(leaf().node().page().u16_at(UPPER));
    assert_eq!(found(&leaf(), |page| page.put_u8(upper + 1, b'a')), "fence order");
    assert_eq!(found(&inner(), |page| page.put_u16(page::FLAGS, 0)), "upper fence");
}

#[test]
fn n4_the_prefix_is_what_the_fences_share() {
    assert_eq!(found(&leaf(), |page| page.put_u16(PREFIX_LEN, 0)), "prefix length");
    assert_eq!(found(&leaf(), |page| page.put_u16(PREFIX_LEN, 2)), "prefix length");
    assert_eq!(found(&inner(), |page| page.put_u16(PREFIX_LEN, 1)), "prefix length");
}

#[test]
fn n5_leaves_have_no_children_and_inner_nodes_have_them_all() {
    assert_eq!(found(&leaf(), |page| page.put_u32(FIRST_CHILD, 4)), "first child");
    assert_eq!(found(&inner(), |page| page.put_u32(FIRST_CHILD, 0)), "first child");
    let child = offset_of(&inner(), 1) + 1;
    assert_eq!(found(&inner(), |page| page.put_u32(child, 0)), "child page number");
}

#[test]
fn n6_suffixes_are_short_enough_and_have_their_heads() {
    let too_long = |word: u64| word & !(0x3fff << 16) | 128 << 16;
    assert_eq!(found(&leaf(), |page| change_slot(page, 0, too_long)), "key length");
    assert_eq!(found(&leaf(), |page| change_slot(page, 1, |word| word ^ 1 << 40)), "key head");
    let key = offset_of(&leaf(), 0);
    assert_eq!(found(&leaf(), |page| page.put_u8(key, b'x')), "key head");
}

#[test]
fn n7_values_are_what_a_leaf_may_hold() {
    let value = offset_of(&leaf(), 0) + 1;
    let longer_form = |page: &mut PlainMut<'_>| page.put_bytes(value, &[0x83, 0]);
    assert_eq!(found(&leaf(), longer_form), "value length");
    let too_long = |page: &mut PlainMut<'_>| page.put_bytes(value, &[0x81, 1]);
    assert_eq!(found(&leaf(), too_long), "value length");
    let three_bytes = |page: &mut PlainMut<'_>| page.put_bytes(value, &[0x83, 0x80]);
    assert_eq!(found(&leaf(), three_bytes), "value length");
    let far = offset_of(&leaf(), 2) + 1;
    assert_eq!(found(&leaf(), |page| page.put_u64(far, 0)), "overflow value length");
    assert_eq!(found(&leaf(), |page| page.put_u64(far, 1 << 32)), "overflow value length");
    assert_eq!(found(&leaf(), |page| page.put_u32(far + 8, 0)), "overflow first page");
    for flag in [30, 31] {
        let flagged = found(&inner(), |page| change_slot(page, 0, |word| word | 1 << flag));
        assert_eq!(flagged, "separator flags");
    }
}

#[test]
fn n8_nothing_overlaps_and_nothing_is_lost() {
    let second = offset_of(&leaf(), 1) as u64;
    let moved = |word: u64| word & !0xffff | (second - 1);
    // A ghost of the same suffix, found one byte lower, reaches into its neighbour.
    let overlap = |page: &mut PlainMut<'_>| {
        page.put_bytes(second as usize - 1, b"cd\0");
        change_slot(page, 1, moved);
    };
    assert_eq!(found(&leaf(), overlap), "entry offset");
    assert_eq!(found(&leaf(), |page| page.put_u16(HEAP_START, 500)), "entry offset");
    assert_eq!(found(&leaf(), |page| page.put_u16(LIVE_BYTES, 1)), "live bytes");
    let dropped = found(&leaf(), |page| page.put_u16(COUNT, 2));
    assert_eq!(dropped, "live bytes");
}

#[test]
fn n9_keys_ascend_between_the_fences() {
    let swap = |page: &mut PlainMut<'_>| {
        let (first, second) = (page.word(8), page.word(9));
        page.put_word(8, second);
        page.put_word(9, first);
    };
    assert_eq!(found(&leaf(), swap), "key order");
    let rename = |page: &mut PlainMut<'_>, image: &NodeImage, slot: usize, to: &[u8]| {
        page.put_bytes(offset_of(image, slot), to);
        let head = u64::from(head_of(to)) << 32;
        change_slot(page, slot, |word| word & 0xffff_ffff | head);
    };
    let image = leaf();
    assert_eq!(found(&image, |page| rename(page, &image, 0, b"a")), "key below the lower fence");
    assert_eq!(found(&image, |page| rename(page, &image, 2, b"z")), "key above the upper fence");
    assert_eq!(found(&image, |page| rename(page, &image, 2, b"c")), "key order");
    let mut bounded = NodeBuilder::new(512, 1, b"f", None, PageNo(3));
    assert!(bounded.push_child(b"g", PageNo(4)));
    let image = bounded.into_image();
    // A first separator at the lower fence would leave nothing to the first child.
    assert_eq!(found(&image, |page| rename(page, &image, 0, b"f")), "key below the lower fence");
}

#[test]
fn covering_follows_the_fences_to_the_byte() {
    let image = leaf();
    let node = image.node();
    for (key, covered) in [
        (&b""[..], false),
        (b"ba", false),
        (b"ba\xff", false),
        (b"bb", true),
        (b"bb\0", true),
        (b"by\xff\xff", true),
        (b"bz", false),
        (b"c", false),
    ] {
        assert_eq!(node.covers(key), covered, "{key:?}");
    }
    assert!(inner().node().covers(b"") && inner().node().covers(b"\xff\xff"));
}

#[test]
fn separators_lead_to_the_child_that_begins_with_them() {
    let image = inner();
    let node = image.node();
    let child = |key: &[u8]| node.child_for(key);
    assert_eq!(child(b""), (None, PageNo(3)));
    assert_eq!(child(b"f\xff"), (None, PageNo(3)));
    assert_eq!(child(b"g"), (Some(0), PageNo(4)));
    assert_eq!(child(b"g\0"), (Some(0), PageNo(4)));
    assert_eq!(child(b"m"), (Some(1), PageNo(5)));
    assert_eq!(child(b"zz"), (Some(1), PageNo(5)));
}

#[test]
#[should_panic(expected = "ascending order")]
fn a_builder_does_not_take_keys_out_of_order() {
    let mut node = NodeBuilder::new(512, 0, b"", None, PageNo::NONE);
    assert!(node.push_entry(b"b", Value::Inline(b""), false));
    let _ = node.push_entry(b"a", Value::Inline(b""), false);
}

#[test]
#[should_panic(expected = "outside the fences")]
fn a_builder_does_not_take_keys_beyond_its_upper_fence() {
    let mut node = NodeBuilder::new(512, 0, b"a", Some(b"b"), PageNo::NONE);
    assert!(node.push_entry(b"ab", Value::Inline(b""), false));
    assert!(node.push_entry(b"bb", Value::Inline(b""), false));
    let _ = node.into_image();
}

/// Everything a reader may ask of a node.
fn read_all<P: PageBytes + Copy>(page: P, key: &[u8], buffer: &mut Vec<u8>) {
    let node = Node::new(page);
    let slot = match node.search(key) {
        Ok(slot) | Err(slot) => slot,
    };
    node.key_into(slot, buffer);
    let _ = (node.value_into(slot, buffer), node.covers(key), node.child_for(key));
    let _ = (node.free_bytes(), node.validate().is_ok(), node.upper(buffer));
    assert!(buffer.capacity() <= 1 << 20, "a reader must not allocate without bound");
}

/// Optimistic readers see torn pages. They get nonsense then, but they get it soon.
#[test]
fn a_reader_survives_a_page_that_changes_under_it() {
    let images = [leaf(), inner()];
    let words: Vec<AtomicU64> = (0..64).map(|_| AtomicU64::new(0)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = 88_172_645_463_325_252_u64;
            for round in 0..20_000_usize {
                let image = images[round % 2].bytes();
                for (word, bytes) in words.iter().zip(image.chunks(8)) {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let noise = if state.is_multiple_of(97) { state } else { 0 };
                    word.store(le_prefix(bytes) ^ noise, Relaxed);
                }
            }
            done.store(true, Relaxed);
        });
        let mut buffer = Vec::new();
        while !done.load(Relaxed) {
            for key in [&b"bcd"[..], b"", b"m", b"\xff\xff\xff\xff\xff"] {
                read_all(Words(&words), key, &mut buffer);
            }
        }
    });
}

proptest! {
    /// Damage behind a checksum that fits: whatever `validate` says, nothing panics.
    #[test]
    fn reading_a_damaged_node_ends(
        of_inner: bool,
        damage in prop::collection::vec((0usize..512, any::<u8>()), 1..6),
        key in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut bytes = if of_inner { inner() } else { leaf() }.bytes().to_vec();
        for (at, value) in damage {
            bytes[at] = value;
        }
        read_all(Plain(&bytes), &key, &mut Vec::new());
    }
}
