//! Two-phase commit: transactions that wait for a coordinator.
//!
//! Owns the handle, the list and the resolution by global id. Promises that a prepared transaction
//! can be resolved in any later life of the environment as in this one, with the same effect on
//! databases that it dropped or emptied. Must never resolve one because a handle was dropped.

use std::fmt;
use std::sync::Arc;

use campanile_format::TxnId;
use campanile_txn::log_distance;
use serde::Serialize;

use crate::catalog_history::History;
use crate::core::Core;
use crate::environment::{Environment, Shared};
use crate::error::Result;
use crate::inspect::lsn_as_text;
use crate::retired::Retirement;
use crate::{Lsn, causes};

/// A transaction that is prepared; see [`Transaction::prepare`](crate::Transaction::prepare).
///
/// Dropping it decides nothing: the transaction stays prepared, also when the environment is
/// closed or the process dies, and is found by [`Environment::prepared`].
#[must_use = "a prepared transaction keeps its locks and its log until it is resolved"]
pub struct Prepared {
    shared: Arc<Shared>,
    gid: Vec<u8>,
}

impl Prepared {
    pub(crate) fn new(shared: &Arc<Shared>, gid: &[u8]) -> Prepared {
        Prepared { shared: Arc::clone(shared), gid: gid.to_vec() }
    }

    /// The coordinator's name for it.
    #[must_use]
    pub fn gid(&self) -> &[u8] {
        &self.gid
    }

    /// Commits it; see [`Environment::commit_prepared`].
    pub fn commit(self) -> Result<Lsn> {
        commit(self.shared.core(), &self.gid)
    }

    /// Rolls it back; see [`Environment::abort_prepared`].
    pub fn abort(self) -> Result<()> {
        abort(self.shared.core(), &self.gid)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("gid", &format_args!("{}", Gid(&self.gid))).finish()
    }
}

/// A global id as people read it: as text if all of it can be printed, else in hexadecimal.
struct Gid<'a>(&'a [u8]);

impl fmt::Display for Gid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match text_of(self.0) {
            Some(text) => write!(f, "{text:?}"),
            None => write!(f, "0x{}", hex_of(self.0)),
        }
    }
}

pub(crate) fn text_of(gid: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(gid).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

pub(crate) fn hex_of(gid: &[u8]) -> String {
    gid.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is known of a prepared transaction; see [`Environment::prepared`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PreparedTransaction {
    /// The coordinator's name for it.
    #[serde(skip)]
    pub gid: Vec<u8>,
    /// The same as text, if all of it can be printed.
    #[serde(rename = "gid")]
    pub gid_text: Option<String>,
    /// The same, byte by byte in hexadecimal.
    pub gid_hex: String,
    /// The transaction's number.
    pub id: u64,
    /// Its first record: the log is kept from here on.
    #[serde(serialize_with = "lsn_as_text")]
    pub first: Lsn,
    /// When it was prepared, in microseconds since 1970.
    pub prepared_us: u64,
    /// Log that is kept for it, in bytes: it grows until the transaction is resolved.
    pub log_bytes_kept: u64,
}

impl fmt::Display for PreparedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PreparedTransaction { gid, id, first, log_bytes_kept, .. } = self;
        write!(f, "{} (transaction {id}, log kept from {first}: ", Gid(gid))?;
        write!(f, "{log_bytes_kept} bytes)")
    }
}

/// Two-phase commit.
impl Environment {
    /// The transactions that are prepared and wait for their coordinator, in the order of their
    /// global ids: of this life of the environment and of earlier ones.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let home = dir.path();
    /// use campanile::Environment;
    ///
    /// let env = Environment::open(home)?;
    /// let accounts = env.create_database("accounts")?;
    /// let mut txn = env.begin()?;
    /// accounts.put(&mut txn, "alice", "100")?;
    /// let prepared = txn.prepare(b"transfer 17")?;
    /// # drop((prepared, accounts));
    /// env.abandon(); // as if the process had been killed here
    ///
    /// let env = Environment::open(home)?;
    /// let accounts = env.open_database("accounts")?;
    /// assert_eq!(env.prepared()[0].gid, b"transfer 17");
    /// assert!(accounts.get(&env.snapshot()?, "alice")?.is_none());
    /// env.commit_prepared(b"transfer 17")?;
    /// assert!(accounts.get(&env.snapshot()?, "alice")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn prepared(&self) -> Vec<PreparedTransaction> {
        let txns = &self.core().txns;
        let (end, file_bytes) = (txns.wal().end(), txns.control().log_file_bytes);
        let shown = |known: campanile_txn::PreparedTxn| PreparedTransaction {
            gid_text: text_of(&known.gid).map(str::to_owned),
            gid_hex: hex_of(&known.gid),
            id: known.id.0,
            first: known.first,
            prepared_us: known.time_us,
            log_bytes_kept: log_distance(known.first, end, file_bytes),
            gid: known.gid,
        };
        txns.prepared().into_iter().map(shown).collect()
    }

    /// Commits the transaction that is prepared as `gid`: when this returns, that survives a power
    /// cut, whatever the environment's durability is.
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none.
    pub fn commit_prepared(&self, gid: &[u8]) -> Result<Lsn> {
        commit(self.core(), gid)
    }

    /// Rolls the transaction that is prepared as `gid` back: when this returns, that survives a
    /// power cut.
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none.
    pub fn abort_prepared(&self, gid: &[u8]) -> Result<()> {
        abort(self.core(), gid)
    }
}

fn commit(core: &Core, gid: &[u8]) -> Result<Lsn> {
    inside(core, |core| {
        let known = core.txns.find_prepared(gid).map_err(causes::txn)?;
        // What this one retired must not be published by another that takes its global id over.
        let retirements = retirements(core, known.id)?;
        let commit = || core.txns.commit_known(&known).map_err(causes::txn);
        let committed = core.retired.publish(&retirements, commit)?;
        core.prepared_retirements.lock().remove(&known.id);
        Ok(committed)
    })
}

fn abort(core: &Core, gid: &[u8]) -> Result<()> {
    inside(core, |core| {
        let known = core.txns.find_prepared(gid).map_err(causes::txn)?;
        core.txns.abort_known(&known).map_err(causes::txn)?;
        core.prepared_retirements.lock().remove(&known.id);
        Ok(())
    })
}

/// Keeps the environment open meanwhile.
fn inside<T>(core: &Core, work: impl FnOnce(&Core) -> Result<T>) -> Result<T> {
    core.check_writable()?;
    core.gate.enter()?;
    let done = work(core);
    core.gate.leave();
    done
}

/// What a prepared transaction retired: known, or, if of an earlier life, read from its records.
fn retirements(core: &Core, id: TxnId) -> Result<Vec<Retirement>> {
    let known = core.prepared_retirements.lock().get(&id).cloned();
    if let Some(known) = known {
        return Ok(known);
    }
    let mut history = History::default();
    core.txns.prepared_changes(id, &mut |undo| history.look(undo)).map_err(causes::txn)?;
    history.retirements(core)
}
