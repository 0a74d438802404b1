//! The explorer: runs a program once on the simulated disk and, at every I/O call, asks what would
//! be found had the power gone (or the process died) just there. Each answer is one crash state:
//! rebooted, recovered, compared with the oracle, verified; inside that recovery the same question
//! is asked again.
//!
//! E1  A crash state is judged by the oracle as it stood at the call, not as it became later.
//! E2  Recovery run again after a crash inside recovery gives a permitted state as well.
//! E3  What recovery has reported once stays so: a crash right after it changes nothing.
//! E4  Afterwards the environment works: more commits, a clean close, a reopening.
//! E5  What is found prepared keeps its locks, and becomes whole or nothing as it is decided.

use crate::life::{End, Life};
use crate::monitor::Monitor;
use crate::oracle::{Failure, Oracle, State};
use crate::reopen::{self, resolve_prepared};
use crate::script::Script;
use crate::sessions::{self, Deeds};
use crate::workload::{Choices, Shape, Step, program};
use campanile::EnvironmentOptions;
use campanile_format::planted::Selection;
use campanile_vfs::sim::{CrashChoice, PendingInfo, SimDisk, SimOptions};
use campanile_vfs::{Call, Host, Observed, Observer, Outcome};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What was explored; every claim in a report comes from these counts.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Crash states recovered and checked.
    pub states: u64,
    /// Of these, with a crash inside recovery.
    pub nested: u64,
    /// Of all, with several losers.
    pub several_losers: u64,
    /// Of all, with prepared transactions found by recovery, and resolved.
    pub with_prepared: u64,
    /// What the sessions of the stories did.
    pub deeds: Deeds,
    /// Programs run to their end.
    pub programs: u64,
    /// Calls that a recovery made at most, of late.
    pub recovery_calls: u64,
    /// Times each kind of I/O call was crashed at, by phase, call and kind of file.
    pub sites: BTreeMap<String, u64>,
    /// Times each kind of I/O call was made at all.
    pub seen: BTreeMap<String, u64>,
    /// Violations found, each with what is needed to repeat it.
    pub violations: Vec<String>,
}

impl Tally {
    /// Adds another explorer's counts.
    pub fn add(&mut self, other: Tally) {
        self.states += other.states;
        self.nested += other.nested;
        self.several_losers += other.several_losers;
        self.with_prepared += other.with_prepared;
        self.deeds.add(&other.deeds);
        self.programs += other.programs;
        for (site, count) in other.sites {
            *self.sites.entry(site).or_default() += count;
        }
        for (site, count) in other.seen {
            *self.seen.entry(site).or_default() += count;
        }
        self.violations.extend(other.violations);
    }
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Crash states to spend on one program.
    pub states: u64,
    /// How deep crashes may nest: 1 = only the program, 2 = also its recovery, 3 = that one's too.
    pub depth: u32,
    /// Whether sectors may tear (profile "no sector atomicity").
    pub torn_sectors: bool,
    /// Whether the 4 KiB block around a write may become garbage (profile "no power-safe
    /// overwrite"). Only with pages and log flushes of whole blocks: see [`crate::life::whole_blocks`].
    pub collateral: bool,
    /// Sector size of the disk.
    pub sector_bytes: u64,
    /// Whether the engine's own free choices are made by an adversary.
    pub adversary: bool,
    /// Stop at the first violation.
    pub stop_early: bool,
}

/// What runs on the disk while the power may go: lives of an environment, the oracle told of all.
pub trait Story: Sync {
    /// Lives them, to a clean close.
    fn play(
        &self,
        host: Host,
        options: &EnvironmentOptions,
        oracle: &Arc<Mutex<Oracle>>,
    ) -> Result<Deeds, End>;
}

impl Story for Vec<Step> {
    fn play(
        &self,
        host: Host,
        options: &EnvironmentOptions,
        oracle: &Arc<Mutex<Oracle>>,
    ) -> Result<Deeds, End> {
        Life::open(host, options.clone(), Arc::clone(oracle))?.run(self)?;
        Ok(Deeds::default())
    }
}

impl Story for Script {
    fn play(
        &self,
        host: Host,
        options: &EnvironmentOptions,
        oracle: &Arc<Mutex<Oracle>>,
    ) -> Result<Deeds, End> {
        sessions::play(self, &host, options, oracle)
    }
}

/// Explores the program of one seed and shape.
pub fn explore(seed: u64, shape: Shape, options: &EnvironmentOptions, effort: Effort) -> Tally {
    explore_story(seed, &program(seed, shape), options, effort)
}

