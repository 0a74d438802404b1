//! `campanile info`: what a repository can bring back.

use std::path::PathBuf;

use campanile::backup::{self, Catalog, Window};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::JsonArgs;
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "info", alone: None, command, run };

/// Columns of a drawn window.
const WIDTH: u64 = 64;

#[derive(Args, Debug)]
struct InfoArgs {
    /// The repository.
    #[arg(short = 'r', long = "repository", env = "CAMPANILE_REPOSITORY", value_name = "DIR")]
    repository: PathBuf,
    #[command(flatten)]
    json: JsonArgs,
}

const LONG: &str = "\
Says what a repository can bring back: for each history the stretches of time from which any \
moment can be restored, drawn to scale, and the backups. All log files are read, so what is said \
is proven. A stretch ends where the log ends, is damaged or is missing.";

const EXAMPLES: &str = "\
Examples:
  campanile info -r /backup/shop
  campanile info -r /backup/shop --json";

fn command() -> Command {
    InfoArgs::augment_args(Command::new("info"))
        .about("Say what a repository can bring back")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = InfoArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let catalog = backup::catalog(&args.repository)?;
    if args.json.json {
        session.json(&catalog)?;
        return Ok(Exit::Ok);
    }
    session.line(format_args!("recoverable, environment {}", catalog.environment))?;
    for window in &catalog.windows {
        describe(session, &catalog, window)?;
    }
    if catalog.windows.is_empty() {
        session.line("  nothing: there is no complete backup")?;
    }
    session.line("backups")?;
    for found in &catalog.backups {
        match &found.end {
            Some(end) => session.line(format_args!(
                "  {}  timeline {}, complete at {end} ({}), {} bytes",
                found.name, found.timeline, found.last_time, found.bytes
            ))?,
            None => session.line(format_args!("  {}  partial: never completed", found.name))?,
        }
    }
    Ok(Exit::Ok)
}

fn describe(session: &Session, catalog: &Catalog, window: &Window) -> Result<(), Failure> {
    session.line(format_args!(
        "  timeline {:<8} from {} ({})\n{:20}to {} ({})",
        window.timeline, window.from_time, window.from, "", window.to_time, window.to
    ))?;
    session.line(format_args!("    [{}]", draw(catalog, window)))?;
    match &window.ended_by {
        Some(why) => session.line(format_args!("    ends there because: {why}")),
        None => Ok(()),
    }
}

/// The window on the time that all windows span; backups are marked.
fn draw(catalog: &Catalog, window: &Window) -> String {
    let from = catalog.windows.iter().map(|one| one.from_us).min().unwrap_or_default();
    let to = catalog.windows.iter().map(|one| one.to_us).max().unwrap_or_default();
    let place = |us: u64| {
        let span = (to.saturating_sub(from)).max(1);
        u64::try_from(
            u128::from(us.saturating_sub(from)) * u128::from(WIDTH - 1) / u128::from(span),
        )
        .unwrap_or(WIDTH - 1)
    };
    let marks: Vec<u64> = window.backup_times_us.iter().map(|us| place(*us)).collect();
    let column = |at: u64| match at {
        at if marks.contains(&at) => 'B',
        at if (place(window.from_us)..=place(window.to_us)).contains(&at) => '=',
        _ => '.',
    };
    (0..WIDTH).map(column).collect()
}
