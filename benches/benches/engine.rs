//! What an operation costs, through the public interface, on a database of random 24-byte keys with
//! 150-byte values that fits the cache: reads, writes, scans, commits, rollback, recovery.
//!
//! `campanile bench` runs the same paths once, over more entries, and prints rates; these benches
//! run them until the figure is steady.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use campanile::{Database, Durability, Environment, EnvironmentOptions};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const ENTRIES: u64 = 200_000;
const VALUE: [u8; 150] = [7; 150];

type Key = [u8; 24];

/// Key number `n`: as random as its number is not.
fn key(n: u64) -> Key {
    let mut key = [0; 24];
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(88_172_645_463_325_252);
    for chunk in key.chunks_exact_mut(8) {
        state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    key
}

/// Numbers below `ENTRIES` in an order that jumps about.
fn numbers() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % ENTRIES
    }
}

/// An environment without checkpoints in the middle, so that they disturb no figure.
fn options() -> EnvironmentOptions {
    EnvironmentOptions::new()
        .checkpoint_log_bytes(u64::MAX)
        .checkpoint_interval(Duration::from_secs(1 << 30))
}

fn open(dir: &Path) -> Environment {
    options().open(dir.join("home")).expect("the home opens")
}

/// An environment with a loaded database.
struct Loaded {
    env: Environment,
    database: Database,
    _dir: TempDir,
}

fn loaded() -> Loaded {
    let dir = tempfile::tempdir().expect("a directory");
    let env = open(dir.path());
    let database = env.create_database("bench").expect("a database");
    load(&env, &database, ENTRIES);
    Loaded { env, database, _dir: dir }
}

fn load(env: &Environment, database: &Database, entries: u64) {
    let mut txn = env.begin().expect("a transaction");
    for n in 0..entries {
        database.put(&mut txn, key(n), VALUE).expect("a put");
    }
    txn.commit().expect("a commit");
}

fn reads(c: &mut Criterion) {
    let Loaded { env, database, _dir } = loaded();
    // Settled: nothing on the pages is newer than the snapshot.
    env.checkpoint().expect("a checkpoint");
    let snapshot = env.snapshot().expect("a snapshot");
    let mut group = c.benchmark_group("read");
    let mut next = numbers();
    group.bench_function("get_with, snapshot", |b| {
        b.iter(|| database.get_with(&snapshot, key(next()), |value| value[0]).expect("a get"));
    });
    group.bench_function("get, snapshot", |b| {
        b.iter(|| database.get(&snapshot, key(next())).expect("a get"));
    });
    group.bench_function("get, a snapshot each", |b| {
        b.iter(|| {
            let snapshot = env.snapshot().expect("a snapshot");
            database.get_with(&snapshot, key(next()), |value| value[0]).expect("a get")
        });
    });
    let txn = env.begin().expect("a transaction");
    group.bench_function("get_with, transaction", |b| {
        b.iter(|| database.get_with(&txn, key(next()), |value| value[0]).expect("a get"));
    });
    drop(txn);
    for length in [10, 100] {
        let range = |from: Key| {
            let range = database.range(&snapshot, from..).expect("a range");
            range.take(length).map(|entry| entry.expect("an entry").1.len()).sum::<usize>()
        };
        group.bench_function(BenchmarkId::new("range", length), |b| b.iter(|| range(key(next()))));
    }
    group.throughput(Throughput::Elements(ENTRIES));
    group.sample_size(10);
    group.bench_function("scan by range, owned entries", |b| {
        b.iter(|| database.range(&snapshot, ..).expect("a range").count());
    });
    group.bench_function("scan by cursor, borrowed entries", |b| {
        b.iter(|| {
            let mut cursor = database.cursor(&snapshot).expect("a cursor");
            let mut bytes = 0;
            while cursor.next().expect("a step") {
                bytes += black_box(cursor.value().expect("a value")).map_or(0, <[u8]>::len);
            }
            bytes
        });
    });
    group.finish();
}

/// Reads by several threads at once: wall time of one, so that with enough cores the figure of two
/// threads is half that of one. On few entries everything is in the processor's cache, and what
/// readers write into memory that others read too is all that can keep them apart.
fn reads_of_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("read, threads");
    for entries in [1000, ENTRIES] {
        let dir = tempfile::tempdir().expect("a directory");
        let env = open(dir.path());
        let database = env.create_database("bench").expect("a database");
        load(&env, &database, entries);
        env.checkpoint().expect("a checkpoint");
        let snapshot = &env.snapshot().expect("a snapshot");
        for threads in [1, 2, 4] {
            let id = BenchmarkId::new(format!("get_with of {entries}"), threads);
            group.bench_function(id, |b| {
                b.iter_custom(|rounds| {
                    let start = Instant::now();
                    thread::scope(|scope| {
                        for seed in 0..threads {
                            let (database, mut next) = (&database, numbers());
                            scope.spawn(move || {
                                for _ in 0..rounds / threads {
                                    let key = key((next() + seed) % entries);
                                    let read = database.get_with(snapshot, key, |value| value[0]);
                                    black_box(read.expect("a get"));
                                }
                            });
                        }
                    });
                    start.elapsed()
                });
            });
        }
    }
    group.finish();
}

