//! One open file: the [`File`] trait.
//!
//! Owns the contract of positional I/O and the loops over short results. Promises that the
//! provided loops end: a call that makes no progress, or is interrupted without end, is an error,
//! never a spin. Must never remember a position, buffer bytes, or retry anything but an
//! interrupted call.

use std::fmt;
use std::io;

/// Interruptions in a row after which a loop gives up: no signal comes so often, a fault may.
const INTERRUPTIONS_MAX: u32 = 100;

/// An open file, addressed by offset. Handles are shared between threads.
///
/// What the calls promise, and what they do not, is the numbered list in the crate's README.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads at `offset` and returns how many bytes were read.
    ///
    /// Fewer than asked for is legal anywhere; zero means that `offset` is at or past the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`, growing the file if needed, and returns how many bytes were taken.
    ///
    /// Fewer than given is legal. The bytes are visible to every later read of the file, and are
    /// durable only after a sync.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the bytes and the length durable; not the directory entry that names the file.
    fn sync_data(&self) -> io::Result<()>;

    /// Like [`sync_data`](File::sync_data), and the other attributes of the file too.
    fn sync_all(&self) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file, or grows it with zeros. Durable after a sync.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space for `offset..offset + len`, growing the file with zeros to cover it; what
    /// is in the file already stays. A hint about space: later writes may still fail.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Asks for the range to start on its way to the medium now. A hint: nothing is durable by it.
    fn start_write_out(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// True if the file holds no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads until `buf` is full or the file ends; returns how many bytes were read.
    fn read_full_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut done, mut interrupted) = (0, 0);
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, advance(offset, done)?) {
                Ok(0) => break,
                Ok(count) => (done, interrupted) = (done + count, 0),
                Err(error) if may_retry(&error, &mut interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Fills `buf`, or fails with [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let count = self.read_full_at(buf, offset)?;
        if count < buf.len() {
            let wanted = buf.len();
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file ends after {count} of {wanted} bytes at offset {offset}"),
            ));
        }
        Ok(())
    }

    /// Writes all of `buf`.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let (mut done, mut interrupted) = (0, 0);
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            match self.write_at(rest, advance(offset, done)?) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::WriteZero,
                        format!("no byte was taken at offset {offset} + {done}"),
                    ));
                }
                Ok(count) => (done, interrupted) = (done + count, 0),
                Err(error) if may_retry(&error, &mut interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn may_retry(error: &io::Error, interrupted: &mut u32) -> bool {
    *interrupted += 1;
    error.kind() == io::ErrorKind::Interrupted && *interrupted <= INTERRUPTIONS_MAX
}

/// `offset + done`, refusing to wrap.
fn advance(offset: u64, done: usize) -> io::Result<u64> {
    offset.checked_add(done as u64).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the range passes the largest file offset")
    })
}
