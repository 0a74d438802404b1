//! Copying a data file while its owner writes it.
//!
//! Owns the reading of pages. Promises (B3) that every page in the copy passed its checksum in its
//! place, or is written down as never written and remembered as a suspect. Must never wait for the
//! owner longer than a page takes to be written.

use std::io;
use std::sync::Arc;

use campanile_format::meta::MetaFields;
use campanile_format::planted::{self, Bug};
use campanile_format::{FileId, Lsn, PageId, PageNo, Plain, map, names, page};
use campanile_vfs::{File, Open};

use crate::error::BackupError;
use crate::hot_backup::Copying;
use crate::manifest::{FileEntry, join};

/// Data files are read in pieces of about this.
const PIECE_BYTES: usize = 1 << 20;
/// A page that fails is read so many times more, with longer pauses each time: a write is under
/// way for microseconds.
const ATTEMPTS: u64 = 8;
const PAUSE_US: u64 = 500;
/// When so many pages stayed bad, the others are not waited for so long: they are old garbage.
const PATIENCE: u64 = 16;

/// A data file that is being copied.
struct Source {
    id: FileId,
    file: Arc<dyn File>,
    shown: String,
    page_bytes: usize,
}

/// Copies one data file; `None` if it has gone.
pub(crate) fn copy_data_file(
    copying: &mut Copying<'_, '_>,
    id: FileId,
) -> Result<Option<FileEntry>, BackupError> {
    let path = copying.home.join(names::DATA_DIR).join(names::data_file(id));
    let shown = path.display().to_string();
    let failed = |action, source| BackupError::io(action, shown.clone(), source);
    let file = match copying.host.vfs.open(&path, Open::Read) {
        Ok(file) => file,
        // Removed by its owner; the log says so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", error)),
    };
    let page_bytes = copying.page_bytes;
    let len = file.len().map_err(|error| failed("measure", error))?;
    let source = Source { id, file, shown: shown.clone(), page_bytes };
    let mut pages = len / page_bytes as u64;
    let durable = !source.is_volatile(copying)?;
    if !durable {
        pages = pages.min(1);
    }
    let name = format!("{}/{}", names::DATA_DIR, names::data_file(id));
    let mut put = copying.shelf.put(&join(copying.prefix, &name))?;
    let mut crc = crc32fast::Hasher::new();
    let step = (PIECE_BYTES / page_bytes).max(1) as u64;
    let mut piece = Vec::new();
    let mut at = 0;
    while at < pages {
        let count = step.min(pages - at) as usize;
        piece.resize(count * page_bytes, 0);
        let read = source.file.read_full_at(&mut piece, at * page_bytes as u64);
        let read = read.map_err(|error| failed("read", error))?;
        if read < piece.len() {
            return Err(failed("read", io::ErrorKind::UnexpectedEof.into()));
        }
        for (number, bytes) in (at..).zip(piece.chunks_exact_mut(page_bytes)) {
            let number = PageNo(u32::try_from(number).unwrap_or(u32::MAX));
            source.check(copying, number, bytes, durable)?;
        }
        crc.update(&piece);
        put.write(&piece)?;
        copying.meter.add(piece.len() as u64)?;
        at += count as u64;
    }
    put.finish()?;
    let bytes = pages * page_bytes as u64;
    Ok(Some(FileEntry::plain(name, bytes, crc.finalize())))
}

impl Source {
    /// Whether the file's changes are not logged: recovery makes it anew.
    fn is_volatile(&self, copying: &Copying<'_, '_>) -> Result<bool, BackupError> {
        let mut meta = vec![0; self.page_bytes];
        if !self.read(PageNo(0), &mut meta)? || !self.is_sound(PageNo(0), &meta) {
            return Ok(false);
        }
        if page::is_never_written(&meta) {
            return Ok(false);
        }
        let fields = MetaFields::read(&Plain(&meta)).map_err(|error| BackupError::Damaged {
            file: self.shown.clone(),
            why: error.to_string(),
        })?;
        if fields.environment != copying.control.environment {
            let why = format!("it belongs to environment {}", fields.environment);
            return Err(BackupError::Damaged { file: self.shown.clone(), why });
        }
        Ok(!fields.durable)
    }

    /// Reads a page; false if the file ends before it.
    fn read(&self, number: PageNo, page: &mut [u8]) -> Result<bool, BackupError> {
        let offset = u64::from(number.0) * self.page_bytes as u64;
        let read = self.file.read_full_at(page, offset);
        let count = read.map_err(|error| BackupError::io("read", self.shown.clone(), error))?;
        Ok(count == page.len())
    }

    fn is_sound(&self, number: PageNo, bytes: &[u8]) -> bool {
        page::is_never_written(bytes) || page::check(bytes, PageId::new(self.id, number)).is_ok()
    }

    /// Sees to it that `bytes` are the page, or nothing.
    fn check(
        &self,
        copying: &mut Copying<'_, '_>,
        number: PageNo,
        bytes: &mut [u8],
        durable: bool,
    ) -> Result<(), BackupError> {
        copying.counts.pages += 1;
        let id = PageId::new(self.id, number);
        if planted::is(Bug::BackupPagesUnchecked) {
            return Ok(());
        }
        if !self.is_sound(number, bytes) {
            copying.counts.read_again += 1;
            if !self.read_again(copying, number, bytes)? {
                tracing::debug!(page = %id, "a page whose checksum does not hold");
                copying.counts.bad += 1;
                bytes.fill(0);
                if durable && !self.is_free(number)? {
                    copying.suspects.insert(id);
                }
            }
        }
        let lsn = page::lsn(&Plain(&*bytes));
        if durable && lsn > copying.highest {
            copying.highest = lsn;
        }
        Ok(())
    }

    /// Reads a page until its checksum holds; false if it never does.
    fn read_again(
        &self,
        copying: &Copying<'_, '_>,
        number: PageNo,
        bytes: &mut [u8],
    ) -> Result<bool, BackupError> {
        let attempts = if copying.counts.bad < PATIENCE { ATTEMPTS } else { 2 };
        for attempt in 1..=attempts {
            copying.host.clock.sleep_us(PAUSE_US * attempt);
            if self.read(number, bytes)? && self.is_sound(number, bytes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the space map on disk says that nobody uses the page. If memory knows better, the
    /// log does too.
    fn is_free(&self, number: PageNo) -> Result<bool, BackupError> {
        let (_, bit) = map::place_of(self.page_bytes, number);
        let Some(at) = map::map_page_for(self.page_bytes, number).filter(|at| *at != number) else {
            return Ok(false);
        };
        let mut bytes = vec![0; self.page_bytes];
        if !self.read(at, &mut bytes)? {
            return Ok(true);
        }
        // A map that was never written has given out nothing; a bad one says nothing.
        let sound = self.is_sound(at, &bytes);
        let free =
            page::is_never_written(&bytes) || !map::Map::new(Plain(&bytes)).is_allocated(bit);
        Ok(sound && free)
    }
}

/// Pages in the copy, by what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub pages: u64,
    pub read_again: u64,
    pub bad: u64,
}

/// The check that no page is from after the end of the log (B2).
pub(crate) fn check_order(highest: Lsn, end: Lsn) -> Result<(), BackupError> {
    if highest < end {
        return Ok(());
    }
    let why = format!("a page shows a change at {highest}, but the log ends at {end}");
    Err(BackupError::Changed { why })
}
