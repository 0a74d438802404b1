//! Phantoms, one schedule for each place where one can slip in: both ends, inside, empty ranges
//! and databases, over ghosts, into gaps that the reader filled itself.
//!
//! Outcomes follow from locking a key and the gap below it: an insert waits iff somebody protects
//! the gap it goes into, whichever part of that gap was asked for.

use crate::script::{Column, EVERY, SERIALIZABLE, Schedule, TWO, hold};
use campanile_tests::history::Level;

const THREE: &[(&str, &str)] = &[("10", "1"), ("20", "2"), ("30", "3")];
const S: Level = Level::Serializable;
/// One reader and six writers, so that every insert stands for itself.
const MANY: &[Column] = &[Column::Each(&[S, S, S, S, S, S, S])];

const INSERTS_AT_BOTH_ENDS_OF_A_RANGE: &[Schedule] = &[
    Schedule {
        name: "a scan forward",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 scan 12 28", &["20=2"]),
            ("2 insert 15 0", &["waits"]),
            ("3 insert 25 0", &["waits"]),
            // In the gap, outside the range: the price of locking whole gaps.
            ("4 insert 11 0", &["waits"]),
            ("5 insert 29 0", &["waits"]),
            ("6 insert 05 0", &["yes"]),
            ("7 insert 35 0", &["yes"]),
            ("6 end", &["committed"]),
            ("7 end", &["committed"]),
            ("1 scan 12 28", &["20=2"]),
            ("1 end", &["committed; 2: yes; 3: yes; 4: yes; 5: yes"]),
        ],
    },
    Schedule {
        name: "a scan backward",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 scan-back 12 28", &["20=2"]),
            ("2 insert 15 0", &["waits"]),
            ("3 insert 25 0", &["waits"]),
            ("4 insert 05 0", &["yes"]),
            ("5 insert 35 0", &["yes"]),
            ("1 scan-back 12 28", &["20=2"]),
            ("1 end", &["committed; 2: yes; 3: yes"]),
        ],
    },
    Schedule {
        // The rows beyond the ends were not read: only the gaps up to them were.
        name: "rows just outside of a range are free",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 scan 12 28", &["20=2"]),
            ("2 put 10 0", &["ok"]),
            ("3 put 30 0", &["ok"]),
            ("4 delete 20", &["waits"]),
            ("1 end", &["committed; 4: yes"]),
        ],
    },
    Schedule {
        name: "the first row",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 first", &["10=1"]),
            ("2 insert 05 0", &["waits"]),
            ("3 insert 15 0", &["yes"]),
            ("4 insert 35 0", &["yes"]),
            ("1 first", &["10=1"]),
            ("1 end", &["committed; 2: yes"]),
        ],
    },
    Schedule {
        name: "the last row",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 last", &["30=3"]),
            ("2 insert 35 0", &["waits"]),
            ("3 insert 05 0", &["yes"]),
            ("4 insert 15 0", &["yes"]),
            ("1 last", &["30=3"]),
            ("1 end", &["committed; 2: yes"]),
        ],
    },
];

#[test]
fn inserts_at_both_ends_of_a_range() {
    hold(INSERTS_AT_BOTH_ENDS_OF_A_RANGE);
}

