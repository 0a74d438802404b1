//! `db_hotbackup`: copies a home that may be in use into a directory, or brings a copy up to date.

use std::fs;
use std::path::{Path, PathBuf};

use campanile::backup::{self, BackupReport};
use campanile::data_dirs::{self, DataDirectory};
use campanile::{Environment, ErrorKind};
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
    /// Take a checkpoint first, so that less has to be copied, and remove log files that recovery
    /// does not need when the copy is complete: for a home that nobody owns. With an archive, what
    /// is not in it stays.
    #[arg(short = 'c', long = "checkpoint")]
    checkpoint: bool,
    /// Bring an earlier copy up to date by copying the log since.
    #[arg(short = 'u', long = "update")]
    update: bool,
    /// Use the directories that DB_CONFIG names: they must be the home's own.
    #[arg(short = 'D')]
    config: bool,
    /// Data directory, absolute or relative to the home: it must be the home's own. All data
    /// directories are copied, named or not. May be given more than once.
    #[arg(short = 'd', value_name = "DIR", conflicts_with = "config")]
    data_dirs: Vec<PathBuf>,
    /// Log directory, absolute or relative to the home: it must be the home's own.
    #[arg(short = 'l', value_name = "DIR", conflicts_with = "config")]
    log_dir: Option<PathBuf>,
    /// Say what is done, and list every file that was copied.
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

A home knows its own directories, so -D, -d and -l are not needed: they are held against what the \
home says, and refused by name if they say something else. Directories and files of the copy are \
for their owner only. Prepared transactions are in the copy, and stay prepared when it is recovered.

For copies with names, many generations, increments, compression and a catalog use `campanile \
backup`.";

const EXAMPLES: &str = "\
Examples:
  db_hotbackup -h /srv/shop -b /backup/monday
  db_hotbackup -h /srv/shop -b /backup/monday -u -v
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
    own_directories(&args)?;
    if args.checkpoint {
        take_checkpoint(&args, session)?;
    }
    if args.verbose {
        let (home, verb) = (args.home.home.display(), if args.update { "log of " } else { "" });
        session.line(format_args!("copying {verb}{home} to {}", args.target.display()))?;
    }
    let progress = session.progress(false);
    let report = match args.update {
        true => backup::update_copy(&args.home.home, &args.target, &progress)?,
        false => backup::hot_copy(&args.home.home, &args.target, &progress)?,
    };
    if args.checkpoint {
        // Only now: what an update needs was still there, and is in the copy.
        remove_logs(&args, session)?;
    }
    if args.json.json {
        session.json(&report)?;
    } else if args.verbose {
        let verb = if args.update { "brought up to date" } else { "copied" };
        list(session, &report)?;
        session.line(format_args!("{verb}: {}", report.directory))?;
        describe(session, &report)?;
        session.line("run db_recover -c on the copy before it is used")?;
    }
    Ok(Exit::Ok)
}

fn list(session: &Session, report: &BackupReport) -> Result<(), Failure> {
    for part in &report.parts {
        session.line(format_args!("  {:>14}  {}", part.stored_bytes, part.name.display()))?;
    }
    Ok(())
}

fn take_checkpoint(args: &HotBackupArgs, session: &Session) -> Result<(), Failure> {
    match Environment::options().create(false).open(&args.home.home) {
        Ok(env) => {
            let at = env.checkpoint()?;
            env.close()?;
            if args.verbose {
                session.line(format_args!("checkpoint at {}", at.lsn))?;
            }
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::Locked => Err(Failure::Refused(
            Exit::Locked,
            format!("-c: {error}; its owner takes checkpoints by itself, leave -c out"),
        )),
        Err(error) => Err(error.into()),
    }
}

fn remove_logs(args: &HotBackupArgs, session: &Session) -> Result<(), Failure> {
    for name in backup::remove_log_files(&args.home.home)? {
        if args.verbose {
            session.line(format_args!("removed {name}: recovery does not need it"))?;
        }
    }
    Ok(())
}

/// Holds the directories that were named against those of the home.
fn own_directories(args: &HotBackupArgs) -> Result<(), Failure> {
    let home = &args.home.home;
    for dir in &args.data_dirs {
        is_data_dir(home, dir, "-d")?;
    }
    if let Some(dir) = &args.log_dir {
        is_own(home, dir, "log", "-l")?;
    }
    if !args.config {
        return Ok(());
    }
    let text = match fs::read_to_string(home.join("DB_CONFIG")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::io("reading DB_CONFIG", error)),
    };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("set_data_dir" | "add_data_dir"), Some(dir)) => {
                is_data_dir(home, Path::new(dir), "-D: DB_CONFIG")?;
            }
            (Some("set_lg_dir"), Some(dir)) => {
                is_own(home, Path::new(dir), "log", "-D: DB_CONFIG")?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A directory of the home, or the home itself, under which Berkeley DB keeps all of them.
fn is_data_dir(home: &Path, dir: &Path, option: &str) -> Result<(), Failure> {
    let listed = data_dirs::list(home)?;
    let named = fs::canonicalize(home.join(dir)).ok();
    let same = |other: &DataDirectory| fs::canonicalize(&other.found_at).ok() == named;
    match named.is_some() && listed.iter().any(same) {
        true => Ok(()),
        false => is_own(home, dir, "data", option),
    }
}

fn is_own(home: &Path, dir: &Path, kind: &str, option: &str) -> Result<(), Failure> {
    let same = |own: PathBuf| match (fs::canonicalize(home.join(dir)), fs::canonicalize(own)) {
        (Ok(named), Ok(own)) => named == own,
        _ => false,
    };
    let own = same(home.join(kind)) || same(home.to_owned());
    let why = format!("{} is not the home's {kind} directory: leave it out", dir.display());
    refuse(!own, option, &why)
}
