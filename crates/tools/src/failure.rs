//! Why a program stops before its work is done.
//!
//! Owns the join of library errors, output errors and refusals. Promises one sentence and one exit
//! status for each. A reader that closes the pipe early (`db_dump | head`) is no failure.

use std::io;

use campanile::Error;

use crate::exit::Exit;

/// Why a program stops.
#[derive(Debug)]
pub enum Failure {
    /// The library says why.
    Engine(Error),
    /// Reading or writing what the user named failed.
    Io(String, io::Error),
    /// Whoever reads our output has gone.
    OutputClosed,
    /// The program itself refuses.
    Refused(Exit, String),
}

impl Failure {
    /// A refusal because of the command line.
    pub fn usage(what: impl Into<String>) -> Failure {
        Failure::Refused(Exit::Usage, what.into())
    }

    /// A refusal of what this build does not have.
    pub fn unsupported(what: impl Into<String>) -> Failure {
        Failure::Refused(Exit::Refused, what.into())
    }

    /// An operating system error while `doing`.
    pub fn io(doing: impl Into<String>, error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::OutputClosed;
        }
        Failure::Io(doing.into(), error)
    }

    /// The status to exit with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Engine(error) => Exit::of(error),
            Failure::Io(_, error) if error.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            Failure::Io(..) => Exit::Io,
            Failure::OutputClosed => Exit::Ok,
            Failure::Refused(exit, _) => *exit,
        }
    }

    /// The sentence to print; none if there is nobody to read it.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        match self {
            Failure::Engine(error) => Some(error.to_string()),
            Failure::Io(doing, error) => Some(format!("{doing}: {error}")),
            Failure::OutputClosed => None,
            Failure::Refused(_, what) => Some(what.clone()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe) {
                return Failure::OutputClosed;
            }
            cause = error.source();
        }
        Failure::Engine(error)
    }
}