fn writes(c: &mut Criterion) {
    let Loaded { env, database, _dir } = loaded();
    let mut group = c.benchmark_group("write");
    let mut next = numbers();
    let mut txn = env.begin().expect("a transaction");
    group.bench_function("put over an entry, one transaction", |b| {
        b.iter(|| database.put(&mut txn, key(next()), VALUE).expect("a put"));
    });
    drop(txn);
    group.bench_function("commit of one put, not synced", |b| {
        b.iter(|| {
            let mut txn = env.begin().expect("a transaction");
            database.put(&mut txn, key(next()), VALUE).expect("a put");
            txn.commit_with(Durability::NoSync).expect("a commit")
        });
    });
    group.bench_function("commit of one put, durable", |b| {
        b.iter(|| {
            env.run(|txn| database.put(txn, key(next()), VALUE)).expect("a commit");
        });
    });
    group.throughput(Throughput::Elements(1000));
    group.sample_size(20);
    group.bench_function("rollback of 1000 puts", |b| {
        let changed = || {
            let mut txn = env.begin().expect("a transaction");
            for _ in 0..1000 {
                database.put(&mut txn, key(next()), VALUE).expect("a put");
            }
            txn
        };
        b.iter_batched(changed, |txn| txn.abort().expect("a rollback"), BatchSize::PerIteration);
    });
    group.finish();
}

fn loads(c: &mut Criterion) {
    let mut group = c.benchmark_group("load");
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(10);
    let fresh = || {
        let dir = tempfile::tempdir().expect("a directory");
        let env = open(dir.path());
        let database = env.create_database("bench").expect("a database");
        (env, database, dir)
    };
    group.bench_function("random order, one transaction", |b| {
        let run = |(env, database, dir): (Environment, Database, TempDir)| {
            load(&env, &database, ENTRIES);
            (env, database, dir)
        };
        b.iter_batched(fresh, run, BatchSize::PerIteration);
    });
    let mut keys: Vec<Key> = (0..ENTRIES).map(key).collect();
    keys.sort_unstable();
    group.bench_function("bulk, sorted", |b| {
        let run = |(env, database, dir): (Environment, Database, TempDir)| {
            let mut txn = env.begin().expect("a transaction");
            let pairs = keys.iter().map(|key| Ok((key, VALUE)));
            database.bulk_load(&mut txn, pairs).expect("a load");
            txn.commit().expect("a commit");
            (env, database, dir)
        };
        b.iter_batched(fresh, run, BatchSize::PerIteration);
    });
    group.finish();
}

/// A home whose owner died with 100,000 commits in the log that no checkpoint covers.
fn recovery(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let env = open(dir.path());
    let database = env.create_database("bench").expect("a database");
    load(&env, &database, ENTRIES);
    env.checkpoint().expect("a checkpoint");
    let mut next = numbers();
    for n in 0..100_000 {
        let mut txn = env.begin().expect("a transaction");
        database.put(&mut txn, key(next()), VALUE).expect("a put");
        let last = n + 1 == 100_000;
        let durability = if last { Durability::Sync } else { Durability::NoSync };
        txn.commit_with(durability).expect("a commit");
    }
    drop(database);
    env.abandon();
    let died = dir.path().join("home");
    let log_bytes = {
        let copy = copied(&died);
        let env = open(copy.path());
        env.recovery_report().expect("the owner died").log_bytes
    };
    let mut group = c.benchmark_group("recovery");
    group.throughput(Throughput::Bytes(log_bytes)).sample_size(10);
    group.bench_function("log of 100,000 commits", |b| {
        b.iter_custom(|rounds| {
            let mut time = Duration::ZERO;
            for _ in 0..rounds {
                let copy = copied(&died);
                let started = Instant::now();
                let env = open(copy.path());
                time += started.elapsed();
                env.close().expect("a close");
            }
            time
        });
    });
    group.finish();
}

fn copied(home: &Path) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    copy_directory(home, &dir.path().join("home"));
    dir
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

criterion_group!(benches, reads, reads_of_threads, writes, loads, recovery);
criterion_main!(benches);
