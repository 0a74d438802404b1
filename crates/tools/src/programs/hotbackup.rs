//! `db_hotbackup`: copies a home that may be in use into a directory, or brings a copy up to date.

use std::path::PathBuf;

use campanile::{Environment, ErrorKind, backup};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::{HomeArgs, JsonArgs, PasswordArgs, refuse};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::programs::backup::describe;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program =
    Program { subcommand: "hotbackup", alone: Some("db_hotbackup"), command, run };

#[derive(Args, Debug)]
struct HotBackupArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// The directory of the copy: empty or missing; with -u, that of an earlier copy.
    #[arg(short = 'b', long = "backup", value_name = "DIR")]
    target: PathBuf,
    /// Take a checkpoint first, so that less log has to be copied: for a home that nobody owns.
    #[arg(short = 'c', long = "checkpoint")]
    checkpoint: bool,
    /// Bring an earlier copy up to date by copying the log since.
    #[arg(short = 'u', long = "update")]
    update: bool,
    /// Use the directories of DB_CONFIG. Accepted: a home keeps all its files in itself.
    #[arg(short = 'D')]
    _config: bool,
    /// Data directory: a home has one, in itself.
    #[arg(short = 'd', value_name = "DIR", hide = true)]
    data_dirs: Vec<PathBuf>,
    /// Log directory: a home has one, in itself.
    #[arg(short = 'l', value_name = "DIR", hide = true)]
    log_dir: Option<PathBuf>,
    /// Say what was copied.
    #[arg(short = 'v', long = "verbose")]
    verbose: bool,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

const LONG: &str = "\
Copies an environment while its owner goes on working. The copy is a directory that holds pages of \
many moments: nobody can open it before `db_recover -c` has brought it to one. It can be copied \
anywhere first, by any means.

With -u, log files written since are added to an earlier copy, again and again, until db_recover \
-c is run on it. If log files in between were used again, that is refused and the copy stays as it \
is; an archive (db_archive --to) or a new copy helps.

For copies with names, many generations and a catalog use `campanile backup`.";

const EXAMPLES: &str = "\
Examples:
  db_hotbackup -h /srv/shop -b /backup/monday
  db_hotbackup -h /srv/shop -b /backup/monday -u
  db_recover -c -h /backup/monday";

fn command() -> Command {
    HotBackupArgs::augment_args(Command::new("db_hotbackup"))
        .about("Copy an environment that may be in use")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args =
        HotBackupArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    args.password.refuse()?;
    let inside = "a home keeps its data and log files in itself: leave it out";
    refuse(!args.data_dirs.is_empty(), "-d", inside)?;
    refuse(args.log_dir.is_some(), "-l", inside)?;
    if args.checkpoint {
        take_checkpoint(&args)?;
    }
    let progress = session.progress(false);
    let report = match args.update {
        true => backup::update_copy(&args.home.home, &args.target, &progress)?,
        false => backup::hot_copy(&args.home.home, &args.target, &progress)?,
    };
    if args.json.json {
        session.json(&report)?;
    } else if args.verbose {
        let verb = if args.update { "brought up to date" } else { "copied" };
        session.line(format_args!("{verb}: {}", report.directory))?;
        describe(session, &report)?;
        session.line("run db_recover -c on the copy before it is used")?;
    }
    Ok(Exit::Ok)
}

fn take_checkpoint(args: &HotBackupArgs) -> Result<(), Failure> {
    match Environment::options().create(false).open(&args.home.home) {
        Ok(env) => {
            env.checkpoint()?;
            Ok(env.close()?)
        }
        Err(error) if error.kind() == ErrorKind::Locked => Err(Failure::Refused(
            Exit::Locked,
            format!("-c: {error}; its owner takes checkpoints by itself, leave -c out"),
        )),
        Err(error) => Err(error.into()),
    }
}
