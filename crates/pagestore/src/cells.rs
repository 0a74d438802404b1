//! An array of small numbers that grows without moving.
//!
//! Owns [`Cells`]. Promises that a cell, once made, stays where it is until the array is dropped,
//! so readers need no lock, and that its memory follows the highest index asked to grow to. Must
//! never shrink.

use std::sync::OnceLock;

use campanile_sync::atomic::AtomicU32;

/// Chunks of an array: chunk `k` is twice as long as chunk `k - 1`.
const CHUNKS: usize = 40;

/// Cells, all zero at first. Chunk `k` holds `2^(shift + k)` cells.
#[derive(Debug)]
pub(crate) struct Cells {
    shift: u32,
    chunks: [OnceLock<Box<[AtomicU32]>>; CHUNKS],
}

impl Cells {
    /// An empty array whose first chunk will have `base` cells.
    pub fn new(base: usize) -> Cells {
        assert!(base.is_power_of_two());
        Cells { shift: base.ilog2(), chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// The cell at `index`, if the array has grown that far.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&AtomicU32> {
        let (chunk, offset) = self.place(index);
        self.chunks[chunk].get().map(|cells| &cells[offset])
    }

    /// The cell at `index`, growing the array if needed.
    pub fn grow(&self, index: usize) -> &AtomicU32 {
        let (chunk, offset) = self.place(index);
        let cells = self.chunks[chunk]
            .get_or_init(|| (0..1 << self.shift << chunk).map(|_| AtomicU32::new(0)).collect());
        &cells[offset]
    }

    /// All cells there are, with their indices.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &AtomicU32)> {
        self.chunks.iter().enumerate().flat_map(move |(chunk, cells)| {
            let start = first(chunk) << self.shift;
            let cells = cells.get().map_or(&[][..], |cells| cells);
            cells.iter().enumerate().map(move |(offset, cell)| (start + offset, cell))
        })
    }

    /// Which chunk, and where in it.
    #[inline]
    fn place(&self, index: usize) -> (usize, usize) {
        let chunk = ((index >> self.shift) + 1).ilog2() as usize;
        (chunk, index - (first(chunk) << self.shift))
    }
}

/// How many times the first chunk the chunks before `chunk` hold.
#[inline]
fn first(chunk: usize) -> usize {
    (1 << chunk) - 1
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn every_index_has_a_cell_of_its_own_that_stays_while_the_array_grows() {
        let cells = Cells::new(4);
        assert!(cells.get(0).is_none());
        for index in 0..1000 {
            cells.grow(index).store(index as u32 + 1, Relaxed);
        }
        for index in 0..1000 {
            assert_eq!(cells.get(index).unwrap().load(Relaxed), index as u32 + 1);
        }
        let seen: Vec<usize> =
            cells.iter().filter(|(_, cell)| cell.load(Relaxed) != 0).map(|(at, _)| at).collect();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        assert!(cells.get(10_000).is_none());
        cells.grow(10_000);
        assert!(cells.get(1_000_000).is_none());
    }
}
