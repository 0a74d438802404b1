//! One fixed record of every kind and one fixed header of every file: what golden files hold.

use std::borrow::Cow;

use campanile_format::catalog_row::CatalogRow;
use campanile_format::control::Control;
use campanile_format::data_dirs::{DataDir, DataDirList, DataDirMark};
use campanile_format::double_write::{BatchEntry, BatchHeader};
use campanile_format::frame::{self, LogIdentity};
use campanile_format::increment::IncrementHeader;
use campanile_format::log_file::LogFileHeader;
use campanile_format::record::{
    Body, Checkpoint, FileAction, PageChange, Record, TxnEntry, TxnState, Undo,
};
use campanile_format::{
    DirNo, EnvironmentId, Features, FileId, Lsn, MetaFields, OverflowRef, PageId, PageNo, PageOp,
    Timeline, TxnId, Value,
};

pub const ENVIRONMENT: EnvironmentId =
    EnvironmentId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
pub const TIMELINE: Timeline = Timeline(1);
/// Where the sample records stand, and how far behind the record before.
pub const AT: Lsn = Lsn::new(3, 640);
pub const BACK: u32 = 128;
/// 2026-01-02 03:04:05 UTC.
pub const TIME_US: u64 = 1_767_323_045_000_000;

pub fn identity() -> LogIdentity {
    LogIdentity::new(ENVIRONMENT, TIMELINE)
}

/// The record's whole frame at [`AT`].
pub fn framed(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    frame::finish(&mut bytes, AT, BACK, &identity());
    bytes
}

const FILE: FileId = FileId(16);

fn change(page: u32, prev_page_lsn: Lsn, ops: Vec<PageOp<'_>>) -> PageChange<'_> {
    PageChange { page: PageId::new(FILE, PageNo(page)), prev_page_lsn, ops }
}

fn update(ops: Vec<PageOp<'static>>, undo: Undo<'static>) -> Body<'static> {
    Body::Update { changes: vec![change(2, Lsn::new(3, 512), ops)], undo }
}

fn insert() -> PageOp<'static> {
    PageOp::LeafInsert { slot: 4, key: b"alice", value: Value::Inline(b"100") }
}

/// Every kind of record, every operation and every undo at least once, with its golden name.
pub fn records() -> Vec<(&'static str, Record<'static>)> {
    let transaction = |body| Record { txn: TxnId(77), prev: Lsn::new(2, 4096), body };
    let system = |body| Record { txn: TxnId::SYSTEM, prev: Lsn::NONE, body };
    let overflow = Value::Overflow(OverflowRef { len: 100_000, first: PageNo(40) });
    let undo_insert = Undo::Insert { file: FILE, key: b"alice" };
    let undo_replace = Undo::Replace { file: FILE, key: b"alice", old: Value::Inline(b"90") };
    let undo_delete = Undo::Delete { file: FILE, key: b"alice", old: overflow };
    let undo_extent = Undo::AllocExtent { file: FILE, first: PageNo(40), count: 13 };
    let map_set = PageOp::MapSet { first: 40, count: 13, allocated: true };
    let replace = PageOp::LeafReplace { slot: 4, value: overflow };
    let ghost = PageOp::LeafGhost { slot: 4, ghost: true };
    let mut list = vec![
        ("update-insert", transaction(update(vec![insert()], undo_insert))),
        ("update-insert-far", transaction(update(vec![ghost.clone()], undo_insert))),
        ("update-replace", transaction(update(vec![replace], undo_replace))),
        ("update-delete", transaction(update(vec![ghost], undo_delete))),
        ("update-extent", transaction(update(vec![map_set], undo_extent))),
        ("update-clear", transaction(update(Vec::new(), Undo::ClearTree { file: FILE }))),
        ("update-file", transaction(update(Vec::new(), Undo::CreateFile { file: FILE }))),
        ("update-split", system(split())),
        ("update-format", system(formats())),
        ("update-merge", system(merge())),
        ("abort", transaction(Body::Abort)),
        ("commit", transaction(Body::Commit { time_us: TIME_US, durable: Lsn::new(3, 600) })),
        ("prepare", transaction(Body::Prepare { gid: b"global-1", time_us: TIME_US })),
        ("file-create", transaction(file_create(DirNo::HOME))),
        ("file-create-in", transaction(file_create(DirNo(2)))),
        ("file-remove", system(Body::FileRemove { file: FILE })),
        ("durable", system(Body::Durable { durable: Lsn::new(3, 600) })),
        ("restore-point", system(Body::RestorePoint { name: "before upgrade", time_us: TIME_US })),
    ];
    list.extend(compensations().map(|(name, body)| (name, transaction(body))));
    list.extend(bookkeeping().map(|(name, body)| (name, system(body))));
    list
}

fn file_create(directory: DirNo) -> Body<'static> {
    Body::FileCreate { file: FILE, durable: true, directory }
}

fn split() -> Body<'static> {
    let changes = vec![
        change(2, Lsn::new(3, 512), vec![PageOp::NodeTruncate { keep: 20, upper: b"m" }]),
        change(9, Lsn::NONE, vec![PageOp::Image { head: &[7; 80], tail: b"right half" }]),
        change(
            3,
            Lsn::new(1, 512),
            vec![PageOp::InnerInsert { slot: 1, separator: b"m", child: PageNo(9) }],
        ),
    ];
    Body::Update { changes, undo: Undo::None }
}

