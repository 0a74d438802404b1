//! The order of things: log before page (P1), `rec_lsn` (P2, P3), double-write before home (P8).

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use campanile_format::double_write::BatchHeader;
use campanile_format::{FileId, Lsn, Plain, page as page_format};
use campanile_pagestore::{FileFlags, PageStore, StoreError};
use campanile_vfs::{Call, CallKind, Host, Observed, Observer, Outcome};

use crate::fixture::{FakeLog, PAGE_BYTES, Rig, change, memory, options, page};

/// Asserts the write-ahead rule at each write of a page, anywhere.
#[derive(Debug, Default)]
struct WriteAhead {
    log: OnceLock<Arc<FakeLog>>,
    pages: AtomicU64,
}

impl Observer for WriteAhead {
    fn before(&self, call: &Call<'_>) {
        let name = call.path.file_name().unwrap().to_string_lossy();
        if call.kind != CallKind::Write || !(name.starts_with("data.") || name == "doublewrite") {
            return;
        }
        if name == "doublewrite" && BatchHeader::decode(call.data).is_ok() {
            return;
        }
        assert!(call.data.len().is_multiple_of(PAGE_BYTES));
        for image in call.data.chunks_exact(PAGE_BYTES) {
            let id = page_format::id(&Plain(image));
            page_format::check(image, id).unwrap();
            let durable = self.log.get().unwrap().durable();
            let lsn = page_format::lsn(&Plain(image));
            assert!(lsn < durable, "P1: {id} with LSN {lsn} is written, durable is {durable}");
            self.pages.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
pub fn p1_a_page_is_never_written_before_the_log_is_durable_up_to_its_copy() {
    let monitor = Arc::new(WriteAhead::default());
    let inner = memory();
    let observer: Arc<dyn Observer> = Arc::<WriteAhead>::clone(&monitor);
    let host = Host { vfs: Observed::new(Arc::clone(&inner.vfs), observer), ..inner };
    let mut rig = Rig::new(&host, 16);
    monitor.log.set(Arc::clone(&rig.log)).unwrap();
    rig.create(16);
    for round in 0..2000_u64 {
        rig.put(page(16, (round * 7 % 61) as u32), round).unwrap();
        match round % 97 {
            0 => drop(rig.store.step(rig.log.end()).unwrap()),
            50 => drop(rig.store.write_back_below(Lsn(rig.log.end().0 - 200)).unwrap()),
            _ => {}
        }
    }
    rig.store.write_back_all().unwrap();
    rig.check();
    assert!(monitor.pages.load(Ordering::Relaxed) > 1000);
}

#[test]
fn a_page_of_a_file_that_is_not_durable_asks_nobody() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.store.create_file(FileId(20), FileFlags { durable: false }).unwrap();
    for round in 0..3 {
        for number in 1..100 {
            rig.put(page(20, number), round).unwrap();
        }
    }
    rig.check();
    assert_eq!(rig.store.min_rec_lsn(), None, "no record, nothing to redo");
    let before = rig.store.stats();
    assert!(before.pages_written > 100 && before.dirty_frames > 0);
    assert_eq!((before.pages_double_written, before.syncs), (0, 1));
    assert_eq!(rig.log.flushes.load(Ordering::Relaxed), 0);
    rig.store.write_back_below(Lsn::MAX).unwrap();
    assert_eq!(rig.store.stats().syncs, 1);
    // A clean close keeps them.
    rig.store.write_back_all().unwrap();
    assert_eq!((rig.store.stats().syncs, rig.store.stats().dirty_frames), (2, 0));
}

/// Changes a page while a batch that has it is under way.
#[derive(Default)]
struct Meddler {
    rig: OnceLock<(Weak<PageStore>, Arc<FakeLog>)>,
    seen: Mutex<Vec<(CallKind, Option<Lsn>)>>,
    at: Mutex<Option<(CallKind, u64)>>,
}

impl std::fmt::Debug for Meddler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddler")
    }
}

impl Observer for Meddler {
    fn after(&self, call: &Call<'_>, _outcome: Outcome<'_>) {
        let Some((store, log)) = self.rig.get() else { return };
        let store = store.upgrade().unwrap();
        self.seen.lock().unwrap().push((call.kind, store.min_rec_lsn()));
        let due = self.at.lock().unwrap().take_if(|(kind, _)| *kind == call.kind);
        if let Some((_, stamp)) = due {
            change(log, store.write(page(16, 3)).unwrap(), stamp);
        }
    }
}

