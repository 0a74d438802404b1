//! Data files in several directories: where they go, what is refused, and moving.

use std::fs;
use std::path::{Path, PathBuf};

use campanile::{
    Database, DatabaseOptions, Environment, EnvironmentOptions, Error, ErrorKind, data_dirs,
    inspect,
};

/// A home and a second disk in a scratch directory.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Scratch {
        Scratch { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn home(&self) -> PathBuf {
        self.path("home")
    }

    fn disk2(&self) -> PathBuf {
        self.path("disk2")
    }

    /// An environment with a database on the second disk, one in the home's directory `fast`, and
    /// one where they are by default.
    fn make(&self) -> Environment {
        let env = options(&self.disk2()).open(self.home()).unwrap();
        for (name, dir) in
            [("large", Some(self.disk2())), ("hot", Some("fast".into())), ("x", None)]
        {
            put(&make(&env, name, dir).unwrap(), &env, "here");
        }
        env
    }
}

fn options(disk2: &Path) -> EnvironmentOptions {
    Environment::options().cache_bytes(1 << 20).add_data_dir(disk2).add_data_dir("fast")
}

fn make(env: &Environment, name: &str, dir: Option<PathBuf>) -> Result<Database, Error> {
    env.run(|txn| {
        let mut options = DatabaseOptions::new();
        if let Some(dir) = &dir {
            options = options.data_dir(dir);
        }
        env.create_database_with(txn, name, options)
    })
}

fn put(database: &Database, env: &Environment, value: &str) {
    env.run(|txn| database.put(txn, "where", value).map(drop)).unwrap();
}

#[track_caller]
fn holds(env: &Environment, name: &str, value: &str) {
    let database = env.open_database(name).unwrap();
    let found = database.get(&env.snapshot().unwrap(), "where").unwrap();
    assert_eq!(found.as_deref(), Some(value.as_bytes()), "{name}");
}

fn data_files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("data."))
        .collect();
    names.sort();
    names
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[track_caller]
fn refused(home: &Path, kind: ErrorKind, words: &[&str]) {
    let error = Environment::open(home).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn a_database_lies_in_the_directory_that_was_chosen_and_stays_there_when_it_is_emptied() {
    let scratch = Scratch::new();
    let env = scratch.make();
    assert_eq!(data_files(&scratch.disk2()), ["data.0000000016"]);
    assert_eq!(data_files(&scratch.home().join("fast")), ["data.0000000017"]);
    env.empty_database("large").unwrap();
    env.drop_database("hot").unwrap();
    env.close().unwrap();
    let env = Environment::open(scratch.home()).unwrap();
    let fast = scratch.home().join("fast");
    // Background threads remove what nobody needs any more.
    for _ in 0..2000 {
        if data_files(&scratch.disk2()).len() == 1 && data_files(&fast).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(data_files(&scratch.disk2()), ["data.0000000019"], "the new file is beside the old");
    assert_eq!(data_files(&fast), [""; 0], "the dropped one has gone");
    put(&env.open_database("large").unwrap(), &env, "again");
    env.close().unwrap();
    let env = Environment::open(scratch.home()).unwrap();
    holds(&env, "large", "again");
    holds(&env, "x", "here");
    let (home, disk2) = (scratch.home(), scratch.disk2());
    assert_eq!(env.data_dirs(), [home.join("data"), disk2, home.join("fast")]);
}

#[test]
fn recovery_makes_a_file_again_in_the_directory_that_was_chosen() {
    let scratch = Scratch::new();
    let env = scratch.make();
    env.abandon();
    // As if the entry of the file had never become durable.
    fs::remove_file(scratch.disk2().join("data.0000000016")).unwrap();
    let env = Environment::open(scratch.home()).unwrap();
    assert!(env.recovery_report().is_some());
    holds(&env, "large", "here");
    assert_eq!(data_files(&scratch.disk2()), ["data.0000000016"]);
}

#[test]
fn a_directory_can_be_added_later_and_a_used_one_cannot() {
    let scratch = Scratch::new();
    let env = Environment::open(scratch.home()).unwrap();
    let error = make(&env, "large", Some(scratch.disk2())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("add_data_dir"), "{error}");
    env.close().unwrap();
    let env = options(&scratch.disk2()).open(scratch.home()).unwrap();
    make(&env, "large", Some(scratch.disk2())).unwrap();
    env.close().unwrap();

    let error = options(&scratch.disk2()).open(scratch.path("other")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("belongs to environment"), "{error}");
    let full = scratch.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("data.0000000044"), "x").unwrap();
    let error = data_dirs::add(scratch.home(), &full).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains("data.0000000044"), "{error}");
}

