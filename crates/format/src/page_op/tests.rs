//! Ops against models: on both kinds of accessor, in random programs, and on random bytes.

use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;
use crate::access::{Plain, Words, le_prefix};
use crate::codec::{Reader, Writer};
use crate::ids::FileId;
use crate::node::Node;
use crate::value::OverflowRef;

mod programs;
mod rules;

pub(super) const ID: PageId = PageId::new(FileId(16), PageNo(7));

/// One page twice: in a slice and in atomic words. Every op goes to both.
pub(super) struct Twins {
    pub plain: Vec<u8>,
    words: Vec<AtomicU64>,
    id: PageId,
}

impl Twins {
    pub(super) fn new(size: usize, id: PageId) -> Twins {
        let words = (0..size / 8).map(|_| AtomicU64::new(0)).collect();
        Twins { plain: vec![0; size], words, id }
    }

    pub(super) fn of(bytes: &[u8], id: PageId) -> Twins {
        let words = bytes.chunks(8).map(|chunk| AtomicU64::new(le_prefix(chunk))).collect();
        Twins { plain: bytes.to_vec(), words, id }
    }

    pub(super) fn node(&self) -> Node<Plain<'_>> {
        Node::new(Plain(&self.plain))
    }

    /// Checks; if that passes, applies, and proves that the outcome is one and valid.
    pub(super) fn step(&mut self, op: &PageOp<'_>) -> Result<(), Corrupt> {
        let answer = op.check(self.id, &Plain(&self.plain));
        assert_eq!(answer, op.check(self.id, &Words(&self.words)), "accessors disagree: {op:?}");
        answer?;
        self.force(op);
        crate::validate(&Plain(&self.plain))
            .unwrap_or_else(|corrupt| panic!("{corrupt} after {op:?}"));
        Ok(())
    }

    /// Applies without asking.
    pub(super) fn force(&mut self, op: &PageOp<'_>) {
        op.apply(self.id, &mut PlainMut(&mut self.plain));
        op.apply(self.id, &mut Words(&self.words));
        let mut bytes = vec![0; self.plain.len()];
        Words(&self.words).copy_out(0, &mut bytes);
        assert!(bytes == self.plain, "accessors differ after {op:?}");
    }
}

pub(super) fn leaf(size: usize, lower: &[u8], upper: Option<&[u8]>) -> Twins {
    let mut page = Twins::new(size, ID);
    let op = PageOp::FormatNode { level: 0, lower, upper, first_child: PageNo::NONE };
    page.step(&op).unwrap();
    page
}

pub(super) fn encoded(op: &PageOp<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    op.encode(&mut Writer::new(&mut bytes));
    bytes
}

fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..len)
}

fn owned_value() -> impl Strategy<Value = crate::Value<'static>> {
    prop_oneof![
        bytes(40).prop_map(|bytes| Value::Inline(bytes.leak())),
        (0u64..1 << 33, 0u32..9).prop_map(|(len, first)| {
            Value::Overflow(OverflowRef { len, first: PageNo(first) })
        }),
    ]
}

