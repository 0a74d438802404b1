//! Frames: guards, eviction, a cache that is too small, growth, fresh pages.

use std::collections::BTreeSet;
use std::path::Path;

use campanile_format::{FileId, Lsn};
use campanile_pagestore::{FileFlags, MIN_FRAMES, StoreError};
use campanile_vfs::Open;

use crate::fixture::{self, PAGE_BYTES, Rig, change, init, memory, page, stamp};

#[test]
fn a_page_comes_back_from_disk_as_it_was() {
    let host = memory();
    let mut rig = Rig::new(&host, 64);
    rig.create(16);
    for number in 0..40 {
        rig.put(page(16, number), u64::from(number) + 1000).unwrap();
    }
    rig.store.write_back_all().unwrap();
    let log = rig.log.survivor();
    let expected = rig.expected.clone();
    drop(rig);
    let mut rig = Rig::open(&host, fixture::options("home", 16), log).unwrap();
    rig.expected = expected;
    rig.check();
    assert_eq!(rig.store.stats().page_ins, 40);
    assert_eq!(rig.store.min_rec_lsn(), None);
}

#[test]
fn sixteen_frames_serve_any_number_of_pages() {
    let host = memory();
    let mut rig = Rig::new(&host, 0);
    assert_eq!(rig.store.frames(), MIN_FRAMES);
    rig.create(16);
    for round in 0..3 {
        for number in 0..500 {
            rig.put(page(16, number), round * 1000 + u64::from(number)).unwrap();
        }
        rig.check();
    }
    let stats = rig.store.stats();
    assert!(stats.foreground_batches > 50 && stats.evictions > 2000, "{stats:?}");
}

#[test]
fn a_caller_with_six_dirty_guards_still_gets_frames() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    for number in 0..100 {
        rig.put(page(16, number), 1).unwrap();
    }
    let mut held = Vec::new();
    for number in 0..6 {
        let mut guard = rig.store.write(page(16, number)).unwrap();
        guard.begin_change(rig.log.end());
        held.push(guard);
    }
    for round in 0..3 {
        for number in 6..100 {
            change(&rig.log, rig.store.write(page(16, number)).unwrap(), round);
        }
    }
    drop(held);
    for number in 6..100 {
        assert_eq!(rig.get(page(16, number)).unwrap(), 2);
    }
}

#[test]
fn if_every_frame_is_latched_the_caller_is_told() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    for number in 0..17 {
        rig.put(page(16, number), 1).unwrap();
    }
    let store = &rig.store;
    let held: Vec<_> = (0..16).map(|number| store.write(page(16, number)).unwrap()).collect();
    let refused = store.read(page(16, 16)).unwrap_err();
    assert!(matches!(refused, StoreError::CacheFull { frames: 16 }), "{refused}");
    assert!(refused.to_string().contains("larger cache"));
    drop(held);
    assert_eq!(rig.get(page(16, 16)).unwrap(), 1);
    // Readers count too, and all are dirty: nothing helps, until one is let go.
    let held: Vec<_> = (0..16).map(|number| store.read(page(16, number)).unwrap()).collect();
    assert!(matches!(store.fresh(page(16, 99)), Err(StoreError::CacheFull { .. })));
    drop(held);
    init(&rig.log, store.fresh(page(16, 99)).unwrap(), 5);
}

#[test]
fn hot_pages_survive_a_scan() {
    let host = memory();
    let mut rig = Rig::new(&host, 32);
    rig.create(16);
    for number in 0..400 {
        rig.put(page(16, number), 1).unwrap();
    }
    rig.store.write_back_all().unwrap();
    let mut missed = 0;
    for number in 0..400 {
        let before = rig.store.stats().page_ins;
        for hot in 0..4 {
            rig.get(page(16, hot)).unwrap();
            rig.get(page(16, hot)).unwrap();
        }
        missed += rig.store.stats().page_ins - before;
        rig.get(page(16, number)).unwrap();
    }
    assert!(missed < 10, "{missed} of 1600");
}

#[test]
fn a_fresh_page_that_is_not_changed_was_never_there() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    rig.put(page(16, 1), 7).unwrap();
    let free = rig.store.stats().free_frames;
    let fresh = rig.store.fresh(page(16, 2)).unwrap();
    assert_eq!(fresh.lsn(), Lsn::NONE);
    drop(fresh);
    let mut fresh = rig.store.fresh(page(16, 3)).unwrap();
    fresh.begin_change(rig.log.end());
    drop(fresh);
    let known = rig.store.fresh(page(16, 1)).unwrap();
    assert_eq!(known.lsn(), Lsn::NONE);
    drop(known);
    assert_eq!(rig.store.stats().free_frames, free);
    assert_eq!(rig.store.stats().dirty_frames, 1);
    assert_eq!(rig.get(page(16, 1)).unwrap(), 7);
    for number in [2, 3, 4_000_000_000] {
        let missing = rig.get(page(16, number)).unwrap_err();
        assert!(matches!(missing, StoreError::NeverWritten { .. }) && missing.is_corruption());
    }
    assert!(rig.store.page_count(FileId(16)).unwrap() < 100, "asking for a page reserves nothing");
}

