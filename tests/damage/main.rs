//! Bad input: small environments in which something was damaged while nobody looked. Whatever it
//! was, there is no panic, no hang, no allocation out of proportion and no wrong answer: damage is
//! refused or reported with its place, or is shown to lie where nobody reads.
//!
//! The everyday run takes a sample by a fixed seed; `CAMPANILE_DAMAGE=all` damages every bit, every
//! length and every sector. Run with `--nocapture` for the counts.

mod allocation;
mod bytes;
mod campaign;
mod damage;
mod exam;
mod facts;
mod files;
mod sample;
mod verdict;

#[global_allocator]
static ALLOCATOR: allocation::Watched = allocation::Watched;
