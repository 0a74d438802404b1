//! `verify-backup`: what is sound is called sound, and of whatever is damaged, every bit is named.

use campanile::backup::{BackupOptions, BackupProof, Compression, VerifyBackupOptions};
use campanile::{Environment, Error, ErrorKind};
use campanile_format::names;
use campanile_vfs::sim::{CrashChoice, Errno, Fault, FaultPlan, SimDisk, Trigger};
use campanile_vfs::{Open, Vfs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::world::{
    HOME, REPOSITORY, World, assert_same, contents, host_of, options, repository, restore_with,
};

const SCRATCH: &str = "/scratch";

/// An archived world with a packed full backup and a plain increment of it.
fn world(seed: u64) -> (World, Vec<String>) {
    let mut world = World::with(seed, options().archive(REPOSITORY));
    let mut backups = Vec::new();
    let full = BackupOptions::new();
    let packed = BackupOptions::new().compression(Compression::Zstd);
    let increment = BackupOptions::new().incremental(true);
    for options in [full, packed, increment] {
        world.fill_log(2);
        while world.env.step().unwrap() {}
        world.env.checkpoint().unwrap();
        let made = options.run_on(&world.host(), Path::new(HOME), repository()).unwrap();
        backups.push(made.name);
        world.disk.clock().advance_us(1_000_000);
    }
    world.fill_log(2);
    while world.env.step().unwrap() {}
    world.env.clone().close().unwrap();
    (world, backups)
}

fn verify(disk: &Arc<SimDisk>, options: VerifyBackupOptions) -> Result<BackupProof, Error> {
    options.environment(crate::world::options()).run_on(&host_of(disk), repository())
}

fn all(disk: &Arc<SimDisk>) -> BackupProof {
    verify(disk, VerifyBackupOptions::new()).unwrap()
}

fn flip(disk: &Arc<SimDisk>, path: &Path, at: u64) {
    let file = disk.open(path, Open::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    file.sync_data().unwrap();
}

/// Every file under a directory.
fn files(disk: &Arc<SimDisk>, under: &str) -> Vec<PathBuf> {
    let all = disk.snapshot_files().into_keys().map(|path| Path::new("/").join(path));
    let mut found: Vec<PathBuf> = all.filter(|path| path.starts_with(under)).collect();
    found.sort();
    found
}

fn names_file(proof: &BackupProof, path: &Path) -> bool {
    let path = path.display().to_string();
    proof.findings().iter().any(|finding| finding.file == path)
}

#[test]
fn what_is_sound_is_read_whole_and_nothing_is_changed() {
    let (world, backups) = world(40);
    let before = world.disk.snapshot_files();
    let proof = all(&world.disk);
    assert!(proof.is_clean(), "{proof}");
    assert_eq!(proof.backups.iter().map(|found| &found.name).collect::<Vec<_>>(), {
        backups.iter().collect::<Vec<_>>()
    });
    assert!(proof.backups.iter().all(|found| found.pages > 0 && found.lines.len() == 1));
    assert!(proof.backups.iter().all(|found| found.lines[0].records > 10));
    assert_eq!(world.disk.snapshot_files(), before);
}

#[test]
fn a_flipped_bit_in_any_file_of_a_repository_is_found_and_the_file_named() {
    let (world, _) = world(41);
    let mut count = 0;
    for path in files(&world.disk, REPOSITORY) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // The lock is empty; the log before the first backup belongs to none.
        let len = world.disk.file_bytes(&path).unwrap().len() as u64;
        let unneeded = path.starts_with("/repository/log") && !is_needed(&world.disk, &name);
        if len == 0 || unneeded || name == "campanile.repository" {
            continue;
        }
        for at in [0, len / 2, len - 1] {
            let disk = world.disk.fork();
            flip(&disk, &path, at);
            let proof = all(&disk);
            let what = format!("{} at {at}: {proof}", path.display());
            // A manifest that cannot be read is told of the backup.
            let named = match name.as_str() {
                "manifest" if at + 1 == len => true,
                "manifest" => names_file(&proof, path.parent().unwrap()),
                _ => names_file(&proof, &path),
            };
            assert!(named, "{what}");
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
}

/// Whether a log file is in or behind the first backup.
fn is_needed(disk: &Arc<SimDisk>, name: &str) -> bool {
    let found = campanile_backup::Repository::in_directory(&host_of(disk), repository());
    let first = found.backups().unwrap()[0].manifest.clone().unwrap().first();
    names::parse_log_file(name).is_some_and(|number| number >= first.file())
}

#[test]
fn all_damage_is_named_and_not_only_the_first() {
    let (world, backups) = world(42);
    let disk = &world.disk;
    let data: Vec<PathBuf> = files(disk, &format!("/repository/backup/{}/data", backups[0]));
    let mut broken = Vec::new();
    for path in data.iter().take(3) {
        flip(disk, path, 100);
        broken.push(path.clone());
    }
    let archive = Path::new("/repository/log/0000000001");
    let newest = world.log_file();
    // Two archived files that no backup holds whole, and one that is gone.
    for (number, gone) in [(newest - 1, false), (newest - 2, true)] {
        let path = archive.join(names::log_file(number));
        match gone {
            true => disk.remove(&path).unwrap(),
            false => {
                flip(disk, &path, 700);
                broken.push(path);
            }
        }
    }
    flip(disk, &archive.join(names::log_file(newest)), 3);
    broken.push(archive.join(names::log_file(newest)));
    let proof = all(disk);
    for path in &broken {
        assert!(names_file(&proof, path), "{} is not named: {proof}", path.display());
    }
    // That it is gone; or, where a backup has its beginning, that the rest of it is.
    let gone = names::log_file(newest - 2);
    assert!(proof.findings().iter().any(|finding| finding.file.ends_with(&gone)), "{proof}");
    let pages = proof.findings().iter().filter(|f| f.what.contains("page 0")).count();
    assert!(pages >= 1, "the pages are named: {proof}");
}

#[test]
fn a_base_that_is_gone_is_found_in_the_increment() {
    let (world, backups) = world(43);
    let shelf = campanile_backup::Repository::in_directory(&world.host(), repository());
    shelf.shelf().clear(&format!("backup/{}", backups[1])).unwrap();
    let proof = all(&world.disk);
    let bad: Vec<_> = proof.backups.iter().filter(|found| !found.findings.is_empty()).collect();
    assert_eq!(bad.iter().map(|found| &found.name).collect::<Vec<_>>(), [&backups[2]]);
    assert!(bad[0].findings[0].what.contains(&backups[1]), "{proof}");
}

#[test]
fn backups_are_really_restored_and_the_scratch_space_is_left_as_it_was() {
    let (world, backups) = world(44);
    let disk = &world.disk;
    let proof = verify(disk, VerifyBackupOptions::new().restore(SCRATCH)).unwrap();
    assert!(proof.is_clean(), "{proof}");
    let tried: Vec<&String> = proof.restores.iter().map(|trial| &trial.backup).collect();
    assert_eq!(tried, backups.iter().collect::<Vec<_>>());
    let entries: u64 = world.newest().values().map(|rows| rows.len() as u64).sum();
    assert!(proof.restores.iter().all(|trial| trial.entries == entries), "{proof}");
    assert!(!disk.exists(Path::new(SCRATCH)).unwrap());
    // A directory that was there, and empty, is there again.
    disk.create_dir(Path::new(SCRATCH)).unwrap();
    let one = VerifyBackupOptions::new().backup(&backups[2]).restore(SCRATCH);
    assert!(verify(disk, one).unwrap().is_clean());
    assert!(disk.list(Path::new(SCRATCH)).unwrap().is_empty());
    // One that holds something is not touched.
    disk.put_file(Path::new("/scratch/mine"), b"mine");
    let refused = verify(disk, VerifyBackupOptions::new().restore(SCRATCH)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
    assert_eq!(disk.list(Path::new(SCRATCH)).unwrap(), ["mine"]);
    let unknown = VerifyBackupOptions::new().backup("20200101_000000").restore("/other-scratch");
    assert_eq!(verify(disk, unknown).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!disk.exists(Path::new("/other-scratch")).unwrap());
}

#[test]
fn a_trial_that_is_cut_short_by_a_power_failure_is_done_away_with_by_the_next() {
    let (world, backups) = world(45);
    let disk = &world.disk;
    let options = || VerifyBackupOptions::new().backup(&backups[1]).restore(SCRATCH);
    disk.capture_crash_points();
    assert!(verify(disk, options()).unwrap().is_clean());
    let points = disk.take_crash_points();
    let choices = [CrashChoice::Nothing, CrashChoice::All, CrashChoice::Subset(1)];
    let mut left = 0;
    for (count, point) in points.iter().enumerate().filter(|(count, _)| count % 23 == 0) {
        let state = point.disk.reboot(choices[count / 23 % choices.len()]);
        left += usize::from(state.exists(Path::new(SCRATCH)).unwrap());
        let again = verify(&state, options());
        let again = again.unwrap_or_else(|error| panic!("call {}: {error}", point.call));
        assert!(again.is_clean(), "call {}: {again}", point.call);
        let rest = state.list(Path::new(SCRATCH)).unwrap_or_default();
        assert!(rest.is_empty(), "call {}: {rest:?}", point.call);
        // The repository is as it was.
        let named = campanile::restore::RestoreOptions::new().backup(&backups[2]);
        restore_with(&state, named, "/after").unwrap();
        assert_same(&contents(&state, "/after"), &world.newest(), "after the trial");
    }
    assert!(left > 3, "{left}");
}

#[test]
fn a_failing_call_is_an_error_and_never_a_clean_proof() {
    let (world, backups) = world(46);
    let options = || VerifyBackupOptions::new().backup(&backups[2]).restore(SCRATCH);
    let calls = {
        let disk = world.disk.fork();
        let before = disk.calls();
        verify(&disk, options()).unwrap();
        disk.calls() - before
    };
    for call in (0..calls).step_by(37) {
        let disk = world.disk.fork();
        let at = disk.calls() + call;
        disk.faults(FaultPlan::one(Fault::Any(Errno::Eio), Trigger::FromCall(at)));
        match verify(&disk, options()) {
            Err(_) => {}
            Ok(proof) => assert!(!proof.is_clean(), "call {call}: {proof}"),
        }
        disk.faults(FaultPlan::none());
        let again = verify(&disk, options());
        let again = again.unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert!(again.is_clean(), "call {call}: {again}");
    }
}

#[test]
fn damage_behind_the_place_where_a_later_history_left_is_named_too() {
    for late_backup in [false, true] {
        let mut world = World::with(120, options().archive(REPOSITORY));
        world.back_up();
        world.burst(10);
        let early = world.moments.last().unwrap().lsn;
        world.fill_log(3);
        while world.env.step().unwrap() {}
        if late_backup {
            world.back_up();
            world.fill_log(2);
            while world.env.step().unwrap() {}
        }
        world.env.clone().close().unwrap();
        let target = campanile::restore::Target::Lsn { at: early, inclusive: true };
        world.restore(target, "/other").unwrap();
        let again = options().create(false).archive(REPOSITORY);
        let env = Environment::open_on(host_of(&world.disk), "/other", again).unwrap();
        env.create_database("more").unwrap();
        env.close().unwrap();
        assert!(all(&world.disk).is_clean(), "{}", all(&world.disk));
        let archived = files(&world.disk, "/repository/log/0000000001");
        let last = archived.iter().rfind(|path| path.to_string_lossy().contains("log.")).unwrap();
        flip(&world.disk, last, 700);
        let proof = all(&world.disk);
        assert!(names_file(&proof, last), "{}: {proof}", last.display());
    }
}
