//! The lock table: modes, queues, families, deadlocks, time, and many threads at once.

mod brief;
mod deadlock;
mod family;
mod gap;
mod harness;
mod model;
mod modes;
mod queue;
mod stress;
mod time;
mod upgrade;
