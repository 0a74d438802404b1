//! `campanile backup`: a backup of a home, in use or not, in a repository.

use std::path::PathBuf;

use campanile::backup::{BackupOptions, BackupReport, Compression};
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use crate::arguments::{HomeArgs, JsonArgs};
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "backup", alone: None, command, run };

#[derive(Args, Debug)]
struct BackupArgs {
    #[command(flatten)]
    home: HomeArgs,
    /// The repository: a directory, made by the first backup.
    #[arg(short = 'r', long = "repository", env = "CAMPANILE_REPOSITORY", value_name = "DIR")]
    repository: PathBuf,
    /// Copy only what changed since the newest complete backup of the same history. Without one,
    /// the backup is full.
    #[arg(short = 'i', long = "incremental")]
    incremental: bool,
    /// Copy only what changed since this backup.
    #[arg(long = "base", value_name = "NAME", conflicts_with = "incremental")]
    base: Option<String>,
    /// How data files are packed.
    #[arg(long = "compress", value_name = "HOW", value_enum, default_value_t = Packing::None)]
    compress: Packing,
    /// Level of compression, 1 (fast) to 19 (small).
    #[arg(long = "level", value_name = "N", default_value_t = 3)]
    level: i32,
    /// Threads that copy data files, one file each.
    #[arg(short = 'j', long = "jobs", value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Read at most so many bytes a second from the home: 500k, 20M, 1G. [default: no limit]
    #[arg(long = "max-rate", value_name = "BYTES/s", value_parser = bytes)]
    max_rate: Option<u64>,
    /// Show progress on standard error.
    #[arg(short = 'f', long = "progress")]
    progress: bool,
    #[command(flatten)]
    json: JsonArgs,
}

/// How data files are packed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Packing {
    /// As they are.
    None,
    /// Each as one zstd stream.
    Zstd,
}

/// A number of bytes, with k, M or G (1000 of the one before) behind it if one likes.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'M')) => (&text[..at], 1_000_000),
        Some((at, 'G')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "give a number like 500k, 20M or 1G".to_owned())
}

const LONG: &str = "\
Makes a backup of an environment while its owner goes on working, from its files alone. Every \
page is checked by its checksum while it is copied. The backup is named by the time at which it \
began, counts only when it is complete, and never touches an older one. Directory and files are \
readable by their owner only. Whether there is space is looked at first.

With --incremental only pages that changed since the newest complete backup are stored; all are \
still read and checked. `campanile restore` takes the increment and all it stands on: keep them \
together (`campanile prune` does).

--jobs and --max-rate say how hard the home's disk is used. While a backup runs, the home keeps \
its log files: a slow one needs more space there. A backup that is interrupted is partial and \
does not count.

A home whose owner died is refused: recover it first (db_recover).";

const EXAMPLES: &str = "\
Examples:
  campanile backup -h /srv/shop -r /backup/shop
  campanile backup -h /srv/shop -r /backup/shop --incremental --compress zstd
  campanile backup -h /srv/shop -r /backup/shop --jobs 4 --max-rate 50M --json";

fn command() -> Command {
    BackupArgs::augment_args(Command::new("backup"))
        .about("Back up an environment that may be in use")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = BackupArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let progress = session.progress(args.progress);
    let mut options = BackupOptions::new()
        .incremental(args.incremental)
        .compression(match args.compress {
            Packing::None => Compression::None,
            Packing::Zstd => Compression::Zstd,
        })
        .level(args.level)
        .jobs(args.jobs)
        .progress(progress);
    if let Some(name) = args.base {
        options = options.base(name);
    }
    if let Some(rate) = args.max_rate {
        options = options.max_rate(rate);
    }
    let report = options.run(&args.home.home, &args.repository)?;
    if args.json.json {
        session.json(&report)?;
    } else {
        session.line(format_args!("backup {} in {}", report.name, report.directory))?;
        describe(session, &report)?;
    }
    Ok(Exit::Ok)
}

/// What a backup is, for people.
pub(crate) fn describe(session: &Session, report: &BackupReport) -> Result<(), Failure> {
    let rate = report.bytes as f64 / 1e6 / report.seconds.max(1e-6);
    if let Some(base) = &report.base {
        let pages: u64 = report.parts.iter().filter_map(|part| part.changed_pages).sum();
        session.line(format_args!("  stands on {base}: {pages} pages changed since"))?;
    }
    session.line(format_args!(
        "  copied    {} bytes in {} files, {:.2} s, {rate:.0} MB/s",
        report.bytes, report.files, report.seconds
    ))?;
    if report.stored_bytes != report.bytes {
        let share = report.stored_bytes as f64 * 100.0 / (report.bytes as f64).max(1.0);
        session.line(format_args!("  stored    {} bytes, {share:.1} %", report.stored_bytes))?;
    }
    session.line(format_args!(
        "  checked   {} pages, {} read again",
        report.pages, report.pages_read_again
    ))?;
    session.line(format_args!(
        "  log       {} to {}, replay from {}, timeline {}",
        report.first, report.end, report.redo, report.timeline
    ))?;
    session.line(format_args!("  reaches   {} (last time in its log)", report.last_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_with_or_without_a_unit() {
        assert_eq!(bytes("500"), Ok(500));
        assert_eq!(bytes("500k"), Ok(500_000));
        assert_eq!(bytes("20M"), Ok(20_000_000));
        assert_eq!(bytes("1G"), Ok(1_000_000_000));
        for wrong in
            ["", "M", "0", "0k", "-1", "1.5M", "99999999999999999999", "18446744073709552k"]
        {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
