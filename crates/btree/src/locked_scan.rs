//! From a position to the next record, with locks.
//!
//! Owns: which locks a scan takes and in which order it looks and locks. Promises: what a
//! serializable scan has passed stays as it was seen, the gaps too, at both ends, over leaf borders
//! and on empty ranges; one that reads committed data sees nothing else, and keeps the record it
//! stands on. Must never: lock with a page latched, or believe a copy that is older than the lock.
//!
//! A scan goes over *all* entries, ghosts included: a ghost may be a delete that is not committed,
//! and is the boundary of a gap as long as it is there. Copy the leaf, lock the entry and the gap
//! below it, see that the copy is still good (`gap.rs` says why that is enough); a ghost is then
//! passed for good, a live entry is what was looked for. If the copy is outdated the way is gone
//! once more, with the lock held: what it then leads to on its first leaf is certain without
//! another look. Over leaf borders it is not: between the copies of two leaves a boundary below the
//! locked one may have come to the second, let a key into the first, and gone. So the way is gone
//! back, from the locked boundary down, which is certain (`gap.rs`). Unchanged versions would say
//! as much, but a small cache may never have all these leaves at once. Who reads committed data
//! locks no gap: the second copy is believed as it stands. Children heed no locks of their parent,
//! though: while it has any no copy is certain, and the second look is another first one, which
//! asks for the lock again and so waits for the child that has changed the record. Upwards, the gap
//! of the first entry beyond the bound is locked last; downwards, the gap of the first entry above
//! the beginning is locked first, and each step finds the gap above it locked already.

use campanile_format::planted::{self, Bug};
use campanile_pagestore::PageVersion;
use campanile_txn::{Brief, ChildrenMark, Isolation, Place, Txn};

use crate::cursor::Cursor;
use crate::descend::Target;
use crate::error::TreeError;
use crate::leaf_copy::LeafCopy;
use crate::scan::Way;
use crate::tree::Tree;

/// What a scan came to: the slot, and a lock to give back when the cursor moves on.
type Found = Option<(usize, Option<Brief>)>;

/// What became of the step to one entry.
enum Step {
    /// It is what was looked for.
    Live(Option<Brief>),
    /// It is a ghost; what lies before it is passed for good.
    Ghost,
    /// It is beyond the bound: nothing is to be found.
    Beyond,
    /// The copy is outdated.
    Outdated,
}

/// One scan of one transaction.
struct Scan<'s, 'e> {
    tree: &'s Tree<'e>,
    txn: &'s mut Txn,
    way: Way<'s>,
    /// It locks gaps, and keys to the end.
    stable: bool,
    /// Leaves whose upper ends lie before the entry to come; none on the way down.
    passed: Vec<PageVersion>,
    /// Upwards: where the way begins, after the last ghost that was passed for good, and whether an
    /// entry there is on it.
    from: Vec<u8>,
    inclusive: bool,
    key: Vec<u8>,
    /// The boundary that was locked before the leaves were copied.
    sure: Option<Boundary>,
    /// Its lock, if that is a brief one.
    ahead: Option<Brief>,
    /// The moment before the leaves were copied.
    mark: ChildrenMark,
}

/// Where a gap ends.
#[derive(Debug, PartialEq, Eq)]
enum Boundary {
    Key(Vec<u8>),
    /// The first entry above this fence.
    Fence(Vec<u8>),
    End,
}

impl Boundary {
    fn is(&self, key: &[u8]) -> bool {
        matches!(self, Boundary::Key(boundary) if boundary == key)
    }

    /// What lies above the last entry that may be on the way; `None`: nothing does.
    fn key(&self) -> Option<&[u8]> {
        match self {
            Boundary::Key(key) | Boundary::Fence(key) => Some(key),
            Boundary::End => None,
        }
    }
}

