//! A flock: many threads that append to lists and read them, through the public interface, and
//! write down what they did and saw.
//!
//! Owns the random transactions and their record. Promises that elements are unique, that every
//! step is recorded with the tick after it, and that what was rolled back inside a transaction is
//! recorded as a transaction of its own that was rolled back. Must never judge: see `checker` and
//! `white_box`.

mod animal;

use crate::history::{Action, Element, History, Key, Level, Op, Outcome, Txn};
use crate::workload::Choices;
use animal::Animal;
use campanile::{
    Database, Durability, Environment, Error, Isolation, PreparedTransaction, Reads, Result,
    TransactionOptions,
};
use campanile_format::planted::Selection;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How a list is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One record a list, replaced at every append.
    Values,
    /// One record an element: an append is an insert, a read is a scan. Only for levels that
    /// protect what they read.
    Rows,
}

/// What a flock does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tells apart what chance decides.
    pub seed: u64,
    /// Threads.
    pub threads: u32,
    /// Transactions of each thread.
    pub txns: u32,
    /// Lists that are hot at a time; after a while they are left for new ones.
    pub keys: u32,
    /// Levels and how often each is taken.
    pub levels: &'static [(Level, u64)],
    /// How lists are stored.
    pub layout: Layout,
    /// Locks another record before an append, so that nobody appends between its read and its
    /// write although its level would permit it.
    pub guarded: bool,
    /// Whether ranges are read as well.
    pub ranges: bool,
    /// Whether transactions use savepoints and nested transactions.
    pub scopes: bool,
    /// Whether some transactions commit in two phases.
    pub prepares: bool,
    /// What commits promise.
    pub durability: Durability,
}

/// All at the strictest level.
pub const SERIALIZABLE: &[(Level, u64)] = &[(Level::Serializable, 3), (Level::Snapshot, 1)];

impl Plan {
    /// A mix of everything, serializable.
    #[must_use]
    pub fn new(seed: u64) -> Plan {
        Plan {
            seed,
            threads: 6,
            txns: 170,
            keys: 6,
            levels: SERIALIZABLE,
            layout: if seed.is_multiple_of(2) { Layout::Values } else { Layout::Rows },
            guarded: false,
            ranges: true,
            scopes: true,
            prepares: true,
            durability: Durability::NoSync,
        }
    }

    /// The same with other levels, none of which loses an update.
    #[must_use]
    pub fn at(seed: u64, levels: &'static [(Level, u64)]) -> Plan {
        Plan { levels, layout: Layout::Values, guarded: true, ..Plan::new(seed) }
    }

    fn is_atomic(&self) -> bool {
        self.guarded || self.levels.iter().all(|(level, _)| level.protects_reads())
    }
}

fn gid(bytes: &[u8]) -> u64 {
    let text = std::str::from_utf8(bytes).expect("our own ids are text");
    text.parse().expect("our own ids are numbers")
}

/// Transaction options for a level.
pub fn options(level: Level) -> TransactionOptions {
    let isolation = match level {
        Level::ReadUncommitted => Isolation::ReadUncommitted,
        Level::ReadCommitted => Isolation::ReadCommitted,
        Level::Serializable | Level::Snapshot => Isolation::Serializable,
    };
    TransactionOptions::new().isolation(isolation)
}

/// How many transactions use the same lists before the flock moves on.
const PASTURE: u32 = 160;

/// What outlives a crash: counters and the record.
#[derive(Debug, Default)]
pub struct Record {
    tick: AtomicU64,
    element: AtomicU32,
    begun: AtomicU32,
    process: AtomicU32,
    txns: Mutex<Vec<Txn>>,
    /// What is wrong whatever the level.
    pub wrong: Mutex<Vec<String>>,
    /// Transactions that lost a deadlock.
    pub deadlocks: AtomicU64,
    /// Savepoints that were rolled back to.
    pub rollbacks: AtomicU64,
    /// Nested transactions that committed, and that were rolled back.
    pub nested: [AtomicU64; 2],
    /// Transactions that were prepared, and that were resolved in a later life.
    pub prepared: [AtomicU64; 2],
    /// Prepared, as acknowledged, and nobody has asked for an end yet: by the tick of their
    /// beginning, which is their global id.
    waiting: Mutex<BTreeSet<u64>>,
    /// What later lives decided.
    resolved: Mutex<BTreeMap<u64, Resolution>>,
}

/// The end of a transaction that outlived its thread.
#[derive(Clone, Copy, Debug)]
struct Resolution {
    outcome: Outcome,
    ending: u64,
    completed: u64,
    commit_lsn: u64,
}

