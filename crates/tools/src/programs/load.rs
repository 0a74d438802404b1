//! `db_load`: portable text into databases, strictly.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use campanile::text::{Override, Reader};
use campanile::{Environment, LoadOptions, LoadReport};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::{HomeArgs, JsonArgs, PasswordArgs, refuse};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "load", alone: Some("db_load"), command, run };

#[derive(Args, Debug)]
struct LoadArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Read a file instead of standard input.
    #[arg(short = 'f', long = "input", value_name = "FILE")]
    input: Option<PathBuf>,
    /// Keep the value of a key that exists. Exit status 1 if there was one.
    #[arg(short = 'n', long = "no-overwrite")]
    no_overwrite: bool,
    /// Read plain text: lines are keys and values in turn, with backslash escapes. Needs -t.
    #[arg(short = 'T', long = "plain", requires = "kind")]
    plain: bool,
    /// Type of the database, whatever the header says: btree.
    #[arg(short = 't', long = "type", id = "kind", value_name = "TYPE")]
    kind: Option<String>,
    /// A header keyword, whatever the header says (database=NAME, duplicates=0 ...).
    #[arg(short = 'c', long = "configure", value_name = "NAME=VALUE")]
    configure: Vec<String>,
    /// Commit every N pairs. A load that fails then keeps what was committed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
    /// Say what was loaded.
    #[arg(short = 'v', long = "verbose")]
    verbose: bool,
    /// Reset LSNs or file ids: nothing here needs it.
    #[arg(short = 'r', value_name = "lsn|fileid", hide = true)]
    reset: Option<String>,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    password: PasswordArgs,
    /// The database for a section whose header names none; created if it is missing.
    name: Option<String>,
}

const LONG: &str = "\
Loads databases from text in Berkeley DB's format (version 3), as db_dump writes it here and \
there. Home and databases are created if they are missing; pairs are added to what a database \
holds.

Loading is strict. A missing DATA=END, half a pair, an odd, upper-case or foreign hexadecimal \
digit, a line without its leading space, CR LF line ends, an unknown keyword, a key given twice \
are errors with file and line, and the environment is left as it was before the load: everything \
is one transaction. --batch N commits every N pairs instead.

What this build does not have (duplicates, hash, recno, queue and heap databases) is refused by \
name. A hash database is loaded as a btree with -t btree.";

const EXAMPLES: &str = "\
Examples:
  db_load -h /srv/shop -f customers.dump customers
  db5.3_dump old.db | db_load -h DIR customers      move from Berkeley DB
  db_load -n -h DIR -f more.dump customers          add what is new, keep what is there
  printf 'alice\\n100\\n' | db_load -T -t btree -h DIR accounts";

fn command() -> Command {
    LoadArgs::augment_args(Command::new("db_load"))
        .about("Load databases from portable text, strictly")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = LoadArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    args.password.refuse()?;
    refuse(
        args.reset.is_some(),
        "-r",
        "files are bound to their environment by checksum, not by numbers to reset; copy a \
         database with db_dump and db_load",
    )?;
    let overrides = overrides(&args)?;
    let mut options = LoadOptions::new()
        .overwrite(!args.no_overwrite)
        .batch_pairs(args.batch)
        .progress(session.progress(false));
    if let Some(name) = &args.name {
        options = options.database(name);
    }

    let (input, source) = input(&args)?;
    let mut reader =
        if args.plain { Reader::plain(input, source) } else { Reader::new(input, source) }
            .with_overrides(overrides);

    let home = &args.home.home;
    let is_new = !home.exists();
    let env = Environment::options().open(home)?;
    super::note_recovery(session, &env);
    let loaded = env.load(&mut reader, &options);
    // A home that this run made, and that holds nothing: the failed load leaves none behind.
    let superfluous = is_new && loaded.is_err() && holds_nothing(&env);
    let closed = env.close();
    if superfluous && closed.is_ok() {
        let removed = std::fs::remove_dir_all(home);
        removed.map_err(|error| Failure::io(format!("removing {}", home.display()), error))?;
    }
    let report = loaded?;
    closed?;
    tell(session, &args, &report)?;
    Ok(if report.kept() > 0 { Exit::Usage } else { Exit::Ok })
}

pub(super) fn holds_nothing(env: &Environment) -> bool {
    let names = env.snapshot().and_then(|snapshot| env.databases(&snapshot));
    names.is_ok_and(|names| names.is_empty())
}

fn overrides(args: &LoadArgs) -> Result<Vec<Override>, Failure> {
    let mut overrides = Vec::new();
    for text in &args.configure {
        let Some((keyword, value)) = text.split_once('=') else {
            return Err(Failure::usage(format!("-c {text}: not NAME=VALUE")));
        };
        overrides.push(Override::new(keyword, value));
    }
    if let Some(kind) = &args.kind {
        if kind != "btree" {
            let what = format!("-t {kind}: only btree databases are in this build");
            return Err(Failure::unsupported(what));
        }
        overrides.push(Override::new("type", kind));
    }
    Ok(overrides)
}

fn input(args: &LoadArgs) -> Result<(Box<dyn BufRead>, String), Failure> {
    match &args.input {
        None => Ok((Box::new(io::stdin().lock()), "standard input".into())),
        Some(path) => match File::open(path) {
            Ok(file) => {
                Ok((Box::new(BufReader::with_capacity(1 << 16, file)), path.display().to_string()))
            }
            Err(error) => Err(Failure::io(format!("opening {}", path.display()), error)),
        },
    }
}

fn tell(session: &Session, args: &LoadArgs, report: &LoadReport) -> Result<(), Failure> {
    if args.json.json {
        session.json(report)?;
    } else if args.verbose {
        for database in &report.databases {
            session.line(format_args!(
                "{}{}: {} inserted, {} replaced, {} kept",
                database.name,
                if database.created { " (created)" } else { "" },
                database.inserted,
                database.replaced,
                database.kept
            ))?;
            if !database.unused_hints.is_empty() {
                session.line(format_args!("  not used: {}", database.unused_hints.join(", ")))?;
            }
        }
    }
    if report.kept() > 0 {
        session.note(format_args!("{} keys existed and were kept", report.kept()));
    }
    Ok(())
}
