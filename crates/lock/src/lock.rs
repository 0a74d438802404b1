//! One lock: who has it, who waits for it, and who goes next.
//!
//! Owns: the rules of granting. Promises: no two strangers hold incompatible modes (L1); requests
//! that conflict are served in order of arrival, except that a family which holds the lock already
//! goes first (L2), since others wait for that family anyway. Must never: sleep, or know other
//! locks.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mode::Mode;
use crate::owner::OwnerId;
use crate::ticket::Ticket;

/// A mode that an owner holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant {
    pub owner: OwnerId,
    pub mode: Mode,
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
    /// False: the owner only wants to know that it could have had the mode at some instant.
    pub keep: bool,
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

    /// The mode that `owner` itself holds.
    pub fn mode_of(&self, owner: OwnerId) -> Mode {
        let grant = self.grants.iter().find(|grant| grant.owner == owner);
        grant.map_or(Mode::NONE, |grant| grant.mode)
    }

    /// Sets the mode that `owner` holds; returns what it was.
    pub fn set_mode(&mut self, owner: OwnerId, mode: Mode) -> Mode {
        let at = self.grants.iter().position(|grant| grant.owner == owner);
        match at {
            Some(at) if mode.is_none() => self.grants.swap_remove(at).mode,
            Some(at) => std::mem::replace(&mut self.grants[at].mode, mode),
            None => {
                if !mode.is_none() {
                    self.grants.push(Grant { owner, mode });
                }
                Mode::NONE
            }
        }
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
            if stranger && conflicts(grant.mode) && !found(grant.owner) {
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

    /// The first owner that `request` must wait for at `place`.
    pub fn first_blocker(&self, request: &Request, place: usize) -> Option<OwnerId> {
        let mut first = None;
        self.each_blocker(request, place, |owner| {
            first = Some(owner);
            false
        });
        first
    }

    /// Takes every waiter off the queue that can be served now, grants those that keep, and hands
    /// each to `served`, with the mode that its owner held before if it keeps the new one.
    pub fn promote(&mut self, mut served: impl FnMut(Waiter, Option<Mode>)) {
        let mut at = 0;
        while let Some(waiter) = self.queue.get(at) {
            if self.first_blocker(&waiter.request, at).is_some() {
                at += 1;
                continue;
            }
            let Some(waiter) = self.queue.remove(at) else { return };
            let Request { owner, mode, keep, .. } = waiter.request;
            let before = keep.then(|| {
                let held = self.mode_of(owner);
                self.set_mode(owner, held.join(mode))
            });
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
