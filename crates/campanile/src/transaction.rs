//! Read-write transactions: what users hold of one.
//!
//! Owns the handle and its end. Promises that a transaction that is dropped is rolled back, that
//! it is `Send`, and that what it did to the catalog is visible to others exactly when its data
//! is. Must never be usable after it ended: commit and abort consume it.

use std::fmt;
use std::sync::Arc;

use campanile_btree::Reader;
use campanile_format::{FileId, Lsn};
use campanile_sync::Mutex;
use campanile_txn::{Access, Txn};

use crate::causes;
use crate::core::Core;
use crate::environment::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::family::Family;
use crate::nested::Nested;
use crate::options::Durability;
use crate::prepared::Prepared;
use crate::retired::{Fate, Retirement};
use crate::ticket::Ticket;

/// A read-write transaction, serializable: it behaves as if it ran alone.
///
/// It sees its own changes. Others see them, all at once, when it commits. Dropping it rolls it
/// back.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let env = campanile::Environment::open(dir.path())?;
/// let accounts = env.create_database("accounts")?;
///
/// let mut txn = env.begin()?;
/// accounts.put(&mut txn, "alice", "100")?;
/// let before_bob = txn.savepoint()?;
/// accounts.put(&mut txn, "bob", "50")?;
/// txn.rollback_to(&before_bob)?;
/// let lsn = txn.commit()?; // durable when it returns
///
/// assert!(accounts.get(&env.snapshot()?, "bob")?.is_none());
/// # let _ = lsn;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction {
    shared: Arc<Shared>,
    /// Its number: known while a statement waits.
    id: u64,
    /// What `commit` promises.
    durability: Durability,
    /// Its parent and its children.
    family: Arc<Family>,
    /// Present until the transaction ends.
    state: Mutex<Option<State>>,
}

struct State {
    txn: Txn,
    savepoints: Savepoints,
}

/// A place in a transaction to which it can be rolled back; see [`Transaction::savepoint`].
#[derive(Clone, Debug)]
pub struct Savepoint {
    /// The transaction it belongs to, of which environment; the address is only compared.
    txn: (usize, u64),
    number: u64,
    inner: campanile_txn::Savepoint,
    retirements: usize,
}

/// Which savepoints of a transaction still stand.
#[derive(Debug, Default)]
struct Savepoints {
    next: u64,
    /// Numbers that a rollback went over, ascending: after the first, before the second.
    gone: Vec<(u64, u64)>,
}

impl Savepoints {
    fn take(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn stands(&self, number: u64) -> bool {
        !self.gone.iter().any(|(after, before)| *after < number && number < *before)
    }

    /// Every savepoint after `number` is gone.
    fn roll_back_to(&mut self, number: u64) {
        while self.gone.pop_if(|(after, _)| *after >= number).is_some() {}
        if number < self.next {
            self.gone.push((number, self.next + 1));
        }
    }
}

impl Transaction {
    pub(crate) fn new(shared: Arc<Shared>, txn: Txn, durability: Durability) -> Transaction {
        Transaction::within(None, shared, txn, durability)
    }

    fn within(
        parent: Option<&Arc<Family>>,
        shared: Arc<Shared>,
        txn: Txn,
        durability: Durability,
    ) -> Transaction {
        let (id, family) = (txn.id().0, Family::new(parent, &txn));
        let state = State { txn, savepoints: Savepoints::default() };
        Transaction { shared, id, durability, family, state: Mutex::new(Some(state)) }
    }

    /// Begins a transaction within this one; see [`Nested`]. It takes over this one's options.
    ///
    /// While nested transactions are open this one may be read through, but that waits for what
    /// they have changed.
    pub fn nested(&self) -> Result<Nested<'_>> {
        let core = self.core();
        core.check_writable()?;
        core.gate.enter()?;
        match self.family.begin_child(core) {
            Ok(txn) => {
                let shared = Arc::clone(&self.shared);
                let inner = Transaction::within(Some(&self.family), shared, txn, self.durability);
                Ok(Nested::new(inner, self))
            }
            Err(error) => {
                core.gate.leave();
                Err(error)
            }
        }
    }

