//! Hermitage's matrix: the anomalies of Adya and of Bailis, each as the schedule that Martin
//! Kleppmann wrote down for it, at every level, with the exact outcome.
//!
//! Columns: serializable, read-committed, read-uncommitted, snapshots beside serializable writers.
//! Victims are the youngest: whoever took its first lock last.

use crate::script::{EVERY, Schedule, TWO, hold};

const DIRTY_WRITES_AND_DIRTY_READS: &[Schedule] = &[
    Schedule {
        name: "G0: dirty write",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 put 1 11", &["ok"]),
            ("2 put 1 12", &["waits"]),
            ("1 put 2 21", &["ok"]),
            ("1 end", &["committed; 2: ok"]),
            ("2 put 2 22", &["ok"]),
            ("2 end", &["committed"]),
            ("=", &["1=12 2=22"]),
        ],
    },
    Schedule {
        name: "G1a: aborted read",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 put 1 101", &["ok"]),
            ("2 scan", &["waits", "waits", "1=101 2=20", "1=10 2=20"]),
            ("1 abort", &["aborted; 2: 1=10 2=20", "aborted; 2: 1=10 2=20", "aborted", "aborted"]),
            ("2 scan", &["1=10 2=20"]),
            ("2 end", &["committed"]),
            ("=", &["1=10 2=20"]),
        ],
    },
    Schedule {
        name: "G1b: intermediate read",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 put 1 101", &["ok"]),
            ("2 scan", &["waits", "waits", "1=101 2=20", "1=10 2=20"]),
            ("1 put 1 11", &["ok"]),
            (
                "1 end",
                &["committed; 2: 1=11 2=20", "committed; 2: 1=11 2=20", "committed", "committed"],
            ),
            ("2 scan", &["1=11 2=20", "1=11 2=20", "1=11 2=20", "1=10 2=20"]),
            ("2 end", &["committed"]),
            ("=", &["1=11 2=20"]),
        ],
    },
    Schedule {
        name: "G1c: circular information flow",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 put 1 11", &["ok"]),
            ("2 put 2 22", &["ok"]),
            ("1 get 2", &["waits", "waits", "22", "waits"]),
            ("2 get 1", &["deadlock", "deadlock", "11", "deadlock"]),
            ("2 end", &["aborted; 1: 20", "aborted; 1: 20", "committed", "aborted; 1: 20"]),
            ("1 end", &["committed"]),
            ("=", &["1=11 2=20", "1=11 2=20", "1=11 2=22", "1=11 2=20"]),
        ],
    },
    Schedule {
        name: "OTV: observed transaction vanishes",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 put 1 11", &["ok"]),
            ("1 put 2 19", &["ok"]),
            ("2 put 1 12", &["waits"]),
            ("1 end", &["committed; 2: ok"]),
            ("3 get 1", &["waits", "waits", "12", "10"]),
            ("2 put 2 18", &["ok"]),
            ("3 get 2", &["queued", "queued", "18", "20"]),
            ("2 end", &["committed; 3: 12, 18", "committed; 3: 12, 18", "committed", "committed"]),
            ("3 get 2", &["18", "18", "18", "20"]),
            ("3 get 1", &["12", "12", "12", "10"]),
            ("3 end", &["committed"]),
            ("=", &["1=12 2=18"]),
        ],
    },
];

#[test]
fn dirty_writes_and_dirty_reads() {
    hold(DIRTY_WRITES_AND_DIRTY_READS);
}

const PREDICATES_WITH_MANY_PRECEDERS: &[Schedule] = &[
    Schedule {
        name: "PMP: a predicate read twice",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 equal 30", &["-"]),
            ("2 insert 3 30", &["waits", "yes", "yes", "yes"]),
            ("2 end", &["queued", "committed", "committed", "committed"]),
            ("1 divides 3", &["-", "3=30", "3=30", "-"]),
            ("1 end", &["committed; 2: yes, committed", "committed", "committed", "committed"]),
            ("=", &["1=10 2=20 3=30"]),
        ],
    },
    Schedule {
        name: "PMP: a predicate delete over an uncommitted update",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 add 10", &["ok"]),
            ("2 delete-equal 20", &["waits"]),
            ("1 end", &["committed; 2: 1"]),
            ("2 scan", &["2=30"]),
            ("2 end", &["committed"]),
            ("=", &["2=30"]),
        ],
    },
    Schedule {
        // Only the dirty reader acts on what never was.
        name: "PMP: a predicate delete over an update that is rolled back",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 add 10", &["ok"]),
            ("2 delete-equal 20", &["waits"]),
            ("1 abort", &["aborted; 2: 1"]),
            ("2 scan", &["1=10", "1=10", "2=20", "1=10"]),
            ("2 end", &["committed"]),
            ("=", &["1=10", "1=10", "2=20", "1=10"]),
        ],
    },
];

#[test]
fn predicates_with_many_preceders() {
    hold(PREDICATES_WITH_MANY_PRECEDERS);
}

