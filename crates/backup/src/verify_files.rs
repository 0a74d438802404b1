//! Proving the files of a backup: every one against the manifest, every page against its checksum.
//!
//! Owns what is compared with what in one backup. Promises (B18) that all damage is named, each
//! with its file and place, and that what is read is what a restore would read. Must never change
//! anything, nor stop at the first finding.

use campanile_format::{FileId, PageId, PageNo, names, page};
use serde::Serialize;

use crate::chain::Chain;
use crate::error::BackupError;
use crate::manifest::{FileEntry, Manifest, join, read_label};
use crate::progress::{Hook, Meter};
use crate::repository::Repository;
use crate::shelf::Shelf;

/// Files are read in pieces of this.
const PIECE_BYTES: u64 = 1 << 20;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, as people find it.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}

/// What was read of a backup, and what was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FilesChecked {
    /// Files that were read.
    pub files: u64,
    /// Their bytes, as they lie in the repository.
    pub bytes: u64,
    /// Pages that were checked, of data files as they are restored.
    pub pages: u64,
    /// Damage; empty if all is well.
    pub findings: Vec<Finding>,
}

impl FilesChecked {
    fn found(&mut self, file: String, what: impl Into<String>) {
        self.findings.push(Finding { file, what: what.into() });
    }
}

impl Repository {
    /// Reads every file of a complete backup. The caller holds the repository's lock.
    pub fn verify_files(
        &self,
        name: &str,
        hook: &mut Hook<'_>,
    ) -> Result<FilesChecked, BackupError> {
        let mut checked = FilesChecked::default();
        let (shelf, prefix) = (&**self.shelf(), self.prefix(name));
        let manifest = match Manifest::read(shelf, &prefix) {
            Ok(manifest) => manifest,
            Err(error) => {
                checked.found(shelf.shown(&prefix), damage(error)?);
                return Ok(checked);
            }
        };
        let mut meter = Meter::new(hook);
        meter.phase("verifying files", manifest.stored_bytes())?;
        self.check_whose(&prefix, &manifest, &mut checked)?;
        for entry in &manifest.files {
            let on_shelf = join(&prefix, &manifest.stored_name(entry));
            if let Err(error) = stored(shelf, &on_shelf, entry, &mut checked, &mut meter) {
                checked.found(shelf.shown(&on_shelf), damage(error)?);
            }
        }
        check_label(shelf, &prefix, &manifest, &mut checked)?;
        let chain = match Chain::of(self, name) {
            Ok(chain) => chain,
            Err(error) => {
                checked.found(shelf.shown(&prefix), damage(error)?);
                return Ok(checked);
            }
        };
        let data = format!("{}/", names::DATA_DIR);
        let files = manifest.files.iter().filter_map(|entry| {
            names::parse_data_file(entry.name.strip_prefix(&data)?).map(|id| (id, entry))
        });
        for (id, entry) in files {
            let shown = shelf.shown(&join(&prefix, &manifest.stored_name(entry)));
            let known = checked.findings.iter().any(|finding| finding.file == shown);
            let read = pages(&chain, shelf, &manifest, (id, entry), &shown, &mut checked);
            if let Err(error) = read {
                let what = damage(error)?;
                // What lies there is damaged already: that it cannot be unpacked says no more.
                if !known {
                    checked.found(shown, what);
                }
            }
            meter.add(0)?;
        }
        Ok(checked)
    }

    fn check_whose(
        &self,
        prefix: &str,
        manifest: &Manifest,
        checked: &mut FilesChecked,
    ) -> Result<(), BackupError> {
        let ours = self.environment()?;
        if manifest.environment != ours {
            let what = format!("it is of environment {}, not of {ours}", manifest.environment);
            checked.found(self.shelf().shown(prefix), what);
        }
        Ok(())
    }
}

/// What an error says of the backup; one of the system, or a wish to stop, is passed on.
pub(crate) fn damage(error: BackupError) -> Result<String, BackupError> {
    match error {
        BackupError::Io { action, path, source }
            if source.kind() == std::io::ErrorKind::NotFound
                || source.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            Ok(format!("cannot {action} {path}: {source}"))
        }
        BackupError::Io { .. } | BackupError::Cancelled { .. } | BackupError::Busy { .. } => {
            Err(error)
        }
        BackupError::Damaged { why, .. } => Ok(why),
        error => Ok(error.to_string()),
    }
}

