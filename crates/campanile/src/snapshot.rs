//! Read-only snapshots.

/// A read-only view of what was committed when it was taken. Takes no locks.
#[derive(Debug)]
pub struct Snapshot {}
