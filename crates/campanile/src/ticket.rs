//! Durability tickets: committed now, durable a little later.
//!
//! Owns [`Ticket`]. Promises that a ticket says durable only of what survives a power cut, also
//! after the environment was poisoned or closed, and that it becomes durable without anybody
//! waiting for it. Must never undo: what is committed is visible and stays so in this life.

use std::fmt;
use std::sync::Arc;

use campanile_format::Lsn;

use crate::causes;
use crate::core::Core;
use crate::environment::Shared;
use crate::error::Result;

/// The promise that a commit becomes durable; see
/// [`Transaction::commit_ticket`](crate::Transaction::commit_ticket).
///
/// Many callers can commit, hold their tickets, and answer their own clients when the tickets say
/// so: one sync of the log serves all of them, and nobody blocks meanwhile. A ticket can be cloned
/// and sent to another thread; dropping it changes nothing, the commit becomes durable all the
/// same. Like every handle it keeps the environment open.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let env = campanile::Environment::open(dir.path())?;
/// let accounts = env.create_database("accounts")?;
///
/// let mut tickets = Vec::new();
/// for name in ["alice", "bob", "carol"] {
///     let mut txn = env.begin()?;
///     accounts.put(&mut txn, name, "100")?;
///     tickets.push(txn.commit_ticket()?); // visible to everybody, not yet safe from a power cut
/// }
/// for ticket in &tickets {
///     ticket.wait()?; // now it is
/// }
/// assert!(tickets.iter().all(|ticket| ticket.is_durable()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "until the ticket says so, a power cut may take the commit back"]
pub struct Ticket {
    shared: Arc<Shared>,
    lsn: Lsn,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let durable = self.is_durable();
        f.debug_struct("Ticket").field("lsn", &self.lsn).field("durable", &durable).finish()
    }
}

impl Ticket {
    /// A ticket for the commit at `lsn`; the background will see to it.
    pub(crate) fn new(shared: &Arc<Shared>, lsn: Lsn) -> Ticket {
        shared.core().txns.wal().want_durable(lsn);
        Ticket { shared: Arc::clone(shared), lsn }
    }

    /// The position of the commit in the log; [`Lsn::NONE`] if nothing was changed. Tickets of one
    /// environment become durable in the order of these.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether the commit survives a power cut by now. Costs one read of memory; never goes back.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        is_durable(self.shared.core(), self.lsn)
    }

    /// Returns when the commit is durable, sharing a sync of the log with all who wait.
    ///
    /// An error means that the log could not be written: the environment is poisoned, and the next
    /// recovery decides whether the transaction happened, whole or not at all. A ticket that was
    /// durable before stays so.
    pub fn wait(&self) -> Result<()> {
        wait_durable(self.shared.core(), self.lsn)
    }
}

fn is_durable(core: &Core, lsn: Lsn) -> bool {
    lsn.is_none() || core.txns.wal().durable() > lsn
}

/// Makes the log durable beyond the record at `lsn`.
pub(crate) fn wait_durable(core: &Core, lsn: Lsn) -> Result<()> {
    if is_durable(core, lsn) {
        return Ok(());
    }
    // Beside closing, which makes everything durable and then lets nobody write any more.
    let flushed = core.tend(|core| core.txns.wal().flush(lsn).map_err(causes::wal));
    if is_durable(core, lsn) { Ok(()) } else { flushed }
}