#[test]
pub fn p3_rec_lsn_stays_through_the_batch_and_then_names_the_change_after_the_copy() {
    let meddler = Arc::new(Meddler::default());
    let inner = memory();
    let observer: Arc<dyn Observer> = Arc::<Meddler>::clone(&meddler);
    let host = Host { vfs: Observed::new(Arc::clone(&inner.vfs), observer), ..inner };
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    rig.put(page(16, 3), 1).unwrap();
    rig.store.write_back_all().unwrap();
    assert_eq!(rig.store.min_rec_lsn(), None);
    for kind in [CallKind::Write, CallKind::SyncData] {
        let first = rig.log.end();
        rig.put(page(16, 3), 2).unwrap();
        rig.put(page(16, 3), 3).unwrap();
        assert_eq!(rig.store.min_rec_lsn(), Some(first));
        let after_copy = rig.log.end();
        *meddler.at.lock().unwrap() = Some((kind, 4));
        let _ = meddler.rig.set((Arc::downgrade(&rig.store), Arc::clone(&rig.log)));
        meddler.seen.lock().unwrap().clear();
        rig.store.write_back_below(Lsn::MAX).unwrap();
        // Copy written, synced, home written, synced; and all the time the old LSN.
        let seen = meddler.seen.lock().unwrap().clone();
        assert!(seen.iter().all(|(_, rec_lsn)| *rec_lsn == Some(first)), "{seen:?}");
        assert!(seen.iter().filter(|(kind, _)| *kind == CallKind::SyncData).count() == 2);
        assert_eq!(rig.store.min_rec_lsn(), Some(after_copy));
        assert_eq!(rig.get(page(16, 3)).unwrap(), 4);
        rig.store.write_back_below(Lsn::MAX).unwrap();
        assert_eq!(rig.store.min_rec_lsn(), None);
    }
}

#[test]
fn p8_pages_that_redo_can_rebuild_skip_the_double_write_and_others_do_not() {
    let host = memory();
    let mut rig = Rig::new(&host, 64);
    rig.create(16);
    let double_written = |rig: &Rig| rig.store.stats().pages_double_written;
    for number in 0..10 {
        rig.put(page(16, number), 1).unwrap();
        rig.put(page(16, number), 2).unwrap();
    }
    rig.store.write_back_all().unwrap();
    assert_eq!(double_written(&rig), 0, "their first change is an initialising one");
    rig.put(page(16, 4), 3).unwrap();
    rig.expected.remove(&page(16, 4));
    rig.put(page(16, 4), 4).unwrap();
    rig.store.write_back_all().unwrap();
    assert_eq!(double_written(&rig), 1, "initialised, but after another change");
    rig.expected.remove(&page(16, 5));
    rig.put(page(16, 5), 5).unwrap();
    rig.store.write_back_all().unwrap();
    assert_eq!(double_written(&rig), 1, "given up and initialised again");
    rig.check();
}

#[test]
fn a_change_announced_and_not_made_leaves_the_page_clean() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    rig.put(page(16, 0), 1).unwrap();
    rig.store.write_back_all().unwrap();
    let mut guard = rig.store.write(page(16, 0)).unwrap();
    guard.begin_change(rig.log.end());
    assert_eq!(rig.store.min_rec_lsn(), Some(rig.log.end()));
    guard.begin_change(rig.log.end());
    drop(guard);
    assert_eq!(rig.store.min_rec_lsn(), None);
}

#[test]
fn a_log_that_cannot_be_flushed_stops_the_page_and_nothing_else() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    for number in 0..10 {
        rig.put(page(16, number), 1).unwrap();
    }
    let redo = rig.store.min_rec_lsn();
    rig.log.fails.store(true, Ordering::SeqCst);
    let refused = rig.store.write_back_all().unwrap_err();
    assert!(matches!(refused, StoreError::Barrier(_)), "{refused}");
    assert_eq!((rig.store.min_rec_lsn(), rig.store.stats().pages_written), (redo, 0));
    assert!(!rig.poison.is_poisoned(), "that is for the log to say");
    rig.check();
    rig.log.fails.store(false, Ordering::SeqCst);
    rig.store.write_back_all().unwrap();
    assert_eq!(rig.store.min_rec_lsn(), None);
}

#[test]
fn steps_write_the_oldest_first_and_stop_at_the_target() {
    let host = memory();
    let mut rig = Rig::open(&host, options("home", 64), FakeLog::new()).unwrap();
    rig.create(16);
    let mut lsns = Vec::new();
    for number in 0..30 {
        lsns.push(rig.put(page(16, number), 1).unwrap());
    }
    assert!(!rig.store.step(lsns[0]).unwrap(), "nothing is below");
    assert!(rig.store.step(lsns[20]).unwrap());
    assert_eq!(rig.store.min_rec_lsn(), Some(lsns[8]), "a batch of eight");
    while rig.store.step(lsns[20]).unwrap() {}
    assert_eq!(rig.store.min_rec_lsn(), Some(lsns[20]));
    assert!(!host.vfs.exists(Path::new("home/doublewrite")).unwrap());
    // All frames dirty: steps keep some clean without being told a target.
    for number in 0..64 {
        rig.put(page(16, number), 2).unwrap();
    }
    while rig.store.step(Lsn::NONE).unwrap() {}
    let stats = rig.store.stats();
    assert!(stats.frames - stats.dirty_frames >= 8, "{stats:?}");
}
