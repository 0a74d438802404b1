//! The directories in which an environment keeps its data files.
//!
//! Owns which directories those are, and whether each is there and is the right one. Promises (P13)
//! that a directory without its mark, or with another one, is refused by name: a disk that is not
//! mounted is never taken for an empty one, and no directory is made where one is missing; that a
//! file which is in two directories is refused; and that `data` in the home is number 0 and needs
//! no list. Must never read a data file.

mod change;

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use campanile_format::data_dirs::{DATA_DIRS_BYTES_MAX, DataDirList, DataDirMark};
use campanile_format::{DirNo, EnvironmentId, FileId, FormatError, names};
use campanile_vfs::{Open, Vfs};

use crate::{Result, StoreError};

/// Where the data files of a home are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirs {
    home: PathBuf,
    /// Of the list; `None` if there is none.
    environment: Option<EnvironmentId>,
    /// Number, path as it is listed, and path as it is found; `data` first.
    dirs: Vec<Place>,
}

/// A directory with data files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub number: DirNo,
    /// Its path as the home has it: from the root, or from the home.
    pub stated: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Place {
    fn new(home: &Path, number: DirNo, stated: &str) -> Place {
        Place { number, stated: stated.to_owned(), path: home.join(stated) }
    }

    /// Whether it stays behind when the home is moved as a whole.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        !Path::new(&self.stated).components().all(inside)
    }

    /// The numbers of the data files in it. None if it is missing.
    pub fn files(&self, vfs: &dyn Vfs) -> Result<Vec<FileId>> {
        files_in(vfs, &self.path)
    }

    fn missing(&self, why: impl Into<String>) -> StoreError {
        StoreError::DirectoryMissing { path: self.path.clone(), why: why.into() }
    }

    fn foreign(&self, why: impl Into<String>) -> StoreError {
        StoreError::DirectoryForeign { path: self.path.clone(), why: why.into() }
    }
}

impl DataDirs {
    /// The directories of a home that has no list.
    #[must_use]
    pub fn only_home(home: &Path) -> DataDirs {
        let dirs = vec![Place::new(home, DirNo::HOME, names::DATA_DIR)];
        DataDirs { home: home.to_owned(), environment: None, dirs }
    }

    /// The directories that the home lists, whether or not they are there.
    pub fn read(vfs: &dyn Vfs, home: &Path) -> Result<DataDirs> {
        let mut dirs = DataDirs::only_home(home);
        let path = home.join(names::DATA_DIRS);
        let Some(bytes) = read_small(vfs, &path)? else { return Ok(dirs) };
        let list = DataDirList::decode(&bytes).map_err(|why| unreadable(&path, &why))?;
        dirs.environment = Some(list.environment);
        dirs.dirs.extend(list.dirs.iter().map(|dir| Place::new(home, dir.number, &dir.path)));
        Ok(dirs)
    }

    /// The directories of the environment in `home`, each of them there and the right one.
    ///
    /// `listed`: the control file says that there is a list.
    pub fn open(
        vfs: &dyn Vfs,
        home: &Path,
        environment: EnvironmentId,
        listed: bool,
    ) -> Result<DataDirs> {
        let dirs = DataDirs::read(vfs, home)?;
        let path = home.join(names::DATA_DIRS);
        match dirs.environment {
            None if listed => {
                let why = "the environment has data files in other directories, and this file \
                           says in which: put it back, or restore the environment from a backup";
                Err(StoreError::DirectoryMissing { path, why: why.to_owned() })
            }
            Some(theirs) if theirs != environment => {
                let why = format!(
                    "it belongs to environment {theirs}, this one is {environment}: put the \
                     right file in its place"
                );
                Err(StoreError::DirectoryForeign { path, why })
            }
            _ => {
                for place in dirs.others() {
                    dirs.check(vfs, environment, place)?;
                }
                Ok(dirs)
            }
        }
    }

