//! Page to frame: arrays, not a hash map.
//!
//! Owns the cells that say in which frame a page is. Promises that looking up takes no lock, that
//! memory is four bytes for each page of the parts of a file that were touched, and that a removed
//! file's cells serve other files afterwards. A cell is only a hint: whoever follows it latches
//! the frame and compares the frame's page (P5).
//!
//! ```text
//!   directory of a file                pool of blocks, shared by all files
//!   page / 512 -> block + 1            block * 512 + page % 512 -> frame + 1
//! ```

use campanile_format::PageNo;
use campanile_sync::Mutex;
use campanile_sync::atomic::{AtomicU32, Ordering};

use crate::cells::Cells;

/// Pages of a block.
const BLOCK: usize = 512;

/// The pool of blocks.
#[derive(Debug)]
pub(crate) struct Translation {
    cells: Cells,
    spare: Mutex<Spare>,
}

/// Blocks that no file uses.
#[derive(Debug)]
struct Spare {
    returned: Vec<u32>,
    next: u32,
}

/// Which blocks serve one file.
#[derive(Debug)]
pub(crate) struct Directory(Cells);

impl Directory {
    /// Of a file none of whose pages were touched.
    pub fn new() -> Directory {
        Directory(Cells::new(8))
    }
}

impl Translation {
    /// An empty pool.
    pub fn new() -> Translation {
        let spare = Spare { returned: Vec::new(), next: 0 };
        Translation { cells: Cells::new(BLOCK), spare: Mutex::new(spare) }
    }

    /// The frame that may hold the page.
    #[inline]
    pub fn frame(&self, directory: &Directory, page: PageNo) -> Option<usize> {
        let block = directory.0.get(page.0 as usize / BLOCK)?.load(Ordering::Acquire);
        let cell = self.cells.get(Self::index(block.checked_sub(1)?, page))?;
        (cell.load(Ordering::Acquire) as usize).checked_sub(1)
    }

    /// Makes `frame` the place of the page, unless it has one already.
    ///
    /// The caller keeps the file from being removed meanwhile: its cells might be another's.
    pub fn publish(&self, directory: &Directory, page: PageNo, frame: usize) -> bool {
        let cell = self.grow(directory, page);
        cell.compare_exchange(0, frame as u32 + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes the page's place back, if it is still `frame`, which the caller has latched.
    pub fn retract(&self, directory: &Directory, page: PageNo, frame: usize) {
        let Some(block) = directory.0.get(page.0 as usize / BLOCK) else { return };
        let Some(block) = block.load(Ordering::Acquire).checked_sub(1) else { return };
        if let Some(cell) = self.cells.get(Self::index(block, page)) {
            // If the block serves another file by now, the cell is not `frame`: that frame is
            // latched, and published nowhere.
            let _ = cell.compare_exchange(frame as u32 + 1, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Returns all blocks of a removed file to the pool. No page of it is or will be published.
    pub fn release(&self, directory: &Directory) {
        for (_, entry) in directory.0.iter() {
            let Some(block) = entry.swap(0, Ordering::AcqRel).checked_sub(1) else { continue };
            for page in 0..BLOCK {
                self.cells.grow(block as usize * BLOCK + page).store(0, Ordering::Release);
            }
            self.spare.lock().returned.push(block);
        }
    }

    fn grow(&self, directory: &Directory, page: PageNo) -> &AtomicU32 {
        let entry = directory.0.grow(page.0 as usize / BLOCK);
        let mut block = entry.load(Ordering::Acquire);
        if block == 0 {
            let mut spare = self.spare.lock();
            block = entry.load(Ordering::Acquire);
            if block == 0 {
                let fresh = spare.returned.pop().unwrap_or_else(|| {
                    spare.next += 1;
                    spare.next - 1
                });
                block = fresh + 1;
                entry.store(block, Ordering::Release);
            }
        }
        self.cells.grow(Self::index(block - 1, page))
    }

    #[inline]
    fn index(block: u32, page: PageNo) -> usize {
        block as usize * BLOCK + page.0 as usize % BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_far_apart_and_of_several_files_have_their_own_frames() {
        let translation = Translation::new();
        let files = [Directory::new(), Directory::new(), Directory::new()];
        let pages = [0, 1, 511, 512, 70_000, 5_000_000];
        let mut frame = 0;
        for file in &files {
            for page in pages {
                assert_eq!(translation.frame(file, PageNo(page)), None);
                assert!(translation.publish(file, PageNo(page), frame));
                assert!(!translation.publish(file, PageNo(page), 999));
                frame += 1;
            }
        }
        let mut frame = 0;
        for file in &files {
            for page in pages {
                assert_eq!(translation.frame(file, PageNo(page)), Some(frame));
                translation.retract(file, PageNo(page), 999);
                assert_eq!(translation.frame(file, PageNo(page)), Some(frame));
                translation.retract(file, PageNo(page), frame);
                assert_eq!(translation.frame(file, PageNo(page)), None);
                frame += 1;
            }
        }
    }

    #[test]
    fn a_removed_files_memory_serves_the_next_file() {
        let translation = Translation::new();
        for round in 0..100 {
            let file = Directory::new();
            for page in 0..2000 {
                assert!(translation.publish(&file, PageNo(page), round));
            }
            translation.release(&file);
            assert_eq!(translation.frame(&file, PageNo(7)), None);
        }
        assert_eq!(translation.spare.lock().next, 4);
    }
}
