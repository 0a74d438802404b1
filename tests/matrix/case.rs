//! An environment under one of the two work loads of the matrix, at the moment its machine fails,
//! with a repository beside it; and the ways an operator has to bring it back.
//!
//! What must be there is known from the calls that the work load made, never from the engine.

use campanile::restore::{RestoreOptions, RestoreReport, Target, catastrophic_on};
use campanile::{Environment, EnvironmentOptions, Error, Lsn, Progress, backup, inspect};
use campanile_format::names;
use campanile_tests::oracle::Rows;
pub use campanile_tests::oracle::State;
use campanile_vfs::sim::{CrashChoice, SimDisk, SimOptions};
use campanile_vfs::{Host, Random};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

pub const HOME: &str = "/home";
pub const REPOSITORY: &str = "/repository";
pub const RESTORED: &str = "/restored";

/// What every transaction of the work load writes to, all of them or none.
pub const DATABASES: [&str; 3] = ["ledger", "orders", "stock"];
/// Filled at the beginning and never written again.
pub const ATTIC: &str = "attic";

/// All files of a disk, by the path that the environment uses.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The two work loads that Berkeley DB was measured with, and a third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// A: new keys, many small log files, three checkpoints on the way.
    Append,
    /// B: keys that were loaded, closed and checkpointed are overwritten; one log file, and none
    /// of the changed pages is written.
    Update,
    /// B with a cache so small that most of the changed pages are written.
    UpdateEvicted,
}

pub const BOTH: [Load; 2] = [Load::Append, Load::Update];

/// How it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What every open does.
    Normal,
    /// `db_recover -c`: all of the log there is.
    Catastrophic,
}

/// An environment whose machine failed.
#[derive(Clone)]
pub struct Case {
    pub load: Load,
    /// Everything on it is durable.
    pub disk: Arc<SimDisk>,
    pub options: EnvironmentOptions,
    /// All that was acknowledged.
    pub newest: State,
    /// What was acknowledged when the archive was last brought up to the end of the log.
    pub archived: State,
    /// The home in the middle of the work, just after a checkpoint.
    pub earlier: Files,
    /// Commits in the order of the log, from the last checkpoint on.
    pub commits: Vec<Lsn>,
}

static CASES: LazyLock<[Case; 3]> =
    LazyLock::new(|| [Load::Append, Load::Update, Load::UpdateEvicted].map(|load| make(load, 1)));

impl Case {
    /// Died in the middle of its work.
    pub fn crashed(load: Load) -> Case {
        let case = CASES.iter().find(|case| case.load == load).expect("every load is made");
        Case { disk: case.disk.fork(), ..case.clone() }
    }

    /// The same work, in another environment.
    pub fn twin(load: Load) -> Case {
        make(load, 77)
    }

    /// Files of the log, oldest first.
    pub fn log_numbers(&self) -> Vec<u32> {
        let info = inspect::home_on(&self.disk.host(), HOME).expect("a home");
        let names = info.log_files.iter().map(|file| file.name.as_str());
        names.filter_map(names::parse_log_file).collect()
    }

    /// The first file that normal recovery needs, and the last.
    pub fn needed_logs(&self) -> (u32, u32) {
        let info = inspect::home_on(&self.disk.host(), HOME).expect("a home");
        (info.redo.file(), *self.log_numbers().last().expect("a log"))
    }

