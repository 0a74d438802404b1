//! Changes as values: what a transaction did, in order, so that the model can apply it to whatever
//! is committed by the time the transaction commits. Pure data.

use crate::oracle::{Rows, State};
use std::sync::Arc;

/// One change to the content of an environment.
#[allow(missing_docs, reason = "the fields are named by what they are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets a row.
    Put { name: String, key: Vec<u8>, value: Vec<u8> },
    /// Removes a row.
    Delete { name: String, key: Vec<u8> },
    /// Makes an empty database.
    Create { name: String },
    /// Removes a database.
    Drop { name: String },
    /// Gives a database another name.
    Rename { name: String, to: String },
    /// Removes every row of a database.
    Empty { name: String },
}

impl Change {
    /// Applies the change. Locks see to it that it fits: anything else is a broken isolation.
    pub fn apply(&self, state: &mut State) {
        match self {
            Change::Put { name, key, value } => {
                rows(state, name).insert(key.clone(), value.clone());
            }
            Change::Delete { name, key } => {
                rows(state, name).remove(key);
            }
            Change::Create { name } | Change::Empty { name } => {
                state.insert(name.clone(), Arc::new(Rows::new()));
            }
            Change::Drop { name } => {
                state.remove(name);
            }
            Change::Rename { name, to } => {
                let rows = state.remove(name).expect("a database to rename is there");
                state.insert(to.clone(), rows);
            }
        }
    }

    /// The row that it touches, if it is a change of one.
    pub fn row(&self) -> Option<(&str, &[u8])> {
        match self {
            Change::Put { name, key, .. } | Change::Delete { name, key } => Some((name, key)),
            _ => None,
        }
    }
}

/// The state after `changes`.
pub fn after(state: &State, changes: &[Change]) -> State {
    let mut state = state.clone();
    for change in changes {
        change.apply(&mut state);
    }
    state
}

fn rows<'s>(state: &'s mut State, name: &str) -> &'s mut Rows {
    Arc::make_mut(state.get_mut(name).expect("a database that is changed is there"))
}
