//! The retention table, row by row, and a thousand random repositories against a walk along every
//! history.

use campanile_backup::{
    BackupFact, Completed, Facts, History, LogFact, Policy, Reason, Verdict, decide,
};
use campanile_format::{Lsn, Timeline};
use std::collections::BTreeSet;

const DAY: u64 = 86_400_000_000;
const NOW: u64 = 1000 * DAY;

fn full(name: &str, days_ago: u64, first: u32) -> BackupFact {
    let finished_us = NOW - days_ago * DAY;
    let complete = Completed {
        base: None,
        timeline: Timeline(1),
        first: Lsn::new(first, 600),
        end: Lsn::new(first + 1, 700),
        finished_us,
    };
    BackupFact {
        name: name.to_owned(),
        began_us: Some(finished_us - 1),
        complete: Some(complete),
        marked: false,
        foreign: false,
    }
}

fn with(mut fact: BackupFact, change: impl FnOnce(&mut Completed)) -> BackupFact {
    change(fact.complete.as_mut().unwrap());
    fact
}

fn increment(name: &str, days_ago: u64, first: u32, base: &str) -> BackupFact {
    with(full(name, days_ago, first), |complete| complete.base = Some(base.to_owned()))
}

fn partial(name: &str, days_ago: u64) -> BackupFact {
    BackupFact { complete: None, ..full(name, days_ago, 1) }
}

fn marked(fact: BackupFact) -> BackupFact {
    BackupFact { marked: true, ..fact }
}

fn history(timeline: u32, first: u32, left: Option<(u32, u32)>) -> History {
    let left = left.map(|(timeline, file)| (Timeline(timeline), Lsn::new(file, 5000)));
    let end = Lsn::new(first, 700);
    History { timeline: Timeline(timeline), first, last: first, end, left, last_us: NOW }
}

fn up_to(last: u32, history: History) -> History {
    History { last, end: Lsn::new(last, 700), ..history }
}

fn logs(timeline: u32, numbers: std::ops::RangeInclusive<u32>) -> Vec<LogFact> {
    let fact = |number| LogFact {
        name: format!("log/{timeline}/{number}"),
        timeline: Timeline(timeline),
        number,
    };
    numbers.map(fact).collect()
}

fn facts(backups: Vec<BackupFact>, logs: Vec<LogFact>) -> Facts {
    Facts { now_us: NOW, backups, logs, histories: vec![history(1, 1, None)] }
}

fn last(keep_last: u32) -> Policy {
    Policy { keep_last: Some(keep_last), keep_days: None }
}

fn days(keep_days: u32) -> Policy {
    Policy { keep_last: None, keep_days: Some(keep_days) }
}

/// The reasons, by name.
fn why<'v>(verdict: &'v Verdict, name: &str) -> &'v Reason {
    let all = verdict.backups.iter().chain(&verdict.logs);
    &all.into_iter().find(|decision| decision.name == name).unwrap().reason
}

fn going(verdict: &Verdict) -> Vec<&str> {
    let all = verdict.backups_to_remove.iter().chain(&verdict.logs_to_remove);
    all.map(String::as_str).collect()
}

#[test]
fn the_last_backups_stay_and_the_older_ones_go() {
    let facts = facts(vec![full("a", 9, 1), full("b", 5, 3), full("c", 1, 5)], Vec::new());
    let verdict = decide(&facts, &last(2));
    assert_eq!(why(&verdict, "a"), &Reason::OlderThanPolicy);
    assert_eq!(why(&verdict, "b"), &Reason::AmongLast(2));
    assert_eq!(why(&verdict, "c"), &Reason::AmongLast(2));
    assert_eq!(going(&verdict), ["a"]);
}

