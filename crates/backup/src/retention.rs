//! What a policy removes from a repository, and why.
//!
//! Owns the decision, a pure function of what is there ([`Facts`]) and what is wanted
//! ([`Policy`]). Promises (B16, B17) that no chain is broken, that no log file goes which a backup
//! that stays needs on its way to the end of any history, and that what it is not sure about
//! stays. Must never read or remove anything.

use std::collections::{BTreeMap, BTreeSet};

use campanile_format::planted::{self, Bug};
use campanile_format::{Lsn, Timeline};

use crate::lineage::Lineage;
use crate::reason::Reason;

const DAY_US: u64 = 86_400_000_000;
/// A history that was written in the last days may still be, though others were written later: its
/// log reaches the archive only file by file. A restore drill is no reason to give it up.
const QUIET_DAYS: u64 = 7;

/// What stays. A backup stays if any of the rules that are given keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// So many of the newest complete backups.
    pub keep_last: Option<u32>,
    /// What is needed to reach every moment of so many days.
    pub keep_days: Option<u32>,
}

/// A backup, or what is left of one.
#[derive(Clone, Debug)]
pub struct BackupFact {
    /// Its name.
    pub name: String,
    /// When it was begun, microseconds since 1970; `None` if nothing says so.
    pub began_us: Option<u64>,
    /// What it is, if it was completed.
    pub complete: Option<Completed>,
    /// Somebody said that it must stay.
    pub marked: bool,
    /// It is of another environment.
    pub foreign: bool,
}

/// A backup that was completed.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The backup that it is an increment of.
    pub base: Option<String>,
    /// Its history.
    pub timeline: Timeline,
    /// Its log begins here.
    pub first: Lsn,
    /// The earliest position that it can be brought to.
    pub end: Lsn,
    /// When it was complete, microseconds since 1970.
    pub finished_us: u64,
}

/// A log file in the archive.
#[derive(Clone, Debug)]
pub struct LogFact {
    /// Its name on the shelf.
    pub name: String,
    /// Its history.
    pub timeline: Timeline,
    /// Its number.
    pub number: u32,
}

/// A history of which there are log files, in the archive or in backups.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Its number.
    pub timeline: Timeline,
    /// Its first file here.
    pub first: u32,
    /// Its last file here.
    pub last: u32,
    /// Its records end here, in its last file; the largest possible if that cannot be read.
    pub end: Lsn,
    /// The history that it left, and where, if its beginning is here.
    pub left: Option<(Timeline, Lsn)>,
    /// The latest time in its last file, at least when that was begun, microseconds since 1970.
    pub last_us: u64,
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The time, microseconds since 1970.
    pub now_us: u64,
    /// All backups.
    pub backups: Vec<BackupFact>,
    /// All log files in the archive.
    pub logs: Vec<LogFact>,
    /// All histories.
    pub histories: Vec<History>,
}

/// What becomes of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The backup, or the log file's name on the shelf.
    pub name: String,
    /// Why it stays, or goes.
    pub reason: Reason,
}

/// What becomes of everything.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The backups, in the order of the facts.
    pub backups: Vec<Decision>,
    /// The archived log files, in the order of the facts.
    pub logs: Vec<Decision>,
    /// Backups that go, in the order of removal: increments before what they are increments of.
    pub backups_to_remove: Vec<String>,
    /// Log files that go, in the order of removal: histories before those that left them.
    pub logs_to_remove: Vec<String>,
}

/// Decides on everything.
#[must_use]
pub fn decide(facts: &Facts, policy: &Policy) -> Verdict {
    let lineage = Lineage::new(&facts.histories);
    let backups = Backups::new(facts, policy, &lineage).decide();
    let staying: Vec<(&str, &Completed)> = facts
        .backups
        .iter()
        .zip(&backups)
        .filter(|(fact, reason)| reason.stays() && !fact.foreign && is_usable(facts, &fact.name))
        .filter_map(|(fact, _)| Some((fact.name.as_str(), fact.complete.as_ref()?)))
        .collect();
    let logs = decide_logs(facts, &lineage, &staying);
    let decisions = |reasons: Vec<Reason>, names: Vec<&String>| {
        let pairs = names.into_iter().zip(reasons);
        pairs.map(|(name, reason)| Decision { name: name.clone(), reason }).collect::<Vec<_>>()
    };
    let backups = decisions(backups, facts.backups.iter().map(|fact| &fact.name).collect());
    let logs = decisions(logs, facts.logs.iter().map(|fact| &fact.name).collect());
    let backups_to_remove = order_of_backups(facts, &backups);
    let logs_to_remove = order_of_logs(facts, &lineage, &logs);
    Verdict { backups, logs, backups_to_remove, logs_to_remove }
}

