//! The small environments that are damaged: together they hold every kind of page, log record and
//! file, and each is in another state when the damage comes.
//!
//! What they must show is written down while they are made, from the calls alone: the content after
//! each commit, with the commit's place in the log.

use campanile::{DatabaseOptions, Durability, Environment, EnvironmentOptions, Transaction};
use campanile_format::record::{Body, Record, Undo};
use campanile_format::{EnvironmentId, Lsn, Timeline, TxnId, names};
use campanile_tests::life::HOME;
use campanile_tests::oracle::{Rows, State};
use campanile_vfs::Poison;
use campanile_vfs::sim::{CrashChoice, SimDisk, SimOptions};
use campanile_wal::{ControlFile, LogSet, Wal, WalOptions, find_end};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An environment on a disk, ready to be damaged.
pub struct Sample {
    /// What state it is in.
    pub name: &'static str,
    /// The disk; everything on it is durable.
    pub disk: Arc<SimDisk>,
    /// How it is opened.
    pub options: EnvironmentOptions,
    /// The content after each commit, and where in the log the commit stands.
    pub history: Vec<(Lsn, State)>,
    /// Databases that recovery empties.
    pub volatile: BTreeSet<String>,
}

impl Sample {
    /// What it must show if nothing is lost.
    pub fn newest(&self) -> &State {
        &self.history.last().expect("something was committed").1
    }

    /// What it must show if the log ends at `end`.
    pub fn as_of(&self, end: Lsn) -> State {
        let before = self.history.iter().rev().find(|(lsn, _)| *lsn < end);
        before.map(|(_, state)| state.clone()).unwrap_or_default()
    }
}

/// A path in the home.
pub fn in_home(name: &str) -> PathBuf {
    Path::new(HOME).join(name)
}

/// Path of a log file.
pub fn log_path(number: u32) -> PathBuf {
    in_home(names::LOG_DIR).join(names::log_file(number))
}

fn options(page_bytes: u32, log_file_bytes: u32) -> EnvironmentOptions {
    EnvironmentOptions::new()
        .page_bytes(page_bytes)
        .cache_bytes(64 * page_bytes as usize)
        .log_file_bytes(log_file_bytes)
        .log_block_bytes(512)
        .log_buffer_bytes(2048)
        .version_bytes(64 * 1024)
}

/// An environment in the making, and its model.
struct Builder {
    disk: Arc<SimDisk>,
    options: EnvironmentOptions,
    env: Environment,
    history: Vec<(Lsn, State)>,
    volatile: BTreeSet<String>,
}

impl Builder {
    fn new(seed: u64, page_bytes: u32) -> Builder {
        let disk = SimDisk::new(SimOptions::new(seed));
        let options = options(page_bytes, 4096.max(8 * page_bytes));
        let env = Environment::open_on(disk.host(), HOME, options.clone()).expect("is created");
        let history = vec![(Lsn::NONE, State::new())];
        Builder { disk, options, env, history, volatile: BTreeSet::new() }
    }

    fn draft(&self) -> Draft {
        let state = self.history.last().expect("it begins empty").1.clone();
        let txn = self.env.begin().expect("begins");
        Draft { env: self.env.clone(), txn, state }
    }

    fn commit_with(&mut self, draft: Draft, durability: Durability) {
        let Draft { txn, state, .. } = draft;
        let lsn = txn.commit_with(durability).expect("commits");
        self.history.push((lsn, state));
    }

    fn commit(&mut self, work: impl FnOnce(&mut Draft)) {
        let mut draft = self.draft();
        work(&mut draft);
        self.commit_with(draft, Durability::Sync);
    }

    fn abort(&mut self, work: impl FnOnce(&mut Draft)) {
        let mut draft = self.draft();
        work(&mut draft);
        draft.txn.abort().expect("rolls back");
    }

    fn settle(&self) {
        for _ in 0..200 {
            if !self.env.step().expect("background work") {
                return;
            }
        }
    }

    fn checkpoint(&self) {
        self.env.checkpoint().expect("a checkpoint");
    }

    /// The disk as it is now, all of it durable.
    fn finish(self, name: &'static str) -> Sample {
        let Builder { disk, options, history, volatile, env } = self;
        env.abandon();
        disk.crash();
        let disk = disk.reboot(CrashChoice::All);
        Sample { name, disk, options, history, volatile }
    }
}

/// A transaction under way, on the engine and on the model.
struct Draft {
    env: Environment,
    txn: Transaction,
    state: State,
}

impl Draft {
    fn create(&mut self, name: &str, durable: bool) {
        let options = DatabaseOptions::new().durable(durable);
        self.env.create_database_with(&mut self.txn, name, options).expect("is created");
        self.state.insert(name.to_owned(), Arc::new(Rows::new()));
    }

    fn put(&mut self, name: &str, key: &str, value: &[u8]) {
        let db = self.env.open_database_in(&mut self.txn, name).expect("is there");
        db.put(&mut self.txn, key, value).expect("is put");
        self.rows(name).insert(key.as_bytes().to_vec(), value.to_vec());
    }

