//! Models for loom: a snapshot taken beside a commit sees all of it or nothing, whenever it looks.
//!
//! They run `Register`, `Versions` and `Table` as they are. The log is a number, and a page is the
//! LSN in its header.

use std::sync::Arc;

use campanile_format::record::Undo;
use campanile_format::{FileId, Lsn, TxnId, Value};
use campanile_sync::atomic::{AtomicU64, Ordering};
use campanile_sync::{every_interleaving, thread};

use crate::snapshot::{Register, Snapshot};
use crate::table::{Entry, Phase, Table};
use crate::versions::{Before, Seen, VersionList};

const FILE: FileId = FileId(17);
const KEYS: [&[u8]; 2] = [b"a", b"b"];

/// Two keys, each in a page of its own.
struct Model {
    register: Arc<Register>,
    table: Table,
    log: AtomicU64,
    pages: [AtomicU64; 2],
    /// Set once a commit was acknowledged.
    acknowledged: AtomicU64,
}

impl Model {
    fn new() -> Arc<Model> {
        Arc::new(Model {
            register: Arc::new(Register::new(1 << 20)),
            table: Table::default(),
            log: AtomicU64::new(1000),
            pages: [AtomicU64::new(1), AtomicU64::new(1)],
            acknowledged: AtomicU64::new(0),
        })
    }

    /// As the one door and `commit` do it: list, publish the version, log, stamp; then the commit.
    /// `nth` are the keys, and `old` what they hold.
    fn write_and_commit(&self, id: u64, nths: &[usize], old: Option<&[u8]>) {
        let entry = Entry::new(TxnId(id));
        entry.progress().first = Lsn(self.log.load(Ordering::Acquire));
        self.table.insert(&entry);
        let mut list = VersionList::default();
        for &nth in nths {
            let (file, key) = (FILE, KEYS[nth]);
            let undo = match old {
                None => Undo::Insert { file, key },
                Some(old) => Undo::Replace { file, key, old: Value::Inline(old) },
            };
            self.register.versions.publish(entry.writer(), &mut list, &undo);
            let lsn = self.log.fetch_add(1, Ordering::AcqRel);
            self.pages[nth].store(lsn, Ordering::Release);
        }
        let _commit_record = self.log.fetch_add(1, Ordering::AcqRel);
        self.register.publish(entry.writer(), list);
        self.table.remove(TxnId(id));
    }

    /// Both keys are inserted by one transaction, then the second is replaced by another: the page
    /// of the first stays as old as the first transaction.
    fn live(&self) {
        self.write_and_commit(1, &[0, 1], None);
        self.acknowledged.store(1, Ordering::Release);
        self.write_and_commit(2, &[1], Some(b"first"));
    }

    fn snapshot(&self) -> Snapshot {
        self.register.capture(&self.table, 0, || Lsn(self.log.load(Ordering::Acquire)))
    }

    /// Whether the snapshot sees what the first transaction did to the key.
    fn sees(&self, snapshot: &Snapshot, nth: usize) -> bool {
        let lsn = Lsn(self.pages[nth].load(Ordering::Acquire));
        if lsn == Lsn(1) {
            return false;
        }
        let versions = &self.register.versions;
        let seen = || versions.seen(snapshot.read_sequence(), FILE, KEYS[nth]);
        snapshot.sees_all_of(lsn) || seen().expect("memory enough") != Seen::Before(Before::Absent)
    }
}

/// A snapshot beside a commit: both keys as one, before and after the commit is through.
fn snapshot_beside_a_commit() {
    let model = Model::new();
    // As long as it lives, no version that a later one needs is collected.
    let _older = model.snapshot();
    let writer = {
        let model = Arc::clone(&model);
        thread::spawn(move || model.live())
    };
    let acknowledged = model.acknowledged.load(Ordering::Acquire) == 1;
    let snapshot = model.snapshot();
    let first = model.sees(&snapshot, 0);
    let second = model.sees(&snapshot, 1);
    writer.join().unwrap();
    let later = [0, 1].map(|nth| model.sees(&snapshot, nth));
    assert_eq!([first, second], later, "what a snapshot sees has changed");
    assert_eq!(first, second, "a snapshot sees half of a transaction");
    assert!(first || !acknowledged, "an acknowledged transaction is not seen");
    drop(snapshot);
    let after = model.snapshot();
    assert!(model.sees(&after, 0) && model.sees(&after, 1));
}