/// Whether the backup was completed, and everything that it is an increment of too.
fn is_usable(facts: &Facts, name: &str) -> bool {
    missing_base(facts, name).is_none()
}

/// What is missing for restoring a backup: itself, or one that it builds on.
fn missing_base(facts: &Facts, name: &str) -> Option<String> {
    let mut at = name.to_owned();
    // A chain is never longer than there are backups: a circle is no chain.
    for _ in 0..=facts.backups.len() {
        let found = facts.backups.iter().find(|fact| fact.name == at && !fact.foreign);
        let Some(complete) = found.and_then(|fact| fact.complete.as_ref()) else {
            return Some(at);
        };
        match &complete.base {
            Some(base) => at.clone_from(base),
            None => return None,
        }
    }
    Some(at)
}

/// The decision on backups, as far as it is.
struct Backups<'a> {
    facts: &'a Facts,
    policy: &'a Policy,
    lineage: &'a Lineage,
    /// Usable ones, oldest first: index and what it is.
    usable: Vec<(usize, &'a Completed)>,
    reasons: Vec<Reason>,
}

impl<'a> Backups<'a> {
    fn new(facts: &'a Facts, policy: &'a Policy, lineage: &'a Lineage) -> Backups<'a> {
        let all = facts.backups.iter().enumerate();
        let usable = all.filter(|(_, fact)| is_usable(facts, &fact.name));
        let mut usable: Vec<_> =
            usable.filter_map(|(index, fact)| Some((index, fact.complete.as_ref()?))).collect();
        in_order(&mut usable);
        let reasons = vec![Reason::OlderThanPolicy; facts.backups.len()];
        Backups { facts, policy, lineage, usable, reasons }
    }

    fn decide(mut self) -> Vec<Reason> {
        let facts = self.facts.backups.iter().enumerate();
        self.reasons = facts.map(|(index, fact)| self.on_its_own(index, fact)).collect();
        self.reach_back_into_the_days();
        self.ways_to_the_ends();
        if !planted::is(Bug::PrunedBaseOfIncrement) {
            self.bases();
        }
        self.reasons
    }

    fn on_its_own(&self, index: usize, fact: &BackupFact) -> Reason {
        if fact.foreign {
            return Reason::Foreign;
        }
        if fact.marked {
            return Reason::Marked;
        }
        let rank = self.usable.iter().rev().position(|(at, _)| *at == index);
        match (rank, &fact.complete) {
            (Some(rank), Some(complete)) => self.by_policy(rank, complete.finished_us),
            _ => self.of_no_use(fact),
        }
    }

    fn by_policy(&self, rank: usize, finished_us: u64) -> Reason {
        match (self.policy.keep_last, self.policy.keep_days) {
            (Some(last), _) if (rank as u64) < u64::from(last) => Reason::AmongLast(last),
            (_, Some(days)) if finished_us >= self.days_ago(days) => Reason::WithinDays(days),
            _ if rank == 0 => Reason::Newest,
            _ => Reason::OlderThanPolicy,
        }
    }

    /// What cannot be restored stays as long as if it could: somebody may want to look at it.
    fn of_no_use(&self, fact: &BackupFact) -> Reason {
        let Some(began_us) = fact.began_us else { return Reason::NoTime };
        let newer = |(_, complete): &&(usize, &Completed)| complete.finished_us >= began_us;
        let newer = self.usable.iter().filter(newer).count() as u64;
        let last = self.policy.keep_last.is_some_and(|last| newer < u64::from(last));
        let days = self.policy.keep_days.is_some_and(|days| began_us >= self.days_ago(days));
        match (last || days || newer == 0, &fact.complete) {
            (true, _) => Reason::YoungPartial,
            (false, None) => Reason::Partial,
            (false, Some(_)) => {
                Reason::Broken(missing_base(self.facts, &fact.name).unwrap_or_default())
            }
        }
    }

    fn days_ago(&self, days: u32) -> u64 {
        self.facts.now_us.saturating_sub(u64::from(days) * DAY_US)
    }

    fn stays(&self, index: usize) -> bool {
        self.reasons.get(index).is_some_and(Reason::stays)
    }

    fn keep(&mut self, index: usize, reason: Reason) {
        if !self.stays(index)
            && let Some(place) = self.reasons.get_mut(index)
        {
            *place = reason;
        }
    }

    /// The first moments of the days to be kept begin with a backup that is older.
    fn reach_back_into_the_days(&mut self) {
        let Some(days) = self.policy.keep_days else { return };
        let since = self.days_ago(days);
        let before = self.usable.iter().rev().find(|(_, complete)| complete.finished_us < since);
        if let Some((index, _)) = before {
            self.keep(*index, Reason::IntoDays(days));
        }
    }

    /// Every history that was written lately can be restored to its end, and from the backup that
    /// is nearest to it: a home that was restored from an old backup may not have one of its own
    /// yet, and a trial restore that was backed up often is not what production needs.
    fn ways_to_the_ends(&mut self) {
        for tip in self.lineage.tips() {
            let reaches = |complete: &Completed| self.lineage.reaches(complete, tip.timeline);
            if !is_alive(tip, self.oldest_us(), self.facts.now_us) {
                continue;
            }
            // Nobody knows here whether the log from an older one is whole.
            let ways = self.usable.iter().filter(|(_, complete)| reaches(complete));
            if let Some((nearest, _)) = ways.max_by_key(|(_, complete)| complete.end) {
                self.keep(*nearest, Reason::OnlyWayTo(tip.timeline));
            }
        }
    }

    /// When the oldest backup was complete that the policy keeps.
    fn oldest_us(&self) -> u64 {
        let kept = self.usable.iter().filter(|(index, _)| self.is_policys(*index));
        kept.map(|(_, complete)| complete.finished_us).min().unwrap_or(0)
    }

    fn is_policys(&self, index: usize) -> bool {
        self.stays(index) && self.reasons.get(index) != Some(&Reason::Marked)
    }

    /// What an increment builds on stays with it.
    fn bases(&mut self) {
        loop {
            let mut changed = false;
            for (index, fact) in self.facts.backups.iter().enumerate() {
                let base = fact.complete.as_ref().and_then(|complete| complete.base.as_ref());
                let Some(base) = base.filter(|_| self.stays(index)) else { continue };
                let found = self.facts.backups.iter().position(|fact| fact.name == *base);
                if let Some(found) = found.filter(|found| !self.stays(*found)) {
                    self.keep(found, Reason::BaseOf(fact.name.clone()));
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }
}

/// Oldest first. Within a history the log says which one is newer, whatever the clock said when
/// they were made: one that was made with the clock ahead is no newer than those that follow.
/// Between histories there is nothing but the time.
fn in_order(usable: &mut [(usize, &Completed)]) {
    usable.sort_by_key(|(index, complete)| (complete.end, complete.finished_us, *index));
    let mut at_latest: BTreeMap<Timeline, u64> = BTreeMap::new();
    let mut times = BTreeMap::new();
    for (index, complete) in usable.iter().rev() {
        let time = at_latest.entry(complete.timeline).or_insert(u64::MAX);
        *time = complete.finished_us.min(*time);
        times.insert(*index, *time);
    }
    usable.sort_by_key(|(index, _)| times.get(index).copied());
}

/// Whether a history was written since what stays was made, or lately: it may still be.
fn is_alive(tip: &History, oldest_us: u64, now_us: u64) -> bool {
    let lately = now_us.saturating_sub(QUIET_DAYS * DAY_US);
    tip.last_us >= oldest_us.min(lately)
}

/// Increments first, then what they are increments of; of others, the oldest first.
fn order_of_backups(facts: &Facts, decisions: &[Decision]) -> Vec<String> {
    let mut left: Vec<&BackupFact> = facts
        .backups
        .iter()
        .zip(decisions)
        .filter(|(_, decision)| !decision.reason.stays())
        .map(|(fact, _)| fact)
        .collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let base_of = |fact: &BackupFact| fact.complete.as_ref().and_then(|c| c.base.clone());
        let bases: BTreeSet<String> = left.iter().filter_map(|fact| base_of(fact)).collect();
        let free = left.iter().position(|fact| !bases.contains(&fact.name)).unwrap_or(0);
        order.push(left.remove(free).name.clone());
    }
    order
}

fn order_of_logs(facts: &Facts, lineage: &Lineage, decisions: &[Decision]) -> Vec<String> {
    let pairs = facts.logs.iter().zip(decisions);
    let mut going: Vec<&LogFact> =
        pairs.filter(|(_, decision)| !decision.reason.stays()).map(|(fact, _)| fact).collect();
    let place = |fact: &&LogFact| (lineage.depth(fact.timeline), fact.timeline, fact.number);
    going.sort_by_key(place);
    going.into_iter().map(|fact| fact.name.clone()).collect()
}

fn decide_logs(facts: &Facts, lineage: &Lineage, staying: &[(&str, &Completed)]) -> Vec<Reason> {
    let oldest_us = staying.iter().map(|(_, complete)| complete.finished_us).min().unwrap_or(0);
    let mut reasons: Vec<Reason> = facts
        .logs
        .iter()
        .map(|log| decide_log(lineage, staying, (oldest_us, facts.now_us), log))
        .collect();
    keep_branches(facts, staying, &mut reasons);
    reasons
}

fn decide_log(
    lineage: &Lineage,
    staying: &[(&str, &Completed)],
    (oldest_us, now_us): (u64, u64),
    log: &LogFact,
) -> Reason {
    let timeline = log.timeline;
    let number = log.number.saturating_sub(u32::from(planted::is(Bug::PrunedLogOneTooEarly)));
    let needs = |complete: &Completed| lineage.needs(complete, timeline, number);
    if let Some((name, _)) = staying.iter().find(|(_, complete)| needs(complete)) {
        return Reason::NeededBy((*name).to_owned());
    }
    if staying.is_empty() {
        return Reason::NothingReplacesIt;
    }
    if staying.iter().any(|(_, complete)| lineage.is_before(complete, timeline, number)) {
        return Reason::BeforeAll;
    }
    let doubtful = staying.iter().any(|(_, complete)| lineage.may_follow(complete, timeline));
    let tip = lineage.tips().find(|tip| tip.timeline == timeline);
    match doubtful || tip.is_some_and(|tip| is_alive(tip, oldest_us, now_us)) {
        true => Reason::NothingReplacesIt,
        false => Reason::Unreachable,
    }
}

/// The first file of a history says which one it left: without it the older one would look like
/// one that still goes on. It stays as long as anything of that does.
fn keep_branches(facts: &Facts, staying: &[(&str, &Completed)], reasons: &mut [Reason]) {
    let of_backups = staying.iter().map(|(_, complete)| complete.timeline);
    let mut present: BTreeSet<Timeline> = of_backups.collect();
    loop {
        let stay = facts.logs.iter().zip(reasons.iter()).filter(|(_, reason)| reason.stays());
        present.extend(stay.map(|(log, _)| log.timeline));
        let branches: BTreeMap<(Timeline, u32), Timeline> = facts
            .histories
            .iter()
            .filter_map(|history| Some((history, history.left?.0)))
            .filter(|(_, left)| present.contains(left))
            .map(|(history, left)| ((history.timeline, history.first), left))
            .collect();
        let mut changed = false;
        for (log, reason) in facts.logs.iter().zip(reasons.iter_mut()) {
            if let Some(left) = branches.get(&(log.timeline, log.number))
                && !reason.stays()
            {
                *reason = Reason::BranchFrom(*left);
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}
