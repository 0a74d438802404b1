//! `db_dump`: databases as portable text.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use campanile::text::{Format, Writer, escape};
use campanile::{DumpOptions, Environment};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::{HomeArgs, JsonArgs, PasswordArgs, refuse};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "dump", alone: Some("db_dump"), command, run };

#[derive(Args, Debug)]
struct DumpArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Write to a file instead of standard output.
    #[arg(short = 'f', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Spell printable bytes as they are, the others as \xx.
    #[arg(short = 'p', long = "print")]
    print: bool,
    /// List the names of the databases, one a line, instead of dumping any.
    #[arg(short = 'l', long = "list", conflicts_with_all = ["print", "name", "subdatabase"])]
    list: bool,
    /// Name of the database, as an option.
    #[arg(short = 's', long = "database", value_name = "NAME", conflicts_with = "name")]
    subdatabase: Option<String>,
    /// Record numbers as keys: there are no record-number databases in this build.
    #[arg(short = 'k', hide = true)]
    record_numbers: bool,
    /// Salvage: not in this build.
    #[arg(short = 'r', hide = true)]
    salvage: bool,
    /// Aggressive salvage: not in this build.
    #[arg(short = 'R', hide = true)]
    salvage_all: bool,
    /// Debugging output: not in this build.
    #[arg(short = 'd', value_name = "ahr", hide = true)]
    debug: Option<String>,
    /// In-memory database: not in this build.
    #[arg(short = 'm', value_name = "NAME", hide = true)]
    in_memory: Option<String>,
    /// Take no shared-memory locks. Accepted: there are none.
    #[arg(short = 'N', hide = true)]
    _no_locks: bool,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    password: PasswordArgs,
    /// The database. Without a name all databases are dumped, each under its name.
    name: Option<String>,
}

const LONG: &str = "\
Writes databases as text in Berkeley DB's format (version 3), which db_load, here and there, reads \
back: header lines, a key line and a value line for each pair, DATA=END. What is written is one \
state of the database.

A database that is named is written without a name in its header, so that it can be loaded under \
any. Without a name every database is written, each with its name.

The home is read and not changed. If the last owner died, recovery runs in memory and the state it \
gives is dumped; a note says so.";

const EXAMPLES: &str = "\
Examples:
  db_dump -h /srv/shop customers > customers.dump
  db_dump -p -h DIR -f all.dump         every database, printable
  db_dump -l -h DIR                     names only
  db_dump -h A x | db_load -h B x       copy a database into another environment";

fn command() -> Command {
    DumpArgs::augment_args(Command::new("db_dump"))
        .about("Write databases as portable text")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = DumpArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    args.password.refuse()?;
    let salvage = "salvage is not in this build; db_verify names what is damaged";
    refuse(args.record_numbers, "-k", "there are no record-number databases in this build")?;
    refuse(args.salvage, "-r", salvage)?;
    refuse(args.salvage_all, "-R", salvage)?;
    refuse(args.debug.is_some(), "-d", "page listings are not in this build; see db_stat -d")?;
    refuse(args.in_memory.is_some(), "-m", "there are no in-memory databases in this build")?;
    if args.json.json && !args.list {
        return Err(Failure::usage("--json goes with -l: a dump has a format of its own"));
    }

    let env = super::open_to_read(session, &args.home.home)?;
    let snapshot = env.snapshot()?;
    let names = env.databases(&snapshot)?;
    if args.list {
        list(session, &args, &names)?;
        env.close()?;
        return Ok(Exit::Ok);
    }
    let format = if args.print { Format::Print } else { Format::Bytevalue };
    let options = DumpOptions::new().format(format).progress(match args.output {
        Some(_) => session.progress(false),
        None => campanile::Progress::none(),
    });
    let mut writer = Writer::new(output(&args)?);
    match args.subdatabase.as_ref().or(args.name.as_ref()) {
        Some(name) => {
            env.dump(&snapshot, name, &mut writer, &options.named(false))?;
        }
        None => dump_all(&env, &snapshot, &names, &mut writer, &options.named(true))?,
    }
    writer.finish().map_err(|e| Failure::io("writing the dump", e))?;
    drop(snapshot);
    env.close()?;
    Ok(Exit::Ok)
}

fn dump_all(
    env: &Environment,
    snapshot: &campanile::Snapshot,
    names: &[String],
    writer: &mut Writer<Box<dyn Write>>,
    options: &DumpOptions,
) -> Result<(), Failure> {
    if names.is_empty() {
        return Err(Failure::Refused(Exit::NotFound, "there is no database to dump".into()));
    }
    for name in names {
        env.dump(snapshot, name, writer, options)?;
    }
    Ok(())
}

fn list(session: &Session, args: &DumpArgs, names: &[String]) -> Result<(), Failure> {
    if args.json.json {
        return session.json(&names);
    }
    for name in names {
        session.line(escape(name.as_bytes()))?;
    }
    Ok(())
}

fn output(args: &DumpArgs) -> Result<Box<dyn Write>, Failure> {
    match &args.output {
        None => Ok(Box::new(io::stdout().lock())),
        Some(path) => match File::create(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(Failure::io(format!("creating {}", path.display()), error)),
        },
    }
}