#[test]
fn v3_a_snapshot_beside_a_commit_sees_all_of_it_or_nothing() {
    every_interleaving(Some(4), snapshot_beside_a_commit);
}

#[cfg(feature = "planted-bugs")]
#[test]
fn planted_a_commit_clock_read_before_the_logs_end_is_found() {
    use campanile_format::planted::{Bug, with};
    use campanile_sync::some_interleaving_fails;
    let found = |bug| with(bug, || some_interleaving_fails(Some(3), snapshot_beside_a_commit));
    assert!(found(Bug::SnapshotClockEarly));
}

/// The log of the models of checkpoints: a number, and whoever appends takes the next.
fn append(log: &AtomicU64) -> Lsn {
    Lsn(log.fetch_add(1, Ordering::AcqRel))
}

/// As the one door does it: listed with the end of the log before the first record is in it.
fn first_change(table: &Table, entry: &Arc<Entry>, log: &AtomicU64) {
    entry.progress().first = Lsn(log.load(Ordering::Acquire));
    table.insert(entry);
    let mut progress = entry.progress();
    progress.last = append(log);
}

/// What is named by a checkpoint has its log: one that ends while the checkpoint looks, resolved by
/// its coordinator or by itself, is not named, or its records count.
#[test]
fn t5_a_checkpoint_beside_the_end_of_a_transaction_names_nobody_whose_log_it_gives_up() {
    every_interleaving(None, || {
        let shared: Arc<(Table, AtomicU64)> = Arc::new((Table::default(), AtomicU64::new(1000)));
        let (table, log) = &*shared;
        let entry = Entry::new(TxnId(1));
        first_change(table, &entry, log);
        let ends = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (table, log) = &*shared;
                let mut progress = entry.progress();
                progress.last = append(log);
                progress.phase = Phase::Ended;
                drop(progress);
                table.remove(entry.id());
            })
        };
        let look = table.look(|| Lsn(log.load(Ordering::Acquire)));
        for named in &look.active {
            assert!(named.first >= look.undo_low, "{named:?} lies below {}", look.undo_low);
        }
        ends.join().unwrap();
    });
}

/// Every record of a family below the end is somebody's, at every moment of a merge, and nobody's
/// log is given up.
#[test]
fn n2_a_checkpoint_beside_a_merge_misses_neither_child_nor_parent() {
    every_interleaving(None, || {
        let shared: Arc<(Table, AtomicU64)> = Arc::new((Table::default(), AtomicU64::new(1000)));
        let (table, log) = &*shared;
        let parent = Entry::new(TxnId(1));
        let child = Entry::nested(TxnId(2), &parent);
        first_change(table, &child, log);
        let merges = {
            let (shared, parent, child) =
                (Arc::clone(&shared), Arc::clone(&parent), Arc::clone(&child));
            thread::spawn(move || {
                let (table, log) = &*shared;
                let merged = table.merge(&child, &parent, |_, ours| {
                    ours.last = append(log);
                    Ok(())
                });
                merged.unwrap();
            })
        };
        let look = table.look(|| Lsn(log.load(Ordering::Acquire)));
        assert!(!look.active.is_empty(), "a family is lost");
        for named in &look.active {
            assert!(named.first >= look.undo_low && look.undo_low <= Lsn(1000), "{look:?}");
        }
        merges.join().unwrap();
        let after = table.look(|| Lsn(log.load(Ordering::Acquire)));
        assert_eq!(after.active.len(), 1);
        assert_eq!((after.active[0].id, after.active[0].first), (TxnId(1), Lsn(1000)));
    });
}
