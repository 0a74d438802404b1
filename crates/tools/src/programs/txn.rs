//! `campanile txn`: transactions that are prepared and wait for their coordinator.

use std::fmt;

use campanile::{Environment, PreparedTransaction};
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use serde::Serialize;

use crate::arguments::{HomeArgs, JsonArgs};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "txn", alone: None, command, run };

#[derive(Args, Debug)]
struct TxnArgs {
    /// What to do.
    action: Action,
    /// Global ids of the transactions, as `list` prints them.
    #[arg(value_name = "GID")]
    gids: Vec<String>,
    /// The ids are in hexadecimal.
    #[arg(long)]
    hex: bool,
    #[command(flatten)]
    home: HomeArgs,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Action {
    /// Print them; changes nothing.
    List,
    /// Commit them.
    Commit,
    /// Roll them back.
    Abort,
}

const LONG: &str = "\
Lists, commits or rolls back transactions that were prepared for a two-phase commit and whose \
coordinator has not decided, in a home that nobody owns. Such transactions survive crashes; what \
they changed is seen by nobody, stays locked, and the log is kept for them, until they are \
resolved.

Resolve one only as its coordinator decided: what is committed here and rolled back elsewhere is \
torn. An id is taken as text; with --hex it is hexadecimal. `list` prints ids that are not text in \
hexadecimal, after 0x.";

const EXAMPLES: &str = "\
Examples:
  campanile txn list -h /srv/shop             what waits
  campanile txn commit 'order 66' -h DIR      commit it
  campanile txn abort --hex 00ff17 -h DIR     roll back one whose id is not text";

fn command() -> Command {
    TxnArgs::augment_args(Command::new("txn"))
        .about("List and resolve prepared transactions")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

#[derive(Serialize)]
struct Resolved {
    action: Action,
    gid: Option<String>,
    gid_hex: String,
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = if self.action == Action::Commit { "committed" } else { "rolled back" };
        match &self.gid {
            Some(gid) => write!(f, "{done}\t{gid:?}"),
            None => write!(f, "{done}\t0x{}", self.gid_hex),
        }
    }
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = TxnArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    if args.action == Action::List {
        return list(&args, session);
    }
    if args.gids.is_empty() {
        return Err(Failure::usage("name at least one global id; `campanile txn list` shows them"));
    }
    let gids = args.gids.iter().map(|gid| bytes_of(gid, args.hex));
    let gids = gids.collect::<Result<Vec<_>, Failure>>()?;
    let progress = session.progress(false);
    let env = Environment::options().create(false).progress(progress).open(&args.home.home)?;
    super::note_recovery(session, &env);
    let resolved = resolve(&env, args.action, &gids, session);
    let resolved = env.close().map_err(Failure::from).and(resolved)?;
    if args.json.json {
        session.json(&resolved)?;
    }
    Ok(Exit::Ok)
}

fn list(args: &TxnArgs, session: &Session) -> Result<Exit, Failure> {
    if !args.gids.is_empty() {
        return Err(Failure::usage("list takes no global id"));
    }
    let env = super::open_to_read(session, &args.home.home)?;
    let prepared = env.prepared();
    env.close()?;
    if args.json.json {
        session.json(&prepared)?;
    } else {
        prepared.iter().try_for_each(|one: &PreparedTransaction| session.line(one))?;
    }
    Ok(Exit::Ok)
}

/// Resolves one after the other; each is durable before the next, and said at once.
fn resolve(
    env: &Environment,
    action: Action,
    gids: &[Vec<u8>],
    session: &Session,
) -> Result<Vec<Resolved>, Failure> {
    let known = env.prepared();
    let mut resolved = Vec::new();
    for gid in gids {
        match action {
            Action::Commit => env.commit_prepared(gid).map(drop)?,
            _ => env.abort_prepared(gid)?,
        }
        let one = known.iter().find(|one| one.gid == *gid);
        let gid_hex = one.map_or_else(String::new, |one| one.gid_hex.clone());
        let one = Resolved { action, gid: one.and_then(|one| one.gid_text.clone()), gid_hex };
        session.note(&one);
        resolved.push(one);
    }
    Ok(resolved)
}

/// The id that an argument means.
fn bytes_of(gid: &str, hex: bool) -> Result<Vec<u8>, Failure> {
    if !hex {
        return Ok(gid.as_bytes().to_vec());
    }
    let digits = gid.strip_prefix("0x").unwrap_or(gid);
    let digit = |char: char| char.to_digit(16).map(|digit| digit as u8);
    let values: Option<Vec<u8>> = digits.chars().map(digit).collect();
    match values {
        Some(values) if !values.is_empty() && values.len().is_multiple_of(2) => {
            Ok(values.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(Failure::usage(format!("{gid} is not a number of bytes in hexadecimal"))),
    }
}
