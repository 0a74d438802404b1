//! The bytes of one file, copied on write.
//!
//! Owns chunks of 4 KiB that copies share until one of them writes. Promises that a clone costs
//! one reference count, that holes cost nothing, and that bytes at or past the length read as
//! zeros when the image grows again. Must never know what a sector or a sync is.

use std::sync::Arc;

/// Bytes in a chunk.
pub(super) const CHUNK_BYTES: u64 = 4096;

type Chunk = [u8; CHUNK_BYTES as usize];

/// A file's content. Chunks past the end of the list, and `None`, are zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    chunks: Arc<Vec<Option<Arc<Chunk>>>>,
    len: u64,
}

/// The pieces of `offset..offset + len` that lie in one chunk each: chunk, where in it, how much.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut at = offset;
    let end = offset + len as u64;
    std::iter::from_fn(move || {
        if at == end {
            return None;
        }
        let within = at % CHUNK_BYTES;
        let count = (CHUNK_BYTES - within).min(end - at);
        let piece = ((at / CHUNK_BYTES) as usize, within as usize, count as usize);
        at += count;
        Some(piece)
    })
}

impl Image {
    pub(super) fn of(bytes: &[u8]) -> Image {
        let mut image = Image::default();
        image.write(bytes, 0);
        image
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Copies what there is into `buf` and returns how much that was.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let there = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        for (chunk, within, count) in pieces(offset, there) {
            let out = &mut buf[done..done + count];
            match self.chunks.get(chunk) {
                Some(Some(bytes)) => out.copy_from_slice(&bytes[within..within + count]),
                _ => out.fill(0),
            }
            done += count;
        }
        there
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    /// Writes all of `bytes`, growing the image.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
        let mut done = 0;
        for (chunk, within, count) in pieces(offset, bytes.len()) {
            self.chunk_mut(chunk)[within..within + count]
                .copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
    }

    /// Writes the part of `bytes` that lies below the length.
    pub(super) fn write_within(&mut self, bytes: &[u8], offset: u64) {
        let room = self.len.saturating_sub(offset).min(bytes.len() as u64) as usize;
        self.write(&bytes[..room], offset);
    }

    /// Sets every byte of a range below the length to `byte`.
    pub(super) fn fill(&mut self, offset: u64, end: u64, byte: u8) {
        let end = end.min(self.len);
        if offset >= end {
            return;
        }
        for (chunk, within, count) in pieces(offset, (end - offset) as usize) {
            if byte != 0 || matches!(self.chunks.get(chunk), Some(Some(_))) {
                self.chunk_mut(chunk)[within..within + count].fill(byte);
            }
        }
    }

    /// Cuts, or grows with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let keep = len.div_ceil(CHUNK_BYTES) as usize;
            let old = self.len;
            if keep < self.chunks.len() {
                Arc::make_mut(&mut self.chunks).truncate(keep);
            }
            self.fill(len, old.min(keep as u64 * CHUNK_BYTES), 0);
        }
        self.len = len;
    }

    fn chunk_mut(&mut self, chunk: usize) -> &mut Chunk {
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.len() <= chunk {
            chunks.resize(chunk + 1, None);
        }
        let slot = &mut chunks[chunk];
        Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; CHUNK_BYTES as usize])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_its_bytes_when_the_original_is_written() {
        let mut image = Image::of(&[7; 10_000]);
        let copy = image.clone();
        image.write(&[1; 5000], 2000);
        assert_eq!(copy.to_vec(), vec![7; 10_000]);
        let mut expected = vec![7; 10_000];
        expected[2000..7000].fill(1);
        assert_eq!(image.to_vec(), expected);
    }

    #[test]
    fn what_was_cut_reads_as_zeros_when_the_image_grows_again() {
        let mut image = Image::of(&[7; 10_000]);
        image.set_len(5000);
        image.set_len(12_000);
        let mut expected = vec![7; 5000];
        expected.resize(12_000, 0);
        assert_eq!(image.to_vec(), expected);
    }

    #[test]
    fn holes_take_no_chunks_and_read_as_zeros() {
        let mut image = Image::default();
        image.set_len(1 << 40);
        assert!(image.chunks.is_empty());
        let mut buf = [9; 16];
        assert_eq!(image.read(&mut buf, 1 << 39), 16);
        assert_eq!(buf, [0; 16]);
        assert_eq!(image.read(&mut buf, (1 << 40) - 4), 4);
        assert_eq!(image.read(&mut buf, 1 << 41), 0);
    }

    #[test]
    fn a_write_within_does_not_grow() {
        let mut image = Image::of(&[1; 100]);
        image.write_within(&[2; 50], 80);
        assert_eq!(image.len(), 100);
        assert_eq!(image.to_vec()[79..], [vec![1], vec![2; 20]].concat());
        image.write_within(&[3; 50], 200);
        assert_eq!(image.len(), 100);
    }
}