impl<'s, 'e> Scan<'s, 'e> {
    fn new(tree: &'s Tree<'e>, txn: &'s mut Txn, way: Way<'s>) -> Scan<'s, 'e> {
        let stable = txn.isolation() == Isolation::Serializable;
        let (passed, from, key) = (Vec::new(), Vec::new(), Vec::new());
        let (inclusive, sure, ahead) = (false, None, None);
        let mark = txn.children_mark();
        Scan { tree, txn, way, stable, passed, from, inclusive, key, sure, ahead, mark }
    }
}

impl Scan<'_, '_> {
    /// The way is gone (once more): no leaf is copied yet.
    fn set_out(&mut self) {
        self.passed.clear();
        self.mark = self.txn.children_mark();
    }

    /// Whether everything that was looked at on the way to `boundary`, which is locked, is so. If
    /// not, it is the next time, unless a child is at work.
    fn is_good(&mut self, copy: &LeafCopy, boundary: Boundary) -> Result<bool, TreeError> {
        if self.sure.as_ref() == Some(&boundary) && self.is_certain(&boundary)? {
            return Ok(true);
        }
        let good = self.is_unchanged(copy);
        self.sure = (!good).then_some(boundary);
        Ok(good)
    }

    /// Whether what was copied since `boundary` was locked is so, whatever the leaves are by now.
    fn is_certain(&self, boundary: &Boundary) -> Result<bool, TreeError> {
        // Without gaps a record may come to a leaf that was passed: it came too late.
        let complete = self.passed.is_empty() || !self.stable;
        let (tree, from) = (self.tree, &self.from);
        let complete = complete || tree.is_empty_below(from, self.inclusive, boundary.key())?;
        Ok(complete && self.was_childless())
    }

    /// Whether none of the copies can show what a child has changed and may take back.
    fn was_childless(&self) -> bool {
        !self.txn.had_children_since(self.mark)
    }

    fn is_unchanged(&self, copy: &LeafCopy) -> bool {
        copy.is_current(self.tree, None)
            && self.passed.iter().all(|leaf| self.tree.store().has_version(*leaf))
            || planted::is(Bug::ScanNotValidated)
    }

    /// Goes on to the entry in `slot` of `copy`, the next one on the way.
    fn step(&mut self, copy: &LeafCopy, slot: usize) -> Result<Step, TreeError> {
        copy.node().key_into(slot, &mut self.key);
        let (txns, file) = (self.tree.txns, self.tree.file);
        let allowed = self.way.allows(&self.key);
        if !allowed {
            if self.stable && matches!(self.way, Way::Up { .. }) {
                txns.lock_gap(self.txn, file, Place::Key(&self.key))?;
                if !self.is_good(copy, Boundary::Key(self.key.clone()))? {
                    return Ok(Step::Outdated);
                }
            }
            return Ok(Step::Beyond);
        }
        let brief = if self.stable {
            txns.lock_step(self.txn, file, &self.key)?;
            None
        } else {
            self.lock_record()?
        };
        // The usual case without a copy of the key.
        let good =
            self.is_unchanged(copy) || self.is_good(copy, Boundary::Key(self.key.clone()))?;
        if good && !copy.node().is_ghost(slot) {
            return Ok(Step::Live(brief));
        }
        if !good {
            self.ahead = brief;
            return Ok(Step::Outdated);
        }
        if let Some(brief) = brief {
            self.sure = None;
            txns.unlock(self.txn, brief);
        }
        self.passed.clear();
        Ok(Step::Ghost)
    }

    /// Locks the record that the scan has come to, for as long as the cursor stands there; it may
    /// have the lock from the look before.
    fn lock_record(&mut self) -> Result<Option<Brief>, TreeError> {
        let is_sure = self.sure.as_ref().is_some_and(|sure| sure.is(&self.key));
        if self.ahead.is_some() && is_sure && self.was_childless() {
            return Ok(self.ahead.take());
        }
        self.let_go();
        Ok(self.tree.txns.lock_briefly(self.txn, self.tree.file, &self.key)?)
    }

