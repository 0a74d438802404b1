//! Harness shared by the tests that cross crates: the model that knows what must be there, seeded
//! workloads, and the explorer that crashes an environment at every I/O call.

pub mod baton;
pub mod change;
pub mod checker;
pub mod explore;
pub mod flock;
pub mod history;
pub mod life;
pub mod monitor;
pub mod oracle;
pub mod reopen;
pub mod script;
pub mod sessions;
pub mod sweep;
pub mod white_box;
pub mod workload;
