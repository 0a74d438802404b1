//! What was read stays, as long as its level says: deletes and inserts that are not committed,
//! cursors, and operations that read although they are called writes.

use crate::script::{Column, EVERY, SERIALIZABLE, Schedule, TWO, hold};
use campanile_tests::history::Level;

const ONLY_DIRTY_READERS_SEE_DELETES_AND_INSERTS_THAT_ARE_NOT_COMMITTED: &[Schedule] = &[
    Schedule {
        name: "a delete that is rolled back, by key",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 delete 1", &["yes"]),
            ("2 get 1", &["waits", "waits", "-", "10"]),
            ("1 abort", &["aborted; 2: 10", "aborted; 2: 10", "aborted", "aborted"]),
            ("2 get 1", &["10"]),
            ("2 end", &["committed"]),
        ],
    },
    Schedule {
        name: "a delete that is rolled back, by a scan",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 delete 1", &["yes"]),
            ("2 scan", &["waits", "waits", "2=20", "1=10 2=20"]),
            ("1 abort", &["aborted; 2: 1=10 2=20", "aborted; 2: 1=10 2=20", "aborted", "aborted"]),
            ("2 scan", &["1=10 2=20"]),
            ("2 end", &["committed"]),
        ],
    },
    Schedule {
        name: "a delete of the last row that is rolled back, by a scan backward",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 delete 2", &["yes"]),
            ("2 last", &["waits", "waits", "1=10", "2=20"]),
            ("1 abort", &["aborted; 2: 2=20", "aborted; 2: 2=20", "aborted", "aborted"]),
            ("2 end", &["committed"]),
        ],
    },
    Schedule {
        name: "an insert that is rolled back",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 insert 3 30", &["yes"]),
            ("2 get 3", &["waits", "waits", "30", "-"]),
            ("1 abort", &["aborted; 2: -", "aborted; 2: -", "aborted", "aborted"]),
            ("2 scan", &["1=10 2=20"]),
            ("2 end", &["committed"]),
        ],
    },
    Schedule {
        name: "an insert that commits, by a scan",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 insert 15 15", &["yes"]),
            ("2 scan", &["waits", "waits", "1=10 15=15 2=20", "1=10 2=20"]),
            (
                "1 end",
                &[
                    "committed; 2: 1=10 15=15 2=20",
                    "committed; 2: 1=10 15=15 2=20",
                    "committed",
                    "committed",
                ],
            ),
            ("2 end", &["committed"]),
        ],
    },
    Schedule {
        name: "a delete and an insert again in one transaction",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 delete 1", &["yes"]),
            ("1 insert 1 11", &["yes"]),
            ("2 get 1", &["waits", "waits", "11", "10"]),
            ("1 end", &["committed; 2: 11", "committed; 2: 11", "committed", "committed"]),
            ("2 get 1", &["11", "11", "11", "10"]),
            ("2 end", &["committed"]),
            ("=", &["1=11 2=20"]),
        ],
    },
];

#[test]
fn only_dirty_readers_see_deletes_and_inserts_that_are_not_committed() {
    hold(ONLY_DIRTY_READERS_SEE_DELETES_AND_INSERTS_THAT_ARE_NOT_COMMITTED);
}

const WHAT_IS_NOT_THERE_STAYS_AWAY: &[Schedule] = &[
    Schedule {
        name: "a key that was looked for in vain",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 get 15", &["-"]),
            ("2 insert 15 15", &["waits", "yes", "yes", "yes"]),
            ("2 end", &["queued", "committed", "committed", "committed"]),
            ("1 get 15", &["-", "15", "15", "-"]),
            ("1 end", &["committed; 2: yes, committed", "committed", "committed", "committed"]),
            ("=", &["1=10 15=15 2=20"]),
        ],
    },
    Schedule {
        name: "a key behind the last one that was looked for in vain",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 get 9", &["-"]),
            ("2 put 9 90", &["waits", "ok", "ok", "ok"]),
            ("2 end", &["queued", "committed", "committed", "committed"]),
            ("1 end", &["committed; 2: ok, committed", "committed", "committed", "committed"]),
            ("=", &["1=10 2=20 9=90"]),
        ],
    },
    Schedule {
        name: "a delete that found nothing has read",
        rows: TWO,
        columns: SERIALIZABLE,
        steps: &[
            ("1 delete 15", &["no"]),
            ("2 insert 15 15", &["waits"]),
            ("1 delete 15", &["no"]),
            ("1 end", &["committed; 2: yes"]),
            ("2 end", &["committed"]),
        ],
    },
    Schedule {
        name: "a replace that found nothing has read",
        rows: TWO,
        columns: SERIALIZABLE,
        steps: &[
            ("1 replace 15 1", &["no"]),
            ("2 put 15 15", &["waits"]),
            ("1 end", &["committed; 2: ok"]),
            ("2 end", &["committed"]),
        ],
    },
    Schedule {
        name: "an insert that was refused has read",
        rows: TWO,
        columns: SERIALIZABLE,
        steps: &[
            ("1 insert 1 99", &["no"]),
            ("2 delete 1", &["waits"]),
            ("1 insert 1 98", &["no"]),
            ("1 end", &["committed; 2: yes"]),
            ("2 end", &["committed"]),
            ("=", &["2=20"]),
        ],
    },
    Schedule {
        name: "an insert over a delete that is not committed",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 delete 1", &["yes"]),
            ("2 insert 1 11", &["waits"]),
            ("1 abort", &["aborted; 2: no"]),
            ("2 end", &["committed"]),
            ("=", &["1=10 2=20"]),
        ],
    },
];

