//! Each run-time fault, F1 to F9, shown to have exactly its effect.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use campanile_vfs::sim::{
    CrashChoice, Errno, Fault, FaultPlan, FaultRule, Rot, Rule, SimDisk, SimFault, SimOptions,
    SyncFailure, Trigger,
};
use campanile_vfs::{CallKind, File, LockMode, Open, Vfs};

const S: u64 = 512;

fn path() -> &'static Path {
    Path::new("f")
}

fn disk_with(bytes: &[u8]) -> Arc<SimDisk> {
    let disk = SimDisk::new(SimOptions::new(5));
    disk.put_file(path(), bytes);
    disk
}

fn file(disk: &SimDisk) -> Arc<dyn File> {
    disk.open(path(), Open::ReadWrite).unwrap()
}

fn all(file: &dyn File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.len()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn once(fault: Fault) -> FaultPlan {
    FaultPlan::one(fault, Trigger::Nth(0))
}

/// Old bytes durable, new bytes written, a first sync that this way fails: the disk, the handle.
fn failed_sync(how: SyncFailure) -> (Arc<SimDisk>, Arc<dyn File>, io::Result<()>) {
    let disk = disk_with(b"old");
    let file = file(&disk);
    file.write_all_at(b"new!", 0).unwrap();
    disk.faults(once(Fault::SyncFails(how)));
    let result = file.sync_data();
    (disk, file, result)
}

#[test]
fn f1a_the_cache_keeps_what_the_medium_lost_and_the_next_sync_succeeds() {
    let (disk, file, result) = failed_sync(SyncFailure::CacheKeepsNew);
    assert!(SimFault::is(&result.unwrap_err()));
    assert_eq!(all(&*file).unwrap(), b"new!");
    file.sync_data().unwrap();
    assert_eq!(disk.reboot(CrashChoice::ProcessCrash).file_bytes(path()).unwrap(), b"new!");
    assert_eq!(disk.reboot(CrashChoice::All).file_bytes(path()).unwrap(), b"old\0");
    disk.drop_caches();
    assert_eq!(all(&*file).unwrap(), b"old\0");
    assert_eq!(disk.counters().get(Rule::SyncCacheKeeps), 1);
}

#[test]
fn f1b_the_cache_shows_the_old_bytes_again() {
    let (disk, file, result) = failed_sync(SyncFailure::CacheReverts);
    assert!(result.is_err());
    assert_eq!(all(&*file).unwrap(), b"old");
    file.sync_data().unwrap();
    assert_eq!(disk.reboot(CrashChoice::All).file_bytes(path()).unwrap(), b"old");
    assert_eq!(disk.counters().get(Rule::SyncCacheReverts), 1);
}

#[test]
fn f1c_the_error_comes_with_a_later_sync() {
    let (disk, file, result) = failed_sync(SyncFailure::ReportedLater);
    result.unwrap();
    assert_eq!(disk.reboot(CrashChoice::All).file_bytes(path()).unwrap(), b"old\0");
    assert!(SimFault::is(&file.sync_data().unwrap_err()));
    file.sync_data().unwrap();
    assert_eq!(disk.counters().get(Rule::SyncReportedLater), 1);
}

#[test]
fn f1c_a_failed_write_out_is_told_to_the_next_sync_through_any_handle() {
    for through_another in [false, true] {
        let disk = SimDisk::new(SimOptions::new(1));
        let file = disk.open(path(), Open::CreateNew).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        file.write_all_at(b"old", 0).unwrap();
        file.sync_data().unwrap();
        disk.faults(once(Fault::WriteOutFails));
        file.write_all_at(b"new", 0).unwrap();
        assert_eq!(all(&*file).unwrap(), b"new");
        assert_eq!(disk.reboot(CrashChoice::All).file_bytes(path()).unwrap(), b"old");
        let syncs = match through_another {
            true => disk.open(path(), Open::ReadWrite).unwrap(),
            false => Arc::clone(&file),
        };
        assert!(SimFault::is(&syncs.sync_data().unwrap_err()));
        syncs.sync_data().unwrap();
        assert_eq!(disk.counters().get(Rule::WriteOutReported), 1);
        assert_eq!(disk.reboot(CrashChoice::All).file_bytes(path()).unwrap(), b"old");
    }
}

#[test]
fn f1c_the_error_goes_to_another_handle() {
    let (disk, file, result) = failed_sync(SyncFailure::ReportedElsewhere);
    result.unwrap();
    file.sync_data().unwrap();
    let other = disk.open(path(), Open::ReadWrite).unwrap();
    assert!(SimFault::is(&other.sync_data().unwrap_err()));
    other.sync_data().unwrap();
    assert_eq!(disk.reboot(CrashChoice::All).file_bytes(path()).unwrap(), b"old\0");
    assert_eq!(disk.counters().get(Rule::SyncReportedElsewhere), 1);
}

#[test]
fn f1d_the_data_became_durable_all_the_same() {
    let (disk, _, result) = failed_sync(SyncFailure::DataDurable);
    assert!(result.is_err());
    assert_eq!(disk.reboot(CrashChoice::Nothing).file_bytes(path()).unwrap(), b"new!");
    assert_eq!(disk.counters().get(Rule::SyncButDurable), 1);
}

#[test]
fn f1_strikes_directories_too() {
    let entries = |how, syncs: usize| {
        let disk = SimDisk::new(SimOptions::new(1));
        disk.open(path(), Open::CreateNew).unwrap();
        disk.faults(once(Fault::SyncFails(how)));
        let results: Vec<bool> = (0..syncs).map(|_| disk.sync_dir(Path::new("")).is_ok()).collect();
        let durable = disk.reboot(CrashChoice::All).exists(path()).unwrap();
        (results, disk.exists(path()).unwrap(), durable)
    };
    assert_eq!(entries(SyncFailure::CacheKeepsNew, 2), (vec![false, true], true, false));
    assert_eq!(entries(SyncFailure::CacheReverts, 2), (vec![false, true], false, false));
    assert_eq!(entries(SyncFailure::ReportedLater, 3), (vec![true, false, true], true, false));
    assert_eq!(entries(SyncFailure::DataDurable, 1), (vec![false], true, true));
}

#[test]
fn f2_a_failed_write_changes_nothing_or_a_part() {
    for errno in Errno::ALL {
        let disk = disk_with(&[1; 1000]);
        let file = file(&disk);
        disk.faults(once(Fault::WriteFails(errno)));
        assert_eq!(file.write_at(&[2; 600], 100).unwrap_err().kind(), errno.kind());
        assert_eq!(all(&*file).unwrap(), [1; 1000]);
        disk.faults(once(Fault::WriteFailsHalfway(errno)));
        assert_eq!(file.write_at(&[2; 600], 100).unwrap_err().kind(), errno.kind());
        let bytes = all(&*file).unwrap();
        let taken = bytes.iter().filter(|byte| **byte == 2).count();
        assert!(taken < 600 && bytes[100..100 + taken].iter().all(|byte| *byte == 2));
    }
}

#[test]
fn f2_short_writes_and_interruptions_are_legal_and_the_loops_cope() {
    let disk = disk_with(b"");
    let file = file(&disk);
    let plan = FaultPlan::one(Fault::WriteFails(Errno::Eintr), Trigger::OneIn(3))
        .and(FaultRule::new(Fault::ShortWrite, Trigger::Always))
        .and(FaultRule::new(Fault::ShortRead, Trigger::Always));
    disk.faults(plan);
    let bytes: Vec<u8> = (0..3000_u32).map(|n| n as u8).collect();
    file.write_all_at(&bytes, 0).unwrap();
    assert_eq!(all(&*file).unwrap(), bytes);
    let counters = disk.counters();
    for rule in [Rule::ShortWrite, Rule::ShortRead, Rule::WriteFailed] {
        assert!(counters.get(rule) > 0, "{rule}");
    }
}

#[test]
fn f2_an_endless_interruption_is_an_error_not_a_hang() {
    let disk = disk_with(b"x");
    let file = file(&disk);
    disk.faults(FaultPlan::one(Fault::Any(Errno::Eintr), Trigger::Always));
    assert_eq!(file.write_all_at(b"y", 0).unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(file.read_exact_at(&mut [0], 0).unwrap_err().kind(), ErrorKind::Interrupted);
}

#[test]
fn f2_space_runs_out_for_every_call_that_needs_some() {
    let disk = disk_with(&[1; 100]);
    let file = file(&disk);
    file.write_all_at(&[2; 100], 0).unwrap();
    disk.faults(FaultPlan::one(Fault::NoSpace, Trigger::Always));
    let full = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
    };
    full(file.write_at(&[1], 0).map(|_| ()));
    full(file.allocate(0, 5000));
    full(file.set_len(5000));
    full(disk.rename(path(), Path::new("g")));
    full(disk.create_dir(Path::new("d")));
    full(disk.open(Path::new("g"), Open::CreateNew).map(|_| ()));
    full(disk.sync_dir(Path::new("")));
    full(file.sync_data());
    assert_eq!(all(&*file).unwrap(), [2; 100], "reading needs no space");
    disk.open(path(), Open::ReadWrite).unwrap();
    disk.remove(path()).unwrap();
}

#[test]
fn f3_a_transient_read_error_is_gone_the_next_time() {
    let disk = disk_with(&[1; 100]);
    let file = file(&disk);
    disk.faults(once(Fault::ReadFails));
    assert!(SimFault::is(&all(&*file).unwrap_err()));
    assert_eq!(all(&*file).unwrap(), [1; 100]);
    assert_eq!(disk.counters().get(Rule::ReadFailed), 1);
}

#[test]
fn f3_a_latent_sector_stays_unreadable_until_it_is_written() {
    let disk = disk_with(&[1; 4 * S as usize]);
    disk.faults(once(Fault::LatentSector));
    let handle = file(&disk);
    assert!(handle.read_at(&mut [0; S as usize], 2 * S).is_err());
    let disk = disk.reboot(CrashChoice::Nothing);
    let file = file(&disk);
    let readable = |sector: u64| file.read_at(&mut [0; 16], sector * S + 100).is_ok();
    assert_eq!([0, 1, 2, 3].map(readable), [true, true, false, true], "also after a reboot");
    assert!(all(&*file).is_err());
    file.write_all_at(&[2; S as usize], 2 * S).unwrap();
    assert!(readable(2));
    assert!(disk.counters().get(Rule::LatentSector) >= 2);
}

#[test]
fn f3_a_read_may_claim_the_end_too_early() {
    let disk = disk_with(&[1; 100]);
    let file = file(&disk);
    disk.faults(once(Fault::EarlyEnd));
    assert_eq!(file.read_full_at(&mut [0; 10], 50).unwrap(), 0);
    assert_eq!(file.read_full_at(&mut [0; 10], 50).unwrap(), 10);
}

#[test]
fn f4_bits_rot_on_the_medium_or_in_one_read_only() {
    for (damage, changed) in
        [(Rot::Bits, 1..=8), (Rot::ZeroSector, 512..=512), (Rot::OnesSector, 512..=512)]
    {
        for at_rest in [true, false] {
            let disk = disk_with(&[0x55; 4 * S as usize]);
            let file = file(&disk);
            disk.faults(once(Fault::BitRot { damage, at_rest }));
            let differing = |bytes: &[u8]| bytes.iter().filter(|byte| **byte != 0x55).count();
            let first = differing(&all(&*file).unwrap());
            assert!(changed.contains(&first), "{damage:?}: {first} bytes");
            let second = differing(&all(&*file).unwrap());
            assert_eq!(second, if at_rest { first } else { 0 });
            let durable = differing(&disk.durable_bytes(path()).unwrap());
            assert_eq!(durable, if at_rest { first } else { 0 });
            let rule = if at_rest { Rule::RotAtRest } else { Rule::RotInRead };
            assert_eq!(disk.counters().get(rule), 1);
        }
    }
}

#[test]
fn f5_a_write_lands_elsewhere_and_its_own_place_keeps_the_old_bytes() {
    for other_file in [false, true] {
        let disk = disk_with(&[1; 8 * S as usize]);
        disk.put_file(Path::new("g"), &[1; 8 * S as usize]);
        let file = file(&disk);
        disk.faults(once(Fault::Misdirected { other_file }));
        file.write_all_at(&[2; 2 * S as usize], 2 * S).unwrap();
        file.sync_data().unwrap();
        let (own, other) = (all(&*file).unwrap(), disk.file_bytes(Path::new("g")).unwrap());
        let (hit, spared) = if other_file { (&other, &own) } else { (&own, &other) };
        assert_eq!(**spared, [1; 8 * S as usize]);
        let places: Vec<usize> = (0..4).filter(|place| hit[place * 1024] == 2).collect();
        assert_eq!(places.len(), 1, "a whole page at a page's place");
        assert!(other_file || places != [1]);
        assert_eq!(hit.iter().filter(|byte| **byte == 2).count(), 1024);
        assert_eq!(disk.counters().get(Rule::Misdirected), 1);
    }
}

#[test]
fn f6_a_lost_write_is_acknowledged_and_synced_and_never_applied() {
    let disk = disk_with(&[1; 100]);
    let file = file(&disk);
    disk.faults(once(Fault::LostWrite));
    file.write_all_at(&[2; 100], 50).unwrap();
    file.sync_data().unwrap();
    assert_eq!(all(&*file).unwrap(), [[1; 100].as_slice(), &[0; 50]].concat());
    assert_eq!(disk.counters().get(Rule::LostWrite), 1);
}

#[test]
fn f7_a_stale_read_returns_an_earlier_version_of_one_write() {
    let disk = disk_with(&[1; 4 * S as usize]);
    let file = file(&disk);
    disk.faults(FaultPlan::one(Fault::StaleRead, Trigger::Always));
    for version in 2..5 {
        for page in 0..2 {
            file.write_all_at(&[version; 2 * S as usize], page * 2 * S).unwrap();
        }
    }
    file.sync_data().unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let bytes = all(&*file).unwrap();
        for page in bytes.chunks(1024) {
            assert!(page.iter().all(|byte| *byte == page[0]), "well-formed pages");
        }
        seen.insert((bytes[0], bytes[1024]));
    }
    assert_eq!(seen, [(1, 4), (2, 4), (3, 4), (4, 1), (4, 2), (4, 3)].into());
    disk.faults(FaultPlan::none());
    assert_eq!(all(&*file).unwrap(), [4; 4 * S as usize]);
    assert_eq!(disk.counters().get(Rule::StaleRead), 100);
}

