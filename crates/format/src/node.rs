//! A node of a B+tree, read in place.
//!
//! Owns [`Node`], the view over any [`PageBytes`], and the node's own header fields. Promises that
//! every method is total: on any bytes, also bytes that change meanwhile, it ends without a panic
//! and without allocating more than a page; on a page that passes `validate` it is right. Searching
//! allocates nothing. Must never: change a page (`edit` does).
//!
//! A node covers the keys `lower <= key < upper`, its *fences*. All its keys begin with what the
//! fences have in common, the *prefix*; entries store only the rest, the *suffix*.

use std::ops::Range;

use crate::access::PageBytes;
use crate::error::Corrupt;
use crate::ids::PageNo;
use crate::limits::{PAGE_HEADER_BYTES, SLOT_BYTES};
use crate::page;
use crate::slot::Slot;
use crate::value::{
    OVERFLOW_REF_BYTES, OverflowRef, Value, ValueLoc, inline_bytes, read_inline_len,
};

pub(crate) mod build;
pub(crate) mod edit;
mod search;
mod validate;

/// Entries (u16).
pub const COUNT: usize = 24;
/// Lowest byte of the heap; the page size if the heap is empty (u16).
pub const HEAP_START: usize = 26;
/// Bytes of fences and entries in the heap that are in use (u16).
pub const LIVE_BYTES: usize = 28;
/// Bytes that all keys of the node have in common (u16).
pub const PREFIX_LEN: usize = 30;
/// Lower fence: offset and length (u16 each).
pub const LOWER: usize = 32;
/// Upper fence: offset and length (u16 each).
pub const UPPER: usize = 36;
/// Inner nodes: the child for keys below the first separator (u32).
pub const FIRST_CHILD: usize = 40;
/// Flag: there is no upper fence; the node covers everything from its lower fence on.
pub const FLAG_UPPER_INFINITE: u16 = 1;
/// Bytes of a child's page number in an inner node's entry.
pub const CHILD_BYTES: usize = 4;

/// A node, read through an accessor.
#[derive(Clone, Copy, Debug)]
pub struct Node<P>(pub P);

/// The header fields that describe the heap, from one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub count: usize,
    pub heap_start: usize,
    pub live_bytes: usize,
    pub prefix_len: usize,
}

impl<P: PageBytes> Node<P> {
    /// Views `page` as a node.
    pub fn new(page: P) -> Node<P> {
        Node(page)
    }

    /// The accessor.
    pub fn page(&self) -> &P {
        &self.0
    }

    /// The header's heap fields; the count is cut to what a page can hold, so loops end.
    #[inline]
    pub(crate) fn layout(&self) -> Layout {
        let word = self.0.word(COUNT / 8);
        let slots = self.0.len().saturating_sub(PAGE_HEADER_BYTES) / SLOT_BYTES;
        Layout {
            count: (word as usize & 0xffff).min(slots),
            heap_start: (word >> 16) as usize & 0xffff,
            live_bytes: (word >> 32) as usize & 0xffff,
            prefix_len: (word >> 48) as usize,
        }
    }

    #[inline]
    pub(crate) fn slot(&self, index: usize) -> Slot {
        Slot(self.0.word((PAGE_HEADER_BYTES / SLOT_BYTES).saturating_add(index)))
    }

    /// Where the lower fence stands. Both ends are at most 65535 + 65535.
    pub(crate) fn lower_range(&self) -> Range<usize> {
        let offset = usize::from(self.0.u16_at(LOWER));
        offset..offset + usize::from(self.0.u16_at(LOWER + 2))
    }

    /// Where the upper fence stands; empty if there is none.
    pub(crate) fn upper_range(&self) -> Range<usize> {
        let offset = usize::from(self.0.u16_at(UPPER));
        offset..offset + usize::from(self.0.u16_at(UPPER + 2))
    }

    pub(crate) fn upper_is_infinite(&self) -> bool {
        self.0.u16_at(page::FLAGS) & FLAG_UPPER_INFINITE != 0
    }

    /// Entries, ghosts included. In an inner node there is one child more.
    #[must_use]
    pub fn count(&self) -> usize {
        self.layout().count
    }

