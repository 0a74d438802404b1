//! Damage of data files, at rest and after a crash: the rest of the environment stays usable, and a
//! repair brings back exactly what was committed, wherever it was cut short.
//!
//! `CAMPANILE_REPAIR_CALLS` says how many calls are left out between two crashes (default 7).

use campanile::repair::{RepairOptions, RepairReport};
use campanile::{DatabaseOptions, Environment, Error, ErrorKind};
use campanile_format::{FileId, names};
use campanile_tests::oracle::State;
use campanile_vfs::Vfs;
use campanile_vfs::sim::{
    CrashChoice, Errno, Fault, FaultPlan, FaultRule, SimDisk, SyncFailure, Trigger,
};
use campanile_wal::LogPin;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::world::{
    HOME, REPOSITORY, World, assert_same, contents, host_of, log_dir, options, repository,
};

const PAGE: u64 = 512;

fn stride() -> usize {
    let wanted = std::env::var("CAMPANILE_REPAIR_CALLS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(7)
}

/// A way to ruin a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// A bit of the first page, which says what the file is.
    Meta,
    /// A bit of the second page, its first space map.
    Map,
    /// A bit of the root.
    Root,
    /// A bit of the last page that was written.
    Last,
    /// All pages are zeros.
    Zeroed,
    /// It is cut in the middle.
    Cut,
    Deleted,
    /// As it was when the backup was made.
    Older,
    /// The file with this name of another environment.
    Foreign,
}

const ALL: [Damage; 9] = [
    Damage::Meta,
    Damage::Map,
    Damage::Root,
    Damage::Last,
    Damage::Zeroed,
    Damage::Cut,
    Damage::Deleted,
    Damage::Older,
    Damage::Foreign,
];

/// A home with a history, of which a backup has the first part and the log all of the rest.
struct Scene {
    disk: Arc<SimDisk>,
    state: State,
    /// The data files as the backup has them, and of another environment.
    older: Vec<(PathBuf, Vec<u8>)>,
    foreign: Vec<(PathBuf, Vec<u8>)>,
}

fn data_dir(home: &str) -> PathBuf {
    Path::new(home).join(names::DATA_DIR)
}

fn data_files(disk: &Arc<SimDisk>) -> Vec<PathBuf> {
    let mut names = disk.list(&data_dir(HOME)).unwrap();
    names.sort();
    names.iter().map(|name| data_dir(HOME).join(name)).collect()
}

fn bytes_of_all(disk: &Arc<SimDisk>) -> Vec<(PathBuf, Vec<u8>)> {
    let files = data_files(disk).into_iter();
    files.map(|path| (path.clone(), disk.file_bytes(&path).unwrap())).collect()
}

/// How the owner leaves the home.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Closed,
    Crashed,
}

fn scene(seed: u64, leaves: Leaves) -> Scene {
    let other = World::new(seed + 5000);
    other.env.clone().close().unwrap();
    let foreign = bytes_of_all(&other.disk);
    let mut world = World::new(seed);
    let _all_of_it = LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.burst(80);
    // No checkpoint before it: pages in it show changes from after the place where replay begins.
    world.back_up();
    let older = bytes_of_all(&world.disk);
    world.burst(120);
    let state = world.newest();
    if leaves == Leaves::Closed {
        world.env.clone().close().unwrap();
        return Scene { disk: Arc::clone(&world.disk), state, older, foreign };
    }
    // Somebody was in the middle of something.
    let mut open = Vec::new();
    for name in state.keys() {
        let mut txn = world.env.begin().unwrap();
        let db = world.env.open_database_in(&mut txn, name).unwrap();
        for at in 0..12 {
            db.put(&mut txn, format!("loser{at}"), vec![7; 60]).unwrap();
        }
        open.push(txn);
    }
    world.env.checkpoint().unwrap();
    let disk = world.disk.reboot(CrashChoice::All);
    Scene { disk, state, older, foreign }
}

