//! `db_stat`: statistics of an environment, its log, a database.

mod live;

use campanile::inspect::{self, HomeInfo};
use campanile::recovery::PreparedReport;
use campanile::{DatabaseStats, LiveFigures, Lsn};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::arguments::{HomeArgs, JsonArgs, PasswordArgs, refuse};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "stat", alone: Some("db_stat"), command, run };

#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools)]
struct StatArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// Statistics of a database. Reads all of its pages.
    #[arg(short = 'd', long = "database", value_name = "NAME")]
    database: Option<String>,
    /// Statistics of the environment: who owns it, how it was closed, its checkpoint (default).
    #[arg(short = 'e', long = "environment")]
    environment: bool,
    /// Statistics of the log: its files.
    #[arg(short = 'l', long = "log")]
    log: bool,
    /// All of them.
    #[arg(short = 'a', long = "all")]
    all: bool,
    /// Locks of the running owner: waits, deadlocks, who waits for whom.
    #[arg(short = 'c', long = "locks")]
    locks: bool,
    /// Cache of the running owner.
    #[arg(short = 'm', long = "cache")]
    cache: bool,
    /// Transactions of the running owner: age, log, locks; the oldest snapshot; who keeps the log.
    #[arg(short = 't', long = "transactions")]
    transactions: bool,
    /// Mutexes: there is no shared memory.
    #[arg(short = 'x', hide = true)]
    mutexes: bool,
    /// Replication: not in this build.
    #[arg(short = 'r', hide = true)]
    replication: bool,
    /// Fast: skip what needs reading pages. Not possible with -d here.
    #[arg(short = 'f', hide = true)]
    fast: bool,
    /// Reset the counters: there are none outside a running process.
    #[arg(short = 'Z', hide = true)]
    reset: bool,
    /// Take no shared-memory locks. Accepted: there are none.
    #[arg(short = 'N', hide = true)]
    _no_locks: bool,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

const LONG: &str = "\
Prints statistics, a value and what it means on each line, separated by a tab.

-e and -l read the control file, the names of files and the log since the last checkpoint: they \
work beside a running owner. -d reads \
the database as recovery would leave it and needs a home that nobody owns.

-c, -m, -t and part of -l show the process that owns the home, by what it publishes in the file \
campanile.stats every second while anything happens (EnvironmentOptions::live_stats); the first \
line says when that was. Without an owner they show what the last one published last.";

const EXAMPLES: &str = "\
Examples:
  db_stat -h /srv/shop                  the environment
  db_stat -d customers -h DIR           a database
  db_stat -ct -h DIR                    who waits, who runs, of the process that owns it
  db_stat -a --json -h DIR              environment and log for a program";

fn command() -> Command {
    StatArgs::augment_args(Command::new("db_stat"))
        .about("Statistics of an environment, its log, a database")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = StatArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    args.password.refuse()?;
    refuse(args.mutexes, "-x", "there is no shared memory and there are no mutexes in it")?;
    refuse(args.replication, "-r", "replication is not in this build")?;
    refuse(args.fast, "-f", "sizes are counted from the pages; there is no faster way yet")?;
    refuse(args.reset, "-Z", "there are no counters to reset outside a running process")?;

    if let Some(name) = &args.database {
        return database(session, &args, name);
    }
    let info = inspect::home(&args.home.home)?;
    let live = inspect::live(&args.home.home)?;
    let parts = live::Parts {
        locks: args.locks || args.all,
        cache: args.cache || args.all,
        transactions: args.transactions || args.all,
        log: args.log || args.all,
    };
    let others = args.log || args.locks || args.cache || args.transactions;
    let of_environment = args.environment || args.all || !others;
    // Beside a running owner the log may move on while it is read, and a home may be damaged:
    // everything else is told all the same.
    let prepared = inspect::prepared(&args.home.home);
    if args.json.json {
        session.json(&HomeStats {
            info: &info,
            prepared: prepared.as_deref().ok(),
            live: live.as_ref(),
        })?;
        return Ok(Exit::Ok);
    }
    if of_environment {
        environment(session, &info)?;
        list_prepared(session, &prepared)?;
    }
    if args.log || args.all {
        log(session, &info)?;
    }
    live::print(session, &info, live.as_ref(), parts)?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct HomeStats<'a> {
    #[serde(flatten)]
    info: &'a HomeInfo,
    /// Those that wait for their coordinator; absent if the log could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    prepared: Option<&'a [PreparedReport]>,
    /// What the owner, or the last one, published last.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'a LiveFigures>,
}

fn list_prepared(
    session: &Session,
    prepared: &campanile::Result<Vec<PreparedReport>>,
) -> Result<(), Failure> {
    match prepared {
        Ok(all) => {
            session.line(format_args!("{}\tPrepared transactions", all.len()))?;
            all.iter().try_for_each(|one| session.line(format_args!("{one}\tPrepared transaction")))
        }
        Err(error) => session.line(format_args!("?\tPrepared transactions ({error})")),
    }
}

#[derive(Serialize)]
struct NamedStats<'a> {
    name: &'a str,
    #[serde(flatten)]
    stats: &'a DatabaseStats,
}

fn database(session: &Session, args: &StatArgs, name: &str) -> Result<Exit, Failure> {
    let env = super::open_to_read(session, &args.home.home)?;
    let stats = env.open_database(name)?.stats()?;
    env.close()?;
    if args.json.json {
        session.json(&NamedStats { name, stats: &stats })?;
    } else {
        for (value, what) in stats.lines() {
            session.line(format_args!("{value}\t{what}"))?;
        }
    }
    Ok(Exit::Ok)
}

fn environment(session: &Session, info: &HomeInfo) -> Result<(), Failure> {
    let row =
        |value: &dyn std::fmt::Display, what: &str| session.line(format_args!("{value}\t{what}"));
    row(&info.state, "State")?;
    if let Some(owner) = &info.owner {
        row(owner, "Owner")?;
    }
    row(&info.environment, "Environment id")?;
    row(&info.timeline, "Timeline")?;
    row(&info.page_bytes, "Page size in bytes")?;
    row(&info.checkpoint, "Last checkpoint")?;
    row(&time(info.control_written_us), "Time of the last checkpoint")?;
    row(&info.redo, "Recovery would begin at")?;
    row(&info.clean_end.unwrap_or(Lsn::NONE), "End of the log at the clean close")?;
    row(&info.data_files.len(), "Data files")?;
    row(&info.data_files.iter().map(|file| file.bytes).sum::<u64>(), "Bytes of data files")?;
    for dir in &info.data_dirs {
        match &dir.problem {
            None => row(&dir.path, "Data directory")?,
            Some(problem) => row(problem, "Data directory that cannot be used")?,
        }
    }
    Ok(())
}

fn log(session: &Session, info: &HomeInfo) -> Result<(), Failure> {
    session.line(format_args!("{}\tLog file size in bytes", info.log_file_bytes))?;
    session.line(format_args!("{}\tLog files", info.log_files.len()))?;
    for file in &info.log_files {
        session.line(format_args!("{}\t{}", file.bytes, file.name))?;
    }
    session.line(format_args!(
        "{}\tBytes of log since the checkpoint, at most",
        info.log_bytes_since_checkpoint
    ))
}

fn time(us: u64) -> String {
    match jiff::Timestamp::from_microsecond(i64::try_from(us).unwrap_or(i64::MAX)) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => format!("{us} microseconds since 1970"),
    }
}
