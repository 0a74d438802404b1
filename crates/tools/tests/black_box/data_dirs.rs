//! Data files in several directories, from outside.

use crate::{Scratch, small};

fn text(path: impl AsRef<std::path::Path>) -> String {
    path.as_ref().display().to_string()
}

/// A home with a database, and with a second directory that has none yet.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.load("packages", &small(&[("a", "1"), ("b", "2")]));
    let disk2 = text(scratch.path("disk2"));
    scratch.run("campanile", &["data-dirs", "--add", &disk2]).exits(0).says(&disk2);
    scratch
}

#[test]
fn directories_are_listed_and_a_missing_one_is_named_with_what_to_do() {
    let scratch = scratch();
    let disk2 = text(scratch.path("disk2"));
    scratch.run("db_stat", &[]).exits(0).says(&disk2);
    let listed = scratch.run("campanile", &["data-dirs", "--json"]).exits(0).json();
    assert_eq!(listed["data_dirs"][1]["path"], disk2.as_str());
    std::fs::rename(&disk2, scratch.path("disk3")).unwrap();
    let disk3 = text(scratch.path("disk3"));
    scratch.run("db_verify", &[]).exits(5).says("mounted").says("--map");
    scratch.run("campanile", &["data-dirs"]).exits(2).says("mounted");
    scratch.run("campanile", &["data-dirs", "--map", &disk2]).exits(1);
    let map = format!("{disk2}={disk3}");
    scratch.run("campanile", &["data-dirs", "--map", &map]).exits(0).says(&disk3);
    scratch.run("db_verify", &[]).exits(0);
}

#[test]
fn a_moved_home_claims_its_directory_and_a_backup_knows_it() {
    let scratch = scratch();
    let (disk2, moved) = (text(scratch.path("disk2")), text(scratch.path("moved")));
    std::fs::rename(scratch.home(), &moved).unwrap();
    scratch.run("db_verify", &["-h", &moved]).exits(2).says("--claim");
    scratch.run("campanile", &["data-dirs", "-h", &moved, "--claim", &disk2]).exits(0);
    scratch.run("db_verify", &["-h", &moved]).exits(0);
    let (repository, new) = (text(scratch.path("safe")), text(scratch.path("new")));
    scratch.run("campanile", &["backup", "-h", &moved, "-r", &repository]).exits(0);
    let restore = ["restore", "-r", &repository, "-h", &new];
    scratch.run("campanile", &[&restore[..], &["--map", "x=y"]].concat()).exits(1).says(&disk2);
    scratch.run("campanile", &restore).exits(0).says("data-1");
    scratch.run("db_verify", &["-h", &new]).exits(0);
    let copy = text(scratch.path("copy"));
    scratch.run("db_hotbackup", &["-h", &moved, "-b", &copy, "-d", &disk2]).exits(0);
    scratch.run("db_hotbackup", &["-h", &moved, "-b", "x", "-d", "/nowhere"]).exits(6);
}
