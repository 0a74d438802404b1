//! The gap that a new key goes into.
//!
//! Owns: asking for the gap below the key above the new one, be that on another leaf. Promises: no
//! key enters a gap that somebody has scanned. Must never: wait while a page is latched, or latch
//! two leaves.
//!
//! Why nothing slips through. A scan copies leaves, locks the gap, and then looks whether the
//! leaves still have the versions of the copies; only then it believes what it has copied.
//!
//! * The key above is on the leaf. The insert, with the leaf latched, (1) opens a new version of
//!   it, (2) asks for the gap, without waiting, (3) inserts. A scan that locks the gap before (2)
//!   stops the insert there; one that locks it after (2) looks at the version after (1) and copies
//!   again, which waits for the latch.
//! * The key above is on a later leaf. The insert, with nothing latched, finds that key, closes the
//!   gap (locks it exclusively), finds the key once more: from then on it is the key above, because
//!   nobody can insert below it and, locked, it cannot be purged. The insert follows, and then the
//!   gap is opened again. A scan that locks it after that finds the leaf changed.
//!
//! Over leaf borders a look is not one state of the tree. A key j below the boundary K may come
//! after the leaf of i, below j, was seen, let i into the gap that ends at j, and go as a ghost
//! before the leaf of j is seen. So with the gap below K locked the leaves are looked at once more,
//! from K down: nothing is seen in `[f, K)`, and nothing comes there, because the key above is K.
//! So nothing comes to the leaf below f, if that is empty: a key needs the gap below the one above
//! it, which is K still, and who had closed another gap before has its end, locked, in `[f, K)`,
//! where there is none. And so on, leaf by leaf. K itself was seen with the lock held, and stays.

use campanile_pagestore::PageWrite;
use campanile_txn::{Access, GapLock, Place, Txn};

use crate::descend::{Target, node_of};
use crate::error::TreeError;
use crate::locking::Locks;
use crate::tree::Tree;

/// A gap that nobody else can insert into or scan until this is dropped.
#[derive(Debug)]
pub(crate) struct ClosedGap {
    /// The upper fence of the leaf in which it begins.
    fence: Vec<u8>,
    /// The key above; `None`: the end of the tree.
    next: Option<Vec<u8>>,
    lock: GapLock,
}

/// What became of the wish to insert.
#[derive(Debug)]
pub(crate) enum Entry<'e> {
    /// Insert: the leaf is still latched.
    Open(PageWrite<'e>),
    /// Somebody has scanned the gap below this key (or the end): wait, and search again.
    Shut(Option<Vec<u8>>),
    /// The key above is beyond this fence: close the gap there and search again.
    Beyond(Vec<u8>),
}

/// Where the lock of a boundary is.
pub(crate) fn place_of(boundary: Option<&[u8]>) -> Place<'_> {
    boundary.map_or(Place::End, Place::Key)
}

impl<'e> Tree<'e> {
    /// Finds the first entry, ghosts included, at or above `fence`; `None` if the tree ends before.
    /// Nothing may be latched.
    pub(crate) fn look_ahead(&self, fence: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
        let mut at = fence.to_vec();
        loop {
            let (key, upper) = self.look_at_leaf(Target::At(&at), |leaf| {
                let node = node_of(&leaf);
                let (Ok(slot) | Err(slot)) = node.search(&at);
                let key = (slot < node.count()).then(|| node.key(slot));
                Ok((key, node.fences().1))
            })?;
            match upper {
                Some(fence) if key.is_none() => at = fence,
                _ => return Ok(key),
            }
        }
    }

    /// Whether `next`, the gap below which is locked, is the first entry at or above `fence`, and
    /// stays it.
    fn is_next(&self, fence: &[u8], next: Option<&[u8]>) -> Result<bool, TreeError> {
        Ok(self.look_ahead(fence)?.as_deref() == next && self.is_empty_below(fence, true, next)?)
    }

    /// Whether no entry is above `from`, or there (`inclusive`), and below `upper` (`None`: the end
    /// of the tree), which is an entry, and the gap below which is locked: then none will be.
    /// Nothing may be latched.
    pub(crate) fn is_empty_below(
        &self,
        from: &[u8],
        inclusive: bool,
        upper: Option<&[u8]>,
    ) -> Result<bool, TreeError> {
        let mut upper = upper.map(<[u8]>::to_vec);
        loop {
            let bound = upper.as_deref();
            if bound.is_some_and(|bound| bound <= from) {
                return Ok(true);
            }
            let target = bound.map_or(Target::Last, Target::Below);
            let (last, lower) = self.look_at_leaf(target, |leaf| {
                let node = node_of(&leaf);
                let within = bound.filter(|bound| node.covers(bound));
                let end = within.map_or(node.count(), |bound| {
                    let (Ok(slot) | Err(slot)) = node.search(bound);
                    slot
                });
                Ok((end.checked_sub(1).map(|slot| node.key(slot)), node.fences().0))
            })?;
            if let Some(last) = last {
                return Ok(last.as_slice() < from || (!inclusive && last == from));
            }
            if lower.is_empty() {
                return Ok(true);
            }
            upper = Some(lower);
        }
    }

    /// Asks for the gap that `key` goes into, at `slot` of the latched `leaf`.
    pub(crate) fn enter_gap(
        &self,
        txn: &mut Txn,
        mut leaf: PageWrite<'e>,
        slot: usize,
        key: &[u8],
        closed: Option<&ClosedGap>,
    ) -> Result<Entry<'e>, TreeError> {
        // Those that a nested transaction's ancestors have scanned are divided all the same.
        let alone = txn.has_whole(self.file, Access::Write) && !txn.is_nested();
        if self.locks != Locks::Keys || alone {
            return Ok(Entry::Open(leaf));
        }
        let node = node_of(&leaf);
        let next = (slot < node.count()).then(|| node.key(slot));
        if let (None, Some(upper)) = (&next, node.fences().1) {
            return match closed {
                Some(closed) if closed.fence == upper => {
                    let next = place_of(closed.next.as_deref());
                    self.txns.pass_closed_gap(txn, self.file, next, key, &closed.lock)?;
                    Ok(Entry::Open(leaf))
                }
                _ => Ok(Entry::Beyond(upper)),
            };
        }
        leaf.expel();
        let free = self.txns.try_gap(txn, self.file, place_of(next.as_deref()), key)?;
        Ok(if free { Entry::Open(leaf) } else { Entry::Shut(next) })
    }

    /// Closes the gap below the first entry at or above `fence`. Waits; nothing may be latched.
    pub(crate) fn close_gap(&self, txn: &mut Txn, fence: Vec<u8>) -> Result<ClosedGap, TreeError> {
        loop {
            let next = self.look_ahead(&fence)?;
            let lock = self.txns.close_gap(txn, self.file, place_of(next.as_deref()))?;
            if self.is_next(&fence, next.as_deref())? {
                return Ok(ClosedGap { fence, next, lock });
            }
        }
    }

    /// Locks the gap below the first entry at or above `fence` for a scan. Waits.
    pub(crate) fn scan_gap(&self, txn: &mut Txn, fence: &[u8]) -> Result<(), TreeError> {
        loop {
            let next = self.look_ahead(fence)?;
            self.txns.lock_gap(txn, self.file, place_of(next.as_deref()))?;
            if self.is_next(fence, next.as_deref())? {
                return Ok(());
            }
        }
    }
}
