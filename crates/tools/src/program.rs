//! The table of programs, and how one is started: alone, or as a subcommand of `campanile`.
//!
//! Owns the way from the command line to an exit status. Promises that a program behaves the same
//! under both names.

use std::process::ExitCode;

use clap::error::ErrorKind as ClapErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::session::Session;

/// One program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name as a subcommand of `campanile`.
    pub subcommand: &'static str,
    /// Its name as a program of its own, if it is one.
    pub alone: Option<&'static str>,
    /// Its command line.
    pub command: fn() -> Command,
    /// Its work.
    pub run: fn(&ArgMatches, &Session) -> Result<Exit, Failure>,
}

impl Program {
    fn command_named(&self, name: &'static str) -> Command {
        // `-h` is the home, as in Berkeley DB: help is `--help`.
        let help = Arg::new("help").long("help").action(ArgAction::Help).help("Print this help");
        (self.command)()
            .name(name)
            .version(env!("CARGO_PKG_VERSION"))
            .disable_help_flag(true)
            .arg(help)
            .max_term_width(100)
            .after_help("See --help for examples and the exit status.")
    }
}

/// Runs a program under its own name.
#[must_use]
pub fn main_alone(program: &Program) -> ExitCode {
    let name = program.alone.unwrap_or(program.subcommand);
    let matches = match program.command_named(name).try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    finish(&Session::new(name), |session| (program.run)(&matches, session))
}

/// Runs `campanile SUBCOMMAND`.
#[must_use]
pub fn main_umbrella(programs: &[Program]) -> ExitCode {
    let matches = match umbrella(programs).try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let Some((name, matches)) = matches.subcommand() else { return Exit::Usage.into() };
    let Some(program) = programs.iter().find(|program| program.subcommand == name) else {
        return Exit::Usage.into();
    };
    let session = Session::new(format!("campanile {name}"));
    finish(&session, |session| (program.run)(matches, session))
}

/// The command line of `campanile`.
#[must_use]
pub fn umbrella(programs: &[Program]) -> Command {
    let subcommands = programs.iter().map(|program| program.command_named(program.subcommand));
    Command::new("campanile")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An embedded transactional key-value store: a database you can always get back")
        .long_about(
            "Campanile is an embedded, transactional key-value store. This program holds all of \
             its tools; most exist under the names of Berkeley DB's too (db_recover, db_dump ...).",
        )
        .after_long_help(TABLE)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100)
        .subcommands(subcommands)
}

fn usage(error: &clap::Error) -> ExitCode {
    let exit = match error.kind() {
        ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion => Exit::Ok,
        _ => Exit::Usage,
    };
    // Nothing is left to do if not even this can be printed.
    let _ = error.print();
    exit.into()
}

fn finish(session: &Session, run: impl FnOnce(&Session) -> Result<Exit, Failure>) -> ExitCode {
    match run(session) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if let Some(message) = failure.message() {
                session.note(message);
            }
            failure.exit().into()
        }
    }
}
