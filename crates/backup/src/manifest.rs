//! What a backup is: its place in the log, and every file in it.
//!
//! Owns [`Manifest`] and its text. Promises that one that can be read was written last and is
//! whole, and that what older builds wrote reads as what it meant. Must never be read as if a
//! format were known that is not.

use std::collections::{BTreeMap, BTreeSet};

use campanile_format::control::Control;
use campanile_format::{Lsn, names};
use serde::{Deserialize, Serialize};

use crate::error::BackupError;
use crate::placing::DirectoryEntry;
use crate::sealed::{seal, unseal};
use crate::shelf::{Shelf, put_small, read_small};

/// The format that this build writes. It reads format 1 too, which knew full, plain backups only.
pub(crate) const MANIFEST_FORMAT: u32 = 2;
const MANIFEST_FORMAT_FIRST: u32 = 1;
/// Its name in a backup.
pub(crate) const MANIFEST: &str = "manifest";

/// How the data files of a backup are packed. Log files and the label never are: they are read
/// where they lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// Each as one zstd stream.
    Zstd,
}

/// Length and checksum of a file as it lies on the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its length.
    pub bytes: u64,
    /// CRC-32 of all of it.
    pub crc32: u32,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name in the backup.
    pub name: String,
    /// Its length when it is restored.
    pub bytes: u64,
    /// CRC-32 of all of it when it is restored.
    pub crc32: u32,
    /// What lies on the shelf, where that is something else: compressed, or only what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
    /// Only what changed is stored, over the same file of the base: this many pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u64>,
    /// The number of the directory that a data file was in, see [`Manifest::directories`]; 0 is
    /// `data` in the home.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub directory: u16,
    /// Pages put down as never written because their checksum did not hold (B3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zeroed: Vec<u32>,
}

impl FileEntry {
    /// A file that lies on the shelf as it will be restored.
    pub(crate) fn plain(name: String, bytes: u64, crc32: u32) -> FileEntry {
        FileEntry {
            name,
            bytes,
            crc32,
            stored: None,
            pages: None,
            directory: 0,
            zeroed: Vec::new(),
        }
    }

    /// Length and checksum of what lies on the shelf.
    #[must_use]
    pub fn on_shelf(&self) -> Stored {
        self.stored.unwrap_or(Stored { bytes: self.bytes, crc32: self.crc32 })
    }
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
    /// The backup in the same repository that this one is an increment of; `None` for a full one.
    #[serde(default)]
    pub base: Option<String>,
    /// An increment holds every page whose LSN is at or above this: where replay of its base
    /// begins.
    #[serde(default)]
    pub since: String,
    /// How its data files are packed.
    #[serde(default)]
    pub compression: Compression,
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
    /// The directories of data files that the home had besides `data`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<DirectoryEntry>,
    /// Every file but this one.
    pub files: Vec<FileEntry>,
}

fn is_zero(number: &u16) -> bool {
    *number == 0
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

    /// Where replay begins.
    #[must_use]
    pub fn redo(&self) -> Lsn {
        parse_lsn(&self.redo)
    }

    /// Pages changed from here on are in it; all of them if there is no base.
    #[must_use]
    pub fn since(&self) -> Lsn {
        parse_lsn(&self.since)
    }

    /// Whether it restores by itself.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.base.is_none()
    }

    /// All bytes of it when it is restored.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// All bytes of it on the shelf.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.on_shelf().bytes).sum()
    }

    /// The name in the backup of what is stored of a file. What is not stored as it is has
    /// another name, so that nobody takes it for the file.
    #[must_use]
    pub fn stored_name(&self, file: &FileEntry) -> String {
        Manifest::name_stored(file, self.packing_of(file))
    }

    pub(crate) fn name_stored(file: &FileEntry, packing: Compression) -> String {
        let increment = if file.pages.is_some() { ".inc" } else { "" };
        let packed = match packing {
            Compression::None => "",
            Compression::Zstd => ".zst",
        };
        format!("{}{increment}{packed}", file.name)
    }

    /// How a file is packed: only data files are.
    pub(crate) fn packing_of(&self, file: &FileEntry) -> Compression {
        let data = file.name.strip_prefix(names::DATA_DIR).is_some_and(|n| n.starts_with('/'));
        if data { self.compression } else { Compression::None }
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
        let known = u64::from(MANIFEST_FORMAT_FIRST)..=u64::from(MANIFEST_FORMAT);
        if !format.is_some_and(|format| known.contains(&format)) {
            let why = "it is of a format that this build does not know: use a newer build";
            return Err(damaged(why.to_owned()));
        }
        let manifest: Manifest = unseal(&bytes).map_err(damaged)?;
        manifest.check().map_err(damaged)?;
        Ok(manifest)
    }

    /// What a checksum does not say: that the text means something.
    fn check(&self) -> Result<(), String> {
        let (mut seen, mut sum) = (BTreeSet::new(), 0u64);
        for file in &self.files {
            if !is_name(&file.name) || !seen.insert(&file.name) {
                return Err(format!("it lists {:?}, which is no file of a backup", file.name));
            }
            let more = file.bytes.checked_add(file.on_shelf().bytes);
            let total = more.and_then(|more| sum.checked_add(more));
            sum = total.ok_or("the lengths in it make no sense")?;
        }
        for text in [&self.redo, &self.first, &self.end] {
            if parse_lsn(text).is_none() {
                return Err(format!("{text:?} is no position in a log"));
            }
        }
        match campanile_format::limits::is_page_size(self.page_bytes as usize) {
            true => Ok(()),
            false => Err(format!("pages of {} bytes do not exist", self.page_bytes)),
        }
    }
}

