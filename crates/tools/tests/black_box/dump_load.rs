//! Text out and in: real data, both spellings, several databases, Berkeley DB itself.

use std::process::Command;

use crate::{Scratch, data_lines, feed, shipped, small};

#[test]
fn real_data_goes_through_unchanged_in_both_spellings() {
    for (file, option) in [("packages.dump", None), ("packages.print.dump", Some("-p"))] {
        let text = shipped(file);
        let scratch = Scratch::new();
        scratch.load("packages", &text);
        let mut arguments = vec!["packages"];
        arguments.extend(option);
        let ran = scratch.run("db_dump", &arguments).exits(0);
        let text = String::from_utf8(text).unwrap();
        assert!(data_lines(&ran.out) == data_lines(&text), "{file} changed on its way");
        let head = ran.out.split_once("HEADER=END").unwrap().0;
        assert_eq!(head, text.split_once("HEADER=END").unwrap().0.replace("4096", "8192"));
        scratch.run("db_verify", &[]).exits(0).says("packages succeeded: 15928 entries");
    }
}

#[test]
fn berkeley_db_takes_our_dump_and_gives_the_same_data_back() {
    if Command::new("db5.3_load").arg("-V").output().is_err() {
        eprintln!("NOT RUN: db5.3_load is not installed (Debian package db5.3-util)");
        return;
    }
    let text = shipped("packages.dump");
    let scratch = Scratch::new();
    scratch.load("packages", &text);
    let ours = scratch.run("db_dump", &["packages"]).exits(0);
    let file = scratch.path("bdb.db").display().to_string();
    let mut load = Command::new("db5.3_load");
    load.arg(&file);
    feed(load, ours.out.as_bytes()).exits(0);
    let mut dump = Command::new("db5.3_dump");
    dump.arg(&file);
    let theirs = feed(dump, b"").exits(0);
    assert!(data_lines(&theirs.out) == data_lines(&ours.out));

    // And back again, several databases in one text, with a name that needs escapes.
    let other = Scratch::new();
    other.load("a b\\c\u{e9}", &small(&[("k", "v\\0a")]));
    other.load("z", &small(&[]));
    let all = other.run("db_dump", &[]).exits(0);
    let file = scratch.path("several.db").display().to_string();
    let mut load = Command::new("db5.3_load");
    load.arg(&file);
    feed(load, all.out.as_bytes()).exits(0);
    let mut dump = Command::new("db5.3_dump");
    dump.arg(&file);
    let theirs = feed(dump, b"").exits(0);
    let last = Scratch::new();
    last.run_with_input("db_load", &[], theirs.out.as_bytes()).exits(0);
    assert_eq!(last.run("db_dump", &[]).exits(0).out, all.out);
}

#[test]
fn all_databases_go_into_one_text_and_come_back() {
    let scratch = Scratch::new();
    scratch.load("one", &small(&[("a", "1"), ("b", "2")]));
    scratch.load("two", &small(&[]));
    scratch.run("db_dump", &["-l"]).exits(0).says("one\ntwo\n");
    assert_eq!(scratch.run("db_dump", &["-l", "--json"]).json(), serde_json::json!(["one", "two"]));
    let file = scratch.path("all.dump").display().to_string();
    scratch.run("db_dump", &["-p", "-f", &file]).exits(0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("DATA=END").count(), 2);
    let other = Scratch::new();
    let ran = other.run("db_load", &["-v", "-f", &file]).exits(0);
    assert!(ran.out.contains("one (created): 2 inserted") && ran.out.contains("two (created): 0"));
    assert_eq!(other.run("db_dump", &["-p"]).exits(0).out, text);
    let by_option = other.run("db_dump", &["-p", "-s", "one"]).exits(0);
    assert_eq!(by_option.out, other.run("db_dump", &["-p", "one"]).exits(0).out);
    assert!(!by_option.out.contains("database="));
    other.run("db_dump", &["none"]).exits(8).says("\"none\"");
}

