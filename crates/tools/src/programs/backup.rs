//! `campanile backup`: a full backup of a home, in use or not, in a repository.

use std::path::PathBuf;

use campanile::backup::{self, BackupReport};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::{HomeArgs, JsonArgs};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "backup", alone: None, command, run };

#[derive(Args, Debug)]
struct BackupArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// The repository: a directory, made by the first backup.
    #[arg(short = 'r', long = "repository", env = "CAMPANILE_REPOSITORY", value_name = "DIR")]
    repository: PathBuf,
    /// Show progress on standard error.
    #[arg(short = 'f', long = "progress")]
    progress: bool,
    #[command(flatten)]
    json: JsonArgs,
}

const LONG: &str = "\
Makes a full backup of an environment while its owner goes on working, from its files alone. Every \
page is checked by its checksum while it is copied. The backup is named by the time at which it \
began, counts only when it is complete, and never touches an older one. Directory and files are \
readable by their owner only.

A home whose owner died is refused: recover it first (db_recover).";

const EXAMPLES: &str = "\
Examples:
  campanile backup -h /srv/shop -r /backup/shop
  campanile backup -h /srv/shop -r /backup/shop --json";

fn command() -> Command {
    BackupArgs::augment_args(Command::new("backup"))
        .about("Back up an environment that may be in use")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = BackupArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let progress = session.progress(args.progress);
    let report = backup::back_up(&args.home.home, &args.repository, &progress)?;
    if args.json.json {
        session.json(&report)?;
    } else {
        session.line(format_args!("backup {} in {}", report.name, report.directory))?;
        describe(session, &report)?;
    }
    Ok(Exit::Ok)
}

/// What a backup is, for people.
pub(crate) fn describe(session: &Session, report: &BackupReport) -> Result<(), Failure> {
    let rate = report.bytes as f64 / 1e6 / report.seconds.max(1e-6);
    session.line(format_args!(
        "  copied    {} bytes in {} files, {:.2} s, {rate:.0} MB/s",
        report.bytes, report.files, report.seconds
    ))?;
    session.line(format_args!(
        "  checked   {} pages, {} read again",
        report.pages, report.pages_read_again
    ))?;
    session.line(format_args!(
        "  log       {} to {}, replay from {}, timeline {}",
        report.first, report.end, report.redo, report.timeline
    ))?;
    session.line(format_args!("  reaches   {} (last time in its log)", report.last_time))
}
