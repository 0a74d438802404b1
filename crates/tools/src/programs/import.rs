//! `campanile import`: an export into an environment.

use std::path::PathBuf;

use campanile::Environment;
use campanile::export::Export;
use campanile::import::ImportOptions;
use campanile::text::escape;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::{HomeArgs, JsonArgs};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::selection;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "import", alone: None, command, run };

#[derive(Args, Debug)]
struct ImportArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// These databases only, and under new names: names with commas between them; a comma, equals
    /// sign or backslash in a name is written with a backslash before it.
    #[arg(long = "only", value_name = "DB[=NEW][,DB[=NEW]]")]
    only: Vec<String>,
    /// Drop a database that has the name of an imported one, in the same transaction.
    #[arg(long = "replace")]
    replace: bool,
    /// Prove the export and say what is in it; change nothing.
    #[arg(long = "dry-run")]
    dry_run: bool,
    #[command(flatten)]
    json: JsonArgs,
    /// The export: a directory or a file.
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
}

const LONG: &str = "\
Brings an export into an environment, which is created if it is missing (with the page size of the \
exported one). The export is read and proven by its counts and fingerprints before anything is \
changed, and again while it is loaded. Each database comes in one transaction, whole or not at all.

A database whose name is taken is refused, and then nothing is imported, unless --replace says \
that the old one goes.";

const EXAMPLES: &str = "\
Examples:
  campanile import -h /srv/new /backup/shop-20261120
  campanile import -h /srv/shop --only customers=customers_old shop.dump.zst
  campanile import --dry-run shop.dump.zst                     is it whole?
  campanile import -h /srv/shop --replace --only orders DIR";

fn command() -> Command {
    ImportArgs::augment_args(Command::new("import"))
        .about("Bring an export into an environment")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = ImportArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let progress = session.progress(false);
    let mut options = ImportOptions::new().replace(args.replace).progress(progress.clone());
    for (name, new) in selection::parse(&args.only)? {
        let new = new.unwrap_or_else(|| name.clone());
        options = options.only_as(name, new);
    }
    let export = Export::open(&args.path, &progress)?;
    if args.dry_run {
        export.prove(&progress)?;
        return describe(session, &args, &export);
    }

    let home = &args.home.home;
    let is_new = !home.exists();
    let page_bytes = export.manifest().page_bytes;
    let env = Environment::options().page_bytes(page_bytes).open(home)?;
    super::note_recovery(session, &env);
    let imported = options.run(&env, &export);
    // A home that this run made, and that holds nothing: a failed import leaves none behind.
    let superfluous = is_new && imported.is_err() && super::load::holds_nothing(&env);
    let closed = env.close();
    if superfluous && closed.is_ok() {
        let removed = std::fs::remove_dir_all(home);
        removed.map_err(|error| Failure::io(format!("removing {}", home.display()), error))?;
    }
    let report = imported?;
    closed?;
    if args.json.json {
        session.json(&report)?;
        return Ok(Exit::Ok);
    }
    for database in &report.databases {
        let replaced = if database.replaced { " (replaced)" } else { "" };
        session.line(format_args!(
            "{}{replaced}: {}",
            escape(database.name.as_bytes()),
            database.content
        ))?;
    }
    session.line(&report)?;
    Ok(Exit::Ok)
}

fn describe(session: &Session, args: &ImportArgs, export: &Export) -> Result<Exit, Failure> {
    let manifest = export.manifest();
    if args.json.json {
        session.json(manifest)?;
        return Ok(Exit::Ok);
    }
    for database in &manifest.databases {
        session.line(format_args!("{}: {}", escape(database.name.as_bytes()), database.content))?;
    }
    let what = if manifest.whole { "all databases" } else { "some databases" };
    session.line(format_args!(
        "proven: {what} of environment {} as of {} ({})",
        manifest.environment, manifest.time, manifest.lsn
    ))?;
    Ok(Exit::Ok)
}
