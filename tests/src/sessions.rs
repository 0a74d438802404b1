//! One story of several sessions: carries out a script on the engine and on the model at once. Each
//! session is a thread, but only the one with the baton runs, and no lock is waited for: so the
//! same script makes the same calls each time, and a crash image of any call holds several losers.
//!
//! S1  The model of a transaction is the list of its changes: what it sees is the committed state
//!     with them applied, now. Locks have to make that true; each statement compares.
//! S2  The oracle is told of a commit, a preparation and a resolution before it is issued and after
//!     it was acknowledged, by the session that has the baton.

mod children;

use crate::baton::Baton;
use crate::change::{Change, after};
use crate::life::{self, End, HOME, name_of};
use crate::oracle::{Oracle, Promise, State};
use crate::script::{Act, Level, Move, Script, Turn};
use crate::workload::{Choices, Durability, Shape, key, value};
use campanile::{
    Database, DatabaseOptions, Environment, EnvironmentOptions, Error, ErrorKind, Isolation,
    Prepared, Savepoint, Transaction, TransactionOptions,
};
use campanile_format::planted::Selection;
use campanile_vfs::Host;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Plays every act of the script, closing the environment between them and at the end.
pub fn play(
    script: &Script,
    host: &Host,
    options: &EnvironmentOptions,
    oracle: &Arc<Mutex<Oracle>>,
) -> Result<Deeds, End> {
    let mut deeds = Deeds::default();
    for (number, act) in script.acts.iter().enumerate() {
        let env = Environment::open_on(host.clone(), Path::new(HOME), options.clone())?;
        let stage = Stage {
            script,
            env: &env,
            oracle,
            baton: Baton::new(act.len(), script.seed ^ number as u64),
            ended: AtomicBool::new(false),
            deeds: Mutex::default(),
            prepared: Mutex::default(),
        };
        if number == 0 {
            stage.fill()?;
        }
        stage.act(act)?;
        deeds.add(&stage.deeds.lock().unwrap_or_else(PoisonError::into_inner));
        drop(stage);
        env.close()?;
        locked(oracle).settle();
    }
    Ok(deeds)
}

/// What really happened in a story: a script whose moves were all refused proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Changes made.
    pub changes: u64,
    /// Moves that met a lock.
    pub blocked: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Transactions rolled back.
    pub aborts: u64,
    /// Commits while other transactions had changes that were not committed.
    pub beside_others: u64,
    /// Child transactions committed, and rolled back.
    pub children: (u64, u64),
    /// Statements of a child beside a live sibling.
    pub beside_twin: u64,
    /// Transactions of a weaker isolation that ended.
    pub weaker: u64,
    /// Transactions prepared.
    pub prepared: u64,
    /// Prepared transactions committed, and rolled back.
    pub resolved: (u64, u64),
}

impl Deeds {
    /// Adds another story's.
    pub fn add(&mut self, other: &Deeds) {
        self.changes += other.changes;
        self.blocked += other.blocked;
        self.commits += other.commits;
        self.aborts += other.aborts;
        self.beside_others += other.beside_others;
        self.children.0 += other.children.0;
        self.children.1 += other.children.1;
        self.beside_twin += other.beside_twin;
        self.weaker += other.weaker;
        self.prepared += other.prepared;
        self.resolved.0 += other.resolved.0;
        self.resolved.1 += other.resolved.1;
    }
}

impl fmt::Display for Deeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deeds { changes, blocked, commits, aborts, beside_others, .. } = self;
        write!(
            f,
            "{changes} changes, {blocked} moves met a lock, {commits} commits ({beside_others} of \
             them beside uncommitted changes of others), {aborts} rollbacks; children: {} commits, \
             {} rollbacks, {} statements beside a sibling; {} of a weaker isolation; {} prepared, \
             then {} committed, {} rolled back",
            self.children.0,
            self.children.1,
            self.beside_twin,
            self.weaker,
            self.prepared,
            self.resolved.0,
            self.resolved.1
        )
    }
}

