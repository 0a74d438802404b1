//! Repositories of which something is lost or cannot be read: all that is left is used, by restore
//! and by repair.

use campanile::ErrorKind;
use campanile::repair::RepairOptions;
use campanile::restore::{RestoreOptions, Target};
use campanile_backup::Repository;
use campanile_format::names;
use campanile_vfs::sim::{Fault, FaultPlan, FaultRule, Trigger};
use campanile_vfs::{Open, Vfs};
use campanile_wal::LogPin;
use std::path::{Path, PathBuf};

use crate::world::{
    HOME, OTHER, REPOSITORY, World, assert_same, contents, log_dir, options, restore_with,
};

fn of_backup(name: &str, file: &str) -> PathBuf {
    Path::new(REPOSITORY).join("backup").join(name).join(file)
}

fn flip(world: &World, path: &Path, at: usize) {
    let byte = world.disk.file_bytes(path).unwrap()[at];
    let file = world.disk.open(path, Open::ReadWrite).unwrap();
    file.write_all_at(&[byte ^ 4], at as u64).unwrap();
}

#[test]
fn a_label_that_is_lost_or_damaged_leaves_the_other_backups() {
    for seed in [700, 701] {
        let mut world = World::new(seed);
        let _all = LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
        let mut made = Vec::new();
        for _ in 0..3 {
            world.burst(30);
            made.push(world.back_up().name);
        }
        world.burst(20);
        world.env.clone().close().unwrap();
        for (spoiled, taken) in [(0, 2), (2, 1)] {
            let label = of_backup(&made[spoiled], names::CONTROL);
            match seed {
                700 => world.disk.remove(&label).unwrap(),
                _ => {
                    flip(&world, &label, 40);
                    flip(&world, &label, 4096 + 40);
                }
            }
            let to = format!("/restored{taken}");
            let all = RestoreOptions::new().logs(log_dir(HOME));
            let report = restore_with(&world.disk, all, &to).unwrap();
            assert_eq!(report.backup, made[taken]);
            assert_same(&contents(&world.disk, &to), &world.newest(), &to);
        }
    }
}

#[test]
fn a_log_file_that_cannot_be_read_stops_a_restore_only_where_there_is_no_other() {
    let mut world = World::with(702, options().archive(REPOSITORY));
    world.burst(30);
    world.back_up();
    world.fill_log(3);
    while world.env.step().unwrap() {}
    let made = world.back_up();
    world.env.clone().close().unwrap();
    let first = names::log_file(made.end.split('/').next().unwrap().parse().unwrap());
    // The archive's copy goes on where that of the backup ends.
    let archived = Path::new(REPOSITORY).join("log/0000000001").join(&first);
    assert!(world.disk.exists(&archived).unwrap());
    let of_the_backup = of_backup(&made.name, "log").join(&first);
    let unreadable = |path: &Path| {
        let rule = FaultRule::new(Fault::ReadFails, Trigger::Always);
        let rule = rule.on(path.to_str().unwrap());
        world.disk.faults(FaultPlan::none().and(rule));
    };
    unreadable(&of_the_backup);
    // The archive's copy does. To the end nothing is taken for granted.
    let at = Target::Lsn { at: world.moments.last().unwrap().lsn, inclusive: true };
    restore_with(&world.disk, RestoreOptions::new().target(at.clone()), OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &world.newest(), "restored");
    unreadable(&archived);
    let error = restore_with(&world.disk, RestoreOptions::new(), "/end");
    let error = error.expect_err("the end of the log cannot be read");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&archived.display().to_string()), "{error}");
    world.disk.faults(FaultPlan::none());
    restore_with(&world.disk, RestoreOptions::new(), "/end").unwrap();
    assert_same(&contents(&world.disk, "/end"), &world.newest(), "restored");
}

#[test]
fn a_damaged_manifest_stops_neither_a_repair_from_other_backups_nor_a_mark_on_them() {
    let mut world = World::new(703);
    let _all = LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.burst(40);
    let good = world.back_up().name;
    world.burst(20);
    let bad = world.back_up().name;
    world.burst(20);
    world.env.clone().close().unwrap();
    flip(&world, &of_backup(&bad, "manifest"), 60);
    let data = Path::new(HOME).join(names::DATA_DIR);
    let lost = data.join(world.disk.list(&data).unwrap().iter().max().unwrap());
    world.disk.remove(&lost).unwrap();
    let repair = RepairOptions::new().all().repository(REPOSITORY).environment(options());
    repair.run_on(&world.host(), Path::new(HOME)).unwrap();
    assert_same(&contents(&world.disk, HOME), &world.newest(), "repaired");
    let shelves = Repository::in_directory(&world.host(), Path::new(REPOSITORY));
    shelves.mark(&good, None).unwrap();
    shelves.mark(&bad, None).unwrap_err();
}