    /// A commit in the middle of the log file, as far as recovery reads it.
    pub fn commit_in(&self, file: u32) -> Lsn {
        let inside: Vec<Lsn> =
            self.commits.iter().copied().filter(|lsn| lsn.file() == file).collect();
        *inside.get(inside.len() / 2).expect("something was committed in it")
    }

    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        self.disk.file_bytes(path).expect("the file is there")
    }

    pub fn lose(&self, path: &Path) {
        self.disk.drop_file(path).expect("the file is there");
    }

    pub fn put(&self, path: &Path, bytes: &[u8]) {
        self.disk.put_file(path, bytes);
    }

    pub fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        self.disk.edit_file(path, edit).expect("the file is there");
    }

    /// Which data file a database is in: the one in which its rows stand. `name` is part of every
    /// value that the work loads write.
    pub fn data_path(&self, name: &str) -> PathBuf {
        let mark = format!("<{name}>");
        let files = self.disk.snapshot_files();
        let found = files.iter().map(|(path, bytes)| (Path::new("/").join(path), bytes));
        let ours = found.filter(|(path, _)| path.starts_with(in_home(names::DATA_DIR)));
        let count =
            |bytes: &[u8]| bytes.windows(mark.len()).filter(|w| *w == mark.as_bytes()).count();
        let best = ours.max_by_key(|(_, bytes)| count(bytes));
        best.expect("there are data files").0
    }

    /// Brings the home up on a copy of the disk, and reads all of it.
    pub fn bring_up(&self, way: Way) -> Seen {
        bring_up(&self.disk.fork(), HOME, &self.options, way)
    }

    /// Restores from the repository on a copy of the disk; `logs`: with the log of the failed home.
    pub fn restore(&self, target: Target, logs: bool) -> Result<(RestoreReport, State), Error> {
        let disk = self.disk.fork();
        let mut options = RestoreOptions::new().target(target).environment(self.options.clone());
        if logs {
            options = options.logs(in_home(names::LOG_DIR));
        }
        let report = options.run_on(&host_of(&disk), Path::new(REPOSITORY), Path::new(RESTORED))?;
        Ok((report, whole(bring_up(&disk, RESTORED, &self.options, Way::Normal))))
    }

    /// Restores to the end of what there is and demands that it is this.
    #[track_caller]
    pub fn comes_back(&self, logs: bool, expected: &State) {
        let restored = self.restore(Target::End, logs);
        let (report, found) = restored.unwrap_or_else(|error| panic!("the way back: {error}"));
        assert_same(&found, expected, &format!("restored from {}", report.backup));
    }
}

/// A path in the home.
pub fn in_home(name: &str) -> PathBuf {
    Path::new(HOME).join(name)
}

pub fn log_name(number: u32) -> String {
    names::log_file(number)
}

pub fn log_path(number: u32) -> PathBuf {
    in_home(names::LOG_DIR).join(log_name(number))
}

/// A process on a disk: each draws numbers of its own.
pub fn host_of(disk: &Arc<SimDisk>) -> Host {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    let first = DRAWN.fetch_add(1, Ordering::Relaxed) << 32;
    Host { random: Arc::new(Draws(AtomicU64::new(first))), ..disk.host() }
}

#[derive(Debug)]
struct Draws(AtomicU64);

impl Random for Draws {
    fn next_u64(&self) -> u64 {
        let drawn = self.0.fetch_add(1, Ordering::Relaxed);
        drawn.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }
}

fn options(load: Load) -> EnvironmentOptions {
    let (pages, log_file_bytes) = match load {
        Load::Append => (400, 16 << 10),
        Load::Update => (2000, 1 << 20),
        Load::UpdateEvicted => (32, 1 << 20),
    };
    EnvironmentOptions::new()
        .page_bytes(512)
        .cache_bytes(pages * 512)
        .log_file_bytes(log_file_bytes)
        .log_block_bytes(512)
        .log_buffer_bytes(2048)
        // Checkpoints come when the work load says so.
        .checkpoint_log_bytes(1 << 30)
}

/// A work load under way.
struct Work {
    disk: Arc<SimDisk>,
    options: EnvironmentOptions,
    env: Environment,
    state: State,
    commits: Vec<Lsn>,
}

