//! Random programs against a map, on tiny caches, with an adversary, on memory and real files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use campanile_format::{FileId, PageId};
use campanile_pagestore::{FileFlags, StoreError, StoreOptions};
use campanile_vfs::{Adversary, Host};
use proptest::prelude::*;

use crate::fixture::{self, FakeLog, Rig, change, init, memory, page};

/// One step of a program. Files and pages are few, so that they meet again.
#[derive(Clone, Debug)]
enum Step {
    Put(u32, u32),
    PutMany(u32, u32, u32),
    Reinit(u32, u32),
    Get(u32, u32),
    HoldSome(u32, u32),
    DropUnchanged(u32, u32),
    Background,
    WriteBackBelow(u64),
    WriteBackAll,
    Remove(u32),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (file, number) = (0..3_u32, 0..50_u32);
    let step = prop_oneof![
        12 => (file.clone(), number.clone()).prop_map(|(file, page)| Step::Put(file, page)),
        4 => (file.clone(), number.clone(), 1..20_u32)
            .prop_map(|(file, page, count)| Step::PutMany(file, page, count)),
        2 => (file.clone(), number.clone()).prop_map(|(file, page)| Step::Reinit(file, page)),
        8 => (file.clone(), number.clone()).prop_map(|(file, page)| Step::Get(file, page)),
        2 => (file.clone(), number.clone()).prop_map(|(file, page)| Step::HoldSome(file, page)),
        2 => (file.clone(), number).prop_map(|(file, page)| Step::DropUnchanged(file, page)),
        4 => Just(Step::Background),
        2 => (0..500_u64).prop_map(Step::WriteBackBelow),
        1 => Just(Step::WriteBackAll),
        1 => file.prop_map(Step::Remove),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..150)
}

/// Strikes every third time.
#[derive(Debug, Default)]
struct EveryThird(AtomicU64);

impl Adversary for EveryThird {
    fn strikes(&self, _site: &'static str) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(3)
    }
}

/// A file's number: a removed file is followed by one with a new number.
struct Program {
    rig: Rig,
    files: [u32; 3],
    next_file: u32,
    next_stamp: u64,
}

impl Program {
    fn new(host: &Host, options: StoreOptions) -> Program {
        let rig = Rig::open(host, options, FakeLog::new()).unwrap();
        let mut program = Program { rig, files: [0; 3], next_file: 16, next_stamp: 1 };
        (0..3).for_each(|at| program.create(at));
        program
    }

    fn create(&mut self, at: usize) {
        self.files[at] = self.next_file;
        // The third file is not durable.
        let flags = FileFlags { durable: at != 2 };
        self.rig.store.create_file(FileId(self.next_file), flags).unwrap();
        self.next_file += 1;
    }

    fn id(&self, at: u32, number: u32) -> PageId {
        page(self.files[at as usize], number + 1)
    }