impl Scene {
    /// The home with this damage; `None` if the file cannot be damaged like that.
    fn ruined(&self, path: &Path, damage: Damage) -> Option<Arc<SimDisk>> {
        let disk = self.disk.fork();
        let bytes = disk.file_bytes(path).ok()?;
        let pages = bytes.len() as u64 / PAGE;
        let flip = |page: u64| disk.flip_bit(path, (page * PAGE + 40) * 8 + 3).unwrap();
        match damage {
            Damage::Meta => flip(0),
            Damage::Map => flip(1),
            Damage::Root => flip(2),
            Damage::Last => {
                let used = |page: &u64| {
                    let at = (page * PAGE) as usize;
                    bytes[at..at + PAGE as usize].iter().any(|byte| *byte != 0)
                };
                flip((0..pages).rev().find(used)?);
            }
            Damage::Zeroed => disk.edit_file(path, |bytes| bytes.fill(0)).unwrap(),
            Damage::Cut => {
                disk.edit_file(path, |bytes| bytes.truncate((pages / 2 * PAGE) as usize)).unwrap();
            }
            Damage::Deleted => disk.drop_file(path).unwrap(),
            Damage::Older => {
                let (_, old) = self.older.iter().find(|(known, _)| known == path)?;
                disk.put_file(path, old);
            }
            Damage::Foreign => {
                let (_, theirs) = self.foreign.iter().find(|(known, _)| known == path)?;
                disk.put_file(path, theirs);
            }
        }
        Some(disk)
    }
}

fn number(path: &Path) -> u32 {
    names::parse_data_file(&path.file_name().unwrap().to_string_lossy()).unwrap().0
}

fn repair(disk: &Arc<SimDisk>, options: RepairOptions) -> Result<RepairReport, Error> {
    options.environment(self::options()).run_on(&host_of(disk), Path::new(HOME))
}

fn all() -> RepairOptions {
    RepairOptions::new().all().repository(REPOSITORY)
}

fn every_damage(
    leaves: Leaves,
    seeds: std::ops::Range<u64>,
    visit: impl Fn(&Scene, &Path, Damage),
) {
    for seed in seeds {
        let scene = scene(seed, leaves);
        for path in data_files(&scene.disk) {
            for damage in ALL {
                visit(&scene, &path, damage);
            }
        }
    }
}

fn assert_mended(scene: &Scene, path: &Path, damage: Damage) {
    let Some(disk) = scene.ruined(path, damage) else { return };
    let what = format!("{damage:?} of {}", path.display());
    let report = match damage {
        // Every page of it is whole: nothing but the log can tell, and it was not asked.
        Damage::Older => repair(&disk, all().file(number(path))),
        _ => repair(&disk, all()),
    };
    let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.is_complete(), "{what}: {report}");
    assert_same(&contents(&disk, HOME), &scene.state, &what);
}

#[test]
pub fn whatever_happens_to_a_data_file_a_repair_brings_back_what_was_committed() {
    every_damage(Leaves::Closed, 200..202, assert_mended);
}

#[test]
pub fn after_a_crash_a_repair_brings_back_what_was_committed_and_nothing_else() {
    every_damage(Leaves::Crashed, 210..212, assert_mended);
}

#[test]
fn the_log_alone_will_do_where_it_reaches_back_to_the_birth_of_the_file() {
    for leaves in [Leaves::Closed, Leaves::Crashed] {
        let scene = scene(220, leaves);
        for path in data_files(&scene.disk) {
            let disk = scene.ruined(&path, Damage::Deleted).unwrap();
            let report = repair(&disk, RepairOptions::new().file(number(&path))).unwrap();
            assert_eq!(report.repaired[0].backup, None);
            assert_same(&contents(&disk, HOME), &scene.state, "from the log alone");
        }
    }
}

#[test]
fn a_single_page_is_built_anew_and_nothing_else_is_touched() {
    let scene = scene(230, Leaves::Closed);
    let mut repaired = 0;
    for path in data_files(&scene.disk) {
        let bytes = scene.disk.file_bytes(&path).unwrap();
        for page in 0..bytes.len() as u64 / PAGE {
            let disk = scene.disk.fork();
            disk.flip_bit(&path, (page * PAGE + 77) * 8).unwrap();
            let options = RepairOptions::new().repository(REPOSITORY);
            let file = number(&path);
            let report = repair(&disk, options.page(file, page as u32)).unwrap();
            assert!(report.repaired[0].differed);
            let (at, end) = ((page * PAGE) as usize, ((page + 1) * PAGE) as usize);
            let after = disk.file_bytes(&path).unwrap();
            let free = after[at..end].iter().all(|byte| *byte == 0);
            let what = format!("page {page} of {}", path.display());
            assert!(free || after == bytes, "{what} is not as it was");
            assert_same(&contents(&disk, HOME), &scene.state, &what);
            repaired += 1;
        }
    }
    assert!(repaired > 30, "{repaired}");
}

