//! A database you can always get back: hot backups under load, archives, restores to any place in
//! the log, on the simulated disk. What a restore must show is known from the calls that the
//! workload made, never from the engine.

mod archive;
mod archivers;
mod copying;
mod crashes;
mod directories;
mod first_life;
mod histories;
mod increments;
mod interleaved;
mod locked_out;
mod lost_files;
mod moments;
mod partly_lost;
#[cfg(feature = "planted-bugs")]
mod planted;
mod repair;
mod restore;
mod restore_only;
mod retention;
mod verify;
mod world;