    fn delete(&mut self, name: &str, key: &str) {
        let db = self.env.open_database_in(&mut self.txn, name).expect("is there");
        assert!(db.delete(&mut self.txn, key).expect("is deleted"), "{key} is there");
        self.rows(name).remove(key.as_bytes());
    }

    fn drop_database(&mut self, name: &str) {
        self.env.drop_database_in(&mut self.txn, name).expect("is dropped");
        self.state.remove(name);
    }

    fn rename(&mut self, name: &str, to: &str) {
        self.env.rename_database_in(&mut self.txn, name, to).expect("is renamed");
        let rows = self.state.remove(name).expect("is in the model");
        self.state.insert(to.to_owned(), rows);
    }

    fn rows(&mut self, name: &str) -> &mut Rows {
        Arc::make_mut(self.state.get_mut(name).expect("is in the model"))
    }
}

/// Bytes of which no two sectors are alike.
fn long(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251 + usize::from(seed) * 17) as u8).collect()
}

fn key(number: usize) -> String {
    format!("belfry/{number:03}")
}

/// Small rows in several leaves, long values, a database that is not durable, one that is dropped.
fn fill(builder: &mut Builder) {
    builder.commit(|draft| {
        draft.create("rows", true);
        draft.create("long", true);
        draft.create("cache", false);
        draft.create("doomed", true);
    });
    builder.volatile.insert("cache".to_owned());
    for batch in 0..4 {
        builder.commit(|draft| {
            for number in 0..12 {
                let number = batch + number * 4;
                draft.put("rows", &key(number), format!("rings at {number:04}").as_bytes());
            }
            draft.put("doomed", &key(batch), b"soon gone");
            draft.put("cache", &key(batch), b"not logged");
        });
    }
    builder.commit(|draft| {
        draft.put("long", "one page", &long(1, 300));
        draft.put("long", "some pages", &long(2, 1700));
        draft.put("long", "many pages", &long(3, 3100));
    });
}

/// Everything that changes pages and files in other ways, with a checkpoint in the midst of it.
fn change(builder: &mut Builder) {
    builder.abort(|draft| {
        draft.put("rows", &key(7), b"never");
        draft.put("long", "some pages", &long(9, 900));
        draft.create("never", true);
    });
    builder.commit(|draft| {
        for number in 20..32 {
            draft.delete("rows", &key(number));
        }
        draft.put("long", "some pages", &long(4, 1300));
    });
    let mut open = builder.draft();
    open.put("rows", &key(99), b"across the checkpoint");
    builder.checkpoint();
    open.put("rows", &key(98), b"after the checkpoint");
    builder.commit_with(open, Durability::Sync);
}

/// Databases come and go.
fn change_catalog(builder: &mut Builder) {
    builder.commit(|draft| {
        draft.drop_database("doomed");
        draft.create("tower", true);
        draft.rename("tower", "spire");
        draft.put("spire", "height", b"96 m");
    });
    builder.settle();
}

/// The crashed sample at an early moment of its life.
pub fn crashed_early(seed: u64) -> Sample {
    let mut builder = Builder::new(seed, 512);
    fill(&mut builder);
    builder.settle();
    builder.checkpoint();
    builder.finish("early")
}

/// Left by a crash: a transaction was running, the log ends behind the last proof of durability.
pub fn crashed(seed: u64) -> Sample {
    let mut builder = Builder::new(seed, 512);
    fill(&mut builder);
    builder.settle();
    builder.checkpoint();
    change(&mut builder);
    builder.checkpoint();
    change_catalog(&mut builder);
    for round in 0..3 {
        builder.commit(|draft| {
            for number in 0..9 {
                draft.put("rows", &key(number * 5), format!("round {round}").as_bytes());
            }
            draft.put("long", "one page", &long(10 + round, 500));
        });
        builder.settle();
    }
    builder.abort(|draft| draft.put("spire", "height", b"wrong"));
    for number in 0..3 {
        let mut draft = builder.draft();
        draft.put("rows", &key(60 + number), b"near the end");
        let durability = if number == 1 { Durability::NoSync } else { Durability::Sync };
        builder.commit_with(draft, durability);
    }
    let mut open = builder.draft();
    open.put("rows", &key(61), b"not committed");
    builder.settle();
    std::mem::forget(open);
    builder.finish("crashed")
}

/// Left by a crash in a long transaction that was running at the last checkpoint: recovery begins
/// there, and rolls back what lies before it.
pub fn running(seed: u64) -> Sample {
    let mut builder = Builder::new(seed, 512);
    builder.commit(|draft| {
        draft.create("rows", true);
        draft.create("long", true);
        for number in 0..20 {
            draft.put("rows", &key(number), b"committed");
        }
        draft.put("long", "pages", &long(1, 1200));
    });
    let mut open = builder.draft();
    open.put("rows", &key(3), b"not committed");
    open.delete("rows", &key(4));
    open.put("long", "pages", &long(2, 900));
    builder.checkpoint();
    for number in 10..60 {
        open.put("rows", &key(number), b"not committed either");
    }
    // Its records reach the disk with the next flush; some of its pages too.
    builder.settle();
    builder.settle();
    std::mem::forget(open);
    builder.finish("running")
}

