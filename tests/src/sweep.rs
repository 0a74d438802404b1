//! The I/O error sweep: one fault at the n-th call, for every n, once and from then on. Whatever
//! fails, nothing acknowledged is lost, nothing hangs, and an environment whose write or sync
//! failed says so until it is reopened.

use crate::explore::{Story, text_of};
use crate::life::{End, Life};
use crate::monitor::Monitor;
use crate::oracle::{Failure, Oracle, State};
use crate::reopen::{open_and_find, resolve_prepared};
use crate::workload::{Choices, Shape, Step, program};
use campanile::EnvironmentOptions;
use campanile_vfs::sim::{CrashChoice, FaultPlan, FaultRule, Rule, SimDisk, SimOptions};
use campanile_vfs::{Host, Observed};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Runs in which a failure was reported by another sync than the one that met it.
    pub reported_late: u64,
    /// Runs in which a sync reported success and had dropped its data.
    pub lied: u64,
    /// Of these, runs after which the loss was reported as damage, by the opening or by reading.
    pub detected: u64,
    /// Of these, runs after which something older than promised was shown.
    pub unseen: u64,
    /// Violations, each with what is needed to repeat it.
    pub violations: Vec<String>,
}

impl SweepTally {
    /// Adds another sweep's counts.
    pub fn add(&mut self, other: SweepTally) {
        self.runs += other.runs;
        self.struck += other.struck;
        self.absorbed += other.absorbed;
        self.poisoned += other.poisoned;
        self.reported_late += other.reported_late;
        self.lied += other.lied;
        self.detected += other.detected;
        self.unseen += other.unseen;
        self.violations.extend(other.violations);
    }
}

/// What may be demanded of an environment after the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Every promise that was made.
    All,
    /// Every promise made before a sync lied (it reported success and had dropped its data), or
    /// damage that is reported.
    BeforeTheLie,
    /// As [`Demand::BeforeTheLie`]; but a page that is lost so, and that replay has no reason to
    /// look at, is shown as it was: that is counted, not refused.
    Detection,
}

/// Runs the program of `seed` once per I/O call, with the fault that `rule` plans for that call.
/// `stride` > 1 takes a sample, beginning at a call that depends on the seed.
pub fn sweep(
    seed: u64,
    shape: Shape,
    options: &EnvironmentOptions,
    stride: u64,
    name: &str,
    demand: Demand,
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
        let run =
            AssertUnwindSafe(|| one(seed, &program, options, (rule(call), demand), &mut tally));
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
    demand: Demand,
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
        let fault = (planned, demand);
        let run = AssertUnwindSafe(|| recover_twice(&image, options, fault, &oracle, &mut tally));
        let outcome = catch_unwind(run).unwrap_or_else(|panic| Err(text_of(&panic)));
        tally.runs += 1;
        if let Err(what) = outcome {
            tally.violations.push(format!("{name}, seed {seed}, recovery call {calls}: {what}"));
        }
    }
    tally
}

/// As [`sweep`], for a story of several sessions: the first of them that meets the fault ends it
/// for all. What is found afterwards, prepared transactions included, is what was promised.
pub fn sweep_story(
    seed: u64,
    story: &dyn Story,
    options: &EnvironmentOptions,
    stride: u64,
    name: &str,
    rule: impl Fn(u64) -> FaultRule,
) -> SweepTally {
    let mut tally = SweepTally::default();
    let play = |disk: &Arc<SimDisk>, oracle: &Arc<Mutex<Oracle>>| {
        catch_unwind(AssertUnwindSafe(|| story.play(host(disk), options, oracle)))
            .unwrap_or_else(|panic| Err(End::Wrong(text_of(&panic))))
    };
    let calls = {
        let disk = SimDisk::new(SimOptions::new(seed));
        let _ = play(&disk, &new_oracle());
        disk.calls()
    };
    for call in (seed % stride..calls).step_by(stride as usize) {
        let (disk, oracle) = (SimDisk::new(SimOptions::new(seed)), new_oracle());
        disk.faults(FaultPlan::none().and(rule(call)));
        let end = play(&disk, &oracle);
        tally.runs += 1;
        tally.struck += u64::from(has_struck(&disk));
        tally.absorbed += u64::from(end.is_ok());
        count_late(&disk, &mut tally);
        let verdict = match end {
            Err(End::Wrong(what)) => Err(what),
            Err(End::Error(error)) if !crate::life::is_expected(&error) => {
                Err(format!("an unexpected error: {error}"))
            }
            _ => {
                let oracle = oracle.lock().unwrap_or_else(PoisonError::into_inner);
                look_after(&disk, options, &oracle, seed ^ call)
            }
        };
        if let Err(what) = verdict {
            tally.violations.push(format!("{name}, seed {seed}, call {call}: {what}"));
        }
    }
    tally
}

/// Takes the power away, judges what is found, and resolves what is prepared.
fn look_after(
    disk: &Arc<SimDisk>,
    options: &EnvironmentOptions,
    oracle: &Oracle,
    seed: u64,
) -> Result<(), String> {
    let mut choices = Choices::new(seed);
    let image = disk.reboot(match choices.below(3) {
        0 => CrashChoice::Nothing,
        1 => CrashChoice::All,
        _ => CrashChoice::Subset(choices.draw()),
    });
    let found = open_and_find(host(&image), &image, options)?;
    let k = oracle.judge_all(&found, Failure::Power)?;
    if found.prepared.is_empty() {
        return Ok(());
    }
    let reborn = image.reboot(CrashChoice::Nothing);
    resolve_prepared(host, &reborn, options, (oracle, k), &mut choices)
}

