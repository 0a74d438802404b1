//! Latched pages: what callers hold.
//!
//! Owns [`PageRead`], [`PageWrite`] and [`RedoPage`]. Promises that a page is not evicted, nor
//! seen half changed, while a guard on it lives, and that bytes change only through
//! [`PageWrite::apply`], after [`PageWrite::begin_change`]. A guard belongs to its thread.

use std::fmt;

use campanile_format::{Lsn, PageBytes, PageBytesMut, PageId, PageOp, Words, page, page_op};
use campanile_sync::plain::AtomicU64;
use campanile_sync::{RwLockReadGuard, RwLockWriteGuard};

use crate::frame::Frame;
use crate::held::Held;
use crate::{PageStore, PageVersion};

/// A page that may be read: others may read it too.
#[must_use = "the page is latched only while the guard lives"]
pub struct PageRead<'s> {
    store: &'s PageStore,
    index: usize,
    id: PageId,
    _latch: RwLockReadGuard<'s, ()>,
    _held: Held,
}

impl<'s> PageRead<'s> {
    pub(crate) fn new(
        store: &'s PageStore,
        index: usize,
        id: PageId,
        latch: RwLockReadGuard<'s, ()>,
    ) -> PageRead<'s> {
        debug_assert!(store.frames[index].holds(id));
        PageRead { store, index, id, _latch: latch, _held: Held::new(store, id) }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Words<'_> {
        Words(self.store.arena.page(self.index))
    }

    /// The LSN of the last record that changed the page.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        page::lsn(&self.bytes())
    }

    /// Which page this is.
    #[must_use]
    pub fn id(&self) -> PageId {
        self.id
    }

    /// The state of the frame: the same one later means that nothing changed.
    #[must_use]
    pub fn version(&self) -> PageVersion {
        PageVersion::new(self.index, self.store.frames[self.index].latch.version())
    }

    pub(crate) fn place(&self) -> (&'s PageStore, usize) {
        (self.store, self.index)
    }

    /// Copies the whole page.
    ///
    /// # Panics
    /// If `into` is not a page long.
    pub fn copy_page(&self, into: &mut [u8]) {
        assert_eq!(into.len(), self.store.page_bytes());
        self.bytes().copy_out(0, into);
    }
}

/// What is in the frame of a [`PageWrite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// The page.
    Page,
    /// A page whose content the holder gives up; it stays if no change follows.
    Void,
    /// Nothing of a page yet; the frame is given back if no change follows.
    Blank,
}

/// A page that may be changed: nobody else sees it.
#[must_use = "the page is latched only while the guard lives"]
pub struct PageWrite<'s> {
    store: &'s PageStore,
    index: usize,
    id: PageId,
    content: Content,
    /// Whether the version is odd.
    entered: bool,
    /// Set by `begin_change`, taken by `apply`.
    announced: Option<Announced>,
    /// Taken when the guard turns into a [`PageRead`].
    latch: Option<RwLockWriteGuard<'s, ()>>,
    _held: Held,
}

/// What the announcement of a change found.
#[derive(Clone, Copy, Debug)]
enum Announced {
    /// The first change since the page was clean or copied, with the end of the log it came with.
    First(Lsn),
    /// A later one.
    Later,
}

