//! A simulated disk with the exact crash and fault rules of the README's tables.
//!
//! Owns a whole deterministic world: files, directories, what survives a crash (D1-D9), what goes
//! wrong at run time (F1-F9), time and chance. Promises that everything follows from the seed and
//! the calls. Must never be used by the product: it exists to break it.

mod counters;
mod crash;
mod damage;
mod dice;
mod disk;
mod fault;
mod file_calls;
mod image;
mod inode;
mod name_calls;
mod names;
mod options;
mod power_failure;
mod survive;
mod world;

pub use counters::{Counters, Rule};
pub use crash::{CrashChoice, CrashPolicy, PendingInfo};
pub use disk::{CrashPoint, Side, SimDisk};
pub use fault::{
    Errno, Fault, FaultPlan, FaultRule, Rot, SimCrash, SimFault, SyncFailure, Trigger,
};
pub use options::{Lost, SimOptions};
pub use world::{SimAdversary, SimClock, SimRandom};
