//! Space maps: which pages of a file are allocated.
//!
//! Owns the arithmetic of groups (which map has the bit of which page) and [`Map`], the view of a
//! map page: counting bits and finding free runs. Promises that every search is bounded by the
//! page, whatever its bytes say. Must never: decide who gets a page.
//!
//! Group `k` is the `G` pages from `k * G` on, `G` being the bits of one map page; its map is page
//! `k * G + 1`. So page 0 is the meta page, page 1 the first map, and page 2 the root of a tree.

use crate::access::{PageBytes, PageBytesMut};
use crate::error::Corrupt;
use crate::ids::PageNo;
use crate::limits::{MAX_PAGE_NO, PAGE_HEADER_BYTES, body_bytes};
use crate::page::{self, Kind};

/// Set bits of the map (u32).
pub const ALLOCATED: usize = 40;
/// The bit of the map itself, in every group.
pub const MAP_BIT: u32 = 1;
/// The root of the tree in every file that holds one.
pub const ROOT_PAGE: PageNo = PageNo(2);

/// Pages in a group. At least one, so that a page size that cannot be does no harm.
#[must_use]
pub const fn pages_per_group(page_bytes: usize) -> u32 {
    let pages = (body_bytes(page_bytes) as u32).saturating_mul(8);
    if pages == 0 { 1 } else { pages }
}

/// The group that `page` belongs to, and its bit there.
#[must_use]
pub const fn place_of(page_bytes: usize, page: PageNo) -> (u32, u32) {
    let pages = pages_per_group(page_bytes);
    (page.0 / pages, page.0 % pages)
}

/// The page that bit `bit` of group `group` stands for; `None` beyond the greatest page number.
#[must_use]
pub const fn page_of(page_bytes: usize, group: u32, bit: u32) -> Option<PageNo> {
    let page = group as u64 * pages_per_group(page_bytes) as u64 + bit as u64;
    if page <= MAX_PAGE_NO as u64 { Some(PageNo(page as u32)) } else { None }
}

/// The map page of a group; `None` beyond the greatest page number.
#[must_use]
pub const fn map_page(page_bytes: usize, group: u32) -> Option<PageNo> {
    page_of(page_bytes, group, MAP_BIT)
}

/// The map page that has the bit of `page`.
#[must_use]
pub const fn map_page_for(page_bytes: usize, page: PageNo) -> Option<PageNo> {
    map_page(page_bytes, place_of(page_bytes, page).0)
}

/// Whether `page` is a map.
#[must_use]
pub const fn is_map_page(page_bytes: usize, page: PageNo) -> bool {
    place_of(page_bytes, page).1 == MAP_BIT
}

/// The bits that a new map starts with: the map itself, and in the first group the meta page and
/// the root.
const fn initial_bits(group: u32) -> u64 {
    if group == 0 { 0b111 } else { 0b010 }
}

/// Free pages next to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// First bit.
    pub first: u32,
    /// Bits.
    pub count: u32,
}

/// A map page, read through an accessor.
#[derive(Clone, Copy, Debug)]
pub struct Map<P>(pub P);

impl<P: PageBytes> Map<P> {
    /// Views `page` as a map.
    pub fn new(page: P) -> Map<P> {
        Map(page)
    }

    /// The group that this page is the map of, by its page number.
    #[must_use]
    pub fn group(&self) -> u32 {
        place_of(self.0.len(), page::id(&self.0).page).0
    }

    /// Bits that stand for pages: all, but in the last group of a file as large as can be.
    #[must_use]
    pub fn bits(&self) -> u32 {
        let pages = pages_per_group(self.0.len());
        let first = u64::from(self.group()) * u64::from(pages);
        let left = (u64::from(MAX_PAGE_NO) + 1).saturating_sub(first);
        left.min(u64::from(pages)) as u32
    }

    /// Whether the page of this bit is allocated. Bits that stand for no page are.
    #[must_use]
    pub fn is_allocated(&self, bit: u32) -> bool {
        bit >= self.bits() || self.word(bit / 64) >> (bit % 64) & 1 == 1
    }

    /// Allocated pages of the group.
    #[must_use]
    pub fn allocated(&self) -> u32 {
        self.0.u32_at(ALLOCATED)
    }

