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
use crate::table::{Entry, Table};
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
