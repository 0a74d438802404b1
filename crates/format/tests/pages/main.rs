//! The page half of the format: golden files, and FORMAT.md against the code.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod document;
mod golden;
#[path = "../shared/hexdump.rs"]
mod hexdump;
mod planted;
mod tables;