    /// Prepares the transaction to follow a coordinator's decision: when this returns it survives
    /// a power cut that it can be committed as well as rolled back, in this life of the
    /// environment or any later one, whatever happens to the process.
    ///
    /// Until then its locks stay, nobody sees what it changed, and the log is kept from its first
    /// record on. `gid` is the coordinator's name for it, 1 to 256 bytes; no two transactions that
    /// wait have the same.
    ///
    /// After a restart it has its exclusive locks again, not those on what it only read: a
    /// snapshot taken then may show what others made of that and not yet what this one made of
    /// it. One that changed more than the memory for versions holds makes snapshots of the same
    /// databases too old ([`ErrorKind::SnapshotTooOld`]) until it is resolved.
    ///
    /// After an error the transaction is rolled back: if the id is taken
    /// ([`ErrorKind::AlreadyExists`]) or of no possible length, if the transaction is nested, or
    /// if it changed databases that are not durable ([`ErrorKind::InvalidArgument`]).
    pub fn prepare(self, gid: &[u8]) -> Result<Prepared> {
        let txn = self.take()?;
        let core = self.core();
        let id = txn.id();
        // Known before anybody can resolve it.
        core.prepared_retirements.lock().insert(id, self.family.take_retired());
        let prepared = core.txns.prepare(txn, gid).map_err(causes::txn);
        if prepared.is_err() {
            core.prepared_retirements.lock().remove(&id);
        }
        self.family.leave(core);
        prepared.map(|_| Prepared::new(&self.shared, gid))
    }

    /// Its number, unique in this environment for ever: what log and messages call it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Commits with the durability that its options say, or else those of the environment: by
    /// default, when this returns, the transaction survives a power cut.
    ///
    /// Returns the position of the commit in the log, [`Lsn::NONE`] if nothing was changed. After
    /// an I/O error the next recovery decides whether the transaction happened, whole or not at
    /// all.
    pub fn commit(self) -> Result<Lsn> {
        let durability = self.durability;
        self.commit_with(durability)
    }

    /// Commits with a promise of its own.
    pub fn commit_with(self, durability: Durability) -> Result<Lsn> {
        let txn = self.take()?;
        let core = self.core();
        if self.family.is_nested() {
            return self.commit_into_parent(txn);
        }
        let retirements = self.family.take_retired();
        let durability = match durability {
            Durability::Sync => campanile_txn::Durability::Sync,
            Durability::WriteNoSync => campanile_txn::Durability::WriteNoSync,
            Durability::NoSync => campanile_txn::Durability::NoSync,
        };
        let result = core.retired.publish(&retirements, || core.txns.commit(txn, durability));
        self.family.leave(core);
        result.map_err(causes::txn)
    }

    /// Commits, and returns before the commit is durable: the [`Ticket`] says when it is.
    ///
    /// When this returns, everybody sees the changes and the locks are free. Others may build on
    /// them, and make that durable, before this is known to be durable itself: since there is one
    /// log, that makes this durable too. A power cut before takes this commit back together with
    /// everything that came after it in the log, whatever durability that was given; so it takes
    /// nothing that anybody was told to be durable. What was only *seen* meanwhile, by a snapshot
    /// or by a transaction that changed nothing, may turn out never to have happened: whoever
    /// acts on such a reading outside the database calls
    /// [`Environment::wait_durable`](crate::Environment::wait_durable) first.
    ///
    /// A nested transaction has no durability of its own: it is rolled back, and this is
    /// [`ErrorKind::InvalidArgument`]. The transaction's own durability is not looked at.
    pub fn commit_ticket(self) -> Result<Ticket> {
        let txn = self.take()?;
        let core = self.core();
        if self.family.is_nested() {
            let result = core.txns.abort(txn).map_err(causes::txn);
            self.family.leave(core);
            let what = "a nested transaction becomes durable with its parent: commit it, and take \
                        the parent's ticket";
            return result.and(Err(Error::new(ErrorKind::InvalidArgument, what)));
        }
        let retirements = self.family.take_retired();
        let durability = campanile_txn::Durability::NoSync;
        let result = core.retired.publish(&retirements, || core.txns.commit(txn, durability));
        self.family.leave(core);
        result.map(|lsn| Ticket::new(&self.shared, lsn)).map_err(causes::txn)
    }

    fn commit_into_parent(&self, txn: Txn) -> Result<Lsn> {
        let core = self.core();
        let result = match self.family.check_alive() {
            Err(error) => core.txns.abort(txn).map_err(causes::txn).and(Err(error)),
            Ok(()) => {
                // Before the locks go to the parent: whoever gets one next must know.
                if txn.failure().is_none() {
                    self.family.hand_retired_on();
                }
                core.txns.commit_child(txn).map_err(causes::txn)
            }
        };
        self.family.leave(core);
        result
    }

    /// Takes the transaction out, to end it. With children open that has to wait for them: it will
    /// be rolled back then, and this fails.
    fn take(&self) -> Result<Txn> {
        let state = self.state.lock().take();
        self.family.end(state.expect("a transaction ends once").txn)
    }

