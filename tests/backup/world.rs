//! An environment under a workload of small transactions, and what it held after each commit.

use campanile::restore::{RestoreOptions, RestoreReport, Target};
use campanile::{
    Database, DatabaseOptions, Environment, EnvironmentOptions, Error, Lsn, Progress, Transaction,
    backup,
};
use campanile_tests::life::{name_of, read_all, tiny};
use campanile_tests::oracle::{Rows, State};
use campanile_tests::workload::Choices;
use campanile_vfs::sim::{SimDisk, SimOptions};
use campanile_vfs::{Host, Random};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub const HOME: &str = "/home";
pub const REPOSITORY: &str = "/repository";
pub const OTHER: &str = "/other";

const DATABASES: u64 = 3;

/// A commit, and what the environment held after it.
#[derive(Clone, Debug)]
pub struct Moment {
    pub lsn: Lsn,
    pub state: State,
}

/// An environment and its history.
#[derive(Debug)]
pub struct World {
    pub disk: Arc<SimDisk>,
    pub env: Environment,
    pub moments: Vec<Moment>,
    choices: Choices,
}

/// Small log files, so that a short history spans several.
pub fn options() -> EnvironmentOptions {
    tiny()
}

/// Databases take turns in the directories that the environment has.
fn in_turn(env: &Environment, database: usize) -> DatabaseOptions {
    let dirs = env.data_dirs();
    DatabaseOptions::new().data_dir(&dirs[(database + 1) % dirs.len()])
}

impl World {
    /// A new environment with a few databases.
    pub fn new(seed: u64) -> World {
        World::with(seed, options())
    }

    pub fn with(seed: u64, options: EnvironmentOptions) -> World {
        let disk = SimDisk::new(SimOptions::new(seed));
        let env = Environment::open_on(host_of(&disk), HOME, options).expect("a new home");
        let choices = Choices::new(seed);
        let mut world = World { disk, env, moments: Vec::new(), choices };
        for database in 0..DATABASES {
            world.change(|env, txn, state| {
                let name = name_of(database as usize);
                env.create_database_with(txn, &name, in_turn(env, database as usize))?;
                state.insert(name, Arc::new(Rows::new()));
                Ok(())
            });
        }
        world
    }

    /// What runs on this disk. Every host draws numbers of its own: each stands for a process.
    pub fn host(&self) -> Host {
        host_of(&self.disk)
    }

    pub fn newest(&self) -> State {
        self.moments.last().map(|moment| moment.state.clone()).unwrap_or_default()
    }

    /// What a restore that stops at `lsn` must show.
    pub fn state_at(&self, lsn: Lsn) -> State {
        let before = self.moments.iter().rev().find(|moment| moment.lsn < lsn);
        before.map(|moment| moment.state.clone()).unwrap_or_default()
    }

    /// One transaction, in the engine and in the model.
    pub fn change(
        &mut self,
        work: impl FnOnce(&Environment, &mut Transaction, &mut State) -> Result<(), Error>,
    ) {
        let mut state = self.newest();
        let mut txn = self.env.begin().expect("a transaction");
        work(&self.env, &mut txn, &mut state).expect("the workload runs");
        let lsn = txn.commit().expect("a commit");
        if !lsn.is_none() {
            self.moments.push(Moment { lsn, state });
        }
    }

    /// Steps of a workload: rows come and go, pages split and merge, databases too, checkpoints
    /// and background work in between.
    pub fn burst(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
    }

    fn step(&mut self) {
        let database = self.choices.below(DATABASES) as usize;
        match self.choices.below(40) {
            0 => {
                self.env.checkpoint().expect("a checkpoint");
            }
            1..=5 => {
                self.env.step().expect("background work");
            }
            6 => self.turn_over(database),
            7 => self.rename(database),
            8..=9 => self.abort(database),
            _ => self.write(database),
        }
    }

    /// Rows in one transaction: a few, sometimes many, sometimes a long one.
    fn write(&mut self, database: usize) {
        let name = name_of(database);
        let mut state = self.newest();
        if !state.contains_key(&name) {
            return self.turn_over(database);
        }
        let Some(rows) = state.get_mut(&name) else { return };
        let rows = Arc::make_mut(rows);
        let mut txn = self.env.begin().expect("a transaction");
        let db = self.env.open_database_in(&mut txn, &name).expect("it is there");
        let count = [1, 2, 3, 12][self.choices.below(4) as usize];
        for _ in 0..count {
            self.write_row(&db, &mut txn, rows);
        }
        let lsn = txn.commit().expect("a commit");
        if !lsn.is_none() {
            self.moments.push(Moment { lsn, state });
        }
    }

    fn write_row(&mut self, db: &Database, txn: &mut Transaction, rows: &mut Rows) {
        let key = format!("key{:03}", self.choices.below(150)).into_bytes();
        if self.choices.one_in(4) {
            let found = db.delete(txn, &key).expect("a delete");
            assert_eq!(found, rows.remove(&key).is_some());
            return;
        }
        let long = if self.choices.one_in(20) { 1500 } else { 50 };
        let len = self.choices.below(long) as usize;
        let value = vec![self.choices.draw() as u8; len];
        db.put(txn, &key, &value).expect("a put");
        rows.insert(key, value);
    }