/// Closed by its owner.
pub fn closed(seed: u64) -> Sample {
    let mut builder = Builder::new(seed, 512);
    fill(&mut builder);
    change(&mut builder);
    change_catalog(&mut builder);
    let env = builder.env.clone();
    env.close().expect("closes");
    let Builder { disk, options, history, volatile, .. } = builder;
    let disk = disk.reboot(CrashChoice::All);
    Sample { name: "closed", disk, options, history, volatile }
}

/// Left by a power failure while pages were written home: some are torn, their copies are whole.
pub fn torn(seed: u64) -> Sample {
    let mut builder = Builder::new(seed, 1024);
    fill(&mut builder);
    let put_all = |draft: &mut Draft, word: &str| {
        for number in 0..150 {
            draft.put("rows", &key(number), format!("{word} {number:05}").as_bytes());
        }
    };
    builder.commit(|draft| put_all(draft, "first"));
    builder.checkpoint();
    builder.commit(|draft| put_all(draft, "later"));
    builder.disk.capture_crash_points();
    builder.checkpoint();
    let points = builder.disk.take_crash_points();
    let torn = points.iter().rev().find_map(|point| {
        (0..200).find_map(|seed| {
            let disk = point.disk.reboot(CrashChoice::Subset(seed));
            let damaged = damaged_pages(&disk, 1024);
            (damaged >= 3).then_some(disk)
        })
    });
    let disk = torn.expect("a crash that tears three pages").reboot(CrashChoice::All);
    let Builder { options, history, volatile, env, .. } = builder;
    env.abandon();
    Sample { name: "torn", disk, options, history, volatile }
}

fn damaged_pages(disk: &SimDisk, page_bytes: usize) -> usize {
    crate::facts::data_pages(&crate::facts::files_of(disk), page_bytes)
        .filter(|(id, page)| {
            let never = campanile_format::page::is_never_written(page);
            !never && campanile_format::page::check(page, *id).is_err()
        })
        .count()
}

/// Left by a crash, with the kinds of log record that this build keeps but does not write: a
/// prepared transaction, a nested commit, a restore point.
pub fn reserved(seed: u64) -> Sample {
    let mut builder = Builder::new(seed, 512);
    builder.commit(|draft| {
        draft.create("rows", true);
        draft.put("rows", "k", b"v");
    });
    let sample = builder.finish("reserved");
    let wal = continue_log(&sample.disk);
    let nothing = |prev: Lsn, txn: u64| Record {
        txn: TxnId(txn),
        prev,
        body: Body::Update { changes: Vec::new(), undo: Undo::None },
    };
    let append = |record: &Record<'_>| wal.append(record).expect("is appended");
    let child = append(&nothing(Lsn::NONE, 900));
    let parent = append(&nothing(Lsn::NONE, 901));
    let body = Body::ChildCommit { child: TxnId(900), child_last: child };
    let joined = append(&Record { txn: TxnId(901), prev: parent, body });
    let time_us = wal.commit_time_us();
    let body = Body::Commit { time_us, durable: Lsn::NONE };
    append(&Record { txn: TxnId(901), prev: joined, body });
    let body = Body::Commit { time_us, durable: Lsn::NONE };
    append(&Record { txn: TxnId(900), prev: child, body });
    append(&Record {
        txn: TxnId::SYSTEM,
        prev: Lsn::NONE,
        body: Body::RestorePoint { name: "before the flood", time_us },
    });
    let update = append(&nothing(Lsn::NONE, 902));
    let body = Body::Prepare { gid: b"order 66", time_us };
    let last = append(&Record { txn: TxnId(902), prev: update, body });
    wal.flush(last).expect("is flushed");
    let body = Body::Durable { durable: wal.durable() };
    let last = append(&Record { txn: TxnId::SYSTEM, prev: Lsn::NONE, body });
    wal.flush(last).expect("is flushed");
    drop(wal);
    // The log goes on in another file, so that all of this is proven durable.
    let wal = continue_log(&sample.disk);
    let body = Body::RestorePoint { name: "after the flood", time_us: wal.commit_time_us() };
    let last = wal.append(&Record { txn: TxnId::SYSTEM, prev: Lsn::NONE, body });
    wal.flush(last.expect("is appended")).expect("is flushed");
    sample
}

fn continue_log(disk: &Arc<SimDisk>) -> Wal {
    let host = disk.host();
    let control = ControlFile::read(&*host.vfs, Path::new(HOME)).expect("a control file");
    let dir = in_home(names::LOG_DIR);
    let (environment, timeline): (EnvironmentId, Timeline) =
        (control.environment, control.timeline);
    let logs = LogSet::open(&host.vfs, &dir, environment, timeline).expect("a log");
    let end = find_end(&logs, control.redo, control.durable).expect("an end");
    let options = WalOptions {
        file_bytes: control.log_file_bytes,
        block_bytes: 512,
        ..WalOptions::new(dir, environment, timeline)
    };
    Wal::open(&host, &Poison::new(), options, end.start()).expect("goes on")
}
