//! One suite for all backends: the operating system, memory, the simulated disk, and wrappers.
//!
//! What holds here is all that an engine may rely on while nothing fails and nobody crashes.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_vfs::sim::{SimDisk, SimOptions};
use campanile_vfs::{File, LockMode, MemoryVfs, Observed, Observer, Open, OsVfs, Recording, Vfs};

#[derive(Debug)]
struct Blind;

impl Observer for Blind {}

/// Runs `test` on every backend, each time in an empty directory.
fn on_every_backend(test: impl Fn(&dyn Vfs, &Path)) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    test(&OsVfs::new(), scratch.path());
    let home = PathBuf::from("home");
    let memory = MemoryVfs::new();
    let sim = SimDisk::new(SimOptions::new(1));
    let big_sectors = SimOptions { sector_bytes: 4096, ..SimOptions::new(1) };
    let observed = Observed::new(Arc::new(MemoryVfs::new()), Arc::new(Blind));
    let (recorded, _) = Recording::wrap(SimDisk::new(big_sectors));
    let backends: [&dyn Vfs; 4] = [&memory, &*sim, &*observed, &*recorded];
    for vfs in backends {
        vfs.create_dir(&home).expect("a home");
        test(vfs, &home);
    }
}

fn open(vfs: &dyn Vfs, path: &Path) -> Arc<dyn File> {
    vfs.open(path, Open::OpenOrCreate).expect("an open file")
}