    /// Free pages of the group.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.bits().saturating_sub(self.allocated())
    }

    fn word(&self, index: u32) -> u64 {
        self.0.word(PAGE_HEADER_BYTES / 8 + index as usize)
    }

    /// The first bit from `from` on that is set (or, with `flip`, clear); [`Map::bits`] if none.
    fn next(&self, from: u32, flip: bool) -> u32 {
        let bits = self.bits();
        let mut at = from;
        while at < bits {
            let word = if flip { !self.word(at / 64) } else { self.word(at / 64) };
            let rest = word >> (at % 64);
            if rest != 0 {
                return (at + rest.trailing_zeros()).min(bits);
            }
            at = (at / 64 + 1) * 64;
        }
        bits
    }

    /// The first free bit from `from` on.
    #[must_use]
    pub fn next_free(&self, from: u32) -> Option<u32> {
        let bit = self.next(from, true);
        (bit < self.bits()).then_some(bit)
    }

    /// A run of up to `want` free bits from `from` on: the first that is long enough, or else the
    /// longest there is. `None` if nothing is free.
    #[must_use]
    pub fn find_run(&self, from: u32, want: u32) -> Option<Run> {
        let want = want.max(1);
        let mut best: Option<Run> = None;
        let mut at = from;
        while let Some(first) = self.next_free(at) {
            let end = self.next(first, false).max(first + 1);
            let run = Run { first, count: (end - first).min(want) };
            if run.count == want {
                return Some(run);
            }
            if best.is_none_or(|best| best.count < run.count) {
                best = Some(run);
            }
            at = end;
        }
        best
    }

    /// Set bits of `first .. first + count`.
    #[must_use]
    pub fn count_allocated(&self, first: u32, count: u32) -> u32 {
        let end = first.saturating_add(count).min(self.bits());
        let mut found = 0;
        each_word(first, end, |index, mask| found += (self.word(index) & mask).count_ones());
        found
    }

    /// Checks everything that must hold of a map by itself.
    pub fn validate(&self) -> Result<(), Corrupt> {
        page::check_common(&self.0, Kind::Map)?;
        if !is_map_page(self.0.len(), page::id(&self.0).page) {
            return Err(Corrupt::new("page number of a map", page::PAGE_NO));
        }
        if self.0.word(3) != 0 || self.0.word(4) != 0 {
            return Err(Corrupt::new("reserved map bytes", page::KIND_FIELDS));
        }
        let (bits, all) = (self.bits(), pages_per_group(self.0.len()));
        if self.count_allocated(0, bits) != self.allocated() {
            return Err(Corrupt::new("allocated page count", ALLOCATED));
        }
        let mut beyond = 0;
        each_word(bits, all, |index, mask| beyond |= self.word(index) & mask);
        if beyond != 0 {
            return Err(Corrupt::new("map bits beyond the last page", PAGE_HEADER_BYTES));
        }
        let needed = initial_bits(self.group());
        if self.word(0) & needed != needed {
            return Err(Corrupt::new("map bits of fixed pages", PAGE_HEADER_BYTES));
        }
        Ok(())
    }

    /// Checks that bits can be set or cleared: all inside the group, all of the other state, and
    /// none of a page that never moves.
    pub(crate) fn check_set(&self, run: Run, allocated: bool) -> Result<(), Corrupt> {
        let Run { first, count } = run;
        let end = u64::from(first) + u64::from(count);
        if count == 0 || end > u64::from(self.bits()) {
            return Err(Corrupt::new("range of map bits", PAGE_HEADER_BYTES));
        }
        let place = PAGE_HEADER_BYTES + first as usize / 8;
        if self.count_allocated(first, count) != if allocated { 0 } else { count } {
            return Err(Corrupt::new("state of map bits", place));
        }
        let fixed = (0..64u32.min(count)).map(|bit| bit + first).filter(|bit| *bit < 3);
        if !allocated && fixed.into_iter().any(|bit| initial_bits(self.group()) >> bit & 1 == 1) {
            return Err(Corrupt::new("freeing of a fixed page", place));
        }
        Ok(())
    }
}

/// Calls `what` with the index and mask of each word that has bits of `first .. end`.
fn each_word(first: u32, end: u32, mut what: impl FnMut(u32, u64)) {
    let mut at = first;
    while at < end {
        let take = (end - at).min(64 - at % 64);
        what(at / 64, u64::MAX >> (64 - take) << (at % 64));
        at += take;
    }
}

/// Makes a map of a group in which only the fixed pages are allocated. The header is there.
pub(crate) fn format<P: PageBytesMut>(page: &mut P, group: u32) {
    page.fill(PAGE_HEADER_BYTES, page.len(), 0);
    let bits = initial_bits(group);
    page.put_word(PAGE_HEADER_BYTES / 8, bits);
    page.put_u32(ALLOCATED, bits.count_ones());
}

/// Sets or clears bits that `check_set` has passed.
pub(crate) fn set<P: PageBytesMut>(page: &mut P, run: Run, allocated: bool) {
    let Run { first, count } = run;
    let before = page.u32_at(ALLOCATED);
    each_word(first, first.saturating_add(count), |index, mask| {
        let index = PAGE_HEADER_BYTES / 8 + index as usize;
        let word = page.word(index);
        page.put_word(index, if allocated { word | mask } else { word & !mask });
    });
    let after = if allocated { before.saturating_add(count) } else { before.saturating_sub(count) };
    page.put_u32(ALLOCATED, after);
}

#[cfg(test)]
mod tests;
