//! A small engine around a tree: log, pages, transactions in memory, sizes as tiny as they go.
//!
//! Owns: the wiring that the tests share. Promises: deterministic, no threads of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_btree::{Forest, Range, Reader, Tree, VerifyReport};
use campanile_format::control::Control;
use campanile_format::{EnvironmentId, Features, FileId, Lsn, Timeline, TxnId};
use campanile_lock::{LockOptions, LockTable};
use campanile_pagestore::{PageStore, StoreOptions};
use campanile_txn::{
    CheckpointKind, Durability, FlushLogFirst, Parts, Transactions, TransactionsOptions, Txn,
    TxnOptions,
};
use campanile_vfs::{Host, Poison};
use campanile_wal::{ControlFile, Start, Wal, WalOptions};

pub const ENVIRONMENT: EnvironmentId = EnvironmentId([7; 16]);

/// Sizes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub page_bytes: usize,
    pub frames: usize,
    pub log_file_bytes: u32,
    pub version_bytes: usize,
    pub escalate_after: u64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            page_bytes: 512,
            frames: 16,
            log_file_bytes: 64 << 10,
            version_bytes: 1 << 20,
            escalate_after: 50_000,
        }
    }
}

/// An open environment without a catalog.
pub struct Rig {
    pub host: Host,
    pub home: PathBuf,
    pub sizes: Sizes,
    pub txns: Arc<Transactions>,
    pub forest: Arc<Forest>,
    /// The file that most tests use.
    pub file: FileId,
}

fn control(sizes: Sizes) -> Control {
    Control {
        features: Features::default(),
        environment: ENVIRONMENT,
        timeline: Timeline(1),
        page_bytes: sizes.page_bytes as u32,
        log_file_bytes: sizes.log_file_bytes,
        generation: 1,
        checkpoint: Lsn::NONE,
        redo: Lsn::NONE,
        durable: Lsn::NONE,
        clean_end: None,
        next_txn: TxnId(1),
        next_file: FileId::MIN_USER,
        time_us: 0,
    }
}

impl Rig {
    /// A new environment with a graveyard and one file.
    pub fn new(sizes: Sizes) -> Rig {
        Rig::durable(sizes, true)
    }

    /// As [`Rig::new`], with a file that is logged or not.
    pub fn durable(sizes: Sizes, durable: bool) -> Rig {
        let host = Host::memory();
        let home = PathBuf::from("/home");
        host.vfs.create_dir(&home).expect("home");
        let poison = Poison::new();
        let control = control(sizes);
        let control_file =
            ControlFile::create(&host, &poison, &home, &control).expect("control file");
        let (txns, forest) = open(&host, &home, sizes, poison, control_file, control, Start::New);
        let mut rig = Rig { host, home, sizes, txns, forest, file: FileId::MIN_USER };
        let mut txn = rig.begin();
        rig.txns.create_file_as(&mut txn, FileId::GRAVEYARD, true).expect("graveyard");
        rig.file = rig.txns.create_file(&mut txn, durable).expect("file");
        rig.commit(txn);
        rig
    }

    /// Closes cleanly and opens again.
    pub fn reopen(self) -> Rig {
        let Rig { host, home, sizes, txns, forest, file } = self;
        txns.checkpoint(CheckpointKind::Close).expect("close");
        drop(forest);
        drop(txns);
        let poison = Poison::new();
        let (control_file, control) =
            ControlFile::open(&host, &poison, &home).expect("control file");
        let end = control.clean_end.expect("a clean end");
        let start = Start::Continue { end };
        let (txns, forest) = open(&host, &home, sizes, poison, control_file, control, start);
        for file in txns.store().files().expect("files") {
            assert!(txns.store().open_file(file).expect("open file"));
        }
        Rig { host, home, sizes, txns, forest, file }
    }

    pub fn tree(&self) -> Tree<'_> {
        self.forest.tree(&self.txns, self.file)
    }

    pub fn begin(&self) -> Txn {
        self.txns.begin(TxnOptions::default()).expect("begin")
    }

    pub fn commit(&self, txn: Txn) {
        self.txns.commit(txn, Durability::NoSync).expect("commit");
    }

    pub fn abort(&self, txn: Txn) {
        self.txns.abort(txn).expect("abort");
    }

    /// Cleans until there is nothing left to do.
    pub fn clean_all(&self) -> usize {
        (0..).take_while(|_| self.forest.clean(&self.txns).expect("clean")).count()
    }

    /// Verifies the file; panics with all findings.
    pub fn verify(&self) -> VerifyReport {
        let report = self.tree().verify().expect("verify");
        let lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert!(report.is_clean(), "verify found:\n{}", lines.join("\n"));
        let graves = self.forest.tree(&self.txns, FileId::GRAVEYARD).verify().expect("verify");
        assert!(graves.is_clean(), "the graveyard: {:?}", graves.findings);
        report
    }

    /// All pairs, as nobody in particular sees them.
    pub fn pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        pairs(&self.tree(), &mut Reader::Uncommitted)
    }
}

/// All pairs that a reader sees.
pub fn pairs(tree: &Tree<'_>, reader: &mut Reader<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut range = Range::all();
    let mut pairs = Vec::new();
    while let Some(pair) = range.next(tree, reader.reborrow()).expect("next") {
        pairs.push(pair);
    }
    pairs
}

fn open(
    host: &Host,
    home: &Path,
    sizes: Sizes,
    poison: Poison,
    control_file: ControlFile,
    control: Control,
    start: Start,
) -> (Arc<Transactions>, Arc<Forest>) {
    let mut options = WalOptions::new(home.join("log"), ENVIRONMENT, Timeline(1));
    options.file_bytes = sizes.log_file_bytes;
    options.buffer_bytes = 8 << 10;
    let wal = Arc::new(Wal::open(host, &poison, options, start).expect("log"));
    let mut options = StoreOptions::new(home, ENVIRONMENT);
    options.page_bytes = sizes.page_bytes;
    options.cache_bytes = sizes.page_bytes * sizes.frames;
    options.batch_pages = 8;
    options.growth_pages = 16;
    let barrier = Arc::new(FlushLogFirst::new(Arc::clone(&wal)));
    let store = Arc::new(PageStore::open(host, &poison, options, barrier).expect("store"));
    let locks = Arc::new(LockTable::new(LockOptions::default()));
    let clock = Arc::clone(&host.clock);
    let parts = Parts { poison, clock, wal, store, locks, control_file, control };
    let mut options = TransactionsOptions::default();
    options.version_bytes = sizes.version_bytes;
    options.escalate_after = sizes.escalate_after;
    let txns = Arc::new(Transactions::open(parts, options));
    let forest = Arc::new(Forest::new());
    txns.set_undo(Arc::clone(&forest) as Arc<_>);
    (txns, forest)
}

/// How many times as many random cases as usual to run: `CAMPANILE_SEEDS`.
pub fn times() -> u64 {
    std::env::var("CAMPANILE_SEEDS").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Random numbers that are the same every time (xorshift64*).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() >> 11) as usize % end
    }

    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }
}
