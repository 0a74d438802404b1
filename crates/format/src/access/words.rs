//! Pages in arrays of atomic words: the frames of the page store.
//!
//! Owns [`Words`]. Promises what [`super`] promises, also while another thread changes the words:
//! every access is one relaxed load or store of a whole word, so a race is never undefined
//! behaviour; whether the words read belong together is for the latch or the version to say.
//! A word's *value* is the little-endian reading of its eight bytes of the page, on every machine;
//! so nothing here depends on the byte order of the host.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{PageBytes, PageBytesMut, le_prefix};

/// A page in atomic words, to read and, by the holder of the exclusive latch, to change.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub &'a [AtomicU64]);

/// A word whose first `bytes` bytes are set.
fn low_bytes(bytes: usize) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

impl Words<'_> {
    /// Replaces the bits of one word that `mask` names.
    fn merge(&self, index: usize, mask: u64, value: u64) {
        if let Some(word) = self.0.get(index) {
            let kept = if mask == u64::MAX { 0 } else { word.load(Relaxed) & !mask };
            word.store(kept | value & mask, Relaxed);
        }
    }

    /// Copies words down or up, whole: both offsets and the length are multiples of eight.
    fn move_words(&self, from: usize, to: usize, len: usize) {
        let (from, to, count) = (from / 8, to / 8, len / 8);
        let copy = |index: usize| {
            if let Some(word) = self.0.get(to + index) {
                word.store(self.word(from + index), Relaxed);
            }
        };
        if from >= to {
            (0..count).for_each(copy);
        } else {
            (0..count).rev().for_each(copy);
        }
    }
}

impl PageBytes for Words<'_> {
    #[inline]
    fn len(&self) -> usize {
        self.0.len() * 8
    }

    #[inline]
    fn word(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, |word| word.load(Relaxed))
    }

    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let shift = (offset % 8) * 8;
        let words = self.0.get(offset / 8..).unwrap_or(&[]);
        let mut words = words.iter().map(|word| word.load(Relaxed));
        let (chunks, rest) = into.as_chunks_mut::<8>();
        if shift == 0 {
            for chunk in chunks {
                *chunk = words.next().unwrap_or(0).to_le_bytes();
            }
            let last = words.next().unwrap_or(0).to_le_bytes();
            rest.iter_mut().zip(last).for_each(|(to, from)| *to = from);
            return;
        }
        // The bytes left over from one word begin the next eight.
        let mut low = words.next().unwrap_or(0) >> shift;
        for chunk in chunks {
            let next = words.next().unwrap_or(0);
            *chunk = (low | next << (64 - shift)).to_le_bytes();
            low = next >> shift;
        }
        if !rest.is_empty() {
            let last = (low | words.next().unwrap_or(0) << (64 - shift)).to_le_bytes();
            rest.iter_mut().zip(last).for_each(|(to, from)| *to = from);
        }
    }

    fn copy_span(&self, offset: usize, len: usize, scratch: &mut Vec<u8>) -> Range<usize> {
        let len = len.min(self.len().saturating_sub(offset));
        scratch.clear();
        if len == 0 {
            return 0..0;
        }
        let odd = offset % 8;
        let words = self.0.get(offset / 8..(offset + len).div_ceil(8)).unwrap_or(&[]);
        scratch.resize(words.len() * 8, 0);
        let (chunks, _) = scratch.as_chunks_mut::<8>();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.load(Relaxed).to_le_bytes();
        }
        odd..odd + len
    }
}

impl PageBytesMut for Words<'_> {
    #[inline]
    fn put_word(&mut self, index: usize, value: u64) {
        if let Some(word) = self.0.get(index) {
            word.store(value, Relaxed);
        }
    }

    fn put_bytes(&mut self, offset: usize, bytes: &[u8]) {
        let (mut index, odd) = (offset / 8, offset % 8);
        let mut rest = bytes;
        if odd != 0 {
            let take = rest.len().min(8 - odd);
            self.merge(index, low_bytes(take) << (8 * odd), le_prefix(rest) << (8 * odd));
            rest = rest.get(take..).unwrap_or(&[]);
            index += 1;
        }
        let (chunks, last) = rest.as_chunks::<8>();
        let room = self.0.get(index..).unwrap_or(&[]);
        for (word, chunk) in room.iter().zip(chunks) {
            word.store(u64::from_le_bytes(*chunk), Relaxed);
        }
        if !last.is_empty() {
            self.merge(index.saturating_add(chunks.len()), low_bytes(last.len()), le_prefix(last));
        }
    }

    fn move_bytes(&mut self, from: usize, to: usize, len: usize) {
        let len = len.min(self.len().saturating_sub(to));
        if len == 0 {
            return;
        }
        if (from | to | len).is_multiple_of(8) {
            // Beyond the page is zero, so a source there may as well begin at its end.
            return self.move_words(from.min(self.len()), to, len);
        }
        let mut moved = vec![0; len];
        self.copy_out(from, &mut moved);
        self.put_bytes(to, &moved);
    }

    fn fill(&mut self, offset: usize, len: usize, value: u8) {
        let end = offset.saturating_add(len).min(self.len());
        let pattern = u64::from_le_bytes([value; 8]);
        let mut at = offset;
        while at < end {
            let odd = at % 8;
            if odd == 0
                && let Some(whole) = self.0.get(at / 8..end / 8)
            {
                whole.iter().for_each(|word| word.store(pattern, Relaxed));
                at += 8 * whole.len();
            }
            let take = (end - at).min(8 - at % 8);
            self.merge(at / 8, low_bytes(take) << (8 * (at % 8)), pattern);
            at += take;
        }
    }
}