#[test]
fn every_moment_of_the_last_days_stays_so_the_newest_backup_before_them_stays_too() {
    let backups = vec![full("a", 20, 1), full("b", 9, 3), full("c", 6, 5), full("d", 1, 7)];
    let verdict = decide(&facts(backups, Vec::new()), &days(7));
    assert_eq!(why(&verdict, "b"), &Reason::IntoDays(7));
    assert_eq!(why(&verdict, "c"), &Reason::WithinDays(7));
    assert_eq!(going(&verdict), ["a"]);
}

#[test]
fn of_two_rules_what_either_keeps_stays() {
    let backups = vec![full("a", 20, 1), full("b", 9, 3), full("c", 8, 5), full("d", 1, 7)];
    let both = Policy { keep_last: Some(3), keep_days: Some(2) };
    let verdict = decide(&facts(backups, Vec::new()), &both);
    assert_eq!(going(&verdict), ["a"]);
}

#[test]
fn the_newest_complete_backup_stays_however_old_it_is() {
    let backups = vec![full("a", 90, 1), full("b", 80, 3)];
    let verdict = decide(&facts(backups, Vec::new()), &days(7));
    assert!(why(&verdict, "b").stays());
    assert_eq!(going(&verdict), ["a"]);
}

#[test]
fn a_backup_from_the_future_is_young() {
    let mut early = full("a", 0, 1);
    early = with(early, |complete| complete.finished_us = NOW + 5 * DAY);
    let verdict = decide(&facts(vec![early, full("b", 0, 3)], Vec::new()), &days(1));
    assert!(going(&verdict).is_empty());
}

#[test]
fn a_backup_that_was_made_with_the_clock_ahead_is_no_newer_than_those_that_follow() {
    let ahead = with(full("ahead", 3, 3), |complete| complete.finished_us = NOW + 5 * DAY);
    let facts = facts(vec![full("a", 9, 1), ahead, full("b", 2, 5), full("c", 1, 7)], Vec::new());
    let verdict = decide(&facts, &last(2));
    assert_eq!(why(&verdict, "b"), &Reason::AmongLast(2));
    assert_eq!(why(&verdict, "c"), &Reason::AmongLast(2));
    assert_eq!(why(&verdict, "ahead"), &Reason::OlderThanPolicy);
    let verdict = decide(&facts, &last(1));
    assert_eq!(going(&verdict), ["a", "ahead", "b"]);
}

#[test]
fn a_marked_backup_stays_with_its_chain_and_its_log() {
    let backups = vec![
        full("a", 99, 2),
        marked(increment("b", 98, 4, "a")),
        full("c", 50, 9),
        full("d", 1, 20),
    ];
    let verdict = decide(&facts(backups, logs(1, 1..=25)), &last(1));
    assert_eq!(why(&verdict, "a"), &Reason::BaseOf("b".into()));
    assert_eq!(why(&verdict, "b"), &Reason::Marked);
    assert_eq!(going(&verdict), ["c", "log/1/1"]);
    assert_eq!(why(&verdict, "log/1/12"), &Reason::NeededBy("a".into()));
}

#[test]
fn an_increment_that_stays_keeps_everything_that_it_builds_on() {
    let backups = vec![
        full("a", 9, 1),
        increment("b", 8, 2, "a"),
        increment("c", 7, 3, "b"),
        full("x", 6, 4),
        increment("y", 5, 5, "x"),
    ];
    let verdict = decide(&facts(backups.clone(), Vec::new()), &last(3));
    assert_eq!(why(&verdict, "b"), &Reason::BaseOf("c".into()));
    assert_eq!(why(&verdict, "a"), &Reason::BaseOf("b".into()));
    assert!(going(&verdict).is_empty());
    let verdict = decide(&facts(backups, Vec::new()), &last(2));
    assert_eq!(going(&verdict), ["c", "b", "a"], "increments go before what they build on");
}

