//! Disasters: destroy what a busy process worked on, bring it back from the repository, and prove
//! that what was archived is there.
//!
//! Owns the order of a round: back up, work, archive, kill, destroy, restore, compare. Promises
//! that "archived" is what the archive said before the kill, and that nothing is compared with the
//! engine's own word. Must never touch anything outside its directory.

pub mod blows;
pub mod report;
pub mod site;

use std::path::{Path, PathBuf};
use std::time::Instant;

use campanile::restore::{RestoreOptions, RestoreReport, Target};
use campanile::{Error, Lsn};

use self::blows::{Blow, Disaster, Salvage};
use self::report::Round;
use self::site::{Seen, Site};
use super::model::Findings;
use super::options;
use crate::failure::Failure;
use crate::random::Random;

/// Runs one round: the site is ready for the next one afterwards.
pub fn run(
    number: u64,
    disaster: Disaster,
    site: &mut Site,
    random: &mut Random,
) -> Result<Round, Failure> {
    site.prepare(number)?;
    let work = site.work(disaster, random)?;
    let mut round = Round::new(number, disaster, &work, site.model());
    let blow = blows::strike(disaster, site, &work, random)?;
    round.destroyed.clone_from(&blow.what);
    let struck = Instant::now();
    let must = site.model().acknowledged_before(blow.keeps);
    let unharmed = match blow.opens {
        false => None,
        true => try_to_open(site, &mut round)?,
    };
    let findings = match unharmed {
        Some(findings) => findings,
        None => bring_back(site, &blow, must, &mut round)?,
    };
    round.seconds = struck.elapsed().as_secs_f64();
    round.judge(findings);
    Ok(round)
}

/// What anybody does first: open it. Gives the proof if all is well; what it says otherwise.
fn try_to_open(site: &mut Site, round: &mut Round) -> Result<Option<Findings>, Failure> {
    let opened = Instant::now();
    match site.look(u64::MAX)? {
        Seen::Whole(findings) => {
            round.recovered_ms = opened.elapsed().as_secs_f64() * 1000.0;
            round.way = "opened".to_owned();
            Ok(Some(findings))
        }
        Seen::Damaged(said) => {
            round.said = Some(said);
            Ok(None)
        }
    }
}

/// Restores into a new home, which takes the place of the old one.
fn bring_back(
    site: &mut Site,
    blow: &Blow,
    must: u64,
    round: &mut Round,
) -> Result<Findings, Failure> {
    let started = Instant::now();
    let home = site.next_home();
    if let Some(hidden) = &blow.hidden {
        match restore(site, &blow.target, None, &home) {
            Ok(_) => round.wrong(format!("{} is gone, and nobody noticed", hidden.name)),
            Err(error) if error.to_string().contains(&hidden.name) => {
                round.said = Some(error.to_string());
            }
            Err(error) => round.wrong(format!("{} is not named: {error}", hidden.name)),
        }
        hidden.put_back()?;
    }
    let salvaged = blow.salvage.as_ref();
    let (report, must) = match restore(site, &blow.target, salvaged, &home) {
        Ok(report) => (report, must),
        // What was salvaged is itself damaged: without it there is what was archived.
        Err(error) if salvaged.is_some() && error.is_corruption() => {
            round.said = Some(error.to_string());
            let must = site.model().acknowledged_before(round.archived_to);
            (restore(site, &blow.target, None, &home)?, must)
        }
        Err(error) => return Err(error.into()),
    };
    round.way = format!("restored from {}", report.backup);
    site.move_to(home)?;
    let seen = site.look(must)?;
    // From the first command to an environment that is open, read and verified.
    round.recovered_ms = started.elapsed().as_secs_f64() * 1000.0;
    match seen {
        Seen::Whole(findings) => Ok(findings),
        Seen::Damaged(what) => {
            round.wrong(format!("what was restored is damaged: {what}"));
            Ok(Findings::default())
        }
    }
}

fn restore(
    site: &Site,
    target: &Target,
    salvage: Option<&Salvage>,
    home: &Path,
) -> Result<RestoreReport, Error> {
    // Named, because the mistake's history went on where the restored one left it.
    let restore = RestoreOptions::new().timeline(site.timeline()).target(target.clone());
    let mut restore = restore.environment(options());
    if let Some(Salvage(logs)) = salvage {
        restore = restore.logs(logs);
    }
    restore.run(site.repository(), home)
}

/// What a busy time left behind.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// How long the process worked before it was killed, in milliseconds.
    pub ms: u64,
    /// Backups that were complete when it was killed.
    pub backups: u64,
    /// The archive said before the kill that it has everything before this.
    pub archived: Lsn,
}

/// The directories of a drill.
#[must_use]
pub fn place(dir: &Path, what: &str, number: u64) -> PathBuf {
    dir.join(format!("{what}-{number}"))
}