    /// Refuses a directory that is not there, or is not the one that the home means.
    pub fn check(&self, vfs: &dyn Vfs, environment: EnvironmentId, place: &Place) -> Result<()> {
        if place.number == DirNo::HOME {
            return Ok(());
        }
        let mark = self.mark_in(vfs, place)?;
        if mark.environment != environment {
            return Err(place.foreign(format!(
                "it belongs to environment {}, this one is {environment}: put the right \
                 directory in its place",
                mark.environment
            )));
        }
        if mark.number != place.number {
            return Err(place.foreign(format!(
                "it is directory {} of this environment, and {} is wanted here: were two disks \
                 mounted the wrong way round?",
                mark.number, place.number
            )));
        }
        let ours = self.owner_of(place)?;
        if Path::new(&mark.home) != Path::new(&ours) {
            let (theirs, home) = (&mark.home, self.home.display());
            return Err(place.foreign(format!(
                "the home {theirs:?} uses it, this home is {ours:?}: if the home was moved, run \
                 `campanile data-dirs -h {home} --claim {0}`; if it was copied, copy this \
                 directory too and run `campanile data-dirs -h {home} --map {0}=COPY`",
                place.stated
            )));
        }
        Ok(())
    }

    /// The mark of a directory.
    fn mark_in(&self, vfs: &dyn Vfs, place: &Place) -> Result<DataDirMark> {
        let path = place.path.join(names::DATA_DIR_MARK);
        match read_small(vfs, &path)? {
            Some(bytes) => DataDirMark::decode(&bytes).map_err(|why| unreadable(&path, &why)),
            None => Err(place.missing(format!(
                "data files of this environment are in it, and it is not there or has no {}: is \
                 its disk mounted? If it was moved, run `campanile data-dirs -h {} --map {}=NEW`",
                names::DATA_DIR_MARK,
                self.home.display(),
                place.stated
            ))),
        }
    }

    /// What the mark of a directory says of its home.
    fn owner_of(&self, place: &Place) -> Result<String> {
        if !place.is_outside() {
            return Ok(String::new());
        }
        let home = std::path::absolute(&self.home).map_err(|source| StoreError::Io {
            what: "find",
            path: self.home.clone(),
            source,
        })?;
        Ok(home.to_string_lossy().into_owned())
    }

    /// All directories, `data` first, then in the order of their numbers.
    pub fn all(&self) -> impl Iterator<Item = &Place> {
        self.dirs.iter()
    }

    /// The directories besides `data`.
    pub fn others(&self) -> impl Iterator<Item = &Place> {
        self.dirs.iter().filter(|place| place.number != DirNo::HOME)
    }

    /// The directory of this number.
    #[must_use]
    pub fn get(&self, number: DirNo) -> Option<&Place> {
        self.dirs.iter().find(|place| place.number == number)
    }

    /// The directory that a user means by `path`: as it is listed, or as it is found.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Place> {
        let found = self.home.join(path);
        self.dirs.iter().find(|place| place.stated == path || place.path == found)
    }

    /// The environment that the list belongs to, if there is a list.
    #[must_use]
    pub fn environment(&self) -> Option<EnvironmentId> {
        self.environment
    }

    /// Every data file and where it is. A directory that is missing holds none.
    pub fn files(&self, vfs: &dyn Vfs) -> Result<BTreeMap<FileId, DirNo>> {
        let mut found = BTreeMap::new();
        for place in &self.dirs {
            for file in place.files(vfs)? {
                let Some(other) = found.insert(file, place.number) else { continue };
                let other = self.get(other).map_or_else(PathBuf::new, |other| other.path.clone());
                let name = names::data_file(file);
                return Err(place.foreign(format!(
                    "{name} is here and in {} too: one of them is a copy, move it away",
                    other.display()
                )));
            }
        }
        Ok(found)
    }
}

/// The numbers of the data files in a directory, if it is there.
fn files_in(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<FileId>> {
    match vfs.list(dir) {
        Ok(found) => Ok(found.iter().filter_map(|name| names::parse_data_file(name)).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(StoreError::Io { what: "list", path: dir.to_owned(), source }),
    }
}

/// A small file, whole; `None` if it is not there.
fn read_small(vfs: &dyn Vfs, path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |what| {
        let path = path.to_owned();
        move |source| StoreError::Io { what, path, source }
    };
    let file = match vfs.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open")(error)),
    };
    let len = file.len().map_err(failed("measure"))?;
    let mut bytes = vec![0; len.min(DATA_DIRS_BYTES_MAX as u64) as usize];
    file.read_exact_at(&mut bytes, 0).map_err(failed("read"))?;
    Ok(Some(bytes))
}

fn unreadable(path: &Path, why: &FormatError) -> StoreError {
    let why = format!("{why}: put the file back from a backup, or restore the environment");
    StoreError::DirectoryForeign { path: path.to_owned(), why }
}
