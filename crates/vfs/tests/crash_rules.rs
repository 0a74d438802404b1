//! Each crash rule, D1 to D9, shown to have exactly its effect.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use campanile_vfs::sim::{
    CrashChoice, CrashPolicy, Lost, PendingInfo, Rule, Side, SimCrash, SimDisk, SimOptions,
};
use campanile_vfs::{CallKind, File, Open, Vfs};

const S: usize = 512;

fn path() -> &'static Path {
    Path::new("f")
}

/// A disk with the file `f`, durable under its name, holding these bytes.
fn disk_with(bytes: &[u8], options: SimOptions) -> Arc<SimDisk> {
    let disk = SimDisk::new(options);
    disk.put_file(path(), bytes);
    disk
}

fn file(disk: &SimDisk) -> Arc<dyn File> {
    disk.open(path(), Open::ReadWrite).unwrap()
}

fn after(disk: &SimDisk, choice: CrashChoice) -> Vec<u8> {
    disk.reboot(choice).file_bytes(path()).unwrap()
}

fn sectors(of: &[u8]) -> Vec<u8> {
    of.iter().flat_map(|byte| [*byte; S]).collect()
}

#[test]
fn d1_a_dead_process_loses_nothing_but_nothing_is_durable_yet() {
    let disk = disk_with(&sectors(&[1, 1]), SimOptions::new(1));
    file(&disk).write_all_at(&[2; S], 0).unwrap();
    let reborn = disk.reboot(CrashChoice::ProcessCrash);
    assert_eq!(reborn.file_bytes(path()).unwrap(), sectors(&[2, 1]));
    assert_eq!(reborn.pending().sectors, 1);
    assert_eq!(after(&reborn, CrashChoice::Nothing), sectors(&[1, 1]));
    file(&reborn).sync_data().unwrap();
    assert_eq!(after(&reborn, CrashChoice::Nothing), sectors(&[2, 1]));
    assert_eq!(disk.counters().get(Rule::ProcessCrash), 1);
}

#[test]
fn d2_nothing_unsynced_survives() {
    let disk = disk_with(&sectors(&[1, 1]), SimOptions::new(1));
    let file = file(&disk);
    file.write_all_at(&[2; S], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[3; 2 * S], 0).unwrap();
    disk.open(Path::new("new"), Open::CreateNew).unwrap();
    let reborn = disk.reboot(CrashChoice::Nothing);
    assert_eq!(reborn.file_bytes(path()).unwrap(), sectors(&[2, 1]));
    assert!(!reborn.exists(Path::new("new")).unwrap());
    assert_eq!(disk.counters().get(Rule::NothingKept), 1);
}

#[test]
fn d3_a_prefix_of_operations_survives_across_files() {
    let disk = disk_with(&sectors(&[1]), SimOptions::new(1));
    disk.put_file(Path::new("g"), &sectors(&[1]));
    let (f, g) = (file(&disk), disk.open(Path::new("g"), Open::ReadWrite).unwrap());
    f.write_all_at(&[2; S], 0).unwrap();
    g.write_all_at(&[2; S], 0).unwrap();
    f.write_all_at(&[3; S], 0).unwrap();
    g.write_all_at(&[3; S], 0).unwrap();
    assert_eq!(disk.pending().ops, 4);
    let states: Vec<(u8, u8)> = (0..=4)
        .map(|count| {
            let reborn = disk.reboot(CrashChoice::Prefix(count));
            let byte = |name: &str| reborn.file_bytes(Path::new(name)).unwrap()[0];
            (byte("f"), byte("g"))
        })
        .collect();
    assert_eq!(states, [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3)]);
    let seen: BTreeSet<(u8, u8)> = (0..200)
        .map(|seed| {
            let reborn = disk.reboot(CrashChoice::FilePrefixes(seed));
            let byte = |name: &str| reborn.file_bytes(Path::new(name)).unwrap()[0];
            (byte("f"), byte("g"))
        })
        .collect();
    assert_eq!(seen.len(), 9, "each file has its own prefix: {seen:?}");
    assert!(disk.counters().get(Rule::PrefixKept) > 0);
}

