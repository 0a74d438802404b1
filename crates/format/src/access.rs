//! Reading and changing a page without knowing where it lives.
//!
//! Owns: the accessor traits [`PageBytes`] and [`PageBytesMut`], over which all page code is
//! written once, and their implementations: [`Plain`] and [`PlainMut`] for byte slices,
//! [`Words`] for frames of atomic words, [`Sparse`] for a page image with its hole left out.
//!
//! Promises: every accessor is total. A page behaves as if zero bytes followed it without end:
//! reading them gives zero, writing them does nothing, and no offset or length overflows. All
//! implementations agree on every input (a test says so). Must never: allocate on a read, or
//! panic on any offset.

use std::cmp::Ordering;
use std::ops::Range;

mod plain;
mod sparse;
mod words;

pub use plain::{Plain, PlainMut};
pub use sparse::Sparse;
pub use words::Words;

/// Reads a page.
///
/// Under an optimistic reader the bytes may change between two calls; each call still returns
/// some value and ends.
pub trait PageBytes {
    /// Bytes in the page.
    fn len(&self) -> usize;

    /// Whether the page has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The eight bytes at `8 * index`, little-endian: the fast path for headers and slots.
    fn word(&self, index: usize) -> u64;

    /// Eight bytes at any offset, little-endian.
    fn u64_at(&self, offset: usize) -> u64 {
        let index = offset / 8;
        let shift = (offset % 8) * 8;
        let low = self.word(index) >> shift;
        if shift == 0 { low } else { low | self.word(index + 1) << (64 - shift) }
    }

    /// Four bytes, little-endian. Reads a second word only if they reach into it.
    #[inline]
    fn u32_at(&self, offset: usize) -> u32 {
        match offset % 8 {
            inside @ 0..=4 => (self.word(offset / 8) >> (inside * 8)) as u32,
            _ => self.u64_at(offset) as u32,
        }
    }

    /// Two bytes, little-endian. Reads a second word only if they reach into it.
    #[inline]
    fn u16_at(&self, offset: usize) -> u16 {
        match offset % 8 {
            inside @ 0..=6 => (self.word(offset / 8) >> (inside * 8)) as u16,
            _ => self.u64_at(offset) as u16,
        }
    }

    /// One byte.
    fn u8_at(&self, offset: usize) -> u8 {
        (self.word(offset / 8) >> ((offset % 8) * 8)) as u8
    }

    /// Copies `into.len()` bytes from `offset` on.
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let mut at = offset;
        let (chunks, rest) = into.as_chunks_mut::<8>();
        for chunk in chunks {
            *chunk = self.u64_at(at).to_le_bytes();
            at = at.saturating_add(8);
        }
        let last = self.u64_at(at).to_le_bytes();
        rest.iter_mut().zip(last).for_each(|(to, from)| *to = from);
    }

    /// Copies at least the bytes `offset .. offset + len` (those inside the page) into `scratch`
    /// and says where in it they stand. May copy whole words around them, which is faster than
    /// [`PageBytes::copy_out`] when the caller is happy with a slice at an odd place.
    fn copy_span(&self, offset: usize, len: usize, scratch: &mut Vec<u8>) -> Range<usize> {
        let len = len.min(self.len().saturating_sub(offset));
        scratch.clear();
        scratch.resize(len, 0);
        self.copy_out(offset, scratch);
        0..len
    }

    /// Appends the bytes `offset .. offset + len`, those inside the page, to `into`.
    fn append_to(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        let len = len.min(self.len().saturating_sub(offset));
        let old = into.len();
        into.resize(old + len, 0);
        if let Some(room) = into.get_mut(old..) {
            self.copy_out(offset, room);
        }
    }

    /// Compares the `len` bytes at `offset` with `with`, as byte strings.
    fn compare(&self, offset: usize, len: usize, with: &[u8]) -> Ordering {
        let common = len.min(with.len());
        let (mut at, mut left) = (offset, common);
        for chunk in with.as_chunks::<8>().0 {
            if left < 8 {
                break;
            }
            let (ours, theirs) = (self.u64_at(at), u64::from_le_bytes(*chunk));
            if ours != theirs {
                return ours.swap_bytes().cmp(&theirs.swap_bytes());
            }
            at = at.saturating_add(8);
            left -= 8;
        }
        if left > 0 {
            let theirs = le_prefix(with.get(common - left..).unwrap_or(&[]));
            let unused = 64 - 8 * left as u32;
            let ours = self.u64_at(at).swap_bytes() >> unused;
            let theirs = theirs.swap_bytes() >> unused;
            if ours != theirs {
                return ours.cmp(&theirs);
            }
        }
        len.cmp(&with.len())
    }
}

