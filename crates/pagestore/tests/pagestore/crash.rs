//! Power failures and process ends at every call of a write-back, and inside the repair after it.
//!
//! The program changes pages of two logged files and one that is not, steps, makes checkpoints (of
//! which only the redo LSN is kept), initialises pages again and removes a file. After a crash the
//! fake log keeps what was durable, and the pages must come back to exactly that.

use std::path::Path;
use std::sync::Arc;

use campanile_format::{FileId, Lsn};
use campanile_pagestore::{FileFlags, StoreError};
use campanile_vfs::Poison;
use campanile_vfs::sim::{CrashChoice, CrashPolicy, Rule, Side, SimDisk, SimOptions};

use crate::fixture::{FakeLog, REMOVAL, Rig, UNLOGGED, change, init, options, page, place};

/// What survives beside the disk: the log, and where redo starts.
pub struct Life {
    pub log: FakeLog,
    pub redo: Lsn,
}

/// An empty disk with a home.
pub fn disk(options: SimOptions) -> Arc<SimDisk> {
    let disk = SimDisk::new(options);
    let vfs = disk.host().vfs;
    vfs.create_dir(Path::new("home")).unwrap();
    vfs.sync_dir(Path::new(".")).unwrap();
    disk
}

/// Runs the program until it ends or fails, and tells what survives then.
pub fn run(disk: &Arc<SimDisk>, rounds: u32) -> (Life, Poison, Result<(), StoreError>) {
    let mut redo = Lsn::new(1, 512);
    let host = disk.host();
    let mut rig = match Rig::open(&host, options("home", 16), FakeLog::new()) {
        Ok(rig) => rig,
        Err(error) => {
            return (Life { log: FakeLog::new(), redo }, Poison::new(), Err(error));
        }
    };
    let ended = program(&mut rig, &mut redo, rounds);
    (Life { log: rig.log.survivor(), redo }, rig.poison.clone(), ended)
}

fn program(rig: &mut Rig, redo: &mut Lsn, rounds: u32) -> Result<(), StoreError> {
    for file in [FileId(16), FileId(18), UNLOGGED] {
        rig.store.create_file(file, FileFlags { durable: file != UNLOGGED })?;
    }
    for round in 0..rounds {
        let file = [16, 18, 16, UNLOGGED.0][round as usize % 4];
        if file != 18 || round < rounds / 2 {
            rig.put(page(file, round * 5 % 11), u64::from(round))?;
        }
        if round == rounds / 2 {
            rig.log.append(page(18, 0), Lsn::NONE, false, REMOVAL);
            rig.log.flush();
            rig.store.remove_file(FileId(18))?;
            rig.expected.retain(|page, _| page.file != FileId(18));
        }
        match round % 12 {
            3 | 8 => drop(rig.store.step(rig.log.end())?),
            5 => {
                // A page is given up and initialised again, and changed.
                let again = page(16, round * 5 % 11);
                init(&rig.log, rig.store.fresh(again)?, u64::from(round) + 5000);
                change(&rig.log, rig.store.write(again)?, u64::from(round) + 6000);
            }
            11 => {
                rig.store.write_back_below(Lsn(rig.log.end().0 - 60))?;
                rig.log.flush();
                *redo = rig.redo_lsn();
            }
            _ => {}
        }
    }
    Ok(())
}

/// Opens what survived, recovers, and checks every page.
pub fn recover(
    disk: &Arc<SimDisk>,
    life: &Life,
) -> Result<(Rig, crate::fixture::Found), StoreError> {
    let log = life.log.survivor();
    let mut rig = Rig::open(&disk.host(), options("home", 16), log)?;
    let found = rig.recover(life.redo)?;
    for (page, stamp) in rig.expected.clone() {
        assert_eq!(rig.get(page)?, stamp, "{page}");
    }
    Ok((rig, found))
}

/// Recovers, makes a checkpoint, loses power, and finds everything without any redo.
fn recover_for_good(disk: &Arc<SimDisk>, life: &Life) -> crate::fixture::Found {
    let (rig, found) = recover(disk, life).unwrap();
    rig.store.write_back_all().unwrap();
    rig.log.flush();
    let life = Life { log: rig.log.survivor(), redo: rig.redo_lsn() };
    let after = disk.reboot(CrashChoice::Nothing);
    recover(&after, &life).unwrap();
    found
}

/// Crashes at each call, before and after, and recovers from each choice of the policy.
fn crash_everywhere(options: &SimOptions, rounds: u32, policy: CrashPolicy) -> (u64, usize, usize) {
    let calls = {
        let whole = disk(options.clone());
        run(&whole, rounds).2.unwrap();
        whole.calls()
    };
    let (mut states, mut repaired, mut torn) = (0, 0, 0);
    for call in 0..calls {
        for side in [Side::Before, Side::After] {
            let disk = disk(options.clone());
            disk.crash_at(call, side);
            let (life, _, _) = run(&disk, rounds);
            for choice in disk.crash_choices(&CrashPolicy { seed: call, ..policy }) {
                let found = recover_for_good(&disk.reboot(choice), &life);
                states += 1;
                repaired += found.repaired;
                torn += found.torn;
            }
        }
    }
    (states, repaired, torn)
}

