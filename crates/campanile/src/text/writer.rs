//! Writes a dump: headers and pairs, byte for byte as Berkeley DB does.
//!
//! Owns the order of lines. Promises that what it writes, [`super::Reader`] reads back unchanged.
//! Must never end a section by itself: a dump that was cut short has no `DATA=END`, and the reader
//! refuses it.

use std::io::{self, Read, Write};

use super::Format;
use super::header::{self, Header};
use super::item::encode;

/// How many bytes of a streamed value are encoded at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Writes databases as text, as `db_dump` does.
///
/// ```
/// use campanile::text::{Format, Header, Writer};
///
/// let mut writer = Writer::new(Vec::new());
/// writer.begin(&Header::new(Format::Print))?;
/// writer.pair(b"alice", b"100\n")?;
/// writer.end()?;
/// let text = String::from_utf8(writer.finish()?).unwrap();
/// assert_eq!(text, "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n alice\n 100\\0a\nDATA=END\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    format: Format,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// A writer into `out`, which should be buffered only if it is slow for small writes.
    pub fn new(out: W) -> Writer<W> {
        Writer { out, format: Format::Bytevalue, buffer: Vec::new() }
    }

    /// Begins a section.
    pub fn begin(&mut self, header: &Header) -> io::Result<()> {
        self.format = header.format;
        header::write(header, &mut self.buffer);
        self.spill()
    }

    /// Writes one pair of the section.
    pub fn pair(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.line(key)?;
        self.line(value)
    }

    /// Writes one pair whose value is too long to hold in memory.
    pub fn pair_streamed(&mut self, key: &[u8], mut value: impl Read) -> io::Result<()> {
        self.line(key)?;
        self.buffer.push(b' ');
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match value.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    encode(self.format, chunk.get(..count).unwrap_or_default(), &mut self.buffer)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.spill()?;
        }
        self.buffer.push(b'\n');
        Ok(())
    }

    /// Ends the section.
    pub fn end(&mut self) -> io::Result<()> {
        self.buffer.extend_from_slice(b"DATA=END\n");
        self.spill()
    }

    /// Flushes and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&self.buffer)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self, item: &[u8]) -> io::Result<()> {
        self.buffer.push(b' ');
        encode(self.format, item, &mut self.buffer);
        self.buffer.push(b'\n');
        self.spill()
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.len() >= CHUNK_BYTES {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}
