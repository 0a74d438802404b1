//! Atomics that no protocol rests on: the same in every build.
//!
//! Owns nothing; names the standard library's atomics for counters of statistics, for numbers
//! that are only drawn (`static NEXT`), and for the words of pages, whose layout is that of a
//! `u64`. A model checker does not look at them and does not switch threads at them. Must never
//! serve for a word that one thread writes so that another may act on it.

pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
