//! Copying a data file while its owner writes it.
//!
//! Owns the way of a data file's pages to the shelf: whole, or what changed. Promises that length
//! and checksum of the file as it is restored are of the pages as they were checked. Must never
//! wait for the owner longer than a page takes to be written.

use std::io;

use campanile_format::increment::IncrementHeader;
use campanile_format::{FileId, PageNo, names};
use campanile_vfs::Open;

use crate::data_pages::{DataPages, Tally};
use crate::error::BackupError;
use crate::hot_backup::Task;
use crate::increment_writer::IncrementWriter;
use crate::manifest::{FileEntry, Manifest, Stored, join};
use crate::packing::Packer;
use crate::progress::Meter;

/// Data files are read in pieces of about this.
const PIECE_BYTES: u64 = 1 << 20;

/// Copies one data file; `None` if it has gone.
pub(crate) fn copy_data_file(
    task: &Task,
    id: FileId,
    tally: &mut Tally,
    meter: &mut Meter<'_>,
) -> Result<Option<FileEntry>, BackupError> {
    let (directory, path) = task.place_of(id);
    let shown = path.display().to_string();
    let file = match task.host.vfs.open(&path, Open::Read) {
        Ok(file) => file,
        // Removed by its owner, if the log says so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tally.gone.files.insert(id);
            return Ok(None);
        }
        Err(error) => return Err(BackupError::io("open", shown, error)),
    };
    let len = file.len().map_err(|error| BackupError::io("measure", shown.clone(), error))?;
    let page_bytes = task.page_bytes as u64;
    let mut pages = len / page_bytes;
    let host = &task.host;
    let mut source =
        DataPages { host, id, file, shown, page_bytes: task.page_bytes, durable: true };
    source.durable = !source.is_volatile(task.control.environment)?;
    if !source.durable {
        pages = pages.min(1);
    }
    let name = format!("{}/{}", names::DATA_DIR, names::data_file(id));
    let entry = FileEntry::plain(name, pages * page_bytes, 0);
    let entry = FileEntry { directory: directory.0, ..entry };
    let (mut entry, base) = planned(task, &source, entry);
    let mut target = Target::begin(task, &entry, base, id)?;
    let (mut crc, mut zeroed) = (crc32fast::Hasher::new(), Vec::new());
    let step = task.throttle.piece(page_bytes, PIECE_BYTES) / page_bytes;
    let (mut at, mut piece) = (0, Vec::new());
    while at < pages {
        let count = step.max(1).min(pages - at);
        task.throttle.wait(count * page_bytes, || meter.add(0))?;
        piece.resize((count * page_bytes) as usize, 0);
        source.read_piece(at, &mut piece)?;
        for (number, bytes) in (at..).zip(piece.chunks_exact_mut(task.page_bytes)) {
            let number = PageNo(u32::try_from(number).unwrap_or(u32::MAX));
            if !source.check(number, bytes, tally)? {
                zeroed.push(number.0);
            }
            target.page(number, bytes)?;
        }
        crc.update(&piece);
        meter.add(piece.len() as u64)?;
        at += count;
    }
    entry.crc32 = crc.finalize();
    entry.zeroed = zeroed;
    let (stored, changed) = target.finish()?;
    entry.pages = changed;
    let as_restored = Stored { bytes: entry.bytes, crc32: entry.crc32 };
    entry.stored = (stored != as_restored).then_some(stored);
    Ok(Some(entry))
}

/// Whether only what changed is stored, and over what.
fn planned<'t>(
    task: &'t Task,
    source: &DataPages<'_>,
    mut entry: FileEntry,
) -> (FileEntry, Option<&'t FileEntry>) {
    let base = task.base.as_ref().and_then(|base| base.manifest.file(&entry.name));
    let base = base.filter(|_| source.durable);
    entry.pages = base.map(|_| 0);
    (entry, base)
}

/// Where pages go.
enum Target<'s> {
    Whole(Packer<'s>),
    Changes(IncrementWriter<'s>),
}

impl<'s> Target<'s> {
    fn begin(
        task: &'s Task,
        entry: &FileEntry,
        base: Option<&FileEntry>,
        id: FileId,
    ) -> Result<Target<'s>, BackupError> {
        let (compression, level) = (task.options.compression, task.options.level);
        let name = join(&task.prefix, &Manifest::name_stored(entry, compression));
        let packer = Packer::begin(&*task.shelf, &name, compression, level)?;
        let Some(base) = base else { return Ok(Target::Whole(packer)) };
        let header = IncrementHeader {
            environment: task.control.environment,
            file: id,
            page_bytes: task.control.page_bytes,
            since: task.since(),
            pages: u32::try_from(entry.bytes / task.page_bytes as u64).unwrap_or(u32::MAX),
        };
        Ok(Target::Changes(IncrementWriter::begin(packer, &header, base)?))
    }

    fn page(&mut self, number: PageNo, bytes: &[u8]) -> Result<(), BackupError> {
        match self {
            Target::Whole(packer) => packer.write(bytes),
            Target::Changes(changes) => changes.page(number, bytes),
        }
    }

    fn finish(self) -> Result<(Stored, Option<u64>), BackupError> {
        match self {
            Target::Whole(packer) => Ok((packer.finish()?, None)),
            Target::Changes(changes) => {
                let (stored, pages) = changes.finish()?;
                Ok((stored, Some(pages)))
            }
        }
    }
}
