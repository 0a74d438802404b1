//! `db_checkpoint`: takes a checkpoint.

use campanile::{Environment, inspect};
use clap::{ArgGroup, ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::arguments::{HomeArgs, JsonArgs, PasswordArgs, refuse};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program =
    Program { subcommand: "checkpoint", alone: Some("db_checkpoint"), command, run };

#[derive(Args, Debug)]
struct CheckpointArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Take one checkpoint now, whatever was written.
    #[arg(short = '1', long = "once")]
    once: bool,
    /// Take one if at least this many kilobytes of log were written since the last.
    #[arg(short = 'k', long = "kilobytes", value_name = "KB")]
    kilobytes: Option<u64>,
    /// Take one if the last was at least this many minutes ago.
    #[arg(short = 'p', long = "minutes", value_name = "MIN")]
    minutes: Option<u64>,
    /// Write the process id of the daemon to a file: there is no daemon.
    #[arg(short = 'L', value_name = "FILE", hide = true)]
    pid_log: Option<String>,
    /// Say what was done.
    #[arg(short = 'v', long = "verbose")]
    verbose: bool,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

const LONG: &str = "\
Takes a checkpoint: every change so far is written to the data files, so that recovery has less \
to read and old log files can be used again.

One process owns an environment, and takes its own checkpoints while it runs (see \
EnvironmentOptions::checkpoint_log_bytes and checkpoint_interval). This program is for a home that \
nobody owns, and looks once: with -k or -p it takes a checkpoint only if enough was written or \
enough time has passed since the last one. It is not a daemon.";

const EXAMPLES: &str = "\
Examples:
  db_checkpoint -1 -h /srv/shop      take a checkpoint now
  db_checkpoint -k 10240 -p 30 -h DIR   if 10 MB were logged or half an hour has passed";

fn command() -> Command {
    CheckpointArgs::augment_args(Command::new("db_checkpoint"))
        .about("Take a checkpoint")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
        .group(
            ArgGroup::new("when")
                .args(["once", "kilobytes", "minutes"])
                .required(true)
                .multiple(true),
        )
}

#[derive(Serialize)]
struct Outcome {
    home: String,
    recovered: bool,
    taken: bool,
    /// Where the checkpoint stands in the log.
    checkpoint: Option<String>,
    /// Where recovery would begin.
    redo: Option<String>,
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args =
        CheckpointArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    args.password.refuse()?;
    refuse(args.pid_log.is_some(), "-L", "there is no daemon whose process id could be written")?;

    let home = &args.home.home;
    let before = inspect::home(home)?;
    let due = args.once
        || args.kilobytes.is_some_and(|kb| before.log_bytes_since_checkpoint >= kb * 1024)
        || args.minutes.is_some_and(|minutes| before.control_age_seconds >= minutes * 60);
    let mut outcome = Outcome {
        home: home.display().to_string(),
        recovered: false,
        taken: due,
        checkpoint: None,
        redo: None,
    };
    if due {
        let progress = session.progress(false);
        let env = Environment::options().create(false).progress(progress).open(home)?;
        outcome.recovered = env.recovery_report().is_some();
        let info = env.checkpoint()?;
        outcome.checkpoint = Some(info.lsn.to_string());
        outcome.redo = Some(info.redo.to_string());
        env.close()?;
    }
    if args.json.json {
        session.json(&outcome)?;
    } else if args.verbose {
        if outcome.recovered {
            session.line("the last owner had died: the environment was recovered first")?;
        }
        match (&outcome.checkpoint, &outcome.redo) {
            (Some(lsn), Some(redo)) => {
                session
                    .line(format_args!("checkpoint at {lsn}; recovery would begin at {redo}"))?;
            }
            _ => session.line("no checkpoint is due")?,
        }
    }
    Ok(Exit::Ok)
}
