//! What is destroyed, and what an operator has left.
//!
//! Owns the list of disasters. Promises that each leaves the repository as the operator would find
//! it, and says what must come back. Must never be lenient: what survives is not destroyed.

use std::fmt;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use campanile::restore::Target;
use campanile::{Lsn, backup};
use clap::ValueEnum;
use serde::Serialize;

use super::Work;
use super::site::{Site, log_number};
use crate::drill::{ACCOUNTS, JOURNAL, PACKAGES, SCRATCH, STATE, options};
use crate::failure::Failure;
use crate::random::Random;

/// What a bad disk ruins at once.
const BLOCK: u64 = 4096;
/// Blocks that are ruined in a round.
const BLOCKS: u64 = 4;
/// Damage so near to the end of the log cannot be told from a torn tail, and is not made.
const TAIL: u64 = 256 << 10;
/// After everything.
const END: Lsn = Lsn(u64::MAX);

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disaster {
    /// The whole home is deleted.
    Home,
    /// All data files are deleted.
    DataFiles,
    /// Somebody empties every database, and commits.
    Mistake,
    /// Blocks of the data files are ruined.
    DataBlocks,
    /// Blocks of the log are ruined.
    LogBlocks,
    /// The control file is ruined.
    Control,
    /// The newest log file is lost.
    NewestLog,
    /// The home is deleted, and a log file in the archive is lost: that must be refused by name.
    ArchivedLog,
}

impl Disaster {
    /// Whether hot backups are made while the process works.
    #[must_use]
    pub fn backs_up(self) -> bool {
        self != Disaster::ArchivedLog
    }

    /// Log files that must be begun meanwhile, so that there is something to lose.
    #[must_use]
    pub fn needs_log_files(self) -> usize {
        match self {
            Disaster::ArchivedLog => 3,
            Disaster::NewestLog | Disaster::LogBlocks => 1,
            _ => 0,
        }
    }
}

impl fmt::Display for Disaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Disaster::Home => "home deleted",
            Disaster::DataFiles => "data files deleted",
            Disaster::Mistake => "all rows deleted",
            Disaster::DataBlocks => "data ruined",
            Disaster::LogBlocks => "log ruined",
            Disaster::Control => "control file ruined",
            Disaster::NewestLog => "newest log lost",
            Disaster::ArchivedLog => "archived log lost",
        })
    }
}

/// The directory with what is left of the log.
#[derive(Clone, Debug)]
pub struct Salvage(pub PathBuf);

/// A file that was taken away.
#[derive(Debug)]
pub struct Hidden {
    /// Its name.
    pub name: String,
    from: PathBuf,
    to: PathBuf,
}

impl Hidden {
    fn take(from: PathBuf, name: String, beside: &Path) -> Result<Hidden, Failure> {
        let to = beside.join(&name);
        fs::rename(&from, &to)
            .map_err(|error| Failure::io(format!("moving {}", from.display()), error))?;
        Ok(Hidden { name, from, to })
    }

    /// It was found again.
    pub fn put_back(&self) -> Result<(), Failure> {
        fs::rename(&self.to, &self.from)
            .map_err(|error| Failure::io(format!("moving {}", self.to.display()), error))
    }
}

/// What was destroyed, and what is left.
#[derive(Debug)]
pub struct Blow {
    /// In words.
    pub what: String,
    /// Whether somebody tries to open it first.
    pub opens: bool,
    /// What is restored.
    pub target: Target,
    /// With the log of the old home.
    pub salvage: Option<Salvage>,
    /// What was acknowledged before this must come back.
    pub keeps: Lsn,
    /// A file that must be missed.
    pub hidden: Option<Hidden>,
}

impl Blow {
    /// Nothing is left but the repository.
    fn of_the_home() -> Blow {
        Blow {
            what: String::new(),
            opens: false,
            target: Target::End,
            salvage: None,
            keeps: END,
            hidden: None,
        }
    }
}

