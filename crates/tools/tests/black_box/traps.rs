//! The traps that a lenient loader falls into: each is an error, and the home stays as it was.

use crate::{Scratch, small};

const HEAD: &str = "VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n";

/// Texts that must be refused: what it is, the text, the line of the error.
fn traps() -> Vec<(&'static str, String, u32)> {
    let data = |lines: &str| format!("{HEAD}{lines}DATA=END\n");
    vec![
        ("no DATA=END", format!("{HEAD} 61\n 62\n"), 6),
        ("a header cut short", HEAD[..30].to_owned(), 3),
        ("nothing at all", String::new(), 0),
        ("half a pair", data(" 61\n 62\n 63\n"), 8),
        ("an odd number of digits", data(" 61\n 626\n"), 6),
        ("an upper-case digit", data(" 6A\n 62\n"), 5),
        ("a foreign digit", data(" 61\n 6x\n"), 6),
        ("no leading space", data(" 61\n62\n"), 6),
        ("CR LF", HEAD.replace('\n', "\r\n"), 1),
        ("CR LF in the data", data(" 61\r\n 62\r\n"), 5),
        ("an unknown keyword", HEAD.replace("type", "tpye=btree\ntype"), 3),
        ("a repeated keyword", HEAD.replace("type", "type=btree\ntype"), 4),
        ("a repeated key", data(" 61\n 62\n 63\n 64\n 61\n 65\n"), 9),
        ("no VERSION", HEAD.replace("VERSION=3\n", ""), 3),
        ("the second of two sections", format!("{}{HEAD} 61\n", data(" 61\n 62\n")), 12),
    ]
}

#[test]
fn each_trap_is_an_error_with_file_and_line_and_nothing_is_kept() {
    for (what, text, line) in traps() {
        let scratch = Scratch::new();
        scratch.load("there", &small(&[("k", "v")]));
        let before = scratch.run("db_dump", &[]).exits(0).out;
        let file = scratch.file("trap.dump", &text);
        for target in ["there", "new"] {
            let ran = scratch.run("db_load", &["-f", &file, target]).exits(7);
            let place = format!("trap.dump:{line}: ");
            assert!(ran.err.contains(&place), "{what}: {place:?} is not in {}", ran.err);
            assert_eq!(scratch.run("db_dump", &[]).exits(0).out, before, "{what} into {target}");
        }
        scratch.run("db_verify", &[]).exits(0);
    }
}

#[test]
fn features_of_later_builds_are_refused_by_name_and_nothing_is_kept() {
    for (keyword, word) in [
        ("duplicates=1\n", "duplicates"),
        ("duplicates=1\ndupsort=1\n", "sorted duplicates"),
        ("recnum=1\n", "record numbers"),
        ("nparts=2\n", "partitioned"),
        ("keys=1\n", "record-number keys"),
    ] {
        let scratch = Scratch::new();
        let text = format!("{}\n", HEAD.replace("HEADER", &format!("{keyword}HEADER")).trim_end());
        let text = format!("{text} 61\n 62\nDATA=END\n");
        let ran = scratch.run_with_input("db_load", &["db"], text.as_bytes()).exits(6);
        assert!(ran.err.contains(word) && ran.err.contains("standard input:"), "{}", ran.err);
        assert!(!scratch.home().exists(), "the failed load left a new home behind");
    }
    for kind in ["recno", "queue", "heap", "hash"] {
        let text = HEAD.replace("btree", kind);
        Scratch::new()
            .run_with_input("db_load", &["db"], format!("{text}DATA=END\n").as_bytes())
            .exits(6)
            .says(&format!("type={kind}"));
    }
}

#[test]
fn a_load_in_batches_keeps_whole_batches() {
    let scratch = Scratch::new();
    let text = format!("{HEAD} 61\n 01\n 62\n 02\n 63\n 03\n 64\n 04\n 65\n");
    let arguments = ["--batch", "2", "db"];
    scratch.run_with_input("db_load", &arguments, text.as_bytes()).exits(7);
    let dump = scratch.run("db_dump", &["db"]).exits(0);
    assert!(
        dump.out.ends_with(" 61\n 01\n 62\n 02\n 63\n 03\n 64\n 04\nDATA=END\n"),
        "{}",
        dump.out
    );
    scratch.run("db_load", &["--batch", "0", "db"]).exits(1);
}

#[test]
fn a_repeated_key_is_found_in_any_order_and_beside_keys_that_were_there() {
    let repeated = format!("{HEAD} 63\n 01\n 61\n 02\n 62\n 03\n 61\n 04\nDATA=END\n");
    let scratch = Scratch::new();
    for _ in 0..2 {
        let ran = scratch.run_with_input("db_load", &["db"], repeated.as_bytes()).exits(7);
        assert!(ran.err.contains("standard input:11: key a is given twice"), "{}", ran.err);
        scratch.load("db", &small(&[("a", "x"), ("b", "y")]));
    }
    let overwrite = format!("{HEAD} 62\n 03\n 61\n 04\nDATA=END\n");
    scratch.run_with_input("db_load", &["db"], overwrite.as_bytes()).exits(0);
}
