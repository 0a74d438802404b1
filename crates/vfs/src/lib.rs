#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod file;
mod filesystem;
mod host;
mod memory;
mod os;
mod poison;

pub use file::File;
pub use filesystem::{FileLock, LockMode, Open, Vfs};
pub use host::{Adversary, Background, Clock, Host, OsClock, OsRandom, Random, never};
pub use memory::MemoryVfs;
pub use os::OsVfs;
pub use poison::{Poison, Poisoned};
