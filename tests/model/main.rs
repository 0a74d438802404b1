//! The story: random programs over several databases, with savepoints, aborts, catalog changes and
//! reopenings, at several page and cache sizes. After every check the environment shows exactly
//! what a `BTreeMap` per database holds; at the end every page is in its place.

use campanile::EnvironmentOptions;
use campanile_format::Lsn;
use campanile_format::record::Body;
use campanile_tests::explore::{crash_and_reopen, watched};
use campanile_tests::life::{End, HOME, Life, read_all, tiny};
use campanile_tests::oracle::{Failure, Oracle, State};
use campanile_tests::reopen::open_and_find;
use campanile_tests::script::{Cast, script};
use campanile_tests::sessions::{self, Deeds};
use campanile_tests::workload::{Shape, Step, program};
use campanile_vfs::sim::{CrashChoice, SimDisk, SimOptions};
use campanile_wal::{LogSet, RecordBuf, find_end};
use std::path::Path;
use std::sync::{Arc, Mutex};

fn programs(otherwise: u64) -> u64 {
    let text = std::env::var("CAMPANILE_MODEL_PROGRAMS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn run(seed: u64, shape: Shape, options: &EnvironmentOptions) {
    run_on(&SimDisk::new(SimOptions::new(seed)), seed, shape, options, |_| {});
}

/// Runs a program on `disk`; `meddle` is called before each step.
fn run_on(
    disk: &Arc<SimDisk>,
    seed: u64,
    shape: Shape,
    options: &EnvironmentOptions,
    meddle: impl Fn(usize),
) {
    let oracle = Arc::new(Mutex::new(Oracle::starting_at(State::new(), vec![])));
    let life = Life::open(watched(disk), options.clone(), Arc::clone(&oracle))
        .unwrap_or_else(|error| panic!("seed {seed}: does not open: {error}"));
    let mut life = life;
    for (number, step) in program(seed, shape).iter().enumerate() {
        meddle(number);
        if let Err(end) = life.step(step) {
            panic!("seed {seed}, step {number} {step:?}: {end:?}");
        }
    }
    life.step(&Step::Abort).unwrap_or_else(|end| panic!("seed {seed}: {end:?}"));
    let report = life.env().verify().expect("verify runs");
    assert!(report.is_clean(), "seed {seed}: {:?}", report.damage);
    let shown = read_all(life.env()).unwrap_or_else(|end| panic!("seed {seed}: {end:?}"));
    assert!(shown == *oracle.lock().expect("the oracle").newest(), "seed {seed}: content differs");
    let found = crash_and_reopen(disk, options);
    drop(life);
    let found = found.unwrap_or_else(|what| panic!("seed {seed}, after a crash: {what}"));
    let verdict = oracle.lock().expect("the oracle").judge(&found, Failure::Power);
    verdict.unwrap_or_else(|what| panic!("seed {seed}, after a crash: {what}"));
}

#[test]
fn random_programs_agree_with_the_model_on_tiny_pages() {
    for seed in 0..programs(60) {
        run(seed, Shape::mixed(400), &tiny());
    }
}

#[test]
fn random_programs_agree_with_the_model_when_the_cache_holds_sixteen_pages() {
    let options = tiny().cache_bytes(16 * 512);
    for seed in 1000..1000 + programs(40) {
        run(seed, Shape::mixed(300), &options);
    }
}

#[test]
fn random_programs_agree_with_the_model_on_ordinary_pages() {
    let options = EnvironmentOptions::new()
        .page_bytes(4096)
        .cache_bytes(64 * 4096)
        .log_file_bytes(256 * 1024)
        .log_buffer_bytes(16 * 1024);
    for seed in 2000..2000 + programs(20) {
        let shape = Shape { page_bytes: 4096, ..Shape::mixed(800) };
        run(seed, shape, &options);
    }
}

/// Several sessions beside each other, with children and prepared transactions: each sees what the
/// model says at every step, and afterwards the environment holds it, also after a crash.
fn run_script(seed: u64, cast: Cast, options: &EnvironmentOptions) -> Deeds {
    let disk = SimDisk::new(SimOptions::new(seed));
    let oracle = Arc::new(Mutex::new(Oracle::starting_at(State::new(), vec![])));
    let deeds = sessions::play(&script(seed, cast), &watched(&disk), options, &oracle)
        .unwrap_or_else(|end| panic!("seed {seed}: {end:?}"));
    let oracle = oracle.lock().expect("the oracle");
    let image = disk.reboot(CrashChoice::Nothing);
    let found = open_and_find(watched(&image), &image, options)
        .unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    assert!(found.state == *oracle.newest(), "seed {seed}: content differs");
    let verdict = oracle.judge_all(&found, Failure::Power);
    verdict.unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    deeds
}

#[test]
fn sessions_beside_each_other_agree_with_the_model() {
    let mut all = Deeds::default();
    for seed in 0..programs(30) {
        let cast = Cast { sessions: 2 + seed as usize % 4, ..Cast::full(150) };
        all.add(&run_script(seed, cast, &tiny()));
    }
    println!("{all}");
    assert!(all.blocked > 0 && all.commits > 0, "{all}");
    assert!(all.children.0 > 0 && all.children.1 > 0, "{all}");
    assert!(all.resolved.0 > 0 && all.resolved.1 > 0, "{all}");
}

#[test]
fn the_same_script_gives_the_same_calls() {
    for seed in 0..3 {
        let hash = || {
            let disk = SimDisk::new(SimOptions::new(seed));
            let oracle = Arc::new(Mutex::new(Oracle::starting_at(State::new(), vec![])));
            let end = sessions::play(&script(seed, Cast::full(60)), &disk.host(), &tiny(), &oracle);
            end.unwrap_or_else(|end| panic!("{end:?}"));
            disk.trace_hash()
        };
        assert_eq!(hash(), hash(), "seed {seed} is not deterministic");
    }
}

#[test]
fn the_same_seed_gives_the_same_calls() {
    for seed in 0..4 {
        let hash = || {
            let disk = SimDisk::new(SimOptions::new(seed));
            let oracle = Arc::new(Mutex::new(Oracle::starting_at(State::new(), vec![])));
            let life = Life::open(disk.host(), tiny(), oracle).expect("opens");
            match life.run(&program(seed, Shape::mixed(150))) {
                Ok(()) => disk.trace_hash(),
                Err(End::Error(error)) => panic!("{error}"),
                Err(End::Wrong(what)) => panic!("{what}"),
            }
        };
        assert_eq!(hash(), hash(), "seed {seed} is not deterministic");
    }
}

#[test]
fn a_clock_that_jumps_both_ways_loses_nothing() {
    let mut compared = 0;
    for seed in 3000..3000 + programs(60) {
        let disk = SimDisk::new(SimOptions::new(seed));
        let jump = |step: usize| {
            let by = if step.is_multiple_of(2) { 90_000_000 } else { -3_600_000_000 };
            disk.clock().jump_us(by);
        };
        run_on(&disk, seed, Shape::mixed(200), &tiny(), jump);
        let times = commit_times(&disk);
        // Recycling leaves a log with few commits now and then; over all seeds there are many.
        compared += times.len();
        assert!(times.is_sorted(), "seed {seed}: commit times go back: {times:?}");
    }
    assert!(compared > 100, "only {compared} commit times were compared");
}

/// The times of all commits that the log still holds, in the order of the log.
fn commit_times(disk: &Arc<SimDisk>) -> Vec<u64> {
    let logs = LogSet::discover(&disk.host().vfs, &Path::new(HOME).join("log")).expect("a log");
    let from = logs.oldest_readable().expect("a first record");
    let end = find_end(&logs, from, Lsn::NONE).expect("an end").end;
    let records = logs.forward(from, end).expect("a scan");
    let time = |record: RecordBuf| match record.record().expect("a whole record").body {
        Body::Commit { time_us, .. } => Some(time_us),
        _ => None,
    };
    records.filter_map(|record| time(record.expect("a readable log").1)).collect()
}
