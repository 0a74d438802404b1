//! The files of a restore: from a backup and the log into a home.
//!
//! Owns the order in which a restored home comes to be, and the note that it is not one yet (B13).
//! Promises that the directory is empty, or the remains of the same kind of work, before anything
//! is written into it; that what was written is what the backup's manifest lists; and that the
//! control file comes last. Must never remove a file that is not a home's.

use std::io;
use std::path::Path;

use campanile_format::control::Control;
use campanile_format::{EnvironmentId, Lsn, names};
use campanile_pagestore::Place;
use campanile_vfs::{Host, Poison};
use campanile_wal::ControlFile;
use serde::{Deserialize, Serialize};

use crate::archive_note::{remove_small, write_small};
use crate::chain::Chain;
use crate::directory::Directory;
use crate::error::BackupError;
use crate::gathered::GatheredLogs;
use crate::manifest::{FileEntry, Manifest, join};
use crate::placing::{Placing, Targets, clear_other_dirs};
use crate::progress::{Hook, Meter};
use crate::sealed::seal;
use crate::shelf::{Put, Shelf, check_space};

/// Log files are copied in pieces of this.
const PIECE_BYTES: u64 = 1 << 20;

/// What is being restored, for whoever finds the home before it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreNote {
    /// The repository.
    pub repository: String,
    /// The backup in it.
    pub backup: String,
    /// The target, in words.
    pub target: String,
}

/// What goes where.
#[derive(Debug)]
pub struct RestorePlan<'a> {
    /// Where the backup is.
    pub shelf: &'a dyn Shelf,
    /// The backup, and those that it stands on.
    pub chain: &'a Chain,
    /// Where its data files go.
    pub placing: &'a Placing,
    /// Its label.
    pub label: Control,
    /// The log files on the way to the target.
    pub logs: &'a GatheredLogs,
    /// The first that is needed.
    pub first: Lsn,
    /// Where replay will stop: the log is copied up to here.
    pub stop: Lsn,
}

impl RestorePlan<'_> {
    /// The data files, and the log files with how much of each is taken.
    fn parts(&self) -> (Vec<&FileEntry>, Vec<(u32, Option<u64>)>) {
        let data = format!("{}/", names::DATA_DIR);
        let files = self.manifest().files.iter().filter(|file| file.name.starts_with(&data));
        let (first, last) = (self.first.file(), self.stop.file());
        let numbers = self.logs.numbers().filter(|number| (first..=last).contains(number));
        let cut = |number| (number == last).then(|| u64::from(self.stop.offset()));
        (files.collect(), numbers.map(|number| (number, cut(number))).collect())
    }

    fn manifest(&self) -> &Manifest {
        &self.chain.newest().manifest
    }

    /// Refuses to begin if there is no space for the files in `home`. Replay may need more.
    pub fn check_space(&self, host: &Host, home: &Path) -> Result<(), BackupError> {
        // On several disks there is no one space to be asked for.
        if self.placing.others().any(Place::is_outside) {
            return Ok(());
        }
        if is_being_restored(host, home)? {
            // What is there goes first; how much that gives back nobody knows.
            return Ok(());
        }
        let (files, logs) = self.parts();
        let mut needed: u64 = files.iter().map(|file| file.bytes).sum();
        for (number, cut) in logs {
            let Some((shelf, name)) = self.logs.place(number) else { continue };
            let failed = |source| BackupError::io("measure", shelf.shown(name), source);
            let len = shelf.open(name)?.len().map_err(failed)?;
            needed += cut.map_or(len, |cut| cut.min(len));
        }
        check_space(&Directory::new(host, home), needed)
    }

    /// The environment.
    #[must_use]
    pub fn environment(&self) -> EnvironmentId {
        self.label.environment
    }
}

/// Whether the home is being restored, or a restore of it was cut short.
pub fn is_being_restored(host: &Host, home: &Path) -> Result<bool, BackupError> {
    let path = home.join(names::RESTORING);
    let there = host.vfs.exists(&path);
    there.map_err(|error| BackupError::io("look for", path.display().to_string(), error))
}

