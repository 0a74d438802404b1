//! What a program's exit status means: one table for all programs.
//!
//! Owns the numbers and the words printed for them. Promises that a number never changes its
//! meaning. Must never be bypassed by `std::process::exit` with a bare number.

use campanile::{Error, ErrorKind};

/// The exit status of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The command line is wrong. Also `db_load -n` when keys existed, as in Berkeley DB, and
    /// `campanile diff` when the sides differ.
    Usage = 1,
    /// Damage was found, or a proof failed.
    Damage = 2,
    /// The home needs recovery first.
    NeedsRecovery = 3,
    /// Another process owns the home.
    Locked = 4,
    /// The operating system reported an error.
    Io = 5,
    /// This build cannot do that.
    Refused = 6,
    /// The input text breaks the dump format.
    Input = 7,
    /// There is no such home or database.
    NotFound = 8,
    /// Cancelled.
    Cancelled = 9,
    /// A bug in this program.
    Internal = 70,
}

/// The table, as every `--help` prints it.
pub const TABLE: &str = "Exit status:
  0   done
  1   the command line is wrong (db_load -n: some keys existed and were kept; campanile diff: the
      sides differ)
  2   damage was found, or a proof failed
  3   the home needs recovery first
  4   another process owns the home
  5   the operating system reported an error
  6   refused: this build does not do that, or not in this state
  7   the input text breaks the dump format; nothing of it was kept
  8   no such home or database
  9   cancelled
  70  a bug in this program: please report it";

impl Exit {
    /// The status that tells of an error.
    #[must_use]
    pub fn of(error: &Error) -> Exit {
        match error.kind() {
            ErrorKind::InvalidArgument => Exit::Usage,
            ErrorKind::InvalidInput => Exit::Input,
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::AlreadyExists
            | ErrorKind::Unsupported
            | ErrorKind::Busy
            | ErrorKind::ReadOnly
            | ErrorKind::Closed
            | ErrorKind::Deadlock
            | ErrorKind::LockTimeout
            | ErrorKind::SnapshotTooOld => Exit::Refused,
            ErrorKind::Locked => Exit::Locked,
            ErrorKind::Cancelled => Exit::Cancelled,
            ErrorKind::Io | ErrorKind::Poisoned => Exit::Io,
            ErrorKind::Corrupt => Exit::Damage,
            ErrorKind::NeedsRecovery => Exit::NeedsRecovery,
            _ => Exit::Internal,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}
