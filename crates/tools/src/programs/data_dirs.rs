//! `campanile data-dirs`: the directories of data files of a home, and saying where they are now.

use campanile::data_dirs::{self, DataDirectory};
use clap::{ArgGroup, ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::arguments::{HomeArgs, JsonArgs};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "data-dirs", alone: None, command, run };

#[derive(Args, Debug)]
struct DataDirsArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Keep data files in this directory too, from now on. It is made if it is missing. A relative
    /// path is relative to the home.
    #[arg(long = "add", value_name = "DIR")]
    add: Option<String>,
    /// A directory was moved, or copied together with the home: it is at NEW now.
    #[arg(long = "map", value_name = "OLD=NEW")]
    map: Option<String>,
    /// The home was moved: it is this home that uses the directory from now on.
    #[arg(long = "claim", value_name = "DIR")]
    claim: Option<String>,
    #[command(flatten)]
    json: JsonArgs,
}

const LONG: &str = "\
Lists the directories in which an environment keeps its data files: number, number of files, path, \
and what is wrong, if anything is. The log, the control file and the copies of pages being written \
are always in the home.

A home that is moved or copied as a whole takes along the directories inside of it. A directory \
elsewhere stays where it is and knows which home uses it, so that two homes never share one. \
After the home was moved, --claim says that the home in its new place uses it; after home and \
directory were copied, --map says where the copy is. Nothing is copied or moved by this program, \
and the home must not be in use.";

const EXAMPLES: &str = "\
Examples:
  campanile data-dirs -h /srv/shop
  campanile data-dirs -h /srv/shop --add /disk2/shop
  campanile data-dirs -h /new/shop --claim /disk2/shop           the home was moved
  campanile data-dirs -h /srv/shop --map /disk2/shop=/disk3/shop the directory was moved";

fn command() -> Command {
    DataDirsArgs::augment_args(Command::new("campanile data-dirs"))
        .about("List the directories of data files, add one, or say where one is now")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
        .group(ArgGroup::new("what").args(["add", "map", "claim"]))
}

#[derive(Serialize)]
struct Outcome {
    home: String,
    data_dirs: Vec<DataDirectory>,
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args =
        DataDirsArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let home = &args.home.home;
    if let Some(path) = &args.add {
        data_dirs::add(home, path)?;
    }
    if let Some(map) = &args.map {
        let Some((old, new)) = map.split_once('=') else {
            return Err(Failure::usage(format!("--map {map}: give OLD=NEW")));
        };
        data_dirs::relocate(home, old, new)?;
    }
    if let Some(path) = &args.claim {
        data_dirs::relocate(home, path, path)?;
    }
    let dirs = data_dirs::list(home)?;
    let broken = dirs.iter().any(|dir| dir.problem.is_some());
    if args.json.json {
        let home = home.display().to_string();
        session.json(&Outcome { home, data_dirs: dirs })?;
    } else {
        for dir in dirs {
            let problem = dir.problem.map(|problem| format!("\t{problem}")).unwrap_or_default();
            session.line(format_args!("{}\t{}\t{}{problem}", dir.number, dir.files, dir.path))?;
        }
    }
    Ok(if broken { Exit::Damage } else { Exit::Ok })
}
