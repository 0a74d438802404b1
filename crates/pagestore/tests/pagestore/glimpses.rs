//! Reading without a latch: what is current is one state, and whatever happens to a page ends it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use campanile_format::{PageBytes, PageId, PageNo, Plain};
use campanile_pagestore::{PageGlimpse, StoreError, latches_held};

use crate::fixture::{FakeLog, Rig, change, memory, options, page, stamp};
use crate::threads::Dice;

#[test]
pub fn p12_a_glimpse_ends_when_the_page_changes_and_only_then() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    let lsn = rig.put(page(16, 0), 1).unwrap();
    let store = &Arc::clone(&rig.store);
    let glimpse = store.try_glimpse(page(16, 0)).unwrap();
    assert_eq!((glimpse.id(), glimpse.lsn(), stamp(&glimpse.bytes())), (page(16, 0), lsn, 1));
    drop(store.read(page(16, 0)).unwrap());
    drop(store.write(page(16, 0)).unwrap());
    assert!(glimpse.is_current() && store.has_version(glimpse.version()));
    rig.put(page(16, 0), 2).unwrap();
    assert!(!glimpse.is_current() && !store.has_version(glimpse.version()));
    let glimpse = store.glimpse(page(16, 0)).unwrap();
    let mut write = store.write(page(16, 0)).unwrap();
    write.expel();
    assert!(!glimpse.is_current());
    assert!(store.try_glimpse(page(16, 0)).is_none(), "expelled until the guard is gone");
    drop(write);
    assert!(!glimpse.is_current());
    assert!(store.glimpse(page(16, 0)).unwrap().is_current());
}

/// Pages enough to fill the frames with others; an interpreter is slow.
const OTHERS: u32 = if cfg!(miri) { 20 } else { 60 };

#[test]
fn p12_a_glimpse_ends_when_the_page_leaves_its_frame() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    for number in 0..OTHERS {
        rig.put(page(16, number), 1).unwrap();
    }
    rig.store.write_back_all().unwrap();
    let store = &rig.store;
    let first = store.glimpse(page(16, 0)).unwrap();
    let latched = store.read(page(16, 1)).unwrap();
    let second = store.glimpse(page(16, 1)).unwrap();
    for number in 2..OTHERS {
        let _ = store.glimpse(page(16, number)).unwrap();
    }
    assert!(!first.is_current(), "a glimpse keeps nothing in memory");
    assert!(store.try_glimpse(page(16, 0)).is_none());
    assert!(second.is_current(), "a latch does");
    let reread = store.glimpse(page(16, 0)).unwrap();
    assert!(!first.is_current() && reread.is_current() && stamp(&reread.bytes()) == 1);
    drop(latched);
}

#[test]
fn p12_a_glimpse_ends_when_the_file_goes_or_its_readers_are_sent_away() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    for file in [16, 17] {
        rig.create(file);
        rig.put(page(file, 0), u64::from(file)).unwrap();
    }
    let store = &rig.store;
    let glimpses = || [16, 17].map(|file| store.glimpse(page(file, 0)).unwrap());
    let current = |glimpses: [PageGlimpse<'_>; 2]| glimpses.map(|glimpse| glimpse.is_current());
    let before = glimpses();
    store.expel_readers(page(17, 0).file);
    assert_eq!(current(before), [true, false]);
    let before = glimpses();
    store.remove_file(page(16, 0).file).unwrap();
    assert_eq!(current(before), [false, true]);
    assert!(store.try_glimpse(page(16, 0)).is_none());
    let gone = store.glimpse(page(16, 0)).map(drop);
    assert!(matches!(gone, Err(StoreError::NoSuchFile { .. })), "{gone:?}");
}

const PAGES: u64 = if cfg!(miri) { 30 } else { 60 };
/// Changes that each writer makes; an interpreter is slow.
const CHANGES: u64 = if cfg!(miri) { 20 } else { 6000 };

/// Every page holds its stamp twice, far apart; frames change hands all the time.
#[test]
fn p12_threads_that_glimpse_see_whole_pages_while_frames_are_used_again() {
    let host = memory();
    let mut rig = Rig::open(&host, options("home", 24), FakeLog::new()).unwrap();
    rig.create(16);
    for number in 0..PAGES {
        rig.put(page(16, number as u32), number << 32).unwrap();
    }
    let (rig, stop, seen) = (&rig, &AtomicBool::new(false), &AtomicU64::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|seed| {
                scope.spawn(move || {
                    let mut dice = Dice(seed);
                    for _ in 0..CHANGES {
                        let guard = rig.store.write(page(16, dice.roll(PAGES) as u32)).unwrap();
                        let next = stamp(&guard.bytes()) + 1;
                        change(&rig.log, guard, next);
                    }
                })
            })
            .collect();
        for seed in 10..13 {
            scope.spawn(move || {
                let mut dice = Dice(seed);
                let mut last: Vec<u64> = (0..PAGES).map(|number| number << 32).collect();
                let mut copy = vec![0; rig.store.page_bytes()];
                while !stop.load(Ordering::Relaxed) {
                    let number = dice.roll(PAGES) as usize;
                    let glimpse = rig.store.glimpse(page(16, number as u32)).unwrap();
                    glimpse.bytes().copy_out(0, &mut copy);
                    if !glimpse.is_current() {
                        continue;
                    }
                    assert_eq!(campanile_format::page::id(&Plain(&copy)), glimpse.id());
                    let found = stamp(&Plain(&copy));
                    assert_eq!(found >> 32, number as u64, "another page");
                    assert!(found >= last[number], "a change was taken back");
                    last[number] = found;
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                rig.store.step(rig.log.end()).unwrap();
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        stop.store(true, Ordering::Relaxed);
    });
    assert!(seen.load(Ordering::Relaxed) > CHANGES / 60);
    assert!(rig.store.stats().evictions > CHANGES / 60);
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "checked in debug builds")]
fn latches_out_of_order_are_found_before_they_are_waited_for() {
    let host = memory();
    let mut rig = Rig::new(&host, 16);
    rig.create(16);
    rig.put(page(16, 0), 1).unwrap();
    let map = PageId::new(page(16, 0).file, PageNo(1));
    let refused = |ask: &dyn Fn()| catch_unwind(AssertUnwindSafe(ask)).is_err();
    assert_eq!(latches_held(), 0);
    {
        let _latched = rig.store.read(page(16, 0)).unwrap();
        assert_eq!(latches_held(), 1);
        assert!(refused(&|| drop(rig.store.read(page(16, 0)))));
        let _map = rig.store.fresh(map).unwrap();
        assert!(refused(&|| drop(rig.store.write(page(16, 1)))));
        drop(rig.store.fresh(page(16, 2)).unwrap());
        assert_eq!(latches_held(), 2);
    }
    assert_eq!(latches_held(), 0);
}
