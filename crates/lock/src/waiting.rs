//! Waiting for a lock: sleep, timeout, deadlock.
//!
//! Owns: what happens between "it must wait" and the answer. Promises: every sleeper is woken by
//! a grant, by being a victim, by its timeout or by [`LockTable::close`]; whoever leaves a queue
//! serves those behind it (L3). Must never: be entered with a shard locked.
//!
//! Waits are in real time ([`campanile_sync::time::Instant`]), not in the simulated disk's:
//! simulated runs with one thread never wait, and those with several have a scheduler whose time
//! this is.

use std::sync::Arc;
use std::time::Duration;

use campanile_sync::time::Instant;

use crate::detector::{Candidate, Detector, WaitingFor};
use crate::error::LockError;
use crate::lock::Request;
use crate::name::LockName;
use crate::owner::{Owner, OwnerId};
use crate::table::{LockTable, Shard};
use crate::ticket::{Outcome, Ticket};

impl LockTable {
    /// Sleeps until the queued request is settled. On `Ok` it is granted.
    pub(crate) fn wait(
        &self,
        request: &Request,
        name: LockName,
        ticket: &Arc<Ticket>,
        timeout: Option<Duration>,
    ) -> Result<(), LockError> {
        let begun = Instant::now();
        let owner = request.owner;
        {
            let mut detector = self.detector.lock();
            let waiting = WaitingFor { name, ticket: Arc::clone(ticket), since: begun };
            let before = detector.waiting.insert(owner, waiting);
            assert!(before.is_none(), "lock owner {owner} waits for two locks at once");
            self.break_circles(&mut detector, owner);
            detector.searches += 1;
        }
        let deadline = timeout.and_then(|timeout| begun.checked_add(timeout));
        let outcome = match self.sleep(request, name, ticket, begun, deadline) {
            Some(outcome) => outcome,
            None => self.give_up(request, name, ticket, begun.elapsed()),
        };
        self.detector.lock().waiting.remove(&owner);
        self.note_wait(name, begun.elapsed());
        match outcome {
            Outcome::Granted => {
                if self.owners.peek(owner, Owner::is_parent).unwrap_or(false) {
                    // Its children go ahead of those who waited before them, one of whom one of
                    // them may wait for elsewhere.
                    self.look_again(owner);
                }
                Ok(())
            }
            Outcome::Refused(error) => Err(error),
        }
    }

    /// Sleeps until settled or until `deadline`; tells of it if that takes long.
    fn sleep(
        &self,
        request: &Request,
        name: LockName,
        ticket: &Arc<Ticket>,
        begun: Instant,
        deadline: Option<Instant>,
    ) -> Option<Outcome> {
        let slow = self.options.slow_wait.and_then(|slow| begun.checked_add(slow));
        let Some(slow) = slow.filter(|slow| deadline.is_none_or(|deadline| *slow < deadline))
        else {
            return ticket.wait(deadline);
        };
        let outcome = ticket.wait(Some(slow));
        if outcome.is_some() {
            return outcome;
        }
        let blocker = self.shard(name).locks.get(&name).and_then(|lock| {
            let place = lock.place_of(ticket)?;
            lock.first_blocker(request, place)
        });
        tracing::warn!(
            owner = self.owners.label(request.owner),
            lock = %name,
            mode = %request.mode,
            holder = blocker.map(|blocker| self.owners.label(blocker)),
            waited_ms = begun.elapsed().as_millis(),
            "a lock is waited for"
        );
        ticket.wait(deadline)
    }

    /// Counts a wait that is over.
    fn note_wait(&self, name: LockName, waited: Duration) {
        let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        let slow = self.options.slow_wait.is_some_and(|slow| waited >= slow);
        let mut shard = self.shard(name);
        shard.stats.slow_waits += u64::from(slow);
        shard.stats.waited_us += us;
        shard.stats.longest_wait_us = shard.stats.longest_wait_us.max(us);
    }

