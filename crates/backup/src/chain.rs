//! An increment and the backups that it stands on.
//!
//! Owns the way from a backup down to the full one it began with. Promises that a chain that can
//! be followed is one of one environment, one history and one page size, and that each increment
//! begins where replay of its base would. Must never take another backup for the base that is
//! named.

use std::collections::BTreeSet;
use std::path::Path;

use campanile_vfs::Host;

use crate::directory::Directory;
use crate::error::BackupError;
use crate::manifest::{Compression, FileEntry, MANIFEST, Manifest, join};
use crate::repository::Repository;
use crate::restored_file::RestoredFile;
use crate::shelf::Shelf;

/// A backup of a chain.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its name in the repository; empty for a copy in a directory.
    pub name: String,
    /// Where its files are.
    pub prefix: String,
    /// What it is.
    pub manifest: Manifest,
}

/// A backup, and what it is an increment of, down to a full one.
#[derive(Clone, Debug)]
pub struct Chain {
    newest: Link,
    /// Its base, the base of that, and so on.
    older: Vec<Link>,
}

impl Chain {
    /// The chain of a backup that is in a repository. A base that is missing, or is another than
    /// the one it was made from, is an error that names it.
    pub fn of(repository: &Repository, name: &str) -> Result<Chain, BackupError> {
        let newest = link(repository, name)?;
        let mut chain = Chain { newest, older: Vec::new() };
        let mut seen = BTreeSet::from([name.to_owned()]);
        while let Some(base) = chain.oldest().manifest.base.clone() {
            let above = chain.oldest();
            let broken = |why: &str| {
                let name = &above.name;
                let why = format!(
                    "backup {name} is an increment of {base}, which {why}: restore from another \
                     backup, or put {base} back"
                );
                BackupError::NoBackup { why }
            };
            if !seen.insert(base.clone()) {
                return Err(broken("is an increment of it in turn"));
            }
            if !repository.shelf().has(&join(&repository.prefix(&base), MANIFEST))? {
                return Err(broken("is not there, or was never completed"));
            }
            let below = link(repository, &base)?;
            let (upper, lower) = (&above.manifest, &below.manifest);
            let same = upper.environment == lower.environment
                && upper.timeline == lower.timeline
                && upper.page_bytes == lower.page_bytes;
            if !same || upper.since() != lower.redo() {
                return Err(broken("is not the backup that it was made from"));
            }
            chain.older.push(below);
        }
        Ok(chain)
    }

    /// A backup that is known to need no other.
    #[must_use]
    pub fn alone(prefix: String, manifest: Manifest) -> Chain {
        Chain { newest: Link { name: String::new(), prefix, manifest }, older: Vec::new() }
    }

    /// The backup itself.
    #[must_use]
    pub fn newest(&self) -> &Link {
        &self.newest
    }

    /// The full backup.
    #[must_use]
    pub fn oldest(&self) -> &Link {
        self.older.last().unwrap_or(&self.newest)
    }

    /// All of them, newest first.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// Opens a file of the newest backup, to be read as it is restored: the chain is applied.
    pub fn open(&self, shelf: &dyn Shelf, name: &str) -> Result<RestoredFile, BackupError> {
        let mut parts: Vec<(&Link, &FileEntry)> = Vec::new();
        for link in self.links() {
            let Some(entry) = link.manifest.file(name) else {
                let file = shelf.shown(&join(&link.prefix, name));
                let why = "an increment needs it, and its manifest does not list it".to_owned();
                return Err(BackupError::Damaged { file, why });
            };
            parts.push((link, entry));
            if entry.pages.is_none() {
                return RestoredFile::open(shelf, &parts);
            }
        }
        let file = shelf.shown(&join(&self.oldest().prefix, name));
        let why = "it is an increment of nothing".to_owned();
        Err(BackupError::Damaged { file, why })
    }
}

/// Refuses a directory whose data files lie there packed, or as increments: it is no copy of a
/// home that could be recovered where it is.
pub fn must_be_whole(host: &Host, dir: &Path) -> Result<(), BackupError> {
    let shelf = Directory::new(host, dir);
    if !shelf.has(MANIFEST)? {
        return Ok(());
    }
    let manifest = Manifest::read(&shelf, "")?;
    let what = match (&manifest.base, manifest.compression) {
        (None, Compression::None) => return Ok(()),
        (Some(base), _) => format!("is an increment of backup {base}"),
        (None, Compression::Zstd) => "is a compressed backup".to_owned(),
    };
    let why = format!("{what}: restore it from its repository (campanile restore --backup NAME)");
    Err(BackupError::Place { dir: dir.display().to_string(), why })
}

fn link(repository: &Repository, name: &str) -> Result<Link, BackupError> {
    let prefix = repository.prefix(name);
    let manifest = Manifest::read(&**repository.shelf(), &prefix)?;
    Ok(Link { name: name.to_owned(), prefix, manifest })
}