/// Explores a story; the seed decides what the crashes leave.
pub fn explore_story(
    seed: u64,
    story: &dyn Story,
    options: &EnvironmentOptions,
    effort: Effort,
) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let calls = count_calls(seed, story, options, effort);
    let disk = SimDisk::new(sim_options(seed, effort));
    let oracle = Arc::new(Mutex::new(Oracle::starting_at(State::new(), vec![])));
    let watcher = Arc::new(Watcher {
        disk: Arc::clone(&disk),
        oracle: Arc::clone(&oracle),
        options: options.clone(),
        tally: Arc::clone(&tally),
        effort,
        depth: 1,
        phase: "run",
        share: Mutex::new(Share::spread(seed, effort.states, calls)),
        label: format!("seed {seed}"),
    });
    let host = watched_host(&disk, Some(watcher));
    let end = catch_unwind(AssertUnwindSafe(|| story.play(host, options, &oracle)));
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match end {
        Ok(Ok(deeds)) => {
            tally.programs += 1;
            tally.deeds.add(&deeds);
        }
        Ok(Err(End::Wrong(what))) => tally.violations.push(format!("seed {seed}: {what}")),
        Ok(Err(End::Error(error))) => tally.violations.push(format!("seed {seed}: {error}")),
        Err(panic) => tally.violations.push(format!("seed {seed}: {}", text_of(&panic))),
    }
    tally
}

fn sim_options(seed: u64, effort: Effort) -> SimOptions {
    SimOptions {
        seed,
        sector_bytes: effort.sector_bytes,
        torn_sectors: effort.torn_sectors,
        collateral: effort.collateral,
        adversary: effort.adversary,
        ..SimOptions::default()
    }
}

/// A host on the disk, every call of which passes the write-order monitor and then the watcher.
fn watched_host(disk: &Arc<SimDisk>, watcher: Option<Arc<Watcher>>) -> Host {
    let mut host = disk.host();
    let monitor = Arc::new(Monitor::new());
    let observer: Arc<dyn Observer> = Arc::new(Both { monitor, watcher });
    host.vfs = Observed::new(Arc::clone(&host.vfs), observer);
    host
}

fn count_calls(seed: u64, story: &dyn Story, options: &EnvironmentOptions, effort: Effort) -> u64 {
    let disk = SimDisk::new(sim_options(seed, effort));
    let oracle = Arc::new(Mutex::new(Oracle::starting_at(State::new(), vec![])));
    let host = watched_host(&disk, None);
    // What goes wrong here goes wrong in the explored run too, and is reported there.
    let _ = catch_unwind(AssertUnwindSafe(|| story.play(host, options, &oracle)));
    disk.calls()
}

#[derive(Debug)]
struct Both {
    monitor: Arc<Monitor>,
    watcher: Option<Arc<Watcher>>,
}

impl Observer for Both {
    fn before(&self, call: &Call<'_>) {
        self.monitor.before(call);
        if let Some(watcher) = &self.watcher {
            watcher.before(call);
        }
    }

    fn after(&self, call: &Call<'_>, outcome: Outcome<'_>) {
        self.monitor.after(call, outcome);
    }
}

/// How many crash states the next call deserves.
#[derive(Debug)]
enum Share {
    /// Spreads a budget over a known number of calls.
    Spread { choices: Choices, budget: u64, calls_left: u64 },
    /// One state at each of these calls of a recovery, by their index in it.
    At { choices: Choices, next: u64, calls: Vec<u64> },
}

impl Share {
    fn spread(seed: u64, budget: u64, calls: u64) -> Share {
        Share::Spread { choices: Choices::new(seed), budget, calls_left: calls.max(1) }
    }

    /// A few calls of a recovery that is expected to make so many.
    fn few_of(seed: u64, expected: u64) -> Share {
        let mut choices = Choices::new(seed);
        let count = 1 + choices.below(3);
        let calls = (0..count).map(|_| choices.below(expected + 4)).collect();
        Share::At { choices, next: 0, calls }
    }

    /// States for the call that is about to be made, and what decides how they look.
    fn next(&mut self) -> (u64, Choices) {
        match self {
            Share::Spread { choices, budget, calls_left } => {
                let states = if *budget >= *calls_left {
                    budget.div_ceil(*calls_left)
                } else {
                    u64::from(*budget > 0 && choices.below(*calls_left) < *budget)
                };
                *budget -= states;
                *calls_left = calls_left.saturating_sub(1).max(1);
                (states, Choices::new(choices.draw()))
            }
            Share::At { choices, next, calls } => {
                let states = calls.iter().filter(|call| **call == *next).count();
                *next += 1;
                (states as u64, Choices::new(choices.draw()))
            }
        }
    }
}