#[test]
fn d4_each_sector_of_one_write_survives_or_not() {
    let disk = disk_with(&sectors(&[1, 1, 1]), SimOptions::new(1));
    file(&disk).write_all_at(&[2; 3 * S], 0).unwrap();
    let seen: BTreeSet<Vec<u8>> =
        (0..8).map(|bits| after(&disk, CrashChoice::Bits(bits))).collect();
    let all: BTreeSet<Vec<u8>> = (0..8)
        .map(|bits| sectors(&[1 + (bits & 1), 1 + (bits >> 1 & 1), 1 + (bits >> 2 & 1)]))
        .collect();
    assert_eq!(seen, all);
    let subsets: BTreeSet<Vec<u8>> =
        (0..300).map(|seed| after(&disk, CrashChoice::Subset(seed))).collect();
    assert_eq!(subsets, all);
    assert_eq!(after(&disk, CrashChoice::DropSector(1)), sectors(&[2, 1, 2]));
    assert_eq!(after(&disk, CrashChoice::KeepSector(1)), sectors(&[1, 2, 1]));
    assert_eq!(after(&disk, CrashChoice::All), sectors(&[2, 2, 2]));
}

#[test]
fn d4_of_several_versions_of_a_sector_any_one_survives() {
    let disk = disk_with(&sectors(&[1, 1]), SimOptions::new(1));
    let file = file(&disk);
    file.write_all_at(&[2; 10], 0).unwrap();
    file.write_all_at(&[3; 10], 100).unwrap();
    file.write_all_at(&[4; S], S as u64).unwrap();
    file.write_all_at(&[5; S], S as u64).unwrap();
    let seen: BTreeSet<(u8, u8, u8)> = (0..300)
        .map(|seed| {
            let bytes = after(&disk, CrashChoice::Subset(seed));
            assert_eq!((bytes[50], bytes[150], bytes[511]), (1, 1, 1));
            (bytes[0], bytes[100], bytes[S])
        })
        .collect();
    let mut all = BTreeSet::new();
    for first in [(1, 1), (2, 1), (2, 3)] {
        all.extend([1, 4, 5].map(|second| (first.0, first.1, second)));
    }
    assert_eq!(seen, all, "a later version of a sector holds the earlier writes too");
    assert!(disk.counters().get(Rule::SectorOlder) > 0);
}

#[test]
fn d5_one_sector_is_cut_at_a_byte() {
    let disk = disk_with(&sectors(&[1, 1]), SimOptions::new(1));
    file(&disk).write_all_at(&[2; 2 * S], 0).unwrap();
    let mut cuts = BTreeSet::new();
    for seed in 0..400 {
        let bytes = after(&disk, CrashChoice::TornSubset(seed));
        let mixed: Vec<&[u8]> =
            bytes.chunks(S).filter(|sector| sector.iter().any(|b| *b != sector[0])).collect();
        assert_eq!(mixed.len(), 1, "exactly one sector is torn");
        let changes = mixed[0].windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 1, "it is torn in one place");
        cuts.insert(mixed[0].iter().filter(|byte| **byte == mixed[0][0]).count());
    }
    assert!(cuts.len() > 200 && cuts.iter().any(|cut| cut % 8 != 0), "at any byte");
    assert_eq!(disk.counters().get(Rule::SectorTorn), 400);
    for seed in 0..100 {
        let whole = after(&disk, CrashChoice::Subset(seed));
        assert!(whole.chunks(S).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
    }
    let profile = SimOptions { torn_sectors: true, ..SimOptions::new(1) };
    let disk = disk_with(&sectors(&[1, 1]), profile);
    file(&disk).write_all_at(&[2; 2 * S], 0).unwrap();
    (0..20).for_each(|seed| drop(after(&disk, CrashChoice::Subset(seed))));
    assert!((1..20).contains(&disk.counters().get(Rule::SectorTorn)));
}