impl<'s> PageWrite<'s> {
    /// A page that is in its frame.
    pub(crate) fn present(
        store: &'s PageStore,
        index: usize,
        id: PageId,
        latch: RwLockWriteGuard<'s, ()>,
    ) -> PageWrite<'s> {
        debug_assert!(store.frames[index].holds(id));
        let (content, latch, announced) = (Content::Page, Some(latch), None);
        let _held = Held::new(store, id);
        PageWrite { store, index, id, content, entered: false, announced, latch, _held }
    }

    /// A page that has its frame, and nothing in it; the version is odd.
    pub(crate) fn blank(
        store: &'s PageStore,
        index: usize,
        id: PageId,
        latch: RwLockWriteGuard<'s, ()>,
    ) -> PageWrite<'s> {
        debug_assert!(store.frames[index].holds(id));
        let (content, latch, announced) = (Content::Blank, Some(latch), None);
        let _held = Held::new(store, id);
        PageWrite { store, index, id, content, entered: true, announced, latch, _held }
    }

    /// The content is given up: an initialising op follows.
    pub(crate) fn into_void(mut self) -> PageWrite<'s> {
        if self.content == Content::Page {
            self.content = Content::Void;
        }
        self
    }

    /// Fills a blank frame with what was read.
    pub(crate) fn fill(mut self, bytes: &[u8]) -> PageWrite<'s> {
        assert_eq!(self.content, Content::Blank);
        self.words().put_bytes(0, bytes);
        self.content = Content::Page;
        self
    }

    /// Fills a blank frame with zeros, which are still no page.
    pub(crate) fn zero(self) -> PageWrite<'s> {
        assert_eq!(self.content, Content::Blank);
        self.words().fill(0, self.store.page_bytes(), 0);
        self
    }

    /// The bytes. Of no meaning on a page that was asked for as fresh.
    #[must_use]
    pub fn bytes(&self) -> Words<'_> {
        self.words()
    }

    /// The LSN of the last record that changed the page; [`Lsn::NONE`] on a page asked for as
    /// fresh, or found absent or torn, until it is initialised.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        match self.content {
            Content::Page => page::lsn(&self.words()),
            Content::Void | Content::Blank => Lsn::NONE,
        }
    }

    /// Which page this is.
    #[must_use]
    pub fn id(&self) -> PageId {
        self.id
    }

    /// The state of the frame: another one once the page has been changed under this guard.
    #[must_use]
    pub fn version(&self) -> PageVersion {
        PageVersion::new(self.index, self.frame().latch.version())
    }

    /// Sends away whoever reads the page without a latch, as a change would: for a page that
    /// leaves the structure it was part of, and does not change itself.
    pub fn expel(&mut self) {
        self.enter();
    }

    /// Copies the whole page.
    ///
    /// # Panics
    /// If `into` is not a page long.
    pub fn copy_page(&self, into: &mut [u8]) {
        assert_eq!(into.len(), self.store.page_bytes());
        self.words().copy_out(0, into);
    }

    /// Announces a change, with the end of the log as it is now: before the change's record is
    /// appended, under this latch. From here on, redo starts at or below that record (P2).
    ///
    /// # Panics
    /// If `end` is [`Lsn::NONE`]: no log ends there.
    pub fn begin_change(&mut self, end: Lsn) {
        assert!(!end.is_none(), "a log never ends at no position");
        let first = self.store.dirt(self.frame(), |dirt| dirt.changed(end));
        if first {
            self.announced = Some(Announced::First(end));
        } else {
            self.announced.get_or_insert(Announced::Later);
        }
    }

    /// Makes the page dirty since the record at `lsn`, which it has already: what is at home may be
    /// in the cache of the operating system only, from before a crash. So redo does with every
    /// record that it skips.
    ///
    /// # Panics
    /// If the page has no content, or does not have the record.
    pub fn redirty(&mut self, lsn: Lsn) {
        assert!(!lsn.is_none() && lsn <= self.lsn(), "{} does not have record {lsn}", self.id);
        let _first = self.store.dirt(self.frame(), |dirt| dirt.changed(lsn));
    }

    /// Applies the operations of the record at `lsn` and stamps the page with it. They have been
    /// checked: see [`PageOp::check`].
    ///
    /// Only `txn`'s one door and recovery call this.
    ///
    /// # Panics
    /// If the change was not announced, or the page has no content and the first operation does
    /// not give it any.
    pub fn apply(&mut self, ops: &[PageOp<'_>], lsn: Lsn) {
        let announced = self.announced.take().expect("begin_change comes before apply");
        let init = page_op::begins_with_init(ops);
        assert!(init || self.content == Content::Page, "{} has no content to change", self.id);
        if let Announced::First(end) = announced {
            self.store.dirt(self.frame(), |dirt| dirt.opened_by(end, init));
        }
        self.enter();
        let mut words = self.words();
        page_op::apply_all(ops, self.id, &mut words, lsn);
        self.content = Content::Page;
        debug_assert_eq!(page::id(&words), self.id);
    }

    /// Lets others read the page, without a moment in which another could change it.
    ///
    /// # Panics
    /// If the page was asked for as fresh, or found absent or torn, and not initialised.
    pub fn downgrade(mut self) -> PageRead<'s> {
        assert_eq!(self.content, Content::Page, "{} has no content to read", self.id);
        self.leave();
        let latch = self.latch.take().expect("held until the guard is gone");
        PageRead::new(self.store, self.index, self.id, RwLockWriteGuard::downgrade(latch))
    }

    fn frame(&self) -> &'s Frame {
        &self.store.frames[self.index]
    }

    fn words(&self) -> Words<'s> {
        let words: &'s [AtomicU64] = self.store.arena.page(self.index);
        Words(words)
    }

    /// From here on until the guard is gone, nobody reads the page without a latch (P12).
    fn enter(&mut self) {
        if !self.entered {
            self.frame().latch.open_version();
            self.entered = true;
        }
    }

    /// Ends what this guard does to the frame.
    fn leave(&mut self) {
        if let Some(Announced::First(end)) = self.announced.take()
            && self.store.is_durable(self.id.file)
        {
            // Announced and not made: the page is no dirtier than it was. A page that is dirty
            // without a change would get a copy that is older than redo's start.
            self.store.dirt(self.frame(), |dirt| dirt.withdrawn(end));
        }
        if self.entered {
            self.frame().latch.close_version();
            self.entered = false;
        }
    }
}

impl Drop for PageWrite<'_> {
    fn drop(&mut self) {
        let Some(latch) = self.latch.take() else { return };
        if self.content == Content::Blank {
            // Entered since it was made; `vacate` leaves.
            self.store.vacate(self.index, self.id, latch);
        } else {
            self.leave();
        }
    }
}

/// What redo finds when it asks for a page.
#[must_use = "the page is latched only while the guard lives"]
#[derive(Debug)]
pub enum RedoPage<'s> {
    /// A sound page: its LSN says which records it has.
    Ready(PageWrite<'s>),
    /// Never written, or beyond the end of the file.
    Absent(PageWrite<'s>),
    /// Damaged: to be rebuilt by the first initialising operation among the records in the log,
    /// or a loss. Records before that operation are skipped.
    Torn(PageWrite<'s>),
}

impl fmt::Debug for PageRead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageRead").field("id", &self.id).field("lsn", &self.lsn()).finish()
    }
}

impl fmt::Debug for PageWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageWrite")
            .field("id", &self.id)
            .field("lsn", &self.lsn())
            .field("content", &self.content)
            .finish()
    }
}