#[test]
fn no_overwrite_keeps_what_is_there_and_exits_with_1() {
    let scratch = Scratch::new();
    scratch.load("db", &small(&[("a", "old"), ("b", "old")]));
    let more = small(&[("a", "new"), ("c", "new")]);
    let ran = scratch.run_with_input("db_load", &["-n", "--json", "db"], &more).exits(1);
    assert_eq!(ran.json()["databases"][0]["kept"], 1);
    assert!(ran.err.contains("1 keys existed"));
    let dump = scratch.run("db_dump", &["-p", "db"]).exits(0);
    assert_eq!(data_lines(&dump.out), " a\n old\n b\n old\n c\n new\nDATA=END\n");
    scratch.run_with_input("db_load", &["-v", "db"], &more).exits(0).says("0 inserted, 2 replaced");
    scratch.run_with_input("db_load", &["-n", "db"], &small(&[("d", "x")])).exits(0);
}

#[test]
fn plain_text_is_loaded_in_pairs() {
    let scratch = Scratch::new();
    let arguments = ["-T", "-t", "btree", "db"];
    scratch.run_with_input("db_load", &arguments, b"k\\09x\nv\\\\\nk2\n\n").exits(0);
    let dump = scratch.run("db_dump", &["-p", "db"]).exits(0);
    assert_eq!(data_lines(&dump.out), " k\\09x\n v\\\\\n k2\n \nDATA=END\n");
    scratch.run_with_input("db_load", &["-T", "db"], b"k\nv\n").exits(1);
    scratch.run_with_input("db_load", &arguments, b"k3\n").exits(7).says("half a pair");
}

#[test]
fn the_command_line_wins_over_the_header() {
    let text = "VERSION=3\nformat=print\ndatabase=h\ntype=hash\nh_nelem=9\nHEADER=END\n\
                \x20b\n 1\n a\n 2\nDATA=END\n";
    let scratch = Scratch::new();
    scratch.run_with_input("db_load", &[], text.as_bytes()).exits(6).says("type=hash");
    let ran = scratch.run_with_input("db_load", &["-v", "-t", "btree"], text.as_bytes()).exits(0);
    assert!(ran.out.contains("h (created): 2 inserted") && ran.out.contains("h_nelem=9"));
    let arguments = ["-t", "btree", "-c", "database=other"];
    scratch.run_with_input("db_load", &arguments, text.as_bytes()).exits(0);
    let arguments = ["-t", "btree", "third"];
    scratch.run_with_input("db_load", &arguments, text.as_bytes()).exits(1).says("-c database=");
    assert_eq!(scratch.run("db_dump", &["-l"]).out, "h\nother\n");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scratch = Scratch::new();
    scratch.load("packages", &shipped("packages.dump"));
    let mut dump = crate::command("db_dump");
    dump.env("DB_HOME", scratch.home()).arg("packages");
    let mut child = dump.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[cfg(unix)]
#[test]
fn there_may_be_more_databases_than_a_process_may_open_files() {
    let mut text = String::new();
    for n in 0..400 {
        let pair = format!(" k\n v{n}\n");
        text.push_str(&format!("VERSION=3\nformat=print\ndatabase=db{n:04}\ntype=btree\n"));
        text.push_str(&format!("HEADER=END\n{pair}DATA=END\n"));
    }
    let scratch = Scratch::new();
    let few = |program: &str| {
        let exe = crate::command(program).get_program().to_owned();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("ulimit -n 200 && exec \"$0\" \"$@\"").arg(exe);
        shell.env("DB_HOME", scratch.home());
        shell
    };
    feed(few("db_load"), text.as_bytes()).exits(0);
    let mut dump = few("db_dump");
    dump.arg("-p");
    let all = feed(dump, b"").exits(0);
    assert_eq!(all.out.matches("DATA=END").count(), 400);
    feed(few("db_verify"), b"").exits(0).says("db0399 succeeded");
}

#[test]
fn statistics_count_what_was_loaded() {
    let scratch = Scratch::new();
    scratch.load("packages", &shipped("packages.dump"));
    let ran = scratch.run("db_stat", &["-d", "packages"]).exits(0);
    assert!(ran.out.contains("15928\tNumber of entries\n"), "{}", ran.out);
    let json = scratch.run("db_stat", &["-d", "packages", "--json"]).exits(0).json();
    assert_eq!((&json["name"], &json["entries"]), (&"packages".into(), &15928.into()));
    let all = scratch.run("db_stat", &["-a"]).exits(0);
    assert!(all.out.contains("closed cleanly\tState") && all.out.contains("log.0000000001"));
    assert_eq!(scratch.run("db_stat", &["--json"]).exits(0).json()["state"], "closed");
}