#[test]
fn d6_the_block_around_an_unsynced_write_becomes_garbage_and_no_other() {
    let old = vec![1; 3 * 4096];
    let disk = disk_with(&old, SimOptions::new(1));
    file(&disk).write_all_at(&[2; S], 4096 + 1024).unwrap();
    for seed in 0..50 {
        let bytes = after(&disk, CrashChoice::Collateral(seed));
        assert_eq!(bytes[..4096], old[..4096]);
        assert_eq!(bytes[8192..], old[..4096]);
        let strange = bytes[4096..8192].iter().filter(|byte| **byte != 1 && **byte != 2).count();
        assert!(strange > 3800, "the whole block, synced neighbours too");
    }
    assert_eq!(disk.counters().get(Rule::Collateral), 50);
    let quiet = disk_with(&old, SimOptions::harsh(1));
    assert_eq!(after(&quiet, CrashChoice::Collateral(1)), old, "only around unsynced writes");
}

#[test]
fn d7_the_length_is_an_operation_of_its_own() {
    for (lost, byte) in [(Lost::Zeros, 0), (Lost::Garbage, 0xA5)] {
        let disk = disk_with(&[1; 100], SimOptions { lost, ..SimOptions::new(1) });
        file(&disk).write_all_at(&[2; S], S as u64).unwrap();
        assert_eq!(disk.pending(), PendingInfo { sectors: 1, lens: 1, dir_ops: 0, ops: 2 });
        let kept = [vec![1; 100], vec![byte; S - 100]].concat();
        assert_eq!(
            after(&disk, CrashChoice::DropSector(0)),
            [kept.clone(), vec![byte; S]].concat()
        );
        assert_eq!(after(&disk, CrashChoice::DropLength(0)), [1; 100], "old length");
        let lens: BTreeSet<usize> =
            (0..100).map(|seed| after(&disk, CrashChoice::Subset(seed)).len()).collect();
        assert_eq!(lens, BTreeSet::from([100, 2 * S]));
        let rule = if byte == 0 { Rule::LengthZeros } else { Rule::LengthGarbage };
        assert!(disk.counters().get(rule) > 0 && disk.counters().get(Rule::LengthOld) > 0);
    }
    let disk = disk_with(&[1; 100], SimOptions::new(1));
    file(&disk).set_len(S as u64).unwrap();
    let fills: BTreeSet<u8> =
        (0..100).map(|seed| *after(&disk, CrashChoice::Subset(seed)).last().unwrap()).collect();
    assert_eq!(fills, BTreeSet::from([0, 1, 0xA5]), "old length, zeros or garbage");
}

#[test]
fn d7_growth_reads_as_zeros_if_all_survives() {
    for seed in 0..20 {
        let disk =
            disk_with(&[1; 100], SimOptions { lost: Lost::Garbage, ..SimOptions::new(seed) });
        file(&disk).allocate(0, 200).unwrap();
        assert_eq!(after(&disk, CrashChoice::All), [[1; 100], [0; 100]].concat());
    }
}

#[test]
fn d7_a_cut_may_be_lost_and_what_a_surviving_cut_took_stays_away() {
    let disk =
        disk_with(&sectors(&[1, 1, 1, 1]), SimOptions { lost: Lost::Zeros, ..SimOptions::new(1) });
    let file = file(&disk);
    file.write_all_at(&[2; S], 2 * S as u64).unwrap();
    file.set_len(S as u64).unwrap();
    file.write_all_at(&[3; S], 3 * S as u64).unwrap();
    let seen: BTreeSet<Vec<u8>> =
        (0..500).map(|seed| after(&disk, CrashChoice::Subset(seed))).collect();
    let mut all = BTreeSet::from([sectors(&[1])]);
    for third in [1, 2] {
        all.extend([1, 3].map(|fourth| sectors(&[1, 1, third, fourth])));
    }
    all.extend([0, 3].map(|fourth| sectors(&[1, 0, 0, fourth])));
    assert_eq!(seen, all);
}