    /// Gives the lock back that was taken for another look.
    fn let_go(&mut self) {
        if let Some(brief) = self.ahead.take() {
            self.sure = None;
            self.tree.txns.unlock(self.txn, brief);
        }
    }

    /// Locks the end of the tree. False if the copy is outdated.
    fn reach_end(&mut self, copy: &LeafCopy) -> Result<bool, TreeError> {
        if !self.stable {
            return Ok(true);
        }
        self.tree.txns.lock_gap(self.txn, self.tree.file, Place::End)?;
        self.is_good(copy, Boundary::End)
    }

    /// Locks the gap that the scan begins in, coming from above: below the entry in `slot` of
    /// `copy`, or below the first one of the leaves to the right. False if the copy is, or may be,
    /// older than the lock.
    fn enter_from_above(&mut self, copy: &LeafCopy, slot: usize) -> Result<bool, TreeError> {
        let (txns, file, node) = (self.tree.txns, self.tree.file, copy.node());
        let mut fence = Vec::new();
        if slot < node.count() {
            node.key_into(slot, &mut self.key);
            txns.lock_gap(self.txn, file, Place::Key(&self.key))?;
            let boundary = Boundary::Key(self.key.clone());
            return self.is_good(copy, boundary);
        }
        if !node.upper(&mut fence) {
            txns.lock_gap(self.txn, file, Place::End)?;
            return self.is_good(copy, Boundary::End);
        }
        self.tree.scan_gap(self.txn, &fence)?;
        let boundary = Boundary::Fence(fence);
        self.is_good(copy, boundary)
    }
}

impl Cursor {
    /// The next live record on the way, locked; its slot is that in the spare copy. `entered`: the
    /// gap that the way begins in is locked already.
    pub(crate) fn find_locked(
        &mut self,
        tree: &Tree<'_>,
        txn: &mut Txn,
        way: Way<'_>,
        entered: bool,
    ) -> Result<Found, TreeError> {
        let mut scan = Scan::new(tree, txn, way);
        let found = match way {
            Way::Up { from, inclusive, .. } => {
                (scan.from, scan.inclusive) = (from.to_vec(), inclusive);
                self.climb(&mut scan)
            }
            Way::Down { from, inclusive, .. } => {
                self.go_down(&mut scan, from.map(<[u8]>::to_vec), inclusive, entered)
            }
        };
        scan.let_go();
        found
    }

    /// The next live record in the cursor's own copy, whose slot is known; `None` if the copy is
    /// outdated or has no more entries that way: [`Cursor::find_locked`] then goes on from the
    /// position's key. `Some(None)`: nothing is to be found.
    pub(crate) fn find_locked_here(
        &self,
        tree: &Tree<'_>,
        txn: &mut Txn,
        way: Way<'_>,
        slot: usize,
    ) -> Result<Option<Found>, TreeError> {
        let mut scan = Scan::new(tree, txn, way);
        let up = matches!(way, Way::Up { .. });
        let mut slot = Some(slot);
        loop {
            slot = slot.and_then(|slot| if up { Some(slot + 1) } else { slot.checked_sub(1) });
            let Some(at) = slot.filter(|slot| *slot < self.leaf.node().count()) else {
                return Ok(None);
            };
            match scan.step(&self.leaf, at)? {
                Step::Live(brief) => return Ok(Some(Some((at, brief)))),
                Step::Beyond => return Ok(Some(None)),
                Step::Ghost => {}
                Step::Outdated => {
                    scan.let_go();
                    return Ok(None);
                }
            }
        }
    }

