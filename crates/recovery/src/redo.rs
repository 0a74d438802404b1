//! Repeating history, page by page.
//!
//! Owns: [`Redo`], the replay of one share of the pages. Promises: page-local: a change looks at
//! its own page and at nothing else, so that shares may be replayed in any order among each other
//! and at the same time (R14); what cannot be replayed yet is remembered and must be explained by a
//! later record (R4). Must never: read a page to change another.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use campanile_format::planted::{self, Bug};
use campanile_format::record::{Body, FileAction, PageChange, Record};
use campanile_format::{DirNo, FileId, Lsn, PageId, PageNo, page_op};
use campanile_pagestore::{FileFlags, PageStore, RedoPage};
use campanile_sync::Mutex;

use crate::analysis::Analysis;
use crate::decide::{Decision, PageState, decide};
use crate::error::RecoveryError;
use crate::report::RedoCounts;

/// Which of the pages: those whose hash leaves `index` when divided by `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub index: u32,
    pub of: u32,
}

impl Share {
    /// All of `of` shares.
    pub fn all(of: u32) -> impl Iterator<Item = Share> {
        (0..of).map(move |index| Share { index, of })
    }

    /// Whether the page is in it. Neighbours are in the same share, which reads them together.
    fn has(self, page: PageId) -> bool {
        // Fibonacci hashing (Knuth 6.4): the high bits are the good ones.
        let place = u64::from(page.file.0) << 32 | u64::from(page.page.0 / NEIGHBOURS);
        let hash = place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        hash % u64::from(self.of) == u64::from(self.index)
    }
}

/// So many pages go together.
const NEIGHBOURS: u32 = 8;

/// All that a narrowed pass looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub file: FileId,
    /// Only these pages; `None`: all of the file.
    pub pages: Option<&'a BTreeSet<PageNo>>,
}

impl Scope<'_> {
    fn has(self, page: PageId) -> bool {
        page.file == self.file && self.pages.is_none_or(|pages| pages.contains(&page.page))
    }
}

/// What a pass looks after.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    /// A share of all pages.
    Share(Share),
    /// One file, or some pages of it.
    Scope(Scope<'a>),
}

impl Part<'_> {
    fn has(self, page: PageId) -> bool {
        match self {
            Part::Share(share) => share.has(page),
            Part::Scope(scope) => scope.has(page),
        }
    }

    /// Whether it makes this file: every share comes to the record, and the first one does it.
    fn makes(self, file: FileId) -> bool {
        match self {
            Part::Share(_) => true,
            Part::Scope(scope) => scope.file == file,
        }
    }

    /// What is there only once is looked after by the first share.
    fn counts_records(self) -> bool {
        match self {
            Part::Share(share) => share.index == 0,
            Part::Scope(_) => true,
        }
    }
}

/// A page that could not take a change: the first that it could not take, and where in the log the
/// last one is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub first: Lsn,
    pub last: Place,
}

/// A change: its record, and which of the record's changes it is.
pub(crate) type Place = (Lsn, usize);

/// What one share came to.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub counts: RedoCounts,
    pub files: BTreeSet<FileId>,
    pub waiting: BTreeMap<PageId, Waiting>,
}

/// One pass of replay over a part of the pages.
pub(crate) struct Redo<'a> {
    store: &'a PageStore,
    analysis: &'a Analysis,
    part: Part<'a>,
    /// Held while a file is made or removed: every share comes to these records by itself, and
    /// the first one does it.
    files_change: &'a Mutex<()>,
    pages: PageCount,
    replayed: Replayed,
}

