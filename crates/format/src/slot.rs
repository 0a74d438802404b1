//! The slot: one aligned word that finds an entry and usually decides a comparison alone.
//!
//! Owns the word's layout: offset 16 bits, suffix length 14, ghost 1, overflow 1, head 32, from
//! the low end up. The *head* is the first four bytes of the key's suffix as a big-endian number,
//! zeros standing in for bytes that are missing; so heads order as suffixes do, up to ties.

use std::cmp::Ordering;

use crate::access::{PageBytes, le_prefix};

const KEY_LEN_SHIFT: u32 = 16;
const KEY_LEN_MASK: u64 = (1 << 14) - 1;
const GHOST: u64 = 1 << 30;
const OVERFLOW: u64 = 1 << 31;
const HEAD_SHIFT: u32 = 32;

/// The word of one entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Slot(pub u64);

/// The head of a key suffix.
#[inline]
pub(crate) fn head_of(suffix: &[u8]) -> u32 {
    (le_prefix(suffix) as u32).swap_bytes()
}

impl Slot {
    pub(crate) fn new(offset: usize, suffix: &[u8]) -> Slot {
        Slot::with_head(offset, suffix.len(), head_of(suffix))
    }

    pub(crate) fn with_head(offset: usize, key_len: usize, head: u32) -> Slot {
        debug_assert!(offset <= 0xffff && key_len as u64 <= KEY_LEN_MASK);
        let key_len = (key_len as u64 & KEY_LEN_MASK) << KEY_LEN_SHIFT;
        Slot(offset as u64 & 0xffff | key_len | u64::from(head) << HEAD_SHIFT)
    }

    #[inline]
    pub(crate) fn offset(self) -> usize {
        self.0 as usize & 0xffff
    }

    /// Bytes of the key's suffix.
    #[inline]
    pub(crate) fn key_len(self) -> usize {
        ((self.0 >> KEY_LEN_SHIFT) & KEY_LEN_MASK) as usize
    }

    #[inline]
    pub(crate) fn head(self) -> u32 {
        (self.0 >> HEAD_SHIFT) as u32
    }

    #[inline]
    pub(crate) fn is_ghost(self) -> bool {
        self.0 & GHOST != 0
    }

    #[inline]
    pub(crate) fn is_overflow(self) -> bool {
        self.0 & OVERFLOW != 0
    }

    pub(crate) fn set_ghost(self, ghost: bool) -> Slot {
        Slot(if ghost { self.0 | GHOST } else { self.0 & !GHOST })
    }

    pub(crate) fn set_overflow(self, overflow: bool) -> Slot {
        Slot(if overflow { self.0 | OVERFLOW } else { self.0 & !OVERFLOW })
    }

    /// Where the value, or the child, begins.
    #[inline]
    pub(crate) fn value_offset(self) -> usize {
        self.offset() + self.key_len()
    }

    /// Compares the entry's suffix with `suffix`, given that their heads are equal.
    #[inline]
    pub(crate) fn compare_after_head<P: PageBytes>(self, page: &P, suffix: &[u8]) -> Ordering {
        let len = self.key_len();
        if len <= 4 || suffix.len() <= 4 {
            // One is a prefix of the other: what the shorter has, the head has compared.
            return len.cmp(&suffix.len());
        }
        page.compare(self.offset() + 4, len - 4, suffix.get(4..).unwrap_or(&[]))
    }

    /// The head of the suffix that really stands on the page.
    pub(crate) fn head_on_page<P: PageBytes>(self, page: &P) -> u32 {
        let unused = 8 * 4usize.saturating_sub(self.key_len()) as u32;
        let bytes = page.u32_at(self.offset()).swap_bytes();
        bytes.checked_shr(unused).unwrap_or(0).checked_shl(unused).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Plain;

    #[test]
    fn a_slot_keeps_its_parts_apart() {
        let slot = Slot::new(32767, b"abcdef").set_ghost(true).set_overflow(true);
        assert_eq!((slot.offset(), slot.key_len(), slot.head()), (32767, 6, 0x6162_6364));
        assert!(slot.is_ghost() && slot.is_overflow());
        let slot = slot.set_ghost(false);
        assert_eq!((slot.offset(), slot.key_len(), slot.head()), (32767, 6, 0x6162_6364));
        assert!(!slot.is_ghost() && slot.is_overflow());
        assert_eq!(Slot::new(32768, b"").offset(), 32768);
    }

    #[test]
    fn heads_order_as_suffixes_do() {
        let suffixes: [&[u8]; 6] = [b"", b"a", b"ab", b"abcd", b"abcde", b"b"];
        assert!(suffixes.windows(2).all(|pair| head_of(pair[0]) <= head_of(pair[1])));
    }

    #[test]
    fn equal_heads_leave_the_rest_of_the_suffix_to_decide() {
        let page = Plain(b"abcd\0\0\0\0abcdef..");
        let entry = Slot::new(8, b"abcdef");
        assert_eq!(entry.compare_after_head(&page, b"abcdef"), Ordering::Equal);
        assert_eq!(entry.compare_after_head(&page, b"abcd"), Ordering::Greater);
        assert_eq!(entry.compare_after_head(&page, b"abcdz"), Ordering::Less);
        let padded = Slot::new(0, b"abcd\0");
        assert_eq!(padded.compare_after_head(&page, b"abcd"), Ordering::Greater);
        assert_eq!(padded.compare_after_head(&page, b"abcd\0\0"), Ordering::Less);
        assert_eq!(padded.head_on_page(&page), padded.head());
        assert_eq!(Slot::new(8, b"ab").head_on_page(&page), head_of(b"ab"));
        assert_eq!(Slot::new(8, b"").head_on_page(&page), 0);
    }
}
