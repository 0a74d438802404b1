//! Many schedules: how many, from which seeds, and how to see one of them again.
//!
//! Schedules come in batches of one seed, because the checker learns the length of a run from those
//! before it: a batch is what is repeated to see a violation again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::run;

/// Schedules of one seed.
const BATCH: u64 = 50;
/// Schedules of each kind when nobody says how many.
const EVERYDAY: u64 = 250;

/// Who chooses the thread that runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Campaign {
    /// Chance, at every step (in an ordinary build: the system).
    Random,
    /// Priorities, changed at a few steps: finds what takes few switches at the wrong moments.
    #[cfg_attr(not(shuttle), allow(dead_code))]
    Priorities,
}

/// How many transactions of each kind came to their end, whatever it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kinds {
    /// Children, one after another.
    pub children: u64,
    /// Children beside each other, on threads of their own.
    pub siblings: u64,
    /// Prepared, and resolved through the handle or by name.
    pub prepared: u64,
    /// Committed with a ticket.
    pub tickets: u64,
    /// Of a weaker isolation.
    pub weaker: u64,
    /// Run by the environment.
    pub runs: u64,
}

impl Kinds {
    fn add(&mut self, other: Kinds) {
        self.children += other.children;
        self.siblings += other.siblings;
        self.prepared += other.prepared;
        self.tickets += other.tickets;
        self.weaker += other.weaker;
        self.runs += other.runs;
    }

    fn least(self) -> u64 {
        let all =
            [self.children, self.siblings, self.prepared, self.tickets, self.weaker, self.runs];
        all.into_iter().min().unwrap_or(0)
    }
}

/// What the schedules met.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub schedules: u64,
    pub crashes: u64,
    pub crashes_in_recovery: u64,
    pub acknowledged: u64,
    pub in_doubt: u64,
    pub in_doubt_present: u64,
    pub rolled_back: u64,
    pub retried: u64,
    pub looks: u64,
    /// Transactions of the kinds that are rarer.
    pub kinds: Kinds,
    /// Transactions that a new life found prepared.
    pub prepared_found: u64,
    pub calls: u64,
    /// A digest of every call to the disks.
    pub trace: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.schedules += other.schedules;
        self.crashes += other.crashes;
        self.crashes_in_recovery += other.crashes_in_recovery;
        self.acknowledged += other.acknowledged;
        self.in_doubt += other.in_doubt;
        self.in_doubt_present += other.in_doubt_present;
        self.rolled_back += other.rolled_back;
        self.retried += other.retried;
        self.looks += other.looks;
        self.kinds.add(other.kinds);
        self.prepared_found += other.prepared_found;
        self.calls += other.calls;
        self.trace = self.trace.rotate_left(7) ^ other.trace;
    }

    /// A campaign in which nothing happened proves nothing.
    pub fn must_have_looked(&self) {
        assert!(self.crashes * 3 > self.schedules, "few crashes: {self:?}");
        assert!(self.crashes_in_recovery > 0, "no crash in recovery: {self:?}");
        assert!(self.acknowledged > self.schedules, "few commits: {self:?}");
        assert!(self.in_doubt > 0 && self.in_doubt_present > 0, "no commit cut off: {self:?}");
        assert!(self.in_doubt_present < self.in_doubt, "no commit lost: {self:?}");
        assert!(self.rolled_back > 0 && self.looks > 0, "{self:?}");
        assert!(self.kinds.least() * 40 > self.schedules, "a kind is too rare: {self:?}");
        assert!(self.prepared_found > 0, "no coordinator was waited for: {self:?}");
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// Runs as many schedules as `CAMPANILE_SCHEDULES` says, half of them of each kind.
pub fn campaign(kind: Campaign) -> Tally {
    let schedules = setting("CAMPANILE_SCHEDULES").map_or(EVERYDAY, |both| both.div_ceil(2));
    let first = setting("CAMPANILE_SCHEDULE_SEED").unwrap_or(1);
    let (begun, mut total) = (Instant::now(), Tally::default());
    for number in 0..schedules.div_ceil(BATCH) {
        let seed = first + number;
        match batch(kind, seed, BATCH) {
            Ok(tally) => total.add(&tally),
            Err(what) => panic!(
                "{kind:?}, seed {seed}: {what}\nto see it again: RUSTFLAGS={:?} \
                 CAMPANILE_SCHEDULES={} CAMPANILE_SCHEDULE_SEED={seed} cargo test \
                 -p campanile-tests --test schedules {}",
                if cfg!(shuttle) { "--cfg shuttle" } else { "" },
                2 * BATCH,
                if kind == Campaign::Random { "at_random" } else { "by_priorities" },
            ),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = total.schedules as f64 / seconds;
    println!("{kind:?}: {rate:.0} schedules a second, {seconds:.1} s: {total:?}");
    total
}

/// The schedules of one seed.
pub fn batch(kind: Campaign, seed: u64, schedules: u64) -> Result<Tally, String> {
    let caught = catch_unwind(AssertUnwindSafe(|| run_all(kind, seed, schedules)));
    caught.map_err(|panic| campanile_tests::explore::text_of(&panic))
}

#[cfg(not(shuttle))]
fn run_all(_: Campaign, seed: u64, schedules: u64) -> Tally {
    let home = run::prepared_home();
    let mut total = Tally::default();
    for nth in 0..schedules {
        total.add(&run::schedule(&home, seed.wrapping_mul(0x9e37_79b9).wrapping_add(nth)));
    }
    total
}

#[cfg(shuttle)]
fn run_all(kind: Campaign, seed: u64, schedules: u64) -> Tally {
    use shuttle::rand::Rng;
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    use std::sync::{Arc, Mutex, OnceLock, PoisonError};

    let mut config = shuttle::Config::new();
    config.stack_size = 512 << 10;
    // A schedule is repeated by its seed; in letters it would fill the screen.
    config.failure_persistence = shuttle::FailurePersistence::None;
    config.silence_warnings = true;
    config.max_steps = shuttle::MaxSteps::FailAfter(3_000_000);

    let total = Arc::new(Mutex::new(Tally::default()));
    let home = Arc::new(OnceLock::new());
    let body = {
        let (total, home) = (Arc::clone(&total), Arc::clone(&home));
        move || {
            if home.get().is_none() {
                let _ = home.set(run::prepared_home());
            }
            let seed = shuttle::rand::thread_rng().r#gen::<u64>();
            let tally = run::schedule(home.get().expect("set above"), seed);
            total.lock().unwrap_or_else(PoisonError::into_inner).add(&tally);
        }
    };
    let count = schedules as usize;
    match kind {
        Campaign::Random => {
            let scheduler = RandomScheduler::new_from_seed(seed, count);
            shuttle::Runner::new(scheduler, config).run(body);
        }
        Campaign::Priorities => {
            let scheduler = PctScheduler::new_from_seed(seed, 3, count);
            shuttle::Runner::new(scheduler, config).run(body);
        }
    }
    let total = total.lock().unwrap_or_else(PoisonError::into_inner).clone();
    total
}
