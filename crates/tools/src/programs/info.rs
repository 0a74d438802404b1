//! `campanile info`: what a repository can bring back.

use std::path::{Path, PathBuf};

use campanile::backup::{self, ArchiveState, BackupEntry, Catalog, Window};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::arguments::JsonArgs;
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "info", alone: None, command, run };

/// Columns of a drawn window.
const WIDTH: u64 = 64;

#[derive(Args, Debug)]
struct InfoArgs {
    /// The repository.
    #[arg(short = 'r', long = "repository", env = "CAMPANILE_REPOSITORY", value_name = "DIR")]
    repository: PathBuf,
    /// Say too how far the archive is behind the log of this home, which may be in use.
    #[arg(short = 'h', long = "home", value_name = "DIR")]
    home: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Serialize)]
struct Outcome<'c> {
    #[serde(flatten)]
    catalog: &'c Catalog,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<ArchiveState>,
}

const LONG: &str = "\
Says what a repository can bring back: for each history the stretches of time from which any \
moment can be restored, drawn to scale, what lies between them, and the backups: increments below \
what they build on, and what is marked to stay. All log files are read, so what is said of the log \
is proven. A stretch ends where the log ends, is damaged or is missing. The files of the backups \
are not read: campanile verify-backup does that.

With -h it also says how far the archive is behind the log of a home.";

const EXAMPLES: &str = "\
Examples:
  campanile info -r /backup/shop
  campanile info -r /backup/shop -h /srv/shop
  campanile info -r /backup/shop --json";

fn command() -> Command {
    InfoArgs::augment_args(Command::new("info"))
        .about("Say what a repository can bring back")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = InfoArgs::from_arg_matches(matches).map_err(|e| Failure::usage(e.to_string()))?;
    let catalog = backup::catalog(&args.repository)?;
    let archive = match &args.home {
        Some(home) => backup::archive_state(home)?,
        None => None,
    };
    if args.json.json {
        session.json(&Outcome { catalog: &catalog, archive })?;
        return Ok(Exit::Ok);
    }
    session.line(format_args!("recoverable, environment {}", catalog.environment))?;
    for window in &catalog.windows {
        describe(session, &catalog, window)?;
    }
    if catalog.windows.is_empty() {
        session.line("  nothing: there is no complete backup")?;
    }
    for gap in &catalog.gaps {
        session.line(format_args!(
            "  GAP on timeline {}: nothing between {} ({}) and {} ({})",
            gap.timeline, gap.from_time, gap.from, gap.to_time, gap.to
        ))?;
    }
    if let Some(home) = &args.home {
        session.line(lag(home, archive.as_ref()))?;
    }
    session.line("backups")?;
    for root in catalog.backups.iter().filter(|found| base_of(&catalog, found).is_none()) {
        draw_chain(session, &catalog, root, 0)?;
    }
    Ok(Exit::Ok)
}

/// How far the archive of a home is behind.
fn lag(home: &Path, archive: Option<&ArchiveState>) -> String {
    let home = home.display();
    match archive {
        None => format!("archive: {home} has none"),
        Some(state) if state.bytes_behind == 0 => {
            format!("archive: has all of the log of {home}, to {}", state.log_end)
        }
        Some(state) => format!(
            "archive: has the log of {home} to {}; {} bytes in {} files are not there yet, to {}",
            state.archived_to, state.bytes_behind, state.files_behind, state.log_end
        ),
    }
}

/// What an increment builds on, if that is here.
fn base_of<'c>(catalog: &'c Catalog, found: &BackupEntry) -> Option<&'c BackupEntry> {
    let base = found.base.as_ref()?;
    catalog.backups.iter().find(|other| other.name == *base && other.name != found.name)
}

/// A backup, and below it what builds on it.
fn draw_chain(
    session: &Session,
    catalog: &Catalog,
    found: &BackupEntry,
    depth: usize,
) -> Result<(), Failure> {
    let mut line = match depth {
        0 => format!("  {}", found.name),
        depth => format!("  {}+- {}", "   ".repeat(depth - 1), found.name),
    };
    line.push_str(&match &found.end {
        Some(end) => format!(
            "  {}, timeline {}, complete at {end} ({}), {} bytes",
            if found.base.is_some() { "increment" } else { "full" },
            found.timeline,
            found.last_time,
            found.stored_bytes
        ),
        None if found.damaged.is_some() => "  cannot be restored".to_owned(),
        None => "  partial: never completed".to_owned(),
    });
    if let Some(mark) = &found.kept {
        let colon = if mark.note.is_empty() { "" } else { ": " };
        line.push_str(&format!(", KEPT{colon}{}", mark.note));
    }
    session.line(line)?;
    if let Some(why) = &found.damaged {
        session.line(format_args!("    cannot be restored: {why}"))?;
    }
    // A chain that goes round is no chain, and is drawn no deeper than there are backups.
    if depth <= catalog.backups.len() {
        for next in catalog.backups.iter().filter(|next| next.base.as_ref() == Some(&found.name)) {
            draw_chain(session, catalog, next, depth + 1)?;
        }
    }
    Ok(())
}

fn describe(session: &Session, catalog: &Catalog, window: &Window) -> Result<(), Failure> {
    session.line(format_args!(
        "  timeline {:<8} from {} ({})\n{:20}to {} ({})",
        window.timeline, window.from_time, window.from, "", window.to_time, window.to
    ))?;
    session.line(format_args!("    [{}]", draw(catalog, window)))?;
    match &window.ended_by {
        Some(why) => session.line(format_args!("    ends there because: {why}")),
        None => Ok(()),
    }
}

/// The window on the time that all windows span; backups are marked.
fn draw(catalog: &Catalog, window: &Window) -> String {
    let from = catalog.windows.iter().map(|one| one.from_us).min().unwrap_or_default();
    let to = catalog.windows.iter().map(|one| one.to_us).max().unwrap_or_default();
    let place = |us: u64| {
        let span = (to.saturating_sub(from)).max(1);
        u64::try_from(
            u128::from(us.saturating_sub(from)) * u128::from(WIDTH - 1) / u128::from(span),
        )
        .unwrap_or(WIDTH - 1)
    };
    let marks: Vec<u64> = window.backup_times_us.iter().map(|us| place(*us)).collect();
    let column = |at: u64| match at {
        at if marks.contains(&at) => 'B',
        at if (place(window.from_us)..=place(window.to_us)).contains(&at) => '=',
        _ => '.',
    };
    (0..WIDTH).map(column).collect()
}
