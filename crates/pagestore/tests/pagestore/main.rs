//! Tests of the page store from outside, through files on every backend.

mod cache;
mod crash;
mod damage;
mod faults;
mod fixture;
mod glimpses;
mod model;
mod order;
#[cfg(feature = "planted-bugs")]
mod planted;
mod threads;