/// What the sessions of one act share.
struct Stage<'a> {
    script: &'a Script,
    env: &'a Environment,
    oracle: &'a Arc<Mutex<Oracle>>,
    baton: Baton,
    /// A session came to a bad end: the others stop.
    ended: AtomicBool,
    deeds: Mutex<Deeds>,
    /// Handles of prepared transactions that are kept to be resolved through them.
    prepared: Mutex<BTreeMap<Vec<u8>, Prepared>>,
}

fn locked(oracle: &Mutex<Oracle>) -> MutexGuard<'_, Oracle> {
    oracle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage<'_> {
    /// Databases with rows in them, so that sessions meet on the same pages from the beginning.
    fn fill(&self) -> Result<(), End> {
        let cast = self.script.cast;
        let shape = Shape { page_bytes: cast.page_bytes, ..Shape::mixed(0) };
        let mut choices = Choices::new(self.script.seed);
        let mut changes = Vec::new();
        let mut txn = self.env.begin()?;
        for database in 0..cast.databases {
            let (name, options) = self.made(database);
            let db = self.env.create_database_with(&mut txn, &name, options)?;
            changes.push(Change::Create { name: name.clone() });
            for _ in 0..40 {
                let (key, value) = (key(&mut choices, shape), value(&mut choices, shape));
                db.put(&mut txn, &key, &value)?;
                changes.push(Change::Put { name: name.clone(), key, value });
            }
        }
        self.commit(&changes, Promise::Durable, || txn.commit_with(campanile::Durability::Sync))
    }

    /// The name of a database and how it is made: the last may not be durable.
    fn made(&self, database: usize) -> (String, DatabaseOptions) {
        let name = name_of(database);
        let durable = !self.is_volatile(database);
        if !durable {
            locked(self.oracle).mark_volatile(&name);
        }
        (name, DatabaseOptions::new().durable(durable))
    }

    fn is_volatile(&self, database: usize) -> bool {
        self.script.cast.volatile && database + 1 == self.script.cast.databases
    }

    fn commit(
        &self,
        changes: &[Change],
        promise: Promise,
        commit: impl FnOnce() -> Result<campanile::Lsn, Error>,
    ) -> Result<(), End> {
        let state = after(locked(self.oracle).newest(), changes);
        locked(self.oracle).issue(state);
        // A transaction that logged nothing had nothing to make durable: no promise is made.
        let lsn = commit()?;
        locked(self.oracle).acknowledge(if lsn.is_none() { Promise::None } else { promise });
        Ok(())
    }

    /// Plays one act to its end; the first session that fails ends it for all.
    fn act(&self, act: &Act) -> Result<(), End> {
        let planted = &Selection::here();
        let ends: Vec<_> = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (me, turns) in act.iter().enumerate() {
                threads.push(scope.spawn(move || planted.on(|| self.session(me, turns))));
            }
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        for end in ends {
            match end {
                Ok(end) => end?,
                Err(panic) => resume_unwind(panic),
            }
        }
        Ok(())
    }

    fn session(&self, me: usize, turns: &[Turn]) -> Result<(), End> {
        self.baton.take(me);
        let level = Level::Serializable;
        let mut session =
            Session { stage: self, me, turns, changes: Vec::new(), writes: false, level };
        let end = catch_unwind(AssertUnwindSafe(|| session.play()));
        if !matches!(end, Ok(Ok(()))) {
            self.ended.store(true, Ordering::SeqCst);
        }
        self.baton.leave(me);
        end.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Prepares a transaction; one that changed a database that is not durable has to be refused.
    fn prepare(&self, txn: Transaction, changes: &[Change], keep: bool) -> Result<(), End> {
        let gid = format!("transaction {}", txn.id()).into_bytes();
        let volatile = name_of(self.script.cast.databases.saturating_sub(1));
        let volatile = self.script.cast.volatile.then_some(volatile);
        locked(self.oracle).issue_prepared(&gid, changes.to_vec());
        match txn.prepare(&gid) {
            Ok(prepared) => {
                locked(self.oracle).acknowledge(Promise::Durable);
                if keep {
                    self.prepared
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(gid, prepared);
                }
                self.count(|deeds| deeds.prepared += 1);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::InvalidArgument && volatile.is_some() => {
                locked(self.oracle).retract();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Resolves the n-th prepared transaction, through its handle if a session has it.
    fn resolve(&self, nth: usize, commit: bool) -> Result<(), End> {
        let waiting = Arc::clone(locked(self.oracle).newest_prepared());
        let Some(gid) = waiting.keys().nth(nth % waiting.len().max(1)) else { return Ok(()) };
        let listed = self.env.prepared();
        if !listed.iter().map(|known| &known.gid).eq(waiting.keys()) {
            return Err(End::Wrong(format!("prepared are {listed:?}, not {:?}", waiting.keys())));
        }
        let handle = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).remove(gid);
        locked(self.oracle).issue_resolved(gid, commit);
        match (handle, commit) {
            (Some(handle), true) => handle.commit().map(drop)?,
            (Some(handle), false) => handle.abort()?,
            (None, true) => self.env.commit_prepared(gid).map(drop)?,
            (None, false) => self.env.abort_prepared(gid)?,
        }
        locked(self.oracle).acknowledge(Promise::Durable);
        self.count(|deeds| match commit {
            true => deeds.resolved.0 += 1,
            false => deeds.resolved.1 += 1,
        });
        Ok(())
    }

    fn count(&self, count: impl FnOnce(&mut Deeds)) {
        count(&mut self.deeds.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// One session at work.
struct Session<'s, 'a> {
    stage: &'s Stage<'a>,
    me: usize,
    /// What is left to do.
    turns: &'s [Turn],
    /// What the running transaction did, its children included.
    changes: Vec<Change>,
    /// Whether it has changed anything, also if that was rolled back.
    writes: bool,
    /// What it may see of others.
    level: Level,
}

/// How a level of a transaction ends.
enum Exit {
    Commit(Durability),
    Prepare {
        keep: bool,
    },
    /// The whole transaction is rolled back.
    Abort,
    /// Only this level ends.
    Leave {
        commit: bool,
    },
}

/// Children of children, at most.
const DEEPEST: usize = 3;

/// Whether a statement could be carried out.
enum Done {
    Yes,
    Blocked,
}

impl Session<'_, '_> {
    fn play(&mut self) -> Result<(), End> {
        while let Some(turn) = self.next() {
            match turn.what {
                Move::Commit(_) | Move::Abort | Move::RollbackTo | Move::Leave { .. } => {}
                Move::Prepare { .. } => {}
                Move::Checkpoint | Move::Background | Move::Check => self.aside(&turn.what)?,
                Move::Resolve { nth, commit } => self.stage.resolve(nth, commit)?,
                _ => self.transaction(turn)?,
            }
        }
        Ok(())
    }

    /// The next turn, when it comes.
    fn next(&mut self) -> Option<Turn> {
        self.stage.baton.pass(self.me);
        if self.stage.ended.load(Ordering::SeqCst) {
            return None;
        }
        let (turn, rest) = self.turns.split_first()?;
        self.turns = rest;
        Some(turn.clone())
    }

    /// A move that no transaction makes.
    fn aside(&self, what: &Move) -> Result<(), End> {
        match what {
            Move::Checkpoint => {
                self.stage.env.checkpoint()?;
                locked(self.stage.oracle).settle();
            }
            Move::Background => {
                self.stage.env.step()?;
            }
            Move::Check => {
                let shown = life::read_all(self.stage.env)?;
                if shown != *locked(self.stage.oracle).newest() {
                    let what = "a snapshot does not show the committed state".to_owned();
                    return Err(End::Wrong(what));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A transaction that begins with `first`, to its end.
    fn transaction(&mut self, first: Turn) -> Result<(), End> {
        self.level = first.level;
        let isolation = match self.level {
            Level::Serializable => Isolation::Serializable,
            Level::Committed => Isolation::ReadCommitted,
            Level::Uncommitted => Isolation::ReadUncommitted,
        };
        let options = TransactionOptions::new().no_wait(true).isolation(isolation);
        let mut txn = self.stage.env.begin_with(options)?;
        self.stage.count(|deeds| deeds.weaker += u64::from(self.level != Level::Serializable));
        self.changes.clear();
        match self.inside(&mut txn, Some(first), 0)? {
            Exit::Commit(durability) => {
                let (asked, promise) = asked(durability);
                let others = self.writes && locked(self.stage.oracle).writers() > 1;
                self.stage.count(|deeds| {
                    deeds.commits += 1;
                    deeds.beside_others += u64::from(others);
                });
                self.stage.commit(&self.changes, promise, || txn.commit_with(asked))?;
            }
            Exit::Prepare { keep } => self.stage.prepare(txn, &self.changes, keep)?,
            Exit::Abort | Exit::Leave { .. } => {
                self.stage.count(|deeds| deeds.aborts += 1);
                txn.abort()?;
            }
        }
        if std::mem::take(&mut self.writes) {
            locked(self.stage.oracle).writer_ended();
        }
        Ok(())
    }

    /// The moves of one level of a transaction.
    fn inside(
        &mut self,
        txn: &mut Transaction,
        mut first: Option<Turn>,
        level: usize,
    ) -> Result<Exit, End> {
        let mut savepoints: Vec<(Savepoint, usize)> = Vec::new();
        while let Some(turn) = first.take().or_else(|| self.next()) {
            match &turn.what {
                Move::Commit(durability) => return Ok(Exit::Commit(*durability)),
                Move::Abort => return Ok(Exit::Abort),
                Move::Prepare { keep } => return Ok(Exit::Prepare { keep: *keep }),
                Move::Leave { commit } if level > 0 => return Ok(Exit::Leave { commit: *commit }),
                Move::Enter if level < DEEPEST => {
                    if let Some(exit) = self.child(txn, level)? {
                        return Ok(exit);
                    }
                }
                Move::Twins if level < DEEPEST => {
                    if let Some(exit) = self.twins(txn)? {
                        return Ok(exit);
                    }
                }
                Move::Savepoint => savepoints.push((txn.savepoint()?, self.changes.len())),
                Move::RollbackTo => {
                    if let Some((savepoint, changes)) = savepoints.pop() {
                        txn.rollback_to(&savepoint)?;
                        self.changes.truncate(changes);
                    }
                }
                Move::Checkpoint | Move::Background | Move::Check => self.aside(&turn.what)?,
                what => match self.statement(txn, what)? {
                    Done::Yes => {}
                    Done::Blocked => {
                        self.stage.count(|deeds| deeds.blocked += 1);
                        if !turn.patient {
                            return Ok(Exit::Leave { commit: false });
                        }
                    }
                },
            }
        }
        Ok(Exit::Abort)
    }

    /// What the transaction sees.
    fn view(&self) -> State {
        after(locked(self.stage.oracle).newest(), &self.changes)
    }

    fn statement(&mut self, txn: &mut Transaction, what: &Move) -> Result<Done, End> {
        let outcome = match what {
            Move::Create { database } => self.create(txn, *database),
            Move::Drop { database } => self.drop_database(txn, *database),
            Move::Rename { database, to } => self.rename(txn, *database, *to),
            Move::Empty { database } => self.empty(txn, *database),
            Move::Put { database, key, value } => self.put(txn, *database, key, value),
            Move::Delete { database, nth, count } => self.delete(txn, *database, *nth, *count),
            Move::Get { database, key } => self.get(txn, *database, key),
            _ => Ok(()),
        };
        match outcome {
            Ok(()) => Ok(Done::Yes),
            Err(End::Error(error)) if is_blocked(&error) => Ok(Done::Blocked),
            Err(end) => Err(end),
        }
    }

    fn did(&mut self, change: Change) {
        if !std::mem::replace(&mut self.writes, true) {
            locked(self.stage.oracle).writer_began();
        }
        self.changes.push(change);
        self.stage.count(|deeds| deeds.changes += 1);
    }

    fn create(&mut self, txn: &mut Transaction, database: usize) -> Result<(), End> {
        let (name, options) = self.stage.made(database);
        let env = self.stage.env;
        if !env.databases(txn)?.contains(&name) {
            env.create_database_with(txn, &name, options.exclusive(true))?;
            self.agree_read(!self.view().contains_key(&name), "a database to create is there")?;
            self.did(Change::Create { name });
        }
        Ok(())
    }

    fn drop_database(&mut self, txn: &mut Transaction, database: usize) -> Result<(), End> {
        let name = name_of(database);
        if self.open(txn, &name)?.is_some() {
            self.stage.env.drop_database_in(txn, &name)?;
            self.did(Change::Drop { name });
        }
        Ok(())
    }

    fn rename(&mut self, txn: &mut Transaction, database: usize, to: usize) -> Result<(), End> {
        let (name, new) = (name_of(database), name_of(to));
        let same_kind = self.stage.is_volatile(database) == self.stage.is_volatile(to);
        if !same_kind || self.open(txn, &name)?.is_none() || self.open(txn, &new)?.is_some() {
            return Ok(());
        }
        self.stage.env.rename_database_in(txn, &name, &new)?;
        self.did(Change::Rename { name, to: new });
        Ok(())
    }

    fn empty(&mut self, txn: &mut Transaction, database: usize) -> Result<(), End> {
        let name = name_of(database);
        if self.open(txn, &name)?.is_some() {
            self.stage.env.empty_database_in(txn, &name)?;
            self.did(Change::Empty { name });
        }
        Ok(())
    }

    /// The database, if the transaction sees it; the model must agree.
    fn open(&self, txn: &mut Transaction, name: &str) -> Result<Option<Database>, End> {
        let opened = match self.stage.env.open_database_in(txn, name) {
            Ok(db) => Some(db),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let there = self.view().contains_key(name);
        self.agree_read(opened.is_some() == there, "a name is seen wrongly")?;
        // What is seen of what is not committed: nothing is done with it.
        Ok(opened.filter(|_| there))
    }

    fn put(
        &mut self,
        txn: &mut Transaction,
        database: usize,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), End> {
        let name = name_of(database);
        if let Some(db) = self.open(txn, &name)? {
            db.put(txn, key, value)?;
            self.did(Change::Put { name, key: key.to_vec(), value: value.to_vec() });
        }
        Ok(())
    }

    fn delete(
        &mut self,
        txn: &mut Transaction,
        database: usize,
        nth: usize,
        count: usize,
    ) -> Result<(), End> {
        let name = name_of(database);
        let Some(db) = self.open(txn, &name)? else { return Ok(()) };
        let rows = Arc::clone(&self.view()[&name]);
        let first = nth % rows.len().max(1);
        for key in rows.keys().skip(first).take(count) {
            let found = db.delete(txn, key)?;
            self.agree(found, "a row to delete was not found")?;
            self.did(Change::Delete { name: name.clone(), key: key.clone() });
        }
        Ok(())
    }

    fn get(&mut self, txn: &mut Transaction, database: usize, key: &[u8]) -> Result<(), End> {
        let name = name_of(database);
        let Some(db) = self.open(txn, &name)? else { return Ok(()) };
        let found = db.get(txn, key)?;
        let expected = self.view()[&name].get(key).cloned();
        self.agree_read(found.as_deref() == expected.as_deref(), "a row is read wrongly")
    }

    /// What was read is as the model has it, unless it may be whatever is there.
    fn agree_read(&self, agrees: bool, what: &str) -> Result<(), End> {
        self.agree(agrees || self.level == Level::Uncommitted, what)
    }

    fn agree(&self, agrees: bool, what: &str) -> Result<(), End> {
        if agrees {
            return Ok(());
        }
        Err(End::Wrong(format!("session {}: {what}", self.me)))
    }
}

/// Whether a lock was in the way.
fn is_blocked(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Deadlock | ErrorKind::LockTimeout)
}

fn asked(durability: Durability) -> (campanile::Durability, Promise) {
    match durability {
        Durability::Sync => (campanile::Durability::Sync, Promise::Durable),
        Durability::WriteNoSync => (campanile::Durability::WriteNoSync, Promise::Written),
        Durability::NoSync => (campanile::Durability::NoSync, Promise::None),
    }
}