#[test]
fn an_increment_whose_base_is_not_there_counts_for_nothing() {
    let backups = vec![full("a", 9, 1), increment("b", 2, 3, "gone")];
    let verdict = decide(&facts(backups, Vec::new()), &last(1));
    assert_eq!(why(&verdict, "a"), &Reason::AmongLast(1), "b is no backup to go by");
    assert_eq!(why(&verdict, "b"), &Reason::YoungPartial);
    let backups = vec![increment("b", 9, 3, "gone"), full("c", 1, 5)];
    let verdict = decide(&facts(backups, Vec::new()), &last(1));
    assert_eq!(why(&verdict, "b"), &Reason::Broken("gone".into()));
    // Neither does a chain that goes round.
    let backups = vec![increment("p", 9, 3, "q"), increment("q", 8, 3, "p"), full("c", 1, 5)];
    let verdict = decide(&facts(backups, Vec::new()), &last(1));
    assert_eq!(verdict.backups_to_remove.len(), 2);
}

#[test]
fn a_partial_backup_goes_when_it_is_older_than_what_the_policy_keeps() {
    let backups = vec![partial("old", 30), full("a", 9, 1), partial("new", 5), full("b", 1, 3)];
    let verdict = decide(&facts(backups.clone(), Vec::new()), &last(2));
    assert_eq!(why(&verdict, "old"), &Reason::Partial);
    assert_eq!(why(&verdict, "new"), &Reason::YoungPartial);
    let verdict = decide(&facts(backups, Vec::new()), &days(3));
    assert_eq!(going(&verdict), ["old", "new"]);
    let unnamed = BackupFact { began_us: None, ..partial("lost+found", 30) };
    let verdict = decide(&facts(vec![unnamed, full("b", 1, 3)], Vec::new()), &last(1));
    assert_eq!(why(&verdict, "lost+found"), &Reason::NoTime);
}

#[test]
fn the_rest_of_a_removal_that_was_cut_short_goes_with_the_same_policy() {
    let before = vec![full("a", 9, 1), full("b", 5, 3), full("c", 1, 5)];
    for policy in [last(2), days(3)] {
        for backup in decide(&facts(before.clone(), Vec::new()), &policy).backups_to_remove {
            let mut after = before.clone();
            after.iter_mut().filter(|fact| fact.name == backup).for_each(|f| f.complete = None);
            let again = decide(&facts(after, Vec::new()), &policy);
            assert_eq!(why(&again, &backup), &Reason::Partial);
        }
    }
}

#[test]
fn what_belongs_to_another_environment_stays() {
    let foreign = BackupFact { foreign: true, ..full("a", 99, 1) };
    let verdict = decide(&facts(vec![foreign, full("b", 1, 3)], Vec::new()), &last(1));
    assert_eq!(why(&verdict, "a"), &Reason::Foreign);
}

#[test]
fn the_log_goes_up_to_where_the_oldest_backup_that_stays_begins() {
    let backups = vec![full("a", 9, 2), full("b", 5, 6), full("c", 1, 9)];
    let verdict = decide(&facts(backups, logs(1, 1..=12)), &last(2));
    assert_eq!(why(&verdict, "log/1/5"), &Reason::BeforeAll);
    assert_eq!(why(&verdict, "log/1/6"), &Reason::NeededBy("b".into()));
    assert_eq!(verdict.logs_to_remove.len(), 5);
    assert_eq!(verdict.logs_to_remove[0], "log/1/1");
}

#[test]
fn without_a_complete_backup_nothing_goes() {
    let verdict = decide(&facts(vec![partial("a", 90)], logs(1, 1..=4)), &days(1));
    assert!(going(&verdict).is_empty());
    assert_eq!(why(&verdict, "log/1/1"), &Reason::NothingReplacesIt);
}

/// Timeline 9 left timeline 1 in file 7.
fn restored(backups: Vec<BackupFact>) -> Facts {
    let logs = [logs(1, 1..=12), logs(9, 13..=20)].concat();
    // The old one has not been written since.
    let old = History { last_us: NOW - 60 * DAY, ..up_to(12, history(1, 1, None)) };
    let histories = vec![old, up_to(20, history(9, 13, Some((1, 7))))];
    Facts { now_us: NOW, backups, logs, histories }
}

