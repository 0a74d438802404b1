//! Nested transactions: begun in a parent, and merged into it.
//!
//! Owns: [`Transactions::begin_child`], [`Transactions::commit_child`] and what a child leaves its
//! parent. Promises: a child is a transaction with a number, a chain of records and locks of its
//! own; when it commits all of that becomes its parent's in one step (N2), and until the outermost
//! commits nobody else sees any of it. Must never: touch the parent's own state (it may be waiting
//! for a lock of this very child): what is left is picked up by the parent when it goes on.

use std::sync::Arc;

use campanile_format::Lsn;
use campanile_format::record::{Body, Record};
use campanile_sync::Mutex;
use campanile_sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::alone::Relying;
use crate::apply::note;
use crate::error::TxnError;
use crate::table::{Entry, Phase};
use crate::transaction::{Txn, TxnOptions};
use crate::transactions::Transactions;
use crate::versions::VersionList;
use crate::volatile::VolatileUndo;

/// What a transaction knows of those nested in it.
#[derive(Debug, Default)]
pub(crate) struct Children {
    /// How many have not ended.
    live: AtomicUsize,
    /// How many there have been.
    begun: AtomicU64,
    /// Statements of its own that rely on there being none.
    pub relying: Relying,
    /// Something was left.
    anything: AtomicBool,
    left: Mutex<Left>,
}

/// What committed children left, in the order in which they committed.
#[derive(Debug, Default)]
struct Left {
    versions: VersionList,
    volatile: VolatileUndo,
}

impl Children {
    fn leave(&self, versions: VersionList, volatile: VolatileUndo) {
        let mut left = self.left.lock();
        left.versions.take_over(versions);
        left.volatile.take_over(volatile);
        self.anything.store(true, Ordering::Release);
    }

    fn collect(&self) -> Option<Left> {
        if !self.anything.load(Ordering::Acquire) {
            return None;
        }
        let mut left = self.left.lock();
        self.anything.store(false, Ordering::Release);
        Some(std::mem::take(&mut *left))
    }
}

/// A child's place among the children of its parent; given up when dropped.
#[derive(Debug)]
pub(crate) struct Nesting(Option<Arc<Entry>>);

impl Nesting {
    pub fn begin(entry: &Entry) -> Option<Nesting> {
        let parent = entry.parent()?;
        parent.children.live.fetch_add(1, Ordering::AcqRel);
        parent.children.begun.fetch_add(1, Ordering::AcqRel);
        Some(Nesting(Some(Arc::clone(parent))))
    }

    /// The child will never end, so its parent cannot either (N1).
    pub fn hold_on(&mut self) {
        self.0 = None;
    }
}

