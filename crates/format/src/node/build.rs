//! Building a node from sorted entries, in private memory.
//!
//! Owns [`NodeBuilder`], which lays a node out, and [`NodeImage`], what comes of it. Splits, merges
//! and bulk load put the result on a page as one [`PageOp::Image`]; compaction of a page in place
//! goes through the same code, so a compacted page and a built one are the same bytes.
//!
//! The layout: fences at the end of the page, lower last; before them the entries, the first one
//! nearest to the fences; nothing unused between them.

use super::{CHILD_BYTES, COUNT, FIRST_CHILD, FLAG_UPPER_INFINITE, LOWER, Layout, Node, UPPER};
use crate::access::{PageBytes, PageBytesMut, Plain, PlainMut};
use crate::ids::{PageId, PageNo};
use crate::limits::{PAGE_HEADER_BYTES, SLOT_BYTES, is_page_size, max_key};
use crate::page::{self, Kind};
use crate::page_op::PageOp;
use crate::separator::common_prefix;
use crate::slot::Slot;
use crate::value::Value;

/// What an entry stores after its key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'a> {
    Value(Value<'a>),
    Child(PageNo),
}

impl Payload<'_> {
    pub(crate) fn stored_len(&self) -> usize {
        match self {
            Payload::Value(value) => value.stored_len(),
            Payload::Child(_) => CHILD_BYTES,
        }
    }

    pub(crate) fn is_overflow(&self) -> bool {
        matches!(self, Payload::Value(Value::Overflow(_)))
    }

    pub(crate) fn put<P: PageBytesMut>(&self, page: &mut P, offset: usize) {
        match self {
            Payload::Value(value) => value.put(page, offset),
            Payload::Child(child) => page.put_u32(offset, child.0),
        }
    }
}

/// A node under construction.
#[derive(Debug)]
pub struct NodeBuilder {
    page: Vec<u8>,
    layout: Layout,
    level: u8,
    /// Key and value on their way from another node; kept for the next.
    scratch: (Vec<u8>, Vec<u8>),
}

/// A finished node: its bytes up to the last slot and from the first heap byte on.
#[derive(Debug)]
pub struct NodeImage {
    page: Vec<u8>,
    head_bytes: usize,
    tail_start: usize,
}

impl NodeImage {
    /// Header and slots. Checksum, LSN and identity are zero: the page gets its own.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.page.get(..self.head_bytes).unwrap_or(&[])
    }

    /// The heap.
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        self.page.get(self.tail_start..).unwrap_or(&[])
    }

    /// The op that puts the node on a page.
    #[must_use]
    pub fn op(&self) -> PageOp<'_> {
        PageOp::Image { head: self.head(), tail: self.tail() }
    }

    /// The node, to look at.
    #[must_use]
    pub fn node(&self) -> Node<Plain<'_>> {
        Node::new(Plain(&self.page))
    }

    /// The whole page.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.page
    }
}

impl NodeBuilder {
    /// An empty node for keys `lower <= key < upper`; without `upper`, for all from `lower` on.
    /// `first_child` is [`PageNo::NONE`] for a leaf (level 0) and only there.
    ///
    /// # Panics
    /// If the page size, the fences or the first child are impossible.
    #[must_use]
    pub fn new(
        page_bytes: usize,
        level: u8,
        lower: &[u8],
        upper: Option<&[u8]>,
        first_child: PageNo,
    ) -> NodeBuilder {
        assert!(is_page_size(page_bytes), "{page_bytes} is no page size");
        assert!(upper.is_none_or(|upper| lower < upper), "fences out of order");
        assert!((level == 0) == first_child.is_none(), "leaves have no child, inner nodes do");
        let longest = lower.len().max(upper.map_or(0, <[u8]>::len));
        assert!(longest <= max_key(page_bytes), "a fence of {longest} bytes is too long");
        NodeBuilder::unchecked(page_bytes, level, lower, upper, first_child)
    }

