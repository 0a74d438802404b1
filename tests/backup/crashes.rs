//! Power failures at every I/O call of backups, archives and restores.
//!
//! `CAMPANILE_BACKUP_CRASHES` says how many calls are left out between two crashes (default 9).

use campanile::restore::{RestoreOptions, Target};
use campanile::{Environment, ErrorKind, Progress, backup};
use campanile_backup::Repository;
use campanile_format::names;
use campanile_vfs::Vfs;
use campanile_vfs::sim::{CrashChoice, SimDisk};
use std::path::Path;
use std::sync::Arc;

use crate::world::{
    HOME, OTHER, REPOSITORY, World, assert_same, contents, host_of, log_dir, options, repository,
    restore_with,
};

const CHOICES: [CrashChoice; 4] =
    [CrashChoice::Nothing, CrashChoice::All, CrashChoice::Subset(1), CrashChoice::Subset(2)];

fn stride() -> usize {
    let wanted = std::env::var("CAMPANILE_BACKUP_CRASHES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(9)
}

/// The states after a power failure at the calls that `work` makes.
pub fn crash_states(disk: &Arc<SimDisk>, work: impl FnOnce()) -> Vec<(u64, Arc<SimDisk>)> {
    disk.capture_crash_points();
    work();
    let points = disk.take_crash_points();
    assert!(points.len() > 20, "only {} calls", points.len());
    let mut states = Vec::new();
    for (count, point) in points.into_iter().enumerate() {
        if count % stride() == 0 {
            let choice = CHOICES[count / stride() % CHOICES.len()];
            states.push((point.call, point.disk.reboot(choice)));
        }
    }
    states
}

#[test]
pub fn a_backup_that_is_cut_short_leaves_the_one_before_and_is_told_from_a_complete_one() {
    let mut world = World::new(80);
    world.burst(60);
    let first = world.back_up();
    let old = world.newest();
    world.burst(40);
    let state = world.newest();
    world.env.clone().close().unwrap();
    let states = crash_states(&world.disk, || {
        world.back_up();
    });
    let mut partial = 0;
    for (call, disk) in states {
        let shelves = Repository::in_directory(&host_of(&disk), repository());
        let found = shelves.backups().unwrap_or_else(|error| panic!("call {call}: {error}"));
        partial += found.iter().filter(|backup| backup.manifest.is_none()).count();
        // Its own end, whatever log the second one brought: there may be a gap between the two.
        let named = RestoreOptions::new().backup(&first.name).target(Target::BackupEnd);
        restore_with(&disk, named, OTHER).unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert_same(&contents(&disk, OTHER), &old, &format!("call {call}"));
        let again =
            backup::back_up_on(&host_of(&disk), Path::new(HOME), repository(), &Progress::none());
        again.unwrap_or_else(|error| panic!("call {call}: {error}"));
        restore_with(&disk, RestoreOptions::new(), "/newest").unwrap();
        assert_same(&contents(&disk, "/newest"), &state, &format!("call {call}"));
    }
    assert!(partial > 0, "no crash left a partial backup");
}

#[test]
pub fn a_restore_that_is_cut_short_is_recognised_and_can_be_run_again() {
    let mut world = World::new(81);
    let _all_of_it = campanile_wal::LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.burst(60);
    world.back_up();
    world.burst(60);
    let state = world.newest();
    world.env.clone().close().unwrap();
    let again = || RestoreOptions::new().logs(log_dir(HOME));
    let states = crash_states(&world.disk, || {
        restore_with(&world.disk, again(), OTHER).unwrap();
    });
    let (mut refused, mut complete) = (0, 0);
    for (call, disk) in states {
        let what = format!("call {call}");
        let unfinished = disk.exists(&Path::new(OTHER).join(names::RESTORING)).unwrap();
        if !disk.exists(&Path::new(OTHER).join(names::CONTROL)).unwrap() || unfinished {
            let opened = Environment::open_on(host_of(&disk), OTHER, options().create(false));
            let error = opened.expect_err("it is not complete");
            let kinds = [ErrorKind::NeedsRecovery, ErrorKind::NotFound];
            assert!(kinds.contains(&error.kind()), "{what}: {error}");
            restore_with(&disk, again(), OTHER).unwrap_or_else(|error| panic!("{what}: {error}"));
            refused += 1;
        } else {
            complete += 1;
        }
        assert_same(&contents(&disk, OTHER), &state, &what);
    }
    assert!(refused > 10, "{refused} refused, {complete} complete");
}

#[test]
pub fn catastrophic_recovery_of_a_copy_survives_a_crash_at_every_call() {
    let mut world = World::new(82);
    world.burst(60);
    let (host, copy) = (world.host(), Path::new("/copy"));
    let _pin = campanile_wal::LogPin::take(&host, &log_dir(HOME)).unwrap();
    backup::hot_copy_on(&host, Path::new(HOME), copy, &Progress::none()).unwrap();
    world.burst(60);
    backup::update_copy_on(&host, Path::new(HOME), copy, &Progress::none()).unwrap();
    // A moment before the end: an interrupted attempt must not be mistaken for the end of the log.
    let moment = world.moments[world.moments.len() - 8].clone();
    let target = Target::Lsn { at: moment.lsn, inclusive: true };
    let states = crash_states(&world.disk, || {
        campanile::restore::catastrophic_on(&host, copy, &target, options()).unwrap();
    });
    let (mut again, mut opened) = (0, 0);
    for (call, disk) in states {
        let what = format!("call {call}");
        match Environment::open_on(host_of(&disk), copy, options().create(false)) {
            // From the control file on it is an environment whose owner died.
            Ok(env) => {
                env.close().unwrap();
                opened += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NeedsRecovery, "{what}: {error}");
                let run =
                    campanile::restore::catastrophic_on(&host_of(&disk), copy, &target, options());
                run.unwrap_or_else(|error| panic!("{what}: {error}"));
                again += 1;
            }
        }
        assert_same(&contents(&disk, "/copy"), &moment.state, &what);
    }
    assert!(again > 0 && opened > 0, "{again} again, {opened} opened");
}

#[test]
pub fn no_crash_leaves_a_gap_between_the_archive_and_the_log() {
    let mut world = World::with(83, options().archive(REPOSITORY));
    world.back_up();
    world.burst(20);
    let mut acknowledged = Vec::new();
    let disk = Arc::clone(&world.disk);
    let states = crash_states(&disk, || {
        for _ in 0..14 {
            world.burst(12);
            while world.env.step().unwrap() {}
            world.env.checkpoint().unwrap();
            acknowledged.push((disk.calls(), world.newest(), world.moments.len()));
        }
    });
    assert!(world.log_file() > 3, "the log did not get far");
    for (call, disk) in states {
        let what = format!("call {call}");
        let known = acknowledged.iter().rev().find(|(calls, ..)| *calls <= call);
        // The archive and what is left of the home, whose owner is dead.
        let options = RestoreOptions::new().logs(log_dir(HOME));
        let report =
            restore_with(&disk, options, OTHER).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_same(&contents(&disk, OTHER), &world.state_at(report.stop), &what);
        let commits = world.moments.iter().filter(|moment| moment.lsn < report.stop).count();
        let known = known.map_or(0, |(_, _, commits)| *commits);
        assert!(commits >= known, "{what}: {commits} commits are there, {known} were acknowledged");
    }
}
