//! The log half of the format: records, frames and headers, bit by bit.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod arbitrary;
mod document;
mod frames;
mod golden;
mod headers;
#[path = "../shared/hexdump.rs"]
mod hexdump;
mod planted;
mod records;
mod samples;
