//! The oracle: what a correct environment may hold after a crash. It is fed from the calls that the
//! workload made and from their answers, never from the engine under test.
//!
//! O1  State k is the content after the first k commits, in the order in which they were issued.
//! O2  After a power failure the content is state k for one k with `floor <= k <= issued`, where
//!     `floor` counts the commits up to the last acknowledged one that promised to be durable.
//! O3  A commit that was issued but not acknowledged may be there or not, but whole.
//! O4  After the crash of the process alone, what was handed to the operating system is there too.
//! O5  A database that is not durable is empty after recovery; after a clean close it is whole.
//! O6  Preparing and resolving are issued and acknowledged as commits are. The transactions that
//!     are found prepared are those of the same state k; nothing of them shows in its content.

use crate::change::{self, Change};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Content of one database.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Content of the whole environment: every database by name.
pub type State = BTreeMap<String, Arc<Rows>>;

/// Prepared transactions by their global identifiers, with what they would change.
pub type Prepared = BTreeMap<Vec<u8>, Vec<Change>>;

/// What an environment is found to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What is committed.
    pub state: State,
    /// Global identifiers of the prepared transactions.
    pub prepared: BTreeSet<Vec<u8>>,
}

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
    /// `prepared[k]` are the prepared transactions then.
    prepared: Vec<Arc<Prepared>>,
    floor_power: usize,
    floor_process: usize,
    /// Names of databases that are not durable: known by name because recovery empties them.
    volatile: Vec<String>,
    /// Transactions that have changed something and are neither committed nor rolled back.
    writers: u64,
}

impl Oracle {
    /// An environment that is known to hold exactly `state`.
    pub fn starting_at(state: State, volatile: Vec<String>) -> Oracle {
        Oracle::starting_with(state, Arc::default(), volatile)
    }

    /// An environment that is known to hold exactly `state` and these prepared transactions.
    pub fn starting_with(state: State, prepared: Arc<Prepared>, volatile: Vec<String>) -> Oracle {
        let (states, prepared) = (vec![state], vec![prepared]);
        Oracle { states, prepared, floor_power: 0, floor_process: 0, volatile, writers: 0 }
    }

    /// The newest state, including a commit that is not acknowledged yet.
    pub fn newest(&self) -> &State {
        self.states.last().expect("there is always a first state")
    }

    /// A commit is about to be issued: from now on it may be found after a crash.
    pub fn issue(&mut self, after: State) {
        self.states.push(after);
        self.prepared.push(Arc::clone(self.newest_prepared()));
    }

    /// A transaction is about to be prepared: nothing of it shows yet.
    pub fn issue_prepared(&mut self, gid: &[u8], changes: Vec<Change>) {
        let mut prepared = self.newest_prepared().as_ref().clone();
        prepared.insert(gid.to_vec(), changes);
        self.states.push(self.newest().clone());
        self.prepared.push(Arc::new(prepared));
    }

    /// A prepared transaction is about to be committed or aborted.
    pub fn issue_resolved(&mut self, gid: &[u8], commit: bool) {
        let mut prepared = self.newest_prepared().as_ref().clone();
        let changes = prepared.remove(gid).expect("it is prepared");
        let state = match commit {
            true => change::after(self.newest(), &changes),
            false => self.newest().clone(),
        };
        self.states.push(state);
        self.prepared.push(Arc::new(prepared));
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
        self.prepared.pop();
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

    /// A transaction makes its first change: from now on a crash would make a loser of it.
    pub fn writer_began(&mut self) {
        self.writers += 1;
    }

    /// A transaction that had changed something has ended.
    pub fn writer_ended(&mut self) {
        self.writers -= 1;
    }

    /// How many losers a crash would make now.
    pub fn writers(&self) -> u64 {
        self.writers
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

    /// Finds the state that `found` equals (O1-O5), with no transaction prepared, or says how it
    /// differs from the nearest one.
    pub fn judge(&self, found: &State, failure: Failure) -> Result<usize, String> {
        self.judge_all(&Found { state: found.clone(), ..Found::default() }, failure)
    }

    /// As [`Oracle::judge`], and the same for prepared transactions (O6).
    pub fn judge_all(&self, found: &Found, failure: Failure) -> Result<usize, String> {
        let floor = match failure {
            Failure::Power => self.floor_power,
            Failure::Process => self.floor_process,
        };
        for k in (floor..self.states.len()).rev() {
            if self.prepared[k].keys().eq(&found.prepared)
                && self.equal_after_recovery(&self.states[k], &found.state)
            {
                return Ok(k);
            }
        }
        let nearest = (0..self.states.len())
            .find(|k| self.equal_after_recovery(&self.states[*k], &found.state))
            .map_or_else(
                || self.difference(&self.states[self.states.len() - 1], &found.state),
                |k| {
                    let expected = names(self.prepared[k].keys());
                    format!("it is the state after {k} commits, when [{expected}] were prepared")
                },
            );
        let issued = self.states.len() - 1;
        let prepared = names(found.prepared.iter());
        Err(format!(
            "expected a state after {floor}..={issued} commits, but {nearest}; prepared are \
             [{prepared}]"
        ))
    }

    /// The prepared transactions of state k.
    pub fn prepared(&self, k: usize) -> &Arc<Prepared> {
        &self.prepared[k]
    }

    /// The prepared transactions after everything that was issued.
    pub fn newest_prepared(&self) -> &Arc<Prepared> {
        self.prepared.last().expect("there is always the state before the first commit")
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

fn names<'g>(gids: impl Iterator<Item = &'g Vec<u8>>) -> String {
    gids.map(|gid| String::from_utf8_lossy(gid).into_owned()).collect::<Vec<_>>().join(", ")
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
    fn a_prepared_transaction_is_there_and_invisible_until_it_is_resolved() {
        let mut oracle = Oracle::starting_at(state(&[]), vec![]);
        oracle.issue(state(&[("k", "1")]));
        let put = |key: &str| Change::Put {
            name: "a".to_owned(),
            key: key.as_bytes().to_vec(),
            value: b"2".to_vec(),
        };
        oracle.issue_prepared(b"g", vec![put("l")]);
        oracle.acknowledge(Promise::Durable);
        let found = |rows, gids: &[&str]| Found {
            state: state(rows),
            prepared: gids.iter().map(|gid| gid.as_bytes().to_vec()).collect(),
        };
        let judge = |oracle: &Oracle, found| oracle.judge_all(&found, Failure::Power);
        assert_eq!(judge(&oracle, found(&[("k", "1")], &["g"])), Ok(2));
        assert!(judge(&oracle, found(&[("k", "1")], &[])).is_err(), "rolled back");
        assert!(judge(&oracle, found(&[("k", "1"), ("l", "2")], &[])).is_err(), "committed");
        assert!(judge(&oracle, found(&[("k", "1"), ("l", "2")], &["g"])).is_err(), "it shows");
        oracle.issue_resolved(b"g", true);
        assert!(judge(&oracle, found(&[("k", "1")], &["g"])).is_ok());
        assert!(judge(&oracle, found(&[("k", "1"), ("l", "2")], &[])).is_ok());
        oracle.acknowledge(Promise::Durable);
        assert!(judge(&oracle, found(&[("k", "1")], &["g"])).is_err());
    }

    #[test]
    fn a_database_that_is_not_durable_must_be_empty_or_whole() {
        let oracle = Oracle::starting_at(state(&[("k", "1")]), vec!["a".to_owned()]);
        assert!(oracle.judge(&state(&[]), Failure::Power).is_ok());
        assert!(oracle.judge(&state(&[("k", "2")]), Failure::Power).is_err());
    }
}
