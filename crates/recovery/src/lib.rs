#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod analysis;
mod catastrophic;
mod create;
mod decide;
mod error;
mod open;
mod plan;
mod progress;
mod rebuild;
mod recover;
mod redo;
mod replay;
mod report;
mod start_point;
mod target;

pub use catastrophic::{Reach, catastrophic, examine};
pub use decide::{Contradiction, Decision, PageState, decide};
pub use error::RecoveryError;
pub use open::{OpenOptions, Opened, dry_run, open};
pub use progress::{Hook, Phase, Progress};
pub use rebuild::{HomeLog, Rebuild, Rebuilt, SettledLog};
pub use replay::Replay;
pub use report::{
    Outcome, PhaseTime, PreparedReport, RecoveryReport, RedoCounts, RestoredTo, UndoCounts,
};
pub use start_point::{CleanEnd, ControlState, LogState, Start, choose};
pub use target::{CommitAt, Stop, Target};
