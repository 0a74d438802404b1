//! Where an environment keeps its data files: the home's list, and the mark in each directory.
//!
//! Owns the bytes of `data_dirs` in a home and of `campanile.data` in every directory that the list
//! names. Promises that a directory of another environment, or the wrong one of this environment,
//! is told apart by its mark, and that numbers and paths in a list are unique. Must never: touch a
//! file system, or say what a path means there.

use std::collections::BTreeSet;

use crate::codec::{Reader, counted_bytes_len};
use crate::error::{Corrupt, FormatError};
use crate::features::Features;
use crate::header::{self, HeaderKind, PREFIX_BYTES};
use crate::ids::{DirNo, EnvironmentId};

/// The version of both files that this build reads and writes.
pub const DATA_DIRS_VERSION: u16 = 1;
/// No such file is longer: whoever reads one allocates no more.
pub const DATA_DIRS_BYTES_MAX: usize = 1 << 20;

const LIST: HeaderKind = HeaderKind {
    magic: *b"CampDirs",
    what: "the list of data directories",
    version: DATA_DIRS_VERSION,
    features: 0,
};
const MARK: HeaderKind = HeaderKind {
    magic: *b"CampDDir",
    what: "the mark of a data directory",
    version: DATA_DIRS_VERSION,
    features: 0,
};
/// Bytes of a list in front of its entries.
const LIST_FIXED_BYTES: usize = PREFIX_BYTES + 20;
/// Bytes of a mark in front of the home's path.
const MARK_FIXED_BYTES: usize = PREFIX_BYTES + 20;
/// Number and path of an entry take at least this.
const ENTRY_BYTES_MIN: usize = 4;

/// A directory of data files besides `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    /// Its number in this environment: never 0.
    pub number: DirNo,
    /// Its path: from the root, or from the home.
    pub path: String,
}

/// The directories besides `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirList {
    /// The environment.
    pub environment: EnvironmentId,
    /// In the order of their numbers.
    pub dirs: Vec<DataDir>,
}

impl DataDirList {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entries = self.dirs.iter().map(|dir| 2 + counted_bytes_len(dir.path.len()));
        let total = LIST_FIXED_BYTES + entries.sum::<usize>();
        header::encode(&LIST, Features::NONE, total, |writer| {
            writer.bytes(&self.environment.0);
            writer.u32(self.dirs.len() as u32);
            for dir in &self.dirs {
                writer.u16(dir.number.0);
                writer.counted_bytes(dir.path.as_bytes());
            }
        })
    }

    /// Reads the whole file.
    pub fn decode(bytes: &[u8]) -> Result<DataDirList, FormatError> {
        let (_, mut reader) = header::decode(&LIST, bytes)?;
        let environment = EnvironmentId(reader.array("environment id")?);
        let at = reader.position();
        let count = reader.u32("number of directories")? as usize;
        if count > reader.remaining() / ENTRY_BYTES_MIN {
            return Err(Corrupt::new("number of directories", at).into());
        }
        let mut dirs: Vec<DataDir> = Vec::with_capacity(count);
        let mut paths = BTreeSet::new();
        for _ in 0..count {
            let at = reader.position();
            let dir = DataDir {
                number: DirNo(reader.u16("directory number")?),
                path: path(&mut reader)?,
            };
            let last = dirs.last().map_or(DirNo::HOME, |last| last.number);
            if dir.number <= last || dir.path.is_empty() || !paths.insert(dir.path.clone()) {
                return Err(Corrupt::new("data directory", at).into());
            }
            dirs.push(dir);
        }
        reader.finish("list of data directories (too long)")?;
        Ok(DataDirList { environment, dirs })
    }
}

/// What stands in a data directory and says whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirMark {
    /// The environment.
    pub environment: EnvironmentId,
    /// Which of its directories this is.
    pub number: DirNo,
    /// The home that uses it, as a path from the root; empty if the directory is in the home.
    pub home: String,
}

impl DataDirMark {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let total = MARK_FIXED_BYTES + counted_bytes_len(self.home.len());
        header::encode(&MARK, Features::NONE, total, |writer| {
            writer.bytes(&self.environment.0);
            writer.u16(self.number.0);
            writer.u16(0);
            writer.counted_bytes(self.home.as_bytes());
        })
    }

    /// Reads the whole file.
    pub fn decode(bytes: &[u8]) -> Result<DataDirMark, FormatError> {
        let (_, mut reader) = header::decode(&MARK, bytes)?;
        let environment = EnvironmentId(reader.array("environment id")?);
        let at = reader.position();
        let number = DirNo(reader.u16("directory number")?);
        if number == DirNo::HOME || reader.u16("reserved field")? != 0 {
            return Err(Corrupt::new("directory number", at).into());
        }
        let home = path(&mut reader)?;
        reader.finish("mark of a data directory (too long)")?;
        Ok(DataDirMark { environment, number, home })
    }
}

fn path(reader: &mut Reader<'_>) -> Result<String, Corrupt> {
    let at = reader.position();
    let bytes = reader.counted_bytes("path")?;
    let text = std::str::from_utf8(bytes).map_err(|_| Corrupt::new("path", at))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(dirs: &[(u16, &str)]) -> DataDirList {
        let dir = |(number, path): &(u16, &str)| DataDir {
            number: DirNo(*number),
            path: (*path).to_owned(),
        };
        DataDirList { environment: EnvironmentId([7; 16]), dirs: dirs.iter().map(dir).collect() }
    }

    #[test]
    fn lists_and_marks_read_back() {
        for dirs in [&[][..], &[(1, "fast")], &[(1, "/disk2/shop"), (2, "äöü ☂"), (9, "../x")]]
        {
            let list = list(dirs);
            assert_eq!(DataDirList::decode(&list.encode()), Ok(list));
        }
        for home in ["", "/srv/shop"] {
            let environment = EnvironmentId([7; 16]);
            let mark = DataDirMark { environment, number: DirNo(3), home: home.to_owned() };
            assert_eq!(DataDirMark::decode(&mark.encode()), Ok(mark));
        }
    }

    #[test]
    fn a_list_that_names_something_twice_or_nothing_is_damage() {
        for dirs in [
            &[(0, "a")][..],
            &[(1, "a"), (1, "b")],
            &[(2, "a"), (1, "b")],
            &[(1, "a"), (2, "a")],
            &[(1, "")],
        ] {
            let error = DataDirList::decode(&list(dirs).encode()).unwrap_err();
            assert!(error.is_corruption(), "{dirs:?}: {error}");
        }
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_reserves_nothing() {
        let mut bytes = list(&[(1, "a")]).encode();
        bytes[40..44].copy_from_slice(&[0xff; 4]);
        header::reseal(&mut bytes);
        assert!(DataDirList::decode(&bytes).unwrap_err().is_corruption());
    }
}
