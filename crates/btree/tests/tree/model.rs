//! Random programs, many seeds and tastes. `CAMPANILE_SEEDS=50` runs fifty times as many seeds.

use crate::program::{Met, Program, Taste};
use crate::rig::{Sizes, times};

const PLAIN: Taste = Taste { keys: 150, adversarial: false, large_one_in: 0 };

fn run(seeds: std::ops::Range<u64>, sizes: Sizes, taste: Taste, durable: bool) -> Met {
    let end = seeds.start + (seeds.end - seeds.start) * times();
    let mut all = Met::default();
    for seed in seeds.start..end {
        let mut program = Program::new(seed, sizes, taste, durable);
        program.run(12, 40);
        if durable {
            program = program.reopen();
            program.run(4, 40);
        }
        let met = program.met;
        all.depth = all.depth.max(met.depth);
        all.ghosts = all.ghosts.max(met.ghosts);
        all.long_values = all.long_values.max(met.long_values);
        all.buried_pages = all.buried_pages.max(met.buried_pages);
        all.aborts += met.aborts;
        all.partial_rollbacks += met.partial_rollbacks;
        all.shrinkings += met.shrinkings;
        all.snapshots_checked += met.snapshots_checked;
    }
    assert!(all.ghosts > 5 && all.aborts > 5 && all.partial_rollbacks > 5, "{all:?}");
    assert!(all.snapshots_checked > 20, "{all:?}");
    assert!(all.shrinkings > 5 || !durable, "{all:?}");
    all
}

#[test]
fn small_keys_and_values() {
    let met = run(0..12, Sizes::default(), PLAIN, true);
    assert!(met.depth >= 2, "{met:?}");
}

#[test]
fn long_keys_that_differ_late() {
    let taste = Taste { adversarial: true, ..PLAIN };
    let met = run(100..112, Sizes::default(), taste, true);
    assert!(met.depth >= 4, "{met:?}");
}

#[test]
fn large_values() {
    let taste = Taste { keys: 60, adversarial: true, large_one_in: 3 };
    let met = run(200..210, Sizes::default(), taste, true);
    assert!(met.long_values > 5 && met.buried_pages > 20, "{met:?}");
}

#[test]
fn larger_pages() {
    let sizes = Sizes { page_bytes: 1024, ..Sizes::default() };
    let met = run(300..306, sizes, Taste { keys: 400, adversarial: true, large_one_in: 10 }, true);
    assert!(met.depth >= 3, "{met:?}");
}

#[test]
fn files_that_are_not_durable() {
    run(400..408, Sizes::default(), Taste { large_one_in: 6, ..PLAIN }, false);
    // A file that is not durable goes through the same code.
}