#[test]
fn d8_entries_are_durable_only_after_their_directory_was_synced() {
    let disk = SimDisk::new(SimOptions::new(1));
    disk.put_file(Path::new("d/old"), b"o");
    let d = Path::new("d");
    disk.open(&d.join("new"), Open::CreateNew).unwrap();
    disk.remove(&d.join("old")).unwrap();
    assert_eq!(disk.pending().dir_ops, 2);
    let list = |choice| {
        let mut names = disk.reboot(choice).list(d).unwrap();
        names.sort();
        names.join(" ")
    };
    assert_eq!(list(CrashChoice::Nothing), "old");
    assert_eq!(list(CrashChoice::All), "new");
    let seen: BTreeSet<String> = (0..64).map(|seed| list(CrashChoice::Subset(seed))).collect();
    assert_eq!(seen, ["", "new", "new old", "old"].map(String::from).into(), "any subset");
    disk.sync_dir(Path::new("")).unwrap();
    assert_eq!(list(CrashChoice::Nothing), "old", "another directory's sync does not help");
    disk.sync_dir(d).unwrap();
    assert_eq!(list(CrashChoice::Nothing), "new");
    assert!(disk.counters().get(Rule::EntryLost) > 0);
}

#[test]
fn d8_a_directory_is_gone_for_good_only_after_the_one_above_was_synced() {
    let disk = SimDisk::new(SimOptions::new(1));
    let d = Path::new("up/d");
    disk.put_file(&d.join("f"), b"f");
    assert_eq!(disk.remove_dir(d).unwrap_err().kind(), std::io::ErrorKind::DirectoryNotEmpty);
    disk.remove(&d.join("f")).unwrap();
    disk.remove_dir(d).unwrap();
    assert!(!disk.exists(d).unwrap());
    let back = disk.reboot(CrashChoice::Nothing);
    assert_eq!(back.list(d).unwrap(), ["f"], "neither removal was durable");
    assert!(!disk.reboot(CrashChoice::All).exists(d).unwrap());
    let seen: BTreeSet<Option<usize>> = (0..64)
        .map(|seed| disk.reboot(CrashChoice::Subset(seed)).list(d).ok().map(|names| names.len()))
        .collect();
    assert_eq!(seen, BTreeSet::from([None, Some(0), Some(1)]), "gone, empty or whole");
    // Another of the same name is another directory.
    disk.create_dir(d).unwrap();
    assert!(disk.list(d).unwrap().is_empty());
    disk.sync_dir(Path::new("up")).unwrap();
    assert!(disk.reboot(CrashChoice::Nothing).list(d).unwrap().is_empty());
    disk.remove_dir(d).unwrap();
    disk.sync_dir(Path::new("up")).unwrap();
    assert!(!disk.reboot(CrashChoice::Nothing).exists(d).unwrap());
}

#[test]
fn d8_a_directory_that_lost_its_entry_takes_its_files_along() {
    let disk = SimDisk::new(SimOptions::new(1));
    let d = Path::new("d");
    disk.create_dir(d).unwrap();
    disk.open(&d.join("f"), Open::CreateNew).unwrap();
    disk.sync_dir(d).unwrap();
    assert!(!disk.reboot(CrashChoice::Nothing).exists(d).unwrap());
    disk.sync_dir(Path::new("")).unwrap();
    assert!(disk.reboot(CrashChoice::Nothing).exists(&d.join("f")).unwrap());
}

