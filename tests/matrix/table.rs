//! The rows: what happened, what Berkeley DB 5.3.28 does then (measured), and what Campanile must.
//!
//! The tests assert by these rows, and the document is written from them.

use crate::case::{ATTIC, Case, DATABASES, Load, Seen, Way};
use campanile::ErrorKind;
use std::sync::Arc;

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Opens, and everything that was acknowledged is there; nothing else is.
    Right,
    /// Does not open, and says what is wrong and where.
    Refused,
    /// Opens; what is damaged is named, everything else is there and right.
    Contained,
    /// Wrong or missing data without a word, or without more than a warning.
    Silent,
    /// Reports success and leaves something that cannot be used.
    Unusable,
    /// Was not tried, or there is no such thing.
    None,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Right => "right",
            Outcome::Refused => "refused",
            Outcome::Contained => "contained",
            Outcome::Silent => "**silent**",
            Outcome::Unusable => "\"ok\", unusable",
            Outcome::None => "-",
        }
    }
}

/// A situation.
#[derive(Debug)]
pub struct Row {
    pub number: u8,
    pub situation: &'static str,
    /// Normal and catastrophic recovery of Berkeley DB.
    pub theirs: [Outcome; 2],
    /// And what it leaves behind.
    pub leaves: &'static str,
    /// Normal and catastrophic recovery of ours.
    pub ours: [Outcome; 2],
    /// What is named, and what brings everything back.
    pub way_back: &'static str,
}

use Outcome::{Contained, None as Nothing, Refused, Right, Silent, Unusable};

const fn row(
    number: u8,
    situation: &'static str,
    theirs: [Outcome; 2],
    leaves: &'static str,
    ours: [Outcome; 2],
    way_back: &'static str,
) -> Row {
    Row { number, situation, theirs, leaves, ours, way_back }
}

