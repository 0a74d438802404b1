//! Models for loom: reading without a latch, waiting for a frame, and what a checkpoint sees of a
//! dirty page, in every interleaving and with every value that a relaxed read may give.
//!
//! They run `Latch` and `Frame` as they are; only the words of pages, whose layout loom does not
//! keep, are loom's here.

use std::sync::Arc;

use campanile_format::Lsn;
use campanile_sync::atomic::{AtomicU64, Ordering};
use campanile_sync::{every_interleaving, some_interleaving_fails, thread};

use crate::frame::Frame;
use crate::latch::{Latch, NO_PAGE};

/// A frame: its latch and two words of its page.
struct Model {
    latch: Latch,
    words: [AtomicU64; 2],
}

impl Model {
    fn holding(page: u64, word: u64) -> Arc<Model> {
        let words = [AtomicU64::new(word), AtomicU64::new(word)];
        let model = Model { latch: Latch::new(), words };
        model.change(|| model.latch.set_page(page));
        Arc::new(model)
    }

    /// A change under the exclusive latch, within an odd version.
    fn change(&self, change: impl FnOnce()) {
        let _guard = self.latch.try_write().expect("nobody else is inside");
        self.latch.open_version();
        change();
        self.latch.close_version();
    }

    fn set(&self, word: u64) {
        self.words.iter().for_each(|place| place.store(word, Ordering::Relaxed));
    }

    fn see(&self) -> [u64; 2] {
        self.words.each_ref().map(|place| place.load(Ordering::Relaxed))
    }
}

