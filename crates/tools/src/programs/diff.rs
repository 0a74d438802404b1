//! `campanile diff`: are two environments, or exports of them, the same?

use std::path::{Path, PathBuf};

use campanile::diff::{DiffOptions, Source};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::JsonArgs;
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::scratch::{ReadHome, ScratchArgs};
use crate::selection::OnlyArgs;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "diff", alone: None, command, run };

#[derive(Args, Debug)]
struct DiffArgs {
    /// Name the first N keys that differ in each database, not only the first.
    #[arg(long = "keys", value_name = "N", default_value_t = 0)]
    keys: usize,
    /// Print nothing: the exit status is the answer.
    #[arg(short = 'q', long = "quiet", conflicts_with = "json")]
    quiet: bool,
    #[command(flatten)]
    only: OnlyArgs,
    #[command(flatten)]
    scratch: ScratchArgs,
    #[command(flatten)]
    json: JsonArgs,
    /// One side: a home or an export.
    a: PathBuf,
    /// The other side.
    b: PathBuf,
}

const LONG: &str = "\
Compares what two environments hold, pair by pair. Each side is a home or an export, as a \
directory or one file. Exit status 0: the same databases with the same pairs; 1: they differ. \
Memory is needed for one pair of each side, whatever the size.

Homes are read and not changed. Of a home that a process owns a hot copy is compared, if --scratch \
says where to put it; without that it is refused. An export is proven on the way; damage, of \
either side, is an error and not a difference.";

const EXAMPLES: &str = "\
Examples:
  campanile diff /srv/shop /srv/restored && echo restored intact
  campanile diff --keys 20 /srv/shop /backup/shop-20261120
  campanile diff --only orders shop-monday.dump.zst shop-tuesday.dump.zst
  campanile diff --scratch /var/tmp /srv/shop /srv/restored     beside a running owner";

fn command() -> Command {
    DiffArgs::augment_args(Command::new("diff"))
        .about("Compare what two environments or exports hold")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = DiffArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let mut options = DiffOptions::new().keys(args.keys).progress(session.progress(false));
    for name in args.only.names()? {
        options = options.only(name);
    }
    let a = home(session, &args, &args.a)?;
    let b = if args.a == args.b { None } else { home(session, &args, &args.b)? };
    let side = |home: &'_ Option<ReadHome>| home.as_ref().map(ReadHome::env).cloned();
    let (env_a, env_b) = (side(&a), side(&b));
    let source_a = env_a.as_ref().map_or(Source::Path(&args.a), Source::Environment);
    let source_b = match args.a == args.b {
        true => source_a,
        false => env_b.as_ref().map_or(Source::Path(&args.b), Source::Environment),
    };
    let report = options.run(source_a, source_b)?;
    drop((env_a, env_b));
    a.into_iter().chain(b).try_for_each(ReadHome::close)?;
    if args.json.json {
        session.json(&report)?;
    } else if !args.quiet {
        for database in &report.databases {
            session.line(database)?;
            for key in &database.keys {
                session.line(format_args!("  {}: {}", key.how, key.key))?;
            }
        }
    }
    // As the program diff has it.
    Ok(if report.is_same() { Exit::Ok } else { Exit::Usage })
}

/// A home, opened; none if an export is there, or nothing at all: the library says which.
fn home(session: &Session, args: &DiffArgs, path: &Path) -> Result<Option<ReadHome>, Failure> {
    if !path.join("control").exists() {
        return Ok(None);
    }
    ReadHome::open(session, path, &args.scratch).map(Some)
}
