//! Crash enumeration: every call of a program, several survivals each, recovery, check, and again.

use std::sync::Arc;

use campanile_recovery::Opened;
use campanile_txn::Durability;
use campanile_vfs::sim::{CrashChoice, CrashPoint, CrashPolicy, SimDisk, SimOptions};

use crate::life::{Life, Op, State, after_crash, observe, open_disk};

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
                let place = format!("call {} ({:?}), {choice:?}", point.call, point.kind);
                checked += self.check(&rebooted, &possible, self.depth, &place);
            }
        }
        life.die();
        checked
    }

    /// Recovers, compares, crashes the recovery, goes on living.
    fn check(
        &self,
        disk: &Arc<SimDisk>,
        possible: &[State],
        depth: u32,
        place: &str,
    ) -> u64 {
        if depth > 1 {
            disk.capture_crash_points();
        }
        let opened = open_disk(disk).unwrap_or_else(|error| panic!("{place}: {error}"));
        let points = disk.take_crash_points();
        let state = observe(&opened.transactions, true);
        assert!(possible.contains(&state), "{place}: {}", explain(&state, possible));
        let mut checked = 1;
        if depth > 1 {
            checked += self.crash_recovery(&points, &[state.clone()], depth, place);
        }
        go_on_living(disk, opened, state, place);
        checked
    }

    /// After a recovery that was itself cut short, the next one leads to a possible state, too:
    /// to the very one, since recovery adds no commits.
    fn crash_recovery(
        &self,
        points: &[CrashPoint],
        possible: &[State],
        depth: u32,
        place: &str,
    ) -> u64 {
        let mut checked = 0;
        for point in points {
            for choice in point.disk.crash_choices(&self.policy) {
                let place = format!("{place}, then call {} ({:?}), {choice:?}", point.call, point.kind);
                // What only the cache of the killed process held may be lost now.
                let rebooted = point.disk.reboot(choice);
                checked += self.check(&rebooted, possible, depth - 1, &place);
            }
        }
        checked
    }
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
    let found = observe(&opened.transactions, false);
    // A close writes files that are not durable as well.
    assert!(found == state || found == after_crash(&state), "{place}: lost by a clean close");
}

fn explain(state: &State, possible: &[State]) -> String {
    let shown = |state: &State| {
        let mut text = String::new();
        for (file, (durable, rows)) in state {
            text += &format!("\n    file {file} durable {durable}:");
            for (key, value) in rows {
                let value = String::from_utf8_lossy(&value[..value.len().min(20)]).into_owned();
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
