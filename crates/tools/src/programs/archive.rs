//! `db_archive`: lists log and data files, and sees to it that log files are archived.

use std::path::{Path, PathBuf};

use campanile::backup::{self, LogFiles};
use campanile::inspect;
use clap::{ArgGroup, ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::arguments::{HomeArgs, JsonArgs, PasswordArgs};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program =
    Program { subcommand: "archive", alone: Some("db_archive"), command, run };

#[derive(Args, Debug)]
struct ArchiveArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Print absolute paths.
    #[arg(short = 'a', long = "absolute")]
    absolute: bool,
    /// Remove log files that recovery does not need, once they are archived if the home has an
    /// archive. For a home that nobody owns: an owner uses them again by itself.
    #[arg(short = 'd', long = "delete")]
    delete: bool,
    /// List all log files, needed or not.
    #[arg(short = 'l', long = "logs")]
    logs: bool,
    /// List the data files.
    #[arg(short = 's', long = "data")]
    data: bool,
    /// From now on, archive log files into this repository before they are used again, whoever
    /// opens the home; what there is now, at once. For a home that nobody owns.
    #[arg(long = "to", value_name = "DIR")]
    to: Option<PathBuf>,
    /// Archive everything up to the end of the log now. The home may be in use.
    #[arg(long = "now")]
    now: bool,
    /// Archive no more. For a home that nobody owns.
    #[arg(long = "off")]
    off: bool,
    /// Say more.
    #[arg(short = 'v', long = "verbose")]
    verbose: bool,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

const LONG: &str = "\
Lists the log files of an environment that recovery does not need any more; with -l all of them, \
with -s the data files. An owner uses old log files again by itself, so the list is short, unless \
they are held back for a reader or for the archive.

With --to, the home gets an archive: from then on a log file is used again only when its copy in \
the repository was written, synced and read back. The home remembers it, whichever program opens \
it. Together with one backup in the same repository (campanile backup) the archive brings the \
environment back to any moment since.";

const EXAMPLES: &str = "\
Examples:
  db_archive -h /srv/shop                        log files that nobody needs
  db_archive -h /srv/shop --to /backup/shop      archive from now on
  db_archive -h /srv/shop --now                  archive to the end of the log, for cron";

fn command() -> Command {
    ArchiveArgs::augment_args(Command::new("db_archive"))
        .about("List log files, and archive them")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
        .group(ArgGroup::new("what").args(["delete", "logs", "data", "to", "now", "off"]))
}

#[derive(Serialize)]
struct Outcome {
    home: String,
    /// The names that were listed, or removed.
    files: Vec<String>,
    /// Where log files are archived.
    archive: Option<PathBuf>,
    /// The archive has everything up to here.
    archived_to: Option<String>,
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = ArchiveArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    args.password.refuse()?;
    let home = &args.home.home;
    let mut archived_to = None;
    let mut files = Vec::new();
    if let Some(repository) = &args.to {
        archived_to = Some(backup::archive(home, repository)?);
    } else if args.now {
        archived_to = Some(backup::archive_now(home)?);
    } else if args.off {
        backup::stop_archiving(home)?;
    } else if args.delete {
        files = backup::remove_log_files(home)?;
    } else if args.data {
        let found = inspect::home(home)?.data_files.into_iter();
        files = found.map(|file| format!("{}/{}", file.directory, file.name)).collect();
    } else {
        let which = if args.logs { LogFiles::All } else { LogFiles::Removable };
        files = backup::log_files(home, which)?;
    }
    let files = place(home, if args.data { "" } else { "log" }, files, args.absolute)?;
    let archive = backup::archive_of(home)?;
    if args.json.json {
        let archived_to = archived_to.map(|lsn| lsn.to_string());
        let home = home.display().to_string();
        session.json(&Outcome { home, files, archive, archived_to })?;
        return Ok(Exit::Ok);
    }
    if let (Some(end), Some(archive)) = (archived_to, &archive) {
        session.line(format_args!("archived up to {end} in {}", archive.display()))?;
    }
    if args.verbose && args.delete {
        session.line(format_args!("{} log files removed", files.len()))?;
    }
    if !args.delete || args.verbose {
        for file in files {
            session.line(file)?;
        }
    }
    Ok(Exit::Ok)
}

/// Names as they are found from the home, or from the root.
fn place(
    home: &Path,
    dir: &str,
    names: Vec<String>,
    absolute: bool,
) -> Result<Vec<String>, Failure> {
    let home = match absolute {
        true => std::path::absolute(home).map_err(|e| Failure::io("finding the home", e))?,
        false => PathBuf::new(),
    };
    let dir = home.join(dir);
    Ok(names.into_iter().map(|name| dir.join(name).display().to_string()).collect())
}
