//! Giving locks back, weakening them, and handing them to a parent.
//!
//! Owns: every way in which a lock becomes weaker. Promises: whoever can go on because of it is
//! granted before the call returns (L3). Must never: sleep.

use campanile_sync::atomic::Ordering;

use crate::error::LockError;
use crate::lock::Hold;
use crate::mode::{Brief, Mode, Part};
use crate::name::LockName;
use crate::owner::OwnerId;
use crate::table::LockTable;
use crate::ticket::Outcome;

impl LockTable {
    /// Gives one lock back, whatever its mode, and returns the mode. How often it was asked for
    /// is not counted, not even briefly: the caller knows whether it still needs it.
    pub fn release(&self, owner: OwnerId, name: LockName) -> Mode {
        let mut shard = self.shard(name);
        let Some(lock) = shard.locks.get_mut(&name) else { return Mode::NONE };
        let (_, mode) = lock.take(owner);
        if !mode.is_none() {
            self.forget_name(owner, name);
            self.serve(&mut shard, name);
        }
        mode
    }

    /// Weakens what is held of a lock to the owner's end to `mode`.
    ///
    /// # Panics
    /// If the owner does not hold at least `mode`.
    pub fn downgrade(&self, owner: OwnerId, name: LockName, mode: Mode) {
        let mut shard = self.shard(name);
        let lock = shard.locks.get_mut(&name);
        let held = lock.as_ref().map_or(Mode::NONE, |lock| lock.lasting_of(owner));
        assert!(held.covers(mode), "lock owner {owner} holds {held} on {name}, not {mode}");
        if let Some(lock) = lock
            && held != mode
        {
            lock.set_lasting(owner, mode);
            if lock.mode_of(owner).is_none() {
                self.forget_name(owner, name);
            }
            self.serve(&mut shard, name);
        }
    }

    /// Gives back what [`LockTable::acquire_briefly`] gave once. What the owner holds to its end
    /// stays, however it came to that meanwhile. Nothing if the owner has ended, or has given the
    /// lock back as a whole.
    pub fn give_back(&self, owner: OwnerId, name: LockName, brief: Brief) {
        let mut shard = self.shard(name);
        let Some(lock) = shard.locks.get_mut(&name) else { return };
        if lock.end_brief(owner, brief) {
            if lock.mode_of(owner).is_none() {
                self.forget_name(owner, name);
            }
            self.serve(&mut shard, name);
        }
    }

    /// Takes a name off the owner's list, with the lock's shard locked.
    fn forget_name(&self, owner: OwnerId, name: LockName) {
        self.owners.with(owner, |owner| {
            // Most often it is one of the latest.
            if let Some(at) = owner.held.iter().rposition(|held| *held == name) {
                owner.held.swap_remove(at);
            }
        });
    }

    /// Gives back every lock of `owner` on keys of file `space` that is covered by the part in
    /// which the whole is held now: the owner has escalated. A stronger one, which a child may hand
    /// over at this very moment, stays, and so does the whole.
    pub fn release_keys(&self, owner: OwnerId, space: u32, whole: Part) {
        let is_key = |name: &LockName| name.space == space && *name != LockName::whole(space);
        // Those to go last, so that each is found at the end, whatever else the owner holds.
        let keys = self.owners.with(owner, |owner| {
            owner.held.sort_unstable_by_key(is_key);
            let first = owner.held.partition_point(|name| !is_key(name));
            owner.held[first..].to_vec()
        });
        for name in keys.into_iter().rev() {
            let mut shard = self.shard(name);
            let Some(lock) = shard.locks.get_mut(&name) else { continue };
            let held = lock.mode_of(owner);
            if !held.is_none() && held.key().max(held.gap()) <= whole {
                lock.take(owner);
                self.forget_name(owner, name);
                self.serve(&mut shard, name);
            }
        }
    }

    /// Gives everything back and forgets the owner: the transaction has ended.
    ///
    /// # Panics
    /// If the owner has children.
    pub fn release_all(&self, owner: OwnerId) {
        let Some(children) = self.owners.peek(owner, |owner| owner.children.len()) else { return };
        assert_eq!(children, 0, "lock owner {owner} ended before its children");
        for name in self.owners.begin_end(owner) {
            let mut shard = self.shard(name);
            if let Some(lock) = shard.locks.get_mut(&name) {
                lock.take(owner);
            }
            self.serve(&mut shard, name);
        }
        self.owners.remove(owner);
    }

    /// Hands everything that `child` holds to its end to `parent`, in which it is nested, and
    /// forgets the child: the nested transaction has committed.
    ///
    /// # Panics
    /// If `parent` is not the child's parent, or the child has children.
    pub fn transfer(&self, child: OwnerId, parent: OwnerId) {
        let Some((theirs, children, writes)) = self
            .owners
            .peek(child, |child| (child.info.parent, child.children.len(), child.writes))
        else {
            return;
        };
        assert_eq!(theirs, Some(parent), "lock owner {child} is not nested in {parent}");
        assert_eq!(children, 0, "lock owner {child} ended before its children");
        for name in self.owners.begin_end(child) {
            let mut shard = self.shard(name);
            if let Some(lock) = shard.locks.get_mut(&name) {
                let (lasting, _) = lock.take(child);
                if !lasting.is_none() {
                    self.note_grant(parent, name, lock.add(parent, lasting, Hold::ToEnd));
                }
            }
            self.serve(&mut shard, name);
        }
        self.owners.remove(child);
        self.owners.with(parent, |parent| parent.writes += writes);
        self.look_again(parent);
    }

    /// Who waited for the child waits for the parent now: with a family that works on several
    /// threads that can close a circle although nobody new has begun to wait.
    pub(crate) fn look_again(&self, parent: OwnerId) {
        let mut detector = self.detector.lock();
        let family: Vec<OwnerId> = detector
            .waiting
            .keys()
            .copied()
            .filter(|owner| {
                let inside = |known: &crate::owner::Owner| known.ancestors.contains(&parent);
                *owner == parent || self.owners.peek(*owner, inside).unwrap_or(false)
            })
            .collect();
        for owner in family {
            self.break_circles(&mut detector, owner);
        }
    }

    /// Refuses every request that waits and every later one: the environment closes or has
    /// failed. What is held stays held until it is given back. Takes one shard after the other, so
    /// it may be called with any latch held.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for mut shard in self.all_shards() {
            for lock in shard.locks.values_mut() {
                for waiter in lock.queue.drain(..) {
                    waiter.ticket.settle(Outcome::Refused(LockError::Closed));
                }
            }
            shard.locks.retain(|_, lock| !lock.is_idle());
        }
    }
}
