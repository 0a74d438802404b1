//! A file on its way from the shelf: what was packed comes out as it went in.
//!
//! Owns the reading of stored files. Promises that reading to the end proves length and checksum
//! of what is stored, and that no bytes on the shelf make it take more memory than one piece and
//! one window. Must never give out bytes behind the stated length.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use campanile_vfs::File;

use crate::error::BackupError;
use crate::manifest::{Compression, Stored};
use crate::shelf::Shelf;

/// Stored files are read in pieces of this.
const PIECE_BYTES: usize = 1 << 18;
/// A window of 8 MiB: what the highest level that we write needs. A stream that asks for more is
/// not ours.
const WINDOW_LOG_MAX: u32 = 23;

/// Reads a stored file from beginning to end.
struct Shelved {
    file: Arc<dyn File>,
    at: u64,
    stated: Stored,
    crc: crc32fast::Hasher,
}

impl Read for Shelved {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.stated.bytes - self.at).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        let Some(part) = buf.get_mut(..count).filter(|part| !part.is_empty()) else { return Ok(0) };
        self.file.read_exact_at(part, self.at)?;
        self.crc.update(part);
        self.at += count as u64;
        Ok(count)
    }
}

enum Way {
    Plain(BufReader<Shelved>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Shelved>>>),
}

/// The bytes that went into a stored file, in order.
pub(crate) struct Unpacked {
    way: Way,
    shown: String,
}

impl fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unpacked({})", self.shown)
    }
}

impl Unpacked {
    pub fn open(
        shelf: &dyn Shelf,
        name: &str,
        stated: Stored,
        compression: Compression,
    ) -> Result<Unpacked, BackupError> {
        let shown = shelf.shown(name);
        let file = shelf.open(name)?;
        let len = file.len().map_err(|error| BackupError::io("measure", shown.clone(), error))?;
        if len != stated.bytes {
            let why = format!("it is {len} bytes long, its manifest says {}", stated.bytes);
            return Err(BackupError::Damaged { file: shown, why });
        }
        let shelved = Shelved { file, at: 0, stated, crc: crc32fast::Hasher::new() };
        let reader = BufReader::with_capacity(PIECE_BYTES, shelved);
        let way = match compression {
            Compression::None => Way::Plain(reader),
            Compression::Zstd => {
                let made = zstd::stream::read::Decoder::with_buffer(reader).and_then(|mut made| {
                    made.window_log_max(WINDOW_LOG_MAX)?;
                    Ok(made)
                });
                let made = made.map_err(|error| BackupError::io("unpack", shown.clone(), error))?;
                Way::Zstd(Box::new(made.single_frame()))
            }
        };
        Ok(Unpacked { way, shown })
    }

    /// Fills `buf`; it is damage if the file ends before.
    pub fn fill(&mut self, buf: &mut [u8]) -> Result<(), BackupError> {
        let read = match &mut self.way {
            Way::Plain(reader) => reader.read_exact(buf),
            Way::Zstd(decoder) => decoder.read_exact(buf),
        };
        read.map_err(|error| self.failed(&error))
    }

    /// Reads to the end: nothing more comes out, and what is stored is what its manifest says.
    pub fn finish(mut self) -> Result<(), BackupError> {
        let mut more = [0; 1];
        let read = match &mut self.way {
            Way::Plain(reader) => reader.read(&mut more),
            Way::Zstd(decoder) => decoder.read(&mut more),
        };
        if read.map_err(|error| self.failed(&error))? != 0 {
            return Err(self.damaged("more comes out of it than its manifest says"));
        }
        self.leave()
    }

    /// Reads no more of what comes out, but proves what is stored.
    pub fn leave(self) -> Result<(), BackupError> {
        let mut reader = match self.way {
            Way::Plain(reader) => reader,
            Way::Zstd(decoder) => decoder.finish(),
        };
        let rest = io::copy(&mut reader, &mut io::sink());
        let shown = self.shown;
        rest.map_err(|error| BackupError::io("read", shown.clone(), error))?;
        let shelved = reader.into_inner();
        if shelved.crc.finalize() != shelved.stated.crc32 {
            let why = "its checksum is not the one in the manifest".to_owned();
            return Err(BackupError::Damaged { file: shown, why });
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> BackupError {
        match error.kind() {
            // What the decompressor says of bytes that are no stream of its own.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::Other => {
                self.damaged(&format!("it cannot be unpacked ({error})"))
            }
            kind => {
                BackupError::io("read", self.shown.clone(), io::Error::new(kind, error.to_string()))
            }
        }
    }

    pub fn damaged(&self, why: &str) -> BackupError {
        BackupError::Damaged { file: self.shown.clone(), why: why.to_owned() }
    }
}
