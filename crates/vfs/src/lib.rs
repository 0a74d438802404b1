#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod call;
mod file;
mod filesystem;
mod host;
mod memory;
mod observe;
mod os;
mod poison;
mod record;
pub mod sim;

pub use call::{Call, CallKind, LoggedCall, Outcome};
pub use file::File;
pub use filesystem::{FileLock, LockMode, Open, Vfs};
pub use host::{Adversary, Background, Clock, Host, OsClock, OsRandom, Random, never};
pub use memory::MemoryVfs;
pub use observe::{Observed, Observer};
pub use os::OsVfs;
pub use poison::{Poison, Poisoned, UnwindGuard};
pub use record::{Recording, Tally};
