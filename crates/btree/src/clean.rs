//! Giving room back: when, and where.
//!
//! Owns: the [`Backlog`] of pages that want a look and the cleaner's steps. Promises: bounded
//! memory (beyond it a file is swept leaf by leaf), bounded work a step, one cleaner at a time, and
//! nothing is purged that a transaction or a snapshot may still need (B7). Must never: be needed
//! for correctness: a tree that is never cleaned is only larger.

use std::collections::{BTreeMap, HashSet, VecDeque};

use campanile_format::{FileId, Lsn, PageId, PageNo};
use campanile_pagestore::StoreError;
use campanile_sync::Mutex;
use campanile_sync::atomic::{AtomicBool, Ordering};
use campanile_txn::Transactions;

use crate::descend::{Target, node_of};
use crate::error::TreeError;
use crate::forest::Forest;
use crate::graveyard::Round;
use crate::merge::Merged;
use crate::tree::Tree;

/// Pages the backlog remembers one by one.
const MAX_QUEUED: usize = 4096;
/// Pages looked at in one step.
const STEP_LOOKS: usize = 256;
/// Pages from which something is given back in one step.
const STEP_CHANGES: usize = 32;

/// Where the sweep of a file stands.
#[derive(Debug, Default)]
struct Sweep {
    /// Leaves below this key are done.
    next: Vec<u8>,
    /// More work turned up behind the sweep: once more from the beginning.
    again: bool,
}

#[derive(Debug, Default)]
struct Work {
    queue: VecDeque<PageId>,
    queued: HashSet<PageId>,
    sweeps: BTreeMap<FileId, Sweep>,
}

/// Pages that may have something to give back.
#[derive(Debug)]
pub(crate) struct Backlog {
    work: Mutex<Work>,
    /// The settled LSN of the last looks at the queue, and how many of them, without a break, came
    /// too early. After a whole round of these there is nothing to see until that LSN moves.
    early: Mutex<(Lsn, usize)>,
    /// The graveyard may hold rows.
    pub graves: AtomicBool,
    /// How far the graveyard is looked through.
    pub grave_round: Mutex<Round>,
    /// Held by the one who cleans.
    pub cleaning: Mutex<()>,
}

impl Backlog {
    pub fn new() -> Backlog {
        // After a restart nobody knows what the graveyard holds.
        Backlog {
            work: Mutex::default(),
            early: Mutex::default(),
            graves: AtomicBool::new(true),
            grave_round: Mutex::default(),
            cleaning: Mutex::default(),
        }
    }

    /// `page` has a ghost, or is too empty.
    pub fn note(&self, page: PageId) {
        let mut work = self.work.lock();
        if work.queued.contains(&page) {
            return;
        }
        if work.queue.len() < MAX_QUEUED {
            work.queued.insert(page);
            work.queue.push_back(page);
        } else {
            work.sweeps.entry(page.file).and_modify(|sweep| sweep.again = true).or_default();
        }
    }

    /// Sweeps all of `file`, leaf by leaf.
    fn note_file(&self, file: FileId) {
        let mut work = self.work.lock();
        work.sweeps.entry(file).and_modify(|sweep| sweep.again = true).or_default();
    }

    fn take(&self) -> Option<PageId> {
        let mut work = self.work.lock();
        let page = work.queue.pop_front()?;
        work.queued.remove(&page);
        Some(page)
    }

    fn len(&self) -> usize {
        self.work.lock().queue.len()
    }

    fn is_full(&self) -> bool {
        self.len() >= MAX_QUEUED
    }

    /// The files to sweep.
    fn sweeps(&self) -> Vec<FileId> {
        self.work.lock().sweeps.keys().copied().collect()
    }

    /// From which key on the sweep of `file` goes on.
    fn sweep_from(&self, file: FileId) -> Option<Vec<u8>> {
        self.work.lock().sweeps.get(&file).map(|sweep| sweep.next.clone())
    }

    /// The sweep of `file` has come to `next`, or to the end.
    fn swept(&self, file: FileId, next: Option<Vec<u8>>) {
        let mut work = self.work.lock();
        let Some(sweep) = work.sweeps.get_mut(&file) else { return };
        match next {
            Some(next) => sweep.next = next,
            None if sweep.again => *sweep = Sweep::default(),
            None => {
                work.sweeps.remove(&file);
            }
        }
    }
}

/// What a look at a page led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Something was given back.
    Changed,
    /// Nothing to do here.
    Clean,
    /// There is something, but somebody may still need it.
    TooEarly,
}

impl Forest {
    /// One bounded piece of cleaning: ghosts, pages that are too empty, the graveyard. True if it
    /// got on, so that there may be more to do at once; false if nothing is left, or only what
    /// somebody may still need. Call it from any thread, with nothing latched; a second caller at
    /// the same time does nothing.
    ///
    /// # Errors
    /// Damage, I/O.
    pub fn clean(&self, txns: &Transactions) -> Result<bool, TreeError> {
        let Some(_one_at_a_time) = self.backlog.cleaning.try_lock() else { return Ok(false) };
        let mut got_on = self.clean_queued(txns)?;
        for file in self.backlog.sweeps() {
            got_on |= self.clean_swept(txns, file)?;
        }
        if self.backlog.graves.load(Ordering::Acquire) {
            got_on |= self.purge_some_graves(txns)?;
        }
        Ok(got_on)
    }

