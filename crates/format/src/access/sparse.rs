//! A page image whose zero middle is left out, read as if it were whole.
//!
//! Owns [`Sparse`], with which an image in a log record is checked before it is applied, without
//! copying it. Promises what [`super`] promises.

use super::{PageBytes, le_prefix};

/// `head`, then zeros, then `tail`: `len` bytes together.
///
/// Where the two together are longer than `len`, `head` wins; whoever takes an image from outside
/// refuses it then.
#[derive(Clone, Copy, Debug)]
pub struct Sparse<'a> {
    /// Bytes in the whole page.
    pub len: usize,
    /// The bytes from offset 0 on.
    pub head: &'a [u8],
    /// The bytes up to the end of the page.
    pub tail: &'a [u8],
}

impl Sparse<'_> {
    fn tail_start(&self) -> usize {
        self.len.saturating_sub(self.tail.len())
    }
}

impl PageBytes for Sparse<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn word(&self, index: usize) -> u64 {
        self.u64_at(index.saturating_mul(8))
    }

    fn u64_at(&self, offset: usize) -> u64 {
        let tail_start = self.tail_start();
        if let Some(inside) = offset.checked_sub(tail_start) {
            if offset >= self.head.len() {
                return le_prefix(self.tail.get(inside..).unwrap_or(&[]));
            }
        } else if offset.saturating_add(8) <= self.head.len() {
            return le_prefix(self.head.get(offset..).unwrap_or(&[]));
        } else if offset >= self.head.len() && offset.saturating_add(8) <= tail_start {
            return 0;
        }
        let bytes: [u8; 8] = std::array::from_fn(|index| self.u8_at(offset.saturating_add(index)));
        u64::from_le_bytes(bytes)
    }

    fn u8_at(&self, offset: usize) -> u8 {
        if offset >= self.len {
            return 0;
        }
        if let Some(byte) = self.head.get(offset) {
            return *byte;
        }
        let inside = offset.checked_sub(self.tail_start());
        inside.and_then(|at| self.tail.get(at)).copied().unwrap_or(0)
    }
}
