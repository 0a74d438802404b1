//! Who may not have a lock does no harm, and is told.

use campanile::restore::{Target, catastrophic_on};
use campanile::{Environment, ErrorKind, backup};
use campanile_vfs::{File, FileLock, Host, LockMode, Open, Vfs};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::world::{HOME, OTHER, REPOSITORY, World, contents, host_of, options};

/// A disk on which the lock of those who read the log belongs to another user.
#[derive(Debug)]
struct LockedOut(Arc<dyn Vfs>);

impl Vfs for LockedOut {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        self.0.open(path, how)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<Option<u64>> {
        self.0.space(path)
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        if path.ends_with("readers.lock") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.0.lock(path, mode)
    }
}

#[test]
fn an_owner_that_may_not_take_the_lock_of_the_logs_readers_keeps_the_log_and_goes_on() {
    let mut world = World::new(72);
    let state = world.newest();
    world.env.clone().close().unwrap();
    let host = host_of(&world.disk);
    let host = Host { vfs: Arc::new(LockedOut(host.vfs)), ..host };
    world.env = Environment::open_on(host, HOME, options()).unwrap();
    assert_eq!(world.newest(), state);
    let first = world.log_file();
    world.fill_log(6);
    world.env.checkpoint().expect("a checkpoint that gives up nothing");
    let log = world.disk.list(&PathBuf::from(HOME).join("log")).unwrap();
    let kept = log.iter().filter(|name| name.starts_with("log.")).count();
    assert!(kept as u32 >= world.log_file() - first, "all is kept: {log:?}");
    let state = world.newest();
    world.env.clone().close().expect("it closes");
    assert_eq!(contents(&world.disk, HOME), state);
}

#[test]
fn a_backup_is_not_made_a_home_inside_its_repository() {
    let mut world = World::new(73);
    let name = world.back_up().name;
    world.burst(20);
    let place = Path::new(REPOSITORY).join("backup").join(name);
    let refused = catastrophic_on(&host_of(&world.disk), &place, &Target::End, options());
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert!(refused.to_string().contains("campanile restore"), "{refused}");
    world.restore(Target::End, OTHER).expect("the backup is as it was");
}

/// The first history goes far and is backed up late; the second one begins early, and other records
/// of it stand where the first one's checkpoints are.
fn two_histories(seed: u64) {
    let mut world = World::with(seed, options().archive(REPOSITORY));
    world.back_up();
    world.burst(10);
    let early = world.moments.last().unwrap().lsn;
    world.fill_log(3);
    world.env.checkpoint().unwrap();
    world.back_up();
    world.env.clone().close().unwrap();
    world.restore(Target::Lsn { at: early, inclusive: true }, OTHER).unwrap();
    let again = options().create(false).archive(REPOSITORY);
    world.env = Environment::open_on(host_of(&world.disk), OTHER, again).unwrap();
    world.moments.retain(|moment| moment.lsn <= early);
    world.fill_log(8);
    let (host, home) = (world.host(), Path::new(OTHER));
    let progress = campanile::Progress::none();
    backup::back_up_on(&host, home, Path::new(REPOSITORY), &progress).unwrap();
    let catalog = backup::catalog_on(&host, Path::new(REPOSITORY)).expect("it can be looked at");
    assert_eq!(catalog.backups.len(), 3);
}

#[test]
fn a_repository_of_several_histories_can_be_looked_at() {
    for seed in 74..98 {
        two_histories(seed);
    }
}
