//! Counters that tell a cursor whether the leaf it copied has changed since.
//!
//! Owns: [`Stamps`], a fixed array of counters, one of which every page hashes to. Promises: a page
//! that changed has another stamp than before; two pages that share a counter only cost a needless
//! second look. A counter rather than the page LSN, because two changes to a file that is not
//! durable may carry the same LSN, and because looking at it needs no latch. Must never: be bumped
//! outside the page's exclusive latch (B5).

use campanile_format::PageId;
use campanile_sync::atomic::{AtomicU64, Ordering};

/// How many counters: enough that an unrelated change rarely disturbs a cursor.
const COUNTERS: usize = 1024;

/// The counters of one environment.
#[derive(Debug)]
pub(crate) struct Stamps(Box<[AtomicU64]>);

impl Stamps {
    pub fn new() -> Stamps {
        Stamps((0..COUNTERS).map(|_| AtomicU64::new(0)).collect())
    }

    fn counter(&self, page: PageId) -> &AtomicU64 {
        let mixed = (u64::from(page.file.0) << 32 | u64::from(page.page.0))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.0[(mixed >> 54) as usize % COUNTERS]
    }

    /// The page's stamp. Read it under the page's latch when copying, without when checking.
    pub fn of(&self, page: PageId) -> u64 {
        self.counter(page).load(Ordering::Acquire)
    }

    /// The page changes. Called under its exclusive latch.
    pub fn bump(&self, page: PageId) {
        self.counter(page).fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_format::{FileId, PageNo};

    #[test]
    fn a_changed_page_has_another_stamp() {
        let stamps = Stamps::new();
        let page = PageId::new(FileId(16), PageNo(7));
        let before = stamps.of(page);
        stamps.bump(page);
        assert_ne!(before, stamps.of(page));
    }
}
