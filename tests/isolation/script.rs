//! Schedules as tables: every row is a step, every column a choice of levels, every cell what must
//! come of it.
//!
//! Owns running a table. Promises to compare every cell and the state at the end. Cells are
//! written from the theory of two-phase locking on keys and gaps, not from what the engine does.

use crate::stage::Stage;
use campanile::{Environment, EnvironmentOptions};
use campanile_tests::flock::options;
use campanile_tests::history::Level;
use campanile_vfs::Host;

/// Who is promised what in a column.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// All sessions the same.
    All(Level),
    /// Sessions that only read are snapshots, the others serializable.
    SnapshotReaders,
    /// Session 1 the first, and so on.
    Each(&'static [Level]),
}

/// Serializable, read-committed, read-uncommitted, snapshot readers.
pub const EVERY: &[Column] = &[
    Column::All(Level::Serializable),
    Column::All(Level::ReadCommitted),
    Column::All(Level::ReadUncommitted),
    Column::SnapshotReaders,
];

/// Serializable alone.
pub const SERIALIZABLE: &[Column] = &[Column::All(Level::Serializable)];

/// A schedule with what must come of it.
pub struct Schedule {
    pub name: &'static str,
    /// Rows at the beginning.
    pub rows: &'static [(&'static str, &'static str)],
    pub columns: &'static [Column],
    /// "SESSION STEP", and an outcome for each column. "=" is the state at the end; "background"
    /// lets the environment do all the work it would do in the background.
    pub steps: &'static [(&'static str, &'static [&'static str])],
}

/// The two rows that Hermitage begins with.
pub const TWO: &[(&str, &str)] = &[("1", "10"), ("2", "20")];

/// An environment in memory, without threads of its own.
pub fn environment(options: EnvironmentOptions) -> Environment {
    Environment::open_on(Host::memory(), "/home", options).expect("an environment in memory")
}

/// Small pages, so that a few rows need several.
pub fn tiny() -> EnvironmentOptions {
    EnvironmentOptions::new().page_bytes(512).cache_bytes(256 * 512)
}

/// A stage whose database holds `rows`.
pub fn stage(options: EnvironmentOptions, rows: &[(&str, &str)]) -> Stage {
    let env = environment(options);
    let db = env.create_database("t").expect("a database");
    env.run(|txn| rows.iter().try_for_each(|(key, value)| db.put(txn, key, value).map(drop)))
        .expect("rows");
    Stage::new(env, db)
}

impl Schedule {
    /// Runs every column; each difference is a line.
    pub fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            self.run_column(at, *column, &mut found);
        }
        found
    }

    fn run_column(&self, at: usize, column: Column, found: &mut Vec<String>) {
        let mut stage = stage(tiny(), self.rows);
        let mut sessions: Vec<usize> = self.steps.iter().filter_map(|(s, _)| session(s)).collect();
        sessions.sort_unstable();
        sessions.dedup();
        for number in sessions {
            let level = self.level(column, number);
            stage.session(number, level, options(level));
            if !self.steps.iter().any(|(step, _)| *step == format!("{number} begin")) {
                stage.step(number, "begin");
            }
        }
        let mut diary = Vec::new();
        for (step, cells) in self.steps {
            let expected = cells[if cells.len() == 1 { 0 } else { at }];
            let outcome = match session(step) {
                Some(number) => stage.step(number, &step[2..]),
                None if *step == "background" => {
                    while stage.env().step().expect("background work") {}
                    "ok".to_owned()
                }
                None => break,
            };
            diary.push(format!("    {step:<18} {outcome}"));
            if outcome != expected {
                let (name, so_far) = (self.name, diary.join("\n"));
                found.push(format!("{name} ({column:?}): expected {expected:?}\n{so_far}"));
                // What follows means nothing; a session may wait for ever.
                std::mem::forget(stage);
                return;
            }
        }
        if let Some(("=", cells)) = self.steps.last() {
            let expected = cells[if cells.len() == 1 { 0 } else { at }];
            let end = stage.finish();
            if end != expected {
                found.push(format!("{} ({column:?}): ends with {end}", self.name));
            }
        }
    }

    fn level(&self, column: Column, number: usize) -> Level {
        match column {
            Column::All(level) => level,
            Column::Each(levels) => levels[number - 1],
            Column::SnapshotReaders => {
                let writes = ["put", "insert", "replace", "delete", "add", "write"];
                let mut own = self.steps.iter().filter(|(step, _)| session(step) == Some(number));
                let is_write = |step: &str| writes.iter().any(|word| step[2..].starts_with(word));
                if own.any(|(step, _)| is_write(step)) {
                    Level::Serializable
                } else {
                    Level::Snapshot
                }
            }
        }
    }
}

fn session(step: &str) -> Option<usize> {
    step.split(' ').next()?.parse().ok()
}

/// Runs schedules and fails with all differences.
pub fn hold(schedules: &[Schedule]) {
    let differences: Vec<String> = schedules.iter().flat_map(Schedule::differences).collect();
    let cells: usize = schedules.iter().map(|s| s.steps.len() * s.columns.len()).sum();
    println!("{} schedules, {cells} cells", schedules.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
