#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

#[cfg(not(any(loom, shuttle)))]
mod real;
#[cfg(not(any(loom, shuttle)))]
pub use real::*;

#[cfg(any(loom, shuttle))]
mod checked;
#[cfg(any(loom, shuttle))]
mod checked_condvar;
#[cfg(any(loom, shuttle))]
mod checked_mutex;
#[cfg(any(loom, shuttle))]
mod checked_rwlock;
#[cfg(any(loom, shuttle))]
mod checked_time;
#[cfg(any(loom, shuttle))]
mod checked_word;
#[cfg(any(loom, shuttle))]
pub use checked::*;

#[cfg(loom)]
mod every_interleaving;
#[cfg(loom)]
pub use every_interleaving::{every_interleaving, some_interleaving_fails};

pub mod plain;
