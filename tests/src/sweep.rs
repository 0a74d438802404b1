//! The I/O error sweep: one fault at the n-th call, for every n, once and from then on. Whatever
//! fails, nothing acknowledged is lost, nothing hangs, and an environment whose write or sync
//! failed says so until it is reopened.

use crate::explore::text_of;
use crate::life::{End, Life};
use crate::monitor::Monitor;
use crate::oracle::{Failure, Oracle, State};
use crate::workload::{Choices, Shape, Step, program};
use campanile::EnvironmentOptions;
use campanile_vfs::sim::{CrashChoice, FaultPlan, FaultRule, Rule, SimDisk, SimOptions};
use campanile_vfs::{Host, Observed};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

/// What a sweep found.
#[derive(Clone, Debug, Default)]
pub struct SweepTally {
    /// Runs made: one per call index and rule.
    pub runs: u64,
    /// Runs in which the fault had an effect.
    pub struck: u64,
    /// Runs that the engine rode out without telling its user.
    pub absorbed: u64,
    /// Runs that left the environment poisoned.
    pub poisoned: u64,
    /// Violations, each with what is needed to repeat it.
    pub violations: Vec<String>,
}

/// Runs the program of `seed` once per I/O call, with the fault that `rule` plans for that call.
/// `stride` > 1 takes a sample, beginning at a call that depends on the seed.
pub fn sweep(
    seed: u64,
    shape: Shape,
    options: &EnvironmentOptions,
    stride: u64,
    name: &str,
    rule: impl Fn(u64) -> FaultRule,
) -> SweepTally {
    let program = program(seed, shape);
    let mut tally = SweepTally::default();
    let calls = {
        let disk = SimDisk::new(SimOptions::new(seed));
        let oracle = new_oracle();
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let life = Life::open(host(&disk), options.clone(), oracle)?;
            life.run(&program)
        }));
        disk.calls()
    };
    let mut call = seed % stride;
    while call < calls {
        let run = AssertUnwindSafe(|| one(seed, &program, options, rule(call), &mut tally));
        let outcome = catch_unwind(run).unwrap_or_else(|panic| Err(text_of(&panic)));
        tally.runs += 1;
        if let Err(what) = outcome {
            tally.violations.push(format!("{name}, seed {seed}, call {call}: {what}"));
        }
        call += stride;
    }
    tally
}

/// As [`sweep`], but the fault strikes while the environment recovers from a crash in the middle of
/// the program. The failed recovery must leave everything for the next one.
pub fn sweep_recovery(
    seed: u64,
    shape: Shape,
    options: &EnvironmentOptions,
    stride: u64,
    name: &str,
    rule: impl Fn(u64) -> FaultRule,
) -> SweepTally {
    let program = program(seed, shape);
    let mut tally = SweepTally::default();
    let disk = SimDisk::new(SimOptions::new(seed));
    let oracle = new_oracle();
    let Ok(mut life) = Life::open(host(&disk), options.clone(), Arc::clone(&oracle)) else {
        tally.violations.push(format!("{name}, seed {seed}: does not open"));
        return tally;
    };
    for step in &program[..program.len() * 3 / 4] {
        if let Err(end) = life.step(step) {
            tally.violations.push(format!("{name}, seed {seed}: {end:?}"));
            return tally;
        }
    }
    let crashed = disk.reboot(CrashChoice::Subset(seed));
    let mut calls = {
        let image = crashed.fork();
        let before = image.calls();
        let _ = crate::explore::open_and_read(&image, None, options);
        image.calls() - before
    };
    while calls > 0 {
        calls = calls.saturating_sub(stride);
        let image = crashed.fork();
        let planned = rule(image.calls() + calls);
        let run = AssertUnwindSafe(|| recover_twice(&image, options, planned, &oracle, &mut tally));
        let outcome = catch_unwind(run).unwrap_or_else(|panic| Err(text_of(&panic)));
        tally.runs += 1;
        if let Err(what) = outcome {
            tally.violations.push(format!("{name}, seed {seed}, recovery call {calls}: {what}"));
        }
    }
    tally
}

fn recover_twice(
    image: &Arc<SimDisk>,
    options: &EnvironmentOptions,
    rule: FaultRule,
    oracle: &Arc<Mutex<Oracle>>,
    tally: &mut SweepTally,
) -> Result<(), String> {
    image.faults(FaultPlan::none().and(rule));
    let judge = |found: &State| {
        let oracle = oracle.lock().map_err(|_| "a panic under the oracle")?;
        oracle.judge(found, Failure::Power).map(|_| ())
    };
    // With the fault, recovery may fail; what it may not do is give a wrong answer.
    match crate::explore::open_and_read(image, None, options) {
        Ok(found) => {
            tally.absorbed += 1;
            judge(&found)?;
        }
        Err(_) => tally.struck += 1,
    }
    let found = crate::explore::open_and_read(&image.reboot(CrashChoice::Nothing), None, options)?;
    judge(&found)
}

fn new_oracle() -> Arc<Mutex<Oracle>> {
    Arc::new(Mutex::new(Oracle::starting_at(State::new(), vec![])))
}

fn host(disk: &Arc<SimDisk>) -> Host {
    let mut host = disk.host();
    host.vfs = Observed::new(Arc::clone(&host.vfs), Arc::new(Monitor::new()));
    host
}

fn one(
    seed: u64,
    program: &[Step],
    options: &EnvironmentOptions,
    rule: FaultRule,
    tally: &mut SweepTally,
) -> Result<(), String> {
    let disk = SimDisk::new(SimOptions::new(seed));
    disk.faults(FaultPlan::none().and(rule));
    let oracle = new_oracle();
    match Life::open(host(&disk), options.clone(), Arc::clone(&oracle)) {
        Err(error) if !crate::life::is_expected(&error) => {
            return Err(format!("opening failed in an unexpected way: {error}"));
        }
        Err(_) => {}
        Ok(life) => live(life, program, &disk, tally)?,
    }
    let struck = disk.counters().all().values().any(|count| *count > 0);
    tally.struck += u64::from(struck);
    let mut choices = Choices::new(seed ^ disk.calls());
    let choice = match choices.below(3) {
        0 => CrashChoice::Nothing,
        1 => CrashChoice::All,
        _ => CrashChoice::Subset(choices.draw()),
    };
    let image = disk.reboot(choice);
    let found = crate::explore::open_and_read(&image, None, options)?;
    let oracle = oracle.lock().map_err(|_| "a panic under the oracle")?;
    oracle.judge(&found, Failure::Power).map(|_| ())
}

/// Runs until the first error; then the environment must refuse to change anything if a write or
/// a sync had failed.
fn live(
    mut life: Life,
    program: &[Step],
    disk: &Arc<SimDisk>,
    tally: &mut SweepTally,
) -> Result<(), String> {
    for step in program {
        match life.step(step) {
            Ok(()) => {}
            Err(End::Wrong(what)) => return Err(what),
            Err(End::Error(error)) => {
                if !crate::life::is_expected(&error) {
                    return Err(format!("an unexpected error: {error}"));
                }
                let fired = disk.counters();
                let writing = [Rule::SyncCacheKeeps, Rule::SyncCacheReverts, Rule::WriteFailed];
                if writing.iter().any(|rule| fired.get(*rule) > 0) {
                    tally.poisoned += 1;
                    return life.refuses_to_change();
                }
                return Ok(());
            }
        }
    }
    tally.absorbed += 1;
    match life.close() {
        Err(End::Wrong(what)) => Err(what),
        _ => Ok(()),
    }
}