impl Drop for Nesting {
    fn drop(&mut self) {
        if let Some(parent) = &self.0 {
            parent.children.live.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A moment in a transaction, before a look; see [`Txn::children_mark`].
#[derive(Clone, Copy, Debug)]
pub struct ChildrenMark(Option<u64>);

/// A transaction, for whoever begins others in it while it is in use.
#[derive(Clone, Debug)]
pub struct Parent {
    entry: Arc<Entry>,
    options: TxnOptions,
    deadline_us: Option<u64>,
}

impl Txn {
    /// Itself as a parent: its children have its options and its time.
    #[must_use]
    pub fn as_parent(&self) -> Parent {
        let (options, deadline_us) = (self.options.clone(), self.deadline_us);
        Parent { entry: Arc::clone(&self.entry), options, deadline_us }
    }

    /// How many transactions nested in it have not ended. While there are any it may read, but not
    /// write, take or return to savepoints, or end: its children's changes stand above its own.
    #[must_use]
    pub fn live_children(&self) -> usize {
        self.entry.children.live.load(Ordering::Acquire)
    }

    /// For [`Txn::had_children_since`].
    #[must_use]
    pub fn children_mark(&self) -> ChildrenMark {
        let begun = self.entry.children.begun.load(Ordering::Acquire);
        ChildrenMark((self.live_children() == 0).then_some(begun))
    }

    /// Whether it had children at any moment since `mark` was taken: they may change what it has
    /// locked, and roll that back.
    #[must_use]
    pub fn had_children_since(&self, mark: ChildrenMark) -> bool {
        mark.0 != Some(self.entry.children.begun.load(Ordering::Acquire))
    }

    /// Whether it is nested in another one.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        self.entry.parent().is_some()
    }

    pub(crate) fn assert_childless(&self) {
        let live = self.live_children();
        assert!(live == 0, "{} has {live} nested transactions that have not ended", self.id());
    }

    /// Picks up what committed children left.
    pub(crate) fn take_over(&mut self) {
        if let Some(Left { versions, volatile }) = self.entry.children.collect() {
            self.versions.take_over(versions);
            self.volatile.take_over(volatile);
        }
    }

    /// What a savepoint taken now remembers of changes that are not in the log.
    pub(crate) fn volatile_mark(&self) -> u64 {
        let left = self.entry.children.left.lock();
        self.volatile.mark() + left.volatile.len() as u64
    }
}

impl Transactions {
    /// Begins a transaction nested in `parent`. It sees and may change what the parent changed;
    /// locks of its ancestors do not hinder it, those of its siblings do. Several may live at a
    /// time, on several threads, and have children themselves.
    ///
    /// End it by [`commit_child`](Self::commit_child) or [`abort`](Self::abort) before its parent
    /// goes on.
    pub fn begin_child(&self, parent: &Txn) -> Result<Txn, TxnError> {
        self.begin_child_of(&parent.as_parent())
    }

    /// [`begin_child`](Self::begin_child) while the parent may be waiting for a lock. Waits for a
    /// statement of the parent that looks at a file which it has locked as a whole ([`Alone`]).
    ///
    /// [`Alone`]: crate::Alone
    pub fn begin_child_of(&self, parent: &Parent) -> Result<Txn, TxnError> {
        self.poison().check()?;
        let Parent { entry: parent, options, deadline_us } = parent;
        assert!(parent.progress().phase == Phase::Active, "{} has ended", parent.id());
        self.cells().begun.one_more();
        let entry = Entry::nested(self.take_txn_id(), parent);
        let mut child = Txn::new(entry, options.clone());
        child.deadline_us = *deadline_us;
        parent.children.relying.await_none();
        self.register(&mut child);
        Ok(child)
    }

    /// Commits a child into its parent, which has its changes and its locks from now on. Nothing
    /// becomes durable or visible by that. Returns the LSN of the record in the parent's chain,
    /// NONE if there was nothing to log.
    ///
    /// A child that can only roll back does so, and the error says why.
    pub fn commit_child(&self, mut child: Txn) -> Result<Lsn, TxnError> {
        self.poison().check()?;
        if let Some(why) = child.failure() {
            let error = TxnError::MustRollBack { txn: child.id(), why: why.to_owned() };
            self.abort(child)?;
            return Err(error);
        }
        child.assert_childless();
        child.take_over();
        let Some(parent) = child.entry.parent().map(Arc::clone) else {
            panic!("{} is not nested: commit", child.id());
        };
        let merged = if child.has_changes() { self.merge(&mut child, &parent)? } else { Lsn::NONE };
        self.cells().merged.one_more();
        if let Some(holder) = child.holder.take() {
            holder.hand_to(&parent);
        }
        Ok(merged)
    }

    fn merge(&self, child: &mut Txn, parent: &Arc<Entry>) -> Result<Lsn, TxnError> {
        let mut merged = Lsn::NONE;
        self.table().merge(&child.entry, parent, |theirs, ours| {
            assert!(ours.phase == Phase::Active, "{} ended before its children", parent.id());
            let body = Body::ChildCommit { child: child.entry.id(), child_last: theirs.last };
            let record = Record { txn: parent.id(), prev: ours.last, body };
            merged = self.wal().append(&record)?;
            note(ours, &record.body, merged);
            Ok(())
        })?;
        // Before the locks go: whoever gets one of them next must find the parent's versions.
        child.entry.writer().merge_into(parent.writer());
        let versions = std::mem::take(&mut child.versions);
        let volatile = std::mem::take(&mut child.volatile);
        parent.children.leave(versions, volatile);
        Ok(merged)
    }
}
