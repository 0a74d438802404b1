//! How many crash states a core can try: the ceiling for every crash test above.
//!
//! A small environment (a log, a control file, six data files) with a transaction's worth of
//! unsynced work; per state: choose survivors, reopen all files, read them back.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_vfs::sim::{CrashChoice, SimDisk, SimOptions};
use campanile_vfs::{Open, Vfs};
use criterion::{Criterion, criterion_group, criterion_main};

const PAGE_BYTES: usize = 512;

fn files() -> Vec<PathBuf> {
    let data = (1..=6).map(|id| PathBuf::from(format!("home/data/data.{id:010}")));
    let others = ["home/log/log.0000000001", "home/control"].map(PathBuf::from);
    data.chain(others).collect()
}

/// The environment at the moment of the crash.
fn crashed() -> Arc<SimDisk> {
    let disk = SimDisk::new(SimOptions::harsh(1));
    for path in files() {
        disk.put_file(&path, &vec![7; 16 * PAGE_BYTES]);
    }
    for path in files() {
        let file = disk.open(&path, Open::ReadWrite).expect("a file");
        for page in 0..4 {
            file.write_all_at(&[8; PAGE_BYTES], page * 2 * PAGE_BYTES as u64).expect("a write");
        }
    }
    let log = disk.open(Path::new("home/log/log.0000000002"), Open::CreateNew).expect("a file");
    log.write_all_at(&[9; 700], 0).expect("a write");
    disk
}

fn bench(criterion: &mut Criterion) {
    let disk = crashed();
    let mut seed = 0;
    criterion.bench_function("reboot after a random subset", |bencher| {
        bencher.iter(|| {
            seed += 1;
            disk.reboot(black_box(CrashChoice::Subset(seed)))
        });
    });
    criterion.bench_function("reboot, reopen, read everything, rewrite, sync", |bencher| {
        let mut buf = vec![0; 16 * PAGE_BYTES];
        bencher.iter(|| {
            seed += 1;
            let disk = disk.reboot(CrashChoice::Subset(seed));
            for path in files() {
                let file = disk.open(&path, Open::ReadWrite).expect("a file");
                file.read_exact_at(&mut buf, 0).expect("its bytes");
                file.write_all_at(&buf[..PAGE_BYTES], 0).expect("a write");
                file.sync_data().expect("a sync");
            }
            disk
        });
    });
    criterion.bench_function("fork", |bencher| bencher.iter(|| black_box(&disk).fork()));
    criterion.bench_function("append 100 bytes and sync", |bencher| {
        let disk = SimDisk::new(SimOptions::new(1));
        let log = disk.open(Path::new("log"), Open::CreateNew).expect("a file");
        let mut end = 0;
        bencher.iter(|| {
            log.write_all_at(&[1; 100], end).expect("a write");
            log.sync_data().expect("a sync");
            end = (end + 100) % 65_536;
        });
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
