//! `db_recover`: recovers a home whose owner died, and says what that took.

use campanile::recovery::PreparedReport;
use campanile::restore::{self, Target};
use campanile::{Environment, EnvironmentOptions, RecoveryReport, inspect};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::arguments::{HomeArgs, JsonArgs, PasswordArgs};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;
use crate::target::TargetArgs;

/// The program.
pub const PROGRAM: Program =
    Program { subcommand: "recover", alone: Some("db_recover"), command, run };

#[derive(Args, Debug)]
struct RecoverArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Catastrophic recovery: bring a copy made by db_hotbackup to one moment; or, in any other
    /// home, replay all of the log there is.
    #[arg(short = 'c', long = "catastrophic")]
    catastrophic: bool,
    #[command(flatten)]
    target: TargetArgs,
    /// Keep the environment afterwards. Accepted; there are no regions to keep or remove.
    #[arg(short = 'e', long = "keep-environment")]
    _keep_environment: bool,
    /// Show progress on standard error.
    #[arg(short = 'f', long = "progress")]
    progress: bool,
    /// Print what recovery did.
    #[arg(short = 'v', long = "verbose")]
    verbose: bool,
    /// Read the log, say what recovery would do, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

const LONG: &str = "\
Recovers an environment after its owner died: work that was committed is redone, work that was \
not is undone, a torn end of the log is cut. Opening an environment does the same by itself; this \
program is for doing it at a time of your choosing, and for reading the report.

Transactions that were prepared for a two-phase commit are neither: they are kept, hidden and \
locked, and printed, until `campanile txn` or the program that owns the home resolves them.

With -c, a copy made by db_hotbackup is brought to one moment: the end of the log in it, or the \
target given by -t, --lsn or --restore-point. It begins a new timeline then. A home that is no \
copy does not go back in time: restore a backup for that (campanile restore). There, -c replays \
all of the log, for data files that were put in from an older copy.

Recovery can be interrupted at any moment and run again. It changes nothing in a home that was \
closed cleanly. Damage in the middle of the log is never cut: it is refused with file and offset.";

const EXAMPLES: &str = "\
Examples:
  db_recover -v -h /srv/shop         recover and say what that took
  db_recover --dry-run -v -h DIR     what that would be, without touching the home
  db_recover --json -h DIR           the report for a program
  db_recover -c -h /backup/monday    bring a copy to the end of the log in it
  db_recover -c -t 202611201244 -h DIR  ... to a minute before it";

fn command() -> Command {
    RecoverArgs::augment_args(Command::new("db_recover"))
        .about("Recover an environment whose owner died")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

#[derive(Serialize)]
struct Outcome<'a> {
    home: String,
    dry_run: bool,
    needed: bool,
    report: Option<&'a RecoveryReport>,
    /// Those that wait for their coordinator, of this recovery and of earlier ones.
    prepared: &'a [PreparedReport],
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = RecoverArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    args.password.refuse()?;
    let target = args.target.target()?;
    if args.catastrophic {
        return run_catastrophic(&args, &target, session);
    }
    if target != Target::End {
        return Err(Failure::usage("a target goes with -c: only a copy can go back in time"));
    }
    let home = &args.home.home;
    let progress = session.progress(args.progress);
    let (report, prepared) = if args.dry_run {
        (inspect::dry_run_recovery(home, &progress)?, inspect::prepared(home)?)
    } else {
        let env = Environment::options().create(false).progress(progress).open(home)?;
        let report = env.recovery_report().cloned();
        env.close()?;
        (report, inspect::prepared(home)?)
    };

    if args.json.json {
        session.json(&Outcome {
            home: home.display().to_string(),
            dry_run: args.dry_run,
            needed: report.is_some(),
            report: report.as_ref(),
            prepared: &prepared,
        })?;
    } else if args.verbose || args.dry_run {
        match &report {
            Some(report) => session.line(report)?,
            None => session
                .line(format_args!("{} was closed cleanly: nothing to recover", home.display()))?,
        }
        if args.dry_run && report.is_some() {
            session.line("dry run: nothing on disk was changed")?;
        }
    }
    if !args.json.json {
        for one in &prepared {
            session.line(format_args!("prepared, waits for its coordinator: {one}"))?;
        }
        if !prepared.is_empty() {
            session.note("resolve prepared transactions with `campanile txn commit|abort GID`");
        }
    }
    Ok(Exit::Ok)
}

/// `-c`.
fn run_catastrophic(
    args: &RecoverArgs,
    target: &Target,
    session: &Session,
) -> Result<Exit, Failure> {
    let home = &args.home.home;
    if args.dry_run {
        let reach = restore::examine_copy(home, target)?;
        if args.json.json {
            session.json(&reach)?;
            return Ok(Exit::Ok);
        }
        let none = || "none".to_owned();
        session.line(format_args!("{}: would stop at {}", reach.target, reach.stop))?;
        session.line(format_args!("  last in   {}", reach.last_commit.unwrap_or_else(none)))?;
        session.line(format_args!("  first out {}", reach.next_commit.unwrap_or_else(none)))?;
        session.line(format_args!("  reachable {} to {}", reach.earliest, reach.log_end))?;
        session.line("dry run: nothing on disk was changed")?;
        return Ok(Exit::Ok);
    }
    let options = EnvironmentOptions::new().progress(session.progress(args.progress));
    let report = restore::catastrophic(home, target, options)?;
    if args.json.json {
        session.json(&Outcome {
            home: home.display().to_string(),
            dry_run: false,
            needed: true,
            report: Some(&report),
            prepared: &report.prepared,
        })?;
    } else if args.verbose {
        session.line(report.to_string().trim_end())?;
    }
    Ok(Exit::Ok)
}