impl Record {
    fn tick(&self) -> u64 {
        self.tick.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The history so far.
    #[must_use]
    pub fn history(&self, atomic_appends: bool) -> History {
        let mut txns = self.txns.lock().expect("the record").clone();
        let resolved = self.resolved.lock().expect("the record");
        for txn in txns.iter_mut().filter(|txn| txn.outcome == Outcome::InDoubt) {
            if let Some(end) = resolved.get(&txn.invoked) {
                // Recovery knows what it wrote and locks that again; what it only read is written
                // down nowhere, and is free since the crash.
                txn.level = txn.level.min(Level::ReadCommitted);
                txn.ending = txn.ending.min(end.ending);
                txn.outcome = end.outcome;
                (txn.completed, txn.commit_lsn) = (end.completed, end.commit_lsn);
            } else {
                txn.ending = txn.ending.min(txn.completed);
            }
        }
        for txn in txns.iter_mut().filter(|txn| txn.outcome == Outcome::Aborted) {
            // A part that was rolled back holds nothing after a crash, even if the rest of its
            // transaction is prepared: recovery locks what is still to be undone.
            txn.ending = txn.ending.min(txn.completed);
        }
        History { txns, atomic_appends }
    }

    fn complain(&self, what: String) {
        self.wrong.lock().expect("the record").push(what);
    }

    /// After recovery: whoever was prepared and heard nothing since must be there.
    pub fn check_prepared(&self, env: &Environment) {
        let listed: Vec<u64> = env.prepared().iter().map(|known| gid(&known.gid)).collect();
        for lost in self.waiting.lock().expect("the record").iter() {
            if !listed.contains(lost) {
                self.complain(format!("what was prepared as {lost} is gone after recovery"));
            }
        }
    }

    /// Ends what earlier lives left prepared, one way or the other.
    fn resolve(
        &self,
        env: &Environment,
        left: Vec<PreparedTransaction>,
        choices: &mut Choices,
    ) -> Result<()> {
        for known in left {
            // Its locks and its versions hinder the others until then.
            (0..choices.below(2000)).for_each(|_| std::thread::yield_now());
            let ending = self.tick();
            self.waiting.lock().expect("the record").remove(&gid(&known.gid));
            let (outcome, commit_lsn) = if choices.one_in(2) {
                (Outcome::Committed, env.commit_prepared(&known.gid)?.0)
            } else {
                env.abort_prepared(&known.gid)?;
                (Outcome::Aborted, 0)
            };
            let completed = self.tick();
            let end = Resolution { outcome, ending, completed, commit_lsn };
            self.resolved.lock().expect("the record").insert(gid(&known.gid), end);
            self.prepared[1].fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The databases that a flock uses.
struct Meadow {
    lists: Database,
    guards: Database,
}

impl Meadow {
    fn open(env: &Environment) -> Result<Meadow> {
        // Looked for first, without a lock: prepared transactions may hold some.
        let open = |name| env.open_database(name).or_else(|_| env.create_database(name));
        Ok(Meadow { lists: open("lists")?, guards: open("guards")? })
    }
}

/// Runs a plan on a new environment and returns the whole history, ended by readers of all lists.
pub fn run(env: &Environment, plan: &Plan) -> (History, Record) {
    let record = Record::default();
    let ended = graze(env, plan, &record);
    if let Err(error) = ended {
        record.complain(format!("a thread ended early: {error}"));
    }
    if let Err(error) = look_back(env, plan, &record) {
        record.complain(format!("the last readers failed: {error}"));
    }
    let locks = env.stats().locks;
    if (locks.locks, locks.waiting) != (0, 0) {
        record.complain(format!("nobody is left, but not every lock is free: {locks:?}"));
    }
    (record.history(plan.is_atomic()), record)
}

/// Runs the threads of a plan until they are done or the environment fails under them.
pub fn graze(env: &Environment, plan: &Plan, record: &Record) -> Result<()> {
    let meadow = Meadow::open(env)?;
    // Those of earlier lives: the threads will add their own.
    let left = env.prepared();
    let failure = Mutex::new(None);
    let done = AtomicBool::new(false);
    let bugs = Selection::here();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads)
            .map(|thread| {
                let (meadow, failure, bugs) = (&meadow, &failure, &bugs);
                let seed = plan.seed.wrapping_mul(1000) + u64::from(thread);
                let process = record.process.fetch_add(1, Ordering::Relaxed);
                let mut animal = Animal::new(env, plan, record, meadow, seed, process);
                scope.spawn(move || {
                    bugs.on(|| {
                        if let Err(error) = animal.live() {
                            failure.lock().expect("a failure").get_or_insert(error);
                        }
                        let mut all = animal.record.txns.lock().expect("the record");
                        all.append(&mut animal.txns);
                    });
                })
            })
            .collect();
        let keeper = scope.spawn(|| {
            bugs.on(|| {
                while !done.load(Ordering::Acquire) {
                    // A failure shows in the threads as well.
                    let _ = env.step();
                    std::thread::yield_now();
                }
            });
        });
        let resolver = bugs.on(|| record.resolve(env, left, &mut Choices::new(plan.seed)));
        if let Err(error) = resolver {
            failure.lock().expect("a failure").get_or_insert(error);
        }
        let panics = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        done.store(true, Ordering::Release);
        let keeper = keeper.join().is_err();
        if panics > 0 || keeper {
            record.complain(format!("{panics} threads panicked"));
        }
    });
    failure.into_inner().expect("a failure").map_or(Ok(()), Err)
}

/// Two readers of every list, after all else: what they miss is lost.
pub fn look_back(env: &Environment, plan: &Plan, record: &Record) -> Result<()> {
    let meadow = Meadow::open(env)?;
    let process = record.process.fetch_add(1, Ordering::Relaxed);
    let keys = 0..(record.begun.load(Ordering::Relaxed) / PASTURE + 1) * plan.keys;
    for level in [Level::Serializable, Level::Snapshot] {
        let invoked = record.tick();
        let mut txn = open_record(process, level, invoked);
        if level == Level::Snapshot {
            let snapshot = env.snapshot()?;
            txn.ending = record.tick();
            read_range(&meadow, plan, record, &snapshot, keys.clone(), &mut txn.ops)?;
        } else {
            let reader = env.begin()?;
            read_range(&meadow, plan, record, &reader, keys.clone(), &mut txn.ops)?;
            txn.ending = record.tick();
            reader.commit()?;
        }
        txn.completed = record.tick();
        record.txns.lock().expect("the record").push(txn);
    }
    Ok(())
}

fn open_record(process: u32, level: Level, invoked: u64) -> Txn {
    Txn {
        process,
        level,
        outcome: Outcome::Committed,
        invoked,
        ending: 0,
        completed: 0,
        commit_lsn: 0,
        ops: Vec::new(),
    }
}

fn name(key: Key) -> String {
    format!("k{key:06}")
}

fn row(key: Key, number: usize) -> String {
    format!("k{key:06}/{number:06}")
}

fn key_of(name: &[u8]) -> Key {
    let digits = std::str::from_utf8(&name[1..7]).expect("our own keys are text");
    digits.parse().expect("our own keys are numbers")
}

fn elements(value: &[u8]) -> Vec<Element> {
    let words = value.chunks_exact(4);
    words.map(|word| word.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte))).collect()
}

