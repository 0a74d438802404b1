//! Random programs, many seeds and tastes. `CAMPANILE_SEEDS=50` runs fifty times as many seeds.

use crate::program::{Program, Taste};
use crate::rig::Sizes;

const PLAIN: Taste = Taste { keys: 150, adversarial: false, large_one_in: 0 };

fn run(seeds: std::ops::Range<u64>, sizes: Sizes, taste: Taste, durable: bool) {
    let times = std::env::var("CAMPANILE_SEEDS").ok().and_then(|times| times.parse().ok());
    let end = seeds.start + (seeds.end - seeds.start) * times.unwrap_or(1);
    for seed in seeds.start..end {
        let mut program = Program::new(seed, sizes, taste, durable);
        program.run(12, 40);
        if durable {
            program = program.reopen();
            program.run(4, 40);
        }
    }
}

#[test]
fn small_keys_and_values() {
    run(0..12, Sizes::default(), PLAIN, true);
}

#[test]
fn long_keys_that_differ_late() {
    run(100..112, Sizes::default(), Taste { adversarial: true, ..PLAIN }, true);
}

#[test]
fn large_values() {
    let taste = Taste { keys: 60, adversarial: true, large_one_in: 3 };
    run(200..210, Sizes::default(), taste, true);
}

#[test]
fn larger_pages() {
    let sizes = Sizes { page_bytes: 1024, ..Sizes::default() };
    run(300..306, sizes, Taste { keys: 400, adversarial: true, large_one_in: 10 }, true);
}

#[test]
fn files_that_are_not_durable() {
    run(400..408, Sizes::default(), Taste { large_one_in: 6, ..PLAIN }, false);
}