#[test]
fn d8_a_rename_leaves_the_old_or_the_new_never_neither() {
    let disk = disk_with(b"old", SimOptions::new(1));
    let temporary = disk.open(Path::new("tmp"), Open::CreateNew).unwrap();
    temporary.write_all_at(b"new", 0).unwrap();
    temporary.sync_data().unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    disk.rename(Path::new("tmp"), path()).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let reborn = disk.reboot(CrashChoice::Subset(seed));
        let content = reborn.file_bytes(path()).unwrap();
        assert_eq!(reborn.exists(Path::new("tmp")).unwrap(), content == b"old");
        seen.insert(content);
    }
    assert_eq!(seen, [b"old".to_vec(), b"new".to_vec()].into());
    assert!(disk.counters().get(Rule::RenameLost) > 0);
    disk.sync_dir(Path::new("")).unwrap();
    assert_eq!(after(&disk, CrashChoice::Nothing), b"new");
}

#[test]
fn d8_no_crash_gives_a_file_two_names() {
    let disk = disk_with(b"x", SimOptions::new(1));
    for (from, to) in [("f", "g"), ("g", "h"), ("h", "i")] {
        disk.rename(Path::new(from), Path::new(to)).unwrap();
    }
    for bits in 0..8 {
        let names = disk.reboot(CrashChoice::Bits(bits)).list(Path::new("")).unwrap();
        assert_eq!(names.len(), 1, "{bits}: {names:?}");
    }
}

#[test]
fn d8_rename_without_data_leaves_an_empty_file_under_the_new_name() {
    let run = |rename_without_data, sync| {
        let options = SimOptions { rename_without_data, ..SimOptions::new(1) };
        let disk = disk_with(b"old", options);
        let temporary = disk.open(Path::new("tmp"), Open::CreateNew).unwrap();
        temporary.write_all_at(b"new", 0).unwrap();
        if sync {
            temporary.sync_data().unwrap();
        }
        disk.rename(Path::new("tmp"), path()).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        let seen: BTreeSet<Vec<u8>> =
            (0..99).map(|seed| after(&disk, CrashChoice::Subset(seed))).collect();
        assert_eq!(disk.counters().get(Rule::RenameWithoutData) > 0, rename_without_data && !sync);
        seen
    };
    assert_eq!(run(true, true), [b"new".to_vec()].into());
    assert_eq!(run(true, false), [b"".to_vec(), b"new".to_vec()].into());
    assert!(run(false, false).len() > 2, "without the profile: old length, zeros, garbage, new");
}

#[test]
fn d9_a_synced_file_may_have_no_name() {
    let disk = SimDisk::new(SimOptions::new(1));
    let file = disk.open(path(), Open::CreateNew).unwrap();
    file.write_all_at(&[1; 700], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.pending(), PendingInfo { sectors: 0, lens: 0, dir_ops: 1, ops: 1 });
    assert!(!disk.reboot(CrashChoice::Nothing).exists(path()).unwrap());
    assert_eq!(after(&disk, CrashChoice::All), [1; 700]);
    assert_eq!(disk.counters().get(Rule::SyncedFileUnnamed), 1);
    disk.sync_dir(Path::new("")).unwrap();
    assert_eq!(after(&disk, CrashChoice::Nothing), [1; 700]);
}

#[test]
fn a_crash_before_a_call_stops_its_effect_and_one_after_hides_it() {
    for (side, byte) in [(Side::Before, 1), (Side::After, 2)] {
        let disk = disk_with(&sectors(&[1]), SimOptions::new(1));
        let file = file(&disk);
        disk.crash_at(disk.calls() + 1, side);
        assert_eq!(file.len().unwrap(), S as u64);
        let error = file.write_all_at(&[2; S], 0).unwrap_err();
        assert!(SimCrash::is(&error) && disk.crashed(), "{error}");
        assert!(SimCrash::is(&file.sync_data().unwrap_err()));
        assert!(SimCrash::is(&disk.open(path(), Open::Read).unwrap_err()));
        assert_eq!(after(&disk, CrashChoice::All), sectors(&[byte]));
        let reborn = disk.reboot(CrashChoice::Nothing);
        assert!(!reborn.crashed() && reborn.calls() == 0);
        assert_eq!(reborn.file_bytes(path()).unwrap(), sectors(&[1]));
    }
}

