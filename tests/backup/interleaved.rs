//! A hot backup while its home is written: bursts of work between every two of its I/O calls, and
//! in the middle of its reads, so that pages are torn in two.
//!
//! `CAMPANILE_BURSTS` says how many places are left out between two that are tried (default 7; 1
//! tries every place), `CAMPANILE_DOUBLE_BURSTS` how many pairs of places (default 60).

use campanile::restore::{RestoreOptions, Target};
use campanile::{Progress, backup};
use campanile_format::names;
use campanile_tests::workload::Choices;
use campanile_vfs::{File, FileLock, Host, LockMode, Open, Vfs};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::world::{HOME, OTHER, World, assert_same, contents, log_dir, repository, restore_with};

/// The workload, and when it gets its turns: before the n-th call of the backup, so many steps.
#[derive(Debug)]
pub struct Turns {
    pub world: Mutex<World>,
    pub plan: BTreeMap<u64, usize>,
    pub calls: Mutex<u64>,
}

impl Turns {
    fn one_call(&self) {
        let mut calls = self.calls.lock().unwrap();
        *calls += 1;
        if let Some(steps) = self.plan.get(&*calls) {
            self.world.lock().unwrap().burst(*steps);
        }
    }
}

/// The disk as the backup sees it: before each call, and in the middle of each read of a data
/// file, the workload may have its turn.
#[derive(Debug)]
pub struct Beside {
    pub inner: Arc<dyn Vfs>,
    pub turns: Arc<Turns>,
}

#[derive(Debug)]
struct BesideFile {
    inner: Arc<dyn File>,
    turns: Arc<Turns>,
    data: bool,
}

impl Vfs for Beside {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        self.turns.one_call();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let data = names::parse_data_file(&name).is_some() && path.starts_with(HOME);
        let inner = self.inner.open(path, how)?;
        Ok(Arc::new(BesideFile { inner, turns: Arc::clone(&self.turns), data }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.turns.one_call();
        self.inner.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.turns.one_call();
        self.inner.rename(from, to)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.turns.one_call();
        self.inner.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.turns.one_call();
        self.inner.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.turns.one_call();
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.turns.one_call();
        self.inner.exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.turns.one_call();
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        self.turns.one_call();
        self.inner.lock(path, mode)
    }
}

impl File for BesideFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.turns.one_call();
        if !self.data || buf.len() < 512 {
            return self.inner.read_at(buf, offset);
        }
        // Short reads, as any read may be: most pages are read in two turns.
        let short = buf.len().min(712);
        self.inner.read_at(&mut buf[..short], offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.turns.one_call();
        self.inner.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.turns.one_call();
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        self.turns.one_call();
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }
}

/// What one backup with these turns was like.
struct Made {
    calls: u64,
    read_again: u64,
}

/// Makes a backup with these turns of the workload, and restores it twice: as it is, and with the
/// log of the home that went on.
fn back_up_beside(seed: u64, plan: &[(u64, usize)]) -> Made {
    let mut world = World::new(seed);
    world.burst(120);
    let (disk, host, world_host) = (Arc::clone(&world.disk), world.host(), world.host());
    let plan = plan.iter().copied().collect();
    let turns = Turns { world: Mutex::new(world), plan, calls: Mutex::new(0) };
    let turns = Arc::new(turns);
    let inner = Arc::clone(&host.vfs);
    let beside = Host { vfs: Arc::new(Beside { inner, turns: Arc::clone(&turns) }), ..host };
    let made = backup::back_up_on(&beside, Path::new(HOME), repository(), &Progress::none());
    let first: Vec<_> = turns.plan.iter().take(3).collect();
    let what = format!("seed {seed}, {} turns {first:?}", turns.plan.len());
    let made = made.unwrap_or_else(|error| panic!("{what}: {error}"));
    // From here on the log stays, so that it goes on from the backup's end.
    let _pin = campanile_wal::LogPin::take(&world_host, &log_dir(HOME)).unwrap();
    let mut world = turns.world.lock().unwrap();
    let report = restore_with(&disk, RestoreOptions::new(), OTHER);
    let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(report.stop.to_string(), made.end, "{what}");
    assert_same(&contents(&disk, OTHER), &world.state_at(report.stop), &what);
    world.burst(10);
    let state = world.newest();
    world.env.clone().abandon();
    let options = RestoreOptions::new().target(Target::End).logs(log_dir(HOME));
    restore_with(&disk, options, "/all").unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_same(&contents(&disk, "/all"), &state, &what);
    let calls = *turns.calls.lock().unwrap();
    Made { calls, read_again: made.pages_read_again }
}

pub fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
pub fn a_burst_of_work_at_any_place_of_a_backup_does_it_no_harm() {
    let stride = number("CAMPANILE_BURSTS", 7);
    let quiet = back_up_beside(50, &[]);
    assert!(quiet.calls > 60, "only {} calls", quiet.calls);
    let (mut tried, mut torn) = (0, 0);
    for place in (1..=quiet.calls).step_by(stride as usize) {
        // Long enough to write pages back, to switch log files and to take checkpoints.
        let steps = [3, 8, 60][place as usize % 3];
        torn += back_up_beside(50, &[(place, steps)]).read_again;
        tried += 1;
    }
    println!("{tried} single bursts, {torn} torn pages read again");
}

#[test]
pub fn work_goes_on_between_all_calls_of_a_backup() {
    let mut torn = 0;
    for seed in 60..60 + number("CAMPANILE_BUSY_BACKUPS", 6) {
        let plan: Vec<(u64, usize)> = (1..3000).map(|place| (place, 4)).collect();
        torn += back_up_beside(seed, &plan).read_again;
    }
    println!("{torn} torn pages read again");
    assert!(torn > 0, "no page was ever torn: the test proves nothing about torn pages");
}

#[test]
pub fn two_bursts_of_work_do_a_backup_no_harm() {
    let mut choices = Choices::new(70);
    let quiet = back_up_beside(51, &[]);
    let mut torn = 0;
    for _ in 0..number("CAMPANILE_DOUBLE_BURSTS", 60) {
        let mut place = || 1 + choices.below(quiet.calls);
        let (first, second) = (place(), place());
        let plan = [(first, 4 + choices.below(40) as usize), (second, 1 + first as usize % 8)];
        torn += back_up_beside(51, &plan).read_again;
    }
    println!("double bursts: {torn} torn pages read again");
}