const INSERTS_INTO_RANGES_AND_DATABASES_THAT_WERE_EMPTY: &[Schedule] = &[
    Schedule {
        name: "an empty range between two rows",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 scan 22 28", &["-"]),
            ("2 insert 25 0", &["waits"]),
            ("3 insert 15 0", &["yes"]),
            ("4 insert 35 0", &["yes"]),
            ("1 scan 22 28", &["-"]),
            ("1 end", &["committed; 2: yes"]),
        ],
    },
    Schedule {
        name: "an empty range behind the last row",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 scan 40 50", &["-"]),
            ("2 insert 45 0", &["waits"]),
            ("3 insert 25 0", &["yes"]),
            ("1 end", &["committed; 2: yes"]),
        ],
    },
    Schedule {
        name: "an empty range before the first row",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 scan-back - 05", &["-"]),
            ("2 insert 03 0", &["waits"]),
            ("3 insert 25 0", &["yes"]),
            ("1 end", &["committed; 2: yes"]),
        ],
    },
    Schedule {
        name: "an empty database",
        rows: &[],
        columns: EVERY,
        steps: &[
            ("1 scan", &["-"]),
            ("2 insert 5 50", &["waits", "yes", "yes", "yes"]),
            ("2 end", &["queued", "committed", "committed", "committed"]),
            ("1 scan", &["-", "5=50", "5=50", "-"]),
            ("1 end", &["committed; 2: yes, committed", "committed", "committed", "committed"]),
            ("=", &["5=50"]),
        ],
    },
    Schedule {
        name: "an empty database, looked at from behind",
        rows: &[],
        columns: EVERY,
        steps: &[
            ("1 last", &["-"]),
            ("2 put 5 50", &["waits", "ok", "ok", "ok"]),
            ("2 end", &["queued", "committed", "committed", "committed"]),
            ("1 end", &["committed; 2: ok, committed", "committed", "committed", "committed"]),
            ("=", &["5=50"]),
        ],
    },
];

#[test]
fn inserts_into_ranges_and_databases_that_were_empty() {
    hold(INSERTS_INTO_RANGES_AND_DATABASES_THAT_WERE_EMPTY);
}

const INSERTS_INTO_GAPS_THAT_THE_READER_FILLED_ITSELF: &[Schedule] = &[
    Schedule {
        // The new key must inherit the protection of the gap it splits.
        name: "an own insert splits a protected gap",
        rows: TWO,
        columns: MANY,
        steps: &[
            ("1 scan", &["1=10 2=20"]),
            ("1 insert 3 30", &["yes"]),
            ("2 insert 25 0", &["waits"]),
            ("3 insert 4 0", &["waits"]),
            ("4 insert 05 0", &["waits"]),
            ("1 scan", &["1=10 2=20 3=30"]),
            ("1 end", &["committed; 2: yes; 3: yes; 4: yes"]),
        ],
    },
    Schedule {
        name: "many own inserts split a protected gap",
        rows: TWO,
        columns: MANY,
        steps: &[
            ("1 scan 2 -", &["2=20"]),
            ("1 insert 5 0", &["yes"]),
            ("1 insert 3 0", &["yes"]),
            ("1 insert 7 0", &["yes"]),
            ("2 insert 25 0", &["waits"]),
            ("3 insert 4 0", &["waits"]),
            ("4 insert 6 0", &["waits"]),
            ("5 insert 8 0", &["waits"]),
            ("1 end", &["committed; 2: yes; 3: yes; 4: yes; 5: yes"]),
        ],
    },
    Schedule {
        // An insert alone protects no gap: others may insert on both sides of it.
        name: "an insert without a scan leaves the gap open",
        rows: TWO,
        columns: MANY,
        steps: &[
            ("1 insert 15 0", &["yes"]),
            ("2 insert 12 0", &["yes"]),
            ("3 insert 17 0", &["yes"]),
            ("4 insert 15 9", &["waits"]),
            ("1 end", &["committed; 4: no"]),
        ],
    },
];

#[test]
fn inserts_into_gaps_that_the_reader_filled_itself() {
    hold(INSERTS_INTO_GAPS_THAT_THE_READER_FILLED_ITSELF);
}

