//! The complete check of a node that came from disk.
//!
//! Owns every rule of FORMAT.md's chapter on nodes, in its order. Promises that on a node that
//! passes, every method of [`Node`] gives the answer that its writer meant, and that ops whose
//! `check` passes can be applied. Must never: look at another page.

use std::cmp::Ordering;
use std::ops::Range;

use super::{
    CHILD_BYTES, COUNT, FIRST_CHILD, FLAG_UPPER_INFINITE, HEAP_START, LIVE_BYTES, LOWER, Node,
    PREFIX_LEN, UPPER,
};
use crate::access::{PageBytes, compare_within};
use crate::error::Corrupt;
use crate::ids::PageNo;
use crate::limits::{
    MAX_PAGE_BYTES, PAGE_HEADER_BYTES, SLOT_BYTES, is_inline, is_page_size, max_key,
};
use crate::page::{self, Kind};
use crate::slot::Slot;
use crate::value::{OVERFLOW_REF_BYTES, OverflowRef, inline_bytes, read_inline_len};

/// The bytes of the heap that something claims, a bit each; nothing may be claimed twice.
struct Claims {
    bits: [u64; MAX_PAGE_BYTES / 64],
    total: usize,
}

impl Claims {
    /// Claims a range inside `heap`.
    fn claim(&mut self, heap: &Range<usize>, range: Range<usize>) -> Option<()> {
        if range.start < heap.start || range.end > heap.end {
            return None;
        }
        self.total += range.len();
        let mut at = range.start;
        while at < range.end {
            let bit = at % 64;
            let take = (range.end - at).min(64 - bit);
            let mask = u64::MAX >> (64 - take) << bit;
            let word = self.bits.get_mut(at / 64)?;
            if *word & mask != 0 {
                return None;
            }
            *word |= mask;
            at += take;
        }
        Some(())
    }
}

/// `Err` naming the rule and the place unless it holds.
fn require(holds: bool, what: &'static str, at: usize) -> Result<(), Corrupt> {
    if holds { Ok(()) } else { Err(Corrupt::new(what, at)) }
}

impl<P: PageBytes> Node<P> {
    /// Checks everything that must hold of a node by itself.
    pub fn validate(&self) -> Result<(), Corrupt> {
        let size = self.0.len();
        require(is_page_size(size), "page size", size)?;
        require(page::kind(&self.0) == Some(Kind::Node), "page kind", page::KIND)?;
        page::check_common(&self.0, Kind::Node)?;
        let layout = self.layout();
        let slots_end = PAGE_HEADER_BYTES + SLOT_BYTES * layout.count;
        require(usize::from(self.0.u16_at(COUNT)) == layout.count, "entry count", COUNT)?;
        require(
            slots_end <= layout.heap_start && layout.heap_start <= size,
            "heap start",
            HEAP_START,
        )?;
        let heap = layout.heap_start..size;
        let mut claims = Claims { bits: [0; MAX_PAGE_BYTES / 64], total: 0 };
        self.validate_fences(&heap, &mut claims)?;
        let first_child_fits = self.first_child().is_none() == self.is_leaf();
        require(first_child_fits, "first child", FIRST_CHILD)?;
        for index in 0..layout.count {
            let entry = self.validate_entry(index, layout.prefix_len)?;
            let at = PAGE_HEADER_BYTES + SLOT_BYTES * index;
            require(claims.claim(&heap, entry).is_some(), "entry offset", at)?;
            if index > 0 {
                let previous = self.slot(index - 1);
                require(self.is_before(previous, self.slot(index)), "key order", at)?;
            }
        }
        require(claims.total == layout.live_bytes, "live bytes", LIVE_BYTES)?;
        self.validate_ends(layout.count, layout.prefix_len)
    }

