//! The story: a program runs, the power goes at some I/O call (or the process dies), the disk keeps
//! an arbitrary part of what was not synced, perhaps with torn sectors, perhaps with directory
//! entries lost. The environment is opened again, crashes again inside recovery, and once more.
//! What it then holds must be a state that the oracle permits, and every page must be in its place.
//!
//! `CAMPANILE_CRASH_STATES` sets how many states to explore (default 20,000 over all tests here),
//! `CAMPANILE_CRASH_SEED` where the seeds begin.

use campanile::EnvironmentOptions;
use campanile_tests::explore::{Effort, Tally, explore, explore_story};
use campanile_tests::life::{spread, tiny, whole_blocks};
use campanile_tests::script::{Cast, script};
use campanile_tests::workload::Shape;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Explores programs of one shape on every core until the budget is spent.
fn campaign(name: &str, share_percent: u64, shape: Shape, effort: Effort) {
    campaign_with(name, share_percent, shape, &tiny(), effort);
}

fn campaign_with(
    name: &str,
    share_percent: u64,
    shape: Shape,
    options: &EnvironmentOptions,
    effort: Effort,
) {
    explore_all(name, share_percent, |seed| explore(seed, shape, options, effort));
}

/// Explores one seed after the other, on every core, until the budget is spent.
fn explore_all(name: &str, share_percent: u64, explore: impl Fn(u64) -> Tally + Sync) -> Tally {
    let budget = number("CAMPANILE_CRASH_STATES", 20_000) * share_percent / 100;
    let first = number("CAMPANILE_CRASH_SEED", 1) * 1_000_000;
    let next = AtomicU64::new(first);
    let total = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while total.lock().expect("the tally").states < budget {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let tally = explore(seed);
                    let failed = !tally.violations.is_empty();
                    total.lock().expect("the tally").add(tally);
                    if failed {
                        break;
                    }
                }
            });
        }
    });
    let total = total.into_inner().expect("the tally");
    report(name, &total);
    assert!(total.violations.is_empty(), "{} violations", total.violations.len());
    // A kind of call that few recoveries make may be missed by a small campaign.
    let often = if total.states < 60_000 { 100 } else { 1 };
    let missed: Vec<_> = total
        .seen
        .iter()
        .filter(|(site, seen)| **seen >= often && !total.sites.contains_key(*site))
        .collect();
    assert!(missed.is_empty() || total.states < 10_000, "call sites never crashed at: {missed:?}");
    assert!(total.nested * 5 >= total.states, "too few crashes inside recovery");
    total
}

fn report(name: &str, total: &Tally) {
    println!(
        "{name}: {} crash states of {} programs recovered and checked, {} of them ({} %) with a \
         crash inside recovery, at {} of {} kinds of call sites, {} violations",
        total.states,
        total.programs,
        total.nested,
        total.nested * 100 / total.states.max(1),
        total.sites.len(),
        total.seen.len(),
        total.violations.len()
    );
    for violation in total.violations.iter().take(5) {
        println!("  violation: {violation}");
    }
}

const EFFORT: Effort = Effort {
    states: 400,
    depth: 3,
    torn_sectors: false,
    collateral: false,
    sector_bytes: 512,
    adversary: false,
    stop_early: true,
};

#[test]
fn no_crash_loses_a_commit_or_shows_half_of_one() {
    campaign("mixed programs", 40, Shape::mixed(90), EFFORT);
}

#[test]
fn torn_sectors_lose_nothing_either() {
    let effort = Effort { torn_sectors: true, ..EFFORT };
    campaign("torn sectors", 20, Shape::mixed(90), effort);
}

#[test]
fn large_sectors_that_hold_several_pages_lose_nothing() {
    let effort = Effort { sector_bytes: 4096, ..EFFORT };
    campaign("4 KiB sectors", 5, Shape::mixed(90), effort);
}

#[test]
fn long_programs_over_many_log_files_lose_nothing() {
    let shape = Shape { catalog: false, volatile: false, relaxed: false, ..Shape::mixed(400) };
    campaign("long programs", 10, shape, Effort { states: 600, ..EFFORT });
}

#[test]
fn an_adversary_that_makes_every_free_choice_badly_loses_nothing() {
    let effort = Effort { adversary: true, torn_sectors: true, ..EFFORT };
    campaign("adversary", 10, Shape::mixed(60), effort);
}

#[test]
fn blocks_ruined_around_unsynced_writes_lose_nothing() {
    let effort = Effort { collateral: true, torn_sectors: true, ..EFFORT };
    let shape = Shape { page_bytes: 4096, volatile: false, ..Shape::mixed(60) };
    campaign_with("ruined blocks", 10, shape, &whole_blocks(), effort);
}

/// The entries of each directory survive on their own.
#[test]
fn data_files_in_several_directories_lose_nothing() {
    campaign_with("several directories", 10, Shape::mixed(90), &spread(), EFFORT);
}

/// Many scripts with fewer states each.
const SCRIPTS: Effort = Effort { states: 150, ..EFFORT };

/// Explores scripts of several sessions, every fourth on a disk that ruins blocks.
fn sessions(name: &str, share_percent: u64, cast: Cast, effort: Effort) {
    let total = explore_all(name, share_percent, |seed| {
        if seed.is_multiple_of(4) {
            let cast = Cast { page_bytes: 4096, volatile: false, ..cast };
            let effort = Effort { collateral: true, ..effort };
            return explore_story(seed, &script(seed, cast), &whole_blocks(), effort);
        }
        explore_story(seed, &script(seed, cast), &tiny(), effort)
    });
    let (states, several, deeds) = (total.states, total.several_losers, total.deeds);
    let prepared = total.with_prepared;
    println!("  {several} states with several losers, {prepared} with prepared ones; {deeds}");
    assert!(cast.sessions == 1 || several * 4 >= states, "too few states with several losers");
    assert!(cast.sessions == 1 || deeds.beside_others > 0, "no commit beside losers");
    assert!(cast.sessions == 1 || deeds.blocked > 0, "the sessions never met");
    assert!(cast.nested == 0 || deeds.children.0 > 0 && deeds.children.1 > 0, "no children");
    assert!(cast.twins == 0 || deeds.beside_twin > 0, "no siblings beside each other");
    assert!(cast.weaker == 0 || deeds.weaker > 0, "nobody of a weaker isolation");
    assert!(cast.prepared == 0 || prepared * 20 >= states, "too few prepared transactions");
}

#[test]
fn many_losers_and_commits_between_them_lose_nothing() {
    sessions("three sessions", 15, Cast::full(30), SCRIPTS);
}

#[test]
fn many_losers_on_torn_sectors_lose_nothing() {
    let effort = Effort { torn_sectors: true, ..SCRIPTS };
    let cast = Cast { sessions: 5, acts: 1, catalog: false, ..Cast::full(30) };
    sessions("five sessions, torn sectors", 10, cast, effort);
}

#[test]
fn children_and_prepared_transactions_lose_nothing() {
    let cast = Cast {
        sessions: 1,
        acts: 3,
        catalog: false,
        volatile: false,
        nested: 12,
        twins: 6,
        prepared: 5,
        ..Cast::full(60)
    };
    sessions("families", 10, cast, Effort { torn_sectors: true, ..SCRIPTS });
}