#[test]
fn a_directory_that_is_not_mounted_is_refused_by_name_and_not_made_anew() {
    let scratch = Scratch::new();
    scratch.make().close().unwrap();
    let away = scratch.path("away");
    fs::rename(scratch.disk2(), &away).unwrap();
    let disk2 = scratch.disk2().display().to_string();
    refused(&scratch.home(), ErrorKind::Io, &[&disk2, "mounted"]);
    assert!(!scratch.disk2().exists());
    // The empty mount point.
    fs::create_dir(scratch.disk2()).unwrap();
    refused(&scratch.home(), ErrorKind::Io, &[&disk2, "campanile.data", "mounted"]);
    let info = inspect::home(scratch.home()).unwrap();
    assert!(info.data_dirs[1].problem.as_ref().unwrap().contains("mounted"));
    assert!(data_files(&scratch.disk2()).is_empty());
    fs::remove_dir(scratch.disk2()).unwrap();
    fs::rename(&away, scratch.disk2()).unwrap();
    holds(&Environment::open(scratch.home()).unwrap(), "large", "here");
}

#[test]
fn directories_in_each_others_place_and_files_in_two_places_are_refused() {
    let scratch = Scratch::new();
    scratch.make().close().unwrap();
    let (disk2, fast, away) = (scratch.disk2(), scratch.home().join("fast"), scratch.path("away"));
    let swap = || {
        fs::rename(&disk2, &away).unwrap();
        fs::rename(&fast, &disk2).unwrap();
        fs::rename(&away, &fast).unwrap();
    };
    swap();
    refused(&scratch.home(), ErrorKind::Corrupt, &["is directory 2", "wrong way round"]);
    swap();
    let copy = scratch.home().join("data/data.0000000016");
    fs::copy(disk2.join("data.0000000016"), &copy).unwrap();
    refused(&scratch.home(), ErrorKind::Corrupt, &["data.0000000016", "move it away"]);
    fs::remove_file(copy).unwrap();
    fs::remove_file(scratch.home().join("data_dirs")).unwrap();
    refused(&scratch.home(), ErrorKind::Io, &["data_dirs", "put it back"]);
}

#[test]
fn a_home_without_other_directories_opens_wherever_it_is_moved_or_copied() {
    let scratch = Scratch::new();
    let env = Environment::options().add_data_dir("fast").open(scratch.home()).unwrap();
    put(&make(&env, "hot", Some("fast".into())).unwrap(), &env, "1");
    env.abandon();
    let (moved, copied) = (scratch.path("moved"), scratch.path("deep/er/copied"));
    fs::rename(scratch.home(), &moved).unwrap();
    copy_all(&moved, &copied);
    for home in [&moved, &copied] {
        let env = Environment::open(home).unwrap();
        holds(&env, "hot", "1");
        put(&env.open_database("hot").unwrap(), &env, "2");
        env.close().unwrap();
        holds(&Environment::open(home).unwrap(), "hot", "2");
    }
}

#[test]
fn a_moved_home_is_told_which_directory_stayed_behind_and_how_to_claim_it() {
    let scratch = Scratch::new();
    scratch.make().close().unwrap();
    let moved = scratch.path("moved");
    fs::rename(scratch.home(), &moved).unwrap();
    let disk2 = scratch.disk2().display().to_string();
    let command = format!("campanile data-dirs -h {} --claim {disk2}", moved.display());
    refused(&moved, ErrorKind::Corrupt, &[&disk2, &command]);
    data_dirs::relocate(&moved, &disk2, &disk2).unwrap();
    let env = Environment::open(&moved).unwrap();
    holds(&env, "large", "here");
    holds(&env, "hot", "here");
}

#[test]
fn a_copied_home_never_shares_a_directory_with_the_original() {
    let scratch = Scratch::new();
    scratch.make().close().unwrap();
    let (copy, disk3) = (scratch.path("copy"), scratch.path("disk3"));
    copy_all(&scratch.home(), &copy);
    let disk2 = scratch.disk2().display().to_string();
    refused(&copy, ErrorKind::Corrupt, &[&disk2, "--map"]);
    let error = data_dirs::relocate(&copy, &disk2, &disk2).unwrap_err();
    assert!(error.to_string().contains("cannot share"), "{error}");
    let error = data_dirs::relocate(&copy, &disk2, &disk3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "nothing is there yet: {error}");
    copy_all(&scratch.disk2(), &disk3);
    data_dirs::relocate(&copy, &disk2, &disk3).unwrap();
    let env = Environment::open(&copy).unwrap();
    put(&env.open_database("large").unwrap(), &env, "changed in the copy");
    env.close().unwrap();
    holds(&Environment::open(scratch.home()).unwrap(), "large", "here");
    holds(&Environment::open(&copy).unwrap(), "large", "changed in the copy");
}