fn formats() -> Body<'static> {
    let meta = MetaFields::new(ENVIRONMENT, 8192, true);
    let node =
        PageOp::FormatNode { level: 1, lower: b"", upper: Some(b"zz"), first_child: PageNo(5) };
    let leaf = PageOp::FormatNode { level: 0, lower: b"a", upper: None, first_child: PageNo::NONE };
    let long =
        PageOp::FormatOverflow { extent_pages: 13, next_extent: PageNo(60), data: b"a long value" };
    let changes = vec![
        change(0, Lsn::NONE, vec![PageOp::FormatMeta(meta), PageOp::MetaSet(meta)]),
        change(1, Lsn::NONE, vec![PageOp::FormatMap { group: 0 }]),
        change(2, Lsn::NONE, vec![node]),
        change(5, Lsn::NONE, vec![leaf]),
        change(40, Lsn::NONE, vec![long]),
    ];
    Body::Update { changes, undo: Undo::None }
}

fn merge() -> Body<'static> {
    let ops = vec![
        PageOp::InnerRemove { slot: 1 },
        PageOp::InnerSetChild { slot: None, child: PageNo(5) },
        PageOp::InnerSetChild { slot: Some(0), child: PageNo(6) },
    ];
    let purge = PageOp::LeafPurge { slots: Cow::Borrowed(&[1, 5, 300]) };
    let changes = vec![change(3, Lsn::new(3, 512), ops), change(2, Lsn::new(3, 8), vec![purge])];
    Body::Update { changes, undo: Undo::None }
}

fn compensations() -> impl Iterator<Item = (&'static str, Body<'static>)> {
    let ghost = PageOp::LeafGhost { slot: 4, ghost: true };
    let pages = Body::Compensate {
        undo_next: Lsn::new(2, 512),
        within: Lsn::NONE,
        changes: vec![change(2, AT, vec![ghost.clone()])],
        action: FileAction::None,
    };
    let file = Body::Compensate {
        undo_next: Lsn::NONE,
        within: Lsn::NONE,
        changes: Vec::new(),
        action: FileAction::RemoveFile(FILE),
    };
    let within = Body::Compensate {
        undo_next: Lsn::new(2, 512),
        within: Lsn::new(3, 600),
        changes: vec![change(2, AT, vec![ghost])],
        action: FileAction::None,
    };
    let child = Body::ChildCommit { child: TxnId(78), child_last: Lsn::new(3, 560) };
    let enter = Body::EnterChild {
        child: TxnId(78),
        undo_next: Lsn::new(3, 560),
        merge: Lsn::new(3, 580),
        within: Lsn::NONE,
    };
    [
        ("compensate", pages),
        ("compensate-file", file),
        ("compensate-within", within),
        ("child-commit", child),
        ("enter-child", enter),
    ]
    .into_iter()
}

fn bookkeeping() -> impl Iterator<Item = (&'static str, Body<'static>)> {
    let entry = |id, state| TxnEntry {
        id: TxnId(id),
        first: Lsn::new(1, 512),
        last: Lsn::new(3, 560),
        undo_next: Lsn::new(2, 512),
        state,
    };
    let entries = vec![entry(77, TxnState::Active), entry(70, TxnState::Prepared)];
    let checkpoint = Checkpoint {
        redo: Lsn::new(2, 1024),
        undo_low: Lsn::new(1, 512),
        active_from: Lsn::new(3, 600),
        next_txn: TxnId(80),
        next_file: FileId(17),
        time_us: TIME_US,
        durable: Lsn::new(3, 600),
    };
    let ignorable = Body::Ignorable { kind: 200, bytes: b"from a newer build" };
    [
        ("active-txns", Body::ActiveTxns { entries }),
        ("checkpoint", Body::Checkpoint(checkpoint)),
        ("pad", Body::Pad { bytes: 40 }),
        ("ignorable", ignorable),
    ]
    .into_iter()
}

pub fn log_file_header() -> LogFileHeader {
    LogFileHeader {
        features: Features::NONE,
        environment: ENVIRONMENT,
        timeline: Timeline(2),
        file: 4,
        file_bytes: 64 << 20,
        predecessor_end: Lsn::new(3, 704),
        predecessor_timeline: Timeline(1),
        created_us: TIME_US,
        block_bytes: 4096,
    }
}

pub fn control() -> Control {
    Control {
        features: Features::NONE,
        environment: ENVIRONMENT,
        timeline: Timeline(2),
        page_bytes: 8192,
        log_file_bytes: 64 << 20,
        generation: 9,
        checkpoint: Lsn::new(3, 640),
        redo: Lsn::new(2, 1024),
        durable: Lsn::new(3, 704),
        clean_end: Some(Lsn::new(3, 704)),
        next_txn: TxnId(80),
        next_file: FileId(17),
        time_us: TIME_US,
    }
}

pub fn increment() -> IncrementHeader {
    IncrementHeader {
        environment: ENVIRONMENT,
        file: FileId(16),
        page_bytes: 8192,
        since: AT,
        pages: 100,
    }
}

pub fn data_dirs() -> DataDirList {
    let dir = |number, path: &str| DataDir { number: DirNo(number), path: path.to_owned() };
    DataDirList { environment: ENVIRONMENT, dirs: vec![dir(1, "fast"), dir(2, "/disk2/shop")] }
}

pub fn data_dir_mark() -> DataDirMark {
    DataDirMark { environment: ENVIRONMENT, number: DirNo(2), home: "/srv/shop".to_owned() }
}

pub fn batch() -> BatchHeader {
    let entry = |page, crc| BatchEntry { page: PageId::new(FILE, PageNo(page)), crc };
    BatchHeader {
        features: Features::NONE,
        environment: ENVIRONMENT,
        batch: 12,
        page_bytes: 512,
        entries: vec![entry(2, 0x1234_5678), entry(40, 0x9abc_def0)],
    }
}

pub fn catalog_row() -> CatalogRow<'static> {
    CatalogRow::new(FILE, false, TIME_US)
}
