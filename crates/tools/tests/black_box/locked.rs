//! Programs beside a process that owns the home.

use campanile::Environment;

use crate::{Scratch, small};

#[test]
fn programs_that_need_the_home_say_who_has_it() {
    let scratch = Scratch::new();
    scratch.load("db", &small(&[("k", "v")]));
    let env = Environment::open(scratch.home()).unwrap();
    let me = format!("process {}", std::process::id());
    for (program, arguments) in [
        ("db_load", &["db"][..]),
        ("db_recover", &[]),
        ("db_recover", &["--dry-run"]),
        ("db_checkpoint", &["-1"]),
        ("db_dump", &["db"]),
        ("db_verify", &[]),
        ("db_stat", &["-d", "db"]),
    ] {
        scratch.run(program, arguments).exits(4).says(&me);
    }
    env.close().unwrap();
    scratch.run("db_dump", &["db"]).exits(0);
}

#[test]
fn state_and_log_can_be_read_beside_an_owner() {
    let scratch = Scratch::new();
    scratch.load("db", &small(&[("k", "v")]));
    let env = Environment::open(scratch.home()).unwrap();
    let json = scratch.run("db_stat", &["--json"]).exits(0).json();
    assert_eq!(json["state"], "owned");
    assert_eq!(json["owner"]["pid"], std::process::id());
    scratch.run("db_stat", &[]).exits(0).says("owned by a running process");
    scratch.run("db_printlog", &[]).exits(0).says("commit");
    env.close().unwrap();
}
