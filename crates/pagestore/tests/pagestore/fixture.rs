//! A log that is a list, pages that hold a number, and a store over both.
//!
//! Owns the fake `LogBarrier` and the miniature of `txn` and `recovery` that the tests need: change
//! a page under the door's rules, and redo from the list. A page is a leaf with four values, spread
//! over the page so that it can tear; all four hold the same number, so that a mixture shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use campanile_format::{
    EnvironmentId, FileId, Lsn, Node, PageBytes, PageId, PageNo, PageOp, Value, page_op,
};
use campanile_pagestore::{
    BarrierError, FileFlags, LogBarrier, PageStore, PageWrite, RedoPage, StoreError, StoreOptions,
};
use campanile_vfs::{Host, Poison};

pub const ENVIRONMENT: EnvironmentId = EnvironmentId([7; 16]);
/// As large as what the simulated disk may spoil around a write.
pub const PAGE_BYTES: usize = 4096;

/// The file in the tests of crashes that is not in the log.
pub const UNLOGGED: FileId = FileId(9);
/// Instead of a stamp: the file is removed.
pub const REMOVAL: u64 = u64::MAX;

/// Bytes of a record in the fake log.
const RECORD: u64 = 8;
const KEYS: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

/// Pages 0 and 1 are no place for a node.
const FIRST: u32 = 2;

/// The `number`-th page that may hold a node.
pub fn page(file: u32, number: u32) -> PageId {
    PageId::new(FileId(file), PageNo(number + FIRST))
}

/// Where that page is in its file.
pub fn place(number: u32) -> u64 {
    u64::from(number + FIRST) * PAGE_BYTES as u64
}

/// One record: page `page` was given `stamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub lsn: Lsn,
    pub page: PageId,
    pub prev: Lsn,
    pub init: bool,
    pub stamp: u64,
}

/// A log in memory. It makes no record durable that it is not asked for.
#[derive(Debug)]
pub struct FakeLog {
    records: Mutex<Vec<Record>>,
    end: AtomicU64,
    /// Everything below is durable.
    durable: AtomicU64,
    pub flushes: AtomicU64,
    pub fails: AtomicBool,
}

impl FakeLog {
    pub fn new() -> FakeLog {
        FakeLog::with(Vec::new(), Lsn::new(1, 512))
    }

    fn with(records: Vec<Record>, end: Lsn) -> FakeLog {
        FakeLog {
            records: Mutex::new(records),
            end: AtomicU64::new(end.0),
            durable: AtomicU64::new(end.0),
            flushes: AtomicU64::new(0),
            fails: AtomicBool::new(false),
        }
    }

    pub fn append(&self, page: PageId, prev: Lsn, init: bool, stamp: u64) -> Lsn {
        let mut records = self.records.lock().unwrap();
        let lsn = Lsn(self.end.fetch_add(RECORD, Ordering::SeqCst));
        records.push(Record { lsn, page, prev, init, stamp });
        lsn
    }

    /// Makes all records durable.
    pub fn flush(&self) {
        self.durable.store(self.end().0, Ordering::SeqCst);
    }

    pub fn end(&self) -> Lsn {
        Lsn(self.end.load(Ordering::SeqCst))
    }

    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::SeqCst))
    }

    /// What a power failure leaves.
    pub fn survivor(&self) -> FakeLog {
        let durable = self.durable();
        let mut records = self.records.lock().unwrap().clone();
        records.retain(|record| record.lsn < durable);
        FakeLog::with(records, durable)
    }

    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }
}

impl LogBarrier for FakeLog {
    fn flush_to(&self, lsn: Lsn) -> Result<(), BarrierError> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(BarrierError::new("the fake log was told to fail"));
        }
        assert!(lsn < self.end(), "a page is stamped with a record that was never appended");
        self.durable.fetch_max(lsn.0 + RECORD, Ordering::SeqCst);
        Ok(())
    }

    fn end(&self) -> Lsn {
        FakeLog::end(self)
    }
}

/// A store with its log, and what its pages should hold.
pub struct Rig {
    pub host: Host,
    pub poison: Poison,
    pub log: Arc<FakeLog>,
    pub store: Arc<PageStore>,
    pub expected: BTreeMap<PageId, u64>,
    pub options: StoreOptions,
}

pub fn options(home: impl Into<PathBuf>, frames: usize) -> StoreOptions {
    StoreOptions {
        page_bytes: PAGE_BYTES,
        cache_bytes: frames * PAGE_BYTES,
        batch_pages: 8,
        growth_pages: 16,
        ..StoreOptions::new(home, ENVIRONMENT)
    }
}

/// A host whose directory `home` exists.
pub fn memory() -> Host {
    let host = Host::memory();
    host.vfs.create_dir(Path::new("home")).unwrap();
    host
}

impl Rig {
    /// On a host, in its directory `home`.
    pub fn new(host: &Host, frames: usize) -> Rig {
        Rig::open(host, options("home", frames), FakeLog::new()).unwrap()
    }

    pub fn open(host: &Host, options: StoreOptions, log: FakeLog) -> Result<Rig, StoreError> {
        let (poison, log) = (Poison::new(), Arc::new(log));
        let barrier = Arc::<FakeLog>::clone(&log);
        let store = Arc::new(PageStore::open(host, &poison, options.clone(), barrier)?);
        let (host, expected) = (host.clone(), BTreeMap::new());
        Ok(Rig { host, poison, log, store, expected, options })
    }

