//! `campanile keep`: marks a backup that retention must not touch.

use std::path::PathBuf;

use campanile::backup;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::arguments::JsonArgs;
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "keep", alone: None, command, run };

#[derive(Args, Debug)]
struct KeepArgs {
    /// The repository.
    #[arg(short = 'r', long = "repository", env = "CAMPANILE_REPOSITORY", value_name = "DIR")]
    repository: PathBuf,
    /// The backup.
    #[arg(value_name = "NAME")]
    name: String,
    /// Take the mark away.
    #[arg(long, conflicts_with = "note")]
    off: bool,
    /// Why it is kept.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    #[command(flatten)]
    json: JsonArgs,
}

const LONG: &str = "\
Marks a complete backup: campanile prune leaves it, what it is an increment of, and all of the log \
from it to the end of its history, whatever the policy says. With --off the mark is taken away.";

const EXAMPLES: &str = "\
Examples:
  campanile keep -r /backup/shop 20261120_023000 --note 'before version 7'
  campanile keep -r /backup/shop 20261120_023000 --off";

#[derive(Serialize)]
struct Outcome<'a> {
    backup: &'a str,
    kept: bool,
    note: &'a str,
}

fn command() -> Command {
    KeepArgs::augment_args(Command::new("keep"))
        .about("Mark a backup that must stay")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = KeepArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    match args.off {
        true => backup::keep_no_longer(&args.repository, &args.name)?,
        false => backup::keep(&args.repository, &args.name, &args.note)?,
    }
    if args.json.json {
        session.json(&Outcome { backup: &args.name, kept: !args.off, note: &args.note })?;
    } else if args.off {
        session
            .line(format_args!("backup {} is kept as long as the policy keeps it", args.name))?;
    } else {
        session.line(format_args!("backup {} is kept until its mark is taken away", args.name))?;
    }
    Ok(Exit::Ok)
}