/// Any op at all, most of them nonsense. The bytes leak; a test ends soon.
pub(super) fn any_op() -> impl Strategy<Value = PageOp<'static>> {
    let slot = 0u16..40;
    let leaked = || bytes(30).prop_map(|bytes| &*bytes.leak());
    let page = (0u32..5).prop_map(PageNo);
    let upper = prop::option::of(leaked());
    prop_oneof![
        (bytes(200), bytes(100))
            .prop_map(|(head, tail)| PageOp::Image { head: head.leak(), tail: tail.leak() }),
        (0u8..3, leaked(), upper, page.clone()).prop_map(|(level, lower, upper, first_child)| {
            PageOp::FormatNode { level, lower, upper, first_child }
        }),
        (0u32..3).prop_map(|group| PageOp::FormatMap { group }),
        (0u32..3, page.clone(), leaked()).prop_map(|(extent_pages, next_extent, data)| {
            PageOp::FormatOverflow { extent_pages, next_extent, data }
        }),
        (slot.clone(), leaked(), owned_value()).prop_map(|(slot, key, value)| PageOp::LeafInsert {
            slot,
            key,
            value
        }),
        (slot.clone(), owned_value()).prop_map(|(slot, value)| PageOp::LeafReplace { slot, value }),
        (slot.clone(), any::<bool>()).prop_map(|(slot, ghost)| PageOp::LeafGhost { slot, ghost }),
        prop::collection::vec(slot.clone(), 0..5)
            .prop_map(|slots| PageOp::LeafPurge { slots: slots.into() }),
        (slot.clone(), leaked(), page.clone()).prop_map(|(slot, separator, child)| {
            PageOp::InnerInsert { slot, separator, child }
        }),
        slot.clone().prop_map(|slot| PageOp::InnerRemove { slot }),
        (prop::option::of(slot.clone()), page)
            .prop_map(|(slot, child)| PageOp::InnerSetChild { slot, child }),
        (slot, leaked()).prop_map(|(keep, upper)| PageOp::NodeTruncate { keep, upper }),
        (0u32..5000, 0u32..5000, any::<bool>())
            .prop_map(|(first, count, allocated)| { PageOp::MapSet { first, count, allocated } }),
        any::<bool>().prop_map(|durable| {
            PageOp::MetaSet(MetaFields::new(crate::EnvironmentId([3; 16]), 512, durable))
        }),
        any::<bool>().prop_map(|durable| {
            PageOp::FormatMeta(MetaFields::new(crate::EnvironmentId([3; 16]), 512, durable))
        }),
    ]
}

proptest! {
    #[test]
    fn an_op_survives_its_encoding(op in any_op()) {
        let bytes = encoded(&op);
        let mut reader = Reader::new(&bytes);
        match PageOp::decode(&mut reader) {
            Ok(again) => {
                prop_assert_eq!(again, op);
                prop_assert!(reader.is_empty());
            }
            // Only an impossible overflow reference is refused.
            Err(error) => prop_assert!(error.to_string().contains("overflow"), "{}", error),
        }
        for len in 0..bytes.len() {
            prop_assert!(PageOp::decode(&mut Reader::new(&bytes[..len])).is_err());
        }
    }

    #[test]
    fn decoding_any_bytes_ends_and_what_is_accepted_has_one_encoding(
        mut bytes in prop::collection::vec(any::<u8>(), 1..60),
        tag in prop::sample::select(OpTag::ALL.to_vec()),
    ) {
        bytes[0] = tag as u8;
        let mut reader = Reader::new(&bytes);
        if let Ok(op) = PageOp::decode(&mut reader) {
            prop_assert_eq!(encoded(&op), &bytes[..reader.position()]);
        }
    }

    /// A page of any bytes under any op: no panic, and both accessors give the same bytes.
    #[test]
    fn any_op_on_any_bytes_ends(
        mut bytes in prop::collection::vec(any::<u8>(), 512),
        ops in prop::collection::vec(any_op(), 1..6),
        plausible in any::<bool>(),
    ) {
        if plausible {
            // Enough of a header to get past the first checks.
            let mut page = PlainMut(&mut bytes);
            page::put_header(&mut page, ID, page::Kind::Node, 0);
            page.put_u16(24, 20);
            page.put_u16(26, 230);
            page.put_u16(page::FLAGS, 1);
        }
        let mut page = Twins::of(&bytes, ID);
        for op in ops {
            let _ = op.check(ID, &Plain(&page.plain));
            page.force(&op);
            let node = page.node();
            let _ = (node.validate(), node.search(b"key"), node.covers(b"key"));
            let _ = (node.fences(), node.child_for(b"\xff"), node.free_bytes());
            for slot in 0..node.count() + 1 {
                let _ = (node.key(slot), node.value(slot), node.entry_bytes(slot));
            }
            let _ = (node.truncated_bytes(9, b"zz"), node.merged_bytes(&node));
        }
    }

    /// An op that passes its check leaves a valid page, from any valid page.
    #[test]
    fn a_checked_op_keeps_a_page_valid(ops in prop::collection::vec(any_op(), 1..40)) {
        let mut page = leaf(512, b"", None);
        for op in ops {
            let before = page.plain.clone();
            if page.step(&op).is_err() {
                prop_assert!(page.plain == before);
            }
        }
    }
}