fn bytes(list: &[Element]) -> Vec<u8> {
    list.iter().flat_map(|element| (0..4).map(move |at| (element >> (8 * at)) as u8)).collect()
}

/// Reads the lists of `keys` in one scan; every key in the range is a read, those without a record
/// of an empty list.
fn read_range(
    meadow: &Meadow,
    plan: &Plan,
    record: &Record,
    reader: &impl Reads,
    keys: std::ops::Range<Key>,
    ops: &mut Vec<Op>,
) -> Result<()> {
    let mut found: BTreeMap<Key, Vec<Element>> = keys.clone().map(|k| (k, vec![])).collect();
    let range = meadow.lists.range(reader, name(keys.start)..name(keys.end))?;
    let backward = ops.len() % 2 == 1;
    let rows: Result<Vec<_>> = if backward { range.rev().collect() } else { range.collect() };
    let mut rows = rows?;
    if backward {
        rows.reverse();
    }
    for (key, value) in rows.iter().filter(|(key, _)| !key.contains(&b'~')) {
        let list = found.entry(key_of(key)).or_default();
        match plan.layout {
            Layout::Values => *list = elements(value),
            Layout::Rows => list.extend(elements(value)),
        }
    }
    let at = record.tick();
    ops.extend(found.into_iter().map(|(key, list)| Op {
        key,
        action: Action::ReadInRange(list),
        at,
    }));
    Ok(())
}

/// Whether the environment went down under a thread, as planned.
#[must_use]
pub fn is_crash(error: &Error) -> bool {
    crate::life::is_expected(error)
}