fn on(timeline: u32, fact: BackupFact) -> BackupFact {
    with(fact, |complete| complete.timeline = Timeline(timeline))
}

#[test]
fn after_a_restore_both_histories_can_be_reached_from_a_backup_before_it() {
    let verdict = decide(&restored(vec![full("a", 5, 3), on(9, full("b", 1, 16))]), &last(2));
    assert_eq!(going(&verdict), ["log/1/1", "log/1/2"]);
}

#[test]
fn a_backup_of_the_new_history_needs_the_old_one_only_as_far_as_its_log_goes_back() {
    // Its log begins in file 6, before the restore.
    let verdict = decide(&restored(vec![on(9, full("b", 1, 6))]), &last(1));
    assert_eq!(why(&verdict, "log/1/5"), &Reason::BeforeAll);
    assert!(why(&verdict, "log/1/6").stays() && why(&verdict, "log/1/7").stays());
    assert_eq!(why(&verdict, "log/1/8"), &Reason::Unreachable, "what was left behind");
    assert!(why(&verdict, "log/9/13").stays());
    let verdict = decide(&restored(vec![on(9, full("b", 1, 16))]), &last(1));
    assert!(verdict.logs.iter().all(|d| !d.name.starts_with("log/1/") || !d.reason.stays()));
    assert_eq!(why(&verdict, "log/9/13"), &Reason::BeforeAll);
    // What says that timeline 1 was left goes last of all that it is said of.
    let order = &verdict.logs_to_remove;
    assert_eq!(order[12], "log/9/13");
}

#[test]
fn the_file_that_says_which_history_was_left_stays_as_long_as_anything_of_that() {
    // A marked backup on the history that was left, made after the restore branched off.
    let old = marked(full("old", 50, 9));
    let verdict = decide(&restored(vec![old, on(9, full("b", 1, 16))]), &last(1));
    assert_eq!(why(&verdict, "log/9/13"), &Reason::BranchFrom(Timeline(1)));
    assert_eq!(why(&verdict, "log/9/14"), &Reason::BeforeAll);
    assert_eq!(why(&verdict, "log/1/8"), &Reason::BeforeAll);
    assert!(why(&verdict, "log/1/12").stays());
}

#[test]
fn a_history_that_goes_on_keeps_the_only_backup_that_reaches_its_end() {
    // "new" was made on timeline 1 after 9 had left it: it does not reach 9.
    let facts = restored(vec![full("a", 5, 3), full("new", 1, 9)]);
    let verdict = decide(&facts, &last(1));
    assert_eq!(why(&verdict, "a"), &Reason::OnlyWayTo(Timeline(9)));
    assert!(why(&verdict, "log/9/20").stays());
    // Once it has not been written for longer than the policy keeps anything, it goes.
    let mut facts = facts;
    facts.histories[1].last_us = NOW - 8 * DAY;
    let verdict = decide(&facts, &last(1));
    assert_eq!(why(&verdict, "a"), &Reason::OlderThanPolicy);
    assert_eq!(why(&verdict, "log/9/20"), &Reason::Unreachable);
}

#[test]
fn a_history_that_went_on_though_another_left_it_keeps_its_own_way() {
    // A trial restore, timeline 9, was backed up last; timeline 1 is what production writes.
    let mut facts = restored(vec![full("a", 5, 3), on(9, full("trial", 1, 16))]);
    facts.histories[0].last_us = NOW;
    let late = with(full("late", 3, 9), |complete| complete.end = Lsn::new(10, 700));
    facts.backups.insert(1, late);
    let verdict = decide(&facts, &last(1));
    assert_eq!(why(&verdict, "late"), &Reason::OnlyWayTo(Timeline(1)));
    assert_eq!(why(&verdict, "a"), &Reason::OlderThanPolicy);
    assert!((9..=12).all(|number| why(&verdict, &format!("log/1/{number}")).stays()));
}

