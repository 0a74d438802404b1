//! `campanile restore`: a backup and the log since, brought to a moment, in another directory.

use std::path::PathBuf;

use campanile::restore::{RestoreOnly, RestoreOptions};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::JsonArgs;
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;
use crate::target::TargetArgs;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "restore", alone: None, command, run };

#[derive(Args, Debug)]
struct RestoreArgs {
    /// Where to restore to: an empty or missing directory.
    #[arg(
        short = 'h',
        long = "home",
        env = "DB_HOME",
        value_name = "DIR",
        required_unless_present = "into"
    )]
    home: Option<PathBuf>,
    /// The repository.
    #[arg(short = 'r', long = "repository", env = "CAMPANILE_REPOSITORY", value_name = "DIR")]
    repository: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    /// Bring back only these databases, under other names where given; the rest of the backup is
    /// restored into a scratch directory and thrown away.
    #[arg(long = "only", value_name = "DB[=NEW],...", value_delimiter = ',')]
    only: Vec<String>,
    /// With --only: bring them into this home, which exists and which nobody has open. (A program
    /// that has it open can do the same: `restore::RestoreOnly`.)
    #[arg(long = "into", value_name = "HOME", requires = "only")]
    into: Option<PathBuf>,
    /// With --only: the scratch directory (default: beside the home).
    #[arg(long = "scratch", value_name = "DIR", requires = "only")]
    scratch: Option<PathBuf>,
    /// The backup to begin with; without it the newest from which the target can be reached.
    #[arg(long = "backup", value_name = "NAME")]
    backup: Option<String>,
    /// The history to follow, where several end.
    #[arg(long = "timeline", value_name = "N")]
    timeline: Option<u32>,
    /// More log files: what was salvaged of the failed machine. May be given more than once.
    #[arg(short = 'l', long = "logs", value_name = "DIR")]
    logs: Vec<PathBuf>,
    /// Put the data files that were in the data directory OLD of the lost home into NEW, which is
    /// empty or missing. Without it all go into the new home. May be given more than once.
    #[arg(long = "map", value_name = "OLD=NEW", conflicts_with = "only")]
    map: Vec<String>,
    /// Say what would be done, prove that it can be, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Show progress on standard error.
    #[arg(short = 'f', long = "progress")]
    progress: bool,
    #[command(flatten)]
    json: JsonArgs,
}

const LONG: &str = "\
Restores an environment from a repository into an empty directory: the newest backup from which \
the target can be reached, and the log since, from all backups, the archive, and directories with \
salvaged log files (--logs; names and duplicates do not matter, the best copy of each file is \
taken). Without a target the log is replayed to its end.

Everything is proven before anything is written: a target that cannot be reached, a gap in the log \
or a damaged log file is refused, with what can be reached. A restore that was cut short is \
recognised, and is run again by the same command.

The restored environment begins a new timeline: its log cannot be mixed up with the old one, which \
stays in the repository. It archives nothing until it is told to (db_archive --to).

Data directories that were inside of the home come back inside of the new one, those that were \
elsewhere as data-1 and so on inside of it, unless --map says where: the directories of the lost \
machine are never written to. campanile data-dirs shows and changes where they are.

With --only selected databases come back as of the target, into a new home (-h) or into one that \
is \
in use otherwise (--into), under other names if wanted. Each is copied pair by pair in one \
transaction, read back and compared. A name that is taken is refused before anything is written.";

const EXAMPLES: &str = "\
Examples:
  campanile restore -r /backup/shop -h /srv/shop              to the end of the log
  campanile restore -r R -h DIR -t 2026-11-20T12:44:59Z       to just before a mistake
  campanile restore -r R -h DIR --restore-point 'before v7'
  campanile restore -r R -h DIR --logs /mnt/old/log --dry-run
  campanile restore -r R -h DIR --map /disk2/shop=/disk3/shop
  campanile restore -r R --into /srv/shop --only accounts=accounts.before -t 2026-11-20T12:44:59Z";

fn command() -> Command {
    RestoreArgs::augment_args(Command::new("restore"))
        .about("Restore a backup to any moment in the log")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = RestoreArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let mut options = RestoreOptions::new()
        .target(args.target.target()?)
        .dry_run(args.dry_run)
        .progress(session.progress(args.progress));
    if let Some(name) = args.backup {
        options = options.backup(name);
    }
    if let Some(timeline) = args.timeline {
        options = options.timeline(timeline);
    }
    for dir in args.logs {
        options = options.logs(dir);
    }
    for map in &args.map {
        let Some((old, new)) = map.split_once('=') else {
            return Err(Failure::usage(format!("--map {map}: give OLD=NEW")));
        };
        options = options.map(old, new);
    }
    if !args.only.is_empty() {
        if args.dry_run {
            return Err(Failure::usage("--dry-run does not go with --only".to_owned()));
        }
        let mut only = RestoreOnly::new(options).progress(session.progress(args.progress));
        for name in &args.only {
            only = match name.split_once('=') {
                Some((name, new_name)) => only.database_as(name, new_name),
                None => only.database(name),
            };
        }
        if let Some(dir) = args.scratch {
            only = only.scratch(dir);
        }
        let report = match (args.into, args.home) {
            (Some(home), _) => only.into_home(&args.repository, home, false)?,
            (None, home) => only.into_home(&args.repository, home.unwrap_or_default(), true)?,
        };
        return tell(session, args.json.json, &report);
    }
    let report = options.run(&args.repository, args.home.unwrap_or_default())?;
    let dry = report.dry_run;
    tell(session, args.json.json, &report)?;
    if dry && !args.json.json {
        session.line("dry run: nothing was written")?;
    }
    Ok(Exit::Ok)
}

fn tell<R: serde::Serialize + std::fmt::Display>(
    session: &Session,
    json: bool,
    report: &R,
) -> Result<Exit, Failure> {
    if json {
        session.json(report)?;
    } else {
        session.line(report.to_string().trim_end())?;
    }
    Ok(Exit::Ok)
}