    /// A transaction that never happened.
    fn abort(&mut self, database: usize) {
        let mut rows = Rows::new();
        let mut txn = self.env.begin().expect("a transaction");
        if let Ok(db) = self.env.open_database_in(&mut txn, &name_of(database)) {
            for _ in 0..4 {
                let key = format!("key{:03}", self.choices.below(150)).into_bytes();
                db.put(&mut txn, &key, b"never").expect("a put");
                rows.insert(key, Vec::new());
            }
        }
        txn.abort().expect("an abort");
    }

    /// Drops a database, or makes it again.
    fn turn_over(&mut self, database: usize) {
        let name = name_of(database);
        if self.newest().contains_key(&name) && !self.choices.one_in(4) {
            return;
        }
        self.change(|env, txn, state| {
            if state.remove(&name).is_some() {
                env.drop_database_in(txn, &name)
            } else {
                env.create_database_with(txn, &name, in_turn(env, database))?;
                state.insert(name, Arc::new(Rows::new()));
                Ok(())
            }
        });
    }

    /// Empties a database, if it is there.
    pub fn empty(&mut self, database: usize) {
        let name = name_of(database);
        if self.newest().contains_key(&name) {
            self.change(|env, txn, state| {
                env.empty_database_in(txn, &name)?;
                state.insert(name.clone(), Arc::new(Rows::new()));
                Ok(())
            });
        }
    }

    fn rename(&mut self, database: usize) {
        let (name, new) = (name_of(database), name_of((database + 1) % DATABASES as usize));
        if !self.newest().contains_key(&name) || self.newest().contains_key(&new) {
            return;
        }
        self.change(|env, txn, state| {
            env.rename_database_in(txn, &name, &new)?;
            let rows = state.remove(&name).expect("it is there");
            state.insert(new, rows);
            Ok(())
        });
    }

    /// Goes on until the log has reached another `files` files.
    pub fn fill_log(&mut self, files: u32) {
        let until = self.log_file() + files;
        while self.log_file() < until {
            self.burst(5);
        }
    }

    /// The file that the log has reached.
    pub fn log_file(&self) -> u32 {
        self.moments.last().map_or(1, |moment| moment.lsn.file())
    }

    pub fn back_up(&self) -> backup::BackupReport {
        backup::back_up_on(&self.host(), Path::new(HOME), repository(), &Progress::none())
            .expect("a backup")
    }

    pub fn restore(&self, target: Target, to: &str) -> Result<RestoreReport, Error> {
        restore_with(&self.disk, RestoreOptions::new().target(target), to)
    }
}

/// A process on a disk.
pub fn host_of(disk: &Arc<SimDisk>) -> Host {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    let random = Arc::new(Draws(Mutex::new(Choices::new(DRAWN.fetch_add(1, Ordering::Relaxed)))));
    Host { random, ..disk.host() }
}

#[derive(Debug)]
struct Draws(Mutex<Choices>);

impl Random for Draws {
    fn next_u64(&self) -> u64 {
        self.0.lock().expect("nobody panics here").draw()
    }
}

pub fn repository() -> &'static Path {
    Path::new(REPOSITORY)
}

pub fn restore_with(
    disk: &Arc<SimDisk>,
    options: RestoreOptions,
    to: &str,
) -> Result<RestoreReport, Error> {
    options.environment(self::options()).run_on(&host_of(disk), repository(), Path::new(to))
}

/// Opens a home and reads all of it; every page is checked on the way.
pub fn contents(disk: &Arc<SimDisk>, home: &str) -> State {
    let env = Environment::open_on(host_of(disk), home, options().create(false)).expect("a home");
    let state = read_all(&env).expect("what is there can be read");
    let report = env.verify().expect("verification runs");
    assert!(report.is_clean(), "{report:?}");
    env.close().expect("it closes");
    state
}

/// Fails without printing two environments whole.
#[track_caller]
pub fn assert_same(found: &State, expected: &State, what: &str) {
    if found == expected {
        return;
    }
    let names: Vec<_> = found.keys().collect();
    let wanted: Vec<_> = expected.keys().collect();
    assert_eq!(names, wanted, "{what}: databases");
    for (name, rows) in found {
        let wanted = &expected[name];
        let differs = |key: &&Vec<u8>| rows.get(*key) != wanted.get(*key);
        let key = rows.keys().chain(wanted.keys()).find(differs);
        let key = key.map(|key| String::from_utf8_lossy(key).into_owned());
        assert!(key.is_none(), "{what}: {name} differs at {key:?}");
    }
}

/// Where log files of a home are.
pub fn log_dir(home: &str) -> PathBuf {
    Path::new(home).join("log")
}
