//! Exports from outside: out, in, compared, refused, and read by Berkeley DB.

use std::path::Path;
use std::process::Command;

use campanile::{DatabaseOptions, Environment};

use crate::{Scratch, data_lines, feed, shipped, small};

fn text(path: std::path::PathBuf) -> String {
    path.display().to_string()
}

/// A home with real data, a database with a name that needs care, and one that is empty.
fn filled() -> Scratch {
    let scratch = Scratch::new();
    scratch.load("packages", &shipped("packages.dump"));
    scratch.load("a b/c", &small(&[("k", "v\\0a"), ("l", "")]));
    scratch.load("Empty", &small(&[]));
    let env = Environment::open(scratch.home()).unwrap();
    let volatile = DatabaseOptions::new().durable(false);
    env.run(|txn| {
        let cache = env.create_database_with(txn, "cache", volatile.clone())?;
        cache.put(txn, "k", "v").map(|_| ())
    })
    .unwrap();
    env.close().unwrap();
    scratch
}

#[test]
fn real_data_goes_out_and_in_in_every_form_and_is_proven_the_same() {
    let scratch = filled();
    let home = text(scratch.home());
    for (target, more) in [
        ("dir", &[][..]),
        ("packed", &["--compress", "zstd", "--level", "9"]),
        ("all.dump", &[]),
        ("all.dump.zst", &[]),
        ("other.name", &["--one-file"]),
    ] {
        let path = text(scratch.path(target));
        let arguments = [&["export", "-o", &path][..], more].concat();
        let ran = scratch.run("campanile", &arguments).exits(0);
        assert!(ran.out.contains("packages: 15928 pairs"), "{}", ran.out);
        assert_eq!(scratch.path(target).is_dir(), target == "dir" || target == "packed");
        let new = text(scratch.path(&format!("home-{target}")));
        scratch.run("campanile", &["import", "-h", &new, &path]).exits(0).says("4 databases");
        for (a, b) in [(&home, &path), (&path, &new), (&home, &new), (&path, &path)] {
            let ran = scratch.run("campanile", &["diff", a, b]).exits(0);
            assert_eq!(ran.out.matches(": same").count(), 4, "{}", ran.out);
        }
        let prints = ["fingerprint", "-h"];
        let all: Vec<String> = [&home, &path, &new]
            .map(|side| scratch.run("campanile", &[&prints[..], &[side]].concat()).exits(0).out)
            .into();
        assert!(all.windows(2).all(|two| two[0] == two[1]), "{all:?}");
        assert!(all[0].contains("cache (not durable): 1 pairs, 2 bytes, sha256 "), "{}", all[0]);
        let of_one = ["fingerprint", "--json", "-h", &new, "a b/c"];
        let json = scratch.run("campanile", &of_one).exits(0).json();
        assert_eq!((&json[0]["name"], &json[0]["pairs"]), (&"a b/c".into(), &2.into()));
    }
    let zstd = std::fs::metadata(scratch.path("all.dump.zst")).unwrap().len();
    assert!(zstd * 3 < std::fs::metadata(scratch.path("all.dump")).unwrap().len());
}

#[cfg(unix)]
#[test]
fn an_export_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let scratch = filled();
    let (dir, file) = (scratch.path("dir"), scratch.path("all.dump"));
    scratch.run("campanile", &["export", "-o", &text(dir.clone())]).exits(0);
    scratch.run("campanile", &["export", "-o", &text(file.clone())]).exits(0);
    assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
    let names: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600);
            path.file_name().unwrap().to_string_lossy().into_owned()
        })
        .collect();
    let expected = ["a%20b%2Fc.dump", "cache.dump", "Empty.dump", "export.json", "packages.dump"];
    assert!(names.len() == 5 && expected.iter().all(|name| names.contains(&(*name).into())));
}

#[test]
fn berkeley_db_reads_the_files_of_an_export() {
    if Command::new("db5.3_load").arg("-V").output().is_err() {
        eprintln!("NOT RUN: db5.3_load is not installed (Debian package db5.3-util)");
        return;
    }
    let scratch = filled();
    let (dir, file) = (scratch.path("dir"), scratch.path("all.dump.zst"));
    scratch.run("campanile", &["export", "-o", &text(dir.clone())]).exits(0);
    scratch.run("campanile", &["export", "-o", &text(file.clone())]).exits(0);
    let ours = scratch.run("db_dump", &["packages"]).exits(0);
    let one = std::fs::read(dir.join("packages.dump")).unwrap();
    let all = zstd::decode_all(&std::fs::read(&file).unwrap()[..]).unwrap();
    for (name, input) in [("one.db", one), ("all.db", all)] {
        let target = text(scratch.path(name));
        let mut load = Command::new("db5.3_load");
        load.arg(&target);
        feed(load, &input).exits(0);
        let mut dump = Command::new("db5.3_dump");
        dump.args(["-s", "packages", &target]);
        let theirs = feed(dump, b"").exits(0);
        assert!(data_lines(&theirs.out) == data_lines(&ours.out), "{name}");
    }
    let mut list = Command::new("db5.3_dump");
    list.args(["-l", &text(scratch.path("all.db"))]);
    let names = feed(list, b"").exits(0).out;
    assert_eq!(names.lines().count(), 5, "the databases and the description: {names}");

    // And our own loader does, without the description of the export.
    let other = Scratch::new();
    other.run("db_load", &["-f", &text(dir.join("packages.dump"))]).exits(0);
    assert_eq!(other.run("db_dump", &["packages"]).exits(0).out, ours.out);
}

