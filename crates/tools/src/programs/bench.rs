//! `campanile bench`: first speed figures of this machine.

mod backups;
mod threads;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile::{Database, Durability, Environment};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use self::backups::Backups;
use crate::arguments::JsonArgs;
use crate::drill::report::grouped;
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::random::Random;
use crate::session::Session;
use crate::stopwatch::{Stopwatch, Took};

/// The program.
pub const PROGRAM: Program = Program { subcommand: "bench", alone: None, command, run };

const KEY_BYTES: usize = 24;
const VALUE_BYTES: usize = 150;
const DATABASE: &str = "bench";

#[derive(Args, Debug)]
struct BenchArgs {
    /// Where the environment is made: a directory that is not there. Kept afterwards.
    /// [default: a temporary directory, removed]
    #[arg(short = 'h', long = "home", value_name = "DIR")]
    home: Option<PathBuf>,
    /// How many entries are loaded.
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    entries: u64,
    /// Seconds of durable commits.
    #[arg(long, value_name = "S", default_value_t = 3)]
    commit_seconds: u64,
    /// Seconds of each workload of many threads: commits of 1 to 32 of them, durable and not, on
    /// keys of their own and on one hot key; snapshot reads beside writers; deadlocks. 0: none.
    #[arg(long, value_name = "S", default_value_t = 0)]
    threads_seconds: u64,
    /// Measures backups instead: full ones beside `cp -r` of the same files, packed ones,
    /// increments after 0.1 to 50 % of the rows changed, restores, replay, and durable commits
    /// beside running backups (for --commit-seconds each time).
    #[arg(long)]
    backup: bool,
    /// The disk promises to spare what is beside a write: durable commits do not fill blocks.
    #[arg(long)]
    power_safe_overwrite: bool,
    /// Memory for pages, in megabytes.
    #[arg(long, value_name = "MB", default_value_t = 512)]
    cache: usize,
    /// Makes the same data as another run with this seed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    json: JsonArgs,
}

const LONG: &str = "\
Measures, one after the other, in one environment and one thread: loading random 24-byte keys with \
150-byte values in one transaction, random reads of them, a scan over all, durable transactions of \
one entry each, and the recovery of the log that relaxed transactions left when the process let go \
of the home without closing it. With --threads-seconds, many threads before that.

These are figures of this machine and this disk, to compare with themselves. On a machine that \
does other work too, processor time is the steadier one.";

fn command() -> Command {
    BenchArgs::augment_args(Command::new("bench"))
        .about("First speed figures of this machine")
        .long_about(LONG)
        .after_long_help(TABLE)
}

/// One line of the result.
#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    count: u64,
    seconds: f64,
    per_second: f64,
    unit: &'static str,
    /// Time of the measuring thread on a processor, for each one of `count`.
    processor_ns: Option<f64>,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<40} {:>10} {:<8} {:>8.3} s {:>12} {}/s",
            self.what,
            grouped(self.count),
            self.unit,
            self.seconds,
            grouped(self.per_second as u64),
            self.unit
        )?;
        match self.processor_ns {
            Some(ns) => write!(f, ", {ns:.0} ns of processor time each"),
            None => Ok(()),
        }
    }
}

fn figure(what: impl Into<String>, unit: &'static str, count: u64, took: Took) -> Figure {
    let seconds = took.time.as_secs_f64();
    let each = |time: Duration| time.as_nanos() as f64 / count.max(1) as f64;
    let processor_ns = took.on_processor.map(each);
    Figure {
        what: what.into(),
        count,
        seconds,
        per_second: count as f64 / seconds.max(1e-9),
        unit,
        processor_ns,
    }
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = BenchArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let home = match &args.home {
        Some(home) => home.clone(),
        None => std::env::temp_dir().join(format!("campanile-bench-{}", std::process::id())),
    };
    if home.exists() {
        return Err(Failure::usage(format!("{} is there already", home.display())));
    }
    let mut figures = Vec::new();
    let mut show = |figure: Figure| -> Result<(), Failure> {
        if !args.json.json {
            session.line(&figure)?;
        }
        figures.push(figure);
        Ok(())
    };
    if args.backup {
        fs::create_dir_all(&home).map_err(|e| Failure::io("making the directory", e))?;
        let backups = Backups {
            dir: &home,
            entries: args.entries,
            seed: args.seed,
            writers: Duration::from_secs(args.commit_seconds),
            cache_bytes: args.cache << 20,
        };
        backups.run(&mut show)?;
        return finish(&args, &home, &figures, session);
    }
    let bench = Bench { args: &args, home: &home };
    let env = bench.open()?;
    show(bench.load(&env)?)?;
    let database = env.open_database(DATABASE)?;
    show(bench.read(&env, &database)?)?;
    show(bench.scan(&env, &database)?)?;
    show(bench.commit(&env, &database)?)?;
    env.checkpoint()?;
    if args.threads_seconds > 0 {
        threads::run(&env, Duration::from_secs(args.threads_seconds), &mut show)?;
        env.checkpoint()?;
    }
    show(bench.relaxed(&env, &database)?)?;
    drop(database);
    env.abandon();
    show(bench.recover()?)?;
    finish(&args, &home, &figures, session)
}