const LOST_UPDATES_AND_READ_SKEW: &[Schedule] = &[
    Schedule {
        name: "P4: lost update",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 get 1", &["10"]),
            ("2 get 1", &["10"]),
            ("1 put 1 11", &["waits", "ok", "ok", "waits"]),
            ("2 put 1 12", &["deadlock", "waits", "waits", "deadlock"]),
            ("1 end", &["queued", "committed; 2: ok", "committed; 2: ok", "queued"]),
            (
                "2 end",
                &[
                    "aborted; 1: ok, committed",
                    "committed",
                    "committed",
                    "aborted; 1: ok, committed",
                ],
            ),
            ("=", &["1=11 2=20", "1=12 2=20", "1=12 2=20", "1=11 2=20"]),
        ],
    },
    Schedule {
        name: "G-single: read skew",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 get 1", &["10"]),
            ("2 get 1", &["10"]),
            ("2 get 2", &["20"]),
            ("2 put 1 12", &["waits", "ok", "ok", "ok"]),
            ("2 put 2 18", &["queued", "ok", "ok", "ok"]),
            ("2 end", &["queued", "committed", "committed", "committed"]),
            ("1 get 2", &["20", "18", "18", "20"]),
            ("1 end", &["committed; 2: ok, ok, committed", "committed", "committed", "committed"]),
            ("=", &["1=12 2=18"]),
        ],
    },
    Schedule {
        name: "G-single: read skew of a predicate",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 divides 5", &["1=10 2=20"]),
            ("2 put 1 12", &["waits", "ok", "ok", "ok"]),
            ("2 end", &["queued", "committed", "committed", "committed"]),
            ("1 divides 3", &["-", "1=12", "1=12", "-"]),
            ("1 end", &["committed; 2: ok, committed", "committed", "committed", "committed"]),
            ("=", &["1=12 2=20"]),
        ],
    },
    Schedule {
        name: "G-single: read skew of a predicate delete",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 get 1", &["10"]),
            ("2 scan", &["1=10 2=20"]),
            ("2 put 2 18", &["ok"]),
            ("2 put 1 12", &["waits", "ok", "ok", "waits"]),
            ("2 end", &["queued", "committed", "committed", "queued"]),
            (
                "1 delete-equal 20",
                &["1; 2: deadlock, aborted", "0", "0", "1; 2: deadlock, aborted"],
            ),
            ("1 end", &["committed"]),
            ("=", &["1=10", "1=12 2=18", "1=12 2=18", "1=10"]),
        ],
    },
];

#[test]
fn lost_updates_and_read_skew() {
    hold(LOST_UPDATES_AND_READ_SKEW);
}

const WRITE_SKEW: &[Schedule] = &[
    Schedule {
        name: "G2-item: write skew",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 get 1", &["10"]),
            ("1 get 2", &["20"]),
            ("2 get 1", &["10"]),
            ("2 get 2", &["20"]),
            ("1 put 1 11", &["waits", "ok", "ok", "waits"]),
            ("2 put 2 21", &["deadlock", "ok", "ok", "deadlock"]),
            ("2 end", &["aborted; 1: ok", "committed", "committed", "aborted; 1: ok"]),
            ("1 end", &["committed"]),
            ("=", &["1=11 2=20", "1=11 2=21", "1=11 2=21", "1=11 2=20"]),
        ],
    },
    Schedule {
        name: "G2: write skew on a predicate",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 divides 3", &["-"]),
            ("2 divides 3", &["-"]),
            ("1 insert 3 30", &["waits", "yes", "yes", "waits"]),
            ("2 insert 4 42", &["deadlock", "yes", "yes", "deadlock"]),
            ("2 end", &["aborted; 1: yes", "committed", "committed", "aborted; 1: yes"]),
            ("1 end", &["committed"]),
            (
                "=",
                &["1=10 2=20 3=30", "1=10 2=20 3=30 4=42", "1=10 2=20 3=30 4=42", "1=10 2=20 3=30"],
            ),
        ],
    },
    Schedule {
        // Fekete, O'Neil, O'Neil: a reader makes a history wrong that was right without it.
        // The third waits behind the second, which waits for the first; its own lock on 1 then
        // closes the circle, and it is the youngest.
        name: "G2: the read-only anomaly",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 scan", &["1=10 2=20"]),
            ("2 put 2 25", &["waits", "ok", "ok", "waits"]),
            ("2 end", &["queued", "committed", "committed", "queued"]),
            ("3 begin", &["ok"]),
            ("3 scan", &["waits", "1=10 2=25", "1=10 2=25", "1=10 2=20"]),
            ("1 put 1 0", &["waits; 3: deadlock", "ok", "ok", "ok"]),
            ("3 end", &["aborted; 1: ok", "committed", "committed", "committed"]),
            (
                "1 end",
                &[
                    "committed; 2: ok, committed",
                    "committed",
                    "committed",
                    "committed; 2: ok, committed",
                ],
            ),
            ("=", &["1=0 2=25"]),
        ],
    },
];

#[test]
fn write_skew() {
    hold(WRITE_SKEW);
}

/// All of them, for whoever looks for planted bugs.
#[cfg(feature = "planted-bugs")]
pub const ALL: &[&[Schedule]] = &[
    DIRTY_WRITES_AND_DIRTY_READS,
    PREDICATES_WITH_MANY_PRECEDERS,
    LOST_UPDATES_AND_READ_SKEW,
    WRITE_SKEW,
];
