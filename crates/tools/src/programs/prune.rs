//! `campanile prune`: removes backups and log files that a policy does not keep.

use std::path::PathBuf;

use campanile::backup::PruneOptions;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::JsonArgs;
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "prune", alone: None, command, run };

#[derive(Args, Debug)]
struct PruneArgs {
    /// The repository.
    #[arg(short = 'r', long = "repository", env = "CAMPANILE_REPOSITORY", value_name = "DIR")]
    repository: PathBuf,
    /// The newest N complete backups stay.
    #[arg(long = "keep-last", value_name = "N")]
    keep_last: Option<u32>,
    /// What is needed to restore any moment of the last D days stays.
    #[arg(long = "keep-days", value_name = "D")]
    keep_days: Option<u32>,
    /// Print the plan and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Show progress on standard error.
    #[arg(short = 'f', long = "progress")]
    progress: bool,
    #[command(flatten)]
    json: JsonArgs,
}

const LONG: &str = "\
Removes backups and archived log files that are not kept by --keep-last or --keep-days; of both, \
what either keeps stays. What is printed says for everything why it stays or goes.

It never removes the newest complete backup, one with a keep mark (campanile keep), one that an \
increment which stays builds on, nor a log file that a backup which stays needs on its way to the \
end of its history. Where that is not certain, the file stays. A log file of which a backup that \
goes holds the only whole copy is archived first. A backup that was cut short goes when it is \
older than what the policy keeps.

Nothing else works in the repository meanwhile: while a backup is made or restored it is refused. \
If it is cut short, what is left can be restored, and the next run goes on.";

const EXAMPLES: &str = "\
Examples:
  campanile prune -r /backup/shop --keep-last 7 --dry-run
  campanile prune -r /backup/shop --keep-days 30 --keep-last 3";

fn command() -> Command {
    PruneArgs::augment_args(Command::new("prune"))
        .about("Remove backups and log files that are no longer kept")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = PruneArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let mut options =
        PruneOptions::new().dry_run(args.dry_run).progress(session.progress(args.progress));
    if let Some(last) = args.keep_last {
        options = options.keep_last(last);
    }
    if let Some(days) = args.keep_days {
        options = options.keep_days(days);
    }
    let report = options.run(&args.repository)?;
    if args.json.json {
        session.json(&report)?;
        return Ok(Exit::Ok);
    }
    session.line(report.to_string().trim_end())?;
    if report.dry_run {
        session.line("dry run: nothing was removed")?;
    }
    Ok(Exit::Ok)
}
