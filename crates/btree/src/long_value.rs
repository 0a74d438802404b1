//! Values that do not fit a leaf: writing, walking.
//!
//! Owns: the chain of extents. Promises: pages are written as images in records of bounded size;
//! memory does not grow with the value; a rollback frees the extents (each allocation is undone by
//! its own record). Must never: trust a chain: every step is checked against the length that the
//! leaf gives, so a damaged one ends in an error and not in a loop.

use campanile_format::limits::MAX_VALUE_BYTES;
use campanile_format::overflow::{self, Overflow};
use campanile_format::page::{self, Kind};
use campanile_format::record::Undo;
use campanile_format::{Lsn, OverflowRef, PageId, PageNo, PageOp};
use campanile_pagestore::PageRead;
use campanile_txn::{By, Change, Txn};

use crate::descend::damaged;
use crate::error::TreeError;
use crate::tree::Tree;

/// Pages written by one record at most: each is latched until the record is applied.
const BATCH_PAGES: usize = 8;
/// Of the cache, at most one page in so many is latched by one record.
const CACHE_SHARE: usize = 8;

/// Consecutive pages of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub first: PageNo,
    pub pages: u32,
    pub next: PageNo,
}

impl<'e> Tree<'e> {
    /// Writes `value` to overflow pages of its own.
    pub(crate) fn write_long(&self, txn: &mut Txn, value: &[u8]) -> Result<OverflowRef, TreeError> {
        let capacity = overflow::capacity(self.page_bytes());
        let mut rest = value;
        let mut left = overflow::pages_for(self.page_bytes(), value.len() as u64);
        let (first, mut pages) = self.txns.allocate_extent(txn, self.file, pages_u32(left))?;
        let mut at = first;
        loop {
            left -= u64::from(pages);
            // The first page of an extent names the next one, so that one is allocated first.
            let next = match left {
                0 => None,
                left => Some(self.txns.allocate_extent(txn, self.file, pages_u32(left))?),
            };
            let bytes = (pages as usize).saturating_mul(capacity).min(rest.len());
            let (data, after) = rest.split_at(bytes);
            let after_extent = next.map_or(PageNo::NONE, |(first, _)| first);
            self.write_extent(txn, Extent { first: at, pages, next: after_extent }, data)?;
            rest = after;
            match next {
                Some((first, count)) => (at, pages) = (first, count),
                None => break,
            }
        }
        debug_assert!(rest.is_empty());
        Ok(OverflowRef { len: value.len() as u64, first })
    }

    fn write_extent(&self, txn: &mut Txn, extent: Extent, data: &[u8]) -> Result<(), TreeError> {
        let capacity = overflow::capacity(self.page_bytes());
        let mut number = extent.first.0;
        for batch in data.chunks(capacity * self.batch_pages()) {
            let mut latched = Vec::new();
            for chunk in batch.chunks(capacity) {
                let page = self.store().fresh(self.page_id(PageNo(number)))?;
                let begins = number == extent.first.0;
                let op = PageOp::FormatOverflow {
                    extent_pages: if begins { extent.pages } else { 0 },
                    next_extent: if begins { extent.next } else { PageNo::NONE },
                    data: chunk,
                };
                latched.push((page, op));
                number += 1;
            }
            let mut changes: Vec<Change<'_, '_, '_>> =
                latched.iter_mut().map(|(page, op)| Change::new(page, vec![op.clone()])).collect();
            self.apply(By::Txn(txn), &mut changes, Undo::None)?;
        }
        Ok(())
    }

    /// How many page images one record may hold.
    pub(crate) fn batch_pages(&self) -> usize {
        let record = self.txns.wal().max_record_bytes() / (self.page_bytes() + 128);
        let cache = self.store().frames() / CACHE_SHARE;
        record.min(cache).clamp(1, BATCH_PAGES)
    }

    /// An overflow page, latched, that must begin an extent (or must not).
    pub(crate) fn overflow_page(
        &self,
        page: PageNo,
        begins: bool,
    ) -> Result<PageRead<'e>, TreeError> {
        let id = PageId::new(self.file, page);
        let latched = self.store().read(id)?;
        let bytes = latched.bytes();
        if page::kind(&bytes) != Some(Kind::Overflow) {
            return Err(damaged(&latched, "a part of a long value is expected here"));
        }
        if (Overflow::new(bytes).extent_pages() > 0) != begins {
            return Err(damaged(&latched, "it is not the part of a long value that it should be"));
        }
        Ok(latched)
    }

    /// Checks the reference itself.
    pub(crate) fn check_reference(&self, overflow: OverflowRef) -> Result<u64, TreeError> {
        let id = PageId::new(self.file, overflow.first);
        if overflow.len == 0 || overflow.len > MAX_VALUE_BYTES {
            let what = format!("a value of {} bytes is said to begin here", overflow.len);
            return Err(TreeError::corrupt(id, Lsn::NONE, what));
        }
        Ok(overflow::pages_for(self.page_bytes(), overflow.len))
    }

    /// The extents of a value, in order, to `visit`.
    pub(crate) fn walk_extents(
        &self,
        overflow: OverflowRef,
        mut visit: impl FnMut(Extent) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        let mut left = self.check_reference(overflow)?;
        let mut first = overflow.first;
        while left > 0 {
            let extent = self.read_extent(first, left)?;
            left -= u64::from(extent.pages);
            visit(extent)?;
            first = extent.next;
        }
        Ok(())
    }

    /// The extent that begins at `first` in a value of which `left` pages are still to come.
    pub(crate) fn read_extent(&self, first: PageNo, left: u64) -> Result<Extent, TreeError> {
        let latched = self.overflow_page(first, true)?;
        let view = Overflow::new(latched.bytes());
        let extent = Extent { first, pages: view.extent_pages(), next: view.next_extent() };
        let pages = u64::from(extent.pages);
        if pages > left || (pages < left) == extent.next.is_none() {
            return Err(damaged(&latched, "the length of the extent contradicts the value's"));
        }
        if first.0.checked_add(extent.pages).is_none() {
            return Err(damaged(&latched, "the extent does not end within the file"));
        }
        Ok(extent)
    }

    /// Appends the value to `into`.
    pub(crate) fn read_long(
        &self,
        overflow: OverflowRef,
        into: &mut Vec<u8>,
    ) -> Result<(), TreeError> {
        let start = into.len();
        self.walk_extents(overflow, |extent| {
            for page in 0..extent.pages {
                let latched = self.overflow_page(PageNo(extent.first.0 + page), page == 0)?;
                let view = Overflow::new(latched.bytes());
                self.check_data(&latched, overflow.len, (into.len() - start) as u64)?;
                view.append_data(into);
            }
            Ok(())
        })
    }

    /// Checks that an overflow page holds exactly the bytes due at offset `at` of the value.
    pub(crate) fn check_data(
        &self,
        latched: &PageRead<'_>,
        value_len: u64,
        at: u64,
    ) -> Result<(), TreeError> {
        let due = (value_len - at).min(overflow::capacity(self.page_bytes()) as u64);
        if Overflow::new(latched.bytes()).data().len() as u64 != due {
            return Err(damaged(latched, "it does not hold as much of the value as it should"));
        }
        Ok(())
    }
}

fn pages_u32(pages: u64) -> u32 {
    u32::try_from(pages).unwrap_or(u32::MAX)
}
