//! One life of an environment: carries out a program step by step on the engine and on the model at
//! once, and tells the oracle of every commit before it is issued and after it is acknowledged.

use crate::oracle::{Oracle, Promise, Rows, State};
use crate::workload::{Durability, Step};
use campanile::{DatabaseOptions, Environment, Error, ErrorKind, Savepoint, Transaction};
use campanile_vfs::Host;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The small sizes that make splits, evictions and log switches frequent.
pub fn tiny() -> campanile::EnvironmentOptions {
    campanile::EnvironmentOptions::new()
        .page_bytes(512)
        .cache_bytes(32 * 512)
        .log_file_bytes(16 * 1024)
        .log_block_bytes(512)
        .log_buffer_bytes(2048)
        // More files than handles: they are parked and opened again all the time.
        .open_files(3)
        // Background checkpoints come often, while transactions run and pages are dirty.
        .checkpoint_log_bytes(12 * 1024)
        // Where no threads are, one half of the pages is replayed after the other.
        .recovery_threads(2)
}

/// As [`tiny`], for a disk that ruins the whole 4 KiB block around an unsynced write: pages and log
/// flushes fill blocks of their own.
pub fn whole_blocks() -> campanile::EnvironmentOptions {
    tiny()
        .page_bytes(4096)
        .cache_bytes(24 * 4096)
        .log_file_bytes(64 * 1024)
        .log_block_bytes(4096)
        .log_buffer_bytes(16 * 1024)
        .checkpoint_log_bytes(48 * 1024)
}

/// As [`tiny`], with data files in three directories: databases take turns in them.
pub fn spread() -> campanile::EnvironmentOptions {
    tiny().add_data_dir("/disk2/shop").add_data_dir("fast")
}

/// Where every simulated environment lives.
pub const HOME: &str = "/home";

/// A running environment with its model.
pub struct Life {
    host: Host,
    options: campanile::EnvironmentOptions,
    env: Option<Environment>,
    txn: Option<Transaction>,
    pending: State,
    savepoints: Vec<(Savepoint, State)>,
    /// Shared with whoever watches the calls below.
    pub oracle: Arc<Mutex<Oracle>>,
    /// Promise asked of the running commit.
    volatile: Vec<String>,
}

/// Why a life ended before its program did.
#[derive(Debug)]
pub enum End {
    /// The engine reported an error: expected when a crash or fault was planned.
    Error(Error),
    /// The engine gave a wrong answer: never expected.
    Wrong(String),
}

impl From<Error> for End {
    fn from(error: Error) -> End {
        End::Error(error)
    }
}

impl Life {
    /// Opens the environment; `oracle` says what it must hold.
    pub fn open(
        host: Host,
        options: campanile::EnvironmentOptions,
        oracle: Arc<Mutex<Oracle>>,
    ) -> Result<Life, Error> {
        let env = Environment::open_on(host.clone(), Path::new(HOME), options.clone())?;
        let (pending, volatile) = {
            let oracle = oracle.lock().expect("no panic under the oracle");
            (oracle.newest().clone(), oracle.volatile().to_vec())
        };
        Ok(Life {
            host,
            options,
            env: Some(env),
            txn: None,
            pending,
            savepoints: Vec::new(),
            oracle,
            volatile,
        })
    }

    /// The environment.
    pub fn env(&self) -> &Environment {
        self.env.as_ref().expect("open between steps")
    }

    /// Carries out a whole program, then closes cleanly.
    pub fn run(mut self, program: &[Step]) -> Result<(), End> {
        for step in program {
            self.step(step)?;
        }
        self.close()
    }

    /// Rolls back what is open and closes the environment.
    pub fn close(mut self) -> Result<(), End> {
        self.abort()?;
        let env = self.env.take().expect("open between steps");
        env.close()?;
        self.lock().settle();
        Ok(())
    }

