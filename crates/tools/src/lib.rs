#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod arguments;
pub mod drill;
pub mod exit;
pub mod failure;
pub mod program;
pub mod programs;
pub mod random;
pub mod scratch;
pub mod selection;
pub mod session;
pub mod stopwatch;
pub mod target;
