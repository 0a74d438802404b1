//! A database as text: what `db_dump` does.
//!
//! Owns the walk over a database into a [`Writer`]. Promises that what it writes is one state of
//! the database, the reader's, and that a dump that was cut short has no end mark. Must never
//! hold more than one entry, nor all of a long value.

use std::io::Write;

use serde::Serialize;

use crate::database::Database;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::text::{Format, Header, Writer};
use crate::view::Reads;

/// Values longer than this are not held in memory.
const STREAMED_BYTES: u64 = 1 << 20;
/// How many pairs go by between two reports of progress.
pub(crate) const PAIRS_PER_REPORT: u64 = 1024;

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
        let report = dump_pairs(&database, reader, writer, &options.progress)?;
        writer.end().map_err(writing)?;
        Ok(report)
    }
}

fn dump_pairs<W: Write>(
    database: &Database,
    reader: &impl Reads,
    writer: &mut Writer<W>,
    progress: &Progress,
) -> Result<DumpReport> {
    let mut report = DumpReport::default();
    let mut cursor = database.cursor(reader)?;
    while cursor.next()? {
        let key = cursor.key().unwrap_or_default().to_vec();
        let len = cursor.value_len().unwrap_or(0);
        if len > STREAMED_BYTES {
            let Some(value) = database.value_reader(reader, &key)? else { continue };
            writer.pair_streamed(&key, value).map_err(writing)?;
        } else {
            writer.pair(&key, cursor.value()?.unwrap_or_default()).map_err(writing)?;
        }
        report.pairs += 1;
        report.bytes += key.len() as u64 + len;
        if report.pairs.is_multiple_of(PAIRS_PER_REPORT) {
            progress.report("dump", report.pairs, None, "pairs")?;
        }
    }
    Ok(report)
}

/// An error of the output, or of the value that was being copied there.
fn writing(error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::io("writing the dump", error),
    }
}