#[test]
fn guards_tell_versions_apart() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    let first = rig.put(page(16, 0), 1).unwrap();
    let store = &rig.store;
    let read = store.read(page(16, 0)).unwrap();
    let before = read.version();
    assert_eq!((read.lsn(), read.id()), (first, page(16, 0)));
    assert!(store.try_write(page(16, 0)).unwrap().is_none());
    assert!(store.try_read(page(16, 0)).unwrap().is_some());
    drop(read);
    let unchanged = store.write(page(16, 0)).unwrap();
    assert!(store.try_read(page(16, 0)).unwrap().is_none());
    assert_eq!(unchanged.downgrade().version(), before, "who changes nothing disturbs nobody");
    let mut write = store.try_write(page(16, 0)).unwrap().unwrap();
    write.begin_change(rig.log.end());
    assert_eq!(write.version(), before);
    let lsn = rig.log.append(page(16, 0), write.lsn(), false, 2);
    write.apply(&[], lsn);
    let inside = write.version();
    assert_ne!(inside, before);
    let read = write.downgrade();
    assert!(read.version() != before && read.version() != inside);
    assert_eq!(read.lsn(), lsn);
    let mut copy = vec![0; PAGE_BYTES];
    read.copy_page(&mut copy);
    assert_eq!(stamp(&campanile_format::Plain(&copy)), 1);
}

#[test]
#[should_panic(expected = "begin_change comes before apply")]
fn p2_a_change_that_was_not_announced_is_a_bug() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    rig.put(page(16, 0), 1).unwrap();
    rig.store.write(page(16, 0)).unwrap().apply(&[], Lsn::new(1, 600));
}

#[test]
fn files_come_and_go() {
    let host = memory();
    let mut rig = Rig::new(&host, 32);
    let missing = rig.get(page(16, 0)).unwrap_err();
    assert!(matches!(missing, StoreError::NoSuchFile { file: FileId(16) }), "{missing}");
    assert!(!rig.store.open_file(FileId(16)).unwrap());
    for file in [18, 16, 17] {
        rig.create(file);
        rig.put(page(file, 2), u64::from(file)).unwrap();
    }
    let again = rig.store.create_file(FileId(17), FileFlags::default()).unwrap_err();
    assert!(matches!(again, StoreError::FileExists { .. }), "{again}");
    host.vfs.open(Path::new("home/data/README"), Open::CreateNew).unwrap();
    assert_eq!(rig.store.files().unwrap(), [FileId(16), FileId(17), FileId(18)]);
    let dirty = rig.store.stats().dirty_frames;
    rig.store.remove_file(FileId(17)).unwrap();
    rig.store.remove_file(FileId(17)).unwrap();
    assert_eq!(rig.store.stats().dirty_frames, dirty - 1);
    assert_eq!(rig.store.files().unwrap(), [FileId(16), FileId(18)]);
    assert!(matches!(rig.get(page(17, 2)), Err(StoreError::NoSuchFile { .. })));
    assert!(matches!(rig.store.fresh(page(17, 3)), Err(StoreError::NoSuchFile { .. })));
    rig.expected.remove(&page(17, 2));
    rig.check();
    // Recovery makes files that are not durable anew, under their number.
    rig.store.create_file(FileId(17), FileFlags { durable: false }).unwrap();
    assert!(!rig.store.file_flags(FileId(17)).unwrap().durable);
    assert!(matches!(rig.get(page(17, 2)), Err(StoreError::NeverWritten { .. })));
    rig.put(page(17, 2), 4).unwrap();
    rig.check();
}

#[test]
fn what_a_file_is_survives_a_crash_right_after_its_creation() {
    let host = memory();
    let rig = Rig::new(&host, 16);
    rig.create(16);
    rig.store.create_file(FileId(17), FileFlags { durable: false }).unwrap();
    drop(rig);
    let rig = Rig::new(&host, 16);
    assert!(rig.store.open_file(FileId(16)).unwrap());
    assert!(rig.store.file_flags(FileId(16)).unwrap().durable);
    assert!(!rig.store.file_flags(FileId(17)).unwrap().durable);
}

#[test]
fn files_grow_in_steps() {
    let host = memory();
    let mut rig = Rig::new(&host, 64);
    rig.create(16);
    let mut lengths = BTreeSet::new();
    for number in 0..200 {
        rig.put(page(16, number), 1).unwrap();
        lengths.insert(rig.store.page_count(FileId(16)).unwrap());
    }
    assert!(lengths.len() < 30, "{lengths:?}");
    rig.put(page(16, 1000), 1).unwrap();
    assert!(rig.store.page_count(FileId(16)).unwrap() > 1000);
    rig.store.write_back_all().unwrap();
    rig.check();
}
