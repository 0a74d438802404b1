//! Why a backup or a log file stays, or goes: one word for each row of the retention table.
//!
//! Owns the reasons and what is printed for them. Promises that each says by itself whether what
//! it is about stays. Must never decide.

use std::fmt;

use campanile_format::Timeline;

/// Why something stays, or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Stays: somebody marked it.
    Marked,
    /// Stays: it is among the last so many.
    AmongLast(u32),
    /// Stays: it is younger than so many days.
    WithinDays(u32),
    /// Stays: the first moments of so many days are restored from it.
    IntoDays(u32),
    /// Stays: it is the newest complete backup.
    Newest,
    /// Stays: none is nearer to the end of a history that was written lately.
    OnlyWayTo(Timeline),
    /// Stays: another that stays is an increment of it.
    BaseOf(String),
    /// Stays: it was never completed, or its base is missing, but the policy keeps what is as old.
    YoungPartial,
    /// Stays: nothing says how old it is.
    NoTime,
    /// Stays: it is of another environment.
    Foreign,
    /// Stays: a backup that stays needs it on the way to the end of its history.
    NeededBy(String),
    /// Stays: it says where its history left another.
    BranchFrom(Timeline),
    /// Stays: no backup that stays makes it needless for certain.
    NothingReplacesIt,
    /// Goes: the policy does not keep it.
    OlderThanPolicy,
    /// Goes: it was never completed.
    Partial,
    /// Goes: what it is an increment of is not there.
    Broken(String),
    /// Goes: every backup that stays begins later.
    BeforeAll,
    /// Goes: no backup that stays reaches its history.
    Unreachable,
}

impl Reason {
    /// Whether what it is about stays.
    #[must_use]
    pub fn stays(&self) -> bool {
        !matches!(
            self,
            Reason::OlderThanPolicy
                | Reason::Partial
                | Reason::Broken(_)
                | Reason::BeforeAll
                | Reason::Unreachable
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Marked => write!(f, "it has a keep mark"),
            Reason::AmongLast(1) => write!(f, "it is the last one"),
            Reason::AmongLast(last) => write!(f, "it is among the last {last}"),
            Reason::WithinDays(days) => write!(f, "it is not older than {days} days"),
            Reason::IntoDays(days) => {
                write!(f, "the first moments of the last {days} days are restored from it")
            }
            Reason::Newest => write!(f, "it is the newest complete backup"),
            Reason::OnlyWayTo(timeline) => {
                write!(f, "no newer backup reaches the end of timeline {timeline}")
            }
            Reason::BaseOf(name) => write!(f, "backup {name} is an increment of it"),
            Reason::YoungPartial => {
                write!(f, "it cannot be restored, but is as young as what the policy keeps")
            }
            Reason::NoTime => write!(f, "its name is no time: it may not be a backup"),
            Reason::Foreign => write!(f, "it is of another environment"),
            Reason::NeededBy(name) => write!(f, "backup {name} needs it"),
            Reason::BranchFrom(timeline) => {
                write!(f, "it says where its history left timeline {timeline}")
            }
            Reason::NothingReplacesIt => write!(f, "no backup that stays makes it needless"),
            Reason::OlderThanPolicy => write!(f, "it is older than what the policy keeps"),
            Reason::Partial => write!(f, "it was never completed"),
            Reason::Broken(base) => write!(f, "it is an increment, and {base} is not there"),
            Reason::BeforeAll => write!(f, "every backup that stays begins later"),
            Reason::Unreachable => write!(f, "no backup that stays reaches its history"),
        }
    }
}