    /// Asks for a look at every leaf of `file`, for instance to compact it.
    pub fn sweep(&self, file: FileId) {
        self.backlog.note_file(file);
    }

    fn clean_queued(&self, txns: &Transactions) -> Result<bool, TreeError> {
        let (mut got_on, mut changes) = (false, 0);
        let settled = txns.settled_lsn();
        let mut early = self.backlog.early.lock();
        if early.0 != settled {
            *early = (settled, 0);
        }
        let length = self.backlog.len();
        for _ in 0..length.saturating_sub(early.1).min(STEP_LOOKS) {
            let Some(page) = self.backlog.take() else { break };
            match self.tree(txns, page.file).clean_page(page)? {
                Look::TooEarly => {
                    early.1 += 1;
                    self.backlog.note(page);
                }
                look => {
                    got_on = true;
                    early.1 = 0;
                    changes += usize::from(look == Look::Changed);
                }
            }
            if changes == STEP_CHANGES {
                break;
            }
        }
        Ok(got_on)
    }

    fn clean_swept(&self, txns: &Transactions, file: FileId) -> Result<bool, TreeError> {
        let tree = self.tree(txns, file);
        if !tree.file_exists()? {
            self.backlog.work.lock().sweeps.remove(&file);
            return Ok(true);
        }
        // Should this fail the file is not swept again, or it would fail for ever.
        let swept = self.sweep_on(&tree, file);
        if swept.is_err() {
            self.backlog.work.lock().sweeps.remove(&file);
        }
        swept
    }

    fn sweep_on(&self, tree: &Tree<'_>, file: FileId) -> Result<bool, TreeError> {
        let mut got_on = false;
        for _ in 0..STEP_CHANGES {
            let Some(from) = self.backlog.sweep_from(file) else { break };
            let (page, next) = {
                let leaf = tree.read_leaf(Target::At(&from))?;
                (leaf.id(), node_of(&leaf).fences().1)
            };
            if tree.clean_page(page)? == Look::TooEarly {
                // With room in the queue it waits there, else the sweep waits here.
                if self.backlog.is_full() {
                    break;
                }
                self.backlog.note(page);
            }
            self.backlog.swept(file, next);
            got_on = true;
        }
        Ok(got_on)
    }
}

/// What there is to know of a page before deciding.
struct Glance {
    level: u8,
    lower: Vec<u8>,
    settled: bool,
    ghosts: bool,
    sparse: bool,
}

impl Tree<'_> {
    /// Purges and merges one page, if it still is what the backlog thought.
    fn clean_page(&self, id: PageId) -> Result<Look, TreeError> {
        if !self.file_exists()? {
            return Ok(Look::Clean);
        }
        let Some(glance) = self.glance(id)? else { return Ok(Look::Clean) };
        if !glance.ghosts && !glance.sparse {
            return Ok(Look::Clean);
        }
        if !glance.settled {
            return Ok(Look::TooEarly);
        }
        let mut look = Look::Clean;
        let mut sparse = glance.sparse;
        if glance.ghosts {
            let mut leaf = self.store().write(id)?;
            if node_of(&leaf).is_node() && node_of(&leaf).is_leaf() {
                if self.purge_ghosts(&mut leaf)? {
                    look = Look::Changed;
                }
                sparse = self.is_sparse(node_of(&leaf).used_bytes());
            }
        }
        if sparse && self.shrink(id.page, glance)? {
            look = Look::Changed;
        }
        Ok(look)
    }

    fn glance(&self, id: PageId) -> Result<Option<Glance>, TreeError> {
        let page = match self.store().read(id) {
            Ok(page) => page,
            // Freed and never used again, or the end of a file that was made anew.
            Err(StoreError::NeverWritten { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let node = node_of(&page);
        if !node.is_node() {
            return Ok(None);
        }
        let mut lower = Vec::new();
        node.lower(&mut lower);
        Ok(Some(Glance {
            level: node.level(),
            lower,
            settled: self.is_settled(page.lsn()),
            ghosts: node.is_leaf() && (0..node.count()).any(|slot| node.is_ghost(slot)),
            sparse: self.is_sparse(node.used_bytes()),
        }))
    }

    /// Merges a page that is too empty; true if that or a lower root came of it.
    fn shrink(&self, page: PageNo, glance: Glance) -> Result<bool, TreeError> {
        if page == self.root().page {
            let collapsed = self.collapse_root()?;
            if collapsed {
                // It has its child's ghosts now, and may have a single child again.
                self.forest.backlog.note(self.root());
            }
            return Ok(collapsed);
        }
        match self.merge(&glance.lower, page, glance.level)? {
            Merged::No => Ok(false),
            Merged::Yes { survivor, parent } => {
                // The survivor may be in for more, and so may the parent.
                self.forest.backlog.note(self.page_id(survivor));
                self.forest.backlog.note(self.page_id(parent));
                Ok(true)
            }
        }
    }
}
