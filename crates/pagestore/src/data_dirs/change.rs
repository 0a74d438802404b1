//! Changes of the list of data directories.
//!
//! Owns the order of list and marks. Promises that whatever is cut short can be done again: a new
//! environment has its list before any mark, and takes its number from the list that an attempt
//! before left; later a directory has its mark before the list names it. Must never touch a
//! directory that holds somebody else's files.

use std::path::{Path, PathBuf};

use campanile_format::data_dirs::{DataDir, DataDirList, DataDirMark};
use campanile_format::{DirNo, EnvironmentId, names};
use campanile_vfs::{Open, Vfs};

use super::{DataDirs, Place, files_in, read_small};
use crate::{Result, StoreError};

impl DataDirs {
    /// Makes the directories of a new environment and the list of them. No list if there are none.
    pub fn create(
        vfs: &dyn Vfs,
        home: &Path,
        environment: EnvironmentId,
        paths: &[String],
    ) -> Result<DataDirs> {
        let mut dirs = DataDirs::only_home(home);
        for path in paths {
            dirs.push(path)?;
        }
        dirs.make(vfs, environment)?;
        Ok(DataDirs { environment: Some(environment), ..dirs })
    }

    /// The directories that a home is to have; nothing is made yet.
    pub fn planned(home: &Path, dirs: &[DataDir]) -> Result<DataDirs> {
        let mut planned = DataDirs::only_home(home);
        for dir in dirs {
            if planned.find(&dir.path).is_some() || planned.get(dir.number).is_some() {
                let why = "it is to be two directories of the environment at once".to_owned();
                return Err(refused(Path::new(&dir.path), why));
            }
            planned.dirs.push(Place::new(home, dir.number, &dir.path));
        }
        Ok(planned)
    }

    /// Refuses directories that others use, or that hold data files already.
    pub fn check_free(&self, vfs: &dyn Vfs, environment: EnvironmentId) -> Result<()> {
        self.others().try_for_each(|place| self.check_one(vfs, environment, place))
    }

    /// Makes the list, and then the directories with their marks. Nothing if there are none.
    pub fn make(&self, vfs: &dyn Vfs, environment: EnvironmentId) -> Result<()> {
        if self.others().next().is_none() {
            return Ok(());
        }
        self.check_free(vfs, environment)?;
        self.write_list(vfs, environment)?;
        self.others().try_for_each(|place| self.mark(vfs, environment, place))
    }

    /// Adds those of the directories that are not listed yet. They are made if they are missing.
    pub fn add(
        &mut self,
        vfs: &dyn Vfs,
        environment: EnvironmentId,
        paths: &[String],
    ) -> Result<()> {
        let known = self.dirs.len();
        for path in paths {
            self.push(path)?;
        }
        if self.dirs.len() == known {
            return Ok(());
        }
        for place in self.dirs.iter().skip(known) {
            self.check_one(vfs, environment, place)?;
            self.mark(vfs, environment, place)?;
        }
        self.write_list(vfs, environment)?;
        self.environment = Some(environment);
        Ok(())
    }

    /// Names the directory that is listed as `old` by `new` from now on: it was moved, or copied
    /// with its home, and is there already. With `new` the same as `old`: this home is the one that
    /// uses it from now on.
    pub fn relocate(
        &mut self,
        vfs: &dyn Vfs,
        environment: EnvironmentId,
        old: &str,
        new: &str,
    ) -> Result<()> {
        let Some(index) = self.dirs.iter().position(|place| place.stated == old) else {
            let known: Vec<_> = self.others().map(|place| place.stated.as_str()).collect();
            let why = format!("it is not listed; listed are: {}", known.join(", "));
            return Err(refused(Path::new(old), why));
        };
        let number = self.dirs[index].number;
        if number == DirNo::HOME {
            let why = "it is the home's own directory, and stays in the home".to_owned();
            return Err(refused(Path::new(old), why));
        }
        let place = Place::new(&self.home, number, new);
        let mark = self.mark_in(vfs, &place)?;
        if (mark.environment, mark.number) != (environment, number) {
            let why = format!(
                "it is directory {} of environment {}, wanted is {number} of {environment}",
                mark.number, mark.environment
            );
            return Err(place.foreign(why));
        }
        self.check_left(vfs, &mark, &place)?;
        if self.dirs.iter().any(|other| other.number != number && other.path == place.path) {
            return Err(refused(&place.path, "it is listed already".to_owned()));
        }
        self.dirs[index] = place.clone();
        // The list first: the mark of a directory that the home does not name yet is not ours.
        self.write_list(vfs, environment)?;
        self.mark(vfs, environment, &place)
    }

