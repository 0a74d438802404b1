//! The lock table: asking for locks.
//!
//! Owns: the shards and the way of a request up to the point where it must sleep (waiting is in
//! `waiting.rs`, giving back in `release.rs`). Promises: a request that meets no conflict touches
//! one shard and one owner, and nothing shared by all. Must never: sleep with a shard locked.
//!
//! Mutex order: detector, then one shard, then one owner or ticket. Only
//! [`LockTable::assert_consistent`] locks several shards, in order of their index.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use campanile_sync::atomic::{AtomicBool, Ordering};
use campanile_sync::{Mutex, MutexGuard};

use crate::detector::Detector;
use crate::error::LockError;
use crate::lock::{Hold, Lock, Request, Waiter};
use crate::mode::{Brief, Mode};
use crate::name::{LockName, SpreadBuild};
use crate::options::{LockOptions, Wait};
use crate::owner::{OwnerId, OwnerInfo, Owners};
use crate::stats::LockStats;
use crate::ticket::Ticket;

/// Emptied locks that a shard keeps, so that a lock taken and given back allocates nothing.
const SPARE_LOCKS: usize = 32;

/// How a request was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// The owner did not have the lock before, or only briefly.
    New,
    /// The owner had it in a weaker mode, and has it now in the join of both.
    Upgraded {
        /// The mode before.
        from: Mode,
    },
    /// The owner had it already, in this mode or a stronger one.
    Already,
}

/// A part of the table.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub locks: HashMap<LockName, Lock, SpreadBuild>,
    spare: Vec<Lock>,
    pub stats: LockStats,
}

impl Shard {
    /// Forgets the lock if nobody has or wants it.
    pub fn tidy(&mut self, name: LockName) {
        if self.locks.get(&name).is_some_and(Lock::is_idle)
            && let Some(lock) = self.locks.remove(&name)
            && self.spare.len() < SPARE_LOCKS
        {
            self.spare.push(lock);
        }
    }
}

/// Who may touch what: see the crate's page.
#[derive(Debug)]
pub struct LockTable {
    shards: Box<[Mutex<Shard>]>,
    pub(crate) owners: Owners,
    pub(crate) detector: Mutex<Detector>,
    pub(crate) options: LockOptions,
    pub(crate) closed: AtomicBool,
}

impl Default for LockTable {
    fn default() -> Self {
        Self::new(LockOptions::default())
    }
}

impl LockTable {
    /// An empty table.
    #[must_use]
    pub fn new(options: LockOptions) -> LockTable {
        let shards = options.shards.clamp(1, 1 << 16).next_power_of_two();
        LockTable {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            owners: Owners::new(shards),
            detector: Mutex::new(Detector::new(options.seed)),
            options,
            closed: AtomicBool::new(false),
        }
    }

    /// What the table was made with.
    #[must_use]
    pub fn options(&self) -> &LockOptions {
        &self.options
    }

    /// Makes an owner known before its first request. Only needed for owners with a parent, a
    /// priority or a label: others become known by asking.
    ///
    /// # Panics
    /// If the owner is known already.
    pub fn register(&self, owner: OwnerId, info: OwnerInfo) {
        self.owners.register(owner, info);
    }

    /// Asks for `name` in `mode`, in addition to what `owner` holds, and waits as `wait` says.
    /// On return the owner holds the join of both until it gives it back. An owner asks for one
    /// lock at a time. Whoever has asked, even in vain, is known until
    /// [`LockTable::release_all`]. Never call this with a page latched.
    ///
    /// What a descendant of the owner holds hinders it, even if the owner holds as much already.
    pub fn acquire(
        &self,
        owner: OwnerId,
        name: LockName,
        mode: Mode,
        wait: Wait,
    ) -> Result<Granted, LockError> {
        self.request(owner, name, mode, wait, Hold::ToEnd)
    }

    /// Like [`LockTable::acquire`], until it is given back by [`LockTable::give_back`], for each
    /// time that this was true. False, and nothing to be given back, if the owner holds as much to
    /// its end.
    pub fn acquire_briefly(
        &self,
        owner: OwnerId,
        name: LockName,
        brief: Brief,
        wait: Wait,
    ) -> Result<bool, LockError> {
        let granted = self.request(owner, name, brief.mode(), wait, Hold::Briefly(brief))?;
        Ok(granted != Granted::Already)
    }

    /// Like [`LockTable::acquire`], but holds nothing afterwards: at some instant during the call
    /// the owner could have had the lock. This is how an insert asks for the gap it goes into.
    /// True if the owner or an ancestor of it holds any part of the lock, which then may have to
    /// be passed on; see [`LockTable::inherit_gap`].
    pub fn acquire_instant(
        &self,
        owner: OwnerId,
        name: LockName,
        mode: Mode,
        wait: Wait,
    ) -> Result<bool, LockError> {
        let mut shard = self.shard(name);
        if self.closed.load(Ordering::Acquire) {
            return Err(LockError::Closed);
        }
        let Some(lock) = shard.locks.get(&name) else {
            shard.stats.requests += 1;
            return Ok(false);
        };
        let ancestors = self.owners.with(owner, |owner| Arc::clone(&owner.ancestors));
        let request = Request { owner, ancestors, mode, hold: Hold::Instant };
        if lock.first_blocker(&request, usize::MAX).is_none() {
            let inside = lock.is_inside(&request);
            shard.stats.requests += 1;
            return Ok(inside);
        }
        drop(shard);
        self.request(owner, name, mode, wait, Hold::Instant)?;
        Ok(true)
    }

