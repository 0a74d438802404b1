//! Where a restore puts data files that came from several directories.
//!
//! Owns the way from the directories that a manifest lists to those of the restored home. Promises
//! (B24) that nothing outside of the new home is written but where the user said so: a directory of
//! the lost machine is never guessed at; that a directory which holds data files of anybody else is
//! refused before anything is written; and that what an interrupted restore left in a directory
//! elsewhere is cleared before the next.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use campanile_format::data_dirs::DataDir;
use campanile_format::{DirNo, EnvironmentId, names};
use campanile_pagestore::{DataDirs, Place};
use campanile_vfs::Host;
use serde::{Deserialize, Serialize};

use crate::archive_note::remove_small;
use crate::directory::Directory;
use crate::error::BackupError;
use crate::manifest::{FileEntry, Manifest};
use crate::shelf::{Put, Shelf};

/// A directory of data files, as a manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// Its number.
    pub number: u16,
    /// Its path in the home that was backed up: from the root, or from that home.
    pub path: String,
}

/// Where each data file goes.
#[derive(Clone, Debug)]
pub struct Placing {
    dirs: DataDirs,
}

impl Placing {
    /// The directories of `home` for a backup: where `map` says; else where they were, if that was
    /// inside of the home; else `data-1` and so on, inside of the new home.
    pub fn plan(
        home: &Path,
        manifest: &Manifest,
        map: &[(String, String)],
    ) -> Result<Placing, BackupError> {
        let unknown = |old: &str| !manifest.directories.iter().any(|dir| dir.path == old);
        if let Some((old, _)) = map.iter().find(|(old, _)| unknown(old)) {
            let known: Vec<_> = manifest.directories.iter().map(|dir| dir.path.as_str()).collect();
            let why = match known.as_slice() {
                [] => "is no data directory of this backup: it has none to be mapped".to_owned(),
                known => {
                    format!("is no data directory of this backup: it has {}", known.join(", "))
                }
            };
            return Err(BackupError::Place { dir: old.clone(), why });
        }
        let dirs = manifest.directories.iter().map(|dir| {
            let mapped = map.iter().rev().find(|(old, _)| *old == dir.path);
            let path = match mapped {
                Some((_, new)) => new.clone(),
                None if is_inside(&dir.path) => dir.path.clone(),
                None => format!("{}-{}", names::DATA_DIR, dir.number),
            };
            DataDir { number: DirNo(dir.number), path }
        });
        Ok(Placing { dirs: DataDirs::planned(home, &dirs.collect::<Vec<_>>())? })
    }

    /// Refuses directories that cannot be used, before anything is written.
    pub fn check(&self, host: &Host, environment: EnvironmentId) -> Result<(), BackupError> {
        Ok(self.dirs.check_free(&*host.vfs, environment)?)
    }

    /// Makes the directories and the list of them, if there are any.
    pub(crate) fn make(&self, host: &Host, environment: EnvironmentId) -> Result<(), BackupError> {
        Ok(self.dirs.make(&*host.vfs, environment)?)
    }

    /// The directories, as shelves for data files.
    pub(crate) fn targets(&self, host: &Host) -> Targets {
        let target = |place: &Place| (place.number, Directory::new(host, &place.path));
        Targets(self.dirs.all().map(target).collect())
    }

    /// All data files into `data`, whatever directories they were in.
    #[must_use]
    pub fn in_one(home: &Path) -> Placing {
        Placing { dirs: DataDirs::only_home(home) }
    }

    /// The directories besides `data`.
    pub fn others(&self) -> impl Iterator<Item = &Place> {
        self.dirs.others()
    }
}

/// The directories that data files go to.
#[derive(Debug)]
pub(crate) struct Targets(BTreeMap<DirNo, Directory>);

impl Targets {
    /// Begins a data file in its directory.
    pub fn put(&self, file: &FileEntry) -> Result<Box<dyn Put + '_>, BackupError> {
        let name = file.name.rsplit('/').next().unwrap_or_default();
        let listed = self.0.get(&DirNo(file.directory));
        let target = listed.or_else(|| self.0.get(&DirNo::HOME));
        target.expect("`data` is always among them").put(name)
    }
}

fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The directories of a home, as a manifest lists them.
pub(crate) fn entries(dirs: &DataDirs) -> Vec<DirectoryEntry> {
    let entry =
        |place: &Place| DirectoryEntry { number: place.number.0, path: place.stated.clone() };
    dirs.others().map(entry).collect()
}

/// Removes what an earlier restore into this home left in other directories, and their list.
pub(crate) fn clear_other_dirs(
    host: &Host,
    home: &Path,
    environment: EnvironmentId,
) -> Result<(), BackupError> {
    let left = DataDirs::read(&*host.vfs, home)?;
    if left.environment() == Some(environment) {
        for place in left.others() {
            // Not made yet, or somebody else's by now.
            if left.check(&*host.vfs, environment, place).is_err() {
                continue;
            }
            let dir = Directory::new(host, &place.path);
            for file in place.files(&*host.vfs)? {
                dir.remove(&names::data_file(file))?;
            }
        }
    }
    remove_small(host, home, names::DATA_DIRS)
}
