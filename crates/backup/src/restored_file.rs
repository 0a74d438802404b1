//! A file of a backup as it is restored: unpacked, and with increments applied.
//!
//! Owns the merge of a whole file and the increments above it. Promises that a file that was read
//! to its end is, byte for byte, what its manifest lists, and that every stored file on the way
//! was; an error names the one that is not. Must never hold more than a piece of each.

use campanile_format::increment::{INCREMENT_HEADER_BYTES, IncrementHeader, RUN_BYTES, Run};
use campanile_format::names;

use crate::chain::Link;
use crate::error::BackupError;
use crate::manifest::{FileEntry, Stored, join};
use crate::shelf::Shelf;
use crate::unpacking::Unpacked;

/// Files are read in pieces of about this.
const PIECE_BYTES: u64 = 1 << 20;

/// Reads a file of a backup from beginning to end, as it is restored.
#[derive(Debug)]
pub struct RestoredFile {
    whole: Unpacked,
    whole_bytes: u64,
    /// Oldest first.
    increments: Vec<Layer>,
    page_bytes: u64,
    stated: Stored,
    shown: String,
    at: u64,
    crc: crc32fast::Hasher,
}

impl RestoredFile {
    /// `parts` are the same file in the backups of a chain, newest first; the last one is whole.
    pub(crate) fn open(
        shelf: &dyn Shelf,
        parts: &[(&Link, &FileEntry)],
    ) -> Result<RestoredFile, BackupError> {
        let unpacked = |(link, entry): &(&Link, &FileEntry)| {
            let name = join(&link.prefix, &link.manifest.stored_name(entry));
            let packing = link.manifest.packing_of(entry);
            Unpacked::open(shelf, &name, entry.on_shelf(), packing)
        };
        let ((_, whole_entry), increments) = parts.split_last().expect("a file has a part");
        let whole = unpacked(parts.last().expect("a file has a part"))?;
        let (link, entry) = parts.first().expect("a file has a part");
        let mut layers = Vec::new();
        for part in increments.iter().rev() {
            layers.push(Layer::begin(unpacked(part)?, part)?);
        }
        Ok(RestoredFile {
            whole,
            whole_bytes: whole_entry.bytes,
            increments: layers,
            page_bytes: u64::from(link.manifest.page_bytes.max(1)),
            stated: Stored { bytes: entry.bytes, crc32: entry.crc32 },
            shown: shelf.shown(&join(&link.prefix, &entry.name)),
            at: 0,
            crc: crc32fast::Hasher::new(),
        })
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.stated.bytes
    }

    /// Reads what comes next into `piece`; false at the end, which must be reached with
    /// [`RestoredFile::finish`].
    pub fn next(&mut self, piece: &mut Vec<u8>) -> Result<bool, BackupError> {
        let left = self.stated.bytes - self.at;
        if left == 0 {
            piece.clear();
            return Ok(false);
        }
        let pages = (PIECE_BYTES / self.page_bytes).max(1) * self.page_bytes;
        piece.resize(usize::try_from(pages.min(left)).unwrap_or_default(), 0);
        if self.increments.is_empty() {
            self.whole.fill(piece)?;
        } else {
            let page_bytes = usize::try_from(self.page_bytes).unwrap_or(usize::MAX);
            let first = self.at / self.page_bytes;
            for (number, page) in (first..).zip(piece.chunks_mut(page_bytes)) {
                self.page(number, page)?;
            }
        }
        self.crc.update(piece);
        self.at += piece.len() as u64;
        Ok(true)
    }

    fn page(&mut self, number: u64, page: &mut [u8]) -> Result<(), BackupError> {
        let mut known = (number + 1) * self.page_bytes <= self.whole_bytes;
        if known {
            self.whole.fill(page)?;
        }
        for layer in &mut self.increments {
            known |= layer.take(number, page)?;
        }
        if known {
            return Ok(());
        }
        let why = format!("page {number} is in none of its increments");
        Err(BackupError::Damaged { file: self.shown.clone(), why })
    }

    /// The end: everything that was read is what the manifests list.
    pub fn finish(self) -> Result<(), BackupError> {
        // A file that became shorter in an increment: what lies below is not read to its end.
        for layer in self.increments {
            let cut = u64::from(layer.pages) * self.page_bytes > self.stated.bytes;
            layer.finish(cut)?;
        }
        if self.stated.bytes < self.whole_bytes {
            self.whole.leave()?;
        } else {
            self.whole.finish()?;
        }
        if self.at == self.stated.bytes && self.crc.finalize() == self.stated.crc32 {
            return Ok(());
        }
        let why = "what it restores to is not what the manifest lists; restore from another backup";
        Err(BackupError::Damaged { file: self.shown, why: why.to_owned() })
    }
}

/// The same file in one increment.
#[derive(Debug)]
struct Layer {
    from: Unpacked,
    pages: u32,
    run: Run,
}

impl Layer {
    fn begin(mut from: Unpacked, part: &(&Link, &FileEntry)) -> Result<Layer, BackupError> {
        let (link, entry) = part;
        let mut bytes = [0; INCREMENT_HEADER_BYTES];
        from.fill(&mut bytes)?;
        let header = IncrementHeader::decode(&bytes);
        let header = header.map_err(|error| from.damaged(&error.to_string()))?;
        let manifest = &link.manifest;
        let name = format!("{}/{}", names::DATA_DIR, names::data_file(header.file));
        let bytes = u64::from(header.pages) * u64::from(header.page_bytes);
        let fits = header.environment.to_string() == manifest.environment
            && header.page_bytes == manifest.page_bytes
            && header.since == manifest.since()
            && (&name, bytes) == (&entry.name, entry.bytes);
        if !fits {
            return Err(from.damaged("its header does not fit the manifest"));
        }
        let mut layer = Layer { from, pages: header.pages, run: Run::END };
        layer.next_run(0)?;
        Ok(layer)
    }

    fn next_run(&mut self, from: u32) -> Result<(), BackupError> {
        let mut bytes = [0; RUN_BYTES];
        self.from.fill(&mut bytes)?;
        let run = Run::decode(&bytes, from, self.pages);
        self.run = run.map_err(|error| self.from.damaged(&error.to_string()))?;
        Ok(())
    }

    /// Takes page `number` if it is here. Numbers are asked for one after the other.
    fn take(&mut self, number: u64, page: &mut [u8]) -> Result<bool, BackupError> {
        if self.run != Run::END && number >= u64::from(self.run.end()) {
            self.next_run(self.run.end())?;
        }
        if self.run == Run::END || number < u64::from(self.run.first.0) {
            return Ok(false);
        }
        if self.run.never_written {
            page.fill(0);
        } else {
            self.from.fill(page)?;
        }
        Ok(true)
    }

    /// The end. `cut`: the file became shorter above it, so not all of it was taken.
    fn finish(mut self, cut: bool) -> Result<(), BackupError> {
        if cut {
            return self.from.leave();
        }
        if self.run != Run::END {
            self.next_run(self.run.end())?;
        }
        if self.run != Run::END {
            return Err(self.from.damaged("it goes on behind its last page"));
        }
        self.from.finish()
    }
}