    /// Distance to the leaves.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.0.u8_at(page::LEVEL)
    }

    /// Whether entries hold values rather than children.
    #[must_use]
    pub fn is_leaf(&self) -> bool {
        self.level() == 0
    }

    /// Whether the page says it is a node at all.
    #[must_use]
    pub fn is_node(&self) -> bool {
        page::kind(&self.0) == Some(page::Kind::Node)
    }

    /// Bytes that all keys of the node have in common.
    #[must_use]
    pub fn prefix_len(&self) -> usize {
        self.layout().prefix_len.min(self.0.len())
    }

    /// Fills `into` with the lower fence: the least key the node may hold.
    pub fn lower(&self, into: &mut Vec<u8>) {
        into.clear();
        let range = self.lower_range();
        self.0.append_to(range.start, range.len(), into);
    }

    /// Fills `into` with the upper fence: keys from it on belong to the right. `false`, and
    /// nothing in `into`, if there is none.
    pub fn upper(&self, into: &mut Vec<u8>) -> bool {
        into.clear();
        if self.upper_is_infinite() {
            return false;
        }
        let range = self.upper_range();
        self.0.append_to(range.start, range.len(), into);
        true
    }

    /// Both fences, owned.
    #[must_use]
    pub fn fences(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        self.lower(&mut lower);
        let finite = self.upper(&mut upper);
        (lower, finite.then_some(upper))
    }

    /// Fills `into` with the whole key of an entry; in an inner node, with its separator.
    pub fn key_into(&self, slot: usize, into: &mut Vec<u8>) {
        into.clear();
        let prefix_len = self.prefix_len();
        if prefix_len > 0 {
            self.0.append_to(self.lower_range().start, prefix_len, into);
        }
        let slot = self.slot(slot);
        self.0.append_to(slot.offset(), slot.key_len(), into);
    }

    /// The whole key of an entry, owned.
    #[must_use]
    pub fn key(&self, slot: usize) -> Vec<u8> {
        let mut key = Vec::new();
        self.key_into(slot, &mut key);
        key
    }

    /// Whether the entry was deleted and waits to be purged.
    #[must_use]
    pub fn is_ghost(&self, slot: usize) -> bool {
        self.slot(slot).is_ghost()
    }

    /// Where the value of an entry is. An inline value lies inside the page, whatever it says.
    #[must_use]
    pub fn value(&self, slot: usize) -> ValueLoc {
        let slot = self.slot(slot);
        let at = slot.value_offset();
        if slot.is_overflow() {
            return ValueLoc::Overflow(OverflowRef::read(&self.0, at));
        }
        let (len, used) = read_inline_len(&self.0, at).unwrap_or((0, 0));
        let offset = (at + used).min(self.0.len());
        ValueLoc::Inline { offset, len: len.min(self.0.len() - offset) }
    }

    /// Fills `into` with an inline value; gives the reference of one that is elsewhere.
    pub fn value_into(&self, slot: usize, into: &mut Vec<u8>) -> Option<OverflowRef> {
        into.clear();
        match self.value(slot) {
            ValueLoc::Inline { offset, len } => {
                self.0.append_to(offset, len, into);
                None
            }
            ValueLoc::Overflow(overflow) => Some(overflow),
        }
    }

    /// Bytes of an entry in the heap: suffix and value, or suffix and child. An entry that does
    /// not make sense counts its suffix only.
    #[must_use]
    pub fn entry_bytes(&self, slot: usize) -> usize {
        let level = self.level();
        self.slot_entry_bytes(self.slot(slot), level)
    }

    pub(crate) fn slot_entry_bytes(&self, slot: Slot, level: u8) -> usize {
        let value = if level > 0 {
            CHILD_BYTES
        } else if slot.is_overflow() {
            OVERFLOW_REF_BYTES
        } else {
            let len = read_inline_len(&self.0, slot.value_offset());
            len.map_or(0, |(len, _)| inline_bytes(len))
        };
        slot.key_len() + value
    }

    /// Bytes free for entries and their slots, once the heap is compacted.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.0.len().saturating_sub(self.used_bytes())
    }

    /// Bytes in use: header, slots, fences and entries.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        let layout = self.layout();
        PAGE_HEADER_BYTES + SLOT_BYTES * layout.count + layout.live_bytes
    }

    /// Bytes of slots and entries if every key were stored whole. What a merge or a split of this
    /// node can count on before it knows the new prefix.
    #[must_use]
    pub fn whole_entry_bytes(&self) -> usize {
        let layout = self.layout();
        let fences = self.lower_range().len() + self.upper_range().len();
        layout.live_bytes.saturating_sub(fences) + layout.count * (SLOT_BYTES + self.prefix_len())
    }

    /// Whether a new entry of this (whole) key length and value fits.
    #[must_use]
    pub fn entry_fits(&self, key_len: usize, value: &Value<'_>) -> bool {
        let suffix = key_len.saturating_sub(self.prefix_len());
        SLOT_BYTES + suffix + value.stored_len() <= self.free_bytes()
    }

    /// Whether `value` fits in place of the entry's present one.
    #[must_use]
    pub fn replacement_fits(&self, slot: usize, value: &Value<'_>) -> bool {
        let slot = self.slot(slot);
        let old = self.slot_entry_bytes(slot, 0).saturating_sub(slot.key_len());
        value.stored_len() <= self.free_bytes() + old
    }

    /// Whether a new separator of this (whole) length fits.
    #[must_use]
    pub fn child_fits(&self, separator_len: usize) -> bool {
        let suffix = separator_len.saturating_sub(self.prefix_len());
        SLOT_BYTES + suffix + CHILD_BYTES <= self.free_bytes()
    }

    /// The child below everything that has a separator.
    #[must_use]
    pub fn first_child(&self) -> PageNo {
        PageNo(self.0.u32_at(FIRST_CHILD))
    }

    /// The child of an entry, or with `None` the first one.
    #[must_use]
    pub fn child_at(&self, slot: Option<usize>) -> PageNo {
        match slot {
            Some(index) => PageNo(self.0.u32_at(self.slot(index).value_offset())),
            None => self.first_child(),
        }
    }
}

/// Checks the content of a page of any kind: everything that must hold of it alone. Identity and
/// checksum are [`page::check`]'s.
pub fn validate<P: PageBytes>(page: &P) -> Result<(), Corrupt> {
    match page::kind(page) {
        Some(page::Kind::Node) => Node::new(page).validate(),
        Some(page::Kind::Map) => crate::map::Map::new(page).validate(),
        Some(page::Kind::Overflow) => crate::overflow::Overflow::new(page).validate(),
        Some(page::Kind::Meta) => crate::meta::validate(page),
        None => Err(Corrupt::new("page kind", page::KIND)),
    }
}

#[cfg(test)]
mod tests;
