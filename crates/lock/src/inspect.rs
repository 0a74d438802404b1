//! Looking at the table: counters, a dump, and the check of its invariants.
//!
//! Owns: everything that reads all of the table. Promises: changes nothing. Must never: be needed
//! for granting.

use crate::dump::{Dump, DumpedLock, DumpedOwner};
use crate::lock::{Grant, Lock};
use crate::mode::Mode;
use crate::name::LockName;
use crate::owner::OwnerId;
use crate::stats::LockStats;
use crate::table::LockTable;

impl LockTable {
    /// The counters.
    #[must_use]
    pub fn stats(&self) -> LockStats {
        let mut sum = LockStats::default();
        for shard in self.all_shards() {
            let mut stats = shard.stats;
            stats.locks = shard.locks.len() as u64;
            stats.grants = shard.locks.values().map(|lock| lock.grants.len() as u64).sum();
            stats.waiting = shard.locks.values().map(|lock| lock.queue.len() as u64).sum();
            sum.add(&stats);
        }
        sum.searches = self.detector.lock().searches;
        sum.owners = self.owners.list().len() as u64;
        sum
    }

    /// Who holds what and who waits, for operators.
    #[must_use]
    pub fn dump(&self) -> Dump {
        let mut dump = Dump::default();
        for shard in self.all_shards() {
            dump.locks.extend(shard.locks.iter().map(|(name, lock)| dumped(*name, lock)));
        }
        dump.locks.sort_unstable_by_key(|lock| lock.name);
        for id in self.owners.list() {
            let label = self.owners.label(id);
            dump.owners.extend(self.owners.peek(id, |owner| DumpedOwner {
                id,
                label,
                parent: owner.info.parent,
                priority: owner.info.priority,
                locks: owner.held.len(),
                writes: owner.writes,
            }));
        }
        dump
    }

    /// Checks the whole table, at any time, from any thread.
    ///
    /// # Panics
    /// If one of the invariants L1, L3 and L5 does not hold.
    pub fn assert_consistent(&self) {
        let shards: Vec<_> = self.all_shards().collect();
        let mut grants = 0;
        for shard in &shards {
            for (name, lock) in &shard.locks {
                grants += lock.grants.len();
                self.assert_lock_consistent(*name, lock);
            }
        }
        // L5, the other way round: what an owner lists, it holds.
        let mut listed = 0;
        let mut ending = false;
        for owner in self.owners.list() {
            self.owners.peek(owner, |owner| {
                listed += owner.held.len();
                ending |= owner.ending;
            });
        }
        assert!(ending || listed == grants, "{listed} locks listed, {grants} granted");
    }

    fn assert_lock_consistent(&self, name: LockName, lock: &Lock) {
        assert!(!lock.is_idle(), "{name} is kept although idle");
        for (at, a) in lock.grants.iter().enumerate() {
            assert!(!a.mode().is_none(), "{} holds nothing on {name}", a.owner);
            for b in &lock.grants[at + 1..] {
                assert_ne!(a.owner, b.owner, "{} has two grants on {name}", a.owner);
                let fine = a.mode().is_compatible(b.mode()) || self.is_one_family(a, b);
                assert!(fine, "L1: {} and {} both hold {name}: {lock:?}", a.owner, b.owner);
            }
            let known = self.owners.peek(a.owner, |owner| {
                owner.ending || owner.held.iter().filter(|held| **held == name).count() == 1
            });
            assert_eq!(known, Some(true), "L5: {} does not list {name}", a.owner);
        }
        for (place, waiter) in lock.queue.iter().enumerate() {
            let blocker = lock.first_blocker(&waiter.request, place);
            assert!(blocker.is_some(), "L3: {} could have {name}", waiter.request.owner);
            assert!(waiter.ticket.outcome().is_none(), "a settled request is off its queue");
        }
    }

    fn is_one_family(&self, a: &Grant, b: &Grant) -> bool {
        let inside = |child: OwnerId, ancestor: OwnerId| {
            self.owners.peek(child, |child| child.ancestors.contains(&ancestor)).unwrap_or(false)
        };
        inside(a.owner, b.owner) || inside(b.owner, a.owner)
    }
}

fn dumped(name: LockName, lock: &Lock) -> DumpedLock {
    let holders: Vec<(OwnerId, Mode)> =
        lock.grants.iter().map(|grant| (grant.owner, grant.mode())).collect();
    let waiters = lock.queue.iter().map(|waiter| (waiter.request.owner, waiter.request.mode));
    DumpedLock { name, holders, waiters: waiters.collect() }
}