impl<'a> Redo<'a> {
    pub fn new(
        store: &'a PageStore,
        analysis: &'a Analysis,
        part: Part<'a>,
        files_change: &'a Mutex<()>,
    ) -> Redo<'a> {
        let (pages, replayed) = (PageCount::default(), Replayed::default());
        Redo { store, analysis, part, files_change, pages, replayed }
    }

    /// Replays one record.
    pub fn replay(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<(), RecoveryError> {
        if self.part.counts_records() {
            self.replayed.counts.count_record(&record.body);
        }
        match &record.body {
            Body::FileCreate { file, durable, directory } => {
                self.create(*file, *durable, *directory)?
            }
            Body::FileRemove { file }
            | Body::Compensate { action: FileAction::RemoveFile(file), .. } => {
                self.remove(*file)?
            }
            _ => {}
        }
        for (index, change) in record.changes().iter().enumerate() {
            if self.part.has(change.page) {
                self.replay_page((lsn, index), change)?;
            }
        }
        Ok(())
    }

    /// All records are replayed.
    pub fn finish(mut self) -> Replayed {
        self.replayed.counts.pages = self.pages.count;
        self.replayed.counts.files = self.replayed.files.len() as u64;
        self.replayed
    }

    fn create(
        &mut self,
        file: FileId,
        durable: bool,
        directory: DirNo,
    ) -> Result<(), RecoveryError> {
        if !self.part.makes(file) {
            return Ok(());
        }
        let _alone = self.files_change.lock();
        if self.analysis.is_removed(file) {
            return Ok(());
        }
        let mut there = self.store.open_file(file)?;
        if there && !durable && self.store.page_count(file)? == 0 {
            // Its name was made, and the page that says what it is was not, when a backup took it.
            self.store.remove_file(file)?;
            there = false;
        }
        if !there {
            // A home that was restored without its other directories has the file in its own.
            let known = self.store.dirs().get(directory).is_some();
            let directory = if known { directory } else { DirNo::HOME };
            self.store.create_file_in(file, FileFlags { durable }, directory)?;
            self.replayed.counts.files_created += 1;
        }
        Ok(())
    }

    fn remove(&mut self, file: FileId) -> Result<(), RecoveryError> {
        let _alone = self.files_change.lock();
        if self.store.open_file(file)? {
            self.store.remove_file(file)?;
            self.replayed.counts.files_removed += 1;
        }
        Ok(())
    }

    fn replay_page(&mut self, place: Place, change: &PageChange<'_>) -> Result<(), RecoveryError> {
        let (id, lsn) = (change.page, place.0);
        // A removed file is gone for good, numbers are not used again: its history is void.
        if self.analysis.is_removed(id.file) {
            self.replayed.counts.void += 1;
            return Ok(());
        }
        if self.replayed.files.insert(id.file) && !self.store.open_file(id.file)? {
            return Err(RecoveryError::MissingFile { file: id.file, lsn });
        }
        self.pages.insert(id);
        let makes_anew = page_op::begins_with_init(&change.ops);
        let (state, mut page) = match self.store.fetch_for_redo(id)? {
            RedoPage::Ready(page) => (PageState::Ready(page.lsn()), page),
            RedoPage::Absent(page) => (PageState::Absent, page),
            RedoPage::Torn(page) => (PageState::Torn, page),
        };
        match decide(state, change.prev_page_lsn, lsn, makes_anew) {
            Decision::Apply => {
                page_op::check_all(&change.ops, id, &page.bytes())
                    .map_err(|why| RecoveryError::Page { page: id, lsn, why: why.to_string() })?;
                page.begin_change(lsn);
                let stamp = if planted::is(Bug::RedoWithoutStamp) { page.lsn() } else { lsn };
                page.apply(&change.ops, stamp);
                self.replayed.waiting.remove(&id);
                self.replayed.counts.applied += 1;
            }
            Decision::Skip => {
                // It was read, perhaps from a cache that a dead process or a failed sync left
                // behind: it is written back again before the log lets go of the record.
                page.redirty(lsn);
                self.replayed.counts.skipped += 1;
            }
            Decision::Defer => {
                let waiting = self.replayed.waiting.entry(id);
                waiting.or_insert(Waiting { first: lsn, last: place }).last = place;
                self.replayed.counts.deferred += 1;
            }
            Decision::Corrupt(contradiction) => {
                let why = format!(
                    "{} (the page is at {}, the change follows {})",
                    contradiction.why(),
                    page.lsn(),
                    change.prev_page_lsn
                );
                return Err(RecoveryError::Page { page: id, lsn, why });
            }
        }
        Ok(())
    }
}

/// Counts pages, each once, in a few bits a page.
#[derive(Default)]
struct PageCount {
    /// (file, page / 4096) -> a bit for each page.
    seen: HashMap<(FileId, u32), Box<[u64; 64]>>,
    count: u64,
}

impl PageCount {
    fn insert(&mut self, id: PageId) {
        let bits =
            self.seen.entry((id.file, id.page.0 / 4096)).or_insert_with(|| Box::new([0; 64]));
        let bit = id.page.0 % 4096;
        if let Some(word) = bits.get_mut(bit as usize / 64)
            && *word >> (bit % 64) & 1 == 0
        {
            *word |= 1 << (bit % 64);
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_format::PageNo;

    #[test]
    fn every_page_is_in_exactly_one_share() {
        for of in [1, 2, 3, 8] {
            let mut sizes = vec![0_u32; of as usize];
            for file in 1..20 {
                for page in 0..1000 {
                    let id = PageId::new(FileId(file), PageNo(page));
                    let of_it: Vec<_> = Share::all(of).filter(|share| share.has(id)).collect();
                    assert_eq!(of_it.len(), 1, "{id}");
                    sizes[of_it[0].index as usize] += 1;
                }
            }
            let fair = 19_000 / of;
            assert!(sizes.iter().all(|size| (fair / 2..fair * 2).contains(size)), "{sizes:?}");
        }
    }
}
