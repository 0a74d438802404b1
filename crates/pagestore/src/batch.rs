//! The pages of one write-back, copied out of their frames.
//!
//! Owns the staging memory. Promises that what is written is the copy, taken under the page's
//! latch, whole, and sealed here; frames are never handed to the file system. Must never do I/O.

use std::ops::Range;
use std::sync::Arc;

use campanile_format::{Lsn, PageBytes, PageId, Words, page};

use crate::handles::PooledFile;

/// One page of a batch.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The frame it was copied from.
    pub frame: usize,
    pub page: PageId,
    /// The LSN of the image: the log must be durable up to it (P1).
    pub lsn: Lsn,
    /// Whether the page's file is in the log at all.
    pub durable: bool,
    /// Whether redo can rebuild the page without what is on disk, so that it may tear.
    pub init: bool,
    pub file: Arc<PooledFile>,
}

/// Copies of pages, one after the other.
#[derive(Debug)]
pub(crate) struct Batch {
    page_bytes: usize,
    images: Vec<u8>,
    entries: Vec<Entry>,
}

impl Batch {
    pub fn new(page_bytes: usize) -> Batch {
        Batch { page_bytes, images: Vec::new(), entries: Vec::new() }
    }

    /// Copies a page, whose latch the caller holds, shared at least.
    pub fn push(&mut self, entry: Entry, words: Words<'_>) {
        let start = self.images.len();
        self.images.resize(start + self.page_bytes, 0);
        words.copy_out(0, &mut self.images[start..]);
        self.entries.push(entry);
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The copy of entry `at`.
    pub fn image(&self, at: usize) -> &[u8] {
        self.images(at..at + 1)
    }

    /// The copies of some entries, one after the other.
    pub fn images(&self, entries: Range<usize>) -> &[u8] {
        &self.images[entries.start * self.page_bytes..entries.end * self.page_bytes]
    }

    /// Makes the copies ready for the disk.
    pub fn seal(&mut self) {
        for (image, entry) in self.images.chunks_exact_mut(self.page_bytes).zip(&self.entries) {
            page::seal(image, entry.page);
        }
    }

    /// Up to which record the log must be durable before any of this is written.
    pub fn needs_log_to(&self) -> Option<Lsn> {
        self.entries.iter().filter(|entry| entry.durable).map(|entry| entry.lsn).max()
    }

    /// Runs of entries that lie one after the other in one file, none longer than `most`.
    pub fn runs(&self, most: usize) -> impl Iterator<Item = Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = at;
            let first = self.entries.get(start)?.page;
            at += 1;
            while at - start < most
                && self.entries.get(at).is_some_and(|entry| {
                    let distance = (at - start) as u64;
                    entry.page.file == first.file
                        && u64::from(entry.page.page.0) == u64::from(first.page.0) + distance
                })
            {
                at += 1;
            }
            Some(start..at)
        })
    }
}
