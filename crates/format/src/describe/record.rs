//! Log records as fields and as lines.
//!
//! Owns: what `db_printlog` prints of a record. Promises: exhaustive, so a new record cannot be
//! forgotten here; the fields `kind`, `txn` and `prev` come first in every record.

use super::op::{op, shown_value};
use super::{Fields, Line, Shown};
use crate::ids::{DirNo, FileId, Lsn, PageNo};
use crate::record::{Body, Checkpoint, FileAction, PageChange, Record, TxnEntry, TxnState, Undo};

/// One line of text that says all of `record`, long values cut short.
#[must_use]
pub fn line(record: &Record<'_>) -> String {
    Line(&self::record(record)).to_string()
}

/// What `record` says.
#[must_use]
pub fn record(record: &Record<'_>) -> Fields {
    let mut fields = vec![
        ("kind", Shown::Word(record.body.name())),
        ("txn", Shown::Number(record.txn.0)),
        ("prev", Shown::Lsn(record.prev)),
    ];
    fields.extend(body(&record.body));
    fields
}

fn body(body: &Body<'_>) -> Fields {
    match body {
        Body::Update { changes, undo } => {
            vec![("changes", pages(changes)), ("undo", Shown::Nested(shown_undo(undo)))]
        }
        Body::Compensate { undo_next, within, changes, action } => {
            let mut fields = vec![lsn("undo_next", *undo_next)];
            if !within.is_none() {
                fields.push(lsn("within", *within));
            }
            fields.push(("changes", pages(changes)));
            if let FileAction::RemoveFile(removed) = action {
                fields.push(file("remove_file", *removed));
            }
            fields
        }
        Body::Commit { time_us, durable } => vec![time(*time_us), lsn("durable", *durable)],
        Body::Abort => Vec::new(),
        Body::Prepare { gid, time_us } => vec![bytes("gid", gid), time(*time_us)],
        Body::ChildCommit { child, child_last } => {
            vec![number("child", child.0), lsn("child_last", *child_last)]
        }
        Body::EnterChild { child, undo_next, merge, within } => vec![
            number("child", child.0),
            lsn("undo_next", *undo_next),
            lsn("merge", *merge),
            lsn("within", *within),
        ],
        Body::FileCreate { file: created, durable, directory } => {
            let mut shown = vec![file("file", *created), ("durable", Shown::Flag(*durable))];
            if *directory != DirNo::HOME {
                shown.push(number("directory", u64::from(directory.0)));
            }
            shown
        }
        Body::FileRemove { file: removed } => vec![file("file", *removed)],
        Body::ActiveTxns { entries } => {
            vec![("txns", Shown::List(entries.iter().map(entry).collect()))]
        }
        Body::Checkpoint(checkpoint) => shown_checkpoint(checkpoint),
        Body::Durable { durable } => vec![lsn("durable", *durable)],
        Body::RestorePoint { name, time_us } => {
            vec![("name", Shown::Text((*name).to_owned())), time(*time_us)]
        }
        Body::Pad { bytes } => vec![number("bytes", u64::from(*bytes))],
        Body::Ignorable { kind, bytes: payload } => {
            vec![number("number", u64::from(*kind)), number("bytes", payload.len() as u64)]
        }
    }
}

fn shown_checkpoint(checkpoint: &Checkpoint) -> Fields {
    vec![
        lsn("redo", checkpoint.redo),
        lsn("undo_low", checkpoint.undo_low),
        lsn("active_from", checkpoint.active_from),
        number("next_txn", checkpoint.next_txn.0),
        file("next_file", checkpoint.next_file),
        time(checkpoint.time_us),
        lsn("durable", checkpoint.durable),
    ]
}

fn pages(changes: &[PageChange<'_>]) -> Shown {
    Shown::List(changes.iter().map(change).collect())
}

fn change(change: &PageChange<'_>) -> Fields {
    vec![
        file("file", change.page.file),
        page("page", change.page.page),
        lsn("prev_page_lsn", change.prev_page_lsn),
        ("ops", Shown::List(change.ops.iter().map(op).collect())),
    ]
}

fn shown_undo(undo: &Undo<'_>) -> Fields {
    match undo {
        Undo::None => vec![word("none")],
        Undo::Insert { file: of, key } => {
            vec![word("insert"), file("file", *of), bytes("key", key)]
        }
        Undo::Replace { file: of, key, old } => {
            vec![word("replace"), file("file", *of), bytes("key", key), ("old", shown_value(old))]
        }
        Undo::Delete { file: of, key, old } => {
            vec![word("delete"), file("file", *of), bytes("key", key), ("old", shown_value(old))]
        }
        Undo::AllocExtent { file: of, first, count } => vec![
            word("alloc_extent"),
            file("file", *of),
            page("first", *first),
            number("count", (*count).into()),
        ],
        Undo::CreateFile { file: of } => vec![word("create_file"), file("file", *of)],
        Undo::ClearTree { file: of } => vec![word("clear_tree"), file("file", *of)],
    }
}

fn entry(entry: &TxnEntry) -> Fields {
    vec![
        number("txn", entry.id.0),
        lsn("first", entry.first),
        lsn("last", entry.last),
        lsn("undo_next", entry.undo_next),
        (
            "state",
            Shown::Word(match entry.state {
                TxnState::Active => "active",
                TxnState::Prepared => "prepared",
            }),
        ),
    ]
}

fn word(name: &'static str) -> (&'static str, Shown) {
    ("undo", Shown::Word(name))
}

fn lsn(name: &'static str, value: Lsn) -> (&'static str, Shown) {
    (name, Shown::Lsn(value))
}

fn time(time_us: u64) -> (&'static str, Shown) {
    number("time_us", time_us)
}

fn number(name: &'static str, value: u64) -> (&'static str, Shown) {
    (name, Shown::Number(value))
}

fn file(name: &'static str, value: FileId) -> (&'static str, Shown) {
    number(name, value.0.into())
}

fn page(name: &'static str, value: PageNo) -> (&'static str, Shown) {
    number(name, value.0.into())
}

fn bytes(name: &'static str, value: &[u8]) -> (&'static str, Shown) {
    (name, Shown::Bytes(value.to_vec()))
}
