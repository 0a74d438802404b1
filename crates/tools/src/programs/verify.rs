//! `db_verify`: checks every page of every database.

use campanile::VerifyOptions;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::arguments::{HomeArgs, JsonArgs, PasswordArgs, refuse};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program =
    Program { subcommand: "verify", alone: Some("db_verify"), command, run };

#[derive(Args, Debug)]
struct VerifyArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Print nothing but damage.
    #[arg(short = 'q', long = "quiet")]
    quiet: bool,
    /// Skip the check of key order: every database here is in byte order.
    #[arg(short = 'o', hide = true)]
    skip_order: bool,
    /// Take no shared-memory locks. Accepted: there are none.
    #[arg(short = 'N', hide = true)]
    _no_locks: bool,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    password: PasswordArgs,
    /// The databases; all of them, and the files of the home, if none is named.
    names: Vec<String>,
}

const LONG: &str = "\
Reads every page of every database, checks checksums, structure and key order, that each page is \
in use exactly once or free, and that the files in the home are the ones the catalog knows. All \
damage is listed, not only the first.

The home is read and not changed. If the last owner died, recovery runs in memory and the state it \
gives is checked; a note says so.";

const EXAMPLES: &str = "\
Examples:
  db_verify -h /srv/shop                everything
  db_verify -q -h DIR customers         one database, silent unless it is damaged
  db_verify --json -h DIR               the findings for a program";

fn command() -> Command {
    VerifyArgs::augment_args(Command::new("db_verify"))
        .about("Check every page of every database")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = VerifyArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    args.password.refuse()?;
    refuse(args.skip_order, "-o", "every database here is in byte order, which is always checked")?;

    let env = super::open_to_read(session, &args.home.home)?;
    let mut options = VerifyOptions::new().progress(session.progress(false));
    for name in &args.names {
        options = options.database(name);
    }
    let report = env.verify_with(&options)?;
    env.close()?;

    if args.json.json {
        session.json(&report)?;
    } else {
        for damage in &report.damage {
            session.line(damage)?;
        }
        if !args.quiet {
            for database in &report.databases {
                let outcome = if database.damaged { "FAILED" } else { "succeeded" };
                session.line(format_args!(
                    "verification of {} {outcome}: {} entries, {} pages",
                    database.name, database.entries, database.pages
                ))?;
            }
        }
    }
    Ok(if report.is_clean() { Exit::Ok } else { Exit::Damage })
}
