//! The table's state for operators.
//!
//! Owns: [`Dump`] and its text. Promises: each lock is shown as it was at one moment; different
//! locks may be a moment apart. Must never: be needed by the table itself.

use std::fmt;

use crate::mode::Mode;
use crate::name::LockName;
use crate::owner::OwnerId;

/// Everything that is locked, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dump {
    /// The owners, in order of registration.
    pub owners: Vec<DumpedOwner>,
    /// The locks, by name.
    pub locks: Vec<DumpedLock>,
}

/// One owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpedOwner {
    /// Its number.
    pub id: OwnerId,
    /// What errors call it.
    pub label: String,
    /// Whom it is nested in.
    pub parent: Option<OwnerId>,
    /// Its priority.
    pub priority: u32,
    /// How many locks it holds.
    pub locks: usize,
    /// How many writes it has made.
    pub writes: u64,
}

/// One lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpedLock {
    /// What it is on.
    pub name: LockName,
    /// Who holds it.
    pub holders: Vec<(OwnerId, Mode)>,
    /// Who waits, in order of arrival.
    pub waiters: Vec<(OwnerId, Mode)>,
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} owners", self.owners.len())?;
        for owner in &self.owners {
            write!(f, "  {}: {}", owner.id, owner.label)?;
            if let Some(parent) = owner.parent {
                write!(f, ", in {parent}")?;
            }
            let DumpedOwner { priority, locks, writes, .. } = owner;
            writeln!(f, ", priority {priority}, {locks} locks, {writes} writes")?;
        }
        writeln!(f, "{} locks", self.locks.len())?;
        for lock in &self.locks {
            writeln!(f, "  {}", lock.name)?;
            for (owner, mode) in &lock.holders {
                writeln!(f, "    {owner} holds {mode}")?;
            }
            for (owner, mode) in &lock.waiters {
                writeln!(f, "    {owner} waits for {mode}")?;
            }
        }
        Ok(())
    }
}
