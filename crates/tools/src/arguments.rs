//! Command-line arguments that several programs share.
//!
//! Owns `-h DIR`, `--json` and the words that refuse options of Berkeley DB which have no meaning
//! here. Promises that an option means the same in every program that has it.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;

/// `-h DIR`: which environment.
#[derive(Args, Clone, Debug)]
pub struct HomeArgs {
    /// Home directory of the environment.
    #[arg(short = 'h', long = "home", env = "DB_HOME", value_name = "DIR", default_value = ".")]
    pub home: PathBuf,
}

/// `--json`.
#[derive(Args, Clone, Copy, Debug)]
pub struct JsonArgs {
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `-P`: there is no encryption, so a password is never right.
#[derive(Args, Clone, Debug)]
pub struct PasswordArgs {
    /// Password of an encrypted environment: not in this build.
    #[arg(short = 'P', value_name = "PASSWORD", hide = true)]
    password: Option<String>,
}

impl PasswordArgs {
    /// Refuses a password.
    pub fn refuse(&self) -> Result<(), Failure> {
        match self.password {
            None => Ok(()),
            Some(_) => Err(Failure::unsupported("-P: encryption is not in this build")),
        }
    }
}

/// Refuses an option of Berkeley DB by name when it was given.
pub fn refuse(given: bool, option: &str, why: &str) -> Result<(), Failure> {
    if given { Err(Failure::unsupported(format!("{option}: {why}"))) } else { Ok(()) }
}
