//! `campanile verify-backup`: proves that backups and their log are what was written.

use std::path::PathBuf;

use campanile::backup::{BackupProof, Finding, VerifyBackupOptions};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::arguments::JsonArgs;
use crate::exit::{Exit, TABLE};
use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// The program.
pub const PROGRAM: Program = Program { subcommand: "verify-backup", alone: None, command, run };

#[derive(Args, Debug)]
struct VerifyBackupArgs {
    /// The repository.
    #[arg(short = 'r', long = "repository", env = "CAMPANILE_REPOSITORY", value_name = "DIR")]
    repository: PathBuf,
    /// The backup; without it all of them.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Restore each to the end of its log in DIR too, which must be empty or missing, check every
    /// database, and remove what was restored if it is sound.
    #[arg(long, value_name = "DIR")]
    restore: Option<PathBuf>,
    /// Show progress on standard error.
    #[arg(short = 'f', long = "progress")]
    progress: bool,
    #[command(flatten)]
    json: JsonArgs,
}

const LONG: &str = "\
Reads everything that a restore would read: every file of every backup against the length and \
checksum in its manifest, every page against its own checksum, increments as they are restored, \
and every record of the log from each backup to the end of its history. All damage is named. With \
--restore each backup is really restored, to the end of its log, and every database checked.

The exit status is 0 only if there is no damage. A backup that was never completed counts for \
nothing and is no damage.";

const EXAMPLES: &str = "\
Examples:
  campanile verify-backup -r /backup/shop
  campanile verify-backup -r /backup/shop 20261120_023000
  campanile verify-backup -r /backup/shop --restore /var/tmp/scratch";

fn command() -> Command {
    VerifyBackupArgs::augment_args(Command::new("verify-backup"))
        .about("Prove that backups and their log can be restored")
        .long_about(LONG)
        .after_long_help(format!("{EXAMPLES}\n\n{TABLE}"))
}

#[derive(Serialize)]
struct Outcome<'p> {
    clean: bool,
    findings: Vec<Finding>,
    #[serde(flatten)]
    proof: &'p BackupProof,
}

fn run(matches: &ArgMatches, session: &Session) -> Result<Exit, Failure> {
    let args = VerifyBackupArgs::from_arg_matches(matches);
    let args = args.map_err(|e| Failure::usage(e.to_string()))?;
    let mut options = VerifyBackupOptions::new().progress(session.progress(args.progress));
    if let Some(name) = args.name {
        options = options.backup(name);
    }
    if let Some(dir) = args.restore {
        options = options.restore(dir);
    }
    let proof = options.run(&args.repository)?;
    let findings = proof.findings();
    let clean = findings.is_empty();
    if args.json.json {
        session.json(&Outcome { clean, findings, proof: &proof })?;
    } else {
        session.line(proof.to_string().trim_end())?;
    }
    Ok(if clean { Exit::Ok } else { Exit::Damage })
}
