//! W14: what somebody reads, or an archive still wants, is not given up.

use campanile_format::Lsn;
use campanile_vfs::sim::{SimDisk, SimOptions};
use campanile_vfs::{Host, Vfs};
use campanile_wal::{LogPin, Start, Wal, WalOptions};
use std::path::Path;
use std::sync::Arc;

use super::records::{content, dir, disk, new_log, options, record, reopen};

fn log_of_several_files(host: &Host, options: &WalOptions) -> Wal {
    let wal = new_log(host, options);
    while wal.end().file() < 6 {
        let lsn = wal.append(&record(&content(wal.end().0, 300))).unwrap();
        wal.flush(lsn).unwrap();
    }
    wal
}

fn oldest_on(disk: &Arc<SimDisk>) -> u32 {
    let names = disk.list(&dir()).unwrap();
    names.iter().filter_map(|name| campanile_format::names::parse_log_file(name)).min().unwrap()
}

#[test]
pub fn w14_no_file_goes_while_somebody_reads_the_log() {
    let disk = disk(SimOptions::new(1));
    let host = disk.host();
    let wal = log_of_several_files(&host, &options(4096, 512));
    let pin = LogPin::take(&host, &dir()).unwrap();
    let second = LogPin::take(&host, &dir()).unwrap();
    let gone = wal.recycle_below(wal.durable()).unwrap();
    assert_eq!((gone.kept + gone.retired, oldest_on(&disk)), (0, 1), "two readers");
    drop(pin);
    wal.recycle_below(wal.durable()).unwrap();
    assert_eq!(oldest_on(&disk), 1, "one reader left");
    drop(second);
    wal.recycle_below(wal.durable()).unwrap();
    assert_eq!(oldest_on(&disk), 6);
}

#[test]
fn w14_no_file_goes_before_the_archive_says_so() {
    let disk = disk(SimOptions::new(2));
    let host = disk.host();
    let held = WalOptions { hold_all: true, ..options(4096, 512) };
    let wal = log_of_several_files(&host, &held);
    wal.recycle_below(wal.durable()).unwrap();
    assert_eq!((wal.held_from(), oldest_on(&disk)), (0, 1));
    wal.hold_from(4);
    wal.recycle_below(wal.durable()).unwrap();
    assert_eq!(oldest_on(&disk), 4);
    wal.hold_from(u32::MAX);
    wal.recycle_below(Lsn::new(5, 512)).unwrap();
    assert_eq!(oldest_on(&disk), 5);
}

#[test]
fn a_log_that_is_opened_with_a_hold_keeps_all_until_told() {
    let disk = disk(SimOptions::new(3));
    let host = disk.host();
    let wal = log_of_several_files(&host, &options(4096, 512));
    let end = wal.end();
    drop(wal);
    let held = WalOptions { hold_all: true, ..options(4096, 512) };
    let wal = reopen(&host, &held, Start::Continue { end }).unwrap();
    wal.recycle_below(wal.durable()).unwrap();
    assert_eq!(oldest_on(&disk), 1);
}

#[test]
fn readers_wait_for_nothing_that_a_dead_owner_left() {
    let disk = disk(SimOptions::new(4));
    let wal = log_of_several_files(&disk.host(), &options(4096, 512));
    wal.recycle_below(Lsn::new(3, 512)).unwrap();
    drop(wal);
    assert!(disk.exists(Path::new("/home/log/readers.lock")).unwrap());
    LogPin::take(&disk.host(), &dir()).unwrap();
}
