//! Reading log files: a piece of one file in memory, and the record in it.
//!
//! Owns the only reads of record bytes from disk. Promises that memory is bounded by what the file
//! really holds, whatever a damaged length says, and that an I/O error stays one. Must never open a
//! file for writing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use campanile_format::frame::{self, FRAME_BYTES, Frame, FrameError, LogIdentity};
use campanile_format::{Lsn, names};
use campanile_vfs::{File, Open, Vfs};

use crate::error::WalError;
use crate::tail::Found;

/// Files are read in pieces of this.
const CHUNK_BYTES: u64 = 256 << 10;

/// One log file, read through a window that follows the reader.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn File>,
    number: u32,
    identity: LogIdentity,
    /// Nothing at or behind this offset belongs to the file.
    limit: u64,
    chunk: u64,
    start: u64,
    bytes: Vec<u8>,
}

/// What stands at a position, with the record if it is one.
pub(crate) enum Spot<'w> {
    Record(Frame<'w>),
    /// Nothing, or damage; and in words.
    Bad(Found, String),
}

impl Window {
    /// A window on log file `number`, whose header states `file_bytes`.
    pub(crate) fn open(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        number: u32,
        file_bytes: u32,
        identity: LogIdentity,
    ) -> Result<Window, WalError> {
        let name = names::log_file(number);
        let file = vfs.open(&dir.join(&name), Open::Read);
        let file = file.map_err(|error| WalError::io("open", name, error))?;
        Ok(Window::on(file, number, file_bytes, identity))
    }

    /// A window on an open file.
    pub(crate) fn on(
        file: Arc<dyn File>,
        number: u32,
        file_bytes: u32,
        identity: LogIdentity,
    ) -> Window {
        let limit = u64::from(file_bytes);
        Window { file, number, identity, limit, chunk: CHUNK_BYTES, start: 0, bytes: Vec::new() }
    }

    /// The same, reading in pieces of `chunk` bytes.
    pub(crate) fn pieces(mut self, chunk: u64) -> Window {
        self.chunk = chunk;
        self
    }

    pub(crate) fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The length of the file, as far as it belongs to the log.
    pub(crate) fn len(&self) -> Result<u64, WalError> {
        let len = self.file.len();
        let len = len.map_err(|error| WalError::io("measure", self.name(), error))?;
        Ok(len.min(self.limit))
    }

    fn name(&self) -> String {
        names::log_file(self.number)
    }

    /// Up to `len` bytes at `offset`: fewer only if the file ends.
    pub(crate) fn at(&mut self, offset: u64, len: usize) -> Result<&[u8], WalError> {
        let end = offset.saturating_add(len as u64).min(self.limit);
        let loaded = self.start + self.bytes.len() as u64;
        if offset < self.start || end > loaded {
            self.load(offset, end)?;
        }
        let from = (offset - self.start) as usize;
        let to = (end.saturating_sub(self.start) as usize).min(self.bytes.len());
        Ok(self.bytes.get(from..to.max(from)).unwrap_or_default())
    }

    /// Moves the window so that it covers `offset..end`, aligned so that reading on either way
    /// finds more of it loaded.
    fn load(&mut self, offset: u64, end: u64) -> Result<(), WalError> {
        let start = offset - offset % self.chunk;
        let until = end.max(start + self.chunk).min(self.limit).max(start);
        self.start = start;
        self.bytes.clear();
        self.bytes.resize((until - start) as usize, 0);
        let count = self.read(start).inspect_err(|_| self.bytes.clear())?;
        self.bytes.truncate(count);
        Ok(())
    }

    /// Reads the window's bytes: all of them, unless the file really ends before.
    fn read(&mut self, start: u64) -> Result<usize, WalError> {
        let read = self.file.read_full_at(&mut self.bytes, start);
        let count = read.map_err(|error| WalError::io("read", self.name(), error))?;
        // A read that stops early is not yet the end of the file.
        if count < self.bytes.len() && start + (count as u64) < self.len()? {
            let error = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(WalError::io("read", self.name(), error));
        }
        Ok(count)
    }

    /// The kind byte of what stands at `offset`, unchecked.
    pub(crate) fn kind_at(&mut self, offset: u64) -> Result<Option<u8>, WalError> {
        let head = self.at(offset, FRAME_BYTES)?;
        Ok(head.get(frame::KIND_AT).copied())
    }

    /// What stands at `offset`, given that no record reaches beyond `until`.
    pub(crate) fn spot(&mut self, offset: u64, until: u64) -> Result<Spot<'_>, WalError> {
        let at = Lsn::new(self.number, u32::try_from(offset).unwrap_or(u32::MAX));
        let bad = |found, why: &str| Ok(Spot::Bad(found, why.to_owned()));
        let head = self.at(offset, FRAME_BYTES)?;
        if head.iter().all(|byte| *byte == 0) {
            return bad(Found::Nothing, "no record, only zeros");
        }
        let total = match frame::peek_total_bytes(head) {
            Ok(total) => total,
            Err(FrameError::Short { .. }) => {
                return bad(Found::Damage, "the file ends in a record");
            }
            Err(error) => return Ok(Spot::Bad(Found::Damage, error.to_string())),
        };
        let end = offset.saturating_add(total as u64);
        if end > until.min(self.limit) {
            return bad(Found::Damage, "the record reaches beyond the end of the file");
        }
        // The length is not checked yet: what it asks for must be there before memory is taken.
        let loaded = self.start + self.bytes.len() as u64;
        if end > loaded && end > self.len()? {
            return bad(Found::Damage, "the file ends in a record");
        }
        let identity = self.identity;
        match frame::parse(self.at(offset, total)?, at, &identity) {
            Ok(frame) => Ok(Spot::Record(frame)),
            Err(FrameError::Short { .. }) => bad(Found::Damage, "the file ends in a record"),
            Err(error) => Ok(Spot::Bad(Found::Damage, error.to_string())),
        }
    }
}