/// A file that a backup may hold, under exactly this name: no way leads out of its directory.
fn is_name(name: &str) -> bool {
    let Some((dir, file)) = name.split_once('/') else { return name == names::CONTROL };
    let data = names::parse_data_file(file).filter(|_| dir == names::DATA_DIR);
    let log = names::parse_log_file(file).filter(|_| dir == names::LOG_DIR);
    data.is_some_and(|id| names::data_file(id) == file)
        || log.is_some_and(|number| names::log_file(number) == file)
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

/// The entry of a label with these bytes.
pub(crate) fn label_entry(bytes: &[u8]) -> FileEntry {
    FileEntry::plain(names::CONTROL.to_owned(), bytes.len() as u64, crc32fast::hash(bytes))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(text: &str) -> Result<Manifest, String> {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        unseal(seal(&json).as_bytes())
    }

    #[test]
    fn a_manifest_of_format_1_is_a_full_plain_backup() {
        let text = r#"{"format":1,"environment":"e","timeline":1,"page_bytes":8192,
            "started_us":5,"finished_us":6,"checkpoint":"1/512","redo":"1/600","first":"1/512",
            "end":"1/900","last_time_us":4,"pages":3,"pages_read_again":0,
            "files":[{"name":"control","bytes":8192,"crc32":7}]}"#;
        let manifest = reads(text).unwrap();
        assert!(manifest.is_full());
        assert_eq!((manifest.since(), manifest.redo()), (Lsn::NONE, Lsn::new(1, 600)));
        assert_eq!(manifest.compression, Compression::None);
        let control = manifest.file("control").unwrap();
        assert_eq!(control.on_shelf(), Stored { bytes: 8192, crc32: 7 });
        assert_eq!(manifest.bytes(), manifest.stored_bytes());
    }

    #[test]
    fn names_that_lead_elsewhere_repeats_and_lengths_without_sense_are_refused() {
        let text = r#"{"format":2,"environment":"e","timeline":1,"page_bytes":8192,
            "started_us":5,"finished_us":6,"checkpoint":"1/512","redo":"1/600","first":"1/512",
            "end":"1/900","last_time_us":4,"pages":3,"pages_read_again":0,
            "files":[{"name":"control","bytes":8192,"crc32":7},
            {"name":"log/log.0000000001","bytes":900,"crc32":7},
            {"name":"data/data.0000000016","bytes":8192,"crc32":7}]}"#;
        let with = |from: &str, to: &str| reads(&text.replace(from, to)).unwrap().check();
        assert_eq!(with("", ""), Ok(()));
        for name in ["../control", "data/../control", "C:control", "data\\\\x", "data/data.16", "x"]
        {
            assert!(with("data/data.0000000016", name).is_err(), "{name}");
        }
        assert!(with("data/data.0000000016", "control").is_err(), "twice");
        assert!(with("\"bytes\":900", "\"bytes\":18446744073709551615").is_err());
        assert!(with("\"end\":\"1/900\"", "\"end\":\"soon\"").is_err());
        assert!(with("\"page_bytes\":8192", "\"page_bytes\":0").is_err());
    }

    #[test]
    fn an_increment_reads_back_as_it_was_written() {
        let text = r#"{"format":2,"environment":"e","timeline":1,"base":"20261120_124500",
            "since":"1/600","compression":"zstd","page_bytes":8192,
            "started_us":5,"finished_us":6,"checkpoint":"1/512","redo":"1/600","first":"1/512",
            "end":"1/900","last_time_us":4,"pages":3,"pages_read_again":0,
            "files":[{"name":"data/data.0000000016","bytes":81920,"crc32":7,
            "stored":{"bytes":100,"crc32":9},"pages":2,"zeroed":[3]}]}"#;
        let manifest = reads(text).unwrap();
        assert_eq!(manifest.base.as_deref(), Some("20261120_124500"));
        assert_eq!((manifest.stored_bytes(), manifest.bytes()), (100, 81920));
        assert_eq!(unseal::<Manifest>(seal(&manifest).as_bytes()), Ok(manifest));
    }
}