/// All of them.
pub const ROWS: [Row; 38] = [
    row(
        1,
        "clean crash",
        [Right, Right],
        "",
        [Right, Right],
        "nothing to do: the next open recovers",
    ),
    row(
        2,
        "a needed log file in the middle is missing",
        [Refused, Refused],
        "names the LSN before the hole, never the file; opens without complaint afterwards, up to 700 of 3700 keys gone",
        [Refused, Refused],
        "the file is named; restore with `--logs HOME/log`: the archive fills the hole",
    ),
    row(
        3,
        "the log file that holds the last checkpoint is missing",
        [Refused, Refused],
        "as 2",
        [Refused, Refused],
        "as 2",
    ),
    row(
        4,
        "an old log file, before the checkpoint, is missing",
        [Right, Refused],
        "as 2 after catastrophic recovery",
        [Right, Right],
        "nothing to do: catastrophic recovery begins behind the hole; where that is not enough, the page is named",
    ),
    row(
        5,
        "the oldest log files are missing, data files are there",
        [Right, Right],
        "",
        [Right, Right],
        "nothing to do",
    ),
    row(
        6,
        "the last log file is missing",
        [Refused, Refused],
        "a page LSN past the end; as 2",
        [Refused, Refused],
        "the file is named: moments after a file is begun, the control file says so; restore: everything up to the last archived position",
    ),
    row(
        7,
        "all log files are missing",
        [Unusable, Unusable],
        "exit 0, begins a new log; every file is refused",
        [Refused, Refused],
        "restore, as 6",
    ),
    row(
        8,
        "a bit flipped in a needed log file that is not the last",
        [Refused, Refused],
        "exact LSN; advises catastrophic recovery, which cannot help; open panics",
        [Refused, Refused],
        "file and offset are named; restore with `--logs HOME/log`: the archive's copy is taken",
    ),
    row(
        9,
        "a bit flipped in an old log file",
        [Right, Refused],
        "",
        [Right, Refused],
        "file and offset are named; catastrophic recovery is not needed here",
    ),
    row(
        10,
        "bit flip, bad length or zeroed sector in the last log file (load B)",
        [Silent, Silent],
        "committed data lost, verify clean, 1.1 MB of good log zeroed",
        [Refused, Refused],
        "file and offset are named; restore without this file: everything archived comes back",
    ),
    row(
        11,
        "the same, pages already written",
        [Unusable, Unusable],
        "reads right, the first write fails",
        [Refused, Refused],
        "as 10",
    ),
    row(
        12,
        "the same with load A",
        [Refused, Refused],
        "caught by luck; partial data",
        [Refused, Refused],
        "as 10",
    ),
    row(
        13,
        "torn tail of the log",
        [Right, Right],
        "cannot be told from 10",
        [Right, Right],
        "nothing to do: recovery reports how many bytes it cut",
    ),
    row(
        14,
        "the only log file is truncated to nothing",
        [Unusable, Nothing],
        "as 7",
        [Refused, Refused],
        "the file is named; restore",
    ),
    row(
        15,
        "the header of a log file is damaged: the last, another that is needed",
        [Refused, Refused],
        "",
        [Refused, Refused],
        "the file is named; restore with `--logs HOME/log`",
    ),
    row(
        16,
        "a log or data file in a format newer than this build",
        [Refused, Refused],
        "",
        [Refused, Refused],
        "file and version are named; nothing is changed: use a newer build",
    ),
    row(
        17,
        "a log file in a format older than any",
        [Refused, Nothing],
        "complains about the file after it; the next open shows partial data",
        [Refused, Refused],
        "as 16",
    ),
    row(
        18,
        "recovered by another version; ours: by a build that lacks a feature, or does not know a note that may be ignored",
        [Right, Nothing],
        "warns",
        [Refused, Refused],
        "a required feature is refused by its bit, one that may be ignored does no harm",
    ),
    row(
        19,
        "page checksum error, page needed by redo",
        [Refused, Refused],
        "the whole environment unusable",
        [Refused, Right],
        "page named; `campanile repair` rebuilds it from backup and log, or from the whole log",
    ),
    row(
        20,
        "page checksum error, page not needed",
        [Right, Refused],
        "the first read panics every process",
        [Contained, Right],
        "page named; as 19",
    ),
    row(
        21,
        "meta page checksum error",
        [Unusable, Unusable],
        "one warning, all redo for the file skipped",
        [Contained, Right],
        "page named; as 19",
    ),
    row(
        22,
        "torn page, no checksum; ours: torn page (checksums cannot be turned off)",
        [Silent, Silent],
        "9 committed updates lost, verify clean",
        [Right, Right],
        "nothing to do: mended from the double-write file",
    ),
    row(
        23,
        "torn page, checksum; ours: without a copy in the double-write file",
        [Refused, Refused],
        "delete the file, keep all logs since its creation, catastrophic",
        [Refused, Right],
        "page named; as 19",
    ),
    row(
        24,
        "a data file is deleted",
        [Silent, Right],
        "the documented warning does not come",
        [Refused, Right],
        "file named; `campanile repair` rebuilds it from backup and log, or from the whole log",
    ),
    row(
        25,
        "a data file is replaced by an older copy",
        [Refused, Right],
        "as 2",
        [Refused, Right],
        "page named; `campanile repair`, `db_recover -c` or a restore",
    ),
    row(
        26,
        "a data file of another environment under the same name",
        [Silent, Silent],
        "foreign data visible",
        [Refused, Refused],
        "file named; `campanile repair`",
    ),
    row(
        27,
        "hot backup and normal recovery, later writes hit the same pages",
        [Refused, Right],
        "",
        [Refused, Right],
        "refused by name: it is a backup, run `db_recover -c`",
    ),
    row(
        28,
        "the same, no conflicting later writes",
        [Silent, Right],
        "1000 of 1000 updates missing, verify clean",
        [Refused, Right],
        "as 27",
    ),
    row(
        29,
        "backup by hand with the log copied before the data",
        [Silent, Silent],
        "reads newer data than the log knows; the first write fails",
        [Contained, Refused],
        "page and LSN named: use `campanile backup`, or copy the log again",
    ),
    row(
        30,
        "two log files swapped, or one repeated under the next number",
        [Refused, Refused],
        "",
        [Refused, Refused],
        "file named; restore with `--logs HOME/log`: names do not matter there",
    ),
    row(
        31,
        "a log file of another environment under the same number",
        [Silent, Silent],
        "foreign changes applied, 28/76/42 keys wrong, verify clean",
        [Refused, Refused],
        "file and environment named; restore with `--logs HOME/log`",
    ),
    row(
        32,
        "crash, `__db.*` removed by hand, opened without recovery; ours: kill -9, lock and owner files removed by hand",
        [Silent, Nothing],
        "partial data, the first write panics, both recoveries fail for ever",
        [Right, Right],
        "nothing to do: there is no open without recovery",
    ),
    row(
        33,
        "crash with locks held, joined without recovery; ours: kill -9 in the middle of transactions",
        [Unusable, Nothing],
        "a read of a page locked by the dead never returns",
        [Right, Right],
        "nothing to do: the locks of the dead are gone",
    ),
    row(
        34,
        "recovery is run while writers are attached",
        [Unusable, Nothing],
        "every writer panics",
        [Refused, Refused],
        "the owner is named, and is not disturbed",
    ),
    row(
        35,
        "encrypted environment, wrong password; ours (no encryption): control file lost, garbage or foreign",
        [Refused, Refused],
        "\"magic number\"",
        [Refused, Refused],
        "the control file is named; restore with `--logs HOME/log`",
    ),
    row(
        36,
        "disk full: in work, in recovery, in a backup",
        [Right, Nothing],
        "a later open got SIGBUS",
        [Right, Right],
        "make room and open again; earlier backups stay as they are",
    ),
    row(
        37,
        "kill -9 inside recovery, again and again",
        [Right, Nothing],
        "",
        [Right, Right],
        "nothing to do",
    ),
    row(
        38,
        "written on a machine of the other byte order; ours: bytes are the same everywhere",
        [Right, Right],
        "",
        [Right, Right],
        "nothing to do",
    ),
];