/// Stands at every I/O call of one run and explores the crashes there.
pub struct Watcher {
    disk: Arc<SimDisk>,
    oracle: Arc<Mutex<Oracle>>,
    options: EnvironmentOptions,
    tally: Arc<Mutex<Tally>>,
    effort: Effort,
    depth: u32,
    phase: &'static str,
    share: Mutex<Share>,
    label: String,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watcher at depth {}", self.depth)
    }
}

impl Watcher {
    fn before(&self, call: &Call<'_>) {
        let site = format!("{}: {}", self.phase, site_of(call));
        *self.tally.lock().expect("the tally").seen.entry(site.clone()).or_default() += 1;
        if self.disk.crashed() || (self.effort.stop_early && self.has_violation()) {
            return;
        }
        let (states, mut choices) = self.share.lock().expect("the share").next();
        let pending = self.disk.pending();
        for nth in 0..states {
            let (choice, failure) = choose(nth, &pending, &mut choices);
            self.crash(call, choice, failure, choices.draw());
            let mut tally = self.tally.lock().expect("the tally");
            *tally.sites.entry(site.clone()).or_default() += 1;
        }
    }

    /// How many calls a recovery has made at most, of late.
    fn recovery_calls(&self) -> u64 {
        self.tally.lock().expect("the tally").recovery_calls.max(20)
    }

    fn learn_recovery_calls(&self, calls: u64) {
        let mut tally = self.tally.lock().expect("the tally");
        // Fades, so that one long recovery does not make all later positions miss.
        tally.recovery_calls = calls.max(tally.recovery_calls - tally.recovery_calls / 8);
    }

    fn has_violation(&self) -> bool {
        !self.tally.lock().expect("the tally").violations.is_empty()
    }

    fn crash(&self, call: &Call<'_>, choice: CrashChoice, failure: Failure, seed: u64) {
        let image = self.disk.reboot(choice);
        let oracle = self.oracle.lock().expect("the oracle").clone();
        let label = format!("{} / {} {choice:?}", self.label, site_of(call));
        {
            let mut tally = self.tally.lock().expect("the tally");
            tally.states += 1;
            tally.several_losers += u64::from(oracle.writers() > 1);
            tally.nested += u64::from(self.depth > 1);
        }
        // On a thread of its own: on this one an engine is in the middle of the call, perhaps with
        // pages latched, and those of one thread must not wait for locks.
        let planted = Selection::here();
        let recover = || planted.on(|| self.recover(&image, oracle, failure, seed, &label));
        let outcome = thread::scope(|scope| scope.spawn(recover).join());
        let outcome = outcome.unwrap_or_else(|panic| Err(format!("panic: {}", text_of(&panic))));
        if let Err(what) = outcome {
            let mut tally = self.tally.lock().expect("the tally");
            tally.violations.push(format!("{label}: call {}: {what}", self.disk.calls()));
        }
    }

    /// Reopens what survived, with crashes inside recovery if there is depth left.
    fn recover(
        &self,
        image: &Arc<SimDisk>,
        oracle: Oracle,
        failure: Failure,
        seed: u64,
        label: &str,
    ) -> Result<(), String> {
        let pristine = image.fork();
        let nested = (self.depth < self.effort.depth && seed.is_multiple_of(3)).then(|| {
            Arc::new(Watcher {
                disk: Arc::clone(image),
                oracle: Arc::new(Mutex::new(floor_for(&oracle, failure))),
                options: self.options.clone(),
                tally: Arc::clone(&self.tally),
                effort: self.effort,
                depth: self.depth + 1,
                phase: "recover",
                share: Mutex::new(Share::few_of(seed, self.recovery_calls())),
                label: label.to_owned(),
            })
        });
        let before = image.calls();
        let found = reopen::open_and_find(watched_host(image, nested), image, &self.options)?;
        self.learn_recovery_calls(image.calls() - before);
        let k = oracle.judge_all(&found, failure)?;
        if !found.prepared.is_empty() {
            self.tally.lock().expect("the tally").with_prepared += 1;
            let (reborn, mut choices) = (image.reboot(CrashChoice::Nothing), Choices::new(seed));
            let judge = (&oracle, k);
            return resolve_prepared(watched, &reborn, &self.options, judge, &mut choices);
        }
        let found = found.state;
        if seed.is_multiple_of(8) {
            let again = open_and_read(&image.reboot(CrashChoice::Nothing), None, &self.options)?;
            let volatile = oracle.volatile().to_vec();
            let settled = Oracle::starting_at(found.clone(), volatile);
            settled.judge(&again, Failure::Power).map_err(|what| {
                format!("state {k} changed after a crash right behind recovery: {what}")
            })?;
            self.live_on(&pristine, found, seed)?;
        }
        Ok(())
    }

