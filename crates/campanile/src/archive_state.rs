//! How far the archive of a home is behind its log, seen from outside.
//!
//! Owns the comparison behind `campanile info -h`. Promises that what it says of a running home was
//! true at a moment during the call. Must never write anything.

use std::path::Path;

use campanile_backup::{ArchiveNote, Archiver, Repository};
use campanile_vfs::Host;
use campanile_wal::ControlFile;
use serde::Serialize;

use crate::error::Result;
use crate::{Lsn, causes};

/// How far an archive is.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ArchiveState {
    /// The repository.
    pub repository: String,
    /// Everything before this is in it, as far as the home still has it.
    #[serde(serialize_with = "crate::inspect::lsn_as_text")]
    pub archived_to: Lsn,
    /// The log of the home ends here.
    #[serde(serialize_with = "crate::inspect::lsn_as_text")]
    pub log_end: Lsn,
    /// Log files that are not archived, or not to their end. The file in use is one of them
    /// unless everything was archived just now.
    pub files_behind: u32,
    /// Bytes of log that would be lost with the home.
    pub bytes_behind: u64,
}

/// Compares the log of a home, in use or closed, with its archive; `None` if it has none.
pub fn archive_state(home: impl AsRef<Path>) -> Result<Option<ArchiveState>> {
    archive_state_on(&Host::os(), home.as_ref())
}

/// The same on another host.
pub fn archive_state_on(host: &Host, home: &Path) -> Result<Option<ArchiveState>> {
    ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let Some(note) = ArchiveNote::read(host, home).map_err(causes::backup)? else {
        return Ok(None);
    };
    let repository = Repository::in_directory(host, &note.directory());
    let archiver = Archiver::resume(host, home, repository).map_err(causes::backup)?;
    let archived = archiver.archived().map_err(causes::backup)?;
    Ok(Some(ArchiveState {
        repository: note.repository,
        archived_to: archived.to,
        log_end: archived.log_end,
        files_behind: archived.files,
        bytes_behind: archived.bytes,
    }))
}