    fn validate_fences(&self, heap: &Range<usize>, claims: &mut Claims) -> Result<(), Corrupt> {
        let (lower, upper) = (self.lower_range(), self.upper_range());
        let flags = self.0.u16_at(page::FLAGS);
        require(flags & !FLAG_UPPER_INFINITE == 0, "node flags", page::FLAGS)?;
        let longest = max_key(self.0.len());
        require(lower.len() <= longest, "lower fence", LOWER)?;
        require(upper.len() <= longest, "upper fence", UPPER)?;
        // An empty fence has no place, so that equal nodes have equal bytes.
        if lower.is_empty() {
            require(lower.start == 0, "lower fence", LOWER)?;
        } else {
            require(claims.claim(heap, lower.clone()).is_some(), "lower fence", LOWER)?;
        }
        let mut prefix = 0;
        if self.upper_is_infinite() {
            require(upper == (0..0), "upper fence", UPPER)?;
        } else {
            require(claims.claim(heap, upper.clone()).is_some(), "upper fence", UPPER)?;
            let order = compare_within(&self.0, lower.clone(), upper.clone());
            require(order == Ordering::Less, "fence order", LOWER)?;
            let common = lower.len().min(upper.len());
            let same =
                |at: &usize| self.0.u8_at(lower.start + at) == self.0.u8_at(upper.start + at);
            prefix = (0..common).take_while(same).count();
        }
        require(self.layout().prefix_len == prefix, "prefix length", PREFIX_LEN)
    }

    /// Checks one slot and what it points at; gives the range of the heap it takes.
    fn validate_entry(&self, index: usize, prefix_len: usize) -> Result<Range<usize>, Corrupt> {
        let slot = self.slot(index);
        let at = PAGE_HEADER_BYTES + SLOT_BYTES * index;
        let size = self.0.len();
        let key_len = prefix_len + slot.key_len();
        require(key_len <= max_key(size), "key length", at)?;
        require(slot.head() == slot.head_on_page(&self.0), "key head", at)?;
        let value_at = slot.value_offset();
        if !self.is_leaf() {
            require(!slot.is_ghost() && !slot.is_overflow(), "separator flags", at)?;
            let child = PageNo(self.0.u32_at(value_at));
            require(!child.is_none(), "child page number", value_at)?;
            return Ok(slot.offset()..value_at + CHILD_BYTES);
        }
        if slot.is_overflow() {
            OverflowRef::read(&self.0, value_at).check(value_at)?;
            return Ok(slot.offset()..value_at + OVERFLOW_REF_BYTES);
        }
        let Some((len, used)) = read_inline_len(&self.0, value_at) else {
            return Err(Corrupt::new("value length", value_at));
        };
        require(used + len == inline_bytes(len), "value length", value_at)?;
        require(is_inline(size, key_len, len as u64), "value length", value_at)?;
        Ok(slot.offset()..value_at + used + len)
    }

    fn suffix_range(slot: Slot) -> Range<usize> {
        slot.offset()..slot.value_offset()
    }

    /// Whether one entry's key is less than another's; their heads are known to be right.
    fn is_before(&self, left: Slot, right: Slot) -> bool {
        match left.head().cmp(&right.head()) {
            Ordering::Equal => {
                let (left, right) = (Self::suffix_range(left), Self::suffix_range(right));
                compare_within(&self.0, left, right) == Ordering::Less
            }
            order => order == Ordering::Less,
        }
    }

    /// Checks the outermost keys against the fences. All keys begin with the prefix, as fences do.
    fn validate_ends(&self, count: usize, prefix_len: usize) -> Result<(), Corrupt> {
        let Some(last_index) = count.checked_sub(1) else {
            return Ok(());
        };
        let lower = self.lower_range();
        let lower = lower.start + prefix_len.min(lower.len())..lower.end;
        let first = Self::suffix_range(self.slot(0));
        let order = compare_within(&self.0, lower, first);
        // A separator equal to the lower fence would leave nothing to the first child.
        let inside = order == Ordering::Less || self.is_leaf() && order == Ordering::Equal;
        require(inside, "key below the lower fence", PAGE_HEADER_BYTES)?;
        if self.upper_is_infinite() {
            return Ok(());
        }
        let upper = self.upper_range();
        let upper = upper.start + prefix_len..upper.end;
        let last = Self::suffix_range(self.slot(last_index));
        let inside = compare_within(&self.0, last, upper) == Ordering::Less;
        require(inside, "key above the upper fence", PAGE_HEADER_BYTES + SLOT_BYTES * last_index)
    }
}
