//! Flocks on environments in memory, and the three judges of what they bring home.

use crate::script::environment;
use crate::second_opinion;
use campanile::EnvironmentOptions;
use campanile_tests::checker::{self, Kind, Report, Time};
use campanile_tests::flock::{self, Plan, Record};
use campanile_tests::history::History;
use campanile_tests::white_box;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Counts over many histories; every claim is printed from here.
#[derive(Debug, Default)]
pub struct Tally {
    pub histories: u64,
    pub transactions: u64,
    pub committed: u64,
    pub deadlocks: u64,
    pub rollbacks: u64,
    /// Nested transactions that committed, and that were rolled back.
    pub nested: [u64; 2],
    /// Transactions that were prepared, and that were resolved after a crash.
    pub prepared: [u64; 2],
    /// Permitted anomalies, by kind.
    pub seen: BTreeMap<Kind, u64>,
    pub phantoms: u64,
    pub compared: u64,
    /// Commits whose answer was lost in a crash.
    pub doubts: u64,
}

impl Tally {
    pub fn print(&self, name: &str) {
        let seen: Vec<String> =
            self.seen.iter().map(|(kind, count)| format!("{} {count}", kind.name())).collect();
        println!(
            "{name}: {} histories, {} transactions ({} committed, {} deadlocks, {} savepoints rolled back, nested {:?}, prepared {:?}), {} compared with adya; permitted and seen: {}, phantoms {}",
            self.histories,
            self.transactions,
            self.committed,
            self.deadlocks,
            self.rollbacks,
            self.nested,
            self.prepared,
            self.compared,
            if seen.is_empty() { "none".to_owned() } else { seen.join(", ") },
            self.phantoms,
        );
    }

    /// Judges a history three ways; returns all that is wrong with it.
    pub fn judge(&mut self, history: &History, record: &Record, compare: bool) -> Vec<String> {
        let report = checker::check(history, Time::Binds);
        self.count(history, record, &report);
        let mut wrong: Vec<String> = record.wrong.lock().expect("the record").clone();
        wrong.extend(report.forbidden().take(3).map(ToString::to_string));
        wrong.extend(white_box::check(history).into_iter().take(3));
        if compare {
            self.compared += 1;
            let disagreements = second_opinion::disagreements(history);
            wrong.extend(disagreements.into_iter().map(|what| format!("second opinion: {what}")));
        }
        wrong
    }

    fn count(&mut self, history: &History, record: &Record, report: &Report) {
        self.histories += 1;
        self.transactions += history.txns.len() as u64;
        self.committed += history.committed() as u64;
        self.deadlocks += record.deadlocks.load(Ordering::Relaxed);
        self.rollbacks += record.rollbacks.load(Ordering::Relaxed);
        for at in 0..2 {
            self.nested[at] += record.nested[at].load(Ordering::Relaxed);
            self.prepared[at] += record.prepared[at].load(Ordering::Relaxed);
        }
        for (kind, count) in report.counts() {
            *self.seen.entry(kind).or_default() += count;
        }
        self.phantoms += u64::from(report.has_phantom());
    }
}

/// Small pages and a small cache; a wait that no deadlock explains ends as an error.
pub fn small() -> EnvironmentOptions {
    EnvironmentOptions::new()
        .page_bytes(512)
        .cache_bytes(128 * 512)
        .log_file_bytes(256 * 1024)
        .log_buffer_bytes(16 * 1024)
        .checkpoint_log_bytes(128 * 1024)
        .lock_timeout(Some(Duration::from_secs(20)))
}

/// Runs plans of consecutive seeds until `enough` transactions are judged.
pub fn campaign(
    name: &str,
    enough: u64,
    first_seed: u64,
    plan: impl Fn(u64) -> Plan,
) -> (Tally, Vec<String>) {
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    let mut seed = first_seed;
    while tally.transactions < enough && wrong.len() < 3 {
        let plan = plan(seed);
        // Now and then so few locks are enough that transactions go over to whole databases.
        let escalate_after = if seed.is_multiple_of(4) { 6 } else { 50_000 };
        let env = environment(small().escalate_after(escalate_after));
        let (history, record) = flock::run(&env, &plan);
        let found = tally.judge(&history, &record, true);
        wrong.extend(found.into_iter().map(|what| format!("{name}, seed {seed}: {what}")));
        seed += 1;
    }
    tally.print(name);
    (tally, wrong)
}