/// Destroys.
pub fn strike(
    disaster: Disaster,
    site: &Site,
    work: &Work,
    random: &mut Random,
) -> Result<Blow, Failure> {
    let home = site.home();
    let salvage = Some(Salvage(home.join("log")));
    let blow = Blow { opens: true, salvage, ..Blow::of_the_home() };
    Ok(match disaster {
        Disaster::Home => {
            delete_home(home)?;
            let what = format!("deleted {}", home.display());
            Blow { what, keeps: work.archived, ..Blow::of_the_home() }
        }
        Disaster::DataFiles => {
            let count = delete_data(home)?;
            Blow { what: format!("deleted {count} data files"), ..blow }
        }
        Disaster::Mistake => {
            let at = empty_everything(home)?;
            let what = format!("emptied five databases in a transaction committed at {at}");
            let target = Target::Lsn { at, inclusive: false };
            Blow { what, opens: false, target, salvage: None, ..blow }
        }
        Disaster::DataBlocks => Blow { what: ruin(&home.join("data"), None, random)?, ..blow },
        Disaster::LogBlocks => {
            // It may well open, with old log ruined that nobody needs: not a home to go on with.
            let what = ruin(&home.join("log"), Some(work.archived), random)?;
            Blow { what, opens: false, ..blow }
        }
        Disaster::Control => {
            let path = home.join("control");
            let noise: Vec<u8> = (0..8192).map(|_| random.next_u64() as u8).collect();
            fs::write(&path, noise).map_err(|e| Failure::io("ruining the control file", e))?;
            Blow { what: "wrote noise over the control file".to_owned(), ..blow }
        }
        Disaster::NewestLog => {
            let lost = newest_file(home)?;
            fs::remove_file(&lost).map_err(|e| Failure::io("removing a log file", e))?;
            let what = format!("deleted {}", shown(&lost));
            // What is left of the log helps, and must not be mixed up with what is archived.
            Blow { what, opens: false, keeps: work.archived, ..blow }
        }
        Disaster::ArchivedLog => {
            delete_home(home)?;
            let hidden = hide_archived(site)?;
            let what = format!("deleted the home, and {} in the archive", hidden.name);
            let hidden = Some(hidden);
            Blow { what, keeps: work.archived, hidden, ..Blow::of_the_home() }
        }
    })
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn delete_home(home: &Path) -> Result<(), Failure> {
    fs::remove_dir_all(home).map_err(|e| Failure::io(format!("deleting {}", home.display()), e))
}

/// The files in a directory whose names begin so, in order.
fn files(dir: &Path, start: &str) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::io(format!("listing {}", dir.display()), error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if shown(&path).starts_with(start) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn delete_data(home: &Path) -> Result<usize, Failure> {
    let files = files(&home.join("data"), "data.")?;
    for path in &files {
        fs::remove_file(path).map_err(|e| Failure::io("deleting a data file", e))?;
    }
    Ok(files.len())
}

/// The mistake: committed, and archived like everything else. Gives its place in the log.
fn empty_everything(home: &Path) -> Result<Lsn, Failure> {
    let env = options().create(false).open(home)?;
    let mut txn = env.begin()?;
    for name in [PACKAGES, ACCOUNTS, JOURNAL, STATE, SCRATCH] {
        env.empty_database_in(&mut txn, name)?;
    }
    let at = txn.commit()?;
    env.close()?;
    backup::archive_now(home)?;
    Ok(at)
}

/// Writes noise over blocks. Of the log, the newest file only below `settled`, and not near it.
fn ruin(dir: &Path, settled: Option<Lsn>, random: &mut Random) -> Result<String, Failure> {
    let start = if settled.is_some() { "log." } else { "data." };
    let mut choices = Vec::new();
    for path in files(dir, start)? {
        let failed = |error| Failure::io(format!("reading {}", path.display()), error);
        let mut bytes = fs::metadata(&path).map_err(failed)?.len();
        if let (Some(settled), Some(number)) = (settled, log_number(&shown(&path))) {
            if number > settled.file() {
                continue;
            }
            if number == settled.file() {
                bytes = u64::from(settled.offset()).saturating_sub(TAIL);
            }
        }
        choices.extend((0..bytes / BLOCK).map(|block| (path.clone(), block)));
    }
    let mut struck = Vec::new();
    for _ in 0..BLOCKS.min(choices.len() as u64) {
        let chosen = random.below(choices.len() as u64) as usize;
        let (path, block) = choices.swap_remove(chosen);
        let noise: Vec<u8> = (0..BLOCK).map(|_| random.next_u64() as u8).collect();
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(block * BLOCK))?;
                file.write_all(&noise)
            })
            .map_err(|error| Failure::io(format!("ruining {}", path.display()), error))?;
        struck.push(format!("{} at {}", shown(&path), block * BLOCK));
    }
    Ok(format!("wrote noise over {}", struck.join(", ")))
}

fn newest_file(home: &Path) -> Result<PathBuf, Failure> {
    let newest = files(&home.join("log"), "log.")?.pop();
    newest.ok_or_else(|| Failure::usage("there is no log file to lose"))
}

/// Takes a log file away that only the archive has, and that later ones follow.
fn hide_archived(site: &Site) -> Result<Hidden, Failure> {
    let timelines = files(&site.repository().join("log"), "")?;
    let newest = timelines.last().ok_or_else(|| Failure::usage("there is no archive"))?;
    let mut archived = files(newest, "log.")?;
    archived.pop();
    let lost = archived.pop();
    let lost = lost.ok_or_else(|| Failure::usage("there are too few archived log files"))?;
    let name = shown(&lost);
    Hidden::take(lost, name, site.repository())
}