#[test]
fn nothing_is_overwritten_unless_it_is_said_and_selected_databases_come_under_new_names() {
    let scratch = filled();
    let saved = text(scratch.path("saved"));
    let only = ["export", "-o", &saved, "--only", "packages,a b/c"];
    scratch.run("campanile", &only).exits(0).says("2 databases");
    scratch.run("campanile", &only).exits(6).says("holds an export already");
    scratch.run("campanile", &["import", &saved]).exits(6).says("nothing was imported");
    let renamed = ["import", "--only", "a b/c=x\\,y", &saved];
    scratch.run("campanile", &renamed).exits(0).says("x,y: 2 pairs");
    let home = text(scratch.home());
    let differs = || scratch.run("campanile", &["diff", "--keys", "5", &home, &saved]);
    assert!(differs().exits(1).out.contains("x,y: only in A"));
    let change = small(&[("k", "other"), ("m", "new")]);
    scratch.run_with_input("db_load", &["a b/c"], &change).exits(0);
    let words = differs().exits(1).out;
    for line in ["a b/c: differs from key k on (other value)", "  only in A: m"] {
        assert!(words.contains(line), "{words}");
    }
    let replace = ["import", "--replace", "--only", "a b/c", &saved];
    scratch.run("campanile", &replace).exits(0).says("(replaced)");
    let chosen = ["diff", "--only", "a b/c,packages", &home, &saved];
    scratch.run("campanile", &chosen).exits(0);
    let json = scratch.run("campanile", &["diff", "--json", &home, &saved]).exits(1).json();
    assert_eq!(json["databases"][1]["outcome"], "same", "{json}");
    scratch.run("campanile", &["diff", "-q", "--only", "none", &home, &saved]).exits(8);
}

#[test]
fn a_damaged_or_cut_export_is_refused_and_no_home_is_made_of_it() {
    let scratch = filled();
    let (dir, file) = (scratch.path("dir"), scratch.path("all.dump.zst"));
    scratch.run("campanile", &["export", "-o", &text(dir.clone())]).exits(0);
    scratch.run("campanile", &["export", "-o", &text(file.clone())]).exits(0);
    scratch.run("campanile", &["import", "--dry-run", &text(dir.clone())]).exits(0).says("proven");
    let new = text(scratch.path("new"));
    let import = |path: &Path| {
        let ran = scratch.run("campanile", &["import", "-h", &new, &text(path.to_owned())]);
        assert!(!scratch.path("new").exists());
        ran
    };
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    import(&file).exits(2).says("damaged or cut");
    let packages = dir.join("packages.dump");
    let mut bytes = std::fs::read(&packages).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] = if bytes[middle] == b'0' { b'1' } else { b'0' };
    std::fs::write(&packages, &bytes).unwrap();
    import(&dir).says("packages.dump");
    std::fs::remove_file(dir.join("export.json")).unwrap();
    import(&dir).exits(2).says("not finished");
    let dump = scratch.file("plain.dump", shipped("packages.dump"));
    import(Path::new(&dump)).exits(2).says("db_load");
    import(Path::new("/nowhere/at/all")).exits(8);
}

#[test]
fn of_a_home_in_use_a_hot_copy_is_read() {
    let scratch = filled();
    let env = Environment::open(scratch.home()).unwrap();
    let packages = env.open_database("packages").unwrap();
    env.run(|txn| packages.put(txn, "new", "1")).unwrap();
    let (saved, around) = (text(scratch.path("saved")), text(scratch.path("around")));
    let home = text(scratch.home());
    for arguments in [&["export", "-o", &saved][..], &["fingerprint"], &["diff", &home, &home]] {
        scratch.run("campanile", arguments).exits(4).says("--scratch");
    }
    let ran = scratch.run("campanile", &["export", "-o", &saved, "--scratch", &around]).exits(0);
    for words in ["a hot copy as of", "\"cache\" is not durable"] {
        assert!(ran.err.contains(words), "{}", ran.err);
    }
    assert!(ran.out.contains("packages: 15929 pairs"), "{}", ran.out);
    let diff = ["diff", "--scratch", &around, "--only", "packages", &home, &saved];
    scratch.run("campanile", &diff).exits(0);
    assert_eq!(std::fs::read_dir(scratch.path("around")).unwrap().count(), 0);
    env.close().unwrap();
}
