//! What a copy has of the log, its home has too, whatever happens to the home next.
//!
//! The crash story: the log goes on in a new file; records are written into it and not synced. The
//! archive is brought up to date, with these records. Power fails, and takes them from the home.
//! Were the file begun again under the same number, its new records would stand where the archive
//! has others: the archive would refuse it for ever, and a restore could prefer what was lost to
//! what was acknowledged.

use campanile::restore::{RestoreOptions, Target};
use campanile::{Durability, Environment, Lsn, backup};
use campanile_vfs::sim::{CrashChoice, SimDisk};
use std::path::Path;
use std::sync::Arc;

use crate::world::{HOME, OTHER, REPOSITORY, World, host_of, log_dir, options, restore_with};

fn put(env: &Environment, key: &str, durability: Durability) -> Lsn {
    let database = env.open_database("story").unwrap();
    let mut txn = env.begin().unwrap();
    database.put(&mut txn, key, [7; 90]).unwrap();
    txn.commit_with(durability).unwrap()
}

#[test]
pub fn a_crash_takes_nothing_from_the_home_that_the_archive_has() {
    let world = World::with(71, options().archive(REPOSITORY));
    let env = &world.env;
    env.create_database("story").unwrap();
    world.back_up();
    let begun = put(env, "begun", Durability::Sync).file();
    // On into a file in which nothing is durable but its header.
    let mut unsynced = 0;
    while unsynced < 6 {
        let at = put(env, &format!("unsynced {unsynced}"), Durability::WriteNoSync);
        unsynced += u32::from(at.file() > begun);
    }
    let archived = backup::archive_now_on(&world.host(), Path::new(HOME)).unwrap();
    assert!(archived.file() > begun, "the archive has records of the new file");
    env.clone().abandon();

    let disk = world.disk.reboot(CrashChoice::Nothing);
    let again = options().archive(REPOSITORY);
    let env = Environment::open_on(host_of(&disk), HOME, again).unwrap();
    let mut acknowledged = put(&env, "acknowledged", Durability::Sync);
    assert_acknowledged(&disk, "at once");
    // The owner archives what it fills from now on, the file of the story first.
    for n in 0.. {
        if acknowledged.file() > archived.file() + 3 {
            break;
        }
        acknowledged = put(&env, &format!("later {n}"), Durability::Sync);
    }
    while env.step().expect("the archive takes every file") {}
    assert_eq!(env.archive_lag().unwrap().unwrap().files, 0, "nothing waits");
    env.abandon();

    assert_acknowledged(&disk, "later");
}

/// The home's own files beside the archive: whichever is taken, what was acknowledged is there.
fn assert_acknowledged(disk: &Arc<SimDisk>, when: &str) {
    let disk = disk.fork();
    let salvage = RestoreOptions::new().target(Target::End).logs(log_dir(HOME));
    restore_with(&disk, salvage, OTHER).unwrap();
    let env = Environment::open_on(host_of(&disk), OTHER, options().create(false)).unwrap();
    let database = env.open_database("story").unwrap();
    let there = |key: &str| database.get(&env.snapshot().unwrap(), key).unwrap().is_some();
    assert!(there("begun") && there("acknowledged"), "{when}");
}
