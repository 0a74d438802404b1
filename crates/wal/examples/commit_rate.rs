//! How many flushes a second the log alone makes, by number of threads, and what an append costs.
//!
//! `cargo run --release -p campanile-wal --example commit_rate [DIRECTORY]`

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use campanile_format::record::{Body, Record};
use campanile_format::{EnvironmentId, Lsn, Timeline, TxnId};
use campanile_vfs::{Clock, Host, Poison};
use campanile_wal::{Start, Wal, WalError, WalOptions};

const RUN_US: u64 = 700_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let host = Host::os();
    println!("threads  flushes/s  mean group  p50 us  p99 us  rotations (unprepared)");
    for threads in [1, 2, 4, 8, 16, 32] {
        let home = tempfile::tempdir_in(&base)?;
        let wal = open(&host, home.path())?;
        let mut latencies = commits(&wal, &*host.clock, threads);
        latencies.sort_unstable();
        let at = |part: usize| latencies.get(latencies.len() * part / 100).copied().unwrap_or(0);
        let stats = wal.stats();
        println!(
            "{threads:7}  {:9.0}  {:10.1}  {:6}  {:6}  {} ({})",
            latencies.len() as f64 * 1e6 / RUN_US as f64,
            stats.flushes as f64 / stats.groups.max(1) as f64,
            at(50),
            at(99),
            stats.rotations,
            stats.rotations_unprepared,
        );
    }
    let home = tempfile::tempdir_in(&base)?;
    append(&open(&host, home.path())?, &*host.clock)?;
    Ok(())
}

fn open(host: &Host, home: &std::path::Path) -> Result<Wal, WalError> {
    let options = WalOptions::new(home.join("log"), EnvironmentId([1; 16]), Timeline(1));
    Wal::open(host, &Poison::new(), options, Start::New)
}

fn record(content: &[u8], durable: Lsn) -> [Record<'_>; 2] {
    let (txn, prev) = (TxnId(1), Lsn::NONE);
    let update = Record { txn, prev, body: Body::Prepare { gid: content, time_us: 0 } };
    [update, Record { txn, prev, body: Body::Commit { time_us: 0, durable } }]
}

/// Back-to-back transactions of one record and a commit; the latency of each in microseconds.
fn commits(wal: &Wal, clock: &dyn Clock, threads: usize) -> Vec<u64> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if !wal.step().unwrap_or(false) {
                    clock.sleep_us(3000);
                }
            }
        });
        let worker = || {
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = clock.monotonic_us();
                let mut last = Lsn::NONE;
                for record in record(&[7; 150], wal.durable()) {
                    last = wal.append(&record).unwrap_or(Lsn::NONE);
                }
                wal.flush(last).unwrap_or_else(|error| panic!("{error}"));
                latencies.push(clock.monotonic_us() - start);
            }
            latencies
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        clock.sleep_us(RUN_US);
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    })
}

fn append(wal: &Wal, clock: &dyn Clock) -> Result<(), WalError> {
    for bytes in [100, 250, 1000] {
        let content = vec![7; bytes];
        let [record, _] = record(&content, Lsn::NONE);
        let (start, count) = (clock.monotonic_us(), 400_000);
        for _ in 0..count {
            wal.append(&record)?;
        }
        let each = (clock.monotonic_us() - start) as f64 * 1e3 / f64::from(count);
        println!("append of {bytes} bytes, written out when the buffer is full: {each:.0} ns");
    }
    Ok(())
}
