//! Deadlocks: who waits for whom, circles, and who gives way.
//!
//! Owns: the list of waiting owners and the search. Promises: a circle is found by the request
//! that closes it, before that request sleeps (L4). Must never: be touched by a request that is
//! granted at once.
//!
//! Why this is exact. Every sleeper is in `waiting` before it looks, and looks under the mutex
//! around this structure: of the requests of a circle, the last to enter sees all others. Somebody
//! who is waiting releases nothing, so what the search sees of a circle stays true while it looks;
//! only a timeout can break a circle behind its back, and then the victim's retry is in vain but
//! harmless.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use campanile_sync::time::Instant;

use crate::name::LockName;
use crate::options::VictimPolicy;
use crate::owner::OwnerId;
use crate::ticket::Ticket;

/// Where an owner waits.
#[derive(Debug, Clone)]
pub(crate) struct WaitingFor {
    pub name: LockName,
    pub ticket: Arc<Ticket>,
    pub since: Instant,
}

/// What victim selection knows of an owner in a circle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub owner: OwnerId,
    pub priority: u32,
    pub started: u64,
    pub locks: usize,
    pub writes: u64,
}

/// The waiting owners. Locked before any shard, never after.
#[derive(Debug)]
pub(crate) struct Detector {
    pub waiting: HashMap<OwnerId, WaitingFor>,
    /// Searches that are over.
    pub searches: u64,
    random: u64,
}

impl Detector {
    pub fn new(seed: u64) -> Detector {
        Detector { waiting: HashMap::new(), searches: 0, random: seed | 1 }
    }

    /// A circle through `start`: owners each of which waits for the next, the last for `start`.
    /// `edges` appends to its second argument the owners that its first one waits for.
    pub fn find_circle(
        start: OwnerId,
        mut edges: impl FnMut(OwnerId, &mut Vec<OwnerId>),
    ) -> Option<Vec<OwnerId>> {
        let mut path: Vec<(OwnerId, Vec<OwnerId>)> = Vec::new();
        let mut seen = HashSet::from([start]);
        let mut next = Vec::new();
        edges(start, &mut next);
        path.push((start, next));
        while let Some((_, open)) = path.last_mut() {
            let Some(owner) = open.pop() else {
                path.pop();
                continue;
            };
            if owner == start {
                return Some(path.into_iter().map(|(owner, _)| owner).collect());
            }
            if seen.insert(owner) {
                let mut next = Vec::new();
                edges(owner, &mut next);
                path.push((owner, next));
            }
        }
        None
    }

    /// Chooses among the waiting owners of a circle.
    pub fn choose(&mut self, policy: VictimPolicy, candidates: &[Candidate]) -> Option<OwnerId> {
        let lowest = candidates.iter().map(|candidate| candidate.priority).min()?;
        let weakest = candidates.iter().filter(|candidate| candidate.priority == lowest);
        let youngest_first = |candidate: &&Candidate| u64::MAX - candidate.started;
        let chosen = match policy {
            VictimPolicy::Youngest => weakest.min_by_key(youngest_first),
            VictimPolicy::Oldest => weakest.min_by_key(|one| one.started),
            VictimPolicy::FewestLocks => weakest.min_by_key(|one| (one.locks, youngest_first(one))),
            VictimPolicy::MostLocks => {
                weakest.min_by_key(|one| (usize::MAX - one.locks, youngest_first(one)))
            }
            VictimPolicy::FewestWrites => {
                weakest.min_by_key(|one| (one.writes, youngest_first(one)))
            }
            VictimPolicy::Random => {
                let weakest: Vec<&Candidate> = weakest.collect();
                let pick = self.next_random() % weakest.len() as u64;
                weakest.get(pick as usize).copied()
            }
        };
        chosen.map(|candidate| candidate.owner)
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