#[test]
fn a_repair_that_is_tried_only_says_the_same_and_writes_nothing() {
    let scene = scene(240, Leaves::Crashed);
    let path = data_files(&scene.disk).pop().unwrap();
    let disk = scene.ruined(&path, Damage::Root).unwrap();
    let before = disk.snapshot_files();
    let tried = repair(&disk, all().dry_run(true)).unwrap();
    let ours = |path: &PathBuf| !path.ends_with("campanile.lock");
    let mut after = disk.snapshot_files();
    after.retain(|path, _| ours(path));
    assert_eq!(after, before.into_iter().filter(|(path, _)| ours(path)).collect());
    let done = repair(&disk, all()).unwrap();
    assert_eq!(tried.repaired, done.repaired);
    assert!(tried.to_string().contains("would rebuild"), "{tried}");
}

/// Either as damaged as before or repaired; and the repair, run again, brings it all back.
fn no_worse_after(disk: &Arc<SimDisk>, scene: &Scene, path: &Path, what: &str) {
    let left = repair(&disk.fork(), all().dry_run(true));
    let left = left.unwrap_or_else(|error| panic!("{what}: {error}"));
    let damaged: Vec<u32> = left.repaired.iter().map(|one| one.file).collect();
    assert!(damaged.is_empty() || damaged == [number(path)], "{what}: {left}");
    let done = repair(disk, all()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(done.is_complete(), "{what}: {done}");
    assert_same(&contents(disk, HOME), &scene.state, what);
}

#[test]
pub fn a_repair_that_is_cut_short_leaves_the_home_no_worse_and_is_run_again() {
    for (seed, leaves) in [(250, Leaves::Closed), (251, Leaves::Crashed)] {
        let scene = scene(seed, leaves);
        for path in data_files(&scene.disk) {
            let disk = scene.ruined(&path, Damage::Last).unwrap();
            disk.capture_crash_points();
            repair(&disk, all()).unwrap();
            let points = disk.take_crash_points();
            assert!(points.len() > 10, "only {} calls", points.len());
            for (count, point) in points.into_iter().enumerate().step_by(stride()) {
                let choices = [CrashChoice::Nothing, CrashChoice::All, CrashChoice::Subset(3)];
                let disk = point.disk.reboot(choices[count / stride() % choices.len()]);
                let what = format!("{} call {}", path.display(), point.call);
                no_worse_after(&disk, &scene, &path, &what);
            }
        }
    }
}

#[test]
pub fn a_page_repair_that_is_cut_short_leaves_the_home_no_worse() {
    let scene = scene(255, Leaves::Crashed);
    let path = data_files(&scene.disk).pop().unwrap();
    let ruined = scene.ruined(&path, Damage::Root).unwrap();
    ruined.capture_crash_points();
    let page = RepairOptions::new().repository(REPOSITORY).page(number(&path), 2);
    repair(&ruined, page).unwrap();
    for point in ruined.take_crash_points() {
        for choice in [CrashChoice::Nothing, CrashChoice::All, CrashChoice::Subset(5)] {
            let disk = point.disk.reboot(choice);
            no_worse_after(&disk, &scene, &path, &format!("{choice:?} at call {}", point.call));
        }
    }
}

#[test]
fn an_error_at_any_call_of_a_repair_leaves_the_home_no_worse() {
    let scene = scene(260, Leaves::Crashed);
    let path = data_files(&scene.disk).pop().unwrap();
    let disk = scene.ruined(&path, Damage::Root).unwrap();
    let before = disk.calls();
    repair(&disk, all()).unwrap();
    let calls = disk.calls() - before;
    let mut failed = 0;
    let faults = [
        Fault::WriteFails(Errno::Eio),
        Fault::ReadFails,
        Fault::SyncFails(SyncFailure::CacheKeepsNew),
        Fault::NoSpace,
    ];
    for (fault, call) in faults
        .into_iter()
        .flat_map(|fault| (1..=calls).step_by(stride()).map(move |call| (fault, call)))
    {
        let disk = scene.ruined(&path, Damage::Root).unwrap();
        let rule = FaultRule::new(fault, Trigger::Call(disk.calls() + call));
        disk.faults(FaultPlan::none().and(rule));
        failed += u32::from(repair(&disk, all()).is_err());
        disk.faults(FaultPlan::none());
        no_worse_after(&disk, &scene, &path, &format!("{fault:?} at call {call}"));
    }
    assert!(failed > 10, "{failed} of {calls} calls");
}

#[test]
fn a_damaged_database_leaves_the_others_as_usable_as_before() {
    let scene = scene(270, Leaves::Closed);
    let mut tried = 0;
    for path in data_files(&scene.disk) {
        let file = number(&path);
        if FileId(file) < FileId::MIN_USER {
            continue;
        }
        for damage in [Damage::Meta, Damage::Map, Damage::Root, Damage::Deleted, Damage::Foreign] {
            let Some(disk) = scene.ruined(&path, damage) else { continue };
            let what = format!("{damage:?} of {}", path.display());
            let env = Environment::open_on(host_of(&disk), HOME, options()).unwrap();
            let mut sick = 0;
            for (name, rows) in &scene.state {
                match read_and_write(&env, name) {
                    Ok(count) => assert_eq!(count, rows.len(), "{what}"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
                        let said = error.to_string();
                        assert!(said.contains("campanile repair"), "{what}: {said}");
                        assert!(said.contains(&file.to_string()), "{what}: {said}");
                        sick += 1;
                    }
                }
            }
            assert!(sick <= 1, "{what}: {sick} databases are unusable");
            let report = env.verify().unwrap();
            assert!(!report.is_clean(), "{what} is not noticed");
            env.checkpoint().unwrap_or_else(|error| panic!("{what}: {error}"));
            env.close().unwrap_or_else(|error| panic!("{what}: {error}"));
            let env = Environment::open_on(host_of(&disk), HOME, options()).unwrap();
            env.close().unwrap();
            tried += sick;
        }
    }
    assert!(tried > 5, "{tried}");
}

fn read_and_write(env: &Environment, name: &str) -> Result<usize, Error> {
    let db = env.open_database(name)?;
    let snapshot = env.snapshot()?;
    let mut count = 0;
    for row in db.range(&snapshot, ..)? {
        row?;
        count += 1;
    }
    drop(snapshot);
    env.run(|txn| db.put(txn, "zzz", "new"))?;
    env.run(|txn| db.delete(txn, "zzz"))?;
    Ok(count)
}

#[test]
fn a_database_that_is_not_durable_comes_back_empty_and_that_is_said() {
    for leaves in [Leaves::Closed, Leaves::Crashed] {
        let world = World::new(280);
        let mut txn = world.env.begin().unwrap();
        let scratch = DatabaseOptions::new().durable(false);
        let db = world.env.create_database_with(&mut txn, "scratch", scratch).unwrap();
        db.put(&mut txn, "a", "1").unwrap();
        txn.commit().unwrap();
        world.env.checkpoint().unwrap();
        let last = data_files(&world.disk).pop().unwrap();
        let disk = match leaves {
            Leaves::Closed => {
                world.env.clone().close().unwrap();
                Arc::clone(&world.disk)
            }
            Leaves::Crashed => world.disk.reboot(CrashChoice::All),
        };
        disk.drop_file(&last).unwrap();
        let report = repair(&disk, RepairOptions::new().database("scratch")).unwrap();
        assert!(!report.repaired[0].durable);
        assert!(report.to_string().contains("not durable"), "{report}");
        let mut state = world.newest();
        state.insert("scratch".to_owned(), Arc::default());
        assert_same(&contents(&disk, HOME), &state, "emptied");
    }
}

#[test]
fn a_file_whose_first_page_a_copy_missed_is_made_anew_and_empty() {
    let world = World::new(287);
    let mut txn = world.env.begin().unwrap();
    let scratch = DatabaseOptions::new().durable(false);
    world.env.create_database_with(&mut txn, "scratch", scratch).unwrap();
    txn.commit().unwrap();
    let disk = world.disk.reboot(CrashChoice::All);
    // As a backup takes it that comes between the making of the name and that of the page.
    disk.put_file(&data_files(&disk).pop().unwrap(), &[]);
    let mut state = world.newest();
    state.insert("scratch".to_owned(), Arc::default());
    assert_same(&contents(&disk, HOME), &state, "empty and in order");
}

#[test]
fn other_databases_that_are_not_durable_keep_what_they_hold() {
    let world = World::new(285);
    let mut state = world.newest();
    for name in ["one", "two"] {
        let mut txn = world.env.begin().unwrap();
        let scratch = DatabaseOptions::new().durable(false);
        let db = world.env.create_database_with(&mut txn, name, scratch).unwrap();
        db.put(&mut txn, "a", name).unwrap();
        txn.commit().unwrap();
        state.insert(name.to_owned(), Arc::default());
    }
    let files = data_files(&world.disk);
    world.env.clone().close().unwrap();
    let disk = &world.disk;
    let file = files.last().unwrap();
    let page = RepairOptions::new().page(number(file), 2);
    let error = repair(disk, page).unwrap_err();
    assert!(error.to_string().contains("not durable"), "{error}");
    disk.flip_bit(file, (2 * PAGE + 44) * 8).unwrap();
    let report = repair(disk, RepairOptions::new().all()).unwrap();
    assert!(report.is_complete() && !report.repaired[0].durable, "{report}");
    let rows = [(b"a".to_vec(), b"one".to_vec())].into_iter().collect();
    state.insert("one".to_owned(), Arc::new(rows));
    assert_same(&contents(disk, HOME), &state, "only one is empty");
}

#[test]
fn what_cannot_be_repaired_is_left_and_said() {
    let mut world = World::new(290);
    world.fill_log(8); // the log was given up: it does not reach back
    world.env.clone().close().unwrap();
    let disk = &world.disk;
    let path = data_files(disk).pop().unwrap();
    let before = disk.file_bytes(&path).unwrap();
    disk.flip_bit(&path, (PAGE * 2 + 44) * 8).unwrap();
    let report = repair(disk, RepairOptions::new().all()).unwrap();
    assert!(!report.is_complete());
    assert!(report.left[0].why.contains("give the repository"), "{report}");
    assert_eq!(disk.file_bytes(&path).unwrap().len(), before.len(), "it is as it was");
    let error = repair(disk, RepairOptions::new().file(number(&path))).unwrap_err();
    assert!(error.to_string().contains("no backup at hand"), "{error}");
    let error = repair(disk, all()).unwrap_err();
    assert!(error.to_string().contains(REPOSITORY), "{error}");
    assert_eq!(repository(), Path::new(REPOSITORY));
}

#[test]
fn a_data_file_in_another_directory_is_built_anew_there() {
    for damage in [Damage::Root, Damage::Deleted] {
        for repository in [Some(REPOSITORY), None] {
            let mut world = World::with(295, options().add_data_dir("elsewhere"));
            let _all_of_it = LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
            let mut txn = world.env.begin().unwrap();
            let there = DatabaseOptions::new().data_dir("elsewhere");
            let db = world.env.create_database_with(&mut txn, "far", there).unwrap();
            db.put(&mut txn, "a", "1").unwrap();
            txn.commit().unwrap();
            // The newest file; other databases have theirs there too.
            let dir = Path::new(HOME).join("elsewhere");
            let ours = |name: &String| names::parse_data_file(name).is_some();
            let file = world.disk.list(&dir).unwrap().into_iter().filter(ours).max().unwrap();
            world.env.checkpoint().unwrap();
            world.back_up();
            world.burst(10);
            let mut state = world.newest();
            let rows = [(b"a".to_vec(), b"1".to_vec())].into_iter().collect();
            state.insert("far".to_owned(), Arc::new(rows));
            world.env.clone().close().unwrap();
            let disk = &world.disk;
            match damage {
                Damage::Deleted => disk.drop_file(&dir.join(&file)).unwrap(),
                _ => disk.flip_bit(&dir.join(&file), (2 * PAGE + 44) * 8).unwrap(),
            }
            let options = RepairOptions::new().all();
            let options = match repository {
                Some(dir) => options.repository(dir),
                None => options,
            };
            let report = repair(disk, options).unwrap();
            assert!(report.is_complete(), "{report}");
            assert_eq!(report.repaired[0].database.as_deref(), Some("far"));
            assert_same(&contents(disk, HOME), &state, &format!("{damage:?}"));
        }
    }
}

#[test]
pub fn a_backup_made_in_the_middle_of_work_serves_as_well() {
    for seed in 400..412 {
        let mut world = World::new(seed);
        let _all_of_it = LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
        world.burst(40);
        world.env.checkpoint().unwrap();
        // Long rows and few: the cache cannot hold what is changed, so pages go home all the time.
        let mut state = world.newest();
        let name = state.keys().next().unwrap().clone();
        let db = world.env.open_database(&name).unwrap();
        for key in 0..200 {
            let (key, value) = (format!("row{key:03}"), vec![key as u8; 90]);
            world.env.run(|txn| db.put(txn, &key, &value)).unwrap();
            Arc::make_mut(state.get_mut(&name).unwrap()).insert(key.into_bytes(), value);
        }
        world.back_up();
        world.env.run(|txn| db.put(txn, "row000", "last")).unwrap();
        Arc::make_mut(state.get_mut(&name).unwrap()).insert(b"row000".to_vec(), b"last".to_vec());
        world.env.clone().close().unwrap();
        for path in data_files(&world.disk) {
            let disk = world.disk.fork();
            disk.drop_file(&path).unwrap();
            let options = RepairOptions::new().repository(REPOSITORY).file(number(&path));
            let report = repair(&disk, options).unwrap();
            assert!(report.repaired[0].backup.is_some(), "{report}");
            assert_same(&contents(&disk, HOME), &state, &path.display().to_string());
        }
    }
}