    fn stamp(&mut self) -> u64 {
        self.next_stamp += 1;
        self.next_stamp
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Put(at, number) => {
                let (id, stamp) = (self.id(at, number), self.stamp());
                self.rig.put(id, stamp).unwrap();
            }
            Step::PutMany(at, number, count) => {
                for number in number..number + count {
                    self.run(&Step::Put(at, number));
                }
            }
            Step::Reinit(at, number) => {
                let (id, stamp) = (self.id(at, number), self.stamp());
                init(&self.rig.log, self.rig.store.fresh(id).unwrap(), stamp);
                self.rig.expected.insert(id, stamp);
            }
            Step::Get(at, number) => {
                let id = self.id(at, number);
                match (self.rig.get(id), self.rig.expected.get(&id)) {
                    (Ok(found), Some(expected)) => assert_eq!(found, *expected),
                    (Err(StoreError::NeverWritten { page }), None) => assert_eq!(page, id),
                    (found, expected) => panic!("{id}: {found:?} instead of {expected:?}"),
                }
            }
            Step::HoldSome(at, number) => self.hold_some(self.id(at, number)),
            Step::DropUnchanged(at, number) => {
                let mut guard = self.rig.store.fresh(self.id(at, number)).unwrap();
                guard.begin_change(self.rig.log.end());
            }
            Step::Background => drop(self.rig.store.step(self.rig.log.end()).unwrap()),
            Step::WriteBackBelow(back) => {
                let lsn = campanile_format::Lsn(self.rig.redo_lsn().0 + back);
                self.rig.store.write_back_below(lsn).unwrap();
                assert!(self.rig.store.min_rec_lsn().is_none_or(|rec_lsn| rec_lsn >= lsn));
            }
            Step::WriteBackAll => {
                self.rig.store.write_back_all().unwrap();
                assert_eq!(self.rig.store.stats().dirty_frames, 0);
            }
            Step::Remove(at) => {
                let file = FileId(self.files[at as usize]);
                self.rig.store.remove_file(file).unwrap();
                self.rig.expected.retain(|page, _| page.file != file);
                self.create(at as usize);
            }
            Step::Reopen => self.reopen(),
        }
    }

    /// Some guards at once, among them this page's, changed while the others are held.
    fn hold_some(&mut self, id: PageId) {
        let others: Vec<PageId> =
            self.rig.expected.keys().filter(|other| **other != id).take(5).copied().collect();
        let held: Vec<_> =
            others.iter().map(|other| self.rig.store.write(*other).unwrap()).collect();
        let stamp = self.next_stamp + 1;
        let guard = match self.rig.expected.contains_key(&id) {
            true => self.rig.store.write(id).unwrap(),
            false => self.rig.store.fresh(id).unwrap(),
        };
        match self.rig.expected.contains_key(&id) {
            true => change(&self.rig.log, guard, stamp),
            false => init(&self.rig.log, guard, stamp),
        };
        drop(held);
        self.next_stamp = stamp;
        self.rig.expected.insert(id, stamp);
    }

    /// A clean close keeps everything.
    fn reopen(&mut self) {
        self.rig.store.write_back_all().unwrap();
        let (host, options) = (self.rig.host.clone(), self.rig.options.clone());
        let (log, expected) = (self.rig.log.survivor(), self.rig.expected.clone());
        self.rig = Rig { expected, ..Rig::open(&host, options, log).unwrap() };
    }

    fn finish(mut self) {
        self.rig.check();
        self.reopen();
        self.rig.check();
        let listed = self.rig.store.files().unwrap();
        let mut files = self.files;
        files.sort_unstable();
        assert_eq!(listed, files.map(FileId));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_program_on_sixteen_frames_behaves_like_a_map(
        steps in steps(),
        hostile in any::<bool>(),
        double_write in any::<bool>(),
    ) {
        let mut host = memory();
        if hostile {
            host.adversary = Arc::new(EveryThird::default());
        }
        let options = StoreOptions { double_write, ..fixture::options("home", 16) };
        let mut program = Program::new(&host, options);
        steps.iter().for_each(|step| program.run(step));
        program.finish();
    }
}

#[test]
fn a_program_on_real_files_behaves_like_a_map() {
    let home = tempfile::tempdir().unwrap();
    let options = StoreOptions { trickle_us: 1, ..fixture::options(home.path(), 16) };
    let mut program = Program::new(&Host::os(), options);
    for round in 0..400_u32 {
        program.run(&Step::Put(round % 3, round * 17 % 50));
        if round % 5 == 0 {
            program.run(&Step::Get(round % 2, round % 50));
        }
        match round % 100 {
            30 => program.run(&Step::Background),
            60 => program.run(&Step::WriteBackBelow(100)),
            99 => program.run(&Step::Reopen),
            _ => {}
        }
    }
    program.run(&Step::Remove(1));
    program.finish();
}

#[test]
fn the_same_program_makes_the_same_calls() {
    let trace = || {
        let inner = memory();
        let (vfs, recording) = campanile_vfs::Recording::wrap(Arc::clone(&inner.vfs));
        let host = Host { vfs, ..inner };
        let mut program = Program::new(&host, fixture::options("home", 16));
        for round in 0..300 {
            program.run(&Step::Put(round % 3, round * 7 % 50));
            program.run(&Step::Background);
        }
        format!("{:?}", recording.all())
    };
    assert_eq!(trace(), trace());
}