fn recover_twice(
    image: &Arc<SimDisk>,
    options: &EnvironmentOptions,
    (rule, demand): (FaultRule, Demand),
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
    let verdict = open_and_judge(&image.reboot(CrashChoice::Nothing), options, oracle);
    let lied = count_late(image, tally);
    weigh(verdict, demand, lied, tally)
}

/// Whether the planned fault had an effect: listings come in any order without one.
fn has_struck(disk: &SimDisk) -> bool {
    let fired = disk.counters().all();
    fired.iter().any(|(rule, count)| *count > 0 && *rule != Rule::ShuffledListing)
}

/// Counts what the rules F1 c did; true if a sync lied.
fn count_late(disk: &SimDisk, tally: &mut SweepTally) -> bool {
    let fired = disk.counters();
    let late = [Rule::WriteOutReported, Rule::SyncReportedLater, Rule::SyncReportedElsewhere];
    tally.reported_late += u64::from(late.iter().any(|rule| fired.get(*rule) > 0));
    let lied = fired.get(Rule::SyncLied) > 0;
    tally.lied += u64::from(lied);
    lied
}

/// Whether what was found after the fault may be so.
fn weigh(
    verdict: Result<(), Unfit>,
    demand: Demand,
    lied: bool,
    tally: &mut SweepTally,
) -> Result<(), String> {
    match verdict {
        Ok(()) => Ok(()),
        Err(Unfit::Refused(_)) if demand != Demand::All && lied => {
            tally.detected += 1;
            Ok(())
        }
        Err(Unfit::Wrong(_)) if demand == Demand::Detection && lied => {
            tally.unseen += 1;
            Ok(())
        }
        Err(Unfit::Refused(what) | Unfit::Wrong(what)) => Err(what),
    }
}

/// Why an environment is not what it should be.
enum Unfit {
    /// It says so.
    Refused(String),
    /// It shows something else.
    Wrong(String),
}

fn open_and_judge(
    image: &Arc<SimDisk>,
    options: &EnvironmentOptions,
    oracle: &Arc<Mutex<Oracle>>,
) -> Result<(), Unfit> {
    let found = crate::explore::open_and_read(image, None, options).map_err(Unfit::Refused)?;
    let oracle = oracle.lock().map_err(|_| Unfit::Wrong("a panic under the oracle".to_owned()))?;
    oracle.judge(&found, Failure::Power).map(|_| ()).map_err(Unfit::Wrong)
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
    (rule, demand): (FaultRule, Demand),
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
    tally.struck += u64::from(has_struck(&disk));
    let mut choices = Choices::new(seed ^ disk.calls());
    let choice = match choices.below(3) {
        0 => CrashChoice::Nothing,
        1 => CrashChoice::All,
        _ => CrashChoice::Subset(choices.draw()),
    };
    let image = disk.reboot(choice);
    let lied = count_late(&disk, tally);
    weigh(open_and_judge(&image, options, &oracle), demand, lied, tally)
}

/// Runs until the first error; then the environment must refuse to change anything if a write or
/// a sync had failed.
fn live(
    mut life: Life,
    program: &[Step],
    disk: &Arc<SimDisk>,
    tally: &mut SweepTally,
) -> Result<(), String> {
    // What had been promised when the first sync lied; nothing that came later can be demanded.
    let mut trusted = None;
    for step in program {
        let promised = life.oracle.lock().map_err(|_| "a panic under the oracle")?.promised();
        let outcome = life.step(step);
        if disk.counters().get(Rule::SyncLied) > 0 {
            let trusted = *trusted.get_or_insert(promised);
            life.oracle.lock().map_err(|_| "a panic under the oracle")?.distrust(trusted);
        }
        match outcome {
            Ok(()) => {}
            Err(End::Wrong(what)) => return Err(what),
            Err(End::Error(error)) => {
                if !crate::life::is_expected(&error) {
                    return Err(format!("an unexpected error: {error}"));
                }
                let fired = disk.counters();
                let writing = [
                    Rule::SyncCacheKeeps,
                    Rule::SyncCacheReverts,
                    Rule::SyncButDurable,
                    Rule::WriteOutReported,
                    Rule::SyncReportedLater,
                    Rule::SyncReportedElsewhere,
                    Rule::WriteFailed,
                ];
                if writing.iter().any(|rule| fired.get(*rule) > 0) {
                    tally.poisoned += 1;
                    return life.refuses_to_change();
                }
                return Ok(());
            }
        }
    }
    tally.absorbed += 1;
    let oracle = Arc::clone(&life.oracle);
    let promised = oracle.lock().map_err(|_| "a panic under the oracle")?.promised();
    let closed = life.close();
    if disk.counters().get(Rule::SyncLied) > 0 {
        let trusted = trusted.unwrap_or(promised);
        oracle.lock().map_err(|_| "a panic under the oracle")?.distrust(trusted);
    }
    match closed {
        Err(End::Wrong(what)) => Err(what),
        _ => Ok(()),
    }
}