fn finish(
    args: &BenchArgs,
    home: &Path,
    figures: &[Figure],
    session: &Session,
) -> Result<Exit, Failure> {
    if args.json.json {
        session.json(&figures)?;
    }
    if args.home.is_none() {
        let removed = fs::remove_dir_all(home);
        removed.map_err(|e| Failure::io(format!("removing {}", home.display()), e))?;
    }
    Ok(Exit::Ok)
}

struct Bench<'a> {
    args: &'a BenchArgs,
    home: &'a Path,
}

impl Bench<'_> {
    fn open(&self) -> Result<Environment, Failure> {
        // No checkpoint in the middle: recovery is measured over all of the log.
        let options = Environment::options()
            .cache_bytes(self.args.cache << 20)
            .power_safe_overwrite(self.args.power_safe_overwrite)
            .checkpoint_log_bytes(u64::MAX)
            .checkpoint_interval(Duration::from_secs(1 << 30));
        Ok(options.open(self.home)?)
    }

    fn load(&self, env: &Environment) -> Result<Figure, Failure> {
        let database = env.create_database(DATABASE)?;
        let value = [b'v'; VALUE_BYTES];
        let watch = Stopwatch::start();
        let mut txn = env.begin()?;
        for n in 0..self.args.entries {
            database.put(&mut txn, self.key(n), value)?;
        }
        txn.commit()?;
        let time = watch.stop();
        Ok(figure("load, random order, one transaction", "entries", self.args.entries, time))
    }

    fn read(&self, env: &Environment, database: &Database) -> Result<Figure, Failure> {
        let mut random = Random::new(self.args.seed ^ 1);
        let snapshot = env.snapshot()?;
        let count = self.args.entries.min(1_000_000);
        let watch = Stopwatch::start();
        let mut bytes = 0;
        for _ in 0..count {
            let key = self.key(random.below(self.args.entries));
            bytes += database.get_with(&snapshot, key, <[u8]>::len)?.unwrap_or(0);
        }
        let time = watch.stop();
        assert_eq!(bytes as u64, count * VALUE_BYTES as u64, "every key that was loaded is there");
        Ok(figure("read, random order, snapshot", "entries", count, time))
    }

    fn scan(&self, env: &Environment, database: &Database) -> Result<Figure, Failure> {
        let snapshot = env.snapshot()?;
        let watch = Stopwatch::start();
        let mut count = 0;
        for entry in database.range(&snapshot, ..)? {
            entry?;
            count += 1;
        }
        assert_eq!(count, self.args.entries, "a scan meets every entry once");
        Ok(figure("scan forward, snapshot", "entries", count, watch.stop()))
    }

    fn commit(&self, env: &Environment, database: &Database) -> Result<Figure, Failure> {
        let mut random = Random::new(self.args.seed ^ 2);
        let limit = Duration::from_secs(self.args.commit_seconds);
        let watch = Stopwatch::start();
        let mut count = 0;
        while watch.elapsed() < limit {
            let key = self.key(random.below(self.args.entries));
            env.run(|txn| database.put(txn, key, [b'c'; VALUE_BYTES]))?;
            count += 1;
        }
        Ok(figure("commit, durable, one entry each", "commits", count, watch.stop()))
    }

    fn relaxed(&self, env: &Environment, database: &Database) -> Result<Figure, Failure> {
        let mut random = Random::new(self.args.seed ^ 3);
        let count = self.args.entries.min(500_000);
        let watch = Stopwatch::start();
        for n in 0..count {
            let key = self.key(random.below(self.args.entries));
            let mut txn = env.begin()?;
            database.put(&mut txn, key, [b'r'; VALUE_BYTES])?;
            let last = n + 1 == count;
            txn.commit_with(if last { Durability::Sync } else { Durability::NoSync })?;
        }
        Ok(figure("commit, not synced, one entry each", "commits", count, watch.stop()))
    }

    fn recover(&self) -> Result<Figure, Failure> {
        let watch = Stopwatch::start();
        let env = self.open()?;
        let time = watch.stop();
        let report = env.recovery_report().cloned();
        env.close()?;
        let kilobytes = report.map_or(0, |report| report.log_bytes / 1000);
        Ok(figure("recovery, log read and replayed", "kB", kilobytes, time))
    }

    fn key(&self, n: u64) -> [u8; KEY_BYTES] {
        key(self.args.seed, n)
    }
}

/// Key number `n`: as random as its number is not.
fn key(seed: u64, n: u64) -> [u8; KEY_BYTES] {
    let mut random = Random::new(seed.wrapping_mul(0x5851_f42d).wrapping_add(n));
    let mut key = [0; KEY_BYTES];
    for chunk in key.chunks_mut(8) {
        let bytes = random.next_u64().to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    key
}