#[test]
fn f8_metadata_calls_fail_and_leave_everything_as_it_was() {
    let disk = disk_with(b"x");
    let file = file(&disk);
    disk.create_dir(Path::new("d")).unwrap();
    disk.faults(FaultPlan::one(Fault::MetadataFails, Trigger::Always));
    assert!(disk.open(path(), Open::Read).is_err());
    assert!(disk.open(Path::new("new"), Open::CreateNew).is_err());
    assert!(disk.remove(path()).is_err());
    assert!(disk.remove_dir(Path::new("d")).is_err());
    assert!(disk.list(Path::new("")).is_err());
    assert!(disk.exists(path()).is_err());
    assert!(disk.lock(path(), LockMode::Shared).is_err());
    assert!(file.len().is_err());
    file.write_all_at(b"y", 0).unwrap();
    disk.faults(FaultPlan::none());
    let mut names = disk.list(Path::new("")).unwrap();
    names.sort();
    assert_eq!(names, ["d", "f"]);
    assert_eq!(disk.counters().get(Rule::MetadataFailed), 8);
}

#[test]
fn f8_listings_come_in_any_order_and_may_show_strangers() {
    let disk = SimDisk::new(SimOptions::new(1));
    (0..5).for_each(|n| disk.put_file(Path::new(&format!("d/f{n}")), b""));
    let orders: BTreeSet<Vec<String>> =
        (0..50).map(|_| disk.list(Path::new("d")).unwrap()).collect();
    assert!(orders.len() > 20);
    disk.faults(once(Fault::StrayFile));
    let names = disk.list(Path::new("d")).unwrap();
    let strays: Vec<&String> = names.iter().filter(|name| !name.starts_with('f')).collect();
    assert_eq!((names.len(), strays.len()), (6, 1));
    let stray = Path::new("d").join(strays[0]);
    assert!(disk.reboot(CrashChoice::Nothing).open(&stray, Open::Read).is_ok(), "it is there");
}

