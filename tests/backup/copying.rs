//! How backups are made: packed, at a pace, by several threads, with space for them, for their
//! owner's eyes only; and those that an older build made.

use campanile::backup::{BackupOptions, BackupReport, Compression};
use campanile::restore::{RestoreOptions, Target};
use campanile::{Environment, ErrorKind, Progress, backup};
use campanile_backup::Repository;
use campanile_backup::sealed::{seal, unseal};
use campanile_format::names;
use campanile_tests::life::read_all;
use campanile_vfs::{File, FileLock, Host, LockMode, Open, Vfs};
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world::{HOME, OTHER, World, assert_same, contents, repository, restore_with};

fn make(world: &World, options: &BackupOptions) -> Result<BackupReport, campanile::Error> {
    options.run_on(&world.host(), Path::new(HOME), repository())
}

fn packed() -> BackupOptions {
    BackupOptions::new().compression(Compression::Zstd)
}

fn data_files(made: &BackupReport) -> Vec<PathBuf> {
    let data = made.parts.iter().filter(|part| part.name.starts_with(names::DATA_DIR));
    data.map(|part| Path::new(&made.directory).join(&part.name)).collect()
}

#[test]
fn every_level_of_compression_restores_to_the_same_and_makes_it_smaller() {
    let mut world = World::new(400);
    world.burst(100);
    for level in [1, 3, 9, 19] {
        let made = make(&world, &packed().level(level)).unwrap();
        assert!(made.stored_bytes < made.bytes, "level {level}");
        let to = format!("/restored{level}");
        restore_with(&world.disk, RestoreOptions::new().backup(&made.name), &to).unwrap();
        assert_same(&contents(&world.disk, &to), &world.newest(), &format!("level {level}"));
    }
    for level in [0, 20, -5] {
        let error = make(&world, &packed().level(level)).expect_err("no such level");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let error = make(&world, &BackupOptions::new().jobs(0)).expect_err("nobody copies");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_flipped_or_missing_byte_in_what_is_stored_is_found_before_the_home_counts() {
    let mut world = World::new(401);
    world.burst(60);
    make(&world, &packed()).unwrap();
    world.burst(30);
    let made = make(&world, &packed().incremental(true)).unwrap();
    let options = || RestoreOptions::new().backup(&made.name);
    let mut tried = 0;
    for path in data_files(&made) {
        let file = world.disk.open(&path, Open::ReadWrite).unwrap();
        let mut good = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut good, 0).unwrap();
        let places = (0..good.len()).step_by(1 + good.len() / 12).map(Some).chain([None]);
        for place in places {
            match place {
                Some(at) => file.write_all_at(&[good[at] ^ 0x10], at as u64).unwrap(),
                None => file.set_len(good.len() as u64 - 1).unwrap(),
            }
            let to = format!("/damaged{tried}");
            let what = format!("{} at {place:?}", path.display());
            let error = restore_with(&world.disk, options(), &to).expect_err("it is damaged");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(error.to_string().contains(&name[..15]), "{what}: {error}");
            file.write_all_at(&good, 0).unwrap();
            // The very same restore, now that the file is good again.
            restore_with(&world.disk, options(), &to).unwrap();
            tried += 1;
        }
    }
    assert!(tried > 20, "only {tried} places");
}

#[test]
fn a_backup_at_a_pace_takes_as_long_as_its_bytes_do() {
    let mut world = World::new(402);
    world.burst(100);
    let clock = Arc::clone(&world.host().clock);
    let took = |options: &BackupOptions| {
        let began = clock.monotonic_us();
        let made = make(&world, options).unwrap();
        (made, clock.monotonic_us() - began)
    };
    let (made, fast) = took(&BackupOptions::new());
    // The label is not read from the home; the first piece is read at once.
    let rate = (made.bytes - 8192) / 10; // ten seconds
    let (_, slow) = took(&BackupOptions::new().max_rate(rate));
    let what = format!("{} bytes in {slow} us, without a limit {fast}", made.bytes);
    assert!((fast + 9_000_000..fast + 11_000_000).contains(&slow), "{what}");
    let (_, increment) = took(&BackupOptions::new().incremental(true).max_rate(rate));
    assert!(increment > 8_000_000, "an increment reads as much: {increment} us");
}

#[test]
fn a_backup_can_be_cancelled_at_every_piece_and_leaves_a_partial_one() {
    let mut world = World::new(403);
    world.burst(100);
    let whole = make(&world, &BackupOptions::new()).unwrap();
    let cancelled_after = |pieces: u64| {
        let told = AtomicU64::new(0);
        let progress = Progress::new(move |_| match told.fetch_add(1, Ordering::Relaxed) {
            count if count >= pieces => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        make(&world, &packed().incremental(true).progress(progress))
    };
    let mut cancelled = 0;
    while let Err(error) = cancelled_after(cancelled) {
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        cancelled += 1;
        let shelves = Repository::in_directory(&world.host(), repository());
        let found = shelves.backups().unwrap();
        let complete: Vec<_> = found.iter().filter(|b| b.manifest.is_some()).collect();
        assert_eq!(complete.len(), 1);
        assert_eq!(complete[0].name, whole.name);
    }
    assert!(cancelled > 8, "only {cancelled} pieces");
    restore_with(&world.disk, RestoreOptions::new(), OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &world.newest(), "restored");
}

/// A disk on which only so much can still be written, and where the lock of those who read the log
/// may be another user's.
#[derive(Debug)]
struct Small {
    inner: Arc<dyn Vfs>,
    space: u64,
    lock_is_anothers: bool,
}

impl Vfs for Small {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        self.inner.open(path, how)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn space(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(Some(self.space))
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        if self.lock_is_anothers && path.ends_with(names::LOG_READERS) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.inner.lock(path, mode)
    }
}

#[test]
fn what_would_not_fit_is_refused_before_anything_is_written() {
    let mut world = World::new(404);
    world.burst(100);
    let on = |space: u64| {
        let host = world.host();
        let inner = Arc::clone(&host.vfs);
        Host { vfs: Arc::new(Small { inner, space, lock_is_anothers: false }), ..host }
    };
    let back_up = |space| BackupOptions::new().run_on(&on(space), Path::new(HOME), repository());
    let error = back_up(10_000).expect_err("there is no space");
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("has 10000 bytes left"), "{error}");
    let shelves = Repository::in_directory(&world.host(), repository());
    assert!(shelves.backups().unwrap().is_empty(), "something was written");
    let made = back_up(10_000_000).unwrap();
    assert!(made.bytes > 10_000);
    let restore = |space| {
        let options = RestoreOptions::new().environment(crate::world::options());
        options.run_on(&on(space), repository(), Path::new(OTHER))
    };
    let error = restore(10_000).expect_err("there is no space");
    assert!(error.to_string().contains("has 10000 bytes left"), "{error}");
    assert!(!world.disk.exists(Path::new(OTHER)).unwrap(), "something was written");
    restore(10_000_000).unwrap();
    assert_same(&contents(&world.disk, OTHER), &world.newest(), "restored");
}

#[test]
fn an_owner_that_may_not_take_the_lock_of_readers_keeps_its_log_and_works_on() {
    let host = World::new(406).host();
    let inner = Arc::clone(&host.vfs);
    let host =
        Host { vfs: Arc::new(Small { inner, space: u64::MAX, lock_is_anothers: true }), ..host };
    let env = Environment::open_on(host, "/shared", crate::world::options()).unwrap();
    let db = env.create_database("accounts").unwrap();
    for n in 0..400u32 {
        env.run(|txn| db.put(txn, format!("{n:08}"), [7; 200])).unwrap();
        if n % 50 == 0 {
            env.checkpoint().unwrap();
        }
    }
    env.close().unwrap();
}

#[test]
fn a_backup_of_format_1_still_restores_and_is_a_base_for_increments() {
    let mut world = World::new(405);
    world.burst(60);
    let made = world.back_up();
    let old = world.newest();
    let path = Path::new(&made.directory).join("manifest");
    let file = world.disk.open(&path, Open::ReadWrite).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let mut manifest: BTreeMap<String, serde_json::Value> = unseal(&bytes).unwrap();
    assert_eq!(manifest["format"], 2);
    for new in ["base", "since", "compression"] {
        assert!(manifest.remove(new).is_some(), "{new}");
    }
    manifest.insert("format".to_owned(), 1.into());
    let text = seal(&manifest);
    file.set_len(0).unwrap();
    file.write_all_at(text.as_bytes(), 0).unwrap();
    world.burst(30);
    let next = make(&world, &BackupOptions::new().incremental(true)).unwrap();
    assert_eq!(next.base.as_ref(), Some(&made.name));
    let first = RestoreOptions::new().backup(&made.name).target(Target::BackupEnd);
    restore_with(&world.disk, first, OTHER).unwrap();
    assert_same(&contents(&world.disk, OTHER), &old, "format 1");
    restore_with(&world.disk, RestoreOptions::new().backup(&next.name), "/next").unwrap();
    assert_same(&contents(&world.disk, "/next"), &world.newest(), "its increment");
}

#[test]
fn several_threads_copy_a_home_on_a_real_disk_that_is_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let (home, safe) = (dir.path().join("home"), dir.path().join("safe"));
    let env = Environment::open(&home).unwrap();
    let databases: Vec<_> =
        (0..6).map(|n| env.create_database(&format!("db{n}")).unwrap()).collect();
    let fill = |from: u32, count: u32| {
        for db in &databases {
            env.run(|txn| {
                (from..from + count)
                    .try_for_each(|n| db.put(txn, format!("{n:08}"), [7; 300]).map(drop))
            })
            .unwrap();
        }
    };
    fill(0, 2000);
    BackupOptions::new().jobs(4).run(&home, &safe).unwrap();
    let made = std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..20).for_each(|n| fill(2000 + n * 10, 10)));
        let told = Arc::new(AtomicU64::new(0));
        let (caller, seen) = (std::thread::current().id(), Arc::clone(&told));
        let progress = Progress::new(move |step| {
            assert_eq!(std::thread::current().id(), caller, "the hook is the caller's");
            seen.fetch_max(step.done, Ordering::Relaxed);
            ControlFlow::Continue(())
        });
        let options = packed().incremental(true).jobs(4).progress(progress);
        let made = options.run(&home, &safe).unwrap();
        assert!(told.load(Ordering::Relaxed) > 0);
        writer.join().unwrap();
        made
    });
    let stop = Progress::new(|step| match step.done {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    let error = BackupOptions::new().jobs(3).progress(stop).run(&home, &safe);
    assert_eq!(error.expect_err("it was cancelled").kind(), ErrorKind::Cancelled);
    let last = BackupOptions::new().incremental(true).jobs(4).run(&home, &safe).unwrap();
    assert_eq!(last.base, Some(made.name));
    let state = read_all(&env).unwrap();
    let other = dir.path().join("other");
    RestoreOptions::new().run(&safe, &other).unwrap();
    let restored = Environment::open(&other).unwrap();
    assert_same(&read_all(&restored).unwrap(), &state, "restored");
}

#[cfg(unix)]
#[test]
fn backups_are_for_their_owners_eyes_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (home, safe, copy) =
        (dir.path().join("home"), dir.path().join("safe"), dir.path().join("copy"));
    let env = Environment::open(&home).unwrap();
    env.create_database("accounts").unwrap();
    BackupOptions::new().run(&home, &safe).unwrap();
    packed().incremental(true).run(&home, &safe).unwrap();
    backup::hot_copy(&home, &copy, &Progress::none()).unwrap();
    RestoreOptions::new().run(&safe, dir.path().join("other")).unwrap();
    let (mut files, mut directories) = (0, 0);
    let mut left = vec![safe, copy, dir.path().join("other")];
    while let Some(path) = left.pop() {
        let found = std::fs::metadata(&path).unwrap();
        let mode = found.permissions().mode() & 0o777;
        if found.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            directories += 1;
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 15 && directories > 8, "{files} files in {directories} directories");
}