#[test]
fn a_drill_that_is_backed_up_often_does_not_cost_production_its_backup_and_its_log() {
    // Production, timeline 1, goes on in the very file in which the drill left it, and wrote its
    // last record that is archived before the drill was backed up.
    let drill = [on(9, full("d1", 2, 14)), on(9, full("d2", 1, 16))];
    let mut facts = restored([vec![full("a", 5, 3)], drill.to_vec()].concat());
    facts.logs.retain(|log| log.timeline.0 == 9 || log.number <= 7);
    for (end, last_us) in [(5001, NOW), (5001, NOW - 3 * DAY), (9000, NOW - 6 * DAY)] {
        let end = Lsn::new(7, end);
        facts.histories[0] = History { last: 7, end, last_us, ..history(1, 1, None) };
        let verdict = decide(&facts, &last(2));
        assert_eq!(why(&verdict, "a"), &Reason::OnlyWayTo(Timeline(1)));
        assert!((3..=7).all(|number| why(&verdict, &format!("log/1/{number}")).stays()));
    }
    // Nothing was written behind the place where it was left: it is no history of its own.
    facts.histories[0].end = Lsn::new(7, 5000);
    assert_eq!(why(&decide(&facts, &last(2)), "a"), &Reason::OlderThanPolicy);
}

#[test]
fn a_mark_on_an_old_backup_is_no_reason_to_remove_the_newest_of_its_history() {
    let old = marked(full("old", 50, 3));
    let late = with(full("late", 3, 9), |complete| complete.end = Lsn::new(10, 700));
    let mut facts = restored(vec![old, late, on(9, full("drill", 1, 16))]);
    facts.histories[0].last_us = NOW;
    assert!(why(&decide(&facts, &last(1)), "late").stays());
}

#[test]
fn a_history_whose_beginning_is_not_here_may_come_from_any_before_it() {
    let mut facts = facts(vec![full("a", 1, 3)], [logs(1, 1..=5), logs(4, 30..=31)].concat());
    facts.histories.push(History { last_us: 0, ..history(4, 30, None) });
    let verdict = decide(&facts, &last(1));
    assert_eq!(why(&verdict, "log/4/30"), &Reason::NothingReplacesIt);
}

#[test]
fn whatever_stays_of_random_repositories_can_be_restored_to_every_end_that_it_reached() {
    for seed in 0..1000 {
        let facts = random(seed);
        let policy = [last(1), last(3), days(4), Policy { keep_last: Some(2), keep_days: Some(2) }];
        let verdict = decide(&facts, &policy[seed as usize % 4]);
        let stays = |name: &str| why(&verdict, name).stays();
        for fact in facts.backups.iter().filter(|fact| stays(&fact.name)) {
            let Some(complete) = &fact.complete else { continue };
            if let Some(base) = &complete.base {
                let there = facts.backups.iter().any(|f| &f.name == base && f.complete.is_some());
                assert!(!there || stays(base), "seed {seed}: {base} is the base of {}", fact.name);
            }
            if !chain_is_there(&facts, fact) {
                continue;
            }
            for (timeline, number) in needed(&facts, complete) {
                let name = format!("log/{}/{number}", timeline.0);
                let there = facts.logs.iter().any(|log| log.name == name);
                assert!(!there || stays(&name), "seed {seed}: {} needs {name}", fact.name);
            }
        }
        let usable = |fact: &&BackupFact| chain_is_there(&facts, fact);
        let any = facts.backups.iter().any(|fact| usable(&fact));
        assert_eq!(any, facts.backups.iter().filter(usable).any(|fact| stays(&fact.name)));
        let again: BTreeSet<_> = verdict.backups_to_remove.iter().collect();
        assert_eq!(again.len(), verdict.backups_to_remove.len(), "each goes once");
    }
}