#[test]
fn one_run_yields_every_crash_point() {
    let work = |disk: &SimDisk| -> std::io::Result<()> {
        let f = disk.open(path(), Open::ReadWrite)?;
        for round in 0..5 {
            f.write_all_at(&[round; 300], u64::from(round) * 200)?;
            f.len()?;
            f.sync_data()?;
            disk.open(Path::new(&format!("g{round}")), Open::CreateNew)?;
            disk.sync_dir(Path::new(""))?;
        }
        Ok(())
    };
    let disk = disk_with(&sectors(&[9]), SimOptions::new(3));
    disk.capture_crash_points();
    work(&disk).unwrap();
    let points = disk.take_crash_points();
    assert_eq!(points.len(), 20, "lengths and plain opens change nothing");
    for point in points {
        let again = disk_with(&sectors(&[9]), SimOptions::new(3));
        again.crash_at(point.call, Side::Before);
        assert!(SimCrash::is(&work(&again).unwrap_err()));
        for choice in [CrashChoice::All, CrashChoice::Nothing, CrashChoice::Subset(5)] {
            let (one, other) = (point.disk.reboot(choice), again.reboot(choice));
            assert_eq!(one.snapshot_files(), other.snapshot_files(), "call {}", point.call);
        }
    }
}

#[test]
fn a_fork_goes_its_own_way() {
    let disk = disk_with(&sectors(&[1]), SimOptions::new(1));
    file(&disk).write_all_at(&[2; S], 0).unwrap();
    let fork = disk.fork();
    file(&fork).write_all_at(&[3; S], 0).unwrap();
    file(&disk).sync_data().unwrap();
    assert_eq!(after(&disk, CrashChoice::Nothing), sectors(&[2]));
    assert_eq!(after(&fork, CrashChoice::Nothing), sectors(&[1]));
    assert_eq!(after(&fork, CrashChoice::All), sectors(&[3]));
}

#[test]
fn a_policy_tries_all_of_few_items_and_singles_of_many() {
    let policy = CrashPolicy::full(7);
    assert_eq!(policy.choices(&PendingInfo::default()).len(), 2);
    let few = PendingInfo { sectors: 3, lens: 1, dir_ops: 1, ops: 5 };
    assert_eq!(policy.choices(&few).len(), 32 + 1 + 8, "2^5, the process crash, 8 subsets");
    let many = PendingInfo { sectors: 20, lens: 2, dir_ops: 3, ops: 30 };
    let choices = policy.choices(&many);
    assert_eq!(choices.len(), 3 + 20 + 20 + 2 + 3 + 8);
    let distinct: BTreeSet<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
    assert_eq!(distinct.len(), choices.len());
    let brief = CrashPolicy { singles_max: 4, ..policy };
    assert_eq!(brief.choices(&many).len(), 3 + 4 + 4 + 2 + 3 + 8);
}

#[test]
fn the_log_of_calls_names_its_sites() {
    let disk = SimDisk::new(SimOptions { log_calls: true, ..SimOptions::new(1) });
    disk.create_dir(Path::new("log")).unwrap();
    let log = disk.open(Path::new("log/log.0000000012"), Open::OpenOrCreate).unwrap();
    log.write_all_at(&[1; 30], 70).unwrap();
    let calls = disk.calls_log();
    let last = calls.last().unwrap();
    assert_eq!(last.site(), "write log/log.#");
    assert_eq!((last.index, last.kind, last.offset, last.len), (2, CallKind::Write, 70, 30));
    assert_eq!(last.to_string(), "2: write log/log.0000000012 70+30");
}
