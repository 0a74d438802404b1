//! The part of `campanile bench` with many threads: commits a second, readers beside writers, and
//! how soon a deadlock is broken.
//!
//! Owns the workloads. Promises that each figure is of transactions that committed, retries not
//! counted, in an environment of default settings. Must never leave a thread behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use campanile::{Database, Durability, Environment, Result, TransactionOptions};

use super::{Figure, VALUE_BYTES};
use crate::failure::Failure;
use crate::random::Random;
use crate::stopwatch::Took;

/// How many threads commit at a time.
const THREADS: [u64; 6] = [1, 2, 4, 8, 16, 32];
/// Keys of each thread where threads keep apart.
const KEYS: u64 = 10_000;
/// Deadlocks made and measured.
const DEADLOCKS: usize = 500;

/// What the threads of a workload write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Each its own.
    Disjoint,
    /// All the same one.
    Hot,
}

/// Runs all of it; each workload takes about `time`.
pub(super) fn run(
    env: &Environment,
    time: Duration,
    mut show: impl FnMut(Figure) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let database = env.create_database("threads")?;
    for (keys, durability, what) in [
        (Keys::Disjoint, Durability::Sync, "durable, keys apart"),
        (Keys::Disjoint, Durability::NoSync, "not synced, keys apart"),
        (Keys::Hot, Durability::Sync, "durable, one hot key"),
        (Keys::Hot, Durability::NoSync, "not synced, one hot key"),
    ] {
        for threads in THREADS {
            let stop = AtomicBool::new(false);
            let began = Instant::now();
            let count = thread::scope(|scope| {
                let timer = scope.spawn(|| {
                    thread::sleep(time);
                    stop.store(true, Ordering::Relaxed);
                });
                let count = commits(env, &database, threads, keys, durability, &stop);
                timer.join().map(|()| count)
            });
            let count = count.map_err(|_| Failure::usage("a thread of the bench panicked"))??;
            let what = format!("commit, {what}, {threads} threads");
            show(figure(what, "commits", count, began.elapsed()))?;
        }
    }
    for writers in [0, 1, 4] {
        show(reads_beside(env, &database, writers, time)?)?;
    }
    deadlocks(env, &database)?.into_iter().try_for_each(show)
}

fn figure(what: String, unit: &'static str, count: u64, time: Duration) -> Figure {
    super::figure(what, unit, count, Took { time, on_processor: None })
}

/// Commits from `threads` threads until told to stop; how many there were.
fn commits(
    env: &Environment,
    database: &Database,
    threads: u64,
    keys: Keys,
    durability: Durability,
    stop: &AtomicBool,
) -> Result<u64> {
    let options = TransactionOptions::new().durability(durability);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..threads)
            .map(|writer| {
                let options = options.clone();
                scope.spawn(move || -> Result<u64> {
                    let mut random = Random::new(writer);
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let key = match keys {
                            Keys::Disjoint => writer << 32 | random.below(KEYS),
                            Keys::Hot => u64::MAX,
                        };
                        let key = key.to_le_bytes();
                        env.run_with(options.clone(), |txn| {
                            database.put(txn, key, [b't'; VALUE_BYTES])
                        })?;
                        count += 1;
                    }
                    Ok(count)
                })
            })
            .collect();
        let counts = writers.into_iter().map(|writer| match writer.join() {
            Ok(count) => count,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        counts.sum()
    })
}

/// Random reads of one thread, each in a snapshot of its own, while others commit unsynced.
fn reads_beside(
    env: &Environment,
    database: &Database,
    writers: u64,
    time: Duration,
) -> Result<Figure, Failure> {
    let stop = AtomicBool::new(false);
    let (count, took) = thread::scope(|scope| -> Result<(u64, Duration)> {
        let stop = &stop;
        let writing = scope.spawn(move || {
            commits(env, database, writers, Keys::Disjoint, Durability::NoSync, stop)
        });
        let mut random = Random::new(99);
        let began = Instant::now();
        let mut count = 0;
        while began.elapsed() < time {
            let snapshot = env.snapshot()?;
            for _ in 0..100 {
                let key = random.below(4) << 32 | random.below(KEYS);
                database.get_with(&snapshot, key.to_le_bytes(), <[u8]>::len)?;
                count += 1;
            }
        }
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        match writing.join() {
            Ok(written) => written.map(|_| (count, took)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    Ok(figure(format!("read, snapshots, beside {writers} writers"), "entries", count, took))
}

/// Deadlocks of two transactions: from the request that closes the circle to the victim's error.
fn deadlocks(env: &Environment, database: &Database) -> Result<Vec<Figure>, Failure> {
    let mut times = Vec::with_capacity(DEADLOCKS);
    for _ in 0..DEADLOCKS {
        times.push(one_deadlock(env, database)?);
    }
    times.sort_unstable();
    let line = |what: &str, time: Duration| {
        figure(format!("deadlock broken, {what}"), "deadlocks", 1, time)
    };
    let p99 = times.len() * 99 / 100;
    Ok(vec![line("median", times[times.len() / 2]), line("99 of 100", times[p99])])
}

fn one_deadlock(env: &Environment, database: &Database) -> Result<Duration, Failure> {
    let both_hold = Barrier::new(2);
    let closed: Mutex<Option<Instant>> = Mutex::new(None);
    let told_ns = AtomicU64::new(0);
    let waits = env.stats().locks.waits;
    let side = |mine: &[u8], other: &[u8], closes: bool| -> Result<()> {
        let mut txn = env.begin()?;
        database.put(&mut txn, mine, "mine")?;
        both_hold.wait();
        if closes {
            while env.stats().locks.waits == waits {
                thread::yield_now();
            }
            *closed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Instant::now());
        }
        match database.put(&mut txn, other, "too") {
            Ok(_) => txn.commit().map(|_| ()),
            Err(error) if error.is_retryable() => {
                let closed = *closed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let took = closed.map_or(0, |closed| closed.elapsed().as_nanos() as u64);
                told_ns.store(took, Ordering::Relaxed);
                txn.abort()
            }
            Err(error) => Err(error),
        }
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| side(b"deadlock a", b"deadlock b", false));
        side(b"deadlock b", b"deadlock a", true)?;
        match first.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    Ok(Duration::from_nanos(told_ns.load(Ordering::Relaxed)))
}
