//! A home for reading, also while somebody owns it.
//!
//! Owns `--scratch`. Promises that a home which nobody owns is read as it is, and that of one which
//! somebody owns a hot copy is read instead, which is removed afterwards. Must never change a home,
//! nor remove anything that it did not make.

use std::path::{Path, PathBuf};

use campanile::restore::{self, Target};
use campanile::{Environment, EnvironmentOptions, ErrorKind, backup};
use clap::Args;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::programs::open_to_read;
use crate::session::Session;

/// `--scratch`.
#[derive(Args, Clone, Debug)]
pub struct ScratchArgs {
    /// If a process owns the home: read a hot copy of it, made in DIR and removed afterwards. It
    /// takes as much room as the home. Without this a home in use is refused.
    #[arg(long = "scratch", value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

/// A home, opened for reading.
#[derive(Debug)]
pub struct ReadHome {
    env: Environment,
    /// Removed when it is dropped.
    copy: Option<Copy>,
}

impl ReadHome {
    /// Opens a home, or a hot copy of it.
    pub fn open(
        session: &Session,
        home: &Path,
        scratch: &ScratchArgs,
    ) -> Result<ReadHome, Failure> {
        let error = match open_to_read(session, home) {
            Ok(env) => return Ok(ReadHome { env, copy: None }),
            Err(Failure::Engine(error)) if error.kind() == ErrorKind::Locked => error,
            Err(failure) => return Err(failure),
        };
        let Some(dir) = &scratch.scratch else {
            let what = format!("{error}; or give --scratch DIR, and a hot copy of it is read");
            return Err(Failure::Refused(Exit::Locked, what));
        };
        let copy = Copy { path: dir.join(format!("campanile-scratch-{}", std::process::id())) };
        let progress = session.progress(false);
        let made = backup::hot_copy(home, &copy.path, &progress)?;
        restore::catastrophic(&copy.path, &Target::End, EnvironmentOptions::new())?;
        let env = Environment::options().read_only(true).progress(progress).open(&copy.path)?;
        session.note(format_args!(
            "{} is in use: a hot copy as of {} is read",
            home.display(),
            made.last_time
        ));
        let home = ReadHome { env, copy: Some(copy) };
        home.tell_what_is_not_copied(session)?;
        Ok(home)
    }

    /// The environment.
    #[must_use]
    pub fn env(&self) -> &Environment {
        &self.env
    }

    /// Closes it, and removes the copy.
    pub fn close(self) -> Result<(), Failure> {
        let ReadHome { env, copy } = self;
        env.close()?;
        drop(copy);
        Ok(())
    }

    /// A backup holds nothing of a database that would not survive a crash either.
    fn tell_what_is_not_copied(&self, session: &Session) -> Result<(), Failure> {
        let snapshot = self.env.snapshot()?;
        for name in self.env.databases(&snapshot)? {
            if !self.env.open_database_at(&snapshot, &name)?.is_durable() {
                session.note(format_args!(
                    "database {name:?} is not durable: a hot copy holds nothing of it"
                ));
            }
        }
        Ok(())
    }
}

/// A directory that this process made.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It is only in the way: whoever looks finds its name.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
