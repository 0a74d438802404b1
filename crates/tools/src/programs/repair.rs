//! `campanile repair`: damaged pages and data files, built anew from a backup and the log.

use std::path::PathBuf;

use campanile::repair::RepairOptions;
use clap::{ArgGroup, ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::JsonArgs;
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "repair", alone: None, command, run };

#[derive(Args, Debug)]
struct RepairArgs {
    /// The home. Nobody may have it open.
    #[arg(short = 'h', long = "home", env = "DB_HOME", value_name = "DIR")]
    home: PathBuf,
    /// The repository with its backups; without it the archive of the home, if it has one, else
    /// the log alone.
    #[arg(short = 'r', long = "repository", env = "CAMPANILE_REPOSITORY", value_name = "DIR")]
    repository: Option<PathBuf>,
    /// A page: the numbers of the data file and of the page, as in 16:3. May be repeated.
    #[arg(long = "page", value_name = "FILE:N", value_parser = page_of, group = "what")]
    pages: Vec<(u32, u32)>,
    /// A data file: 16, or data.0000000016. May be repeated.
    #[arg(long = "file", value_name = "FILE", value_parser = file_of, group = "what")]
    files: Vec<u32>,
    /// A database. May be repeated.
    #[arg(long = "database", value_name = "NAME", group = "what")]
    databases: Vec<String>,
    /// Everything that is found damaged or missing.
    #[arg(long, group = "what")]
    all: bool,
    /// More log files. May be given more than once.
    #[arg(short = 'l', long = "logs", value_name = "DIR")]
    logs: Vec<PathBuf>,
    /// Do it all in memory, say what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Show progress on standard error.
    #[arg(short = 'f', long = "progress")]
    progress: bool,
    #[command(flatten)]
    json: JsonArgs,
}

const LONG: &str = "\
Builds damaged pages, data files or databases of a home anew: from the newest backup in the \
repository that will do and the log since, from all backups, the archive and the home itself, to \
the end of the log; from the log alone where it reaches back to the making of the file. Nothing \
that was committed is lost, and nothing else of the home is touched. A data file that was deleted, \
or replaced by an older copy or by that of another environment, is built anew in the same way.

--all opens the home in memory first, with recovery if it needs it, checks every database there, \
and repairs what is found; what cannot be repaired is said and left as it is (exit status 2).

Every change is checked against the page that it was made on. A new file takes the place of the \
damaged one in one step; a repair that was cut short is simply run again. If the home was not \
closed, its next open recovers it as ever. A database that is not durable has no log: it comes \
back empty, and that is said.";

const EXAMPLES: &str = "\
Examples:
  campanile repair -h /srv/shop -r /backup/shop --all            what verification finds
  campanile repair -h DIR -r R --all --dry-run                   what that would do
  campanile repair -h DIR -r R --page 16:3                       the page of an error message
  campanile repair -h DIR -r R --database accounts";

fn command() -> Command {
    RepairArgs::augment_args(Command::new("repair"))
        .about("Rebuild damaged pages, files or databases from a backup and the log")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
        .group(ArgGroup::new("what").required(true).multiple(true))
}

fn file_of(text: &str) -> Result<u32, String> {
    let digits = text.rsplit('/').next().unwrap_or(text);
    let digits = digits.strip_prefix("data.").unwrap_or(digits);
    let number = digits.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "not a data file: give its number, as in 16 or data.0000000016".to_owned())
}

fn page_of(text: &str) -> Result<(u32, u32), String> {
    let wrong = || "not a page: give the numbers of file and page, as in 16:3".to_owned();
    let (file, page) = text.split_once(':').ok_or_else(wrong)?;
    Ok((file_of(file)?, page.parse().map_err(|_| wrong())?))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = RepairArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let mut options =
        RepairOptions::new().dry_run(args.dry_run).progress(session.progress(args.progress));
    if let Some(dir) = args.repository {
        options = options.repository(dir);
    }
    for (file, page) in args.pages {
        options = options.page(file, page);
    }
    for file in args.files {
        options = options.file(file);
    }
    for name in args.databases {
        options = options.database(name);
    }
    if args.all {
        options = options.all();
    }
    for dir in args.logs {
        options = options.logs(dir);
    }
    let report = options.run(&args.home)?;
    if args.json.json {
        session.json(&report)?;
    } else {
        session.line(report.to_string().trim_end())?;
        if report.dry_run {
            session.line("dry run: nothing was written")?;
        }
    }
    Ok(if report.is_complete() { Exit::Ok } else { Exit::Damage })
}