    /// Carries out one step.
    pub fn step(&mut self, step: &Step) -> Result<(), End> {
        match step {
            Step::Create { database, durable } => self.create(*database, *durable),
            Step::Drop { database } => self.drop_database(*database),
            Step::Rename { database, to } => self.rename(*database, *to),
            Step::Empty { database } => self.empty(*database),
            Step::Put { database, key, value } => self.put(*database, key, value),
            Step::Delete { database, nth } => self.delete(*database, *nth, 1),
            Step::DeleteRun { database, nth, count } => self.delete(*database, *nth, *count),
            Step::Savepoint => self.savepoint(),
            Step::RollbackTo => self.rollback_to(),
            Step::Commit(durability) => self.commit(*durability),
            Step::Abort => self.abort(),
            Step::Checkpoint => {
                self.env().checkpoint()?;
                self.lock().settle();
                Ok(())
            }
            Step::Background => Ok(self.env().step().map(|_| ())?),
            Step::Reopen => self.reopen(),
            Step::Check => self.check(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Oracle> {
        self.oracle.lock().expect("no panic under the oracle")
    }

    fn newest(&self) -> State {
        self.lock().newest().clone()
    }

    fn begin(&mut self) -> Result<(), End> {
        if self.txn.is_none() {
            self.txn = Some(self.env().begin()?);
            self.pending = self.newest();
        }
        Ok(())
    }

    fn create(&mut self, database: usize, durable: bool) -> Result<(), End> {
        let name = name_of(database);
        if self.pending_has(&name)? {
            return Ok(());
        }
        // A name keeps its durability for a whole program, so that the oracle can go by names.
        let durable = if self.volatile.contains(&name) { false } else { durable };
        if durable && self.lock().is_volatile(&name) {
            return Ok(());
        }
        let env = self.env().clone();
        let txn = self.txn.as_mut().expect("begun");
        let dirs = env.data_dirs();
        let directory = &dirs[(database + 1) % dirs.len()];
        let options = DatabaseOptions::new().durable(durable).data_dir(directory);
        env.create_database_with(txn, &name, options)?;
        if !durable && !self.volatile.contains(&name) {
            self.volatile.push(name.clone());
            self.lock().mark_volatile(&name);
        }
        self.pending.insert(name, Arc::new(Rows::new()));
        Ok(())
    }

    fn pending_has(&mut self, name: &str) -> Result<bool, End> {
        self.begin()?;
        Ok(self.pending.contains_key(name))
    }

    fn drop_database(&mut self, database: usize) -> Result<(), End> {
        let name = name_of(database);
        if self.pending_has(&name)? {
            let env = self.env().clone();
            env.drop_database_in(self.txn.as_mut().expect("begun"), &name)?;
            self.pending.remove(&name);
        }
        Ok(())
    }

    fn rename(&mut self, database: usize, to: usize) -> Result<(), End> {
        let (name, new) = (name_of(database), name_of(to));
        let same_kind = self.volatile.contains(&name) == self.volatile.contains(&new);
        if self.pending_has(&name)? && !self.pending.contains_key(&new) && same_kind {
            let env = self.env().clone();
            env.rename_database_in(self.txn.as_mut().expect("begun"), &name, &new)?;
            let rows = self.pending.remove(&name).expect("it is there");
            self.pending.insert(new, rows);
        }
        Ok(())
    }

    fn empty(&mut self, database: usize) -> Result<(), End> {
        let name = name_of(database);
        if self.pending_has(&name)? {
            let env = self.env().clone();
            env.empty_database_in(self.txn.as_mut().expect("begun"), &name)?;
            self.pending.insert(name, Arc::new(Rows::new()));
        }
        Ok(())
    }

    fn put(&mut self, database: usize, key: &[u8], value: &[u8]) -> Result<(), End> {
        let name = name_of(database);
        if !self.pending_has(&name)? {
            return Ok(());
        }
        let env = self.env().clone();
        let txn = self.txn.as_mut().expect("begun");
        let db = env.open_database_in(txn, &name)?;
        db.put(txn, key, value)?;
        self.rows_mut(&name).insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, database: usize, nth: usize, count: usize) -> Result<(), End> {
        let name = name_of(database);
        if !self.pending_has(&name)? || self.pending[&name].is_empty() {
            return Ok(());
        }
        let env = self.env().clone();
        let rows = &self.pending[&name];
        let first = nth % rows.len();
        let keys: Vec<Vec<u8>> = rows.keys().skip(first).take(count).cloned().collect();
        let txn = self.txn.as_mut().expect("begun");
        let db = env.open_database_in(txn, &name)?;
        for key in &keys {
            let found = db.delete(txn, key)?;
            if !found {
                return Err(End::Wrong(format!("{name}: a row to delete was not found: {key:?}")));
            }
        }
        for key in keys {
            self.rows_mut(&name).remove(&key);
        }
        Ok(())
    }

    fn rows_mut(&mut self, name: &str) -> &mut Rows {
        Arc::make_mut(self.pending.get_mut(name).expect("the database is in the model"))
    }

    fn savepoint(&mut self) -> Result<(), End> {
        self.begin()?;
        let savepoint = self.txn.as_mut().expect("begun").savepoint()?;
        self.savepoints.push((savepoint, self.pending.clone()));
        Ok(())
    }

    fn rollback_to(&mut self) -> Result<(), End> {
        let Some((savepoint, state)) = self.savepoints.pop() else { return Ok(()) };
        let txn = self.txn.as_mut().expect("a savepoint belongs to a transaction");
        txn.rollback_to(&savepoint)?;
        self.pending = state;
        Ok(())
    }

    fn commit(&mut self, durability: Durability) -> Result<(), End> {
        let Some(txn) = self.txn.take() else { return Ok(()) };
        self.savepoints.clear();
        let (asked, promise) = match durability {
            Durability::Sync => (campanile::Durability::Sync, Promise::Durable),
            Durability::WriteNoSync => (campanile::Durability::WriteNoSync, Promise::Written),
            Durability::NoSync => (campanile::Durability::NoSync, Promise::None),
        };
        let after = self.pending.clone();
        self.lock().issue(after);
        // A transaction that logged nothing had nothing to make durable: no promise is made.
        let lsn = txn.commit_with(asked)?;
        self.lock().acknowledge(if lsn.is_none() { Promise::None } else { promise });
        Ok(())
    }

    fn abort(&mut self) -> Result<(), End> {
        self.savepoints.clear();
        if let Some(txn) = self.txn.take() {
            txn.abort()?;
        }
        self.pending = self.newest();
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), End> {
        self.abort()?;
        self.env.take().expect("open between steps").close()?;
        self.lock().settle();
        let env = Environment::open_on(self.host.clone(), Path::new(HOME), self.options.clone())?;
        self.env = Some(env);
        Ok(())
    }

    /// Compares what the running transaction sees, both ways, and a snapshot, with the model.
    fn check(&mut self) -> Result<(), End> {
        self.begin()?;
        let seen = read_in(self.env(), self.txn.as_ref().expect("begun"))?;
        if seen != self.pending {
            return Err(End::Wrong("a transaction does not see its own state".to_owned()));
        }
        let committed = read_all(self.env())?;
        if committed != *self.lock().newest() {
            return Err(End::Wrong("a snapshot does not show the committed state".to_owned()));
        }
        Ok(())
    }
}

/// The name of a database by its number.
pub fn name_of(database: usize) -> String {
    format!("db{database}")
}

/// Everything that a snapshot shows, read forward and backward.
pub fn read_all(env: &Environment) -> Result<State, End> {
    let snapshot = env.snapshot()?;
    let mut state = State::new();
    for name in env.databases(&snapshot)? {
        let db = env.open_database_at(&snapshot, &name)?;
        let forward: Result<Rows, Error> = db.range(&snapshot, ..)?.collect();
        let backward: Result<Rows, Error> = db.range(&snapshot, ..)?.rev().collect();
        let (forward, backward) = (forward?, backward?);
        if forward != backward {
            return Err(End::Wrong(format!("{name}: forward and backward scans differ")));
        }
        state.insert(name, Arc::new(forward));
    }
    Ok(state)
}

fn read_in(env: &Environment, txn: &Transaction) -> Result<State, End> {
    let mut state = State::new();
    for name in env.databases(txn)? {
        let db = env.open_database_at(txn, &name)?;
        let forward: Result<Rows, Error> = db.range(txn, ..)?.collect();
        let backward: Result<Rows, Error> = db.range(txn, ..)?.rev().collect();
        let (forward, backward) = (forward?, backward?);
        if forward != backward {
            return Err(End::Wrong(format!("{name}: forward and backward scans differ")));
        }
        state.insert(name, Arc::new(forward));
    }
    Ok(state)
}

/// Whether the error is one that a planned crash or fault may cause.
pub fn is_expected(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned)
}

impl Life {
    /// After a failed write or sync: no transaction may be acknowledged any more, and the error
    /// says that the environment has to be reopened.
    pub fn refuses_to_change(mut self) -> Result<(), String> {
        self.txn = None;
        // A reopening that failed has left nothing open.
        let Some(env) = self.env.take() else { return Ok(()) };
        let attempt = || {
            env.run(|txn| {
                let db = env.create_database_with(txn, "after", DatabaseOptions::new())?;
                db.put(txn, "k", "v")
            })
        };
        // The first attempt may be the one that meets the failure; from then on it is known.
        let first = attempt();
        let second = attempt();
        match (first, second) {
            (Err(_), Err(error)) if error.needs_recovery() => Ok(()),
            (Err(_), Err(error)) => Err(format!("after a failed write or sync: {error}")),
            _ => Err("a commit was acknowledged after a failed write or sync".to_owned()),
        }
    }
}
