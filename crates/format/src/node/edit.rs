//! Changing a node in place.
//!
//! Owns the physical side of every node op: where an entry goes in the heap, when the heap is
//! compacted, how a prefix is re-encoded. Promises that the outcome depends only on the page's
//! bytes and the op (do and redo give equal pages), and that nothing here panics on any bytes.
//! Must never: decide whether an op is allowed; its `check` has, on the same bytes.

use super::build::{NodeBuilder, Payload};
use super::{COUNT, FIRST_CHILD, Layout, Node};
use crate::access::{PageBytes, PageBytesMut, Plain};
use crate::ids::PageNo;
use crate::limits::{PAGE_HEADER_BYTES, SLOT_BYTES};
use crate::page;
use crate::separator::common_prefix;
use crate::slot::Slot;
use crate::value::Value;

impl Layout {
    /// The header word that says this.
    pub(crate) fn to_word(self) -> u64 {
        let field = |value: usize, shift: u32| (value as u64 & 0xffff) << shift;
        field(self.count, 0)
            | field(self.heap_start, 16)
            | field(self.live_bytes, 32)
            | field(self.prefix_len, 48)
    }

    fn slots_end(&self) -> usize {
        PAGE_HEADER_BYTES + SLOT_BYTES * self.count
    }
}

/// A node being changed.
pub(crate) struct NodeEdit<'p, P>(pub &'p mut P);

impl<P: PageBytesMut> NodeEdit<'_, P> {
    fn node(&self) -> Node<&P> {
        Node::new(&*self.0)
    }

    fn put_layout(&mut self, layout: Layout) {
        self.0.put_word(COUNT / 8, layout.to_word());
    }

    fn put_slot(&mut self, index: usize, slot: Slot) {
        self.0.put_word(PAGE_HEADER_BYTES / SLOT_BYTES + index, slot.0);
    }

    /// Inserts an entry before slot `index`.
    pub(crate) fn insert(&mut self, index: usize, key: &[u8], payload: Payload<'_>) {
        let suffix = key.get(self.node().layout().prefix_len..).unwrap_or(&[]);
        self.insert_suffix(index, suffix, payload);
    }

    fn insert_suffix(&mut self, index: usize, suffix: &[u8], payload: Payload<'_>) {
        let bytes = suffix.len() + payload.stored_len();
        let mut layout = self.node().layout();
        if layout.heap_start < layout.slots_end() + SLOT_BYTES + bytes {
            self.compact();
            layout = self.node().layout();
        }
        let offset = layout.heap_start.saturating_sub(bytes);
        self.0.put_bytes(offset, suffix);
        payload.put(self.0, offset + suffix.len());
        let place = PAGE_HEADER_BYTES + SLOT_BYTES * index;
        self.0.move_bytes(place, place + SLOT_BYTES, layout.slots_end().saturating_sub(place));
        let slot = Slot::new(offset, suffix).set_overflow(payload.is_overflow());
        self.put_slot(index, slot);
        layout.count += 1;
        layout.heap_start = offset;
        layout.live_bytes += bytes;
        self.put_layout(layout);
    }

    /// Gives an entry another value; it is no ghost then.
    pub(crate) fn replace(&mut self, index: usize, value: Value<'_>) {
        let slot = self.node().slot(index);
        let old = self.node().slot_entry_bytes(slot, 0).saturating_sub(slot.key_len());
        let new = value.stored_len();
        if new > old {
            let mut suffix = vec![0; slot.key_len()];
            self.0.copy_out(slot.offset(), &mut suffix);
            self.remove(&[index as u16]);
            self.insert_suffix(index, &suffix, Payload::Value(value));
            return;
        }
        value.put(self.0, slot.value_offset());
        self.put_slot(index, slot.set_ghost(false).set_overflow(value.is_overflow()));
        let mut layout = self.node().layout();
        layout.live_bytes = layout.live_bytes.saturating_sub(old - new);
        self.put_layout(layout);
    }

    /// Takes entries out; `indexes` ascend.
    pub(crate) fn remove(&mut self, indexes: &[u16]) {
        let node = self.node();
        let (mut layout, level) = (node.layout(), node.level());
        let mut removed = indexes.iter().map(|index| usize::from(*index)).peekable();
        let Some(first) = removed.peek().copied() else {
            return;
        };
        let mut kept = first;
        for index in first..layout.count {
            let slot = self.node().slot(index);
            if removed.next_if_eq(&index).is_some() {
                let bytes = self.node().slot_entry_bytes(slot, level);
                layout.live_bytes = layout.live_bytes.saturating_sub(bytes);
            } else {
                self.put_slot(kept, slot);
                kept += 1;
            }
        }
        layout.count = kept.min(layout.count);
        self.put_layout(layout);
    }

    pub(crate) fn set_ghost(&mut self, index: usize, ghost: bool) {
        let slot = self.node().slot(index);
        self.put_slot(index, slot.set_ghost(ghost));
    }

    pub(crate) fn set_child(&mut self, index: Option<usize>, child: PageNo) {
        let place = index.map_or(FIRST_CHILD, |index| self.node().slot(index).value_offset());
        self.0.put_u32(place, child.0);
    }

    /// Packs the heap, so that all free bytes are in one piece.
    fn compact(&mut self) {
        let keep = self.node().count();
        self.rebuild(keep, None);
    }

    /// Keeps the first `keep` entries and ends the node at `upper`.
    pub(crate) fn truncate(&mut self, keep: usize, upper: &[u8]) {
        self.rebuild(keep, Some(upper));
    }

    /// Lays the node out anew, with another upper fence if one is given.
    fn rebuild(&mut self, keep: usize, new_upper: Option<&[u8]>) {
        let mut bytes = vec![0; self.0.len()];
        self.0.copy_out(0, &mut bytes);
        let old = Node::new(Plain(&bytes));
        let (lower, old_upper) = old.fences();
        let upper = new_upper.or(old_upper.as_deref());
        let (level, size) = (old.level(), bytes.len());
        let mut builder = NodeBuilder::unchecked(size, level, &lower, upper, old.first_child());
        let prefix_len = upper.map_or(0, |upper| common_prefix(&lower, upper));
        let longer = prefix_len.saturating_sub(old.prefix_len());
        for index in 0..keep.min(old.count()) {
            let slot = old.slot(index);
            let end = slot.offset() + old.slot_entry_bytes(slot, level);
            let stored = bytes.get(slot.offset() + longer..end).unwrap_or(&[]);
            let suffix_len = slot.key_len().saturating_sub(longer);
            if !builder.push_stored(stored, suffix_len, slot) {
                break;
            }
        }
        let image = builder.into_image_unchecked();
        // What all pages have in common stays: identity, LSN, level.
        let flags = image.node().page().u16_at(page::FLAGS);
        self.0.put_u16(page::FLAGS, flags);
        self.0.put_bytes(COUNT, image.head().get(COUNT..).unwrap_or(&[]));
        self.0.put_bytes(size - image.tail().len(), image.tail());
    }
}
