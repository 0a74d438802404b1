//! The table as people read it, and what keeps it in step with the tests.
//!
//! `CAMPANILE_WRITE_MATRIX=1` writes the document anew.

use crate::table::{Outcome, ROWS};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_path_buf()
}

const HEAD: &str = "\
# 38 ways to lose a database

What Berkeley DB 5.3.28 does was measured, row by row, with two work loads (A: new keys, many
small log files; B: keys overwritten, one log file); most silent rows were measured again with
4.8.30 and 18.1.40, with the same outcome. What Campanile does is asserted by a test per row in
`tests/matrix`, which also writes this file. *n* is normal recovery, which every open does; *c* is
catastrophic recovery, `db_recover -c`.

*Right*: all that was acknowledged is there and nothing else. *Refused*: it does not open, the
message names what is wrong and where, and nothing on the disk was changed for the worse.
*Contained*: it opens, what is damaged is named when it is touched, everything else is right.
*Silent*: wrong or missing data, and nobody says so. Where a row is about something that Campanile
does not have, its nearest equivalent stands behind \"ours\".

";

const BETWEEN: &str = "
The tests restore after every refusal, as the last column says, and compare what comes back with
the list of acknowledged commits. [SITUATIONS.md](SITUATIONS.md) has the commands, a section for
each row.

## Where the rows end

Two neighbours of rows are not seen, and no engine with a log can see them without writing more: a
newest log file that is lost in the moments before the control file states that it was begun (row
6); and a data file that is replaced by an older copy of itself while the environment is closed
cleanly (row 25), until a later change of the log meets one of its pages. In both cases a restore
from the repository brings everything archived.
";

fn counted(which: impl Fn(&crate::table::Row) -> [Outcome; 2], outcome: Outcome) -> usize {
    ROWS.iter().filter(|row| which(row).contains(&outcome)).count()
}

fn written() -> String {
    let mut text = HEAD.to_owned();
    let (theirs, ours) =
        (counted(|row| row.theirs, Outcome::Silent), counted(|row| row.ours, Outcome::Silent));
    let unusable = counted(|row| row.theirs, Outcome::Unusable);
    writeln!(text, "Silent rows: Berkeley DB {theirs}, Campanile {ours}. \"Ok\" that cannot be used: {unusable} and 0.\n")
        .expect("text");
    text.push_str("| # | situation | Berkeley DB n / c | what it leaves | Campanile n / c | what is named, and the way back |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for row in &ROWS {
        let pair = |pair: [Outcome; 2]| format!("{} / {}", pair[0].word(), pair[1].word());
        let (theirs, ours) = (pair(row.theirs), pair(row.ours));
        writeln!(
            text,
            "| {} | {} | {theirs} | {} | {ours} | {} |",
            row.number, row.situation, row.leaves, row.way_back
        )
        .expect("text");
    }
    text.push_str(BETWEEN);
    text
}

#[test]
fn the_document_says_what_the_tests_assert() {
    let path = root().join("crates/backup/MATRIX.md");
    if std::env::var_os("CAMPANILE_WRITE_MATRIX").is_some() {
        fs::write(&path, written()).expect("MATRIX.md is written");
    }
    let found = fs::read_to_string(&path).expect("MATRIX.md");
    assert!(
        found == written(),
        "run this test with CAMPANILE_WRITE_MATRIX=1 and read the difference"
    );
}

#[test]
fn every_row_has_its_test_and_every_test_its_row() {
    let folder = root().join("tests/matrix");
    let sources =
        fs::read_dir(folder).expect("tests/matrix").map(|entry| entry.expect("a file").path());
    let text: String = sources.map(|path| fs::read_to_string(path).expect("a source")).collect();
    for (place, row) in ROWS.iter().enumerate() {
        assert_eq!(usize::from(row.number), place + 1);
        let function = format!("#[test]\nfn row_{:02}_", row.number);
        assert!(text.contains(&function), "row {} has no test", row.number);
        let asserted = format!("situation({})", row.number);
        let through = format!("is_damaged({}, ", row.number);
        assert!(
            text.contains(&asserted) || text.contains(&through),
            "the test of row {} does not ask the table",
            row.number
        );
    }
    let tests = text.matches("#[test]\nfn row_").count();
    assert!(tests >= ROWS.len());
}

#[test]
fn none_of_ours_is_silent() {
    for row in &ROWS {
        for outcome in row.ours {
            let allowed = [Outcome::Right, Outcome::Refused, Outcome::Contained];
            assert!(allowed.contains(&outcome), "row {}: {outcome:?}", row.number);
        }
    }
    assert_eq!(counted(|row| row.theirs, Outcome::Silent), 8, "as measured");
}

#[test]
fn every_row_has_its_section_in_the_guide() {
    let path = root().join("crates/backup/SITUATIONS.md");
    let text = fs::read_to_string(path).expect("SITUATIONS.md");
    for row in &ROWS {
        let heading = format!("\n## {}. ", row.number);
        assert!(text.contains(&heading), "no section for row {}", row.number);
    }
    assert_eq!(text.matches("\n## ").count(), ROWS.len() + 1, "and the ways back");
}

#[test]
fn the_readme_leads_to_the_document() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    assert!(readme.contains("(crates/backup/MATRIX.md)"), "the README must link the matrix");
}
