//! Pages in ordinary byte slices: staging buffers, tools, tests.
//!
//! Owns [`Plain`] and [`PlainMut`]. Promises what [`super`] promises; the slice may have any
//! length, also one that is no multiple of eight.

use std::cmp::Ordering;

use super::{PageBytes, PageBytesMut, le_prefix};

/// A page in a byte slice, to read.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a [u8]);

/// A page in a byte slice, to change.
#[derive(Debug)]
pub struct PlainMut<'a>(pub &'a mut [u8]);

/// Any offset at which nothing is left reads as the empty slice.
fn from_offset(bytes: &[u8], offset: usize) -> &[u8] {
    bytes.get(offset..).unwrap_or(&[])
}

impl PageBytes for Plain<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn word(&self, index: usize) -> u64 {
        self.u64_at(index.saturating_mul(8))
    }

    #[inline]
    fn u64_at(&self, offset: usize) -> u64 {
        le_prefix(from_offset(self.0, offset))
    }

    #[inline]
    fn u8_at(&self, offset: usize) -> u8 {
        self.0.get(offset).copied().unwrap_or(0)
    }

    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let source = from_offset(self.0, offset);
        let common = source.len().min(into.len());
        let (inside, outside) = into.split_at_mut(common);
        if let Some(source) = source.get(..common) {
            inside.copy_from_slice(source);
        }
        outside.fill(0);
    }

    fn append_to(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        let source = from_offset(self.0, offset);
        into.extend_from_slice(source.get(..len).unwrap_or(source));
    }

    fn compare(&self, offset: usize, len: usize, with: &[u8]) -> Ordering {
        if let Some(ours) = from_offset(self.0, offset).get(..len) {
            return ours.cmp(with);
        }
        // Part of the range is beyond the page: zeros.
        let ours = from_offset(self.0, offset);
        let zeros = len - ours.len();
        let theirs = with.get(..ours.len()).unwrap_or(with);
        ours.cmp(theirs).then_with(|| {
            let rest = with.get(ours.len()..).unwrap_or(&[]);
            if rest.iter().take(zeros).any(|byte| *byte != 0) {
                return Ordering::Less;
            }
            zeros.cmp(&rest.len())
        })
    }
}

impl PageBytes for PlainMut<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
    #[inline]
    fn word(&self, index: usize) -> u64 {
        Plain(self.0).word(index)
    }
    #[inline]
    fn u64_at(&self, offset: usize) -> u64 {
        Plain(self.0).u64_at(offset)
    }
    #[inline]
    fn u8_at(&self, offset: usize) -> u8 {
        Plain(self.0).u8_at(offset)
    }
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        Plain(self.0).copy_out(offset, into);
    }
    fn compare(&self, offset: usize, len: usize, with: &[u8]) -> Ordering {
        Plain(self.0).compare(offset, len, with)
    }
}

impl PageBytesMut for PlainMut<'_> {
    #[inline]
    fn put_word(&mut self, index: usize, value: u64) {
        self.put_bytes(index.saturating_mul(8), &value.to_le_bytes());
    }

    #[inline]
    fn put_bytes(&mut self, offset: usize, bytes: &[u8]) {
        let room = self.0.get_mut(offset..).unwrap_or(&mut []);
        let common = room.len().min(bytes.len());
        if let (Some(to), Some(from)) = (room.get_mut(..common), bytes.get(..common)) {
            to.copy_from_slice(from);
        }
    }

    fn move_bytes(&mut self, from: usize, to: usize, len: usize) {
        let size = self.0.len();
        let len = len.min(size.saturating_sub(to));
        let real = len.min(size.saturating_sub(from));
        if real > 0 {
            self.0.copy_within(from..from + real, to);
        }
        self.fill(to.saturating_add(real), len - real, 0);
    }

    fn fill(&mut self, offset: usize, len: usize, value: u8) {
        let room = self.0.get_mut(offset..).unwrap_or(&mut []);
        let len = len.min(room.len());
        if let Some(part) = room.get_mut(..len) {
            part.fill(value);
        }
    }
}
