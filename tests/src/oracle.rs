//! The oracle: what a correct environment may hold after a crash. It is fed from the calls that the
//! workload made and from their answers, never from the engine under test.
//!
//! O1  State k is the content after the first k commits, in the order in which they were issued.
//! O2  After a power failure the content is state k for one k with `floor <= k <= issued`, where
//!     `floor` counts the commits up to the last acknowledged one that promised to be durable.
//! O3  A commit that was issued but not acknowledged may be there or not, but whole.
//! O4  After the crash of the process alone, what was handed to the operating system is there too.
//! O5  A database that is not durable is empty after recovery; after a clean close it is whole.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Content of one database.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Content of the whole environment: every database by name.
pub type State = BTreeMap<String, Arc<Rows>>;

/// What a commit promised when it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Survives the loss of power.
    Durable,
    /// Survives the death of the process.
    Written,
    /// May vanish, with all that came after it.
    None,
}

/// How the environment went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The process died; all that it had handed to the operating system is there.
    Process,
    /// Power was lost.
    Power,
}

/// Commit history of one life of an environment, with the states it may come back to.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// `states[k]` is the content after k commits.
    states: Vec<State>,
    floor_power: usize,
    floor_process: usize,
    /// Names of databases that are not durable: known by name because recovery empties them.
    volatile: Vec<String>,
}

impl Oracle {
    /// An environment that is known to hold exactly `state`.
    pub fn starting_at(state: State, volatile: Vec<String>) -> Oracle {
        Oracle { states: vec![state], floor_power: 0, floor_process: 0, volatile }
    }

    /// The newest state, including a commit that is not acknowledged yet.
    pub fn newest(&self) -> &State {
        self.states.last().expect("there is always a first state")
    }

    /// A commit is about to be issued: from now on it may be found after a crash.
    pub fn issue(&mut self, after: State) {
        self.states.push(after);
    }

    /// The commit issued last was acknowledged.
    pub fn acknowledge(&mut self, promise: Promise) {
        let issued = self.states.len() - 1;
        match promise {
            Promise::Durable => (self.floor_power, self.floor_process) = (issued, issued),
            Promise::Written => self.floor_process = issued,
            Promise::None => {}
        }
    }

    /// The commit issued last was refused: it must not be found.
    pub fn retract(&mut self) {
        assert!(self.states.len() > 1, "nothing was issued");
        self.states.pop();
        assert!(self.floor_process < self.states.len(), "an acknowledged commit was retracted");
    }

    /// Everything up to now became durable (a checkpoint, a clean close, a sync commit elsewhere).
    pub fn settle(&mut self) {
        self.floor_power = self.states.len() - 1;
        self.floor_process = self.floor_power;
    }

    /// Power was lost: what had only been handed to the operating system counts no more.
    pub fn forget_written(&mut self) {
        self.floor_process = self.floor_power;
    }

    /// How many commits must survive a loss of power, whatever else happens.
    pub fn promised(&self) -> usize {
        self.floor_power
    }

    /// A sync reported success and had lost everything: only what was promised before it, the first
    /// `promised` commits, can be demanded any more.
    pub fn distrust(&mut self, promised: usize) {
        self.floor_power = self.floor_power.min(promised);
        self.floor_process = self.floor_process.min(promised);
    }

    /// A database that recovery empties.
    pub fn is_volatile(&self, name: &str) -> bool {
        self.volatile.iter().any(|known| known == name)
    }

    /// Remembers that the database of this name is not durable.
    pub fn mark_volatile(&mut self, name: &str) {
        if !self.is_volatile(name) {
            self.volatile.push(name.to_owned());
        }
    }

    /// Names of the databases that are not durable.
    pub fn volatile(&self) -> &[String] {
        &self.volatile
    }