    /// Refuses a directory that another home still uses.
    fn check_left(&self, vfs: &dyn Vfs, mark: &DataDirMark, place: &Place) -> Result<()> {
        if mark.home.is_empty() || Path::new(&mark.home) == Path::new(&self.owner_of(place)?) {
            return Ok(());
        }
        let other = DataDirs::read(vfs, Path::new(&mark.home))?;
        if other.others().any(|theirs| theirs.path == place.path) {
            return Err(place.foreign(format!(
                "the home {} is there and uses it: two homes cannot share a directory, copy it \
                 and name the copy",
                mark.home
            )));
        }
        Ok(())
    }

    /// Puts a directory on the list in memory.
    fn push(&mut self, path: &str) -> Result<()> {
        if path.is_empty() {
            return Err(refused(Path::new(path), "an empty path names no directory".to_owned()));
        }
        if self.find(path).is_some() {
            return Ok(());
        }
        let last = self.dirs.last().map_or(0, |place| place.number.0);
        let Some(number) = last.checked_add(1) else {
            return Err(refused(Path::new(path), "there is no number left for it".to_owned()));
        };
        self.dirs.push(Place::new(&self.home, DirNo(number), path));
        Ok(())
    }

    /// Refuses a directory that another environment uses, or that holds data files already.
    fn check_one(&self, vfs: &dyn Vfs, environment: EnvironmentId, place: &Place) -> Result<()> {
        let log = self.home.join(names::LOG_DIR);
        if place.path == self.home || place.path == log {
            let why = "it is the home's own directory: name one for data files only".to_owned();
            return Err(refused(&place.path, why));
        }
        if read_small(vfs, &place.path.join(names::DATA_DIR_MARK))?.is_some() {
            let mark = self.mark_in(vfs, place)?;
            if mark.environment != environment {
                return Err(place.foreign(format!(
                    "it belongs to environment {}; if nothing uses it any more, remove {} in it",
                    mark.environment,
                    names::DATA_DIR_MARK
                )));
            }
            self.check_left(vfs, &mark, place)?;
        }
        if let Some(file) = files_in(vfs, &place.path)?.first() {
            let why = format!("it holds {} already: name an empty one", names::data_file(*file));
            return Err(refused(&place.path, why));
        }
        Ok(())
    }

    /// Makes a directory if it is missing, and writes its mark, durably.
    fn mark(&self, vfs: &dyn Vfs, environment: EnvironmentId, place: &Place) -> Result<()> {
        let failed = |source| StoreError::Io { what: "create", path: place.path.clone(), source };
        let mut made = Vec::new();
        for parent in place.path.ancestors().skip(1) {
            made.push(parent);
            if vfs.exists(parent).map_err(failed)? {
                break;
            }
        }
        vfs.create_dir(&place.path).map_err(failed)?;
        for parent in made.into_iter().rev() {
            match vfs.sync_dir(parent) {
                // Not ours to read: whoever made the directory there has to see to it.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
                synced => synced.map_err(failed)?,
            }
        }
        let home = self.owner_of(place)?;
        let mark = DataDirMark { environment, number: place.number, home };
        write_small(vfs, &place.path, names::DATA_DIR_MARK, &mark.encode())
    }

    fn write_list(&self, vfs: &dyn Vfs, environment: EnvironmentId) -> Result<()> {
        let dir = |place: &Place| DataDir { number: place.number, path: place.stated.clone() };
        let list = DataDirList { environment, dirs: self.others().map(dir).collect() };
        write_small(vfs, &self.home, names::DATA_DIRS, &list.encode())
    }
}

/// Writes a small file: whole or not at all.
fn write_small(vfs: &dyn Vfs, dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.join(name);
    let unfinished: PathBuf = dir.join(format!("{name}{}", names::UNFINISHED_SUFFIX));
    let failed = |what| {
        let path = path.clone();
        move |source| StoreError::Io { what, path, source }
    };
    let file = vfs.open(&unfinished, Open::OpenOrCreate).map_err(failed("create"))?;
    file.set_len(0).map_err(failed("empty"))?;
    file.write_all_at(bytes, 0).map_err(failed("write"))?;
    file.sync_data().map_err(failed("sync"))?;
    vfs.rename(&unfinished, &path).map_err(failed("rename"))?;
    vfs.sync_dir(dir).map_err(failed("sync the directory of"))
}

fn refused(path: &Path, why: String) -> StoreError {
    StoreError::DirectoryRefused { path: path.to_owned(), why }
}
