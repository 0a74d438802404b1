//! The files of an export, read and unpacked.
//!
//! Owns the way from a range of a file to text. Promises that damage of a packed file is told
//! from an error of the disk. Must never take more memory than a few buffers and the window that
//! the packed file asks for, 128 MiB at most.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use campanile_vfs::{File, Host, Open};

use crate::error::{Error, ErrorKind, Result};

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 256 << 10;
/// How a packed file begins.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The text in the file at `path`, from `offset` on; `len` bytes of the file, or all that follow.
pub(super) fn open(
    host: &Host,
    path: &Path,
    offset: u64,
    len: Option<u64>,
) -> Result<Box<dyn BufRead>> {
    let failed = |error: io::Error| {
        let what = format!("opening {}: {error}", path.display());
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Error::because(kind, what, error)
    };
    let file = host.vfs.open(path, Open::Read).map_err(failed)?;
    let mut magic = [0; ZSTD_MAGIC.len()];
    let count = file.read_full_at(&mut magic, offset).map_err(failed)?;
    let shown = path.display().to_string();
    let stretch = Stretch { file, at: offset, left: len.unwrap_or(u64::MAX), path: shown.clone() };
    let plain = BufReader::with_capacity(BUFFER_BYTES, stretch);
    if count < magic.len() || magic != ZSTD_MAGIC {
        return Ok(Box::new(plain));
    }
    let decoder = zstd::Decoder::with_buffer(plain).map_err(failed)?;
    let unpacked = Unpacked { decoder, path: shown };
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked)))
}

/// A range of a file.
struct Stretch {
    file: Arc<dyn File>,
    at: u64,
    left: u64,
    path: String,
}

impl Read for Stretch {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..want).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        let read = self.file.read_full_at(buf, self.at);
        let count = read.map_err(|error| {
            io::Error::other(Error::io(format!("reading {}", self.path), error))
        })?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// What a packed range holds.
struct Unpacked {
    decoder: zstd::Decoder<'static, BufReader<Stretch>>,
    path: String,
}

impl Read for Unpacked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buf).map_err(|error| {
            if error.get_ref().is_some_and(|cause| cause.is::<Error>()) {
                return error;
            }
            let what = format!(
                "{}: the packed text is damaged or cut ({error}): take another copy of the export",
                self.path
            );
            io::Error::other(Error::because(ErrorKind::Corrupt, what, error))
        })
    }
}
