//! Who is there, and who waits for whom: for operators.
//!
//! Owns: [`OwnerReport`]. Promises: costs nothing while nobody asks; owners may be shown a moment
//! apart. Must never: hold anything up for longer than it takes to copy one owner.

use std::time::Duration;

use crate::name::LockName;
use crate::owner::OwnerId;
use crate::table::LockTable;

/// An owner of locks, now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnerReport {
    /// Its number.
    pub owner: OwnerId,
    /// What errors call it.
    pub label: String,
    /// Whom it is nested in.
    pub parent: Option<OwnerId>,
    /// How long it has been known.
    pub age: Duration,
    /// How many locks it holds.
    pub locks: usize,
    /// What it waits for.
    pub waiting: Option<WaitReport>,
}

/// A wait, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitReport {
    /// The lock.
    pub name: LockName,
    /// For how long already.
    pub waited: Duration,
    /// The first that stands in the way; none if that was over when it was looked for.
    pub blocker: Option<OwnerId>,
}

impl LockTable {
    /// All known owners, in order of registration.
    #[must_use]
    pub fn report(&self) -> Vec<OwnerReport> {
        let owners = self.owners.list().into_iter();
        owners.filter_map(|owner| self.report_on(owner)).collect()
    }

    fn report_on(&self, owner: OwnerId) -> Option<OwnerReport> {
        let label = self.owners.label(owner);
        let mut report = self.owners.peek(owner, |known| OwnerReport {
            owner,
            label,
            parent: known.info.parent,
            age: known.since.elapsed(),
            locks: known.held.len(),
            waiting: None,
        })?;
        let detector = self.detector.lock();
        let waiting = detector.waiting.get(&owner);
        report.waiting = waiting.map(|waiting| {
            let mut blockers = Vec::new();
            self.waits_for(Some(waiting), owner, &mut blockers);
            WaitReport {
                name: waiting.name,
                waited: waiting.since.elapsed(),
                blocker: blockers.first().copied(),
            }
        });
        Some(report)
    }
}