    /// Finds the state that `found` equals (O1-O5), or says how it differs from the nearest one.
    pub fn judge(&self, found: &State, failure: Failure) -> Result<usize, String> {
        let floor = match failure {
            Failure::Power => self.floor_power,
            Failure::Process => self.floor_process,
        };
        for k in (floor..self.states.len()).rev() {
            if self.equal_after_recovery(&self.states[k], found) {
                return Ok(k);
            }
        }
        let nearest = (0..self.states.len())
            .find(|k| self.equal_after_recovery(&self.states[*k], found))
            .map_or_else(
                || self.difference(&self.states[self.states.len() - 1], found),
                |k| format!("it is the state after {k} commits"),
            );
        let issued = self.states.len() - 1;
        Err(format!("expected a state after {floor}..={issued} commits, but {nearest}"))
    }

    fn equal_after_recovery(&self, expected: &State, found: &State) -> bool {
        expected.len() == found.len()
            && expected.iter().all(|(name, rows)| match found.get(name) {
                None => false,
                Some(have) if self.is_volatile(name) => have.is_empty() || have == rows,
                Some(have) => have == rows,
            })
    }

    fn difference(&self, expected: &State, found: &State) -> String {
        for (name, rows) in expected {
            let Some(have) = found.get(name) else { return format!("database {name} is missing") };
            if self.is_volatile(name) {
                if have.is_empty() || have == rows {
                    continue;
                }
                return format!("the non-durable {name} holds {} rows", have.len());
            }
            for (key, value) in rows.iter() {
                match have.get(key) {
                    None => return format!("{name}: key {} is missing", brief(key)),
                    Some(other) if other != value => {
                        let (is, was) = (brief(other), brief(value));
                        return format!("{name}: key {} is {is}, not {was}", brief(key));
                    }
                    Some(_) => {}
                }
            }
            if let Some(extra) = have.keys().find(|key| !rows.contains_key(*key)) {
                return format!("{name}: key {} should not be there", brief(extra));
            }
        }
        let extra = found.keys().find(|name| !expected.contains_key(*name));
        format!("database {extra:?} should not be there")
    }
}

/// A byte string short enough for a message.
pub fn brief(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(24)]).into_owned();
    format!("{shown:?} ({} bytes)", bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(rows: &[(&str, &str)]) -> State {
        let rows = rows.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec()));
        State::from([("a".to_owned(), Arc::new(rows.collect()))])
    }

    #[test]
    fn an_acknowledged_durable_commit_that_is_missing_is_a_violation() {
        let mut oracle = Oracle::starting_at(state(&[]), vec![]);
        oracle.issue(state(&[("k", "1")]));
        oracle.acknowledge(Promise::Durable);
        assert!(oracle.judge(&state(&[]), Failure::Power).is_err());
        assert_eq!(oracle.judge(&state(&[("k", "1")]), Failure::Power), Ok(1));
    }

    #[test]
    fn a_commit_in_doubt_may_go_either_way_but_whole() {
        let mut oracle = Oracle::starting_at(state(&[]), vec![]);
        oracle.issue(state(&[("k", "1"), ("l", "1")]));
        assert!(oracle.judge(&state(&[]), Failure::Power).is_ok());
        assert!(oracle.judge(&state(&[("k", "1"), ("l", "1")]), Failure::Power).is_ok());
        assert!(oracle.judge(&state(&[("k", "1")]), Failure::Power).is_err());
    }

    #[test]
    fn a_relaxed_commit_may_vanish_only_with_all_that_came_after_it() {
        let mut oracle = Oracle::starting_at(state(&[]), vec![]);
        oracle.issue(state(&[("k", "1")]));
        oracle.acknowledge(Promise::Written);
        oracle.issue(state(&[("k", "1"), ("l", "2")]));
        oracle.acknowledge(Promise::None);
        assert!(oracle.judge(&state(&[]), Failure::Power).is_ok());
        assert!(oracle.judge(&state(&[]), Failure::Process).is_err());
        assert!(oracle.judge(&state(&[("l", "2")]), Failure::Power).is_err());
    }

    #[test]
    fn a_database_that_is_not_durable_must_be_empty_or_whole() {
        let oracle = Oracle::starting_at(state(&[("k", "1")]), vec!["a".to_owned()]);
        assert!(oracle.judge(&state(&[]), Failure::Power).is_ok());
        assert!(oracle.judge(&state(&[("k", "2")]), Failure::Power).is_err());
    }
}