    /// Rolls back: nothing of it happened.
    ///
    /// Dropping does the same; here the outcome can be seen. An error means that the environment
    /// is poisoned: the next recovery rolls the transaction back.
    pub fn abort(self) -> Result<()> {
        self.end()
    }

    /// Marks a place to which the transaction can be rolled back.
    pub fn savepoint(&mut self) -> Result<Savepoint> {
        self.core().check_open()?;
        self.family.check_childless()?;
        Ok(self.with(|state| Savepoint {
            txn: self.identity(state),
            number: state.savepoints.take(),
            inner: self.core().txns.savepoint(&state.txn),
            retirements: self.family.retired(),
        }))
    }

    /// Undoes what was done since the savepoint, which stays usable; those after it do not. Locks
    /// are kept.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        self.core().check_open()?;
        self.family.check_childless()?;
        self.with(|state| {
            let refuse = |what| Err(Error::new(ErrorKind::InvalidArgument, what));
            if savepoint.txn != self.identity(state) {
                return refuse("the savepoint is of another transaction");
            }
            if !state.savepoints.stands(savepoint.number) {
                return refuse("the savepoint is gone: the transaction was rolled back beyond it");
            }
            let txns = &self.core().txns;
            txns.rollback_to(&mut state.txn, &savepoint.inner).map_err(causes::txn)?;
            self.family.keep_retired(savepoint.retirements);
            state.savepoints.roll_back_to(savepoint.number);
            Ok(())
        })
    }

    fn identity(&self, state: &State) -> (usize, u64) {
        (Arc::as_ptr(&self.shared).addr(), state.txn.id().0)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn core(&self) -> &Core {
        self.shared.core()
    }

    /// The statement of another thread on the same transaction waits here.
    fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        body(self.state.lock().as_mut().expect("a transaction is used before it ends"))
    }

    /// Runs a statement.
    pub(crate) fn write<T>(&self, body: impl FnOnce(&Core, &mut Txn) -> Result<T>) -> Result<T> {
        let core = self.core();
        core.check_writable()?;
        self.family.check_alive()?;
        self.family.check_childless()?;
        let result = self.with(|state| body(core, &mut state.txn));
        result.map_err(|error| core.explain_lock(error))
    }

    /// Runs a statement of several steps: if one fails, those before it are undone.
    pub(crate) fn write_whole<T>(
        &self,
        body: impl FnOnce(&Core, &mut Txn) -> Result<T>,
    ) -> Result<T> {
        self.write(|core, txn| {
            let before = core.txns.savepoint(txn);
            let result = body(core, txn);
            if result.is_err()
                && let Err(error) = core.txns.rollback_to(txn, &before)
            {
                txn.fail(format!("a statement failed and could not be undone: {error}"));
            }
            result
        })
    }

    /// Runs a read.
    pub(crate) fn read<'c, T>(
        &'c self,
        body: impl FnOnce(&'c Core, Reader<'_>) -> Result<T>,
    ) -> Result<T> {
        let core = self.core();
        core.check_open()?;
        let result = self.with(|state| body(core, Reader::Txn(&mut state.txn)));
        result.map_err(|error| core.explain_lock(error))
    }

    /// Remembers that a database left a file.
    pub(crate) fn retire(&self, file: FileId, fate: Fate) {
        self.family.retire(Retirement { file, fate });
    }

    /// The file that a handle opened on `file` means here; `None` if its database was dropped.
    /// From then on until the transaction ends nobody drops or empties it.
    pub(crate) fn enter(&self, file: FileId) -> Result<Option<FileId>> {
        let core = self.core();
        core.check_open()?;
        self.with(|state| {
            loop {
                let newest = core.retired.newest();
                let now = core.retired.resolve(file, newest, &self.family.seen_retired());
                let Some(now) = now else { return Ok(None) };
                let first = core.txns.lock_file(&mut state.txn, now, Access::Read);
                if !first.map_err(|error| core.explain_lock(causes::txn(error)))? {
                    return Ok(Some(now));
                }
                // Whoever we waited for may have dropped or emptied it: look again.
                core.retired.await_publication();
            }
        })
    }

    fn end(&self) -> Result<()> {
        let Some(State { txn, .. }) = self.state.lock().take() else { return Ok(()) };
        let core = self.core();
        // Put off until the last child has ended: then it is rolled back, and counted out.
        let Ok(txn) = self.family.end(txn) else { return Ok(()) };
        let result = core.txns.abort(txn).map_err(causes::txn);
        self.family.leave(core);
        result
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "a dropped transaction is rolled back by the next recovery");
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("id", &self.id).finish()
    }
}