    pub fn create(&self, file: u32) {
        self.store.create_file(FileId(file), FileFlags { durable: true }).unwrap();
    }

    /// Initialises or changes a page, by the rules of the one door.
    pub fn put(&mut self, page: PageId, stamp: u64) -> Result<Lsn, StoreError> {
        let lsn = match self.expected.contains_key(&page) {
            true => change(&self.log, self.store.write(page)?, stamp),
            false => init(&self.log, self.store.fresh(page)?, stamp),
        };
        self.expected.insert(page, stamp);
        Ok(lsn)
    }

    pub fn get(&self, page: PageId) -> Result<u64, StoreError> {
        Ok(stamp(&self.store.read(page)?.bytes()))
    }

    /// Every page holds what it should.
    pub fn check(&self) {
        for (page, stamp) in &self.expected {
            assert_eq!(self.get(*page).unwrap(), *stamp, "{page}");
        }
    }

    /// Where redo would start, were the checkpoint made now.
    pub fn redo_lsn(&self) -> Lsn {
        let end = self.log.end();
        self.store.min_rec_lsn().unwrap_or(end).min(end)
    }

    /// Repairs torn pages and redoes the log from `redo` on, as recovery does.
    pub fn recover(&mut self, redo: Lsn) -> Result<Found, StoreError> {
        let repaired = self.store.repair_torn_pages(redo)?.repaired.len();
        let mut found = Found { repaired, ..Found::default() };
        let records = self.log.records();
        let removed: BTreeSet<FileId> = records
            .iter()
            .filter(|record| record.stamp == REMOVAL)
            .map(|record| record.page.file)
            .collect();
        for file in removed.iter().chain([&UNLOGGED]) {
            self.store.remove_file(*file)?;
        }
        self.store.create_file(UNLOGGED, FileFlags { durable: false })?;
        let mut damaged = BTreeMap::new();
        for record in &records {
            if record.lsn < redo || removed.contains(&record.page.file) {
                continue;
            }
            let (mut guard, sound) = match self.store.fetch_for_redo(record.page)? {
                RedoPage::Ready(guard) => (guard, true),
                RedoPage::Absent(guard) => (guard, false),
                RedoPage::Torn(guard) => {
                    found.torn += 1;
                    (guard, false)
                }
            };
            if !sound && !record.init {
                // To be rebuilt by a later record, or lost.
                damaged.insert(record.page, *record);
                continue;
            }
            damaged.remove(&record.page);
            if guard.lsn() >= record.lsn {
                guard.redirty(record.lsn);
                continue;
            }
            assert!(record.init || guard.lsn() == record.prev, "{record:?} does not follow");
            guard.begin_change(record.lsn);
            guard.apply(&ops(record.init, &bytes(record.stamp)), record.lsn);
        }
        assert!(damaged.is_empty(), "not rebuilt: {damaged:?}");
        let pages = records.iter().map(|record| (record.page, record.stamp));
        self.expected = pages.filter(|(page, _)| !removed.contains(&page.file)).collect();
        Ok(found)
    }
}

/// What recovery met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Pages repaired from their copies.
    pub repaired: usize,
    /// Records that met a torn page.
    pub torn: usize,
}

/// Gives a page its first content.
pub fn init(log: &FakeLog, page: PageWrite<'_>, stamp: u64) -> Lsn {
    apply(log, page, stamp, true)
}

/// Gives a page other content.
pub fn change(log: &FakeLog, page: PageWrite<'_>, stamp: u64) -> Lsn {
    apply(log, page, stamp, false)
}

fn apply(log: &FakeLog, mut page: PageWrite<'_>, stamp: u64, init: bool) -> Lsn {
    let value = bytes(stamp);
    let ops = ops(init, &value);
    page_op::check_all(&ops, page.id(), &page.bytes()).unwrap();
    page.begin_change(log.end());
    let lsn = match page.id().file {
        UNLOGGED => log.end(),
        _ => log.append(page.id(), page.lsn(), init, stamp),
    };
    page.apply(&ops, lsn);
    lsn
}

fn bytes(stamp: u64) -> Vec<u8> {
    stamp.to_le_bytes().repeat(PAGE_BYTES / 48)
}

fn ops(init: bool, value: &[u8]) -> Vec<PageOp<'_>> {
    let format =
        PageOp::FormatNode { level: 0, lower: b"", upper: None, first_child: PageNo::NONE };
    let value = Value::Inline(value);
    let entries = (0..).zip(KEYS).map(|(slot, key)| match init {
        true => PageOp::LeafInsert { slot, key, value },
        false => PageOp::LeafReplace { slot, value },
    });
    init.then_some(format).into_iter().chain(entries).collect()
}

/// The number on a page, which must be there four times and whole.
pub fn stamp<P: PageBytes>(page: &P) -> u64 {
    let node = Node::new(page);
    assert_eq!(node.count(), KEYS.len());
    let mut stamps = Vec::new();
    for slot in 0..KEYS.len() {
        let mut value = Vec::new();
        assert!(node.value_into(slot, &mut value).is_none());
        assert_eq!(value.len(), PAGE_BYTES / 48 * 8);
        let words = value.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        stamps.extend(words);
    }
    stamps.dedup();
    assert_eq!(stamps.len(), 1, "the page is a mixture");
    stamps[0]
}
