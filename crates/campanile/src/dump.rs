//! A database as text: what `db_dump` does.
//!
//! Owns the way of a database into a [`Writer`]. Promises that what it writes is one state of
//! the database, the reader's, and that a dump that was cut short has no end mark. Must never
//! hold more than one entry, nor all of a long value.

use std::io::{Read, Write};

use serde::Serialize;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::pairs::{self, Sink};
use crate::progress::Progress;
use crate::text::{Format, Header, Writer};
use crate::view::Reads;

/// How a database is dumped.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct DumpOptions {
    format: Format,
    named: bool,
    progress: Progress,
}

impl DumpOptions {
    /// Hexadecimal, without the name of the database.
    pub fn new() -> DumpOptions {
        DumpOptions::default()
    }

    /// How keys and values are spelled.
    pub fn format(mut self, format: Format) -> DumpOptions {
        self.format = format;
        self
    }

    /// Whether the header names the database, as it must when several go into one text.
    pub fn named(mut self, named: bool) -> DumpOptions {
        self.named = named;
        self
    }

    /// Who is told how far the dump is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> DumpOptions {
        self.progress = progress;
        self
    }
}

/// What was dumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DumpReport {
    /// Key/value pairs.
    pub pairs: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl Environment {
    /// Writes the database called `name`, as `reader` sees it, as one section of portable text.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let env = campanile::Environment::open(dir.path())?;
    /// use campanile::DumpOptions;
    /// use campanile::text::{Format, Writer};
    ///
    /// let accounts = env.create_database("accounts")?;
    /// env.run(|txn| accounts.put(txn, "alice", "100"))?;
    ///
    /// let mut writer = Writer::new(Vec::new());
    /// let options = DumpOptions::new().format(Format::Print);
    /// let report = env.dump(&env.snapshot()?, "accounts", &mut writer, &options)?;
    /// assert_eq!(report.pairs, 1);
    /// let text = String::from_utf8(writer.finish()?)?;
    /// assert!(text.ends_with("HEADER=END\n alice\n 100\nDATA=END\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dump<W: Write>(
        &self,
        reader: &impl Reads,
        name: &str,
        writer: &mut Writer<W>,
        options: &DumpOptions,
    ) -> Result<DumpReport> {
        let database = self.open_database_at(reader, name)?;
        let mut header = Header::new(options.format);
        header.database = options.named.then(|| name.to_owned());
        header.page_bytes = Some(self.page_bytes());
        writer.begin(&header).map_err(writing)?;
        let walked = pairs::walk(&database, reader, &mut Text(writer), "dump", &options.progress)?;
        writer.end().map_err(writing)?;
        Ok(DumpReport { pairs: walked.pairs, bytes: walked.bytes })
    }
}

/// Where the pairs of a dump go.
struct Text<'w, W>(&'w mut Writer<W>);

impl<W: Write> Sink for Text<'_, W> {
    fn pair(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.pair(key, value).map_err(writing)
    }

    fn long_pair(&mut self, key: &[u8], _len: u64, value: &mut dyn Read) -> Result<()> {
        self.0.pair_streamed(key, value).map_err(writing)
    }
}

fn writing(error: std::io::Error) -> Error {
    pairs::explain("writing the dump", error)
}