impl RestoreNote {
    /// Refuses a directory that holds anything but the remains of a restore.
    pub fn check_empty(host: &Host, home: &Path) -> Result<(), BackupError> {
        if is_being_restored(host, home)? {
            return Ok(());
        }
        let found = match host.vfs.list(home) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(BackupError::io("list", home.display().to_string(), error)),
        };
        // The lock of whoever looked whether there is a home, and the start of an earlier note.
        let harmless = |name: &String| {
            name == names::LOCK
                || name == names::SCRATCH
                || name == "campanile.owner"
                || name.ends_with(names::UNFINISHED_SUFFIX)
        };
        match found.iter().find(|name| !harmless(name)) {
            None => Ok(()),
            Some(stranger) => Err(BackupError::Place {
                dir: home.display().to_string(),
                why: format!("is not empty (it holds {stranger}): restore into an empty directory"),
            }),
        }
    }

    /// Says in the home that it is being restored.
    pub fn begin(&self, host: &Host, home: &Path) -> Result<(), BackupError> {
        write_small(host, home, names::RESTORING, seal(self).as_bytes())
    }

    /// Takes the note away: the home counts from now on.
    pub fn finish(host: &Host, home: &Path) -> Result<(), BackupError> {
        remove_small(host, home, names::RESTORING)
    }
}

/// Makes the home a copy of the backup with the log up to the target: ready for catastrophic
/// recovery. The caller holds the home's lock and has written the note.
pub fn write_files(
    host: &Host,
    home: &Path,
    plan: &RestorePlan<'_>,
    hook: &mut Hook<'_>,
) -> Result<(), BackupError> {
    let target = Directory::new(host, home);
    clear(host, home)?;
    clear_other_dirs(host, home, plan.environment())?;
    plan.placing.make(host, plan.environment())?;
    let (files, logs) = plan.parts();
    let mut meter = Meter::new(hook);
    meter.phase("copying data files", files.iter().map(|file| file.bytes).sum())?;
    let targets = plan.placing.targets(host);
    for file in files {
        put_restored(plan, file, &targets, &mut meter)?;
    }
    meter.phase("copying log files", 0)?;
    for (number, cut) in logs {
        let Some((shelf, from)) = plan.logs.place(number) else { continue };
        let name = format!("{}/{}", names::LOG_DIR, names::log_file(number));
        copy(&**shelf, from, cut, (&target, &name), &mut meter)?;
    }
    let failed = |source| BackupError::io("create", home.display().to_string(), source);
    host.vfs.create_dir(&home.join(names::DATA_DIR)).map_err(failed)?;
    host.vfs.sync_dir(home).map_err(failed)?;
    let until = |lsn: Lsn| lsn.min(plan.stop);
    let label = Control {
        durable: until(plan.label.durable),
        clean_end: plan.label.clean_end.map(until),
        ..plan.label
    };
    ControlFile::create(host, &Poison::new(), home, &label)?;
    Ok(())
}

/// Removes what an earlier restore left: the control file first, so that nothing looks like a home.
fn clear(host: &Host, home: &Path) -> Result<(), BackupError> {
    let home_shelf = Directory::new(host, home);
    for name in [names::CONTROL, names::DOUBLE_WRITE] {
        home_shelf.remove(name)?;
    }
    for dir in [names::DATA_DIR, names::LOG_DIR] {
        home_shelf.sweep(dir, &|_| true)?;
        for name in home_shelf.list(dir)? {
            let data = names::parse_data_file(&name).is_some();
            let spare = name.starts_with("spare.");
            if data || spare || names::parse_log_file(&name).is_some() {
                home_shelf.remove(&join(dir, &name))?;
            }
        }
    }
    Ok(())
}

/// Writes a data file as the backup restores it.
fn put_restored(
    plan: &RestorePlan<'_>,
    file: &FileEntry,
    targets: &Targets,
    meter: &mut Meter<'_>,
) -> Result<(), BackupError> {
    let mut from = plan.chain.open(plan.shelf, &file.name)?;
    let mut put = targets.put(file)?;
    let mut piece = Vec::new();
    while from.next(&mut piece)? {
        put.write(&piece)?;
        meter.add(piece.len() as u64)?;
    }
    from.finish()?;
    put.finish()
}

/// Copies a log file, or its first bytes.
fn copy(
    shelf: &dyn Shelf,
    from: &str,
    bytes: Option<u64>,
    to: (&dyn Shelf, &str),
    meter: &mut Meter<'_>,
) -> Result<(), BackupError> {
    let failed = |source| BackupError::io("read", shelf.shown(from), source);
    let file = shelf.open(from)?;
    let there = file.len().map_err(failed)?;
    let wanted = bytes.unwrap_or(there);
    if there < wanted {
        let why = format!("it is {there} bytes long, {wanted} are needed");
        return Err(BackupError::Damaged { file: shelf.shown(from), why });
    }
    let mut put: Box<dyn Put + '_> = to.0.put(to.1)?;
    let (mut at, mut piece) = (0, Vec::new());
    while at < wanted {
        piece.resize(PIECE_BYTES.min(wanted - at) as usize, 0);
        file.read_exact_at(&mut piece, at).map_err(failed)?;
        put.write(&piece)?;
        at += piece.len() as u64;
        meter.add(piece.len() as u64)?;
    }
    put.finish()
}