#[test]
fn f9_the_wall_clock_jumps_and_the_disk_keeps_its_own_time() {
    let disk = SimDisk::new(SimOptions::new(1));
    let clock = disk.host().clock;
    let start = clock.now_us();
    disk.exists(path()).unwrap();
    assert!(clock.now_us() > start, "every call takes time");
    disk.clock().jump_us(-3_600_000_000);
    assert!(clock.now_us() < start);
    let reborn = disk.reboot(CrashChoice::Nothing);
    assert!(reborn.host().clock.now_us() < start, "and stays where it jumped to");
    clock.sleep_us(7_200_000_000);
    assert!(clock.now_us() > start && reborn.host().clock.now_us() < start);
    assert_eq!(disk.counters().get(Rule::ClockJumped), 1);
}

#[test]
fn triggers_pick_their_calls() {
    let struck = |trigger| {
        let disk = disk_with(b"x");
        let file = file(&disk);
        disk.faults(FaultPlan::one(Fault::WriteFails(Errno::Eio), trigger));
        let fails = |n: u64| {
            file.len().unwrap();
            file.write_at(b"y", 0).err().map(|_| n)
        };
        (0..8).filter_map(fails).collect::<Vec<u64>>()
    };
    assert_eq!(struck(Trigger::Always), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(struck(Trigger::Nth(3)), [3]);
    assert_eq!(struck(Trigger::From(6)), [6, 7]);
    assert_eq!(struck(Trigger::Call(8)), [3], "after the open, a length and a write each round");
    assert_eq!(struck(Trigger::Call(7)), [], "that call is no write");
    assert_eq!(struck(Trigger::FromCall(13)), [6, 7]);
    let some = struck(Trigger::OneIn(3));
    assert!(!some.is_empty() && some.len() < 8);
    assert_eq!(some, struck(Trigger::OneIn(3)), "by seed");
}

#[test]
fn rules_strike_only_their_paths_and_calls() {
    let disk = SimDisk::new(SimOptions::new(1));
    disk.put_file(Path::new("home/log/log.0000000001"), b"x");
    disk.put_file(Path::new("home/data/data.0000000003"), b"x");
    let rule = FaultRule::new(Fault::Any(Errno::Eio), Trigger::Always);
    disk.faults(FaultPlan::none().and(rule.on("*/log.*").for_calls(&[CallKind::SyncData])));
    let open = |name: &str| disk.open(Path::new(name), Open::ReadWrite).unwrap();
    let (log, data) = (open("home/log/log.0000000001"), open("home/data/data.0000000003"));
    assert!(log.sync_data().is_err());
    log.sync_all().unwrap();
    log.write_all_at(b"y", 0).unwrap();
    data.sync_data().unwrap();
}

#[test]
fn every_call_of_a_run_can_be_made_to_fail() {
    let work = |disk: &SimDisk| -> io::Result<()> {
        disk.create_dir(Path::new("d"))?;
        let _lock = disk.lock(Path::new("d/lock"), LockMode::Exclusive)?;
        let file = disk.open(Path::new("d/tmp"), Open::CreateNew)?;
        file.allocate(0, 100)?;
        file.write_all_at(&[1; 600], 0)?;
        file.set_len(500)?;
        file.sync_all()?;
        all(&*file)?;
        disk.rename(Path::new("d/tmp"), Path::new("d/f"))?;
        disk.sync_dir(Path::new("d"))?;
        disk.list(Path::new("d"))?;
        disk.exists(Path::new("d/f"))?;
        disk.remove(Path::new("d/f"))?;
        disk.create_dir(Path::new("d/e"))?;
        disk.remove_dir(Path::new("d/e"))
    };
    let clean = SimDisk::new(SimOptions { log_calls: true, ..SimOptions::new(1) });
    work(&clean).unwrap();
    let kinds: BTreeSet<CallKind> = clean.calls_log().iter().map(|call| call.kind).collect();
    assert_eq!(kinds.len(), CallKind::ALL.len() - 1, "all but sync_data");
    for call in 0..clean.calls() {
        let disk = SimDisk::new(SimOptions::new(1));
        disk.faults(FaultPlan::one(Fault::Any(Errno::Eio), Trigger::FromCall(call)));
        let error = work(&disk).unwrap_err();
        assert!(SimFault::is(&error) && disk.calls() == call + 1, "{call}: {error}");
    }
}