    /// E4: the recovered environment takes more work, closes cleanly and opens again.
    fn live_on(&self, image: &Arc<SimDisk>, found: State, seed: u64) -> Result<(), String> {
        let oracle = self.oracle.lock().expect("the oracle").clone();
        let volatile = oracle.volatile().to_vec();
        let oracle = Arc::new(Mutex::new(Oracle::starting_at(found, volatile)));
        let host = watched_host(image, None);
        let shape = Shape { catalog: false, ..Shape::mixed(24) };
        let steps = program(seed, shape);
        let end = Life::open(host, self.options.clone(), Arc::clone(&oracle))
            .map_err(End::from)
            .and_then(|life| life.run(&steps));
        end.map_err(|end| format!("living on after recovery: {end:?}"))?;
        let expected = oracle.lock().expect("the oracle").newest().clone();
        let found = open_and_read(image, None, &self.options)?;
        if found != expected {
            return Err("a clean close and reopening lost something".to_owned());
        }
        Ok(())
    }
}

/// The oracle for a crash inside recovery: once power was lost, what was only handed to the
/// operating system may be gone, however the next failure happens.
fn floor_for(oracle: &Oracle, failure: Failure) -> Oracle {
    let mut oracle = oracle.clone();
    if failure == Failure::Power {
        oracle.forget_written();
    }
    oracle
}

/// A host on the disk, watched by the write-order monitor.
pub fn watched(disk: &Arc<SimDisk>) -> Host {
    watched_host(disk, None)
}

/// Takes the power away, gives it back, and reads what recovery brings; all pages are verified.
pub fn crash_and_reopen(
    disk: &Arc<SimDisk>,
    options: &EnvironmentOptions,
) -> Result<State, String> {
    let image = disk.reboot(CrashChoice::Subset(disk.calls()));
    open_and_read(&image, None, options)
}

/// Opens what is on the disk, reads it all and verifies every page; then the power fails.
pub fn open_and_read(
    disk: &Arc<SimDisk>,
    nested: Option<Arc<Watcher>>,
    options: &EnvironmentOptions,
) -> Result<State, String> {
    let found = reopen::open_and_find(watched_host(disk, nested), disk, options)?;
    match found.prepared.is_empty() {
        true => Ok(found.state),
        false => Err(format!("transactions are prepared: {:?}", found.prepared)),
    }
}

/// A way to crash at a call: each rule of the fault model in its turn.
pub fn choose(nth: u64, pending: &PendingInfo, choices: &mut Choices) -> (CrashChoice, Failure) {
    let choice = match choices.below(14) {
        0 | 1 => CrashChoice::ProcessCrash,
        2 => CrashChoice::Nothing,
        3 => CrashChoice::All,
        4 => CrashChoice::Prefix(choices.below(pending.ops + 1)),
        5 => CrashChoice::FilePrefixes(choices.draw()),
        6 if pending.sectors > 0 => CrashChoice::DropSector(choices.below(pending.sectors)),
        7 if pending.sectors > 0 => CrashChoice::KeepSector(choices.below(pending.sectors)),
        8 if pending.lens > 0 => CrashChoice::DropLength(choices.below(pending.lens)),
        9 if pending.dir_ops > 0 => CrashChoice::DropEntry(choices.below(pending.dir_ops)),
        _ if nth == 0 && pending.items() == 0 => CrashChoice::Nothing,
        _ => CrashChoice::Subset(choices.draw()),
    };
    let failure = match choice {
        CrashChoice::ProcessCrash => Failure::Process,
        _ => Failure::Power,
    };
    (choice, failure)
}

/// The call and the kind of file it is made on, without numbers: "write log", "sync_dir data".
fn site_of(call: &Call<'_>) -> String {
    let path = call.path.to_string_lossy().into_owned();
    let kind = path.rsplit('/').next().unwrap_or_default();
    let kind = kind.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('.');
    format!("{} {kind}", call.kind.name())
}

/// What a panic said.
pub fn text_of(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "of unknown cause".to_owned())
}
