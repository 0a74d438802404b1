//! The portable text form of databases: what `db_dump` writes and `db_load` reads.
//!
//! Owns the grammar of Berkeley DB's version-3 dump format, and nothing about environments: a
//! [`Reader`] turns lines into headers and pairs, a [`Writer`] does the reverse, both streaming.
//! Promises that a text is either understood completely or refused with its name and line: a
//! missing `DATA=END`, half a pair, an odd or upper-case hex digit, a key given twice in a header,
//! a carriage return are errors, never guesses. Must never hold more than one pair in memory.

mod header;
mod item;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use header::{AccessMethod, Duplicates, Header, Override};
pub use item::escape;
pub use reader::Reader;
pub use writer::Writer;

use serde::Serialize;

/// How keys and values are spelled in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Two lower-case hexadecimal digits a byte.
    #[default]
    Bytevalue,
    /// Printable ASCII as it is, a doubled backslash, `\xx` for every other byte.
    Print,
}

impl Format {
    pub(crate) fn keyword(self) -> &'static str {
        match self {
            Format::Bytevalue => "bytevalue",
            Format::Print => "print",
        }
    }
}

/// What a whole text holds, as counted by [`check`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Database sections.
    pub sections: u64,
    /// Key/value pairs in all sections.
    pub pairs: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Reads a whole text and throws it away: is it well formed, and what does it hold?
///
/// ```
/// let text = b"VERSION=3\nformat=print\ntype=btree\nHEADER=END\n alice\n 100\nDATA=END\n";
/// let summary = campanile::text::check(text)?;
/// assert_eq!((summary.sections, summary.pairs, summary.bytes), (1, 1, 8));
/// # Ok::<(), campanile::Error>(())
/// ```
pub fn check(text: &[u8]) -> crate::Result<Summary> {
    let mut reader = Reader::new(text, "text");
    let mut summary = Summary::default();
    while reader.next_section()?.is_some() {
        summary.sections += 1;
        while let Some((key, value)) = reader.next_pair()? {
            summary.pairs += 1;
            summary.bytes += (key.len() + value.len()) as u64;
        }
    }
    Ok(summary)
}