    fn request(
        &self,
        owner: OwnerId,
        name: LockName,
        mode: Mode,
        wait: Wait,
        hold: Hold,
    ) -> Result<Granted, LockError> {
        assert!(!mode.is_none(), "a request for no lock");
        let mut shard = self.shard(name);
        if self.closed.load(Ordering::Acquire) {
            return Err(LockError::Closed);
        }
        let Shard { locks, spare, stats } = &mut *shard;
        stats.requests += 1;
        let lock = locks.entry(name).or_insert_with(|| spare.pop().unwrap_or_default());
        if lock.is_idle() {
            if hold == Hold::Instant {
                shard.tidy(name);
            } else {
                self.note_grant(owner, name, lock.add(owner, mode, hold));
            }
            return Ok(Granted::New);
        }
        let lasting = lock.lasting_of(owner);
        let (ancestors, is_parent) =
            self.owners.with(owner, |owner| (Arc::clone(&owner.ancestors), owner.is_parent()));
        let request = Request { owner, ancestors, mode, hold };
        let blocker = match lock.mode_of(owner).covers(mode) && !lock.is_hindered_inside(&request) {
            true if lasting.covers(mode) => {
                stats.already_held += 1;
                return Ok(Granted::Already);
            }
            true => None,
            false => lock.first_blocker(&request, usize::MAX),
        };
        if let Some(blocker) = blocker {
            if matches!(wait, Wait::No) {
                stats.would_block += 1;
                let other = self.owners.label(blocker);
                return Err(LockError::WouldBlock { other, name, mode: request.mode });
            }
            stats.waits += 1;
            let ticket = Arc::new(Ticket::default());
            lock.queue.push_back(Waiter { request: request.clone(), ticket: Arc::clone(&ticket) });
            drop(shard);
            self.wait(&request, name, &ticket, self.timeout_of(wait))?;
        } else if hold != Hold::Instant {
            stats.upgrades += u64::from(!lasting.is_none());
            let somebody_waits = !lock.queue.is_empty();
            self.note_grant(owner, name, lock.add(owner, mode, hold));
            if somebody_waits && is_parent {
                // They wait for its children now, too, one of which may wait for one of them.
                drop(shard);
                self.look_again(owner);
            }
        }
        Ok(if lasting.is_none() { Granted::New } else { Granted::Upgraded { from: lasting } })
    }

    fn timeout_of(&self, wait: Wait) -> Option<Duration> {
        match wait {
            Wait::Default => self.options.default_timeout,
            Wait::AtMost(timeout) => Some(timeout),
            Wait::No => Some(Duration::ZERO),
            Wait::Forever => None,
        }
    }

    /// Keeps the owner's list of names in step with a grant; `before` is what it held before.
    /// Called with the lock's shard locked, so that lock and list agree whenever it is not.
    pub(crate) fn note_grant(&self, owner: OwnerId, name: LockName, before: Mode) {
        if before.is_none() {
            self.owners.with(owner, |owner| owner.held.push(name));
        }
    }

    /// The mode in which `owner` itself, not its family, holds `name` to its end.
    #[must_use]
    pub fn holds(&self, owner: OwnerId, name: LockName) -> Mode {
        self.shard(name).locks.get(&name).map_or(Mode::NONE, |lock| lock.lasting_of(owner))
    }

    /// The locks on wholes that `owner` holds, those of its committed children among them.
    #[must_use]
    pub fn held_wholes(&self, owner: OwnerId) -> Vec<(LockName, Mode)> {
        let is_whole = |name: &LockName| *name == LockName::whole(name.space);
        let held = |known: &crate::owner::Owner| {
            known.held.iter().copied().filter(is_whole).collect::<Vec<_>>()
        };
        let names = self.owners.peek(owner, held).unwrap_or_default();
        names.into_iter().map(|name| (name, self.holds(owner, name))).collect()
    }

    /// How many locks `owner` holds: for escalation to a lock on the whole.
    #[must_use]
    pub fn held_count(&self, owner: OwnerId) -> usize {
        self.owners.peek(owner, |owner| owner.held.len()).unwrap_or(0)
    }

    /// Whether nobody has or wants `name`.
    #[must_use]
    pub fn is_free(&self, name: LockName) -> bool {
        !self.shard(name).locks.contains_key(&name)
    }

    /// Counts a change by `owner`, for [`crate::VictimPolicy::FewestWrites`].
    pub fn note_write(&self, owner: OwnerId) {
        self.owners.with(owner, |owner| owner.writes += 1);
    }

    pub(crate) fn shard(&self, name: LockName) -> MutexGuard<'_, Shard> {
        let at = name.spread() as usize & (self.shards.len() - 1);
        self.shards[at].lock()
    }

    pub(crate) fn all_shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(Mutex::lock)
    }
}