impl Work {
    fn begin(load: Load, seed: u64) -> Work {
        let disk = SimDisk::new(SimOptions::new(seed));
        let options = options(load);
        let env = Environment::open_on(disk.host(), HOME, options.clone().archive(REPOSITORY));
        let env = env.expect("a new home");
        let mut work = Work { disk, options, env, state: State::new(), commits: Vec::new() };
        for name in DATABASES.into_iter().chain([ATTIC]) {
            work.env.create_database(name).expect("is created");
            work.state.insert(name.to_owned(), Arc::new(Rows::new()));
        }
        for number in 0..60 {
            work.put(&[ATTIC], number, "kept");
        }
        work
    }

    /// One transaction: the same key in each of these databases.
    fn put(&mut self, databases: &[&str], number: usize, what: &str) {
        let key = format!("key{number:05}").into_bytes();
        let mut txn = self.env.begin().expect("begins");
        for name in databases {
            let value = format!("<{name}> {what} of {number:05}").into_bytes();
            let database = self.env.open_database_in(&mut txn, name).expect("it is there");
            database.put(&mut txn, &key, &value).expect("is put");
            let rows = self.state.get_mut(*name).expect("it is there");
            Arc::make_mut(rows).insert(key.clone(), value);
        }
        let lsn = txn.commit().expect("commits");
        if self.commits.last().is_some_and(|last| last.file() != lsn.file()) {
            // What an owner's background does within moments: it states that the log has reached
            // another file, and archives the one before.
            while self.env.step().expect("background work") {}
        }
        self.commits.push(lsn);
    }

    fn checkpoint(&mut self) {
        self.env.checkpoint().expect("a checkpoint");
        self.commits.clear();
    }

    fn back_up(&self) {
        let (host, repository) = (host_of(&self.disk), Path::new(REPOSITORY));
        backup::back_up_on(&host, Path::new(HOME), repository, &Progress::none())
            .expect("a backup");
    }

    /// The files of the home as they are.
    fn home(&self) -> Files {
        let files = self.disk.snapshot_files().into_iter();
        let files = files.map(|(path, bytes)| (Path::new("/").join(path), bytes));
        files.filter(|(path, _)| path.starts_with(HOME)).collect()
    }

    /// Leaves the home and comes back to it, as a program that is stopped and started.
    fn close_and_open(self) -> Work {
        let Work { disk, options, env, state, commits } = self;
        env.close().expect("closes");
        let env = Environment::open_on(disk.host(), HOME, options.clone()).expect("opens");
        Work { disk, options, env, state, commits }
    }

    fn archive(&self) {
        backup::archive_now_on(&host_of(&self.disk), Path::new(HOME)).expect("is archived");
    }
}

/// Nothing of the log is given up in a case: old files are part of what it is about.
fn keep_the_log(disk: &Arc<SimDisk>) {
    let pin = campanile_wal::LogPin::take(&disk.host(), &in_home(names::LOG_DIR));
    std::mem::forget(pin.expect("nobody reads the log"));
}

fn make(load: Load, seed: u64) -> Case {
    let mut work = Work::begin(load, seed);
    keep_the_log(&work.disk);
    let count = 320;
    let mut earlier = Files::new();
    if load == Load::Append {
        for number in 0..count / 4 {
            work.put(&DATABASES, number, "new");
        }
        work.checkpoint();
        work.back_up();
    } else {
        for number in 0..count {
            if number == count / 2 {
                work.checkpoint();
                earlier = work.home();
            }
            work.put(&DATABASES, number, "generation 1");
        }
        work = work.close_and_open();
        work.checkpoint();
        work.back_up();
    }
    let mut archived = State::new();
    let begun = if load == Load::Append { count / 4 } else { 0 };
    for number in begun..count {
        let checkpoint = load == Load::Append && number % (count / 4) == 0 && number > begun;
        if checkpoint {
            work.checkpoint();
            if number == count / 2 {
                earlier = work.home();
            }
        }
        if number == count - 5 {
            work.archive();
            archived = work.state.clone();
        }
        match load {
            Load::Append => work.put(&DATABASES, number, "new"),
            _ => work.put(&DATABASES, number * 7 % count, "generation 2"),
        }
    }
    fail(load, work, archived, earlier)
}

