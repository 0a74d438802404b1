//! Tests of the tree through its public surface, over a real log and page store in memory.

mod basics;
mod bulk;
mod cursors;
mod damage;
mod families;
mod gaps;
mod kept_locks;
mod long_values;
mod model;
#[cfg(feature = "planted-bugs")]
mod planted;
mod program;
mod rig;
mod shrinking;
mod snapshots;
mod stress;
mod threads;
mod undoing;
