//! Keep marks: the file `keep` in a backup, which retention never touches.
//!
//! Owns the mark. Promises that a backup counts as marked as soon as the file is there, whatever it
//! says: a mark that cannot be read still protects. Must never be needed for restoring.

use serde::{Deserialize, Serialize};

use crate::error::BackupError;
use crate::manifest::join;
use crate::sealed::{seal, unseal};
use crate::shelf::{Shelf, put_small, read_small};

/// Its name in a backup.
pub(crate) const KEEP: &str = "keep";

/// Why a backup stays whatever the policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepMark {
    /// What whoever set it had to say.
    pub note: String,
    /// When it was set, microseconds since 1970.
    pub set_us: u64,
}

impl KeepMark {
    /// The mark of the backup under `prefix`, if it has one. One that cannot be read is a mark
    /// whose note says so.
    pub(crate) fn read(shelf: &dyn Shelf, prefix: &str) -> Result<Option<KeepMark>, BackupError> {
        let name = join(prefix, KEEP);
        if !shelf.has(&name)? {
            return Ok(None);
        }
        let unreadable = |why| KeepMark { note: format!("(unreadable: {why})"), set_us: 0 };
        Ok(Some(unseal(&read_small(shelf, &name)?).unwrap_or_else(unreadable)))
    }

    pub(crate) fn write(&self, shelf: &dyn Shelf, prefix: &str) -> Result<(), BackupError> {
        put_small(shelf, &join(prefix, KEEP), seal(self).as_bytes())
    }
}
