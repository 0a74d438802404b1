//! An export that is there, opened for reading.
//!
//! Owns the two layouts and how an export is told from one that was cut off. Promises that an
//! export which opens was written to its end; one file is read whole for that. Must never write.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use campanile_format::names::{CONTROL, UNFINISHED_SUFFIX};
use campanile_format::planted::{self, Bug};
use campanile_vfs::{Host, Open, Vfs};

use super::input;
use super::manifest::{ExportedDatabase, Layout, MANIFEST, Manifest, TRAILER};
use super::section::{Ordered, Section, check_header, damaged};
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::Content;
use crate::progress::Progress;
use crate::text::{Format, Reader};

/// A manifest of a hundred thousand databases fits.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// An export, opened for reading: see [`Export::open`].
#[derive(Debug)]
pub struct Export {
    host: Host,
    path: PathBuf,
    manifest: Manifest,
    /// Whether every database was read and proven when it was opened.
    proven: bool,
}

/// What may be at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A directory with the manifest of an export.
    Directory,
    /// A directory in which an export was begun.
    Unfinished,
    /// A file.
    File,
    /// A directory of another kind.
    Other,
}

/// What is at `path`.
pub(crate) fn look(host: &Host, path: &Path) -> Result<Found> {
    let failed = |error: io::Error| Error::io(format!("looking at {}", path.display()), error);
    if !host.vfs.exists(path).map_err(failed)? {
        let what = format!("there is nothing at {}: check the path", path.display());
        return Err(Error::new(ErrorKind::NotFound, what));
    }
    let names = match host.vfs.list(path) {
        Ok(names) => names,
        Err(error) => match error.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::NotFound => return Ok(Found::File),
            _ => return Err(failed(error)),
        },
    };
    if names.iter().any(|name| name == MANIFEST) {
        return Ok(Found::Directory);
    }
    let unfinished = !names.iter().any(|name| name == CONTROL)
        && names.iter().any(|name| {
            let name = name.strip_suffix(UNFINISHED_SUFFIX).unwrap_or(name);
            name == MANIFEST || name.ends_with(".dump") || name.ends_with(".dump.zst")
        });
    Ok(if unfinished { Found::Unfinished } else { Found::Other })
}

impl Export {
    /// Opens the directory or file at `path`. One that was not written to its end is refused. One
    /// file is read whole, and with that it is [proven](Export::prove).
    pub fn open(path: impl AsRef<Path>, progress: &Progress) -> Result<Export> {
        Export::open_on(&Host::os(), path.as_ref(), progress)
    }

    /// The same on another host.
    pub fn open_on(host: &Host, path: &Path, progress: &Progress) -> Result<Export> {
        let (manifest, layout) = match look(host, path)? {
            Found::Directory => {
                let place = path.join(MANIFEST);
                let bytes = read_small(&*host.vfs, &place)?;
                (Manifest::unseal(&bytes, &place.display().to_string())?, Layout::Directory)
            }
            Found::File => (survey(host, path, progress)?, Layout::File),
            Found::Unfinished => {
                let what = format!(
                    "{} holds an export that was not finished ({MANIFEST} is missing): remove it \
                     and export again",
                    path.display()
                );
                return Err(Error::new(ErrorKind::Corrupt, what));
            }
            Found::Other => {
                let what = format!("{} holds no export ({MANIFEST})", path.display());
                return Err(Error::new(ErrorKind::NotFound, what));
            }
        };
        if manifest.layout != layout {
            let place = path.display().to_string();
            return Err(damaged(&place, "its description is of another layout"));
        }
        let proven = layout == Layout::File;
        Ok(Export { host: host.clone(), path: path.to_owned(), manifest, proven })
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads all of it: the error says what is damaged or missing.
    pub fn prove(&self, progress: &Progress) -> Result<()> {
        self.prove_some(&self.manifest.databases.iter().collect::<Vec<_>>(), progress)
    }

    /// Reads these databases to their end, unless that was done.
    pub(crate) fn prove_some(
        &self,
        databases: &[&ExportedDatabase],
        progress: &Progress,
    ) -> Result<()> {
        if self.proven {
            return Ok(());
        }
        for database in databases {
            let mut section = self.section(database, "check", progress)?;
            while section.next()?.is_some() {}
        }
        Ok(())
    }

    /// Begins to read a database.
    pub(crate) fn section(
        &self,
        database: &ExportedDatabase,
        doing: &str,
        progress: &Progress,
    ) -> Result<Section> {
        let (path, len) = match self.manifest.layout {
            Layout::Directory => (self.path.join(&database.file), None),
            Layout::File => (self.path.clone(), Some(database.stored)),
        };
        let place = path.display().to_string();
        let text = input::open(&self.host, &path, database.offset, len);
        let text = text.map_err(|error| match error.kind() {
            ErrorKind::NotFound => damaged(&place, "it is missing"),
            _ => error,
        })?;
        Section::open(Reader::new(text, place), database, doing, progress)
    }
}

/// Reads one file whole: every section, and at the end the manifest, which must tell of exactly
/// these sections.
fn survey(host: &Host, path: &Path, progress: &Progress) -> Result<Manifest> {
    let place = path.display().to_string();
    let text = input::open(host, path, 0, None)?;
    let mut reader = Reader::new(text, place.clone());
    let mut found: Vec<(String, Content)> = Vec::new();
    let mut pairs = 0;
    while let Some(header) = reader.next_section()? {
        let name = header.database.clone().unwrap_or_default();
        if header.format == Format::Print && name == TRAILER {
            let manifest = trailer(&mut reader, &place)?;
            let same = manifest.databases.len() == found.len()
                && manifest.databases.iter().zip(&found).all(|(stated, (name, content))| {
                    stated.name == *name && stated.content == *content
                });
            if !same && !planted::is(Bug::ImportFingerprintIgnored) {
                return Err(damaged(&place, "its databases are not those that were exported"));
            }
            return Ok(manifest);
        }
        check_header(&place, &header)?;
        let mut ordered = Ordered::default();
        while let Some((key, value)) = reader.take_pair()? {
            let line = reader.line();
            ordered.add(&key, &value).map_err(|what| Error::input(&place, line, what))?;
            pairs += 1;
            if pairs % crate::pairs::PAIRS_PER_REPORT == 0 {
                progress.report("check the export", pairs, None, "pairs")?;
            }
        }
        found.push((name, ordered.finish()));
    }
    let what = format!(
        "{place} ends without the description of an export: it was cut off, or is no export of \
         this program (a dump is loaded with db_load)"
    );
    Err(Error::new(ErrorKind::Corrupt, what))
}

/// The one pair of the last section.
fn trailer(reader: &mut Reader<Box<dyn BufRead>>, place: &str) -> Result<Manifest> {
    let Some((key, value)) = reader.take_pair()? else {
        return Err(damaged(place, "its description is empty"));
    };
    if key != MANIFEST.as_bytes() || reader.take_pair()?.is_some() {
        return Err(damaged(place, "its description is not alone"));
    }
    if reader.next_section()?.is_some() {
        return Err(damaged(place, "something follows its description"));
    }
    Manifest::unseal(&value, place)
}

fn read_small(vfs: &dyn Vfs, path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io(format!("reading {}", path.display()), error);
    let file = vfs.open(path, Open::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?.min(MANIFEST_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    let count = file.read_full_at(&mut bytes, 0).map_err(failed)?;
    bytes.truncate(count);
    Ok(bytes)
}
