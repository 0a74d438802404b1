//! Since when a frame differs from the disk: the state machine behind `rec_lsn`.
//!
//! Owns the transitions. Promises that `rec_lsn` is never later than the first change that is not
//! durable in the data file (P2, P3), whatever the order of changes, copies and syncs. Pure: no
//! latch, no I/O.
//!
//! ```text
//!                changed                copied
//!       Clean ------------> Dirty --------------> Copied
//!         ^                  ^ ^                  |   |
//!         |                  | |    abandoned     |   | changed
//!         |                  | +------------------+   v
//!         |                  +------------------- Redirtied
//!         |                     synced, abandoned     |
//!         +------------------------ synced -----------+ (from Copied)
//! ```

use campanile_format::Lsn;

/// The first change since some point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    /// The end of the log before the change was logged: at or below its record.
    pub lsn: Lsn,
    /// Whether the change set the whole page, so that redo needs nothing of the old one.
    pub init: bool,
}

/// How a frame differs from the page on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dirt {
    /// Not at all: what is on disk is durable and the same.
    Clean,
    /// Changed, and no write of it is under way.
    Dirty(Since),
    /// Changed, copied into a batch that is not yet durable, and unchanged since the copy.
    Copied(Since),
    /// Changed again after the copy.
    Redirtied {
        /// The first change in the copy.
        copied: Since,
        /// The first change that the copy lacks.
        since: Since,
    },
}

impl Dirt {
    /// Redo for this page must start here or before. `Lsn::NONE` if the page is clean.
    pub fn rec_lsn(self) -> Lsn {
        match self {
            Dirt::Clean => Lsn::NONE,
            Dirt::Dirty(since) | Dirt::Copied(since) => since.lsn,
            // The copy is not durable yet, so its first change still counts (P3).
            Dirt::Redirtied { copied, .. } => copied.lsn,
        }
    }

    /// A change is about to be logged at or after `end`. True if it is the first since the page
    /// was clean or copied; its kind is then told by [`Dirt::opened_by`].
    pub fn changed(&mut self, end: Lsn) -> bool {
        let since = Since { lsn: end, init: false };
        match *self {
            Dirt::Clean => *self = Dirt::Dirty(since),
            Dirt::Copied(copied) => *self = Dirt::Redirtied { copied, since },
            Dirt::Dirty(_) | Dirt::Redirtied { .. } => return false,
        }
        true
    }

    /// Tells whether the change for which [`Dirt::changed`] answered true set the whole page.
    ///
    /// Meanwhile the batch may have been abandoned, so that an older change counts as the first.
    pub fn opened_by(&mut self, end: Lsn, init: bool) {
        match self {
            Dirt::Dirty(since) | Dirt::Redirtied { since, .. } if since.lsn == end => {
                since.init = init;
            }
            Dirt::Dirty(_) | Dirt::Redirtied { .. } => {}
            Dirt::Clean | Dirt::Copied(_) => unreachable!("a change was announced"),
        }
    }

    /// The change for which [`Dirt::changed`] answered true, given `end`, was not made after all.
    /// Only for pages in the log: where each change moves the log's end, `end` names the change.
    pub fn withdrawn(&mut self, end: Lsn) {
        match *self {
            Dirt::Dirty(since) if since.lsn == end => *self = Dirt::Clean,
            Dirt::Redirtied { copied, since } if since.lsn == end => *self = Dirt::Copied(copied),
            // The batch was abandoned meanwhile: an older change counts.
            Dirt::Dirty(_) | Dirt::Redirtied { .. } => {}
            Dirt::Clean | Dirt::Copied(_) => unreachable!("a change was announced"),
        }
    }

    /// The page has been copied into a batch. `None` if there is nothing to write.
    pub fn copied(&mut self) -> Option<Since> {
        match *self {
            Dirt::Clean => None,
            Dirt::Dirty(since) => {
                *self = Dirt::Copied(since);
                Some(since)
            }
            Dirt::Copied(_) | Dirt::Redirtied { .. } => unreachable!("one batch at a time"),
        }
    }

    /// The batch is durable in the data file.
    pub fn synced(&mut self) {
        *self = match *self {
            Dirt::Copied(_) => Dirt::Clean,
            Dirt::Redirtied { since, .. } => Dirt::Dirty(since),
            Dirt::Clean | Dirt::Dirty(_) => unreachable!("the page was in the batch"),
        }
    }

    /// The batch was given up before anything of it was written.
    pub fn abandoned(&mut self) {
        *self = match *self {
            Dirt::Copied(since) => Dirt::Dirty(since),
            Dirt::Redirtied { copied, .. } => Dirt::Dirty(copied),
            Dirt::Clean | Dirt::Dirty(_) => unreachable!("the page was in the batch"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u32) -> Lsn {
        Lsn::new(1, offset)
    }

    #[test]
    fn p3_rec_lsn_stays_until_the_sync_and_then_names_the_first_change_after_the_copy() {
        let mut dirt = Dirt::Clean;
        assert_eq!(dirt.rec_lsn(), Lsn::NONE);
        assert!(dirt.changed(at(100)));
        assert!(!dirt.changed(at(200)));
        assert_eq!(dirt.copied().unwrap().lsn, at(100));
        assert_eq!(dirt.rec_lsn(), at(100));
        assert!(dirt.changed(at(300)));
        assert!(!dirt.changed(at(400)));
        assert_eq!(dirt.rec_lsn(), at(100));
        dirt.synced();
        assert_eq!(dirt.rec_lsn(), at(300));
        assert_eq!(dirt.copied().unwrap().lsn, at(300));
        dirt.synced();
        assert_eq!(dirt, Dirt::Clean);
        assert_eq!(dirt.copied(), None);
    }

    #[test]
    fn an_abandoned_batch_leaves_the_older_rec_lsn() {
        let mut dirt = Dirt::Clean;
        dirt.changed(at(100));
        dirt.copied();
        dirt.abandoned();
        assert_eq!(dirt.rec_lsn(), at(100));
        dirt.copied();
        dirt.changed(at(300));
        dirt.abandoned();
        assert_eq!(dirt, Dirt::Dirty(Since { lsn: at(100), init: false }));
    }

    #[test]
    fn a_change_that_was_not_made_leaves_no_trace() {
        let mut dirt = Dirt::Clean;
        dirt.changed(at(100));
        dirt.withdrawn(at(100));
        assert_eq!(dirt, Dirt::Clean);
        dirt.changed(at(100));
        let copied = dirt.copied().unwrap();
        dirt.changed(at(200));
        dirt.withdrawn(at(200));
        assert_eq!(dirt, Dirt::Copied(copied));
        dirt.changed(at(200));
        dirt.abandoned();
        dirt.withdrawn(at(200));
        assert_eq!(dirt, Dirt::Dirty(copied));
    }

    #[test]
    fn only_the_first_change_decides_whether_the_page_needs_a_double_write() {
        let mut dirt = Dirt::Clean;
        assert!(dirt.changed(at(100)));
        dirt.opened_by(at(100), true);
        assert!(dirt.copied().unwrap().init);
        assert!(dirt.changed(at(200)));
        dirt.opened_by(at(200), false);
        dirt.synced();
        assert!(!dirt.copied().unwrap().init);
    }
}