    /// As [`NodeBuilder::new`], for callers that have checked, or that must not panic.
    pub(crate) fn unchecked(
        page_bytes: usize,
        level: u8,
        lower: &[u8],
        upper: Option<&[u8]>,
        first_child: PageNo,
    ) -> NodeBuilder {
        let mut page = vec![0; page_bytes];
        let mut out = PlainMut(&mut page);
        page::put_header(&mut out, PageId::default(), Kind::Node, level);
        let mut heap_start = page_bytes;
        let mut place = |out: &mut PlainMut<'_>, field: usize, fence: &[u8]| {
            if !fence.is_empty() {
                heap_start = heap_start.saturating_sub(fence.len());
                out.put_bytes(heap_start, fence);
                out.put_u16(field, heap_start as u16);
                out.put_u16(field + 2, fence.len() as u16);
            }
        };
        place(&mut out, LOWER, lower);
        match upper {
            Some(upper) => place(&mut out, UPPER, upper),
            None => out.put_u16(page::FLAGS, FLAG_UPPER_INFINITE),
        }
        out.put_u32(FIRST_CHILD, first_child.0);
        let prefix_len = upper.map_or(0, |upper| common_prefix(lower, upper));
        let live_bytes = page_bytes - heap_start;
        let layout = Layout { count: 0, heap_start, live_bytes, prefix_len };
        NodeBuilder { page, layout, level, scratch: Default::default() }
    }

    /// Bytes that all keys of the node have in common, by its fences.
    #[must_use]
    pub fn prefix_len(&self) -> usize {
        self.layout.prefix_len
    }

    /// Entries so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.layout.count
    }

    /// Bytes still free for entries and their slots.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        let slots_end = PAGE_HEADER_BYTES + SLOT_BYTES * self.layout.count;
        self.layout.heap_start.saturating_sub(slots_end)
    }

    /// Bytes in use: header, slots, fences and entries.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.page.len() - self.free_bytes()
    }

    /// Whether an entry of this (whole) key length and value fits.
    #[must_use]
    pub fn entry_fits(&self, key_len: usize, value: &Value<'_>) -> bool {
        let suffix = key_len.saturating_sub(self.layout.prefix_len);
        SLOT_BYTES + suffix + value.stored_len() <= self.free_bytes()
    }

    /// Appends an entry to a leaf. `false`, and nothing changed, if it does not fit.
    ///
    /// # Panics
    /// If the key is not above the last one, or the node is no leaf.
    #[must_use = "an entry that does not fit is not in the node"]
    pub fn push_entry(&mut self, key: &[u8], value: Value<'_>, ghost: bool) -> bool {
        assert!(self.level == 0, "an inner node takes children");
        self.assert_above_last(key);
        self.push(self.suffix(key), Payload::Value(value), ghost)
    }

    /// Appends a separator and the child for keys from it on. `false` if it does not fit.
    ///
    /// # Panics
    /// If the separator is not above the last one, or the node is a leaf.
    #[must_use = "a child that does not fit is not in the node"]
    pub fn push_child(&mut self, separator: &[u8], child: PageNo) -> bool {
        assert!(self.level > 0, "a leaf takes entries");
        self.assert_above_last(separator);
        self.push(self.suffix(separator), Payload::Child(child), false)
    }

    /// Appends entry `slot` of another node of the same level, as it is. `false` if it does not
    /// fit.
    #[must_use = "an entry that does not fit is not in the node"]
    pub fn push_from<P: PageBytes>(&mut self, other: &Node<P>, slot: usize) -> bool {
        let (mut key, mut value) = std::mem::take(&mut self.scratch);
        other.key_into(slot, &mut key);
        self.assert_above_last(&key);
        let payload = if self.level > 0 {
            Payload::Child(other.child_at(Some(slot)))
        } else {
            Payload::Value(match other.value_into(slot, &mut value) {
                Some(overflow) => Value::Overflow(overflow),
                None => Value::Inline(&value),
            })
        };
        let fits = self.push(self.suffix(&key), payload, other.is_ghost(slot));
        self.scratch = (key, value);
        fits
    }

    fn suffix<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.get(self.layout.prefix_len..).unwrap_or(&[])
    }

    fn assert_above_last(&self, key: &[u8]) {
        let node = Node::new(Plain(&self.page));
        if let Some(last) = self.layout.count.checked_sub(1) {
            let slot = node.slot(last);
            let last = self.page.get(slot.offset()..slot.value_offset()).unwrap_or(&[]);
            assert!(last < self.suffix(key), "entries must be pushed in ascending order");
        } else {
            assert!(node.covers(key), "the first key is outside the fences");
        }
    }

    fn push(&mut self, suffix: &[u8], payload: Payload<'_>, ghost: bool) -> bool {
        let bytes = suffix.len() + payload.stored_len();
        if SLOT_BYTES + bytes > self.free_bytes() {
            return false;
        }
        let offset = self.layout.heap_start - bytes;
        let mut page = PlainMut(&mut self.page);
        page.put_bytes(offset, suffix);
        payload.put(&mut page, offset + suffix.len());
        let slot = Slot::new(offset, suffix).set_ghost(ghost).set_overflow(payload.is_overflow());
        self.push_slot(slot, bytes);
        true
    }

    /// Appends an entry whose stored bytes are known: suffix, then what follows it, in one piece.
    pub(crate) fn push_stored(&mut self, stored: &[u8], suffix_len: usize, like: Slot) -> bool {
        if SLOT_BYTES + stored.len() > self.free_bytes() {
            return false;
        }
        let offset = self.layout.heap_start - stored.len();
        PlainMut(&mut self.page).put_bytes(offset, stored);
        let slot = Slot::new(offset, stored.get(..suffix_len).unwrap_or(stored));
        let slot = slot.set_ghost(like.is_ghost()).set_overflow(like.is_overflow());
        self.push_slot(slot, stored.len());
        true
    }

    fn push_slot(&mut self, slot: Slot, bytes: usize) {
        let index = PAGE_HEADER_BYTES / SLOT_BYTES + self.layout.count;
        PlainMut(&mut self.page).put_word(index, slot.0);
        self.layout.count += 1;
        self.layout.heap_start -= bytes;
        self.layout.live_bytes += bytes;
    }

    /// The finished node.
    ///
    /// # Panics
    /// If the last key is not below the upper fence.
    #[must_use]
    pub fn into_image(self) -> NodeImage {
        if let Some(last) = self.layout.count.checked_sub(1) {
            let node = Node::new(Plain(&self.page));
            let slot = node.slot(last);
            let last = self.page.get(slot.offset()..slot.value_offset()).unwrap_or(&[]);
            let upper = node.upper_range();
            let upper = self.page.get(upper.start + self.layout.prefix_len..upper.end);
            let inside = node.upper_is_infinite() || last < upper.unwrap_or(&[]);
            assert!(inside, "the last key is outside the fences");
        }
        self.into_image_unchecked()
    }

    pub(crate) fn into_image_unchecked(mut self) -> NodeImage {
        PlainMut(&mut self.page).put_word(COUNT / 8, self.layout.to_word());
        NodeImage {
            head_bytes: PAGE_HEADER_BYTES + SLOT_BYTES * self.layout.count,
            tail_start: self.layout.heap_start,
            page: self.page,
        }
    }
}

