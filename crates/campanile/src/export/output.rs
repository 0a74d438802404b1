//! The files of an export in the making.
//!
//! Owns temporary names, packing and the order of syncs. Promises that a file has its name only
//! when it is whole and durable, and that what an export that fails has written is removed as far
//! as the disk allows. Must never write over a file that has its final name.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_format::names::UNFINISHED_SUFFIX;
use campanile_vfs::{File, Host, Open};

use super::manifest::Compression;
use crate::error::{Error, Result};

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// A file in the making.
pub(super) struct Output {
    host: Host,
    path: PathBuf,
    unfinished: PathBuf,
    packing: Packing,
    compression: Compression,
    level: i32,
}

/// How the bytes that come next are packed.
enum Packing {
    Plain(Tail),
    Zstd(Box<zstd::Encoder<'static, Tail>>),
    /// Only while one takes the place of the other, or after an error.
    Broken,
}

impl Output {
    /// Begins the file at `path`.
    pub fn create(
        host: &Host,
        path: &Path,
        compression: Compression,
        level: i32,
    ) -> Result<Output> {
        let mut unfinished = path.to_owned().into_os_string();
        unfinished.push(UNFINISHED_SUFFIX);
        let unfinished = PathBuf::from(unfinished);
        let failed = |error| Error::io(format!("creating {}", unfinished.display()), error);
        let file = host.vfs.open(&unfinished, Open::OpenOrCreate).map_err(failed)?;
        file.set_len(0).map_err(failed)?;
        let tail = Tail { file, at: 0, buffer: Vec::new() };
        Ok(Output {
            host: host.clone(),
            path: path.to_owned(),
            unfinished,
            packing: Packing::Plain(tail),
            compression,
            level,
        })
    }

    /// Begins a part that can be unpacked without what stands before it; returns where it begins.
    pub fn begin_part(&mut self) -> Result<u64> {
        let at = self.end_part()?;
        if self.compression == Compression::Zstd {
            let Packing::Plain(tail) = std::mem::replace(&mut self.packing, Packing::Broken) else {
                return Err(self.failed("packing")(broken()));
            };
            let encoder = zstd::Encoder::new(tail, self.level).and_then(|mut encoder| {
                encoder.include_checksum(true)?;
                Ok(encoder)
            });
            let encoder = encoder.map_err(self.failed("packing"))?;
            self.packing = Packing::Zstd(Box::new(encoder));
        }
        Ok(at)
    }

    /// Ends the part that was begun; returns where it ends.
    pub fn end_part(&mut self) -> Result<u64> {
        let tail = match std::mem::replace(&mut self.packing, Packing::Broken) {
            Packing::Plain(tail) => Ok(tail),
            Packing::Zstd(encoder) => encoder.finish(),
            Packing::Broken => Err(broken()),
        };
        let tail = tail.map_err(self.failed("writing"))?;
        let at = tail.at + tail.buffer.len() as u64;
        self.packing = Packing::Plain(tail);
        Ok(at)
    }

    /// Gives the file its name, durably.
    pub fn finish(&mut self) -> Result<()> {
        self.end_part()?;
        let done = match &mut self.packing {
            Packing::Plain(tail) => tail.flush().and_then(|()| tail.file.sync_data()),
            _ => Err(broken()),
        };
        done.map_err(self.failed("writing"))?;
        let vfs = &self.host.vfs;
        vfs.rename(&self.unfinished, &self.path).map_err(self.failed("renaming"))?;
        vfs.sync_dir(self.path.parent().unwrap_or(&self.path))
            .map_err(self.failed("syncing the directory of"))
    }

    /// Removes what was written.
    pub fn discard(self) {
        if let Err(error) = self.host.vfs.remove(&self.unfinished) {
            tracing::debug!(%error, "an unfinished file of an export was not removed");
        }
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = self.path.display().to_string();
        move |error| crate::pairs::explain(&format!("{doing} {path}"), error)
    }
}

fn broken() -> io::Error {
    io::Error::other("writing failed before")
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.packing {
            Packing::Plain(tail) => tail.write(bytes),
            Packing::Zstd(encoder) => encoder.write(bytes),
            Packing::Broken => Err(broken()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to the end of a file.
struct Tail {
    file: Arc<dyn File>,
    at: u64,
    buffer: Vec<u8>,
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
