//! Overflow pages: values too long for a leaf.
//!
//! Owns the layout of an overflow page. A value is a chain of *extents* of consecutive pages; the
//! first page of each extent says how many pages it has and where the next one begins. Promises
//! that the view is total on any bytes. Must never: follow the chain.

use std::ops::Range;

use crate::access::{PageBytes, PageBytesMut};
use crate::error::Corrupt;
use crate::ids::PageNo;
use crate::limits::{PAGE_HEADER_BYTES, body_bytes};
use crate::page::{self, Kind};

/// Bytes of the value on this page (u16).
pub const DATA_BYTES: usize = 28;
/// Pages of the extent; zero on every page but its first (u32).
pub const EXTENT_PAGES: usize = 32;
/// First page of the next extent, zero if there is none (u32).
pub const NEXT_EXTENT: usize = 40;

/// Bytes of a value that one overflow page holds.
#[must_use]
pub const fn capacity(page_bytes: usize) -> usize {
    body_bytes(page_bytes)
}

/// Pages that a value of `len` bytes needs.
#[must_use]
pub const fn pages_for(page_bytes: usize, len: u64) -> u64 {
    len.div_ceil(capacity(page_bytes) as u64)
}

/// An overflow page, read through an accessor.
#[derive(Clone, Copy, Debug)]
pub struct Overflow<P>(pub P);

impl<P: PageBytes> Overflow<P> {
    /// Views `page` as an overflow page.
    pub fn new(page: P) -> Overflow<P> {
        Overflow(page)
    }

    /// Pages of the extent that begins here; zero if none does.
    #[must_use]
    pub fn extent_pages(&self) -> u32 {
        self.0.u32_at(EXTENT_PAGES)
    }

    /// First page of the next extent; [`PageNo::NONE`] if this is the last.
    #[must_use]
    pub fn next_extent(&self) -> PageNo {
        PageNo(self.0.u32_at(NEXT_EXTENT))
    }

    /// Where the value's bytes stand; inside the page, whatever it says.
    #[must_use]
    pub fn data(&self) -> Range<usize> {
        let end = PAGE_HEADER_BYTES + usize::from(self.0.u16_at(DATA_BYTES));
        PAGE_HEADER_BYTES.min(self.0.len())..end.min(self.0.len())
    }

    /// Appends the value's bytes to `into`.
    pub fn append_data(&self, into: &mut Vec<u8>) {
        let data = self.data();
        let old = into.len();
        into.resize(old + data.len(), 0);
        if let Some(room) = into.get_mut(old..) {
            self.0.copy_out(data.start, room);
        }
    }

    /// Checks everything that must hold of an overflow page by itself.
    pub fn validate(&self) -> Result<(), Corrupt> {
        page::check_common(&self.0, Kind::Overflow)?;
        let data = usize::from(self.0.u16_at(DATA_BYTES));
        if data == 0 || data > capacity(self.0.len()) {
            return Err(Corrupt::new("overflow data length", DATA_BYTES));
        }
        if self.extent_pages() == 0 && !self.next_extent().is_none() {
            return Err(Corrupt::new("next extent", NEXT_EXTENT));
        }
        let reserved = [page::KIND_FIELDS, page::KIND_FIELDS + 2, 30, 36, 38];
        match reserved.into_iter().find(|at| self.0.u16_at(*at) != 0) {
            Some(at) => Err(Corrupt::new("reserved overflow bytes", at)),
            None => Ok(()),
        }
    }
}

/// Checks what a new overflow page is to hold.
pub(crate) fn check_format(
    page_bytes: usize,
    extent_pages: u32,
    next_extent: PageNo,
    data: &[u8],
) -> Result<(), Corrupt> {
    if data.is_empty() || data.len() > capacity(page_bytes) {
        return Err(Corrupt::new("overflow data length", DATA_BYTES));
    }
    if extent_pages == 0 && !next_extent.is_none() {
        return Err(Corrupt::new("next extent", NEXT_EXTENT));
    }
    Ok(())
}

/// Fills an overflow page. The header is there.
pub(crate) fn format<P: PageBytesMut>(
    page: &mut P,
    extent_pages: u32,
    next_extent: PageNo,
    data: &[u8],
) {
    page.put_u16(DATA_BYTES, data.len() as u16);
    page.put_u32(EXTENT_PAGES, extent_pages);
    page.put_u32(NEXT_EXTENT, next_extent.0);
    page.put_bytes(PAGE_HEADER_BYTES, data);
    page.fill(PAGE_HEADER_BYTES + data.len(), page.len(), 0);
}