/// The process dies with a transaction under way, of which the log knows.
fn fail(load: Load, mut work: Work, archived: State, earlier: Files) -> Case {
    let mut unfinished = work.env.begin().expect("begins");
    for name in DATABASES {
        let database = work.env.open_database_in(&mut unfinished, name).expect("it is there");
        database.put(&mut unfinished, "unfinished", "never").expect("is put");
    }
    work.put(&[ATTIC], 99, "the last");
    work.env.abandon();
    work.disk.crash();
    drop(unfinished);
    Case {
        load,
        disk: work.disk.reboot(CrashChoice::All),
        options: work.options,
        newest: work.state,
        archived,
        earlier,
        commits: work.commits,
    }
}

/// What came of bringing a home up.
pub enum Seen {
    Refused(Error),
    Open {
        /// Rows as far as they could be read.
        state: State,
        /// Each error that reading met, and each finding of the verification.
        complaints: Vec<String>,
        /// What recovery said.
        said: String,
    },
}

/// Opens a home in some way and reads all of it.
pub fn bring_up(disk: &Arc<SimDisk>, home: &str, options: &EnvironmentOptions, way: Way) -> Seen {
    let host = host_of(disk);
    let mut said = String::new();
    if way == Way::Catastrophic {
        match catastrophic_on(&host, Path::new(home), &Target::End, options.clone()) {
            Ok(report) => said = report.to_string(),
            Err(error) => return Seen::Refused(error),
        }
    }
    let env = match Environment::open_on(host, home, options.clone().create(false)) {
        Ok(env) => env,
        Err(error) => return Seen::Refused(error),
    };
    if let Some(report) = env.recovery_report() {
        said.push_str(&report.to_string());
    }
    let (state, complaints) = look(&env);
    env.abandon();
    Seen::Open { state, complaints, said }
}

/// Reads everything and verifies everything.
pub fn look(env: &Environment) -> (State, Vec<String>) {
    let (mut state, mut complaints) = (State::new(), Vec::new());
    let snapshot = env.snapshot().expect("a snapshot");
    let names = env.databases(&snapshot).unwrap_or_else(|error| {
        complaints.push(error.to_string());
        Vec::new()
    });
    for name in names {
        let mut rows = Rows::new();
        if let Err(error) = read(env, &name, &mut rows) {
            complaints.push(format!("{name}: {error}"));
        }
        state.insert(name, Arc::new(rows));
    }
    match env.verify() {
        Ok(report) => complaints.extend(report.damage),
        Err(error) => complaints.push(error.to_string()),
    }
    (state, complaints)
}

fn read(env: &Environment, name: &str, rows: &mut Rows) -> Result<(), Error> {
    let snapshot = env.snapshot()?;
    for entry in env.open_database(name)?.range(&snapshot, ..)? {
        let (key, value) = entry?;
        rows.insert(key, value);
    }
    Ok(())
}

/// What a home shows that must be whole.
#[track_caller]
pub fn whole(seen: Seen) -> State {
    match seen {
        Seen::Refused(error) => panic!("refused: {error}"),
        Seen::Open { state, complaints, .. } => {
            assert!(complaints.is_empty(), "{complaints:?}");
            state
        }
    }
}

/// Fails without printing two environments whole.
#[track_caller]
pub fn assert_same(found: &State, expected: &State, what: &str) {
    let (names, wanted): (Vec<_>, Vec<_>) = (found.keys().collect(), expected.keys().collect());
    assert_eq!(names, wanted, "{what}: databases");
    for (name, rows) in found {
        let wanted = &expected[name];
        let keys = rows.keys().chain(wanted.keys());
        let wrong = keys.filter(|key| rows.get(*key) != wanted.get(*key)).count();
        assert_eq!(wrong, 0, "{what}: {name}: wrong rows of {}", wanted.len());
    }
}