/// Reads a file as it lies there.
fn stored(
    shelf: &dyn Shelf,
    name: &str,
    entry: &FileEntry,
    checked: &mut FilesChecked,
    meter: &mut Meter<'_>,
) -> Result<(), BackupError> {
    let failed = |source| BackupError::io("read", shelf.shown(name), source);
    let wanted = entry.on_shelf();
    let file = shelf.open(name)?;
    let len = file.len().map_err(failed)?;
    checked.files += 1;
    if len != wanted.bytes {
        let what = format!("it is {len} bytes long, the manifest lists {}", wanted.bytes);
        checked.found(shelf.shown(name), what);
    }
    let mut crc = crc32fast::Hasher::new();
    let (mut at, mut piece) = (0, Vec::new());
    let end = len.min(wanted.bytes);
    while at < end {
        piece.resize(PIECE_BYTES.min(end - at) as usize, 0);
        file.read_exact_at(&mut piece, at).map_err(failed)?;
        crc.update(&piece);
        at += piece.len() as u64;
        meter.add(piece.len() as u64)?;
    }
    checked.bytes += end;
    if len == wanted.bytes && crc.finalize() != wanted.crc32 {
        checked.found(shelf.shown(name), "its checksum is not the one in the manifest");
    }
    Ok(())
}

/// The label must say what the manifest says.
fn check_label(
    shelf: &dyn Shelf,
    prefix: &str,
    manifest: &Manifest,
    checked: &mut FilesChecked,
) -> Result<(), BackupError> {
    let shown = shelf.shown(&join(prefix, names::CONTROL));
    let label = match read_label(shelf, prefix) {
        Ok(label) => label,
        Err(error) => {
            let what = damage(error)?;
            if !checked.findings.iter().any(|finding| finding.file == shown) {
                checked.found(shown, what);
            }
            return Ok(());
        }
    };
    let said = |what: &str, label: String, manifest: &str| {
        (label != manifest).then(|| format!("its {what} is {label}, the manifest says {manifest}"))
    };
    let differences = [
        said("environment", label.environment.to_string(), &manifest.environment),
        said("timeline", label.timeline.to_string(), &manifest.timeline.to_string()),
        said("redo", label.redo.to_string(), &manifest.redo),
        said("checkpoint", label.checkpoint.to_string(), &manifest.checkpoint),
        said("end", label.durable.to_string(), &manifest.end),
    ];
    for what in differences.into_iter().flatten() {
        checked.found(shown.clone(), what);
    }
    Ok(())
}

/// Checks every page of a data file as it would be restored.
fn pages(
    chain: &Chain,
    shelf: &dyn Shelf,
    manifest: &Manifest,
    (id, entry): (FileId, &FileEntry),
    shown: &str,
    checked: &mut FilesChecked,
) -> Result<(), BackupError> {
    let page_bytes = (manifest.page_bytes as usize).max(1);
    let mut file = chain.open(shelf, &entry.name)?;
    let (mut number, mut rest, mut piece) = (0u64, Vec::new(), Vec::new());
    let mut bad = Runs::default();
    while file.next(&mut piece)? {
        rest.extend_from_slice(&piece);
        let whole = rest.len() / page_bytes * page_bytes;
        for bytes in rest.get(..whole).unwrap_or_default().chunks_exact(page_bytes) {
            let place = PageId::new(id, PageNo(u32::try_from(number).unwrap_or(u32::MAX)));
            if !page::is_never_written(bytes) && page::check(bytes, place).is_err() {
                bad.add(number);
            }
            number += 1;
            checked.pages += 1;
        }
        rest.drain(..whole);
    }
    for run in bad.0 {
        checked.found(shown.to_owned(), run.shown());
    }
    if !rest.is_empty() {
        checked.found(shown.to_owned(), "its last page is not whole");
    }
    file.finish().map(|_| ())
}

/// Pages side by side are one finding.
#[derive(Default)]
struct Runs(Vec<Run>);

struct Run {
    first: u64,
    last: u64,
}

impl Runs {
    fn add(&mut self, page: u64) {
        match self.0.last_mut() {
            Some(run) if run.last + 1 == page => run.last = page,
            _ => self.0.push(Run { first: page, last: page }),
        }
    }
}

impl Run {
    fn shown(&self) -> String {
        match self.first == self.last {
            true => format!("the checksum of page {} does not hold", self.first),
            false => {
                format!("the checksums of pages {} to {} do not hold", self.first, self.last)
            }
        }
    }
}
