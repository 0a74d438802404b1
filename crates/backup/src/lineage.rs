//! Which history left which, and where: who can reach what.
//!
//! Owns the relation between backups and log files of several histories. Promises never to follow
//! a circle. Must never claim that a backup reaches what it only might.

use std::collections::BTreeMap;

use campanile_format::{Lsn, Timeline};

use crate::retention::{Completed, History};

/// The histories of an environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lineage {
    histories: BTreeMap<Timeline, History>,
}

impl Lineage {
    pub fn new(histories: &[History]) -> Lineage {
        let known = histories.iter().map(|history| (history.timeline, *history));
        Lineage { histories: known.collect() }
    }

    /// The histories that `timeline` comes from, nearest first, and where each was left.
    fn up(&self, timeline: Timeline) -> Vec<(Timeline, Lsn)> {
        let mut way = Vec::new();
        let mut at = timeline;
        while let Some(left) = self.histories.get(&at).and_then(|history| history.left) {
            // A history has a larger number than the one it left: what says otherwise is no guide.
            if left.0 >= at {
                break;
            }
            way.push(left);
            at = left.0;
        }
        way
    }

    /// How many histories came before.
    pub fn depth(&self, timeline: Timeline) -> usize {
        self.up(timeline).len()
    }

    /// The histories that may go on: those that no other has left, and those that have records
    /// beyond where others left them, be it in the same file.
    pub fn tips(&self) -> impl Iterator<Item = &History> + '_ {
        let ended = |found: &History| {
            let left = self.histories.values().filter_map(|history| history.left);
            let places = left.filter(|(left, _)| *left == found.timeline).map(|(_, at)| at);
            places.max().is_some_and(|last| found.end <= last)
        };
        self.histories.values().filter(move |history| !ended(history))
    }

    /// Whether a backup can be brought to the end of a history, as far as its log is there.
    pub fn reaches(&self, backup: &Completed, timeline: Timeline) -> bool {
        let left = self.up(timeline).into_iter().find(|(left, _)| *left == backup.timeline);
        timeline == backup.timeline || left.is_some_and(|(_, at)| at >= backup.end)
    }

    /// Whether a log file lies between the beginning of a backup's log and the end of a history
    /// that it can be brought to.
    pub fn needs(&self, backup: &Completed, timeline: Timeline, number: u32) -> bool {
        if number < backup.first.file() && self.is_on_the_way(backup, timeline) {
            return false;
        }
        let before = self.up(backup.timeline).into_iter().find(|(left, _)| *left == timeline);
        match before {
            Some((_, at)) => number <= at.file(),
            None => self.reaches(backup, timeline),
        }
    }

    /// Whether a log file is older than the log of a backup that comes after it.
    pub fn is_before(&self, backup: &Completed, timeline: Timeline, number: u32) -> bool {
        number < backup.first.file() && self.is_on_the_way(backup, timeline)
    }

    /// The backup's history, or one that it comes from.
    fn is_on_the_way(&self, backup: &Completed, timeline: Timeline) -> bool {
        timeline == backup.timeline
            || self.up(backup.timeline).iter().any(|(left, _)| *left == timeline)
    }

    /// Whether a history may come from that of the backup, though its beginning is not here to say
    /// so.
    pub fn may_follow(&self, backup: &Completed, timeline: Timeline) -> bool {
        let way = self.up(timeline);
        let root = way.last().map_or(timeline, |(left, _)| *left);
        let known = self.histories.get(&root).is_some_and(|history| history.first <= 1);
        !known && root > backup.timeline
    }
}