#[test]
fn what_is_not_there_stays_away() {
    hold(WHAT_IS_NOT_THERE_STAYS_AWAY);
}

const CURSORS_ARE_STABLE: &[Schedule] = &[
    Schedule {
        // Read-committed keeps the row under the cursor, and lets go when it moves.
        name: "cursor stability",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 cursor 1", &["10"]),
            ("2 put 1 12", &["waits", "waits", "ok", "ok"]),
            ("1 value", &["10"]),
            ("1 next", &["20", "20; 2: ok", "20", "20"]),
            ("1 close", &["ok"]),
            ("1 end", &["committed; 2: ok", "committed", "committed", "committed"]),
            ("2 end", &["committed"]),
            ("=", &["1=12 2=20"]),
        ],
    },
    Schedule {
        name: "P4C: an update through a cursor is not lost but to dirty readers",
        rows: TWO,
        columns: EVERY,
        steps: &[
            ("1 cursor 1", &["10"]),
            ("2 put 1 12", &["waits", "waits", "ok", "waits"]),
            ("1 write 11", &["ok", "ok", "waits", "ok"]),
            ("2 end", &["queued", "queued", "committed; 1: ok", "queued"]),
            ("1 close", &["ok"]),
            (
                "1 end",
                &[
                    "committed; 2: ok, committed",
                    "committed; 2: ok, committed",
                    "committed",
                    "committed; 2: ok, committed",
                ],
            ),
            ("=", &["1=12 2=20", "1=12 2=20", "1=11 2=20", "1=12 2=20"]),
        ],
    },
];

#[test]
fn cursors_are_stable() {
    hold(CURSORS_ARE_STABLE);
}

const SERIALIZABLE_AND_COMMITTED: &[Level] = &[Level::Serializable, Level::ReadCommitted];
const SERIALIZABLE_AND_DIRTY: &[Level] = &[Level::Serializable, Level::ReadUncommitted];

const A_SERIALIZABLE_TRANSACTION_IS_SAFE_BESIDE_WEAKER_ONES: &[Schedule] = &[
    Schedule {
        name: "weak writers respect gaps",
        rows: TWO,
        columns: &[Column::Each(SERIALIZABLE_AND_COMMITTED), Column::Each(SERIALIZABLE_AND_DIRTY)],
        steps: &[
            ("1 scan", &["1=10 2=20"]),
            ("2 insert 15 15", &["waits"]),
            ("2 end", &["queued"]),
            ("1 scan", &["1=10 2=20"]),
            ("1 end", &["committed; 2: yes, committed"]),
            ("=", &["1=10 15=15 2=20"]),
        ],
    },
    Schedule {
        name: "weak readers see what their own level promises",
        rows: TWO,
        columns: &[Column::Each(SERIALIZABLE_AND_COMMITTED), Column::Each(SERIALIZABLE_AND_DIRTY)],
        steps: &[
            ("1 put 1 11", &["ok"]),
            ("2 get 1", &["waits", "11"]),
            ("1 end", &["committed; 2: 11", "committed"]),
            ("2 end", &["committed"]),
        ],
    },
];

#[test]
fn a_serializable_transaction_is_safe_beside_weaker_ones() {
    hold(A_SERIALIZABLE_TRANSACTION_IS_SAFE_BESIDE_WEAKER_ONES);
}

/// All of them, for whoever looks for planted bugs.
#[cfg(feature = "planted-bugs")]
pub const ALL: &[&[Schedule]] = &[
    ONLY_DIRTY_READERS_SEE_DELETES_AND_INSERTS_THAT_ARE_NOT_COMMITTED,
    WHAT_IS_NOT_THERE_STAYS_AWAY,
    CURSORS_ARE_STABLE,
    A_SERIALIZABLE_TRANSACTION_IS_SAFE_BESIDE_WEAKER_ONES,
];
