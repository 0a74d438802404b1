//! Where a home's log files are archived: its file `archive`.
//!
//! Owns the note. Promises (B9) that whoever opens the home can read it before anything is
//! recycled, and that it is there whole or not at all. Must never be guessed: a note that cannot
//! be read is an error, because log files would be given up that somebody counts on.

use std::io;
use std::path::{Path, PathBuf};

use campanile_format::names;
use campanile_vfs::{Host, Open};
use serde::{Deserialize, Serialize};

use crate::error::BackupError;
use crate::sealed::{seal, unseal};

/// Where log files go before they are used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveNote {
    /// The directory of the repository.
    pub repository: String,
    /// The repository was made that of this home: from then on it must be there.
    #[serde(default)]
    pub claimed: bool,
}

impl ArchiveNote {
    /// The note of a home, if it has one.
    pub fn read(host: &Host, home: &Path) -> Result<Option<ArchiveNote>, BackupError> {
        let path = home.join(names::ARCHIVE);
        let failed = |action, source| BackupError::io(action, path.display().to_string(), source);
        let file = match host.vfs.open(&path, Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", error)),
        };
        let len = file.len().map_err(|error| failed("measure", error))?.min(1 << 20);
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0).map_err(|error| failed("read", error))?;
        let damaged = |why| BackupError::Damaged { file: path.display().to_string(), why };
        unseal(&bytes).map(Some).map_err(damaged)
    }

    /// Makes it the note of the home, durably.
    pub fn write(&self, host: &Host, home: &Path) -> Result<(), BackupError> {
        write_small(host, home, names::ARCHIVE, seal(self).as_bytes())
    }

    /// Takes the note away: log files are used again as soon as recovery does not need them.
    pub fn remove(host: &Host, home: &Path) -> Result<(), BackupError> {
        remove_small(host, home, names::ARCHIVE)
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        PathBuf::from(&self.repository)
    }
}

/// Writes a small file of a home: whole or not at all.
pub(crate) fn write_small(
    host: &Host,
    home: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<(), BackupError> {
    let path = home.join(name);
    let unfinished = home.join(format!("{name}{}", names::UNFINISHED_SUFFIX));
    let failed = |action, source| BackupError::io(action, path.display().to_string(), source);
    let file = host.vfs.open(&unfinished, Open::OpenOrCreate);
    let file = file.map_err(|error| failed("create", error))?;
    file.set_len(0).map_err(|error| failed("empty", error))?;
    file.write_all_at(bytes, 0).map_err(|error| failed("write", error))?;
    file.sync_data().map_err(|error| failed("sync", error))?;
    host.vfs.rename(&unfinished, &path).map_err(|error| failed("rename", error))?;
    host.vfs.sync_dir(home).map_err(|error| failed("sync the directory of", error))
}

/// Removes a small file of a home, if it is there.
pub(crate) fn remove_small(host: &Host, home: &Path, name: &str) -> Result<(), BackupError> {
    let path = home.join(name);
    let failed = |action, source| BackupError::io(action, path.display().to_string(), source);
    match host.vfs.remove(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove", error)),
    }
    host.vfs.sync_dir(home).map_err(|error| failed("sync the directory of", error))
}
