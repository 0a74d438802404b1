//! One lock: who has it, who waits for it, and who goes next.
//!
//! Owns: the rules of granting. Promises: no two strangers hold incompatible modes (L1); requests
//! that conflict are served in order of arrival, except that a family which holds the lock already
//! goes first (L2), since others wait for that family anyway. Must never: sleep, or know other
//! locks.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mode::{Brief, Mode};
use crate::owner::OwnerId;
use crate::ticket::Ticket;

/// What an owner holds: something to its end, something for a while, or both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant {
    pub owner: OwnerId,
    /// What it holds until it ends.
    lasting: Mode,
    /// How many look at the key ([`Brief::Look`]).
    looks: u32,
    /// The gap is being divided ([`Brief::Divide`]).
    divides: bool,
}

impl Grant {
    const fn none(owner: OwnerId) -> Grant {
        Grant { owner, lasting: Mode::NONE, looks: 0, divides: false }
    }

    /// All that it holds now.
    pub fn mode(&self) -> Mode {
        let mut mode = self.lasting;
        if self.looks > 0 {
            mode = mode.join(Brief::Look.mode());
        }
        if self.divides {
            mode = mode.join(Brief::Divide.mode());
        }
        mode
    }

    fn add(&mut self, mode: Mode, hold: Hold) {
        match hold {
            Hold::Instant => {}
            Hold::Briefly(Brief::Look) => self.looks += 1,
            Hold::Briefly(Brief::Divide) => {
                assert!(!self.divides, "{} divides a gap twice at once", self.owner);
                self.divides = true;
            }
            Hold::ToEnd => self.lasting = self.lasting.join(mode),
        }
    }
}

/// For how long something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The owner only wants to know that it could have had it at some instant.
    Instant,
    /// Until it is given back.
    Briefly(Brief),
    /// Until the owner ends.
    ToEnd,
}

/// What somebody wants, now or as soon as it can be had.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub owner: OwnerId,
    pub ancestors: Arc<[OwnerId]>,
    /// What was asked for; held afterwards is the join of this and what was held before. Only
    /// what is asked for can conflict: what is held is compatible with all holders already, and
    /// those who wait for it to go must not hold up its holder.
    pub mode: Mode,
    pub hold: Hold,
}

impl Request {
    /// Whether `other` is this owner or an ancestor of it.
    fn is_family(&self, other: OwnerId) -> bool {
        other == self.owner || self.ancestors.contains(&other)
    }
}

/// A request in the queue.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub request: Request,
    pub ticket: Arc<Ticket>,
}

/// One lock.
#[derive(Debug, Default)]
pub(crate) struct Lock {
    pub grants: Vec<Grant>,
    pub queue: VecDeque<Waiter>,
}

impl Lock {
    /// Nobody has it and nobody wants it.
    pub fn is_idle(&self) -> bool {
        self.grants.is_empty() && self.queue.is_empty()
    }

