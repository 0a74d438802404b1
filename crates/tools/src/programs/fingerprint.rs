//! `campanile fingerprint`: how much each database holds, and a checksum of it.

use campanile::export::Export;
use campanile::text::escape;
use campanile::{Content, ErrorKind};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::arguments::{HomeArgs, JsonArgs};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::scratch::{ReadHome, ScratchArgs};
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "fingerprint", alone: None, command, run };

#[derive(Args, Debug)]
struct FingerprintArgs {
    #[command(flatten)]
    home: HomeArgs,
    #[command(flatten)]
    scratch: ScratchArgs,
    #[command(flatten)]
    json: JsonArgs,
    /// The databases; all of them if none is named.
    names: Vec<String>,
}

const LONG: &str = "\
Reads databases and prints a line for each: the number of pairs, their bytes, and SHA-256 over all \
keys and values in order. Two databases have the same line, but for the name, if and only if they \
hold the same, wherever and however they are stored.

-h names a home, which is read and not changed, or an export, which is proven. Of a home that a \
process owns a hot copy is read, if --scratch says where to put it.";

const EXAMPLES: &str = "\
Examples:
  campanile fingerprint -h /srv/shop
  campanile fingerprint -h /backup/shop-20261120 customers
  campanile fingerprint --json -h DIR";

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    durable: bool,
    #[serde(flatten)]
    content: Content,
}

fn command() -> Command {
    FingerprintArgs::augment_args(Command::new("fingerprint"))
        .about("Print counts and a checksum of what each database holds")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args =
        FingerprintArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let lines = lines(session, &args)?;
    if args.json.json {
        session.json(&lines)?;
        return Ok(Exit::Ok);
    }
    for line in &lines {
        let kind = if line.durable { "" } else { " (not durable)" };
        session.line(format_args!("{}{kind}: {}", escape(line.name.as_bytes()), line.content))?;
    }
    Ok(Exit::Ok)
}

fn lines(session: &Session, args: &FingerprintArgs) -> Result<Vec<Line>, Failure> {
    let progress = session.progress(false);
    match Export::open(&args.home.home, &progress) {
        Ok(export) => {
            export.prove(&progress)?;
            return of_export(&export, &args.names);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let home = ReadHome::open(session, &args.home.home, &args.scratch)?;
    let snapshot = home.env().snapshot()?;
    let names = match args.names.is_empty() {
        true => home.env().databases(&snapshot)?,
        false => args.names.clone(),
    };
    let mut lines = Vec::new();
    for name in names {
        let found = home.env().fingerprint(&snapshot, &name, &progress)?;
        lines.push(Line { name, durable: found.durable, content: found.content });
    }
    drop(snapshot);
    home.close()?;
    Ok(lines)
}

fn of_export(export: &Export, names: &[String]) -> Result<Vec<Line>, Failure> {
    let manifest = export.manifest();
    if let Some(missing) = names.iter().find(|name| manifest.database(name).is_none()) {
        let what = format!("there is no database {missing:?} in {}", export.path().display());
        return Err(Failure::Refused(Exit::NotFound, what));
    }
    let chosen = |name: &String| names.is_empty() || names.contains(name);
    let databases = manifest.databases.iter().filter(|database| chosen(&database.name));
    let line = |database: &campanile::export::ExportedDatabase| Line {
        name: database.name.clone(),
        durable: database.durable,
        content: database.content,
    };
    Ok(databases.map(line).collect())
}
