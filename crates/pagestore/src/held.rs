//! Which latches this thread holds: in debug builds, to find those that wait for each other.
//!
//! Owns the list of the thread and the rules that can be checked from here: nobody asks for a page
//! that he holds, and behind a space map nobody asks for anything but another map and new pages.
//! Whoever may wait for something that is not a latch can ask whether he holds any. Must never cost
//! a release build anything.

pub(crate) use list::Held;

/// Page latches that this thread holds, in any store; always 0 in a release build. For assertions
/// of those who are about to wait for something else than a latch: a lock, a sync, user code.
#[must_use]
#[inline]
pub fn latches_held() -> usize {
    list::latches_held()
}

#[cfg(all(debug_assertions, not(any(loom, shuttle))))]
mod list {
    use std::cell::RefCell;

    use campanile_format::PageId;
    use campanile_format::map::is_map_page;

    use crate::PageStore;

    thread_local! {
        /// Store (where it is in memory) and page.
        static HELD: RefCell<Vec<(usize, PageId)>> = const { RefCell::new(Vec::new()) };
    }

    /// A latch that is held.
    #[derive(Debug)]
    pub(crate) struct Held((usize, PageId));

    impl Held {
        /// Before the latch of `page` is awaited; `fresh` if nobody else can want the page.
        pub fn check(store: &PageStore, page: PageId, fresh: bool) {
            let is_map = |page: PageId| is_map_page(store.page_bytes(), page.page);
            let me = std::ptr::from_ref(store).addr();
            HELD.with_borrow(|held| {
                for (_, other) in held.iter().filter(|(store, _)| *store == me) {
                    assert!(*other != page, "{page} is latched by this thread already");
                    let in_order = !is_map(*other) || is_map(page) || fresh;
                    assert!(in_order, "{page} is asked for behind the space map {other}");
                }
            });
        }

        /// The latch of `page` is held.
        pub fn new(store: &PageStore, page: PageId) -> Held {
            let held = (std::ptr::from_ref(store).addr(), page);
            HELD.with_borrow_mut(|list| list.push(held));
            Held(held)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            HELD.with_borrow_mut(|held| {
                let at = held.iter().rposition(|one| *one == self.0).expect("it was put there");
                held.swap_remove(at);
            });
        }
    }

    pub(super) fn latches_held() -> usize {
        HELD.with_borrow(Vec::len)
    }
}

#[cfg(not(all(debug_assertions, not(any(loom, shuttle)))))]
mod list {
    use campanile_format::PageId;

    use crate::PageStore;

    /// Nothing.
    #[derive(Debug)]
    pub(crate) struct Held;

    impl Held {
        #[inline(always)]
        pub fn check(_store: &PageStore, _page: PageId, _fresh: bool) {}

        #[inline(always)]
        pub fn new(_store: &PageStore, _page: PageId) -> Held {
            Held
        }
    }

    #[inline(always)]
    pub(super) fn latches_held() -> usize {
        0
    }
}
