//! The memory of all frames, in one piece that never moves.
//!
//! Owns the anonymous mapping and the only `unsafe` of the crate: the view of a frame as
//! `&[AtomicU64]`. Promises that this view is the only one ever made, so that all accesses to a
//! frame are atomic and of one width, and a racing read is a stale value, never undefined
//! behaviour. Must never hand out `&[u8]` over a frame, and never maps a file.

use std::io;
use std::slice;

use campanile_sync::plain::AtomicU64;
use memmap2::{MmapMut, MmapRaw};

/// Bytes of a word.
const WORD: usize = size_of::<AtomicU64>();

/// Frames of one size, zeroed at first.
#[derive(Debug)]
pub(crate) struct Arena {
    map: MmapRaw,
    frames: usize,
    words: usize,
}

impl Arena {
    /// Memory for `frames` pages of `page_bytes` each. The system hands it out when it is touched.
    pub fn new(frames: usize, page_bytes: usize) -> io::Result<Arena> {
        assert!(frames > 0 && page_bytes > 0 && page_bytes.is_multiple_of(WORD));
        let bytes = frames
            .checked_mul(page_bytes)
            .filter(|bytes| *bytes <= isize::MAX as usize)
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let map = MmapRaw::from(MmapMut::map_anon(bytes)?);
        // Worth 7 to 35 % of a random read, and harmless where the system has none to give.
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Arena { map, frames, words: page_bytes / WORD })
    }

    /// The words of frame `index`.
    #[inline]
    #[expect(unsafe_code, reason = "the one view of the mapped memory, argued below")]
    pub fn page(&self, index: usize) -> &[AtomicU64] {
        assert!(index < self.frames);
        // SAFETY:
        // * In bounds: the mapping has `frames * words * WORD` bytes, checked in `new` not to
        //   pass `isize::MAX`, and `index < frames`.
        // * Aligned: a mapping starts at a page of the system, and `index * words` counts words.
        // * Initialised: an anonymous mapping is zeroed, and zero is an `AtomicU64`.
        // * Alive: the mapping is private to this value and unmapped when it is dropped; the
        //   slice borrows `self`. Nobody else knows the address, so the mapping is not resized.
        // * Not aliased by other kinds of access: the pointer of `MmapRaw` carries no reference,
        //   `map` is a private field, and this function is the only use of the pointer. Shared
        //   references to atomics may coexist and be written through from any thread.
        unsafe {
            let start = self.map.as_mut_ptr().cast::<AtomicU64>().add(index * self.words);
            slice::from_raw_parts(start, self.words)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn frames_are_zero_at_first_and_do_not_overlap() {
        let arena = Arena::new(5, 512).unwrap();
        for index in 0..5 {
            assert_eq!(arena.page(index).len(), 64);
            for word in arena.page(index) {
                assert_eq!(word.load(Relaxed), 0);
                word.store(index as u64 + 1, Relaxed);
            }
        }
        for index in 0..5 {
            assert!(arena.page(index).iter().all(|word| word.load(Relaxed) == index as u64 + 1));
        }
    }

    #[test]
    #[should_panic(expected = "index < self.frames")]
    fn a_frame_beyond_the_end_is_a_bug() {
        let arena = Arena::new(2, 512).unwrap();
        let _ = arena.page(2);
    }

    #[test]
    fn more_memory_than_there_is_addresses_is_refused() {
        assert!(Arena::new(usize::MAX / 512, 32768).is_err());
    }
}