    fn climb(&mut self, scan: &mut Scan<'_, '_>) -> Result<Found, TreeError> {
        let mut fence = Vec::new();
        'again: loop {
            scan.set_out();
            self.spare.take(scan.tree, None, Target::At(&scan.from))?;
            let mut slot = self.spare_begin(&scan.from, scan.inclusive);
            loop {
                if slot < self.spare.node().count() {
                    match scan.step(&self.spare, slot)? {
                        Step::Live(brief) => return Ok(Some((slot, brief))),
                        Step::Beyond => return Ok(None),
                        Step::Outdated => continue 'again,
                        Step::Ghost => {}
                    }
                    scan.from.clone_from(&scan.key);
                    scan.inclusive = false;
                    slot += 1;
                } else if self.spare.node().upper(&mut fence) {
                    scan.passed.push(self.spare.version());
                    self.spare.take(scan.tree, None, Target::At(&fence))?;
                    slot = self.spare_begin(&fence, true);
                } else if scan.reach_end(&self.spare)? {
                    return Ok(None);
                } else {
                    continue 'again;
                }
            }
        }
    }

    fn go_down(
        &mut self,
        scan: &mut Scan<'_, '_>,
        mut from: Option<Vec<u8>>,
        mut inclusive: bool,
        mut entered: bool,
    ) -> Result<Found, TreeError> {
        entered |= !scan.stable;
        let mut fence = Vec::new();
        'again: loop {
            let target = match &from {
                None => Target::Last,
                Some(from) if inclusive => Target::At(from),
                Some(from) if from.is_empty() => return Ok(None),
                Some(from) => Target::Below(from),
            };
            scan.set_out();
            self.spare.take(scan.tree, None, target)?;
            let mut end = match &from {
                None => self.spare.node().count(),
                Some(from) => self.spare_end(from),
            };
            if inclusive && from.as_ref().is_some_and(|f| self.spare.node().search(f) == Ok(end)) {
                // It begins on an entry: what lies above that is not its business.
                end += 1;
            } else if !entered {
                if !scan.enter_from_above(&self.spare, end)? {
                    continue 'again;
                }
                entered = true;
            }
            loop {
                if let Some(slot) = end.checked_sub(1) {
                    match scan.step(&self.spare, slot)? {
                        Step::Live(brief) => return Ok(Some((slot, brief))),
                        Step::Beyond => return Ok(None),
                        Step::Outdated => continue 'again,
                        Step::Ghost => {}
                    }
                    (from, inclusive, entered) = (Some(scan.key.clone()), false, true);
                    end = slot;
                } else {
                    self.spare.node().lower(&mut fence);
                    if fence.is_empty() {
                        return Ok(None);
                    }
                    self.spare.take(scan.tree, None, Target::Below(&fence))?;
                    end = self.spare_end(&fence);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;
    use crate::rig::{Rig, Sizes};

    fn key(number: u32) -> Vec<u8> {
        format!("{number:05}").into_bytes()
    }

    /// The last key of the first of two leaves, the fence, and the first key beyond it.
    fn border(rig: &Rig) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let tree = rig.tree();
        let mut txn = rig.begin();
        for number in 0..10 {
            tree.put(&mut txn, &key(number), &[b'v'; 60]).expect("put");
        }
        rig.commit(txn);
        let (mut leaf, mut fence) = (LeafCopy::default(), Vec::new());
        leaf.take(&tree, None, Target::At(b"")).expect("the first leaf");
        assert!(leaf.node().upper(&mut fence), "there is one leaf");
        let last = leaf.node().key(leaf.node().count() - 1);
        leaf.take(&tree, None, Target::At(&fence)).expect("the second leaf");
        assert!(!leaf.node().upper(&mut Vec::new()), "there are three leaves");
        // So that there is a place between the fence and the first key.
        let mut txn = rig.begin();
        assert!(tree.delete(&mut txn, &leaf.node().key(0)).expect("delete"));
        rig.commit(txn);
        purge(&tree, &fence);
        (last, fence, leaf.node().key(1))
    }

    fn purge(tree: &Tree<'_>, key: &[u8]) {
        let mut leaf = tree.write_leaf(key).expect("a leaf");
        assert!(tree.purge_ghosts(&mut leaf).expect("purge"), "no ghost went");
    }

    /// What a scan does from `last` over the fence, move by move, with others between the moves:
    /// while it waits for the first entry of the second leaf, a boundary below that comes, lets
    /// `phantom` into the first leaf when the scan has copied it, and goes.
    #[test]
    fn a_boundary_that_comes_and_goes_at_a_leaf_border_lets_no_phantom_in() {
        let rig = Rig::new(Sizes { frames: 128, ..Sizes::default() });
        let tree = rig.tree();
        let (last, fence, first) = border(&rig);
        let (boundary, phantom) = ([&fence[..], b"!"].concat(), [&last[..], b"!"].concat());
        assert!(boundary < first && phantom < fence);

        let mut txn = rig.begin();
        let way = Way::Up { from: &last, inclusive: false, until: Bound::Unbounded };
        let mut scan = Scan::new(&tree, &mut txn, way);
        scan.from.clone_from(&last);
        let mut copy = LeafCopy::default();
        let pass_first_leaf = |scan: &mut Scan<'_, '_>, copy: &mut LeafCopy| {
            copy.take(&tree, None, Target::At(&last)).expect("the first leaf");
            scan.passed = vec![copy.version()];
        };
        pass_first_leaf(&mut scan, &mut copy);
        copy.take(&tree, None, Target::At(&fence)).expect("the second leaf");
        let mut other = rig.begin();
        assert!(tree.insert(&mut other, &boundary, b"boundary").expect("insert"));
        rig.abort(other);
        assert!(matches!(scan.step(&copy, 0), Ok(Step::Outdated)), "the boundary has come");

        pass_first_leaf(&mut scan, &mut copy);
        let mut other = rig.begin();
        assert!(tree.insert(&mut other, &phantom, b"phantom").expect("insert"));
        rig.commit(other);
        purge(&tree, &fence);
        copy.take(&tree, None, Target::At(&fence)).expect("the second leaf");
        assert_eq!(copy.node().key(0), first);
        assert!(matches!(scan.step(&copy, 0), Ok(Step::Outdated)), "it missed the phantom");

        let mut cursor = Cursor::new();
        let found = cursor.climb(&mut scan).expect("climb");
        assert!(found.is_some_and(|(slot, _)| cursor.spare.node().key(slot) == phantom));
        rig.abort(txn);
    }

    #[test]
    fn a_scan_of_committed_data_on_a_leaf_that_never_rests_is_certain_the_second_time() {
        let rig = Rig::new(Sizes { frames: 128, ..Sizes::default() });
        let tree = rig.tree();
        border(&rig);
        let mut options = campanile_txn::TxnOptions::default();
        options.isolation = Isolation::ReadCommitted;
        let mut txn = rig.txns.begin(options).expect("begin");
        tree.lock_file(&mut txn, campanile_txn::Access::Read).expect("the file");
        let way = Way::Up { from: b"", inclusive: true, until: Bound::Unbounded };
        let mut scan = Scan::new(&tree, &mut txn, way);
        let mut copy = LeafCopy::default();
        let copy_in_vain = |copy: &mut LeafCopy, scan: &mut Scan<'_, '_>, slot| {
            copy.take(&tree, None, Target::At(b"")).expect("the first leaf");
            let mut other = rig.begin();
            tree.put(&mut other, &key(2), b"never rests").expect("put");
            rig.commit(other);
            scan.step(copy, slot).expect("step")
        };
        assert!(matches!(copy_in_vain(&mut copy, &mut scan, 1), Step::Outdated));
        assert!(matches!(copy_in_vain(&mut copy, &mut scan, 0), Step::Outdated), "another one");
        assert_eq!(rig.txns.lock_stats().grants, 2, "the file and one record");
        let Step::Live(Some(brief)) = copy_in_vain(&mut copy, &mut scan, 0) else {
            panic!("it begins again for ever");
        };
        scan.let_go();
        rig.txns.unlock(&mut txn, brief);
        assert_eq!(rig.txns.lock_stats().grants, 1, "the file");
        rig.commit(txn);
    }

    /// Move by move: the first look at a record comes too late, since its leaf has changed; before
    /// the second one a child changes the record, which the lock of its parent does not hinder.
    #[test]
    fn a_scan_never_stands_on_what_a_child_takes_back() {
        let changes: [fn(&Tree<'_>, &mut Txn); 2] = [
            |tree, child| {
                tree.put(child, &key(0), b"child").expect("put");
            },
            |tree, child| assert!(tree.delete(child, &key(0)).expect("delete")),
        ];
        for change in changes {
            for isolation in [Isolation::ReadCommitted, Isolation::Serializable] {
                look_again_beside_a_child(isolation, change);
            }
        }
    }

    fn look_again_beside_a_child(isolation: Isolation, change: fn(&Tree<'_>, &mut Txn)) {
        let rig = Rig::new(Sizes { frames: 128, ..Sizes::default() });
        let tree = rig.tree();
        border(&rig);
        let mut options = campanile_txn::TxnOptions::default();
        options.isolation = isolation;
        let mut parent = rig.txns.begin(options).expect("begin");
        tree.lock_file(&mut parent, campanile_txn::Access::Read).expect("the file");
        let mut child = rig.txns.begin_child(&parent).expect("a child");
        let way = Way::Up { from: b"", inclusive: true, until: Bound::Unbounded };
        let mut scan = Scan::new(&tree, &mut parent, way);
        let mut copy = LeafCopy::default();

        scan.set_out();
        copy.take(&tree, None, Target::At(b"")).expect("the first leaf");
        tree.put(&mut child, &key(1), b"so that the copy is old").expect("put");
        assert!(matches!(scan.step(&copy, 0), Ok(Step::Outdated)), "{isolation:?}");

        change(&tree, &mut child);
        scan.set_out();
        copy.take(&tree, None, Target::At(b"")).expect("the first leaf");
        std::thread::scope(|threads| {
            let step = threads.spawn(|| scan.step(&copy, 0));
            while rig.txns.lock_stats().waiting == 0 && !step.is_finished() {
                std::thread::yield_now();
            }
            assert!(!step.is_finished(), "{isolation:?}: it does not wait for the child");
            rig.abort(child);
            let step = step.join().expect("no panic");
            assert!(matches!(step, Ok(Step::Outdated)), "{isolation:?}: it saw the child's");
        });

        scan.set_out();
        copy.take(&tree, None, Target::At(b"")).expect("the first leaf");
        let step = scan.step(&copy, 0).expect("a step");
        let Step::Live(brief) = step else { panic!("{isolation:?}: it does not see the old one") };
        assert_eq!(brief.is_some(), isolation == Isolation::ReadCommitted);
        if let Some(brief) = brief {
            rig.txns.unlock(&mut parent, brief);
        }
        rig.abort(parent);
    }

    #[test]
    fn what_is_empty_below_a_boundary_is_told_over_leaf_borders() {
        let rig = Rig::new(Sizes { frames: 128, ..Sizes::default() });
        let tree = rig.tree();
        let (last, fence, first) = border(&rig);
        let is_empty = |from: &[u8], inclusive, upper: Option<&[u8]>| {
            tree.is_empty_below(from, inclusive, upper).expect("a look")
        };
        assert!(is_empty(&last, false, Some(&first)));
        assert!(!is_empty(&last, true, Some(&first)));
        assert!(is_empty(&fence, true, Some(&first)) && is_empty(&fence, true, Some(&fence)));
        assert!(!is_empty(b"", false, Some(&first)) && !is_empty(&first, true, None));
        assert!(is_empty(b"", true, Some(&key(0))) && !is_empty(b"", true, Some(&key(1))));
        assert!(is_empty(&key(9), false, None) && !is_empty(&last, false, None));
    }
}
