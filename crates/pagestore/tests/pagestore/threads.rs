//! Many threads: readers see only whole states, nothing is lost, nobody waits for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use campanile_format::FileId;
use campanile_pagestore::{FileFlags, StoreError};

use crate::fixture::{FakeLog, Rig, change, memory, options, page, stamp};

/// A small generator of numbers, one for each thread.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

const PAGES: u64 = 60;

#[test]
fn p4_readers_see_whole_states_and_no_change_is_lost() {
    let host = memory();
    let mut rig = Rig::open(&host, options("home", 40), FakeLog::new()).unwrap();
    rig.create(16);
    for number in 0..PAGES {
        rig.put(page(16, number as u32), 0).unwrap();
    }
    let (rig, sum, stop) = (&rig, &AtomicU64::new(0), &AtomicBool::new(false));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|seed| {
                scope.spawn(move || {
                    let mut dice = Dice(seed);
                    for _ in 0..1500 {
                        // Left before right, so that nobody waits in a circle.
                        let low = dice.roll(PAGES - 1);
                        let high = low + 1 + dice.roll(PAGES - 1 - low);
                        let one = rig.store.write(page(16, low as u32)).unwrap();
                        let two = rig.store.write(page(16, high as u32)).unwrap();
                        for guard in [one, two] {
                            let next = stamp(&guard.bytes()) + 1;
                            change(&rig.log, guard, next);
                            sum.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for seed in 10..12 {
            scope.spawn(move || {
                let mut dice = Dice(seed);
                let mut last = vec![0; PAGES as usize];
                while !stop.load(Ordering::Relaxed) {
                    let number = dice.roll(PAGES);
                    let read = rig.store.read(page(16, number as u32)).unwrap();
                    let found = stamp(&read.bytes());
                    assert!(found >= last[number as usize], "a change was taken back");
                    last[number as usize] = found;
                }
            });
        }
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                rig.store.step(rig.log.end()).unwrap();
                let lsn = rig.redo_lsn();
                rig.store.write_back_below(lsn).unwrap();
                assert!(rig.redo_lsn() >= lsn);
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        stop.store(true, Ordering::Relaxed);
    });
    let all = |rig: &Rig| -> u64 {
        (0..PAGES).map(|number| rig.get(page(16, number as u32)).unwrap()).sum()
    };
    assert_eq!(all(rig), sum.load(Ordering::Relaxed));
    rig.store.write_back_all().unwrap();
    let fresh = Rig::open(&host, options("home", 16), rig.log.survivor()).unwrap();
    assert_eq!(all(&fresh), sum.load(Ordering::Relaxed));
}

#[test]
fn p7_threads_that_hold_several_latches_in_a_tiny_cache_get_through() {
    let host = memory();
    let mut rig = Rig::open(&host, options("home", 24), FakeLog::new()).unwrap();
    rig.create(16);
    for number in 0..200 {
        rig.put(page(16, number), 0).unwrap();
    }
    let rig = &rig;
    thread::scope(|scope| {
        for seed in 0..3 {
            scope.spawn(move || {
                let mut dice = Dice(seed);
                for _ in 0..400 {
                    let mut number = 0;
                    let mut held = Vec::new();
                    for _ in 0..5 {
                        number += 1 + dice.roll(38) as u32;
                        match rig.store.write(page(16, number)) {
                            Ok(guard) => held.push(guard),
                            // All others' latches, for longer than anybody should wait.
                            Err(StoreError::CacheFull { .. }) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    for guard in held {
                        let next = stamp(&guard.bytes()) + 1;
                        change(&rig.log, guard, next);
                    }
                }
            });
        }
    });
    rig.store.write_back_all().unwrap();
}

#[test]
fn a_file_can_be_removed_while_others_use_and_write_it() {
    let host = memory();
    for round in 0..8 {
        let rig = Rig::open(&host, options("home", 32), FakeLog::new()).unwrap();
        let file = 100 + round;
        rig.create(file);
        rig.store.create_file(FileId(1000 + round), FileFlags::default()).unwrap();
        for number in 0..30 {
            let fresh = rig.store.fresh(page(file, number)).unwrap();
            crate::fixture::init(&rig.log, fresh, 1);
        }
        let (rig, gone) = (&rig, &AtomicBool::new(false));
        thread::scope(|scope| {
            for seed in 0..3 {
                scope.spawn(move || {
                    let mut dice = Dice(seed);
                    loop {
                        let id = page(file, dice.roll(30) as u32);
                        match rig.store.write(id) {
                            Ok(guard) => drop(change(&rig.log, guard, 2)),
                            Err(StoreError::NoSuchFile { .. }) => break,
                            Err(error) => panic!("{error}"),
                        }
                        let other = page(1000 + round, dice.roll(30) as u32);
                        crate::fixture::init(&rig.log, rig.store.fresh(other).unwrap(), 3);
                    }
                });
            }
            scope.spawn(move || {
                while !gone.load(Ordering::Relaxed) {
                    rig.store.step(rig.log.end()).unwrap();
                }
            });
            scope.spawn(move || {
                thread::yield_now();
                rig.store.remove_file(FileId(file)).unwrap();
                gone.store(true, Ordering::Relaxed);
            });
        });
        assert!(!rig.store.files().unwrap().contains(&FileId(file)));
        rig.store.write_back_all().unwrap();
        assert_eq!(rig.store.stats().dirty_frames, 0);
        rig.store.remove_file(FileId(1000 + round)).unwrap();
    }
}

#[test]
fn many_threads_asking_for_one_absent_page_read_it_once() {
    let host = memory();
    let mut rig = Rig::open(&host, options("home", 32), FakeLog::new()).unwrap();
    rig.create(16);
    for number in 0..20 {
        rig.put(page(16, number), 9).unwrap();
    }
    rig.store.write_back_all().unwrap();
    for _ in 0..20 {
        let fresh = Arc::new(Rig::open(&host, options("home", 32), rig.log.survivor()).unwrap());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..20 {
                        assert_eq!(fresh.get(page(16, number)).unwrap(), 9);
                    }
                });
            }
        });
        assert_eq!(fresh.store.stats().page_ins, 20);
    }
}
