//! `campanile export`: what databases hold, as text.

use std::path::{Path, PathBuf};

use campanile::export::{Compression, ExportOptions, Layout};
use campanile::text::escape;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use crate::arguments::{HomeArgs, JsonArgs};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::scratch::{ReadHome, ScratchArgs};
use crate::selection::OnlyArgs;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "export", alone: None, command, run };

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Packing {
    None,
    Zstd,
}

#[derive(Args, Debug)]
struct ExportArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Where to: a directory, or one file if the name ends in .dump or .dump.zst. It must not be
    /// there; a directory may, if it is empty.
    #[arg(short = 'o', long = "output", value_name = "DIR|FILE")]
    output: PathBuf,
    /// One file, whatever its name.
    #[arg(long = "one-file")]
    one_file: bool,
    /// How to pack the text; zstd without being told if the name ends in .zst.
    #[arg(long = "compress", value_name = "none|zstd")]
    compress: Option<Packing>,
    /// How hard to pack, 1 to 19.
    #[arg(long = "level", value_name = "N", value_parser = clap::value_parser!(i32).range(1..=19))]
    level: Option<i32>,
    #[command(flatten)]
    only: OnlyArgs,
    #[command(flatten)]
    scratch: ScratchArgs,
    #[command(flatten)]
    json: JsonArgs,
}

const LONG: &str = "\
Writes what the databases of an environment hold, as of one moment, as text in Berkeley DB's \
format: a directory with a file for each database and a description, or one file. db_load reads \
it, here and there; campanile import brings it back with all properties, and proves by counts and \
SHA-256 that it is what was exported.

An export that was cut off is recognised and refused by campanile import: its description is \
written last. After an error what was written is removed. Files are readable by their owner only.

The home is read and not changed. If a process owns it, --scratch DIR makes a hot copy of it \
there, \
recovers the copy and exports that: writers go on, and however long it takes they never overtake \
the export. (A program that owns an environment exports it by itself from a snapshot: see \
campanile::export.) Databases that are not durable are empty in a hot copy; a note names them. If \
the last owner died, recovery runs in memory and the state it gives is exported.";

const EXAMPLES: &str = "\
Examples:
  campanile export -h /srv/shop -o /backup/shop-20261120
  campanile export -h /srv/shop -o shop.dump.zst              one packed file
  campanile export -h /srv/shop -o DIR --scratch /var/tmp     beside a running owner
  campanile export -h /srv/shop -o DIR --only customers,orders
  zstd -dc shop.dump.zst | db5.3_load shop.db                 into Berkeley DB";

fn command() -> Command {
    ExportArgs::augment_args(Command::new("export"))
        .about("Write what databases hold as text, as of one moment")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = ExportArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let mut options = options(&args).progress(session.progress(false));
    for name in args.only.names()? {
        options = options.only(name);
    }
    let home = ReadHome::open(session, &args.home.home, &args.scratch)?;
    let report = options.run(home.env(), &args.output)?;
    home.close()?;
    if args.json.json {
        session.json(&report)?;
        return Ok(Exit::Ok);
    }
    for database in &report.manifest.databases {
        session.line(format_args!("{}: {}", escape(database.name.as_bytes()), database.content))?;
    }
    session.line(&report)?;
    Ok(Exit::Ok)
}

fn options(args: &ExportArgs) -> ExportOptions {
    let ends_in = |ending: &str| name_of(&args.output).ends_with(ending);
    let (plain, packed) = (ends_in(".dump"), ends_in(".dump.zst"));
    let layout = if args.one_file || plain || packed { Layout::File } else { Layout::Directory };
    let compression = match args.compress {
        Some(Packing::Zstd) => Compression::Zstd,
        Some(Packing::None) => Compression::None,
        None if packed => Compression::Zstd,
        None => Compression::None,
    };
    let options = ExportOptions::new().layout(layout).compression(compression);
    args.level.into_iter().fold(options, ExportOptions::level)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
