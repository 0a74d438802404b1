//! Exports while others write: one moment, in all databases.

use campanile::export::ExportOptions;
use campanile::import::ImportOptions;
use campanile::{Environment, ErrorKind};
use campanile_tests::life::read_all;
use campanile_vfs::{Call, Host, Observed, Observer};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::stage::{EXPORT, FORMS, compare, export, form, import, options};
use crate::world::{World, assert_same, host_of};

/// The workload has its turn before every call that the export makes for its files.
#[derive(Debug)]
struct Turns {
    world: Mutex<World>,
    bursts: AtomicU64,
}

impl Observer for Turns {
    fn before(&self, _: &Call<'_>) {
        self.bursts.fetch_add(1, Ordering::Relaxed);
        self.world.lock().unwrap().burst(4);
    }
}

pub fn one_moment_in_all_databases() {
    for (seed, how) in (0..).zip(FORMS.iter().cycle().take(12)) {
        let mut world = World::new(300 + seed);
        world.burst(80);
        let (disk, env) = (Arc::clone(&world.disk), world.env.clone());
        let expected = world.newest();
        let end = world.moments.last().unwrap().lsn;
        let turns = Arc::new(Turns { world: Mutex::new(world), bursts: AtomicU64::new(0) });
        let watched: Arc<dyn Observer> = Arc::clone(&turns) as _;
        let beside = Host { vfs: Observed::new(disk.host().vfs, watched), ..host_of(&disk) };
        let report = form(*how).run_on(&beside, &env, Path::new(EXPORT)).unwrap();
        assert!(turns.bursts.load(Ordering::Relaxed) > 4, "the workload had no turns");

        let world = turns.world.lock().unwrap();
        assert!(world.newest() != expected, "nothing was written beside the export");
        let lsn = campanile::inspect::parse_lsn(&report.manifest.lsn).unwrap();
        assert!(lsn > end);
        assert_same(&world.state_at(lsn), &expected, "the position");
        let other = Environment::open_on(host_of(&disk), "/other", crate::world::options());
        let other = other.unwrap();
        import(&disk.host(), &other, &ImportOptions::new()).unwrap();
        assert_same(&read_all(&other).unwrap(), &expected, &format!("seed {seed}, {how:?}"));
        drop(world);
    }
}

#[test]
fn an_export_beside_writers_is_one_moment_in_all_databases() {
    one_moment_in_all_databases();
}

/// Every transaction writes the same key into three databases: an export has it in all or in none.
#[test]
fn an_export_beside_writing_threads_splits_no_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let env = options().open(dir.path().join("home")).unwrap();
    let databases = ["one", "two", "three"].map(|name| env.create_database(name).unwrap());
    let stop = AtomicBool::new(false);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let key = next.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a);
                    let txn = env.run(|txn| {
                        databases.iter().try_for_each(|database| {
                            database.put(txn, key.to_le_bytes(), vec![key as u8; 100]).map(|_| ())
                        })
                    });
                    txn.unwrap();
                }
            });
        }
        let mut sizes = Vec::new();
        for (round, how) in FORMS.into_iter().enumerate() {
            std::thread::sleep(std::time::Duration::from_millis(60));
            let path = dir.path().join(format!("saved{round}"));
            let report = form(how).run(&env, &path).unwrap();
            let contents: Vec<_> =
                report.manifest.databases.iter().map(|database| database.content).collect();
            assert!(contents.windows(2).all(|two| two[0] == two[1]), "{contents:?}");
            sizes.push(contents[0].pairs);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(sizes.windows(2).all(|two| two[0] < two[1]), "nobody wrote: {sizes:?}");
    });
}

#[test]
fn an_export_that_writers_overtake_says_what_to_do_and_leaves_nothing() {
    let host = Host::memory();
    let env = Environment::open_on(host.clone(), "/home", options().version_bytes(64 << 10));
    let env = env.unwrap();
    let database = env.create_database("busy").unwrap();
    let write = |round: u8| {
        for chunk in 0..10_u16 {
            env.run(|txn| {
                (0..200_u16).try_for_each(|n| {
                    let key = (chunk * 200 + n).to_le_bytes();
                    database.put(txn, key, vec![round; 100]).map(|_| ())
                })
            })
            .unwrap();
        }
    };
    write(0);
    let watched: Arc<dyn Observer> =
        Arc::new(Once { done: AtomicBool::new(false), env: env.clone() });
    let beside = Host { vfs: Observed::new(Arc::clone(&host.vfs), watched), ..host.clone() };
    let error = export(&beside, &env, &ExportOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SnapshotTooOld, "{error}");
    for words in ["version_bytes", "--scratch", "Nothing is left"] {
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    assert!(host.vfs.list(Path::new(EXPORT)).unwrap_or_default().is_empty());
    export(&host, &env, &ExportOptions::new()).unwrap();
    assert!(compare(&host, &env).unwrap().is_same());
}

/// Rewrites everything when the export makes its first file.
#[derive(Debug)]
struct Once {
    done: AtomicBool,
    env: Environment,
}

impl Observer for Once {
    fn before(&self, call: &Call<'_>) {
        if call.path.extension().is_none() || self.done.swap(true, Ordering::Relaxed) {
            return;
        }
        let database = self.env.open_database("busy").unwrap();
        for key in 0..2000_u16 {
            self.env.run(|txn| database.put(txn, key.to_le_bytes(), vec![1; 100])).unwrap();
        }
    }
}