fn content(vfs: &dyn Vfs, path: &Path) -> Vec<u8> {
    let file = vfs.open(path, Open::Read).expect("an open file");
    let mut bytes = vec![0; file.len().expect("a length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("all bytes");
    bytes
}

fn names(vfs: &dyn Vfs, dir: &Path) -> BTreeSet<String> {
    vfs.list(dir).expect("a listing").into_iter().collect()
}

#[test]
fn a_write_is_seen_by_every_handle_at_once() {
    on_every_backend(|vfs, home| {
        let path = home.join("data");
        let (one, other) = (open(vfs, &path), open(vfs, &path));
        one.write_all_at(b"hello world", 0).unwrap();
        other.write_all_at(b"W", 6).unwrap();
        let mut buf = [0; 11];
        one.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"hello World");
        assert_eq!(other.len().unwrap(), 11);
    });
}

#[test]
fn a_write_past_the_end_leaves_zeros_between() {
    on_every_backend(|vfs, home| {
        let path = home.join("data");
        let file = open(vfs, &path);
        file.write_all_at(b"a", 0).unwrap();
        file.write_all_at(b"z", 9000).unwrap();
        let mut expected = vec![0; 9001];
        (expected[0], expected[9000]) = (b'a', b'z');
        assert_eq!(content(vfs, &path), expected);
    });
}

#[test]
fn a_read_ends_where_the_file_ends() {
    on_every_backend(|vfs, home| {
        let file = open(vfs, &home.join("data"));
        assert!(file.is_empty().unwrap());
        file.write_all_at(&[7; 100], 0).unwrap();
        let mut buf = [0; 64];
        assert_eq!(file.read_full_at(&mut buf, 80).unwrap(), 20);
        assert_eq!(buf[..20], [7; 20]);
        assert_eq!(file.read_at(&mut buf, 100).unwrap(), 0);
        assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
        assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
        let error = file.read_exact_at(&mut buf, 80).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn what_was_cut_reads_as_zeros_when_the_file_grows_again() {
    on_every_backend(|vfs, home| {
        let path = home.join("data");
        let file = open(vfs, &path);
        file.write_all_at(&[9; 5000], 0).unwrap();
        file.set_len(700).unwrap();
        file.set_len(2000).unwrap();
        let mut expected = vec![9; 700];
        expected.resize(2000, 0);
        assert_eq!(content(vfs, &path), expected);
    });
}

#[test]
fn allocation_grows_with_zeros_and_keeps_what_is_there() {
    on_every_backend(|vfs, home| {
        let path = home.join("data");
        let file = open(vfs, &path);
        file.write_all_at(b"keep", 0).unwrap();
        file.allocate(0, 8192).unwrap();
        file.allocate(100, 10).unwrap();
        file.allocate(0, 0).unwrap();
        let mut expected = b"keep".to_vec();
        expected.resize(8192, 0);
        assert_eq!(content(vfs, &path), expected);
    });
}

#[test]
fn syncs_and_hints_change_nothing_that_can_be_seen() {
    on_every_backend(|vfs, home| {
        let path = home.join("data");
        let file = open(vfs, &path);
        file.write_all_at(&[3; 20_000], 0).unwrap();
        file.start_write_out(0, 20_000);
        file.start_write_out(0, 0);
        file.sync_data().unwrap();
        file.write_all_at(&[4; 10], 50).unwrap();
        file.sync_all().unwrap();
        vfs.sync_dir(home).unwrap();
        assert_eq!(content(vfs, &path)[45..65], [[3; 5], [4; 5], [4; 5], [3; 5]].concat());
        assert!(vfs.sync_dir(&home.join("nowhere")).is_err());
    });
}

#[test]
fn opening_follows_the_mode() {
    on_every_backend(|vfs, home| {
        let path = home.join("data");
        for how in [Open::Read, Open::ReadWrite] {
            assert_eq!(vfs.open(&path, how).unwrap_err().kind(), ErrorKind::NotFound);
        }
        vfs.open(&path, Open::CreateNew).unwrap().write_all_at(b"x", 0).unwrap();
        let again = vfs.open(&path, Open::CreateNew).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(open(vfs, &path).len().unwrap(), 1);
        assert_eq!(vfs.open(&path, Open::ReadWrite).unwrap().len().unwrap(), 1);
        let reader = vfs.open(&path, Open::Read).unwrap();
        assert!(reader.write_at(b"y", 0).is_err());
        assert!(reader.set_len(0).is_err());
        assert!(vfs.open(&home.join("no/such/dir"), Open::OpenOrCreate).is_err());
        assert_eq!(content(vfs, &path), b"x");
    });
}

#[test]
fn a_rename_replaces_and_open_handles_follow_their_file() {
    on_every_backend(|vfs, home| {
        let (old, new) = (home.join("control.tmp"), home.join("control"));
        let replaced = open(vfs, &new);
        replaced.write_all_at(b"old", 0).unwrap();
        let file = open(vfs, &old);
        file.write_all_at(b"new", 0).unwrap();
        vfs.rename(&old, &new).unwrap();
        assert_eq!(content(vfs, &new), b"new");
        assert!(!vfs.exists(&old).unwrap());
        file.write_all_at(b"!", 3).unwrap();
        assert_eq!(content(vfs, &new), b"new!");
        let mut buf = [0; 3];
        replaced.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"old");
        vfs.rename(&new, &new).unwrap();
        assert_eq!(content(vfs, &new), b"new!");
        assert_eq!(vfs.rename(&old, &new).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_removed_file_lives_on_in_its_handles() {
    on_every_backend(|vfs, home| {
        let path = home.join("data");
        let file = open(vfs, &path);
        file.write_all_at(b"gone", 0).unwrap();
        vfs.remove(&path).unwrap();
        vfs.sync_dir(home).unwrap();
        assert!(!vfs.exists(&path).unwrap());
        let mut buf = [0; 4];
        file.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"gone");
        assert_eq!(vfs.remove(&path).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(open(vfs, &path).is_empty().unwrap());
    });
}

#[test]
fn directories_are_made_with_their_parents_and_list_what_they_hold() {
    on_every_backend(|vfs, home| {
        let deep = home.join("a/b/c");
        vfs.create_dir(&deep).unwrap();
        vfs.create_dir(&deep).unwrap();
        open(vfs, &deep.join("f"));
        open(vfs, &home.join("a/g"));
        assert_eq!(names(vfs, &home.join("a")), BTreeSet::from(["b".into(), "g".into()]));
        assert_eq!(names(vfs, &deep), BTreeSet::from(["f".into()]));
        assert!(vfs.exists(&deep).unwrap() && vfs.exists(&deep.join("f")).unwrap());
        assert!(!vfs.exists(&home.join("a/h")).unwrap());
        assert!(vfs.list(&home.join("nowhere")).is_err());
        assert!(vfs.create_dir(&home.join("a/g")).is_err());
        assert!(vfs.create_dir(&home.join("a/g/h")).is_err());
        assert!(vfs.remove(&home.join("a/b")).is_err());
        vfs.sync_dir(&home.join("a/./b")).unwrap();
    });
}

#[test]
fn files_move_between_directories() {
    on_every_backend(|vfs, home| {
        vfs.create_dir(&home.join("from")).unwrap();
        vfs.create_dir(&home.join("to")).unwrap();
        open(vfs, &home.join("from/f")).write_all_at(b"moved", 0).unwrap();
        vfs.rename(&home.join("from/f"), &home.join("to/g")).unwrap();
        assert!(names(vfs, &home.join("from")).is_empty());
        assert_eq!(content(vfs, &home.join("to/g")), b"moved");
        assert!(vfs.rename(&home.join("to/g"), &home.join("nowhere/g")).is_err());
    });
}

#[test]
fn a_directory_is_removed_only_when_it_is_empty() {
    on_every_backend(|vfs, home| {
        let dir = home.join("a/b");
        vfs.create_dir(&dir).unwrap();
        open(vfs, &dir.join("file"));
        let kind = |path: &Path| vfs.remove_dir(path).unwrap_err().kind();
        assert_eq!(kind(&dir), ErrorKind::DirectoryNotEmpty);
        assert_eq!(kind(&home.join("a")), ErrorKind::DirectoryNotEmpty);
        assert_eq!(kind(&dir.join("file")), ErrorKind::NotADirectory);
        assert_eq!(kind(&home.join("nowhere")), ErrorKind::NotFound);
        assert!(vfs.remove(&dir).is_err(), "a directory is no file");
        vfs.remove(&dir.join("file")).unwrap();
        vfs.remove_dir(&dir).unwrap();
        assert!(!vfs.exists(&dir).unwrap());
        assert!(vfs.open(&dir.join("file"), Open::OpenOrCreate).is_err());
        assert!(names(vfs, &home.join("a")).is_empty());
        vfs.create_dir(&dir).unwrap();
        assert_eq!(names(vfs, &home.join("a")), BTreeSet::from(["b".to_owned()]));
        vfs.sync_dir(&home.join("a")).unwrap();
    });
}

#[test]
fn an_exclusive_lock_shuts_everybody_else_out() {
    on_every_backend(|vfs, home| {
        let path = home.join("campanile.lock");
        let held = vfs.lock(&path, LockMode::Exclusive).unwrap().expect("free");
        assert!(vfs.exists(&path).unwrap());
        assert!(vfs.lock(&path, LockMode::Exclusive).unwrap().is_none());
        assert!(vfs.lock(&path, LockMode::Shared).unwrap().is_none());
        drop(held);
        let one = vfs.lock(&path, LockMode::Shared).unwrap().expect("free again");
        let other = vfs.lock(&path, LockMode::Shared).unwrap().expect("shared");
        assert!(vfs.lock(&path, LockMode::Exclusive).unwrap().is_none());
        drop(one);
        assert!(vfs.lock(&path, LockMode::Exclusive).unwrap().is_none());
        drop(other);
        assert!(vfs.lock(&path, LockMode::Exclusive).unwrap().is_some());
    });
}

#[test]
fn threads_write_their_own_ranges_of_one_file() {
    on_every_backend(|vfs, home| {
        let file = open(vfs, &home.join("data"));
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let file = &file;
                scope.spawn(move || {
                    for round in 0..50_u64 {
                        let place = (round * 4 + u64::from(thread)) * 100;
                        file.write_all_at(&[thread + 1; 100], place).unwrap();
                    }
                });
            }
        });
        let bytes = content(vfs, &home.join("data"));
        let wrong = (0..20_000).find(|at| bytes[*at] != (at / 100 % 4) as u8 + 1);
        assert_eq!((bytes.len(), wrong), (20_000, None));
    });
}

#[cfg(unix)]
#[test]
fn files_and_directories_of_the_system_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().unwrap();
    let (dir, file) = (scratch.path().join("home"), scratch.path().join("home/data"));
    let vfs = OsVfs::new();
    vfs.create_dir(&dir).unwrap();
    open(&vfs, &file);
    vfs.lock(&dir.join("lock"), LockMode::Exclusive).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&file), mode(&dir.join("lock"))), (0o700, 0o600, 0o600));
}

#[test]
fn errors_of_the_system_name_the_file() {
    let error = OsVfs::new().open(Path::new("no/such/file"), Open::Read).unwrap_err();
    assert!(error.to_string().contains("no/such/file"), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[cfg(unix)]
#[test]
fn a_name_that_leads_to_a_directory_elsewhere_is_removed_as_a_file_and_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let (there, link) = (scratch.path().join("there"), scratch.path().join("link"));
    let vfs = OsVfs::new();
    vfs.create_dir(&there).unwrap();
    open(&vfs, &there.join("file"));
    std::os::unix::fs::symlink(&there, &link).unwrap();
    assert_eq!(vfs.remove_dir(&link).unwrap_err().kind(), ErrorKind::NotADirectory);
    vfs.remove(&link).unwrap();
    assert!(vfs.exists(&there.join("file")).unwrap() && !vfs.exists(&link).unwrap());
}
