//! The double-write file: what makes a page that tore while it was written whole again.
//!
//! Owns `doublewrite` in the home: one batch, a header and the copies. Promises that the copies
//! are durable before any home page is overwritten, that they stay until the homes are (one batch
//! at a time, P8), and that repair never replaces a good page, nor uses a copy older than redo
//! starts at. Must never be read but by [`PageStore::repair_torn_pages`].

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use campanile_format::double_write::{BatchEntry, BatchHeader};
use campanile_format::planted::{self, Bug};
use campanile_format::{Features, Lsn, PageId, Plain, names, page};
use campanile_vfs::{File, Open};

use crate::batch::Batch;
use crate::data_file::PageIn;
use crate::stats::count;
use crate::{PageStore, Result, StoreError};

/// Bytes given to the file system at once.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes in which a header is looked for: room for as many entries as any batch has.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// The file, once it was needed.
#[derive(Debug)]
pub(crate) struct DoubleWrite {
    file: Option<Arc<dyn File>>,
    /// The number of the last batch.
    batch: u64,
}

impl DoubleWrite {
    pub fn new() -> DoubleWrite {
        DoubleWrite { file: None, batch: 0 }
    }
}

/// The batch in the file, and where its copies begin.
struct LastBatch {
    file: Arc<dyn File>,
    header: BatchHeader,
    start: u64,
}

/// What [`PageStore::repair_torn_pages`] found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Copies in the last batch, 0 if there is no whole batch header.
    pub copies: usize,
    /// Pages whose home was damaged and has been written again from its copy.
    pub repaired: Vec<PageId>,
    /// Copies not looked at further: older than where redo starts, so their homes were durable.
    pub stale: usize,
    /// Copies that are damaged themselves: the batch was being written, no home was yet.
    pub damaged: usize,
    /// Copies of files that are gone.
    pub orphaned: usize,
    /// Copies that show a change which the log has lost, as only a disk that lied about a sync can
    /// bring about. Their homes are left as they are, to be found out by whoever reads them.
    pub ahead: usize,
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RepairReport { copies, repaired, stale, damaged, orphaned, ahead } = self;
        let repaired = repaired.len();
        write!(f, "{repaired} of {copies} pages of the last batch were torn and are repaired")?;
        write!(f, " ({stale} stale, {damaged} unfinished, {orphaned} of removed files, ")?;
        write!(f, "{ahead} ahead of the log)")
    }
}

impl PageStore {
    /// Writes the batch's copies and makes them durable, for those pages that need it.
    pub(crate) fn write_copies(&self, double: &mut DoubleWrite, batch: &Batch) -> Result<()> {
        let needs = |at: &usize| batch.entries()[*at].durable && !batch.entries()[*at].init;
        let copies: Vec<usize> = (0..batch.len()).filter(needs).collect();
        let skip = !self.options.double_write || planted::is(Bug::DoubleWriteSkipped);
        if copies.is_empty() || skip {
            return Ok(());
        }
        let path = self.double_write_path();
        let io = |what| {
            let path = path.clone();
            move |source| self.strike(StoreError::Io { what, path, source })
        };
        let file = match &double.file {
            Some(file) => Arc::clone(file),
            None => {
                let file = self.open_double_write()?;
                double.file = Some(Arc::clone(&file));
                file
            }
        };
        double.batch += 1;
        let mut at = 0;
        let header = self.batch_header(double.batch, batch, &copies).encode();
        file.write_all_at(&header, at).map_err(io("write"))?;
        at += header.len() as u64;
        for images in contiguous(batch, &copies) {
            for piece in images.chunks(PIECE_BYTES) {
                file.write_all_at(piece, at).map_err(io("write"))?;
                at += piece.len() as u64;
            }
        }
        if !planted::is(Bug::DoubleWriteNotSynced) {
            self.sync(&*file).map_err(io("sync"))?;
        }
        count(&self.counters.pages_double_written, copies.len());
        Ok(())
    }

    fn batch_header(&self, number: u64, batch: &Batch, copies: &[usize]) -> BatchHeader {
        let entry = |at: &usize| BatchEntry {
            page: batch.entries()[*at].page,
            crc: page::crc(batch.image(*at), batch.entries()[*at].page),
        };
        BatchHeader {
            features: Features::default(),
            environment: self.options.environment,
            batch: number,
            page_bytes: self.page_bytes() as u32,
            entries: copies.iter().map(entry).collect(),
        }
    }

    /// Opens the file for writing; its name is durable before anything relies on it.
    fn open_double_write(&self) -> Result<Arc<dyn File>> {
        let path = self.double_write_path();
        let io = |what, path: &PathBuf| {
            let path = path.clone();
            move |source| StoreError::Io { what, path, source }
        };
        let vfs = &self.host.vfs;
        let file = vfs.open(&path, Open::OpenOrCreate).map_err(io("open", &path))?;
        let home = &self.options.home;
        vfs.sync_dir(home).map_err(io("sync", home)).map_err(|error| self.strike(error))?;
        Ok(file)
    }

    fn double_write_path(&self) -> PathBuf {
        self.options.home.join(names::DOUBLE_WRITE)
    }

