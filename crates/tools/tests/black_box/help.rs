//! Command lines: help, versions, refusals.

use crate::{Scratch, command, feed};

const PROGRAMS: [&str; 9] = [
    "db_archive",
    "db_checkpoint",
    "db_dump",
    "db_hotbackup",
    "db_load",
    "db_printlog",
    "db_recover",
    "db_stat",
    "db_verify",
];

#[test]
fn every_program_explains_itself_under_both_names() {
    for program in PROGRAMS {
        let alone = Scratch::new().run(program, &["--help"]).exits(0);
        for words in ["-h, --home <DIR>", "Examples:", "Exit status:", "DB_HOME"] {
            assert!(alone.out.contains(words), "{program} --help lacks {words:?}");
        }
        let subcommand = program.strip_prefix("db_").unwrap();
        let under = Scratch::new().run("campanile", &[subcommand, "--help"]).exits(0);
        assert!(under.out.contains("Examples:"));
        Scratch::new().run(program, &["-V"]).exits(0).says(env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn the_umbrella_lists_its_subcommands_and_hides_the_child() {
    let ran = Scratch::new().run("campanile", &["--help"]).exits(0);
    for word in ["recover", "checkpoint", "dump", "load", "verify", "stat", "printlog", "drill"] {
        assert!(ran.out.contains(word), "{word}");
    }
    assert!(!ran.out.contains("drill-child"));
}

#[test]
fn a_wrong_command_line_exits_with_1() {
    for program in PROGRAMS {
        Scratch::new().run(program, &["--frobnicate"]).exits(1);
    }
    Scratch::new().run("db_stat", &["-h"]).exits(1);
    Scratch::new().run("db_checkpoint", &[]).exits(1);
    Scratch::new().run("campanile", &["frobnicate"]).exits(1);
    feed(command("campanile"), b"").exits(1);
    Scratch::new().run("db_printlog", &["-b", "three"]).exits(1).says("FILE/OFFSET");
}

#[test]
fn a_home_that_is_not_there_exits_with_8_and_is_not_made() {
    for (program, arguments) in [
        ("db_archive", &[][..]),
        ("db_archive", &["-d"]),
        ("db_archive", &["--to", "nowhere"]),
        ("db_checkpoint", &["-1"]),
        ("db_hotbackup", &["-b", "/nowhere/at/all"]),
        ("db_dump", &["x"]),
        ("db_printlog", &[]),
        ("db_recover", &[]),
        ("db_recover", &["--dry-run"]),
        ("db_recover", &["-c"]),
        ("db_stat", &[]),
        ("db_stat", &["-d", "x"]),
        ("db_verify", &[]),
    ] {
        let scratch = Scratch::new();
        scratch.run(program, arguments).exits(8);
        assert!(!scratch.home().exists(), "{program}");
    }
}

#[test]
fn what_is_not_in_this_build_is_refused_by_name() {
    for (program, arguments, words) in [
        ("db_dump", &["-r", "x"][..], "-r: salvage"),
        ("db_dump", &["-R", "x"], "-R: salvage"),
        ("db_dump", &["-k", "x"], "-k: "),
        ("db_dump", &["-m", "x"], "-m: "),
        ("db_dump", &["-d", "a", "x"], "-d: "),
        ("db_load", &["-r", "lsn", "x"], "-r: "),
        ("db_load", &["-t", "hash", "x"], "-t hash: "),
        ("db_stat", &["-x"], "-x: "),
        ("db_stat", &["-r"], "-r: replication"),
        ("db_verify", &["-o"], "-o: "),
        ("db_checkpoint", &["-1", "-L", "f"], "-L: "),
        ("db_dump", &["-P", "secret", "x"], "-P: encryption"),
    ] {
        let scratch = Scratch::new();
        scratch.run(program, arguments).exits(6).says(words);
        assert!(!scratch.home().exists(), "{program} {arguments:?}");
    }
}
