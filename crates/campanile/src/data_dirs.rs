//! The directories in which a home keeps its data files.
//!
//! Owns what users see of them: the list with its problems, and the changes that need no running
//! environment. Promises that a directory which is missing or another one's is shown and refused by
//! name, and that a change takes the home first. Must never move a data file: whoever moves a
//! directory says afterwards where it is.
//!
//! A home that is moved or copied as a whole takes along what is inside of it. A directory outside
//! knows which home uses it, so that two homes never share one: after a move say
//! [`relocate`]`(home, dir, dir)`, after a copy `relocate(home, dir, copy)`.

use std::path::{Path, PathBuf};

use campanile_format::control::Control;
use campanile_pagestore::{DataDirs, Place};
use campanile_vfs::{Host, Vfs};
use campanile_wal::ControlFile;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::{causes, owner};

/// A directory with data files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DataDirectory {
    /// Its number; 0 is `data` in the home.
    pub number: u16,
    /// Its path as the home has it: from the root, or from the home.
    pub path: String,
    /// Where that is.
    pub found_at: PathBuf,
    /// Data files in it.
    pub files: u64,
    /// Why the environment cannot be opened with it.
    pub problem: Option<String>,
}

/// The directories of the home in the directory `home`, `data` first. Works beside a running owner.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let home = dir.path().join("home");
/// # let disk2 = dir.path().join("disk2");
/// use campanile::{DatabaseOptions, Environment, data_dirs};
///
/// let env = Environment::options().add_data_dir(&disk2).open(&home)?;
/// env.run(|txn| {
///     let options = DatabaseOptions::new().data_dir(&disk2);
///     env.create_database_with(txn, "large", options)
/// })?;
/// env.close()?;
/// let dirs = data_dirs::list(&home)?;
/// assert_eq!((dirs.len(), dirs[1].files), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn list(home: impl AsRef<Path>) -> Result<Vec<DataDirectory>> {
    list_on(&Host::os(), home.as_ref())
}

/// The directories of a home on another host.
pub fn list_on(host: &Host, home: &Path) -> Result<Vec<DataDirectory>> {
    let control = ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let dirs = DataDirs::read(&*host.vfs, home).map_err(causes::store)?;
    dirs.all().map(|place| describe(&*host.vfs, &dirs, place, &control)).collect()
}

fn describe(
    vfs: &dyn Vfs,
    dirs: &DataDirs,
    place: &Place,
    control: &Control,
) -> Result<DataDirectory> {
    let checked = dirs.check(vfs, control.environment, place);
    Ok(DataDirectory {
        number: place.number.0,
        path: place.stated.clone(),
        found_at: place.path.clone(),
        files: place.files(vfs).map_err(causes::store)?.len() as u64,
        problem: checked.err().map(|error| error.to_string()),
    })
}

/// Adds a directory to the home in the directory `home`, which nobody owns: as
/// [`EnvironmentOptions::add_data_dir`](crate::EnvironmentOptions::add_data_dir).
pub fn add(home: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
    add_on(&Host::os(), home.as_ref(), path.as_ref())
}

/// Adds a directory to a home on another host.
pub fn add_on(host: &Host, home: &Path, path: &Path) -> Result<()> {
    let path = [listable(path)?];
    change(host, home, |vfs, control, dirs| dirs.add(vfs, control.environment, &path))
}

/// Says that the directory which the home lists as `old` is at `new` now. It was moved or copied
/// there before, with what is in it. With the same path twice: the home was moved, and is the one
/// that uses the directory from now on.
///
/// Refused with [`ErrorKind::Corrupt`] if `new` is another directory, or if another home still uses
/// it. The home must not be in use.
pub fn relocate(home: impl AsRef<Path>, old: &str, new: impl AsRef<Path>) -> Result<()> {
    relocate_on(&Host::os(), home.as_ref(), old, new.as_ref())
}

/// The same on another host.
pub fn relocate_on(host: &Host, home: &Path, old: &str, new: &Path) -> Result<()> {
    let new = listable(new)?;
    change(host, home, |vfs, control, dirs| dirs.relocate(vfs, control.environment, old, &new))
}

fn change(
    host: &Host,
    home: &Path,
    change: impl FnOnce(&dyn Vfs, &Control, &mut DataDirs) -> campanile_pagestore::Result<()>,
) -> Result<()> {
    // Not a home at all: said before the lock makes a file in it.
    ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let _alone = owner::take(host, home)?;
    let control = ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let mut dirs = DataDirs::read(&*host.vfs, home).map_err(causes::store)?;
    change(&*host.vfs, &control, &mut dirs).map_err(causes::store)
}

/// A path as the list of directories can hold it.
pub(crate) fn listable(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let what = format!("the data directory {} is not UTF-8: name it so", path.display());
        Error::new(ErrorKind::InvalidArgument, what)
    })
}
