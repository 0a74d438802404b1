//! Many damages, each on a fresh copy of the sample, on all processors; what became of them is
//! counted and printed. A panic, a hang, an allocation out of proportion or a wrong answer fails.

use crate::allocation::largest_in;
use crate::damage::Damage;
use crate::exam::{Seen, examine};
use crate::facts::{Facts, files_of, homes};
use crate::sample::Sample;
use crate::verdict::{Case, Verdict};
use campanile_format::FileId;
use campanile_vfs::sim::SimDisk;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked whether a thread hangs, and how many looks make a hang: five seconds, or
/// more where the machine is so busy that looking takes longer too.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS_MAX: u32 = 1000;
/// No single allocation may be larger than so many times the largest file.
const ALLOCATION_FACTOR: usize = 16;
/// So many failures are shown.
const SHOWN: usize = 20;

/// A sample, what is known of it, and what it shows undamaged.
pub struct Patient {
    /// The sample.
    pub sample: Sample,
    /// Its files.
    pub facts: Facts,
    homes: BTreeMap<String, FileId>,
    allocation_max: usize,
}

/// How many damages had which end.
pub type Tally = BTreeMap<Verdict, u64>;

impl Patient {
    /// Looks at the sample as it is, which must be right, and finds out all about it.
    pub fn new(sample: Sample) -> Patient {
        let facts = Facts::of(&sample);
        let disk = sample.disk.fork();
        let (seen, largest) = largest_in(|| examine(&sample, &disk));
        let homes = homes(&files_of(&seen.after), facts.page_bytes);
        let files_max = facts.files.values().map(Vec::len).max().unwrap_or(0);
        let allocation_max = largest.max(ALLOCATION_FACTOR * files_max);
        let patient = Patient { sample, facts, homes, allocation_max };
        let verdict = patient.case().judge(&Damage::None, &seen);
        assert_eq!(verdict, Ok(Verdict::NoChange), "{}: undamaged", patient.sample.name);
        assert!(seen.log.1.is_none(), "{}: the log: {:?}", patient.sample.name, seen.log);
        patient
    }

    /// For the judge.
    pub fn case(&self) -> Case<'_> {
        Case { sample: &self.sample, facts: &self.facts, homes: &self.homes }
    }

    /// One damage, by the general judge.
    pub fn suffer(&self, damage: &Damage) -> Result<Verdict, String> {
        self.suffer_judged(damage, |seen| self.case().judge(damage, seen))
    }

    /// One damage, by a judge of its own.
    pub fn suffer_judged<T>(
        &self,
        damage: &Damage,
        judge: impl FnOnce(&Seen) -> Result<T, String>,
    ) -> Result<T, String> {
        let disk: Arc<SimDisk> = self.sample.disk.fork();
        damage.apply(&disk);
        let work = || largest_in(|| examine(&self.sample, &disk));
        let (seen, largest) = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            format!("panic: {}", words.unwrap_or_default())
        })?;
        if largest > self.allocation_max {
            return Err(format!("{largest} bytes allocated at once"));
        }
        judge(&seen)
    }

    /// All these damages; panics if one was not borne as it should be.
    pub fn suffer_all(&self, what: &str, damages: &[Damage]) -> Tally {
        let started = Instant::now();
        let next = AtomicUsize::new(0);
        let results: Mutex<(Tally, Vec<String>)> = Mutex::default();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let watches: Vec<Watch> = (0..threads).map(|_| Watch::default()).collect();
        std::thread::scope(|scope| {
            let running: Vec<_> = watches
                .iter()
                .map(|watch| scope.spawn(|| self.work(damages, &next, watch, &results)))
                .collect();
            while running.iter().any(|thread| !thread.is_finished()) {
                watches.iter().for_each(|watch| watch.check(self.sample.name));
                std::thread::sleep(LOOK);
            }
        });
        let (tally, failures) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        print_tally(self.sample.name, what, damages.len(), &tally, started.elapsed());
        let shown = failures.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
        let count = failures.len();
        assert!(count == 0, "{}: {what}: {count} failures, such as\n{shown}", self.sample.name);
        tally
    }

    fn work(
        &self,
        damages: &[Damage],
        next: &AtomicUsize,
        watch: &Watch,
        results: &Mutex<(Tally, Vec<String>)>,
    ) {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(damage) = damages.get(at) else { return };
            watch.start(damage);
            let result = self.suffer(damage);
            watch.stop();
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(verdict) => *results.0.entry(verdict).or_default() += 1,
                Err(what) => results.1.push(format!("  {damage}: {what}")),
            }
        }
    }
}

/// What a thread is doing, and how often it was seen doing it.
#[derive(Default)]
struct Watch(Mutex<Option<(u32, Damage)>>);

impl Watch {
    fn start(&self, damage: &Damage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((0, damage.clone()));
    }

    fn stop(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A thread that hangs cannot be ended, so the process is.
    fn check(&self, sample: &str) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((looks, damage)) = &mut *current else { return };
        *looks += 1;
        if *looks > LOOKS_MAX {
            eprintln!("{sample}: {damage}: still not done after {:?}", LOOK * LOOKS_MAX);
            std::process::abort();
        }
    }
}

fn print_tally(sample: &str, what: &str, count: usize, tally: &Tally, took: Duration) {
    let parts: Vec<String> = tally.iter().map(|(verdict, n)| format!("{verdict:?} {n}")).collect();
    let (parts, seconds) = (parts.join(", "), took.as_secs_f64());
    println!("{sample:>9}: {what:<22} {count:>7} tried in {seconds:>6.1} s: {parts}");
}
