//! Crash enumeration: every call of a program, several survivals each, recovery, check, and again.

use std::sync::Arc;

use campanile_format::FileId;
use campanile_recovery::{Opened, Outcome};
use campanile_txn::{Durability, Transactions};
use campanile_vfs::sim::{CrashChoice, CrashPoint, CrashPolicy, SimDisk, SimOptions};

use crate::life::{Life, Op, Prepared, State, after_crash, observe, open_disk};
use crate::toy;

pub struct Sweep {
    pub options: SimOptions,
    pub policy: CrashPolicy,
    /// Crashes in a row: 1 = in the program only, 2 = also inside the recovery from it.
    pub depth: u32,
    /// Every so many-th call is a crash point.
    pub every: usize,
}

impl Sweep {
    pub fn new(options: SimOptions, policy: CrashPolicy) -> Sweep {
        Sweep { options, policy, depth: 1, every: 1 }
    }

    /// Runs the program, and crashes it everywhere. Returns the number of crash states checked.
    pub fn run(&self, program: &[Op]) -> u64 {
        let disk = SimDisk::new(self.options.clone());
        let opened = open_disk(&disk).unwrap();
        disk.capture_crash_points();
        let mut life = Life::begin(&disk, opened, State::new());
        life.run(program).unwrap();
        let points = disk.take_crash_points();
        let mut checked = 0;
        for point in points.iter().step_by(self.every) {
            for choice in point.disk.crash_choices(&self.policy) {
                let possible = life.possible(point.call, choice);
                let rebooted = point.disk.reboot(choice);
                let place = format!(
                    "seed {}, call {} ({:?}), {choice:?}",
                    self.options.seed, point.call, point.kind
                );
                // A second crash may take what only the cache of a killed process held.
                let later = life.possible(point.call, CrashChoice::Nothing);
                let prepared = life.prepared.iter().map(|one| (one.clone(), one.at(point.call)));
                let prepared = prepared.collect();
                let check = Check { possible, later, prepared, depth: self.depth, place };
                checked += self.check(&rebooted, check);
            }
        }
        life.die();
        checked
    }

    /// Recovers, compares, crashes the recovery, goes on living.
    fn check(&self, disk: &Arc<SimDisk>, check: Check) -> u64 {
        let Check { possible, later, prepared, depth, place } = check;
        if depth > 1 {
            disk.capture_crash_points();
        }
        let opened = open_disk(disk).unwrap_or_else(|error| panic!("{place}: {error}"));
        let points = disk.take_crash_points();
        let possible = resolve(&opened.transactions, possible, &prepared, &place);
        // A crash between the last write of a close and the first of the next life is none.
        let recovered = opened.report.outcome == Outcome::Recovered;
        let state = observe(&opened.transactions, recovered, &place);
        let shown = after_crash(&state);
        assert!(possible.contains(&shown), "{place}: {}", explain(&shown, &possible));
        let mut checked = 1;
        if depth > 1 {
            for point in points {
                checked += self.crash_recovery(&point, &later, &prepared, depth, &place);
            }
        }
        go_on_living(disk, opened, state, &place);
        checked
    }

    /// A recovery that was itself cut short is begun again by the next one.
    fn crash_recovery(
        &self,
        point: &CrashPoint,
        later: &[State],
        prepared: &[Expected],
        depth: u32,
        place: &str,
    ) -> u64 {
        let mut checked = 0;
        for choice in point.disk.crash_choices(&self.policy) {
            let place = format!("{place}, then call {} ({:?}), {choice:?}", point.call, point.kind);
            let rebooted = point.disk.reboot(choice);
            let (possible, later) = (later.to_vec(), later.to_vec());
            let prepared = prepared.to_vec();
            let check = Check { possible, later, prepared, depth: depth - 1, place };
            checked += self.check(&rebooted, check);
        }
        checked
    }
}

/// What a recovered environment may show.
struct Check {
    possible: Vec<State>,
    /// What it may show after one more crash.
    later: Vec<State>,
    prepared: Vec<Expected>,
    depth: u32,
    place: String,
}

/// A prepared transaction, whether it may be found, and whether it may be missing.
type Expected = (Prepared, (bool, bool));

/// Checks which transactions wait for their coordinator and that no snapshot sees anything of
/// them, and resolves them, some this way and some the other; gives the states possible then.
fn resolve(
    txns: &Transactions,
    mut possible: Vec<State>,
    prepared: &[Expected],
    place: &str,
) -> Vec<State> {
    let found: Vec<Vec<u8>> = txns.prepared().into_iter().map(|known| known.gid).collect();
    for gid in &found {
        let known = prepared.iter().any(|(one, (may, _))| *may && one.gid == *gid);
        assert!(known, "{place}: {} is prepared", gid.escape_ascii());
    }
    let snapshot = txns.snapshot().unwrap();
    for (number, (one, (_, may_be_missing))) in prepared.iter().enumerate() {
        if !found.contains(&one.gid) {
            assert!(may_be_missing, "{place}: {} is not prepared", one.gid.escape_ascii());
            continue;
        }
        for (file, key, _) in &one.writes {
            // A delete that found nothing is no change; what is not durable is empty now.
            if !txns.is_durable(FileId(*file)).unwrap() {
                continue;
            }
            let seen = toy::get_at(txns, &snapshot, FileId(*file), key).unwrap();
            let of = |state: &State| state.get(file).and_then(|(_, rows)| rows.get(key).cloned());
            let is_possible = possible.iter().any(|state| of(state) == seen);
            assert!(is_possible, "{place}: {seen:?} of {} is seen", one.gid.escape_ascii());
        }
        if (number + place.len()).is_multiple_of(2) {
            txns.commit_prepared(&one.gid).unwrap();
            possible.iter_mut().for_each(|state| one.commit(state));
        } else {
            txns.abort_prepared(&one.gid).unwrap();
        }
    }
    assert!(txns.prepared().is_empty(), "{place}");
    possible
}

/// A recovered environment is a whole one: it takes more work, closes, and opens again.
fn go_on_living(disk: &Arc<SimDisk>, opened: Opened, state: State, place: &str) {
    let mut life = Life::begin(disk, opened, state);
    let more = [
        Op::Create { who: 0, durable: true },
        Op::Put { who: 0, file: 0, key: 5, len: 10 },
        Op::Commit { who: 0, durability: Durability::NoSync },
        Op::Put { who: 1, file: 0, key: 5, len: 10 },
    ];
    life.run(&more).unwrap_or_else(|error| panic!("{place}: after recovery: {error}"));
    let state = life.close().unwrap_or_else(|error| panic!("{place}: closing: {error}"));
    let disk = disk.reboot(CrashChoice::Nothing);
    let opened = open_disk(&disk).unwrap_or_else(|error| panic!("{place}: reopening: {error}"));
    let found = observe(&opened.transactions, false, place);
    // A close writes files that are not durable as well.
    let expected = [state.clone(), after_crash(&state)];
    assert!(expected.contains(&found), "{place}: by a close {}", explain(&found, &expected));
}

fn explain(state: &State, possible: &[State]) -> String {
    let shown = |state: &State| {
        let mut text = String::new();
        for (file, (durable, rows)) in state {
            text += &format!("\n    file {file} durable {durable}:");
            for (key, value) in rows {
                let value = value[..value.len().min(20)].escape_ascii().to_string();
                text += &format!(" {}={value}", String::from_utf8_lossy(key));
            }
        }
        text
    };
    let mut text = format!("found{}", shown(state));
    for (index, state) in possible.iter().enumerate() {
        text += &format!("\n  possible {index}{}", shown(state));
    }
    text
}