#[test]
pub fn p8_every_page_comes_back_whatever_a_crash_leaves_of_a_write_back() {
    let options = SimOptions::new(1);
    let policy = CrashPolicy { singles_max: 3, subsets: 4, exhaustive_items: 3, seed: 0 };
    let (states, repaired, torn) = crash_everywhere(&options, 60, policy);
    assert!(states > 1000 && repaired > 30 && torn > 30, "{states} {repaired} {torn}");
    let counters = &options.counters;
    for rule in [Rule::ProcessCrash, Rule::NothingKept, Rule::SectorLost, Rule::LengthGarbage] {
        assert!(counters.get(rule) > 0, "{rule:?} never happened");
    }
}

#[test]
fn p8_torn_sectors_and_spoilt_blocks_do_not_matter_to_whole_pages() {
    let options = SimOptions::harsh(2);
    let policy = CrashPolicy { singles_max: 1, subsets: 6, exhaustive_items: 0, seed: 0 };
    let (states, repaired, torn) = crash_everywhere(&options, 48, policy);
    assert!(states > 1000 && repaired > 30 && torn > 30, "{states} {repaired} {torn}");
    for rule in [Rule::SectorTorn, Rule::Collateral] {
        assert!(options.counters.get(rule) > 0, "{rule:?} never happened");
    }
}

#[test]
fn a_crash_inside_repair_and_redo_is_recovered_from() {
    let options = SimOptions::new(3);
    let rounds = 40;
    let calls = {
        let whole = disk(options.clone());
        run(&whole, rounds).2.unwrap();
        whole.calls()
    };
    let mut states = 0;
    for call in (0..calls).step_by(3) {
        let first = disk(options.clone());
        first.crash_at(call, Side::After);
        let (life, _, _) = run(&first, rounds);
        for choice in [CrashChoice::ProcessCrash, CrashChoice::Subset(call)] {
            let rebooted = first.reboot(choice);
            let inner = {
                let whole = rebooted.fork();
                recover(&whole, &life).unwrap().0.store.write_back_all().unwrap();
                whole.calls()
            };
            for call in (0..inner).step_by(2) {
                let second = rebooted.fork();
                second.crash_at(call, Side::Before);
                if let Ok((rig, _)) = recover(&second, &life) {
                    let _ = rig.store.write_back_all();
                }
                for choice in [CrashChoice::Nothing, CrashChoice::Subset(call)] {
                    recover_for_good(&second.reboot(choice), &life);
                    states += 1;
                }
            }
        }
    }
    assert!(states > 1000, "{states}");
}

#[test]
fn a_good_home_page_is_not_replaced_and_a_stale_copy_is_not_used() {
    let disk = disk(SimOptions::new(4));
    let mut rig = Rig::new(&disk.host(), 16);
    rig.create(16);
    let id = page(16, 3);
    rig.put(id, 1).unwrap();
    rig.store.write_back_all().unwrap();
    let copied = rig.put(id, 2).unwrap();
    rig.store.write_back_all().unwrap();
    // Home is newer than the copy now, by a write that needed none.
    init(&rig.log, rig.store.fresh(id).unwrap(), 3);
    rig.store.write_back_all().unwrap();
    assert_eq!(rig.store.stats().pages_double_written, 1);
    let log = rig.log.survivor();
    drop(rig);
    let again = |redo| {
        let rig = Rig::open(&disk.host(), options("home", 16), log.survivor()).unwrap();
        let report = rig.store.repair_torn_pages(redo).unwrap();
        (rig, report)
    };
    let (rig, report) = again(copied);
    assert_eq!((report.copies, report.repaired.len()), (1, 0));
    assert_eq!(rig.get(id).unwrap(), 3);
    // The page rots. Redo that starts after the copy could not bring an old page up to date.
    let path = Path::new("home/data/data.0000000016");
    let file = disk.host().vfs.open(path, campanile_vfs::Open::ReadWrite).unwrap();
    file.write_all_at(b"rot", place(3) + 2000).unwrap();
    let (rig, report) = again(Lsn(copied.0 + 1));
    assert_eq!((report.stale, report.repaired.len()), (1, 0));
    assert!(matches!(rig.get(id), Err(StoreError::Corrupt { .. })));
    // Redo that starts at the copy or before can.
    let (rig, report) = again(copied);
    assert_eq!(report.repaired, [id]);
    assert_eq!(rig.get(id).unwrap(), 2);
    // The copy of a file that is gone is nobody's.
    rig.store.remove_file(FileId(16)).unwrap();
    drop(rig);
    assert_eq!(again(copied).1.orphaned, 1);
    // A double-write file of garbage, or of another environment, is none.
    let path = Path::new("home/doublewrite");
    let file = disk.host().vfs.open(path, campanile_vfs::Open::ReadWrite).unwrap();
    file.write_all_at(&[0xa5; 300], 10).unwrap();
    assert_eq!(again(copied).1.copies, 0);
}
