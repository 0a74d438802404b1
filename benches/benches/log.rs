//! What the log costs: append, one committer's flush, undo's read, scanning, finding the end.

use std::hint::black_box;
use std::path::Path;

use campanile_format::record::{Body, Record};
use campanile_format::{EnvironmentId, Lsn, Timeline, TxnId};
use campanile_vfs::{Host, Poison};
use campanile_wal::{LogSet, Start, Wal, WalOptions, find_end};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ENVIRONMENT: EnvironmentId = EnvironmentId([1; 16]);
const TIMELINE: Timeline = Timeline(1);
const FIRST: Lsn = Lsn::new(1, 512);

fn open(home: &Path) -> Wal {
    let options = WalOptions::new(home.join("log"), ENVIRONMENT, TIMELINE);
    Wal::open(&Host::os(), &Poison::new(), options, Start::New).expect("an empty directory")
}

fn record(content: &[u8]) -> Record<'_> {
    let body = Body::Prepare { gid: content, time_us: 0 };
    Record { txn: TxnId(1), prev: Lsn::NONE, body }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("log append");
    for bytes in [100, 250, 1000] {
        let home = tempfile::tempdir().expect("a temporary directory");
        let wal = open(home.path());
        let content = vec![7; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes} bytes"), |b| {
            b.iter(|| wal.append(black_box(&record(&content))).expect("room"));
        });
    }
}

fn flush(c: &mut Criterion) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let wal = open(home.path());
    c.bench_function("log append and flush, one committer", |b| {
        b.iter(|| {
            let lsn = wal.append(&record(&[7; 250])).expect("room");
            wal.flush(lsn).expect("a disk");
        });
    });
}

/// 32 MiB of records of 250 bytes.
fn read(c: &mut Criterion) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let wal = open(home.path());
    let mut lsns = Vec::new();
    while wal.end().offset() < 32 << 20 {
        lsns.push(wal.append(&record(&[7; 250])).expect("room"));
    }
    wal.flush(wal.end()).expect("a disk");
    let mut backward = lsns.iter().rev().cycle();
    c.bench_function("log read of the record before", |b| {
        b.iter(|| wal.read(*backward.next().expect("a cycle")).expect("it was appended"));
    });
    let host = Host::os();
    let logs = LogSet::open(&host.vfs, &wal.dir(), ENVIRONMENT, TIMELINE).expect("a log");
    let mut group = c.benchmark_group("log of 32 MiB");
    group.throughput(Throughput::Bytes(32 << 20)).sample_size(10);
    group.bench_function("scan", |b| {
        b.iter(|| logs.forward(FIRST, wal.end()).expect("a log").count());
    });
    group.bench_function("find the end", |b| {
        b.iter(|| find_end(&logs, FIRST, Lsn::NONE).expect("a log"));
    });
}

criterion_group!(benches, append, flush, read);
criterion_main!(benches);
