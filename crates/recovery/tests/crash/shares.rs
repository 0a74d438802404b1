//! Replay by shares of the pages: whatever their number and order, the same pages come out (R14).
//!
//! The story: a program of many small changes is cut off by a crash, some of its pages are on the
//! disk and some are not. The same remainder is recovered by one, two, three and seven shares, one
//! after another and on threads; data files, counts and what is shown must not differ.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use campanile_recovery::{OpenOptions, Opened, Outcome, Phase, Progress, RedoCounts, Replay, open};
use campanile_vfs::Open;
use campanile_vfs::sim::{CrashChoice, SimDisk, SimOptions};

use crate::life::{HOME, Life, Op, State, observe, options};
use crate::programs;
use crate::toy::Toy;

/// Pages without what depends on the place of the records that rollback writes.
type Files = BTreeMap<String, Vec<u8>>;

fn data_files(disk: &Arc<SimDisk>) -> Files {
    let (vfs, dir) = (disk.host().vfs, Path::new(HOME).join("data"));
    let read = |name: String| {
        let file = vfs.open(&dir.join(&name), Open::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        for page in bytes.chunks_exact_mut(512) {
            // Checksum and LSN. Where rollback logs depends on how often the cache made it flush.
            page[..4].fill(0);
            page[8..16].fill(0);
        }
        (name, bytes)
    };
    vfs.list(&dir).unwrap().into_iter().map(read).collect()
}

/// A new environment that makes no checkpoint by itself: all of its life is replayed.
fn begun(disk: &Arc<SimDisk>) -> Opened {
    let hook = &mut |_: &Progress| ControlFlow::Continue(());
    let mut options = options();
    options.transactions.checkpoint_log_bytes = 1 << 30;
    open(&disk.host(), Path::new(HOME), &options, Arc::new(Toy), hook).unwrap()
}

/// Recovers a fork of the disk; everything that must not depend on the shares.
fn recovered(disk: &Arc<SimDisk>, replay: Replay, place: &str) -> (Files, RedoCounts, State) {
    let disk = disk.fork();
    let hook = &mut |_: &Progress| ControlFlow::Continue(());
    let options = OpenOptions { replay, ..options() };
    let opened = open(&disk.host(), Path::new(HOME), &options, Arc::new(Toy), hook)
        .unwrap_or_else(|error| panic!("{place}, {replay:?}: {error}"));
    assert_eq!(opened.report.outcome, Outcome::Recovered, "{place}");
    // Recovery ends with a full checkpoint: the files hold all of it.
    let files = data_files(&disk);
    (files, opened.report.replay, observe(&opened.transactions, true, place))
}

#[test]
fn any_number_of_shares_in_any_order_comes_to_the_same_bytes() {
    let mut applied = 0;
    for seed in 0..24 {
        let disk = SimDisk::new(SimOptions::new(seed));
        let opened = begun(&disk);
        let mut life = Life::begin(&disk, opened, State::new());
        life.run(&programs::setup()).unwrap();
        let mut program = programs::random(seed + 100, 260);
        program.retain(|op| !matches!(op, Op::Checkpoint(_) | Op::Remove { .. }));
        life.run(&program).unwrap();
        for choice in [CrashChoice::Nothing, CrashChoice::All, CrashChoice::Subset(seed)] {
            let rebooted = disk.reboot(choice);
            let place = format!("seed {seed}, {choice:?}");
            let alone = recovered(&rebooted, Replay::ALONE, &place);
            applied += alone.1.applied;
            for (shares, threads) in [(2, false), (3, true), (7, false), (7, true)] {
                let replay = Replay { shares, threads };
                let shared = recovered(&rebooted, replay, &place);
                assert_eq!(shared.1, alone.1, "{place}, {replay:?}: counts");
                assert_eq!(shared.2, alone.2, "{place}, {replay:?}: what is shown");
                assert!(shared.0 == alone.0, "{place}, {replay:?}: what is in the pages");
            }
        }
        life.die();
    }
    assert!(applied > 800, "only {applied} changes were applied");
}

/// A watcher that panics takes the threads down with it: the home is free for the next to open.
#[test]
fn a_hook_that_panics_leaves_no_thread_behind() {
    let disk = SimDisk::new(SimOptions::new(91));
    let opened = begun(&disk);
    let mut life = Life::begin(&disk, opened, State::new());
    life.run(&programs::setup()).unwrap();
    let mut program = programs::random(7, 2500);
    program.retain(|op| !matches!(op, Op::Checkpoint(_) | Op::Remove { .. }));
    life.run(&program).unwrap();
    let disk = disk.reboot(CrashChoice::All);
    life.die();
    let options = OpenOptions { replay: Replay { shares: 4, threads: true }, ..options() };
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let hook = &mut |progress: &Progress| match progress.phase {
            Phase::Redo => panic!("the hook of a test"),
            _ => ControlFlow::Continue(()),
        };
        open(&disk.host(), Path::new(HOME), &options, Arc::new(Toy), hook).map(drop)
    }));
    assert!(panicked.is_err(), "the hook was called in redo");
    let calls = disk.calls();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(disk.calls(), calls, "somebody still works on the disk");
    let hook = &mut |_: &Progress| ControlFlow::Continue(());
    open(&disk.host(), Path::new(HOME), &options, Arc::new(Toy), hook).expect("the next recovers");
}
