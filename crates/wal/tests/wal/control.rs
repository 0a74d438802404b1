//! The control file: whole at any time, whatever happens.

use std::path::Path;
use std::sync::Arc;

use campanile_format::control::Control;
use campanile_format::{Features, FileId, Lsn, TxnId, names};
use campanile_vfs::sim::{
    CrashChoice, CrashPolicy, Errno, Fault, FaultPlan, SimDisk, SimOptions, SyncFailure, Trigger,
};
use campanile_vfs::{Host, Poison};
use campanile_wal::{ControlFile, WalError};

use super::records::*;

const HOME: &str = "/home";

fn control(checkpoint: u64) -> Control {
    Control {
        features: Features::NONE,
        environment: ENVIRONMENT,
        timeline: TIMELINE,
        page_bytes: 4096,
        log_file_bytes: 4096,
        generation: 0,
        checkpoint: Lsn(checkpoint),
        redo: Lsn(checkpoint),
        durable: Lsn(checkpoint),
        clean_end: None,
        next_txn: TxnId(1),
        next_file: FileId(16),
        time_us: 0,
    }
}

fn read(host: &Host) -> Result<Control, WalError> {
    ControlFile::read(&*host.vfs, Path::new(HOME))
}

#[test]
fn what_was_written_last_counts() {
    let disk = disk(SimOptions::new(1));
    let (host, poison, path) = (disk.host(), Poison::new(), Path::new(HOME));
    let error = read(&host).unwrap_err();
    assert!(error.to_string().contains("not a Campanile environment"), "{error}");
    let mut file = ControlFile::create(&host, &poison, path, &control(1)).unwrap();
    for checkpoint in 2..9 {
        file.write(&control(checkpoint)).unwrap();
        let read = read(&host).unwrap();
        assert_eq!((read.checkpoint, read.generation), (Lsn(checkpoint), checkpoint - 1));
        let (again, opened) = ControlFile::open(&host, &poison, path).unwrap();
        assert_eq!(opened, read);
        file = again;
    }
    let error = ControlFile::create(&host, &poison, path, &control(1)).unwrap_err();
    assert!(matches!(error, WalError::NotEmpty { .. }), "{error}");
}

#[test]
pub fn a_crash_leaves_the_last_control_or_the_one_being_written() {
    let sims = [
        SimOptions::new(1),
        SimOptions::harsh(2),
        SimOptions { sector_bytes: 4096, ..SimOptions::new(3) },
    ];
    let mut states = 0;
    for sim in sims {
        let disk = disk(sim);
        disk.capture_crash_points();
        // Index of the next call, and the checkpoint that is durable by then.
        let mut acknowledged = vec![(0, 0)];
        let (host, poison, path) = (disk.host(), Poison::new(), Path::new(HOME));
        let mut file = ControlFile::create(&host, &poison, path, &control(1)).unwrap();
        acknowledged.push((disk.calls(), 1));
        for checkpoint in 2..8 {
            if checkpoint % 3 == 0 {
                file = ControlFile::open(&host, &poison, path).unwrap().0;
            }
            file.write(&control(checkpoint)).unwrap();
            acknowledged.push((disk.calls(), checkpoint));
        }
        for point in disk.take_crash_points() {
            let last = acknowledged.iter().rev().find(|(call, _)| *call <= point.call).unwrap().1;
            for choice in point.disk.crash_choices(&CrashPolicy::full(point.call)) {
                states += 1;
                let disk = point.disk.reboot(choice);
                let found = match read(&disk.host()) {
                    Ok(control) => control.checkpoint.0,
                    Err(WalError::NoControl { .. }) => 0,
                    Err(error) => panic!("{choice:?} at {}: {error}", point.call),
                };
                assert!(found == last || found == last + 1, "{found} after {last}");
                if found > 0 {
                    written_after_a_crash_survives_another(&disk, found);
                }
            }
        }
    }
    assert!(states > 200, "{states}");
}

/// Opened after a crash, of the process perhaps, and written: neither may lose what was read.
fn written_after_a_crash_survives_another(disk: &Arc<SimDisk>, found: u64) {
    disk.capture_crash_points();
    let (file, control) = ControlFile::open(&disk.host(), &Poison::new(), Path::new(HOME)).unwrap();
    let opened = disk.calls();
    file.write(&Control { checkpoint: Lsn(99), ..control }).unwrap();
    for point in disk.take_crash_points().into_iter().filter(|point| point.call >= opened) {
        for choice in point.disk.crash_choices(&CrashPolicy::full(point.call)) {
            let disk = point.disk.reboot(choice);
            let again = read(&disk.host()).unwrap().checkpoint.0;
            assert!(again == found || again == 99, "{again} after {found}");
        }
    }
}

#[test]
fn a_failed_write_or_sync_poisons_and_the_file_stays_readable() {
    for nth in 0..12 {
        for fault in [
            Fault::SyncFails(SyncFailure::CacheKeepsNew),
            Fault::SyncFails(SyncFailure::CacheReverts),
            Fault::WriteFails(Errno::Eio),
            Fault::WriteFailsHalfway(Errno::Enospc),
        ] {
            let disk = disk(SimOptions::new(nth));
            let (host, poison, path) = (disk.host(), Poison::new(), Path::new(HOME));
            let file = ControlFile::create(&host, &poison, path, &control(1)).unwrap();
            disk.faults(FaultPlan::one(fault, Trigger::Nth(nth)));
            let mut last = 1;
            while last < 8 && file.write(&control(last + 1)).is_ok() {
                last += 1;
            }
            assert_eq!(poison.is_poisoned(), last < 8);
            assert!(last == 8 || file.write(&control(50)).is_err());
            disk.faults(FaultPlan::none());
            for choice in [CrashChoice::ProcessCrash, CrashChoice::Nothing, CrashChoice::All] {
                let disk = disk.reboot(choice);
                let found = read(&disk.host()).unwrap().checkpoint.0;
                assert!(found == last || found == last + 1, "{fault:?}: {found} after {last}");
                written_after_a_crash_survives_another(&disk, found);
            }
        }
    }
}

#[test]
fn one_damaged_slot_is_passed_over_and_two_are_an_error() {
    let disk = disk(SimOptions::new(1));
    let (host, poison, path) = (disk.host(), Poison::new(), Path::new(HOME));
    let file = ControlFile::create(&host, &poison, path, &control(1)).unwrap();
    file.write(&control(2)).unwrap();
    let control_path = path.join(names::CONTROL);
    for (slot, left) in [(0, 2), (4096, 1)] {
        for bit in 0..512 * 8 {
            let disk = disk.fork();
            disk.flip_bit(&control_path, slot * 8 + bit).unwrap();
            match read(&disk.host()) {
                Ok(control) => assert_eq!(control.checkpoint, Lsn(left)),
                Err(error) => panic!("bit {bit}: {error}"),
            }
        }
    }
    for len in [0, 100, 511] {
        let disk = disk.fork();
        disk.edit_file(&control_path, |bytes| bytes.truncate(len)).unwrap();
        let error = read(&disk.host()).unwrap_err();
        assert!(matches!(&error, WalError::Corrupt { file, .. } if file == "control"), "{error}");
    }
}
