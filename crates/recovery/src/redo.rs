//! Repeating history, page by page.
//!
//! Owns: [`Redo`]. Promises: page-local: a change looks at its own page and at nothing else, so
//! that pages may be replayed in any order among each other (and, later, at the same time); what
//! cannot be replayed yet is remembered and must be explained by a later record (R4). Must never:
//! read a page to change another.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use campanile_format::planted::{self, Bug};
use campanile_format::record::{Body, FileAction, PageChange, Record};
use campanile_format::{DirNo, FileId, Lsn, PageId, PageNo, PageOp, map, page_op};
use campanile_pagestore::{FileFlags, PageStore, RedoPage};

use crate::analysis::Analysis;
use crate::decide::{Decision, PageState, decide};
use crate::error::RecoveryError;
use crate::report::RedoCounts;

/// All that a narrowed pass looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub file: FileId,
    /// Only these pages; `None`: all of the file.
    pub pages: Option<&'a BTreeSet<PageNo>>,
}

impl Scope<'_> {
    fn holds(self, page: PageId) -> bool {
        page.file == self.file && self.pages.is_none_or(|pages| pages.contains(&page.page))
    }
}

/// One pass of replay.
pub(crate) struct Redo<'a> {
    store: &'a PageStore,
    analysis: &'a Analysis,
    scope: Option<Scope<'a>>,
    /// Pages that could not take a change, and the first change they could not take.
    unresolved: BTreeMap<PageId, Lsn>,
    pages: PageCount,
    files: BTreeSet<FileId>,
    counts: RedoCounts,
}

impl<'a> Redo<'a> {
    pub fn new(store: &'a PageStore, analysis: &'a Analysis) -> Redo<'a> {
        Redo {
            store,
            analysis,
            scope: None,
            unresolved: BTreeMap::new(),
            pages: PageCount::default(),
            files: BTreeSet::new(),
            counts: RedoCounts::default(),
        }
    }

    /// Looks at one file, or some pages of it, and at nothing else.
    pub fn within(self, scope: Scope<'a>) -> Redo<'a> {
        Redo { scope: Some(scope), ..self }
    }

    /// Replays one record.
    pub fn replay(&mut self, lsn: Lsn, record: &Record<'_>) -> Result<(), RecoveryError> {
        self.counts.count_record(&record.body);
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
        for change in record.changes() {
            self.replay_page(lsn, change)?;
        }
        Ok(())
    }

    /// All records are replayed: nothing may be left unexplained.
    pub fn finish(mut self) -> Result<RedoCounts, RecoveryError> {
        if let Some((page, lsn)) = self.unresolved.first_key_value() {
            let count = self.unresolved.len();
            return Err(RecoveryError::Unresolved { count, page: *page, lsn: *lsn });
        }
        self.counts.pages = self.pages.count;
        self.counts.files = self.files.len() as u64;
        Ok(self.counts)
    }

    fn create(
        &mut self,
        file: FileId,
        durable: bool,
        directory: DirNo,
    ) -> Result<(), RecoveryError> {
        let ours = self.scope.is_none_or(|scope| scope.file == file);
        if ours && !self.analysis.is_removed(file) && !self.store.open_file(file)? {
            // A home that was restored without its other directories has the file in its own.
            let known = self.store.dirs().get(directory).is_some();
            let directory = if known { directory } else { DirNo::HOME };
            self.store.create_file_in(file, FileFlags { durable }, directory)?;
            self.counts.files_created += 1;
        }
        Ok(())
    }

    fn remove(&mut self, file: FileId) -> Result<(), RecoveryError> {
        if self.store.open_file(file)? {
            self.store.remove_file(file)?;
            self.counts.files_removed += 1;
        }
        Ok(())
    }

    fn replay_page(&mut self, lsn: Lsn, change: &PageChange<'_>) -> Result<(), RecoveryError> {
        let id = change.page;
        if let Some(scope) = self.scope
            && !scope.holds(id)
        {
            self.forget_freed(change);
            return Ok(());
        }
        // A removed file is gone for good, numbers are not used again: its history is void.
        if self.analysis.is_removed(id.file) {
            self.counts.void += 1;
            return Ok(());
        }
        if self.files.insert(id.file) && !self.store.open_file(id.file)? {
            return Err(RecoveryError::MissingFile { file: id.file, lsn });
        }
        self.pages.insert(id);
        self.forget_freed(change);
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
                self.unresolved.remove(&id);
                self.counts.applied += 1;
            }
            Decision::Skip => {
                // It was read, perhaps from a cache that a dead process or a failed sync left
                // behind: it is written back again before the log lets go of the record.
                page.redirty(lsn);
                self.counts.skipped += 1;
            }
            Decision::Defer => {
                self.unresolved.entry(id).or_insert(lsn);
                self.counts.deferred += 1;
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

    /// A page that is freed needs no content any more.
    fn forget_freed(&mut self, change: &PageChange<'_>) {
        if self.unresolved.is_empty() {
            return;
        }
        let page_bytes = self.store.page_bytes();
        let (group, _) = map::place_of(page_bytes, change.page.page);
        for op in &change.ops {
            if let PageOp::MapSet { first, count, allocated: false } = *op {
                let freed = first..first.saturating_add(count);
                self.unresolved.retain(|id, _| {
                    let (of, bit) = map::place_of(page_bytes, id.page);
                    id.file != change.page.file || of != group || !freed.contains(&bit)
                });
            }
        }
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