#[test]
fn p4_what_is_read_within_one_version_is_one_state() {
    every_interleaving(None, || {
        let frame = Model::holding(7, 1);
        let writer = {
            let frame = Arc::clone(&frame);
            thread::spawn(move || {
                frame.change(|| frame.set(2));
                frame.change(|| frame.set(3));
            })
        };
        if let Some(version) = frame.latch.glimpse(7) {
            let seen = frame.see();
            if frame.latch.is_still(version) {
                assert_eq!(seen[0], seen[1], "half of one state and half of another");
            }
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_reader_that_does_not_look_at_the_version_again_is_found() {
    assert!(some_interleaving_fails(None, || {
        let frame = Model::holding(7, 1);
        let writer = {
            let frame = Arc::clone(&frame);
            thread::spawn(move || frame.change(|| frame.set(2)))
        };
        if frame.latch.glimpse(7).is_some() {
            let seen = frame.see();
            assert_eq!(seen[0], seen[1]);
        }
        writer.join().unwrap();
    }));
}

#[test]
fn a_reader_that_looks_again_without_a_fence_is_found() {
    assert!(some_interleaving_fails(None, || {
        let frame = Model::holding(7, 1);
        let writer = {
            let frame = Arc::clone(&frame);
            thread::spawn(move || frame.change(|| frame.set(2)))
        };
        if let Some(version) = frame.latch.glimpse(7) {
            let seen = frame.see();
            // `Latch::version` orders what follows it, not what is before.
            if frame.latch.version() == version {
                assert_eq!(seen[0], seen[1]);
            }
        }
        writer.join().unwrap();
    }));
}

#[test]
fn p4_p5_nobody_reads_the_page_that_the_frame_holds_next() {
    every_interleaving(None, || {
        let frame = Model::holding(7, 1);
        let evictor = {
            let frame = Arc::clone(&frame);
            thread::spawn(move || {
                let guard = frame.latch.try_write().expect("nobody latches here");
                assert!(frame.latch.evict(), "nobody waits here");
                frame.latch.open_version();
                frame.latch.set_page(9);
                frame.set(2);
                frame.latch.close_version();
                drop(guard);
            })
        };
        if let Some(version) = frame.latch.glimpse(7) {
            let seen = frame.see();
            if frame.latch.is_still(version) {
                assert_eq!(seen, [1, 1], "page 7 was read out of page 9");
            }
        }
        evictor.join().unwrap();
    });
}

/// Whoever empties the frame then has it for page 9, and waits for the other thread with it: which
/// must not be waiting for the frame, because page 9 may be one that is above it (P6).
fn evict_beside_a_waiter(evict: fn(&Latch) -> bool) {
    let frame = Model::holding(7, 1);
    let guard = frame.latch.try_write().expect("nobody else is there yet");
    let reader = {
        let frame = Arc::clone(&frame);
        thread::spawn(move || {
            if let Some(_guard) = frame.latch.read(7) {
                assert_eq!(frame.see(), [1, 1], "page 7 was latched and page 9 was read");
            }
        })
    };
    if evict(&frame.latch) {
        frame.latch.open_version();
        frame.latch.set_page(9);
        frame.set(2);
        frame.latch.close_version();
        reader.join().unwrap();
        drop(guard);
    } else {
        drop(guard);
        reader.join().unwrap();
    }
}

#[test]
fn p6_nobody_waits_for_the_latch_of_another_page_than_the_one_wanted() {
    every_interleaving(None, || evict_beside_a_waiter(Latch::evict));
}

#[test]
fn an_eviction_that_does_not_look_for_waiters_is_found() {
    assert!(some_interleaving_fails(None, || {
        evict_beside_a_waiter(|latch| {
            latch.open_version();
            latch.set_page(NO_PAGE);
            latch.close_version();
            true
        });
    }));
}

/// A split: what was in the child moves to a new page, and the parent says so.
fn look_up_beside_a_split(look: fn(&Model, [&Model; 2]) -> Option<u64>) {
    // The parent's word is the child to go to; a child's word is the entry, or 0.
    let (parent, left, right) =
        (Model::holding(1, 10), Model::holding(10, 5), Model::holding(11, 0));
    let writer = {
        let (parent, left, right) = (parent.clone(), left.clone(), right.clone());
        thread::spawn(move || {
            let guards = [&parent, &left, &right].map(|page| page.latch.try_write().unwrap());
            [&parent, &left, &right].iter().for_each(|page| page.latch.open_version());
            right.set(5);
            left.set(0);
            parent.set(11);
            [&parent, &left, &right].iter().for_each(|page| page.latch.close_version());
            drop(guards);
        })
    };
    if let Some(found) = look(&parent, [&left, &right]) {
        assert_eq!(found, 5, "the entry was missed between the pages");
    }
    writer.join().unwrap();
}

/// Page after page, the parent looked at again once the child's version is known.
fn coupled(parent: &Model, children: [&Model; 2]) -> Option<u64> {
    let above = parent.latch.glimpse(1)?;
    let number = parent.see()[0];
    // What was read may be nonsense: it counts only after the second look at the parent.
    let child = children[usize::from(number == 11)];
    let version = child.latch.glimpse(number)?;
    parent.latch.is_still(above).then_some(())?;
    let entry = child.see()[0];
    child.latch.is_still(version).then_some(entry)
}

#[test]
fn a_descent_beside_a_split_finds_the_entry_or_begins_again() {
    every_interleaving(None, || look_up_beside_a_split(coupled));
}

#[test]
fn a_descent_that_looks_at_the_parent_before_the_child_only_is_found() {
    assert!(some_interleaving_fails(None, || {
        look_up_beside_a_split(|parent, children| {
            let above = parent.latch.glimpse(1)?;
            let number = parent.see()[0];
            parent.latch.is_still(above).then_some(())?;
            let child = children[usize::from(number == 11)];
            let version = child.latch.glimpse(number)?;
            let entry = child.see()[0];
            child.latch.is_still(version).then_some(entry)
        });
    }));
}

/// The end of a log, where the next record goes.
struct Log(AtomicU64);

impl Log {
    fn append(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel)
    }

    fn end(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A checkpoint beside a writer and a write-back of the page; `order` gives the start of redo.
fn checkpoint_beside_a_change(order: fn(&Log, &Frame) -> u64) {
    let (log, frame) = (Arc::new(Log(AtomicU64::new(100))), Arc::new(Frame::new()));
    frame.latch.set_page(7);
    // What the page has, and what of it is durable at home.
    let page = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let change = |log: &Log, frame: &Frame, page: &[AtomicU64; 2]| {
        let _latch = frame.latch.write(7).expect("the page is there");
        frame.dirt(|dirt| dirt.changed(Lsn(log.end())));
        let lsn = log.append();
        page[0].store(lsn, Ordering::Release);
    };
    change(&log, &frame, &page);
    let writer = {
        let (log, frame, page) = (Arc::clone(&log), Arc::clone(&frame), Arc::clone(&page));
        thread::spawn(move || change(&log, &frame, &page))
    };
    let write_back = {
        let (frame, page) = (Arc::clone(&frame), Arc::clone(&page));
        thread::spawn(move || {
            let copy = {
                let _latch = frame.latch.read(7).expect("the page is there");
                frame.dirt(|dirt| dirt.copied());
                page[0].load(Ordering::Acquire)
            };
            page[1].store(copy, Ordering::Release);
            frame.dirt(|dirt| dirt.synced());
        })
    };
    let redo = order(&log, &frame);
    let home = page[1].load(Ordering::Acquire);
    writer.join().unwrap();
    write_back.join().unwrap();
    let logged = log.end();
    // Should the power fail right behind the checkpoint, redo brings what is not at home.
    for lsn in 100..logged {
        assert!(lsn <= home || redo <= lsn, "record {lsn} is lost: redo at {redo}, home {home}");
    }
}

#[test]
fn p2_p3_a_checkpoint_starts_redo_at_or_before_every_record_that_is_not_at_home() {
    every_interleaving(Some(5), || {
        checkpoint_beside_a_change(|log, frame| {
            let end = log.end();
            frame.rec_lsn().map_or(end, |lsn| lsn.0.min(end))
        });
    });
}

#[test]
fn a_checkpoint_that_reads_the_logs_end_after_the_dirty_pages_is_found() {
    assert!(some_interleaving_fails(Some(3), || {
        checkpoint_beside_a_change(|log, frame| {
            let dirty = frame.rec_lsn();
            let end = log.end();
            dirty.map_or(end, |lsn| lsn.0.min(end))
        });
    }));
}