const A_BOUNDARY_THAT_IS_DELETED_STILL_PROTECTS_THE_GAP: &[Schedule] = &[
    Schedule {
        name: "the row behind the range is deleted and cleaned away",
        rows: TWO,
        columns: MANY,
        steps: &[
            ("1 scan 1 15", &["1=10"]),
            ("2 delete 2", &["yes"]),
            ("2 end", &["committed"]),
            ("background", &["ok"]),
            ("3 insert 12 0", &["waits"]),
            ("1 scan 1 15", &["1=10"]),
            ("1 end", &["committed; 3: yes"]),
            ("3 end", &["committed"]),
            ("=", &["1=10 12=0"]),
        ],
    },
    Schedule {
        // Its child leaves a ghost, and no lock on the key of it.
        name: "a child's insert into a range that its parent read is rolled back",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 scan 12 28", &["20=2"]),
            ("1 child", &["ok"]),
            ("1 insert 25 0", &["yes"]),
            ("1 undo", &["ok"]),
            ("2 insert 25 0", &["waits"]),
            ("3 insert 22 0", &["waits"]),
            ("4 insert 27 0", &["waits"]),
            ("1 scan 12 28", &["20=2"]),
            ("1 end", &["committed; 2: yes; 3: yes; 4: yes"]),
        ],
    },
    Schedule {
        name: "a child's locks are its parent's, or nobody's",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 child", &["ok"]),
            ("1 scan 12 28", &["20=2"]),
            ("1 put 10 0", &["ok"]),
            ("1 undo", &["ok"]),
            ("2 insert 15 0", &["yes"]),
            ("3 put 10 1", &["ok"]),
            ("3 end", &["committed"]),
            ("1 child", &["ok"]),
            ("1 scan 22 28", &["-"]),
            ("1 put 30 0", &["ok"]),
            ("1 merge", &["ok"]),
            ("4 insert 25 0", &["waits"]),
            ("5 get 30", &["waits"]),
            ("1 end", &["committed; 4: yes; 5: 0"]),
        ],
    },
    Schedule {
        name: "the reader deletes the row at the end of its range itself",
        rows: THREE,
        columns: MANY,
        steps: &[
            ("1 scan 12 28", &["20=2"]),
            ("1 delete 20", &["yes"]),
            ("background", &["ok"]),
            ("2 insert 15 0", &["waits"]),
            ("3 insert 25 0", &["waits"]),
            ("4 insert 20 0", &["waits"]),
            ("1 scan 12 28", &["-"]),
            ("1 abort", &["aborted; 2: yes; 3: yes; 4: no"]),
        ],
    },
    Schedule {
        // Nobody holds a lock here: the snapshot alone must keep the ghosts.
        name: "rows that a snapshot still reads are deleted and cleaned away",
        rows: THREE,
        columns: &[Column::SnapshotReaders],
        steps: &[
            ("1 scan", &["10=1 20=2 30=3"]),
            ("2 delete 20", &["yes"]),
            ("2 delete 30", &["yes"]),
            ("2 end", &["committed"]),
            ("background", &["ok"]),
            ("3 begin", &["ok"]),
            ("3 scan", &["10=1"]),
            ("1 get 20", &["2"]),
            ("1 scan", &["10=1 20=2 30=3"]),
            ("1 last", &["30=3"]),
            ("1 end", &["committed"]),
            ("background", &["ok"]),
            ("3 scan", &["10=1"]),
            ("=", &["10=1"]),
        ],
    },
    Schedule {
        name: "a range over rows that are gone already",
        rows: THREE,
        columns: SERIALIZABLE,
        steps: &[
            ("1 delete 20", &["yes"]),
            ("1 end", &["committed"]),
            ("2 scan 12 28", &["-"]),
            ("3 insert 20 0", &["waits"]),
            ("2 scan 12 28", &["-"]),
            ("2 end", &["committed; 3: yes"]),
            ("3 end", &["committed"]),
            ("=", &["10=1 20=0 30=3"]),
        ],
    },
];

#[test]
fn a_boundary_that_is_deleted_still_protects_the_gap() {
    hold(A_BOUNDARY_THAT_IS_DELETED_STILL_PROTECTS_THE_GAP);
}

/// All of them, for whoever looks for planted bugs.
#[cfg(feature = "planted-bugs")]
pub const ALL: &[&[Schedule]] = &[
    INSERTS_AT_BOTH_ENDS_OF_A_RANGE,
    INSERTS_INTO_RANGES_AND_DATABASES_THAT_WERE_EMPTY,
    INSERTS_INTO_GAPS_THAT_THE_READER_FILLED_ITSELF,
    A_BOUNDARY_THAT_IS_DELETED_STILL_PROTECTS_THE_GAP,
];
