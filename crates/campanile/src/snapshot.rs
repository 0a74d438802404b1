//! Read-only snapshots: one moment of the environment, without locks.
//!
//! Owns the handle. Promises that a snapshot shows exactly what was committed when it was taken,
//! in all databases, and that it neither waits for writers nor makes them wait. Must never keep a
//! log file from being used again; it may fail as too old instead.

use std::fmt;
use std::sync::Arc;

use campanile_btree::Reader;
use campanile_format::FileId;

use crate::Lsn;
use crate::causes;
use crate::core::Core;
use crate::environment::Shared;
use crate::error::Result;

/// A read-only view of what was committed when it was taken. Takes no locks.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let env = campanile::Environment::open(dir.path())?;
/// let accounts = env.create_database("accounts")?;
/// env.run(|txn| accounts.put(txn, "alice", "100"))?;
///
/// let before = env.snapshot()?;
/// env.run(|txn| accounts.put(txn, "alice", "70"))?;
///
/// assert_eq!(accounts.get(&before, "alice")?.as_deref(), Some(&b"100"[..]));
/// assert_eq!(accounts.get(&env.snapshot()?, "alice")?.as_deref(), Some(&b"70"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Snapshot {
    shared: Arc<Shared>,
    inner: campanile_txn::Snapshot,
    /// Which retirements of files it sees.
    generation: u64,
    /// The end of the log once it was taken.
    end: Lsn,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("number", &self.inner.number()).finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(crate) fn take(shared: &Arc<Shared>) -> Result<Snapshot> {
        let core = shared.core();
        core.check_open()?;
        let (inner, generation) = core.retired.capture(|| core.txns.snapshot());
        let inner = inner.map_err(causes::txn)?;
        let end = core.txns.wal().end();
        Ok(Snapshot { shared: Arc::clone(shared), inner, generation, end })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where in the log it stands: everything that was committed below the first position is in
    /// it, nothing that was committed at or after the second. They are one if nobody was writing.
    #[must_use]
    pub fn position(&self) -> (Lsn, Lsn) {
        (self.inner.low_lsn(), self.end)
    }

    pub(crate) fn read<'c, T>(
        &'c self,
        body: impl FnOnce(&'c Core, Reader<'_>) -> Result<T>,
    ) -> Result<T> {
        let core = self.shared.core();
        core.check_open()?;
        body(core, Reader::Snapshot(&self.inner))
    }

    pub(crate) fn resolve(&self, file: FileId) -> Option<FileId> {
        self.shared.core().retired.resolve(file, self.generation, &[])
    }
}
