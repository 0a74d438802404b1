//! What fits: page sizes, key and value sizes, and the rule that lets any entry into any page.
//!
//! Owns the numbers and the *entry rule*. Promises that the place of a value (in the leaf or in
//! overflow pages) follows from the key's and the value's length alone, so an entry may move to
//! any other leaf as it is.

use crate::value::{self, OVERFLOW_REF_BYTES};

/// The smallest page; only tests use less than 4096.
pub const MIN_PAGE_BYTES: usize = 512;
/// The largest page.
pub const MAX_PAGE_BYTES: usize = 32768;
/// The page size of an environment that does not ask for another.
pub const DEFAULT_PAGE_BYTES: usize = 8192;
/// Bytes of the header every page begins with.
pub const PAGE_HEADER_BYTES: usize = 64;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 8;
/// The longest value.
pub const MAX_VALUE_BYTES: u64 = u32::MAX as u64;
/// The highest page number; the one above it means "no page at all" in the graveyard.
pub const MAX_PAGE_NO: u32 = u32::MAX - 1;

/// Whether pages may have this size: a power of two within the bounds.
#[must_use]
pub const fn is_page_size(bytes: usize) -> bool {
    bytes.is_power_of_two() && bytes >= MIN_PAGE_BYTES && bytes <= MAX_PAGE_BYTES
}

/// The longest key.
#[must_use]
pub const fn max_key(page_bytes: usize) -> usize {
    page_bytes / 4
}

/// The longest value that may stay in a leaf, if its key leaves room: see [`is_inline`].
#[must_use]
pub const fn inline_limit(page_bytes: usize) -> usize {
    page_bytes / 4
}

/// The bytes an entry may take, slot not counted: what is left of a page after its header, two
/// fences of the greatest length and one slot.
#[must_use]
pub const fn max_entry(page_bytes: usize) -> usize {
    page_bytes.saturating_sub(PAGE_HEADER_BYTES + 2 * max_key(page_bytes) + SLOT_BYTES)
}

/// Whether a value of `value_len` bytes stays in the leaf beside a key of `key_len` bytes (the
/// whole key, not its suffix). A longer one goes to overflow pages.
#[must_use]
pub const fn is_inline(page_bytes: usize, key_len: usize, value_len: u64) -> bool {
    value_len <= inline_limit(page_bytes) as u64
        && key_len + value::inline_bytes(value_len as usize) <= max_entry(page_bytes)
}

/// Bytes of page content after the header: the data of an overflow page, the bits of a map.
#[must_use]
pub const fn body_bytes(page_bytes: usize) -> usize {
    page_bytes.saturating_sub(PAGE_HEADER_BYTES)
}

const _: () = {
    // An entry of the longest key always fits: with an overflow reference in a leaf, with a
    // child in an inner node.
    let mut page_bytes = MIN_PAGE_BYTES;
    while page_bytes <= MAX_PAGE_BYTES {
        assert!(max_key(page_bytes) + OVERFLOW_REF_BYTES <= max_entry(page_bytes));
        page_bytes *= 2;
    }
};