    /// Leaves the queue because of the time; but what was settled meanwhile counts.
    fn give_up(
        &self,
        request: &Request,
        name: LockName,
        ticket: &Arc<Ticket>,
        waited: Duration,
    ) -> Outcome {
        let mut shard = self.shard(name);
        let Some(lock) = shard.locks.get_mut(&name) else {
            return settled(ticket);
        };
        let blocker = lock.first_blocker(request, usize::MAX);
        if lock.withdraw(ticket).is_none() {
            return settled(ticket);
        }
        shard.stats.timeouts += 1;
        self.serve(&mut shard, name);
        let owner = self.owners.label(request.owner);
        let other = blocker.map(|blocker| self.owners.label(blocker)).unwrap_or_default();
        Outcome::Refused(LockError::Timeout { owner, other, name, mode: request.mode, waited })
    }

    /// Grants what can be granted now, wakes those granted, and forgets the lock if it is idle.
    /// To be called after every change that makes a lock weaker or its queue shorter.
    pub(crate) fn serve(&self, shard: &mut Shard, name: LockName) {
        let Shard { locks, stats, .. } = shard;
        let Some(lock) = locks.get_mut(&name) else { return };
        lock.promote(|waiter, before| {
            if let Some(before) = before {
                stats.upgrades += u64::from(!before.is_none());
                self.note_grant(waiter.request.owner, name, before);
            }
            waiter.ticket.settle(Outcome::Granted);
        });
        shard.tidy(name);
    }

    /// Finds the circles through `start` and rejects a victim in each.
    pub(crate) fn break_circles(&self, detector: &mut Detector, start: OwnerId) {
        loop {
            let waiting = &detector.waiting;
            let edges = |owner, out: &mut Vec<OwnerId>| {
                self.waits_for(waiting.get(&owner), owner, out);
            };
            let Some(circle) = Detector::find_circle(start, edges) else { return };
            let candidates: Vec<Candidate> = circle
                .iter()
                .filter(|owner| waiting.contains_key(owner))
                .filter_map(|owner| self.candidate(*owner))
                .collect();
            let Some(victim) = detector.choose(self.options.victim, &candidates) else { return };
            if let Some(waiting) = detector.waiting.remove(&victim) {
                self.reject(victim, &waiting, &circle);
            }
        }
    }

    /// Whom `owner` waits for: the blockers of its request, and its children, because it cannot
    /// end before they do.
    pub(crate) fn waits_for(
        &self,
        waiting: Option<&WaitingFor>,
        owner: OwnerId,
        out: &mut Vec<OwnerId>,
    ) {
        if let Some(WaitingFor { name, ticket, .. }) = waiting {
            let shard = self.shard(*name);
            let lock = shard.locks.get(name);
            let queue = lock.map(|lock| (lock, lock.place_of(ticket)));
            if let Some((lock, Some(place))) = queue
                && let Some(waiter) = lock.queue.get(place)
            {
                lock.each_blocker(&waiter.request, place, |blocker| {
                    out.push(blocker);
                    true
                });
            }
        }
        self.owners.peek(owner, |owner| out.extend_from_slice(&owner.children));
    }

    fn candidate(&self, owner: OwnerId) -> Option<Candidate> {
        self.owners.peek(owner, |known| Candidate {
            owner,
            priority: known.info.priority,
            started: known.started,
            locks: known.held.len(),
            writes: known.writes,
        })
    }

    /// Takes the victim off its queue and tells it. If it has left the queue by itself the circle
    /// is broken already.
    fn reject(&self, victim: OwnerId, waiting: &WaitingFor, circle: &[OwnerId]) {
        let WaitingFor { name, ticket, .. } = waiting;
        let mut shard = self.shard(*name);
        let withdrawn = shard.locks.get_mut(name).and_then(|lock| lock.withdraw(ticket));
        let Some(waiter) = withdrawn else { return };
        shard.stats.deadlocks += 1;
        let others = circle.iter().filter(|owner| **owner != victim);
        let others: Vec<String> = others.map(|owner| self.owners.label(*owner)).collect();
        let (label, others) = (self.owners.label(victim), others.join(", "));
        tracing::info!(victim = label, others, lock = %name, "a deadlock was broken");
        waiter.ticket.settle(Outcome::Refused(LockError::Deadlock {
            victim: label,
            other: others,
            name: *name,
            mode: waiter.request.mode,
        }));
        self.serve(&mut shard, *name);
    }
}

/// The outcome of a request that is off its queue.
fn settled(ticket: &Ticket) -> Outcome {
    let outcome = ticket.outcome();
    outcome.unwrap_or_else(|| unreachable!("a request off its queue is settled"))
}
