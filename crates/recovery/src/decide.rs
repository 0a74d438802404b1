//! What replay does with one change of one page: the decision table.
//!
//! Owns: [`decide`], a pure function over everything that matters. Promises: a change is applied
//! exactly to the page it was made on, never twice, never on top of something else (R3). Must
//! never: look at anything but its arguments: replay is page-local.

use campanile_format::Lsn;
use campanile_format::planted::{self, Bug};

/// What stands where the page should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// A whole page with this LSN.
    Ready(Lsn),
    /// Nothing was ever written there, or the file ends before it.
    Absent,
    /// Bytes whose checksum does not hold.
    Torn,
}

/// What to do with the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Apply it.
    Apply,
    /// The page shows it already.
    Skip,
    /// The page cannot take it now; a later record must make the page anew, or give it up.
    Defer,
    /// The page and the log contradict each other.
    Corrupt(Contradiction),
}

/// How a page and the log can contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// The page is older than the change before this one: a write was lost.
    LostWrite,
    /// The page shows a change that the log does not have.
    UnknownChange,
    /// The record claims to follow a change that comes after it.
    AheadOfItself,
}

impl Contradiction {
    /// In words.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::LostWrite => "the page is older than the log requires: a write was lost",
            Self::UnknownChange => "the page shows a change that the log does not have",
            Self::AheadOfItself => "the record follows a change that comes after it",
        }
    }
}

/// The table: page state x (LSN of the page before the change, LSN of the change) x whether its
/// first operation makes the page anew.
///
/// | page | makes it anew | needs what was there |
/// | --- | --- | --- |
/// | at or past the change | skip | skip |
/// | exactly as before the change | apply | apply |
/// | older than that | apply | corrupt: lost write |
/// | between the two | apply | corrupt: unknown change |
/// | absent | apply | defer |
/// | torn | apply | defer |
#[must_use]
pub fn decide(page: PageState, before: Lsn, change: Lsn, makes_anew: bool) -> Decision {
    if before >= change {
        return Decision::Corrupt(Contradiction::AheadOfItself);
    }
    match page {
        PageState::Absent | PageState::Torn if makes_anew => Decision::Apply,
        PageState::Absent | PageState::Torn => Decision::Defer,
        PageState::Ready(_) if planted::is(Bug::RedoIgnoresPageLsn) => Decision::Apply,
        PageState::Ready(lsn) if lsn >= change => Decision::Skip,
        PageState::Ready(_) if makes_anew => Decision::Apply,
        PageState::Ready(lsn) if lsn == before => Decision::Apply,
        PageState::Ready(lsn) if lsn < before => Decision::Corrupt(Contradiction::LostWrite),
        PageState::Ready(_) => Decision::Corrupt(Contradiction::UnknownChange),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Lsn = Lsn::new(2, 1000);
    const CHANGE: Lsn = Lsn::new(2, 2000);
    const OLDER: PageState = PageState::Ready(Lsn::new(1, 9000));
    const EXACT: PageState = PageState::Ready(BEFORE);
    const BETWEEN: PageState = PageState::Ready(Lsn::new(2, 1500));
    const SHOWS_IT: PageState = PageState::Ready(CHANGE);
    const NEWER: PageState = PageState::Ready(Lsn::new(3, 600));

    fn anew(page: PageState) -> Decision {
        decide(page, BEFORE, CHANGE, true)
    }

    fn needs_content(page: PageState) -> Decision {
        decide(page, BEFORE, CHANGE, false)
    }

    #[test]
    fn a_page_that_shows_the_change_is_left_alone() {
        for page in [SHOWS_IT, NEWER] {
            assert_eq!(anew(page), Decision::Skip);
            assert_eq!(needs_content(page), Decision::Skip);
        }
    }

    #[test]
    fn a_page_exactly_as_before_the_change_takes_it() {
        assert_eq!(anew(EXACT), Decision::Apply);
        assert_eq!(needs_content(EXACT), Decision::Apply);
    }

    #[test]
    fn a_page_older_than_the_change_before_is_a_lost_write() {
        assert_eq!(needs_content(OLDER), Decision::Corrupt(Contradiction::LostWrite));
    }

    #[test]
    fn a_page_made_anew_may_have_been_anything_older() {
        assert_eq!(anew(OLDER), Decision::Apply);
        assert_eq!(anew(BETWEEN), Decision::Apply);
    }

    #[test]
    fn a_page_with_a_change_between_is_from_another_history() {
        assert_eq!(needs_content(BETWEEN), Decision::Corrupt(Contradiction::UnknownChange));
    }

    #[test]
    fn an_absent_page_waits_for_a_record_that_makes_it() {
        assert_eq!(needs_content(PageState::Absent), Decision::Defer);
        assert_eq!(anew(PageState::Absent), Decision::Apply);
    }

    #[test]
    fn a_torn_page_waits_for_a_record_that_makes_it() {
        assert_eq!(needs_content(PageState::Torn), Decision::Defer);
        assert_eq!(anew(PageState::Torn), Decision::Apply);
    }

    #[test]
    fn the_first_record_of_a_page_fits_whatever_is_older() {
        assert_eq!(decide(EXACT, Lsn::NONE, CHANGE, true), Decision::Apply);
        assert_eq!(decide(PageState::Absent, Lsn::NONE, CHANGE, true), Decision::Apply);
        assert_eq!(
            decide(EXACT, Lsn::NONE, CHANGE, false),
            Decision::Corrupt(Contradiction::UnknownChange)
        );
    }

    #[test]
    fn a_record_cannot_follow_what_comes_after_it() {
        for page in [OLDER, EXACT, NEWER, PageState::Absent] {
            assert_eq!(
                decide(page, NEWER_LSN, CHANGE, false),
                Decision::Corrupt(Contradiction::AheadOfItself)
            );
        }
    }

    const NEWER_LSN: Lsn = Lsn::new(3, 600);
}