    fn grant_of(&self, owner: OwnerId) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.owner == owner)
    }

    /// The mode that `owner` itself holds now.
    pub fn mode_of(&self, owner: OwnerId) -> Mode {
        self.grant_of(owner).map_or(Mode::NONE, Grant::mode)
    }

    /// The mode that `owner` itself holds to its end.
    pub fn lasting_of(&self, owner: OwnerId) -> Mode {
        self.grant_of(owner).map_or(Mode::NONE, |grant| grant.lasting)
    }

    /// Changes what `owner` holds; returns the mode before.
    fn change(&mut self, owner: OwnerId, change: impl FnOnce(&mut Grant)) -> Mode {
        let found = self.grants.iter().position(|grant| grant.owner == owner);
        let mut grant = found.map_or(Grant::none(owner), |at| self.grants[at]);
        let before = grant.mode();
        change(&mut grant);
        match found {
            Some(at) if grant.mode().is_none() => drop(self.grants.swap_remove(at)),
            Some(at) => self.grants[at] = grant,
            None if grant.mode().is_none() => {}
            None => self.grants.push(grant),
        }
        before
    }

    /// Adds to what `owner` holds; returns the mode before.
    pub fn add(&mut self, owner: OwnerId, mode: Mode, hold: Hold) -> Mode {
        self.change(owner, |grant| grant.add(mode, hold))
    }

    /// Sets what `owner` holds to its end.
    pub fn set_lasting(&mut self, owner: OwnerId, mode: Mode) {
        self.change(owner, |grant| grant.lasting = mode);
    }

    /// Ends one brief hold of `owner`; false if there is none (any more).
    pub fn end_brief(&mut self, owner: OwnerId, brief: Brief) -> bool {
        let mut ended = false;
        self.change(owner, |grant| match brief {
            Brief::Look => {
                ended = grant.looks > 0;
                grant.looks = grant.looks.saturating_sub(1);
            }
            Brief::Divide => ended = std::mem::take(&mut grant.divides),
        });
        ended
    }

    /// Takes everything from `owner`; returns what it held to its end, and in all.
    pub fn take(&mut self, owner: OwnerId) -> (Mode, Mode) {
        let lasting = self.lasting_of(owner);
        (lasting, self.change(owner, |grant| *grant = Grant::none(owner)))
    }

    /// Whether the request's family holds the lock in any mode: such a request goes ahead of
    /// strangers, who wait for that family in any case.
    pub fn is_inside(&self, request: &Request) -> bool {
        self.grants.iter().any(|grant| request.is_family(grant.owner))
    }

    /// Calls `found` for each owner that `request` must wait for when it stands at `place` in the
    /// queue (or at its end); `found` returns false to stop.
    pub fn each_blocker(
        &self,
        request: &Request,
        place: usize,
        mut found: impl FnMut(OwnerId) -> bool,
    ) {
        let conflicts = |mode: Mode| !mode.is_compatible(request.mode);
        for grant in &self.grants {
            let stranger = !request.is_family(grant.owner);
            if stranger && conflicts(grant.mode()) && !found(grant.owner) {
                return;
            }
        }
        if self.queue.is_empty() {
            return;
        }
        let inside = self.is_inside(request);
        for (at, waiter) in self.queue.iter().enumerate() {
            let ahead = match (self.is_inside(&waiter.request), inside) {
                (true, false) => true,
                (false, true) => false,
                _ => at < place,
            };
            let stranger = !request.is_family(waiter.request.owner);
            if ahead && stranger && conflicts(waiter.request.mode) && !found(waiter.request.owner) {
                return;
            }
        }
    }

    /// Whether somebody who holds the lock hinders `request`, whose owner holds as much already: a
    /// descendant of it, since nobody else may (L1).
    pub fn is_hindered_inside(&self, request: &Request) -> bool {
        let hinders = |grant: &Grant| {
            !request.is_family(grant.owner) && !grant.mode().is_compatible(request.mode)
        };
        self.grants.len() > 1 && self.grants.iter().any(hinders)
    }

    /// The first owner that `request` must wait for at `place`.
    pub fn first_blocker(&self, request: &Request, place: usize) -> Option<OwnerId> {
        let mut first = None;
        self.each_blocker(request, place, |owner| {
            first = Some(owner);
            false
        });
        first
    }

    /// Takes every waiter off the queue that can be served now, grants those that hold it, and
    /// hands each to `served`, with the mode that its owner held before if it holds the new one.
    pub fn promote(&mut self, mut served: impl FnMut(Waiter, Option<Mode>)) {
        let mut at = 0;
        while let Some(waiter) = self.queue.get(at) {
            if self.first_blocker(&waiter.request, at).is_some() {
                at += 1;
                continue;
            }
            let Some(waiter) = self.queue.remove(at) else { return };
            let Request { owner, mode, hold, .. } = waiter.request;
            let before = (hold != Hold::Instant).then(|| self.add(owner, mode, hold));
            served(waiter, before);
            // The grant may let its family go ahead of others: look again from the front.
            at = 0;
        }
    }

    /// Where in the queue the waiter with this ticket stands.
    pub fn place_of(&self, ticket: &Arc<Ticket>) -> Option<usize> {
        self.queue.iter().position(|waiter| Arc::ptr_eq(&waiter.ticket, ticket))
    }

    /// Takes the waiter with this ticket off the queue; `None` if it is no longer there.
    pub fn withdraw(&mut self, ticket: &Arc<Ticket>) -> Option<Waiter> {
        let place = self.place_of(ticket)?;
        self.queue.remove(place)
    }
}
