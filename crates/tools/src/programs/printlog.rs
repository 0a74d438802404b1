//! `db_printlog`: the log as text or JSON, also of a home that cannot be opened.

use campanile::Lsn;
use campanile::inspect::{self, LogOptions};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::{HomeArgs, JsonArgs, PasswordArgs};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program =
    Program { subcommand: "printlog", alone: Some("db_printlog"), command, run };

#[derive(Args, Debug)]
struct PrintlogArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Begin at this position.
    #[arg(short = 'b', long = "begin", value_name = "FILE/OFFSET", value_parser = lsn)]
    begin: Option<Lsn>,
    /// End at this position, which is still printed.
    #[arg(short = 'e', long = "end", value_name = "FILE/OFFSET", value_parser = lsn)]
    end: Option<Lsn>,
    /// Newest record first.
    #[arg(short = 'r', long = "reverse")]
    reverse: bool,
    /// Take no shared-memory locks. Accepted: there are none.
    #[arg(short = 'N', hide = true)]
    _no_locks: bool,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

const LONG: &str = "\
Prints the records of the log, oldest first: position, kind, transaction, the transaction's \
previous record, and what the record changes. With --json each record is an object on a line of \
its own.

Only files are read: it works on a home whose owner died, and beside a running owner. A torn end \
is where the log ends, and is said so on standard error. Damage before the end, or a missing file, \
is an error: the listing stops there with exit status 2, never in silence.";

const EXAMPLES: &str = "\
Examples:
  db_printlog -h /srv/shop
  db_printlog -b 3/512 -e 3/90112 -h DIR
  db_printlog --json -h DIR | jq 'select(.kind == \"commit\")'";

fn command() -> Command {
    PrintlogArgs::augment_args(Command::new("db_printlog"))
        .about("Print the log")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn lsn(text: &str) -> Result<Lsn, String> {
    inspect::parse_lsn(text).ok_or_else(|| format!("{text:?} is not FILE/OFFSET, as in 3/512"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args =
        PrintlogArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    args.password.refuse()?;
    let mut options = LogOptions::new().reverse(args.reverse);
    if let Some(begin) = args.begin {
        options = options.begin(begin);
    }
    if let Some(end) = args.end {
        options = options.end(end);
    }
    let mut records = inspect::log(&args.home.home, &options)?;
    for record in &mut records {
        let record = record?;
        if args.json.json {
            session.json_line(&record)?;
        } else {
            session.line(&record)?;
        }
    }
    if let Some(torn) = records.torn_tail() {
        session.note(torn);
    }
    Ok(Exit::Ok)
}