    /// Repairs the pages that tore in the batch that was being written when the environment
    /// ended, from their copies. Comes before any page is read. May itself be interrupted and run
    /// again.
    ///
    /// `redo` is where redo will start. A page of an unfinished batch has a change at or above it
    /// that is not durable at home; so a copy whose LSN is below belongs to a batch that was
    /// finished. If such a page is damaged now, it did not tear: the copy would bring back an old
    /// page that redo does not bring up to date, in place of an error.
    ///
    /// If only the process ended, the homes of the batch may look good and still be in the cache
    /// of the operating system only. They are written once more and synced, because the next
    /// batch takes their copies away; and so is the directory, whose last change may be pending.
    pub fn repair_torn_pages(&self, redo: Lsn) -> Result<RepairReport> {
        self.poison.check()?;
        let mut write_back = self.write_back.lock();
        self.sync_data_dirs()?;
        let mut report = RepairReport::default();
        let Some(last) = self.read_batch_header()? else { return Ok(report) };
        let LastBatch { file, header, start } = last;
        self.sync(&*file).map_err(|source| self.strike(self.double_write_error("sync", source)))?;
        write_back.double_write.batch = header.batch;
        report.copies = header.entries.len();
        let mut copy = vec![0; self.page_bytes()];
        let mut written = Vec::new();
        for (at, entry) in header.entries.iter().enumerate() {
            let offset = start + (at * self.page_bytes()) as u64;
            let count = file
                .read_full_at(&mut copy, offset)
                .map_err(|source| self.double_write_error("read", source))?;
            let whole = count == copy.len() && page::crc(&copy, entry.page) == entry.crc;
            if !whole || page::check(&copy, entry.page).is_err() {
                report.damaged += 1;
            } else if self.barrier.ended_before(page::lsn(&Plain(&copy))).is_some() {
                report.ahead += 1;
            } else if page::lsn(&Plain(&copy)) < redo {
                report.stale += 1;
            } else if !self.open_file(entry.page.file)? {
                report.orphaned += 1;
            } else {
                self.repair_page(entry.page, &copy, &mut report)?;
                written.push(entry.page.file);
            }
        }
        written.dedup();
        for file in written {
            let entry = self.entry(file)?;
            let done = self.sync(&**entry.hold()?.file());
            done.map_err(|source| self.strike(entry.io("sync", source)))?;
        }
        tracing::info!(%report, "double-write file");
        Ok(report)
    }

    /// Writes the copy home if the page there is damaged, or is the same.
    fn repair_page(&self, id: PageId, copy: &[u8], report: &mut RepairReport) -> Result<()> {
        assert!(self.find(id).is_none(), "repair comes before any page is read");
        let entry = self.entry(id.file)?;
        let held = entry.hold()?;
        let file = held.file();
        let mut home = vec![0; copy.len()];
        match entry.read(&**file, id.page, &mut home)? {
            PageIn::Sound if home != copy => return Ok(()),
            PageIn::Sound => {}
            PageIn::NeverWritten | PageIn::Damaged(_) => report.repaired.push(id),
        }
        file.write_all_at(copy, u64::from(id.page.0) * copy.len() as u64)
            .map_err(|source| self.strike(entry.io("write", source)))?;
        entry.set_pages(entry.pages().max(u64::from(id.page.0) + 1));
        Ok(())
    }

    /// The last batch. `None`: no batch was ever
    /// copied whole, or the last one was not, so that no home was overwritten after it.
    fn read_batch_header(&self) -> Result<Option<LastBatch>> {
        let path = self.double_write_path();
        let vfs = &self.host.vfs;
        if !vfs.exists(&path).map_err(|source| self.double_write_error("look for", source))? {
            return Ok(None);
        }
        let file = vfs
            .open(&path, Open::ReadWrite)
            .map_err(|source| self.double_write_error("open", source))?;
        let len = file.len().map_err(|source| self.double_write_error("measure", source))?;
        let mut bytes = vec![0; len.min(HEADER_BYTES_MAX) as usize];
        let count = file
            .read_full_at(&mut bytes, 0)
            .map_err(|source| self.double_write_error("read", source))?;
        bytes.truncate(count);
        let Ok(header) = BatchHeader::decode(&bytes) else { return Ok(None) };
        let ours = header.environment == self.options.environment
            && header.page_bytes as usize == self.page_bytes();
        if !ours {
            return Ok(None);
        }
        let start = BatchHeader::encoded_bytes(header.entries.len(), header.page_bytes) as u64;
        Ok(Some(LastBatch { file, header, start }))
    }

    fn double_write_error(&self, what: &'static str, source: std::io::Error) -> StoreError {
        StoreError::Io { what, path: self.double_write_path(), source }
    }
}

/// The copies as few slices: neighbours in the batch are neighbours in memory.
fn contiguous<'b>(batch: &'b Batch, copies: &'b [usize]) -> impl Iterator<Item = &'b [u8]> {
    let runs = copies.chunk_by(|one, next| one + 1 == *next);
    runs.map(|run| batch.images(run[0]..run[run.len() - 1] + 1))
}
