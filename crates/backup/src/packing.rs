//! A file on its way to the shelf: as it is, or as one zstd stream.
//!
//! Owns the counting of what is really stored. Promises that length and checksum are of the bytes
//! as they lie on the shelf. Must never hold more of a file than one piece and the window of the
//! compressor.

use std::io::{self, Write};

use crate::error::BackupError;
use crate::manifest::{Compression, Stored};
use crate::shelf::{Put, Shelf};

/// Counts what goes to the shelf.
struct Counted<'s> {
    put: Box<dyn Put + 's>,
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The error goes through the compressor as what it is; `unwrapped` takes it out again.
        self.put.write(bytes).map_err(io::Error::other)?;
        self.crc.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Way<'s> {
    Plain(Counted<'s>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Counted<'s>>>),
}

/// A file in the making. Dropped unfinished, it never was.
pub(crate) struct Packer<'s> {
    way: Way<'s>,
    shown: String,
}

impl<'s> Packer<'s> {
    pub fn begin(
        shelf: &'s dyn Shelf,
        name: &str,
        compression: Compression,
        level: i32,
    ) -> Result<Packer<'s>, BackupError> {
        let shown = shelf.shown(name);
        let counted = Counted { put: shelf.put(name)?, bytes: 0, crc: crc32fast::Hasher::new() };
        let way = match compression {
            Compression::None => Way::Plain(counted),
            Compression::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(counted, level);
                let encoder =
                    encoder.map_err(|error| BackupError::io("compress", shown.clone(), error))?;
                Way::Zstd(Box::new(encoder))
            }
        };
        Ok(Packer { way, shown })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let written = match &mut self.way {
            Way::Plain(counted) => counted.write_all(bytes),
            Way::Zstd(encoder) => encoder.write_all(bytes),
        };
        written.map_err(|error| unwrapped(error, &self.shown))
    }

    /// Gives the file its name, durably.
    pub fn finish(self) -> Result<Stored, BackupError> {
        let counted = match self.way {
            Way::Plain(counted) => counted,
            Way::Zstd(encoder) => {
                encoder.finish().map_err(|error| unwrapped(error, &self.shown))?
            }
        };
        counted.put.finish()?;
        Ok(Stored { bytes: counted.bytes, crc32: counted.crc.finalize() })
    }
}

/// An error of the shelf that went through the compressor, or one of the compressor.
fn unwrapped(error: io::Error, shown: &str) -> BackupError {
    match error.downcast::<BackupError>() {
        Ok(error) => error,
        Err(error) => BackupError::io("compress", shown, error),
    }
}