impl<P: PageBytes> Node<P> {
    /// Bytes that a node of these entries and fences would use: what a split leaves on the left
    /// when it keeps `keep` entries below `upper`.
    #[must_use]
    pub fn truncated_bytes(&self, keep: usize, upper: &[u8]) -> usize {
        let (mut lower, level) = (Vec::new(), self.level());
        self.lower(&mut lower);
        let prefix_len = common_prefix(&lower, upper);
        let longer = prefix_len.saturating_sub(self.prefix_len());
        let keep = keep.min(self.count());
        let stored = |index| {
            let slot = self.slot(index);
            self.slot_entry_bytes(slot, level).saturating_sub(longer.min(slot.key_len()))
        };
        let entries: usize = (0..keep).map(stored).sum();
        PAGE_HEADER_BYTES + SLOT_BYTES * keep + lower.len() + upper.len() + entries
    }

    /// Bytes that one node would use that holds what this and its right neighbour hold. For inner
    /// nodes the separator between them (this node's upper fence) becomes an entry.
    #[must_use]
    pub fn merged_bytes<Q: PageBytes>(&self, right: &Node<Q>) -> usize {
        let (lower, middle) = self.fences();
        let (_, upper) = right.fences();
        let prefix_len = upper.as_deref().map_or(0, |upper| common_prefix(&lower, upper));
        let fences = lower.len() + upper.map_or(0, |upper| upper.len());
        let mut count = self.count() + right.count();
        let mut entries = self.whole_entry_bytes() + right.whole_entry_bytes();
        if !self.is_leaf() {
            count += 1;
            entries += SLOT_BYTES + middle.map_or(0, |middle| middle.len()) + CHILD_BYTES;
        }
        PAGE_HEADER_BYTES + fences + entries.saturating_sub(count * prefix_len)
    }
}
