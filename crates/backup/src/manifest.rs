//! What a backup is: its place in the log, and every file in it.
//!
//! Owns [`Manifest`] and its text. Promises that one that can be read was written last and is
//! whole. Must never be read as if a format were known that is not.

use std::collections::BTreeMap;

use campanile_format::control::Control;
use campanile_format::{Lsn, names};
use serde::{Deserialize, Serialize};

use crate::error::BackupError;
use crate::sealed::{seal, unseal};
use crate::shelf::{Shelf, put_small, read_small};

/// The format that this build writes and reads.
pub(crate) const MANIFEST_FORMAT: u32 = 1;
/// Its name in a backup.
pub(crate) const MANIFEST: &str = "manifest";

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name in the backup.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// CRC-32 of all of it.
    pub crc32: u32,
}

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of this text.
    pub format: u32,
    /// The environment.
    pub environment: String,
    /// Its history.
    pub timeline: u32,
    /// Page size of all databases.
    pub page_bytes: u32,
    /// When it was begun, microseconds since 1970.
    pub started_us: u64,
    /// When it was complete.
    pub finished_us: u64,
    /// The checkpoint that replay goes by, as text like `3/512`.
    pub checkpoint: String,
    /// Where replay begins.
    pub redo: String,
    /// The log in the backup begins here.
    pub first: String,
    /// The log must reach this: the earliest position that the backup can be brought to.
    pub end: String,
    /// The latest time in the log up to there.
    pub last_time_us: u64,
    /// Pages in it that were checked.
    pub pages: u64,
    /// Pages that were read more than once because their owner was writing them.
    pub pages_read_again: u64,
    /// Every file but this one.
    pub files: Vec<FileEntry>,
}

impl Manifest {
    /// Where the backup is complete.
    #[must_use]
    pub fn end(&self) -> Lsn {
        parse_lsn(&self.end)
    }

    /// Where the log in it begins.
    #[must_use]
    pub fn first(&self) -> Lsn {
        parse_lsn(&self.first)
    }

    /// All bytes in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The entry of a file.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.name == name)
    }

    pub(crate) fn write(&self, shelf: &dyn Shelf, prefix: &str) -> Result<(), BackupError> {
        put_small(shelf, &join(prefix, MANIFEST), seal(self).as_bytes())
    }

    pub(crate) fn read(shelf: &dyn Shelf, prefix: &str) -> Result<Manifest, BackupError> {
        let name = join(prefix, MANIFEST);
        let damaged = |why| BackupError::Damaged { file: shelf.shown(&name), why };
        let bytes = read_small(shelf, &name)?;
        let read: BTreeMap<String, serde_json::Value> = unseal(&bytes).map_err(damaged)?;
        let format = read.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(u64::from(MANIFEST_FORMAT)) {
            let why = "it is of a format that this build does not know: use a newer build";
            return Err(damaged(why.to_owned()));
        }
        unseal(&bytes).map_err(damaged)
    }
}

/// A name under a prefix, which may be empty.
pub(crate) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

/// Reads `3/512`; anything else is no position.
fn parse_lsn(text: &str) -> Lsn {
    let parsed = text
        .split_once('/')
        .and_then(|(file, offset)| Some(Lsn::new(file.parse().ok()?, offset.parse().ok()?)));
    parsed.unwrap_or(Lsn::NONE)
}

/// The label of a copy: its control file.
pub(crate) fn read_label(shelf: &dyn Shelf, prefix: &str) -> Result<Control, BackupError> {
    let name = join(prefix, names::CONTROL);
    let bytes = read_small(shelf, &name)?;
    let damaged = |why: String| BackupError::Damaged { file: shelf.shown(&name), why };
    let slots = bytes.split_at_checked(4096).ok_or_else(|| damaged("it is too short".into()))?;
    let chosen = campanile_format::control::choose(slots.0, slots.1);
    chosen.map(|chosen| chosen.control).map_err(|error| damaged(error.to_string()))
}

/// The bytes of a label: the same in both slots.
pub(crate) fn label_bytes(label: &Control) -> Vec<u8> {
    let slot = label.encode();
    let mut bytes = slot.clone();
    bytes.resize(4096, 0);
    bytes.extend(slot);
    bytes.resize(8192, 0);
    bytes
}