/// The row of a test.
pub fn situation(number: u8) -> &'static Row {
    &ROWS[usize::from(number) - 1]
}

impl Row {
    /// Brings the home up in both ways; each must end as the table says, with these words said.
    #[track_caller]
    pub fn both_ways(&self, case: &Case, words: &[&str]) {
        for way in [Way::Normal, Way::Catastrophic] {
            self.holds(case, way, words);
        }
    }

    /// Brings the home up; it must end as the table says, with these words said.
    #[track_caller]
    pub fn holds(&self, case: &Case, way: Way, words: &[&str]) {
        let outcome = self.ours[usize::from(way == Way::Catastrophic)];
        self.judge(outcome, case, way, &case.bring_up(way), words);
    }

    #[track_caller]
    pub fn judge(&self, outcome: Outcome, case: &Case, way: Way, seen: &Seen, words: &[&str]) {
        let place = format!("row {}, {:?}, {way:?}", self.number, case.load);
        let text = said(seen);
        println!(
            "{place}: {}: {}",
            shown(seen),
            text.lines().next().unwrap_or("and nothing to say")
        );
        match (outcome, seen) {
            (Outcome::Right, Seen::Open { state, complaints, .. }) => {
                assert!(complaints.is_empty(), "{place}: {complaints:?}");
                crate::case::assert_same(state, &case.newest, &place);
            }
            (Outcome::Refused, Seen::Refused(error)) => {
                assert!(is_precise(error.kind()), "{place}: {error}")
            }
            (Outcome::Contained, Seen::Open { state, complaints, .. }) => {
                assert!(!complaints.is_empty(), "{place}: nothing was said");
                nothing_wrong(state, case, &place);
            }
            _ => panic!("{place}: must be {outcome:?}, was {}: {text}", shown(seen)),
        }
        if outcome != Outcome::Right || way == Way::Normal {
            let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
            assert!(missing.is_empty(), "{place}: {missing:?} not in: {text}");
        }
    }
}

fn is_precise(kind: ErrorKind) -> bool {
    use ErrorKind::{Corrupt, Locked, NeedsRecovery, Unsupported};
    [Corrupt, Locked, NeedsRecovery, Unsupported].contains(&kind)
}

/// Every row that could be read is right, and at least one database is whole.
#[track_caller]
fn nothing_wrong(state: &crate::case::State, case: &Case, place: &str) {
    let mut whole = 0;
    for name in DATABASES.into_iter().chain([ATTIC]) {
        let Some(rows) = state.get(name) else { continue };
        let expected = &case.newest[name];
        let wrong = rows.iter().filter(|(key, value)| expected.get(*key) != Some(*value)).count();
        assert_eq!(wrong, 0, "{place}: {name} shows rows that nobody committed");
        whole += usize::from(rows == &Arc::clone(expected));
    }
    assert!(whole >= 1, "{place}: no database is whole");
}

fn shown(seen: &Seen) -> &'static str {
    match seen {
        Seen::Refused(_) => "refused",
        Seen::Open { complaints, .. } if complaints.is_empty() => "right",
        Seen::Open { .. } => "contained",
    }
}

fn said(seen: &Seen) -> String {
    match seen {
        Seen::Refused(error) => error.to_string(),
        Seen::Open { complaints, said, .. } if complaints.is_empty() => said.clone(),
        Seen::Open { complaints, .. } => complaints.join("\n"),
    }
}

/// Loads that a row is tried with.
pub const ALL: [Load; 3] = [Load::Append, Load::Update, Load::UpdateEvicted];
