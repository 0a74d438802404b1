//! The one error of this crate: opaque outside, a kind, a sentence and a cause inside.
//!
//! Owns the words that users read. Promises that every error says what happened, where, and what
//! to do next, and that callers can decide by [`Error::kind`] and three predicates without ever
//! parsing text. Must never lose the cause: an operating system error stays reachable by
//! [`std::error::Error::source`].

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure this is, for programs to decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is outside what the call accepts (a key that is too long, a bad option).
    InvalidArgument,
    /// Text given to a loader breaks the dump format; the error names source and line.
    InvalidInput,
    /// No such home, database or record.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// A feature that this build does not have, refused by name.
    Unsupported,
    /// Another process owns the home.
    Locked,
    /// The environment is in use in a way that forbids the call (open transactions, cursors).
    Busy,
    /// The environment was opened for reading only.
    ReadOnly,
    /// The environment was closed.
    Closed,
    /// This transaction was chosen to break a deadlock. Roll back and run it again.
    Deadlock,
    /// A lock was not granted in time. Roll back and run the transaction again.
    LockTimeout,
    /// A lock was not free, and the transaction asked not to wait. Roll back and run it again.
    WouldBlock,
    /// The transaction took longer than its options allow. Roll it back.
    TransactionTimeout,
    /// The versions a snapshot needs were given up. Take a new snapshot and run again.
    SnapshotTooOld,
    /// A statement of this transaction failed half-way. Roll it back.
    MustRollBack,
    /// A file or the environment has reached a limit of the format.
    Full,
    /// A progress hook asked to stop.
    Cancelled,
    /// The operating system reported an error.
    Io,
    /// A write or sync failed earlier; close and reopen the environment to recover.
    Poisoned,
    /// Bytes on disk are not what was written.
    Corrupt,
    /// The home must be recovered before it can be used this way.
    NeedsRecovery,
    /// A promise of this library was broken: a bug to report.
    Internal,
}

/// Why a call failed: what, where, and what to do next.
///
/// ```
/// use campanile::{ErrorKind, text};
///
/// let error = text::check(b"").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// assert!(!error.is_retryable());
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    pub(crate) fn because(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), source: Some(source.into()) }))
    }

    /// An I/O error with what was being done and to what.
    pub(crate) fn io(doing: impl fmt::Display, source: io::Error) -> Error {
        Error::because(ErrorKind::Io, format!("{doing}: {source}"), source)
    }

    /// An error in text input, with its line.
    pub(crate) fn input(name: &str, line: u64, what: impl fmt::Display) -> Error {
        Error::new(ErrorKind::InvalidInput, format!("{name}:{line}: {what}"))
    }

    /// A feature in text input that this build does not have, with its line.
    pub(crate) fn unsupported_input(name: &str, line: u64, what: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Unsupported, format!("{name}:{line}: {what}"))
    }

    /// The same error, with the place that it happened at in front.
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Error {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether running the same transaction again, from its beginning, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Deadlock
                | ErrorKind::LockTimeout
                | ErrorKind::WouldBlock
                | ErrorKind::TransactionTimeout
                | ErrorKind::SnapshotTooOld
        )
    }

    /// Whether bytes on disk are damaged. What is not damaged stays readable.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        self.0.kind == ErrorKind::Corrupt
    }

    /// Whether closing the environment and opening it again, which recovers it, is the way on.
    #[must_use]
    pub fn needs_recovery(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Poisoned | ErrorKind::NeedsRecovery)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
