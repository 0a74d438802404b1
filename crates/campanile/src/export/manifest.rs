//! What an export says of itself: `export.json`, or the last section of one file.
//!
//! Owns the format. Promises that a manifest which is read is the one that was written, and that a
//! later format is refused by its number. Must never be written before all that it lists is
//! durable.

use campanile_backup::sealed::{seal, unseal};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::Content;

/// In a directory: the manifest.
pub(crate) const MANIFEST: &str = "export.json";
/// In one file: the section that holds the manifest, in the printable spelling. Databases are
/// spelled in hexadecimal there, so none can be taken for it.
pub(crate) const TRAILER: &str = "campanile-export";
/// The format that this build writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// How what is exported lies in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A directory with a file for each database, and `export.json`.
    #[default]
    Directory,
    /// One file with everything in it.
    File,
}

/// How what is exported is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// Zstandard.
    Zstd,
}

/// An export, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    pub(crate) format: u32,
    /// The environment that was exported.
    pub environment: String,
    /// Its history.
    pub timeline: u32,
    /// Nothing that was committed at this position of the log or later is in.
    pub lsn: String,
    /// Everything that was committed below this position is in.
    pub complete_below: String,
    /// When the snapshot was taken, in microseconds since 1970.
    pub time_us: u64,
    /// The same for people.
    pub time: String,
    /// Page size of the environment.
    pub page_bytes: u32,
    /// How it lies in files.
    pub layout: Layout,
    /// How it is packed.
    pub compression: Compression,
    /// Whether all databases of the environment are in.
    pub whole: bool,
    /// The databases, in the order of their names.
    pub databases: Vec<ExportedDatabase>,
}

/// A database in an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExportedDatabase {
    /// Its name.
    pub name: String,
    /// The file that holds it; empty if there is one file for all.
    pub file: String,
    /// Where in the file it begins.
    pub offset: u64,
    /// How many bytes of the file are its.
    pub stored: u64,
    /// Whether its content survives a crash; see
    /// [`DatabaseOptions::durable`](crate::DatabaseOptions::durable).
    pub durable: bool,
    /// What it holds.
    #[serde(flatten)]
    pub content: Content,
}

impl Manifest {
    pub(super) const FORMAT: u32 = FORMAT;

    pub(super) fn seal(&self) -> String {
        seal(self)
    }

    /// The manifest in `bytes`, which stand at `place`.
    pub(super) fn unseal(bytes: &[u8], place: &str) -> Result<Manifest> {
        let damaged = |why: String| {
            let what = format!("{place}: the description of the export is damaged: {why}");
            Error::new(ErrorKind::Corrupt, what)
        };
        let value: serde_json::Value = unseal(bytes).map_err(damaged)?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if format != u64::from(FORMAT) {
            let what = format!(
                "{place}: the export is of format {format}, this build reads format {FORMAT}: \
                 use the version that wrote it"
            );
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let manifest: Manifest =
            serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        for database in &manifest.databases {
            // A file of the export and of nothing else.
            if database.file.contains(['/', '\\']) || database.file.starts_with("..") {
                return Err(damaged(format!("{:?} is no name of a file in it", database.file)));
            }
        }
        let ascend = manifest.databases.windows(2).all(|two| two[0].name < two[1].name);
        if ascend { Ok(manifest) } else { Err(damaged("its names are out of order".to_owned())) }
    }

    /// The database called `name`.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&ExportedDatabase> {
        self.databases.iter().find(|database| database.name == name)
    }
}
