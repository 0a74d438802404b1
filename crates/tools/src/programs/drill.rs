//! `campanile drill`: the proof to watch.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use serde::Serialize;

use crate::arguments::JsonArgs;
use crate::drill::disaster::blows::Disaster;
use crate::drill::disaster::site::Site;
use crate::drill::model::Model;
use crate::drill::report::{HEADING, Summary, grouped};
use crate::drill::{self, child, disaster, rounds};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::random::Random;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "drill", alone: None, command, run };

/// What the drill starts and kills; not for people.
pub const CHILD: Program =
    Program { subcommand: "drill-child", alone: None, command: child_command, run: run_child };

#[derive(Args, Debug)]
struct DrillArgs {
    /// Where the environment is made: a directory that is empty or not there. Kept afterwards.
    /// [default: a temporary directory, removed if all is well]
    #[arg(short = 'h', long = "home", visible_alias = "dir", value_name = "DIR")]
    home: Option<PathBuf>,
    /// Disasters instead of crashes: back up, work, archive, kill, destroy, restore, prove.
    #[arg(long)]
    disaster: bool,
    /// Only these disasters, by turns. [default: all]
    #[arg(long, value_name = "KIND", value_delimiter = ',', requires = "disaster")]
    of: Vec<Disaster>,
    /// How many rounds of working, killing, recovering and proving. [default: 20; of disasters,
    /// each once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// Makes the same choices as another run with this seed. [default: from the clock]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    json: JsonArgs,
}

/// Rounds of killing and recovering, if nothing else is asked for.
const ROUNDS: u64 = 20;

const LONG: &str = "\
Proves on this machine that a crash loses nothing. In a scratch home it loads 15,928 real records, \
then starts a process whose threads move money between accounts and update packages in durable \
transactions, and say which were acknowledged. At a random moment that process is killed \
(SIGKILL). In every second round a second process begins to recover and is killed inside recovery, \
too. Then the home is recovered and compared with the list: every acknowledged transaction must be \
there, every other one whole or not at all, nothing rolled back may be visible, no money may \
appear or vanish, and every page of every database must be sound.

With --disaster, what the process worked on is then destroyed: the data files, the whole home, \
every row by a committed mistake, blocks of data, log or control file, the newest log file, a \
log file in the archive. Backups were made and the log archived while it worked under full load. \
A restore from the repository must bring back everything that the archive said it has before the \
kill, and where the log of the old home is left or the mistake is what is taken back, everything \
acknowledged; the log file lost from the archive must be refused by name. It ends with the \
recovery point (what was acknowledged and is gone; 0 of what was archived) and the recovery time \
achieved.

It ends with what the last recovery did. The exit status is 2 if anything is violated; the home is \
kept then.";

const EXAMPLES: &str = "\
Examples:
  campanile drill                       twenty rounds
  campanile drill --rounds 200          the long one
  campanile drill --seed 7 --home DIR   choices of seed 7, keep the home to look at
  campanile drill --disaster            every disaster once
  campanile drill --disaster --of home --rounds 50
                                        fifty times: killed, its home deleted, restored";

fn command() -> Command {
    DrillArgs::augment_args(Command::new("drill"))
        .about("Kill a busy process again and again; prove that nothing committed is lost")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = DrillArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let started = Instant::now();
    let seed = args.seed.unwrap_or_else(clock_seed);
    let home = home(&args)?;
    let quiet = args.json.json;
    if args.disaster {
        return disasters(&args, &home, seed, session);
    }

    let env = drill::options().open(&home)?;
    drill::fill(&env)?;
    let mut model = Model::new(&env)?;
    env.close()?;
    let mut summary = Summary { seed, packages: model.packages() as u64, ..Summary::default() };
    if !quiet {
        introduce(session, &home, &model, HEADING)?;
    }

    let mut random = Random::new(seed);
    for number in 1..=args.rounds.unwrap_or(ROUNDS) {
        let round = rounds::run(number, &home, &mut model, &mut random)?;
        if !quiet {
            session.line(&round)?;
        }
        let violated = !round.findings.violations.is_empty();
        summary.add(round);
        if violated {
            break;
        }
    }
    summary.seconds = started.elapsed().as_secs_f64();
    let proven = summary.violations.is_empty();
    finish(session, &args, &home, &summary, proven)
}

fn introduce(session: &Session, home: &Path, model: &Model, heading: &str) -> Result<(), Failure> {
    session.line(format_args!(
        "{} packages and {} accounts with {} in all are in {}\n\n{heading}",
        grouped(model.packages() as u64),
        grouped(drill::ACCOUNT_COUNT),
        grouped(model.total() as u64),
        home.display()
    ))
}

/// The disasters, by turns.
fn disasters(args: &DrillArgs, dir: &Path, seed: u64, session: &Session) -> Result<Exit, Failure> {
    let started = Instant::now();
    let kinds = if args.of.is_empty() { Disaster::value_variants() } else { &args.of };
    let mut site = Site::new(dir)?;
    let quiet = args.json.json;
    if !quiet {
        introduce(session, dir, site.model(), disaster::report::HEADING)?;
    }
    let mut random = Random::new(seed);
    let mut summary = disaster::report::Summary { seed, ..Default::default() };
    let rounds = args.rounds.unwrap_or(kinds.len() as u64);
    for (number, kind) in (1..=rounds).zip(kinds.iter().cycle()) {
        let round = disaster::run(number, *kind, &mut site, &mut random)?;
        if !quiet {
            session.line(&round)?;
        }
        summary.add(round);
        if !summary.violations.is_empty() {
            break;
        }
    }
    summary.seconds = started.elapsed().as_secs_f64();
    let proven = summary.violations.is_empty();
    finish(session, args, dir, &summary, proven)
}

fn finish(
    session: &Session,
    args: &DrillArgs,
    home: &Path,
    summary: &(impl Serialize + fmt::Display),
    proven: bool,
) -> Result<Exit, Failure> {
    if args.json.json {
        session.json(summary)?;
    } else {
        session.line(summary)?;
    }
    if proven && args.home.is_none() {
        let removed = fs::remove_dir_all(home);
        removed.map_err(|e| Failure::io(format!("removing {}", home.display()), e))?;
    } else if !proven {
        session.note(format_args!("{} is kept as it is", home.display()));
    }
    Ok(if proven { Exit::Ok } else { Exit::Damage })
}

fn clock_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}

fn home(args: &DrillArgs) -> Result<PathBuf, Failure> {
    let home = match &args.home {
        Some(home) => home.clone(),
        None => std::env::temp_dir().join(format!("campanile-drill-{}", std::process::id())),
    };
    let is_free = match fs::read_dir(&home) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(Failure::io(format!("reading {}", home.display()), error)),
    };
    if !is_free {
        let what = format!("{} is not empty: the drill makes its own home", home.display());
        return Err(Failure::usage(what));
    }
    Ok(home)
}

#[derive(Args, Debug)]
struct ChildArgs {
    #[arg(long)]
    home: PathBuf,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long)]
    open_only: bool,
}

fn child_command() -> Command {
    ChildArgs::augment_args(Command::new("drill-child")).hide(true)
}

fn run_child(matches: &ArgMatches, _session: &Session) -> Result<Exit, Failure> {
    let args = ChildArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    if args.open_only {
        child::open_only(&args.home)?;
    } else {
        child::work(&args.home, args.seed)?;
    }
    Ok(Exit::Ok)
}
