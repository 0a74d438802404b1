//! The checker of histories: finds Adya's anomalies, names them, and says which of them the
//! promises made to the transactions forbid.
//!
//! Owns the verdict. Steps: the order of versions and what is wrong without any graph (`orders`),
//! the dependencies between transactions with a reason for each (`edges`), circles on growing sets
//! of them (`cycles`). Promises: linear in the length of a history that is right. Must never look
//! at anything but the history.
//!
//! C1  Where transactions were promised different levels, Adya's mixed graph decides: a write
//!     dependency binds everybody, a read dependency binds readers of committed data, an
//!     anti-dependency binds readers that are protected until their end (serializable ones and
//!     snapshots). A circle of binding edges is forbidden, any other is permitted and reported.
//! C2  Real time binds as well: what was acknowledged before another transaction began comes
//!     before it.

pub mod cycles;
pub mod edges;
pub mod orders;
#[cfg(test)]
mod tests;

use crate::history::History;
use std::collections::BTreeMap;
use std::fmt;

/// What can be wrong with a history, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The history itself is no list-append history: nothing can be said of it.
    Malformed,
    /// An element stands twice in a list, or one that nobody appended stands in it.
    Garbage,
    /// Two reads of one list, neither of which is the beginning of the other: an update was lost
    /// or undone.
    IncompatibleOrder,
    /// A transaction did not see its own appends, or its reads changed under it.
    Internal,
    /// Aborted read.
    G1a,
    /// Intermediate read.
    G1b,
    /// Circle of write dependencies: dirty writes.
    G0,
    /// Circle of write and read dependencies: circular information flow.
    G1c,
    /// Circle with exactly one anti-dependency: read skew, lost update.
    GSingle,
    /// Circle with anti-dependencies, no two of them adjacent: not even snapshot isolation.
    GNonadjacent,
    /// Circle with anti-dependencies on single keys: write skew.
    G2Item,
    /// Circle with an anti-dependency on a range: phantoms.
    G2,
    /// A circle only with the order of time: stale reads, lost acknowledged commits.
    Realtime,
}

impl Kind {
    /// As papers call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Malformed => "malformed history",
            Kind::Garbage => "garbage",
            Kind::IncompatibleOrder => "incompatible order",
            Kind::Internal => "internal",
            Kind::G1a => "G1a",
            Kind::G1b => "G1b",
            Kind::G0 => "G0",
            Kind::G1c => "G1c",
            Kind::GSingle => "G-single",
            Kind::GNonadjacent => "G-nonadjacent",
            Kind::G2Item => "G2-item",
            Kind::G2 => "G2",
            Kind::Realtime => "real time",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug)]
pub struct Anomaly {
    /// What it is.
    pub kind: Kind,
    /// The promises made exclude it.
    pub forbidden: bool,
    /// An anti-dependency of a range takes part: a phantom.
    pub predicate: bool,
    /// Between whom, and why: every step of the circle with its reason.
    pub proof: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permitted = if self.forbidden { "forbidden" } else { "permitted" };
        write!(f, "{} ({permitted}): {}", self.kind.name(), self.proof)
    }
}

/// All that was found in a history.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order in which they were looked for; of circles one of each kind and component.
    pub anomalies: Vec<Anomaly>,
}

impl Report {
    /// What the promises exclude.
    pub fn forbidden(&self) -> impl Iterator<Item = &Anomaly> {
        self.anomalies.iter().filter(|anomaly| anomaly.forbidden)
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.forbidden().next().is_none()
    }

    /// Whether an anomaly of this kind was seen, forbidden or not.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.anomalies.iter().any(|anomaly| anomaly.kind == kind)
    }

    /// Whether a phantom was seen, forbidden or not.
    #[must_use]
    pub fn has_phantom(&self) -> bool {
        self.anomalies.iter().any(|anomaly| anomaly.predicate)
    }

    /// How many of each kind.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Kind, u64> {
        let mut counts = BTreeMap::new();
        for anomaly in &self.anomalies {
            *counts.entry(anomaly.kind).or_default() += 1;
        }
        counts
    }
}

/// Whether the order of time counts (C2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Strict: acknowledged before begun is before.
    Binds,
    /// Only what was read and written says anything.
    Ignored,
}

/// Judges a history in which nothing is in doubt any more.
#[must_use]
pub fn check(history: &History, time: Time) -> Report {
    let orders = match orders::infer(history) {
        Ok(orders) => orders,
        Err(proof) => {
            let kind = Kind::Malformed;
            let anomaly = Anomaly { kind, forbidden: true, predicate: false, proof };
            return Report { anomalies: vec![anomaly] };
        }
    };
    let mut anomalies = orders::direct(history, &orders);
    let graph = edges::build(history, &orders, time);
    anomalies.extend(cycles::find(history, &graph));
    Report { anomalies }
}
