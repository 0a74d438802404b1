//! Programs on a home whose owner died, or that is damaged.

use std::fs;

use campanile::{Environment, EnvironmentOptions};

use crate::{Scratch, data_lines, small};

fn options() -> EnvironmentOptions {
    Environment::options().cache_bytes(1 << 20).log_file_bytes(1 << 20)
}

/// A home with two databases whose owner died with a transaction open.
fn crashed() -> Scratch {
    let scratch = Scratch::new();
    let env = options().open(scratch.home()).unwrap();
    let db = env.create_database("db").unwrap();
    let other = env.create_database("other").unwrap();
    env.run(|txn| {
        for n in 0..2000 {
            db.put(txn, format!("key-{n:05}"), vec![b'v'; 100])?;
        }
        other.put(txn, "k", "v")
    })
    .unwrap();
    // A later commit says in the log that everything before it was durable: without that, damage
    // in the last flush cannot be told from a write that a crash interrupted.
    env.run(|txn| other.put(txn, "k", "v")).unwrap();
    let mut txn = env.begin().unwrap();
    db.put(&mut txn, "never", "committed").unwrap();
    std::mem::forget(txn);
    drop((db, other));
    env.abandon();
    scratch
}

fn picture(scratch: &Scratch) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for dir in ["", "log", "data"] {
        for entry in fs::read_dir(scratch.home().join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn reading_programs_show_what_recovery_gives_and_change_nothing() {
    let scratch = crashed();
    let before = picture(&scratch);
    let dump = scratch.run("db_dump", &["-p", "other"]).exits(0);
    assert_eq!(data_lines(&dump.out), " k\n v\nDATA=END\n");
    assert!(dump.err.contains("nothing on disk was changed"), "{}", dump.err);
    let dump = scratch.run("db_dump", &["-p", "db"]).exits(0);
    assert_eq!(dump.out.lines().filter(|line| line.starts_with(" key-")).count(), 2000);
    assert!(!dump.out.contains("never"));
    scratch.run("db_verify", &[]).exits(0).says("db succeeded: 2000 entries");
    assert_eq!(scratch.run("db_stat", &["--json"]).exits(0).json()["state"], "needs-recovery");
    scratch.run("db_stat", &["-d", "db"]).exits(0).says("2000\tNumber of entries");
    scratch.run("db_printlog", &[]).exits(0).says("commit");
    scratch.run("db_recover", &["--dry-run"]).exits(0).says("nothing on disk was changed");
    assert!(picture(&scratch) == before, "the home was changed");
}

#[test]
fn recovery_reports_what_it_did_and_there_is_nothing_left_to_do() {
    let scratch = crashed();
    let dry = scratch.run("db_recover", &["--dry-run", "--json"]).exits(0).json();
    assert_eq!((&dry["needed"], &dry["dry_run"]), (&true.into(), &true.into()));
    let ran = scratch.run("db_recover", &["-v", "-f"]).exits(0);
    assert!(ran.out.contains("recovered") && ran.out.contains("replay"), "{}", ran.out);
    scratch.run("db_recover", &["-v"]).exits(0).says("nothing to recover");
    let json = scratch.run("db_recover", &["--json"]).exits(0).json();
    assert_eq!((&json["needed"], &json["report"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(scratch.run("db_recover", &[]).exits(0).out, "", "silent without -v");
    scratch.run("db_verify", &["-q"]).exits(0);
}

#[test]
fn a_checkpoint_recovers_first_and_says_so() {
    let scratch = crashed();
    scratch
        .run("db_checkpoint", &["-1", "-v"])
        .exits(0)
        .says("the environment was recovered first")
        .says("checkpoint at");
    scratch.run("db_checkpoint", &["-k", "1000", "-v"]).exits(0).says("no checkpoint is due");
    let json = scratch.run("db_checkpoint", &["-p", "0", "--json"]).exits(0).json();
    assert_eq!(json["taken"], true);
}

#[test]
fn the_log_is_printed_in_order_in_parts_and_as_json() {
    let scratch = crashed();
    let all = scratch.run("db_printlog", &["--json"]).exits(0);
    let records: Vec<serde_json::Value> =
        all.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.len() > 1000);
    assert!(records.iter().any(|record| record["kind"] == "commit"));
    let lsn = |at: usize| records[at]["lsn"].as_str().unwrap().to_owned();
    let part = scratch.run("db_printlog", &["-b", &lsn(5), "-e", &lsn(9)]).exits(0);
    assert_eq!(part.out.lines().count(), 5);
    assert!(part.out.starts_with(&format!("[{}] ", lsn(5))), "{}", part.out);
    let reverse = scratch.run("db_printlog", &["-r", "-b", &lsn(5), "-e", &lsn(9)]).exits(0);
    let mut lines: Vec<&str> = reverse.out.lines().collect();
    lines.reverse();
    assert_eq!(lines, part.out.lines().collect::<Vec<_>>());
    scratch.run("db_printlog", &["-b", "999/512"]).exits(2);
}

#[test]
fn a_damaged_page_is_named_and_the_rest_stays_usable() {
    let scratch = Scratch::new();
    scratch.load("good", &small(&[("k", "v")]));
    scratch.load("bad", &small(&[("k", "v")]));
    let file = scratch.home().join("data/data.0000000017");
    let mut bytes = fs::read(&file).unwrap();
    bytes[2 * 8192 + 100] ^= 0x10;
    fs::write(&file, bytes).unwrap();
    let ran = scratch.run("db_verify", &[]).exits(2);
    assert!(ran.out.contains("page 2 of file 17"), "{}", ran.out);
    assert!(ran.out.contains("verification of good succeeded"), "{}", ran.out);
    assert!(ran.out.contains("verification of bad FAILED"), "{}", ran.out);
    let json = scratch.run("db_verify", &["--json"]).exits(2).json();
    assert!(!json["damage"].as_array().unwrap().is_empty());
    scratch.run("db_dump", &["bad"]).exits(2).says("page 2 of file 17");
    scratch.run("db_dump", &["good"]).exits(0);
    scratch.run("db_verify", &["good"]).exits(0);
    scratch.run("db_verify", &["nosuch"]).exits(8);
}

#[test]
fn a_file_that_is_missing_or_foreign_is_found_by_verify() {
    let scratch = Scratch::new();
    scratch.load("one", &small(&[("k", "v")]));
    scratch.load("two", &small(&[("k", "v")]));
    let data = scratch.home().join("data");
    fs::rename(data.join("data.0000000016"), scratch.path("away")).unwrap();
    scratch.run("db_verify", &[]).exits(2).says("file 16 is missing");
    fs::rename(scratch.path("away"), data.join("data.0000000016")).unwrap();
    fs::copy(data.join("data.0000000016"), data.join("data.0000000099")).unwrap();
    scratch.run("db_verify", &[]).exits(2).says("file 99 belongs to no database");
}

#[test]
fn damage_in_the_middle_of_the_log_is_an_error_with_file_and_offset_never_the_end() {
    let scratch = crashed();
    let log = scratch.home().join("log/log.0000000001");
    let mut bytes = fs::read(&log).unwrap();
    bytes[40_000] ^= 1;
    fs::write(&log, &bytes).unwrap();
    for program in ["db_printlog", "db_recover", "db_verify"] {
        let ran = scratch.run(program, &[]).exits(2);
        assert!(ran.err.contains("log.0000000001"), "{program}: {}", ran.err);
        assert!(ran.err.contains("offset"), "{program}: {}", ran.err);
    }
    assert!(fs::read(&log).unwrap() == bytes, "nothing was cut");
}

#[test]
fn a_lost_control_file_is_damage_not_an_empty_home() {
    let scratch = crashed();
    fs::remove_file(scratch.home().join("control")).unwrap();
    scratch.run_with_input("db_load", &["db"], &small(&[])).exits(2).says("control");
}
