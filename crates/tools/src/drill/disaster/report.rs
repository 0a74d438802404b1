//! What the drill of disasters shows: a line a round, then what was achieved.
//!
//! Owns the words and the JSON. Must never claim what was not compared.

use std::fmt;

use campanile::Lsn;
use serde::Serialize;

use super::Work;
use super::blows::Disaster;
use crate::drill::model::{Findings, Model};
use crate::drill::report::grouped;

/// One round.
#[derive(Debug, Serialize)]
pub struct Round {
    /// Its number, from 1.
    pub round: u64,
    /// What happened.
    pub disaster: Disaster,
    /// In words.
    pub destroyed: String,
    /// How long the process worked before it was killed.
    pub work_ms: u64,
    /// Hot backups made meanwhile.
    pub hot_backups: u64,
    /// Transactions acknowledged in this round.
    pub acknowledged: u64,
    /// Of these, those that the archive had said it has before the kill.
    pub archived: u64,
    /// What the archive said before the kill: everything before this.
    #[serde(skip)]
    pub archived_to: Lsn,
    /// Transactions in flight at the kill that came through.
    pub survived: u64,
    /// Acknowledged transactions that are gone: the recovery point achieved.
    pub lost: u64,
    /// From the first command to an environment that is open, read and verified: the recovery
    /// time achieved.
    pub recovered_ms: f64,
    /// How it came back.
    pub way: String,
    /// What opening, or the first attempt to restore, said.
    pub said: Option<String>,
    /// The whole round, from the blow on.
    pub seconds: f64,
    /// What is wrong.
    pub violations: Vec<String>,
}

/// The heading over the rounds.
pub const HEADING: &str = "\
round  disaster              killed   hot      acked  archived    lost  back in     how";

impl Round {
    /// A round after the work.
    #[must_use]
    pub fn new(round: u64, disaster: Disaster, work: &Work, model: &Model) -> Round {
        Round {
            round,
            disaster,
            destroyed: String::new(),
            work_ms: work.ms,
            hot_backups: work.backups,
            acknowledged: 0,
            archived: model.acknowledged_before(work.archived) - model.settled(),
            archived_to: work.archived,
            survived: 0,
            lost: 0,
            recovered_ms: 0.0,
            way: String::new(),
            said: None,
            seconds: 0.0,
            violations: Vec::new(),
        }
    }

    /// Puts down what must not be.
    pub fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Takes over what the comparison found.
    pub fn judge(&mut self, findings: Findings) {
        self.acknowledged = findings.acknowledged;
        self.survived = findings.survived;
        self.lost = findings.lost;
        self.violations.extend(findings.violations);
        if findings.more_violations > 0 {
            self.violations.push(format!("and {} more", findings.more_violations));
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5}  {:<20} {:>5} ms {:>5} {:>10} {:>9} {:>7} {:>6.0} ms   {}{}",
            self.round,
            self.disaster,
            self.work_ms,
            self.hot_backups,
            grouped(self.acknowledged),
            grouped(self.archived),
            grouped(self.lost),
            self.recovered_ms,
            self.way,
            if self.violations.is_empty() { "" } else { "   VIOLATED" },
        )?;
        if let Some(said) = &self.said {
            let line: String = said.lines().next().unwrap_or_default().chars().take(110).collect();
            write!(f, "\n       {line}")?;
        }
        Ok(())
    }
}

/// The whole drill.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// The seed that gives the same choices again.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// Transactions acknowledged.
    pub acknowledged: u64,
    /// Of these, those archived before the kill.
    pub archived: u64,
    /// Acknowledged transactions that were not archived and are gone.
    pub lost: u64,
    /// The longest time until all was back.
    pub slowest_recovery_ms: f64,
    /// The mean of it.
    pub mean_recovery_ms: f64,
    /// What is wrong, in words.
    pub violations: Vec<String>,
    /// Round by round.
    pub rounds: Vec<Round>,
}

impl Summary {
    /// Adds a round.
    pub fn add(&mut self, round: Round) {
        self.acknowledged += round.acknowledged;
        self.archived += round.archived;
        self.lost += round.lost;
        self.slowest_recovery_ms = self.slowest_recovery_ms.max(round.recovered_ms);
        let number = round.round;
        let named = round.violations.iter().map(|what| format!("round {number}: {what}"));
        self.violations.extend(named);
        self.rounds.push(round);
        let total: f64 = self.rounds.iter().map(|round| round.recovered_ms).sum();
        self.mean_recovery_ms = total / self.rounds.len() as f64;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{} disasters in {:.1} s (seed {})",
            self.rounds.len(),
            self.seconds,
            self.seed
        )?;
        writeln!(
            f,
            "{} transactions were acknowledged, {} of them archived when the process was killed",
            grouped(self.acknowledged),
            grouped(self.archived)
        )?;
        writeln!(
            f,
            "recovery point: {} acknowledged transactions lost that were not archived\n\
             recovery time: {:.0} ms in the mean, {:.0} ms at most, to an environment that is \
             open, read and verified",
            grouped(self.lost),
            self.mean_recovery_ms,
            self.slowest_recovery_ms
        )?;
        if self.violations.is_empty() {
            return writeln!(
                f,
                "\nPROVEN: after every disaster, everything that was archived came back, and \
                 where the log of the\nold home was left, everything that was acknowledged; \
                 counts, contents and structure are as they must be."
            );
        }
        writeln!(f, "\nVIOLATED:")?;
        self.violations.iter().try_for_each(|what| writeln!(f, "  {what}"))
    }
}
