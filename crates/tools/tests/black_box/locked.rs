//! Programs beside a process that owns the home.

use std::time::{Duration, Instant};

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
fn what_a_running_owner_does_is_shown_beside_it() {
    let scratch = Scratch::new();
    scratch.load("db", &small(&[("k", "v")]));
    let options = Environment::options().live_stats(Some(Duration::from_millis(20)));
    let env = options.open(scratch.home()).unwrap();
    let db = env.open_database("db").unwrap();
    let mut txn = env.begin().unwrap();
    db.put(&mut txn, "k", "w").unwrap();
    let _snapshot = env.snapshot().unwrap();
    let id = txn.id();
    let deadline = Instant::now() + Duration::from_secs(30);
    let live = loop {
        let json = scratch.run("db_stat", &["--json"]).exits(0).json();
        if json["live"]["activity"]["oldest_snapshot"].is_object() {
            break json["live"].clone();
        }
        assert!(Instant::now() < deadline, "{json}");
    };
    assert_eq!(live["pid"], std::process::id());
    assert_eq!(live["stats"]["transactions"]["active"], 1);
    let shown = live["activity"]["transactions"].as_array().unwrap();
    assert!(shown.iter().any(|txn| txn["id"] == id && txn["first_lsn"] != "0/0"), "{shown:?}");
    let stat = scratch.run("db_stat", &["-t"]).exits(0);
    stat.says("Active transaction");
    let words = [
        "which owns the home\n",
        "Age of the oldest snapshot",
        &format!("transaction {id}, running"),
    ];
    for word in words {
        scratch.run("db_stat", &["-ct"]).exits(0).says(word);
    }
    scratch.run("db_stat", &["-m"]).exits(0).says("Dirty pages");
    scratch.run("db_stat", &["-l"]).exits(0).says("Syncs of log files");
    drop(txn);
    env.abandon();
    scratch.run("db_stat", &["-c"]).exits(0).says("which owns the home no more");
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
