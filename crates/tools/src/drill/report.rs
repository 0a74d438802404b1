//! What the drill shows: a line a round, then the proof.
//!
//! Owns the words and the JSON. Must never claim what was not compared.

use std::fmt;

use campanile::RecoveryReport;
use serde::Serialize;

use super::model::Findings;
use super::rounds::AFTER_RECOVERY;

/// One round.
#[derive(Debug)]
pub struct Round {
    /// Its number, from 1.
    pub number: u64,
    /// How long the child worked before it was killed.
    pub work_ms: u64,
    /// The phase of recovery in which a second process was killed.
    pub second_kill: Option<String>,
    /// What the comparison found.
    pub findings: Findings,
    /// What recovery did.
    pub report: Option<RecoveryReport>,
}

/// The heading over the rounds.
pub const HEADING: &str = "\
round   killed    committed  in flight  recovery    log read   replayed  rolled    recovered
        after     and acked  / survived killed in                        back      in";

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report.as_ref();
        write!(
            f,
            "{:>5}  {:>4} ms  {:>10}  {:>5} / {:<2}  {:<10}  {:>8}  {:>9}  {:>6}  {:>8.1} ms   {}",
            self.number,
            self.work_ms,
            grouped(self.findings.acknowledged),
            self.findings.in_flight,
            self.findings.survived,
            self.second_kill.as_deref().unwrap_or("-"),
            report.map_or_else(|| "-".into(), |report| bytes(report.log_bytes)),
            report.map_or_else(|| "-".into(), |report| grouped(report.replay.applied)),
            report.map_or_else(|| "-".into(), |report| grouped(report.undo.transactions)),
            report.map_or(0.0, |report| report.total_us() as f64 / 1000.0),
            if self.findings.violations.is_empty() { "proven" } else { "VIOLATED" },
        )
    }
}

/// The whole drill.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// The seed that gives the same choices again.
    pub seed: u64,
    /// Rounds.
    pub rounds: u64,
    /// SIGKILLs in all: of the working process and of its recovery.
    pub kills: u64,
    /// Of these, kills while recovery was running.
    pub kills_in_recovery: u64,
    /// Packages loaded.
    pub packages: u64,
    /// Transactions acknowledged, each proven to be there after every later recovery.
    pub acknowledged: u64,
    /// Transactions that were about to commit at a kill.
    pub in_flight: u64,
    /// Of these, those that came through, whole.
    pub survived: u64,
    /// Transactions that recovery rolled back.
    pub rolled_back: u64,
    /// Log that recovery read.
    pub log_bytes: u64,
    /// The longest recovery.
    pub slowest_recovery_ms: f64,
    /// Time of the whole drill.
    pub seconds: f64,
    /// What was wrong.
    pub violations: Vec<String>,
    /// What the last recovery did.
    pub last_recovery: Option<RecoveryReport>,
}

impl Summary {
    /// Adds a round.
    pub fn add(&mut self, round: Round) {
        self.rounds += 1;
        self.kills += 1 + u64::from(round.second_kill.is_some());
        let inside = round.second_kill.is_some_and(|phase| phase != AFTER_RECOVERY);
        self.kills_in_recovery += u64::from(inside);
        self.acknowledged += round.findings.acknowledged;
        self.in_flight += round.findings.in_flight;
        self.survived += round.findings.survived;
        let number = round.number;
        let named = round.findings.violations.iter().map(|what| format!("round {number}: {what}"));
        self.violations.extend(named);
        if round.findings.more_violations > 0 {
            let more = round.findings.more_violations;
            self.violations.push(format!("round {number}: and {more} more"));
        }
        if let Some(report) = round.report {
            self.rolled_back += report.undo.transactions;
            self.log_bytes += report.log_bytes;
            let ms = report.total_us() as f64 / 1000.0;
            self.slowest_recovery_ms = self.slowest_recovery_ms.max(ms);
            self.last_recovery = Some(report);
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(report) = &self.last_recovery {
            writeln!(f, "\nThe last recovery, in its own words:\n")?;
            for line in report.to_string().lines() {
                writeln!(f, "  {line}")?;
            }
        }
        writeln!(
            f,
            "\n{} kills, {} of them inside recovery, in {:.1} s (seed {})",
            self.kills, self.kills_in_recovery, self.seconds, self.seed
        )?;
        writeln!(
            f,
            "{} transactions were acknowledged; {} were in flight at a kill, of which {} came through",
            grouped(self.acknowledged),
            self.in_flight,
            self.survived
        )?;
        if self.violations.is_empty() {
            writeln!(
                f,
                "\nPROVEN: every acknowledged transaction is there, every other one is there whole \
                 or not at\nall, nothing that was rolled back is visible, and every page of every \
                 database is sound."
            )
        } else {
            writeln!(f, "\nVIOLATED:")?;
            self.violations.iter().try_for_each(|what| writeln!(f, "  {what}"))
        }
    }
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", grouped(bytes / 1000)),
        _ => format!("{} MB", grouped(bytes / 1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(15_928), "15,928");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}
