//! The log as its users see it: on disks that are kind, that crash, that fail and that lie.

mod append;
mod control;
mod crash;
mod damage;
mod faults;
mod mutation;
mod pins;
#[cfg(feature = "planted-bugs")]
mod planted;
mod records;
mod threads;
