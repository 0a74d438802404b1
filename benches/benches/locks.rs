//! What locks cost: taken and given back without anybody in the way, and a deadlock found.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use campanile_lock::{LockName, LockTable, Mode, OwnerId, OwnerInfo, Wait};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const FILE: u32 = 16;

fn key(number: u64) -> LockName {
    LockName::key(FILE, number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// What a transaction does at its begin and with each of its keys.
fn uncontended(c: &mut Criterion) {
    let table = LockTable::default();
    let mut group = c.benchmark_group("transaction of so many keys, alone");
    let mut next = 1;
    for keys in [0, 1, 10, 100] {
        group.bench_function(BenchmarkId::from_parameter(keys), |b| {
            b.iter(|| {
                let owner = OwnerId(next);
                next += 1;
                table.register(owner, OwnerInfo::default());
                table.acquire(owner, LockName::whole(FILE), Mode::IX_CHANGING, Wait::No).unwrap();
                for number in 0..keys {
                    table.acquire(owner, key(number), Mode::X, Wait::No).unwrap();
                }
                table.release_all(owner);
            });
        });
    }
    group.finish();
    c.bench_function("gap asked for, which nobody has", |b| {
        b.iter(|| table.acquire_instant(OwnerId(1), key(5), Mode::GAP_X, Wait::No).unwrap());
    });
}

/// From the request that closes a circle of two to its refusal.
fn deadlock(c: &mut Criterion) {
    let table = Arc::new(LockTable::default());
    let mut next = 1_000_000;
    c.bench_function("deadlock of two, found and refused", |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let (elder, younger) = (OwnerId(next), OwnerId(next + 1));
                next += 2;
                for (owner, own) in [(elder, 1), (younger, 2)] {
                    table.register(owner, OwnerInfo::default());
                    table.acquire(owner, key(own), Mode::X, Wait::No).unwrap();
                }
                thread::scope(|scope| {
                    scope.spawn(|| table.acquire(elder, key(2), Mode::X, Wait::Forever).unwrap());
                    while table.stats().waiting == 0 {
                        thread::yield_now();
                    }
                    let begun = Instant::now();
                    table.acquire(younger, key(1), Mode::X, Wait::Forever).unwrap_err();
                    spent += begun.elapsed();
                    table.release_all(younger);
                });
                table.release_all(elder);
            }
            spent
        });
    });
}

criterion_group!(benches, uncontended, deadlock);
criterion_main!(benches);