fn chain_is_there(facts: &Facts, fact: &BackupFact) -> bool {
    let Some(complete) = &fact.complete else { return false };
    match &complete.base {
        None => true,
        Some(base) => facts
            .backups
            .iter()
            .find(|found| &found.name == base)
            .is_some_and(|found| chain_is_there(facts, found)),
    }
}

/// Every place from where the backup's log begins to every end that it can be brought to: found by
/// walking back from each end, file by file.
fn needed(facts: &Facts, backup: &Completed) -> BTreeSet<(Timeline, u32)> {
    let mut all = BTreeSet::new();
    for end in &facts.histories {
        let top = facts.logs.iter().filter(|log| log.timeline == end.timeline);
        let Some(top) = top.map(|log| log.number).max() else { continue };
        let (mut at, mut number, mut way) = (*end, top, BTreeSet::new());
        let mut passed = at.timeline == backup.timeline;
        loop {
            if number < backup.first.file() {
                break;
            }
            way.insert((at.timeline, number));
            number -= 1;
            if number >= at.first {
                continue;
            }
            let Some((left, place)) = at.left else { break };
            if left == backup.timeline {
                if place < backup.end {
                    way.clear();
                    break;
                }
                passed = true;
            }
            at = *facts.histories.iter().find(|history| history.timeline == left).unwrap();
            number = place.file();
        }
        if passed {
            all.extend(way);
        }
    }
    all
}

/// A repository with a few histories, chains and gaps.
fn random(seed: u64) -> Facts {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut histories = vec![history(1, 1, None)];
    let mut archived = logs(1, 1..=u32::try_from(5 + draw(20)).unwrap());
    for timeline in 2..2 + u32::try_from(draw(4)).unwrap() {
        let parent = histories[draw(histories.len() as u64) as usize];
        let of_parent = archived.iter().filter(|log| log.timeline == parent.timeline);
        let top = of_parent.map(|log| log.number).max().unwrap();
        let at = parent.first + u32::try_from(draw(u64::from(top - parent.first + 1))).unwrap();
        let first = top + 1;
        archived.extend(logs(timeline, first..=first + u32::try_from(draw(9)).unwrap()));
        let mut new = history(timeline, first, Some((parent.timeline.0, at)));
        new.last_us = NOW - draw(12) * DAY;
        histories.push(new);
    }
    let mut backups: Vec<BackupFact> = Vec::new();
    for count in 0..draw(9) {
        let place = histories[draw(histories.len() as u64) as usize];
        let name = format!("b{count}");
        let ago = 12 - count;
        let fact = match draw(8) {
            0 => partial(&name, ago),
            1..=3 if !backups.is_empty() => {
                let base = backups[draw(backups.len() as u64) as usize].name.clone();
                increment(&name, ago, 1, &base)
            }
            _ => full(&name, ago, 1),
        };
        let of_place = archived.iter().filter(|log| log.timeline == place.timeline);
        let top = of_place.map(|log| log.number).max().unwrap();
        let end = place.first + u32::try_from(draw(u64::from(top - place.first + 1))).unwrap();
        let fact = if fact.complete.is_none() {
            fact
        } else {
            with(fact, |complete| {
                complete.timeline = place.timeline;
                complete.end = Lsn::new(end, 700);
                complete.first = Lsn::new(end.saturating_sub(draw(3) as u32).max(1), 600);
            })
        };
        backups.push(BackupFact { marked: draw(9) == 0, ..fact });
    }
    for history in &mut histories {
        let its = archived.iter().filter(|log| log.timeline == history.timeline);
        *history = up_to(its.map(|log| log.number).max().unwrap(), *history);
    }
    Facts { now_us: NOW, backups, logs: archived, histories }
}