/// Changes a page.
///
/// Takes `&mut self` also where the implementation could do without: one writer at a time.
pub trait PageBytesMut: PageBytes {
    /// Replaces the eight bytes at `8 * index`, little-endian. A word that is only partly inside
    /// the page changes as far as it is inside.
    fn put_word(&mut self, index: usize, value: u64);

    /// Copies `bytes` to `offset`.
    fn put_bytes(&mut self, offset: usize, bytes: &[u8]);

    /// Moves `len` bytes; the ranges may overlap.
    fn move_bytes(&mut self, from: usize, to: usize, len: usize);

    /// Sets `len` bytes to `value`.
    fn fill(&mut self, offset: usize, len: usize, value: u8);

    /// Eight bytes at any offset, little-endian.
    fn put_u64(&mut self, offset: usize, value: u64) {
        self.put_bytes(offset, &value.to_le_bytes());
    }

    /// Four bytes, little-endian.
    fn put_u32(&mut self, offset: usize, value: u32) {
        self.put_bytes(offset, &value.to_le_bytes());
    }

    /// Two bytes, little-endian.
    fn put_u16(&mut self, offset: usize, value: u16) {
        self.put_bytes(offset, &value.to_le_bytes());
    }

    /// One byte.
    fn put_u8(&mut self, offset: usize, value: u8) {
        self.put_bytes(offset, &[value]);
    }
}

/// The first up to eight bytes of `bytes` as a little-endian number, zeros after them.
#[inline]
pub(crate) fn le_prefix(bytes: &[u8]) -> u64 {
    if let Some(chunk) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*chunk);
    }
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // Two reads that overlap where there are fewer than eight bytes.
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (bytes.len() - 4));
            u64::from(u32::from_le_bytes(*first)) | last
        }
        _ => bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    }
}

/// Compares two byte strings of one page, without copying either.
pub(crate) fn compare_within<P: PageBytes + ?Sized>(
    page: &P,
    left: Range<usize>,
    right: Range<usize>,
) -> Ordering {
    let common = left.len().min(right.len());
    let mut done = 0;
    while done < common {
        let unused = 64 - 8 * (common - done).min(8) as u32;
        let ours = page.u64_at(left.start.saturating_add(done)).swap_bytes() >> unused;
        let theirs = page.u64_at(right.start.saturating_add(done)).swap_bytes() >> unused;
        if ours != theirs {
            return ours.cmp(&theirs);
        }
        done += 8;
    }
    left.len().cmp(&right.len())
}

impl<P: PageBytes + ?Sized> PageBytes for &P {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn word(&self, index: usize) -> u64 {
        (**self).word(index)
    }
    fn u64_at(&self, offset: usize) -> u64 {
        (**self).u64_at(offset)
    }
    fn u32_at(&self, offset: usize) -> u32 {
        (**self).u32_at(offset)
    }
    fn u16_at(&self, offset: usize) -> u16 {
        (**self).u16_at(offset)
    }
    fn u8_at(&self, offset: usize) -> u8 {
        (**self).u8_at(offset)
    }
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        (**self).copy_out(offset, into);
    }
    fn copy_span(&self, offset: usize, len: usize, scratch: &mut Vec<u8>) -> Range<usize> {
        (**self).copy_span(offset, len, scratch)
    }
    fn append_to(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        (**self).append_to(offset, len, into);
    }
    fn compare(&self, offset: usize, len: usize, with: &[u8]) -> Ordering {
        (**self).compare(offset, len, with)
    }
}

#[cfg(test)]
mod tests;
