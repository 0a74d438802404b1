//! Many threads on one log, with real files and with files in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use campanile_format::Lsn;
use campanile_vfs::sim::{Fault, FaultPlan, FaultRule, SimOptions, SyncFailure, Trigger};
use campanile_vfs::{Background, Host, Poison};
use campanile_wal::{LogSet, Start, Wal, WalError, WalOptions, find_end};

use super::records::*;

const THREADS: u64 = 8;

/// Each thread appends and flushes its own numbered records; returns what each appended.
fn hammer(wal: &Wal, each: u64) -> Vec<Vec<(Lsn, Vec<u8>)>> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stepper = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                wal.step().unwrap();
                std::thread::yield_now();
            }
        });
        let writers: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || one_writer(wal, thread, each))).collect();
        let all = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        stepper.join().unwrap();
        all
    })
}

fn one_writer(wal: &Wal, thread: u64, each: u64) -> Vec<(Lsn, Vec<u8>)> {
    let mut appended: Vec<(Lsn, Vec<u8>)> = Vec::new();
    for number in 0..each {
        let content = content(thread << 32 | number, 20 + (number as usize * 13) % 300);
        let lsn = wal.append(&record(&content)).unwrap();
        appended.push((lsn, content));
        match number % 5 {
            0 => {
                // Undo reads while others append, write and switch files.
                let (lsn, content) = &appended[number as usize / 2];
                let read = wal.read(*lsn).unwrap();
                assert_eq!(carried(&read.record().unwrap()), Some(&content[..]));
            }
            1 => wal.write(lsn).unwrap(),
            _ => {
                wal.flush(lsn).unwrap();
                assert!(wal.durable() > lsn);
            }
        }
    }
    wal.flush(wal.end()).unwrap();
    appended
}

fn check(host: &Host, options: &WalOptions, all: Vec<Vec<(Lsn, Vec<u8>)>>) {
    let logs = LogSet::open(&host.vfs, &options.dir, ENVIRONMENT, TIMELINE).unwrap();
    let end = find_end(&logs, FIRST, Lsn::NONE).unwrap();
    let mut expected: Vec<_> = all.into_iter().flatten().collect();
    expected.sort();
    assert_eq!(scan(&logs, FIRST, end.end).unwrap(), expected);
}

#[test]
fn threads_in_memory() {
    let host = Host { background: Background::Threads, ..Host::memory() };
    let options = options(8192, 2048);
    let wal = new_log(&host, &options);
    let all = hammer(&wal, 400);
    check(&host, &options, all);
    let stats = wal.stats();
    assert!(stats.rotations > 20, "{stats:?}");
}

#[test]
fn threads_on_real_files() {
    let home = tempfile::tempdir().unwrap();
    let host = Host::os();
    let options = WalOptions { dir: home.path().join("log"), ..options(1 << 20, 64 << 10) };
    let wal = new_log(&host, &options);
    let all = hammer(&wal, 150);
    check(&host, &options, all);
    let stats = wal.stats();
    assert!(stats.group_members_max > 2 && stats.groups < stats.flushes, "{stats:?}");
}

#[test]
fn w8_all_who_wait_are_told_of_a_failed_sync_and_nobody_is_told_of_success() {
    for nth in 0..12 {
        let disk = disk(SimOptions::new(nth));
        let host = Host { background: Background::Threads, ..disk.host() };
        let poison = Poison::new();
        let wal = Wal::open(&host, &poison, options(64 << 10, 4096), Start::New).unwrap();
        let fails = Fault::SyncFails(SyncFailure::CacheKeepsNew);
        disk.faults(FaultPlan::none().and(FaultRule::new(fails, Trigger::Nth(nth))));
        let acknowledged = AtomicU64::new(0);
        let newest = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (wal, acknowledged) = (&wal, &acknowledged);
                    scope.spawn(move || until_poisoned(wal, thread, acknowledged))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        });
        assert!(poison.is_poisoned());
        let disk = disk.reboot(campanile_vfs::sim::CrashChoice::Nothing);
        let end = find_end(&log_set(&disk.host()).unwrap(), FIRST, Lsn::NONE).unwrap();
        assert!(end.end > newest, "{newest} was acknowledged, the log ends at {}", end.end);
    }
}

/// Appends and flushes until an error; returns the newest record acknowledged.
fn until_poisoned(wal: &Wal, thread: u64, acknowledged: &AtomicU64) -> Lsn {
    let mut newest = Lsn::NONE;
    for number in 0.. {
        let step = || -> Result<Lsn, WalError> {
            let lsn = wal.append(&record(&content(thread << 32 | number, 60)))?;
            wal.flush(lsn)?;
            Ok(lsn)
        };
        match step() {
            Ok(lsn) => newest = lsn,
            Err(error) => {
                assert!(matches!(error, WalError::Io { .. } | WalError::Poisoned(_)), "{error}");
                return newest;
            }
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    newest
}

#[test]
fn recycling_goes_on_beside_appending() {
    let host = Host { background: Background::Threads, ..Host::memory() };
    let wal = Arc::new(new_log(&host, &options(8192, 2048)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                wal.recycle_below(wal.durable()).unwrap();
                wal.step().unwrap();
                std::thread::yield_now();
            }
        });
        let writers: Vec<_> = (0..4)
            .map(|thread| {
                let wal = Arc::clone(&wal);
                scope.spawn(move || {
                    for number in 0..500 {
                        let content = content(thread << 32 | number, 150);
                        let lsn = wal.append(&record(&content)).unwrap();
                        wal.flush(lsn).unwrap();
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    // On a busy machine the one thread may have fallen behind the four.
    wal.recycle_below(wal.durable()).unwrap();
    for _ in 0..1000 {
        wal.step().unwrap();
    }
    let from = Lsn::new(wal.oldest_file(), 512);
    let end = find_end(&log_set(&host).unwrap(), from, wal.durable()).unwrap();
    assert_eq!(end.end, wal.end());
    let listing = host.vfs.list(&dir()).unwrap();
    assert!(listing.len() < 100, "{} files", listing.len());
}
