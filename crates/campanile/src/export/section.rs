//! One database in an export, read and checked.
//!
//! Owns the checks: the name in the text, ascending keys, and at the end the counts and the
//! fingerprint that the manifest states. Promises that `None` comes only when everything that was
//! given away is what was exported; whoever acts on pairs before that must be able to take it back.
//! Must never go past an error.

use std::io::BufRead;

use campanile_format::planted::{self, Bug};

use super::manifest::ExportedDatabase;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{Content, Fingerprinter};
use crate::pairs::PAIRS_PER_REPORT;
use crate::progress::Progress;
use crate::text::{AccessMethod, Duplicates, Header, Reader, escape};

type Text = Reader<Box<dyn BufRead>>;

/// A database in an export.
pub(crate) struct Section {
    reader: Text,
    expected: ExportedDatabase,
    pairs: Ordered,
    phase: String,
    progress: Progress,
    over: bool,
}

impl Section {
    /// Begins to read the database that the manifest describes so.
    pub fn open(
        mut reader: Text,
        expected: &ExportedDatabase,
        doing: &str,
        progress: &Progress,
    ) -> Result<Section> {
        let place = reader.name().to_owned();
        let header = reader.next_section()?.ok_or_else(|| damaged(&place, "it is empty"))?;
        check_header(&place, &header)?;
        if header.database.as_deref() != Some(expected.name.as_str()) {
            let found = header.database.unwrap_or_default();
            return Err(damaged(&place, format!("it holds {found:?}, not {:?}", expected.name)));
        }
        Ok(Section {
            reader,
            expected: expected.clone(),
            pairs: Ordered::default(),
            phase: format!("{doing} {}", expected.name),
            progress: progress.clone(),
            over: false,
        })
    }

    /// The next pair; `None` once all of them were proven.
    pub fn next(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        if self.over {
            return Ok(None);
        }
        let Some((key, value)) = self.reader.take_pair()? else {
            self.finish()?;
            return Ok(None);
        };
        let place = (self.reader.name(), self.reader.line());
        self.pairs.add(&key, &value).map_err(|what| Error::input(place.0, place.1, what))?;
        if self.pairs.count.is_multiple_of(PAIRS_PER_REPORT) {
            let total = Some(self.expected.content.pairs.max(self.pairs.count));
            self.progress.report(&self.phase, self.pairs.count, total, "pairs")?;
        }
        Ok(Some((key, value)))
    }

    /// Whether all of it was read and proven.
    pub fn is_over(&self) -> bool {
        self.over
    }

    fn finish(&mut self) -> Result<()> {
        let place = self.reader.name().to_owned();
        if self.reader.next_section()?.is_some() {
            return Err(damaged(&place, "another database follows where this one ends"));
        }
        let found = std::mem::take(&mut self.pairs).sums.finish();
        if found != self.expected.content && !planted::is(Bug::ImportFingerprintIgnored) {
            let what =
                format!("it holds {found} and not {}, which was exported", self.expected.content);
            return Err(damaged(&place, what));
        }
        self.over = true;
        Ok(())
    }
}

/// Pairs of one database as they go by: they must ascend.
#[derive(Default)]
pub(super) struct Ordered {
    last: Option<Vec<u8>>,
    sums: Fingerprinter,
    count: u64,
}

impl Ordered {
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        match &mut self.last {
            Some(last) if last.as_slice() >= key => {
                return Err(format!("key {} does not come after the one before", escape(key)));
            }
            Some(last) => {
                last.clear();
                last.extend_from_slice(key);
            }
            None => self.last = Some(key.to_vec()),
        }
        self.sums.add(key, value);
        self.count += 1;
        Ok(())
    }

    pub fn finish(self) -> Content {
        self.sums.finish()
    }
}

/// Refuses what no export has.
pub(super) fn check_header(place: &str, header: &Header) -> Result<()> {
    let plain = header.access_method == AccessMethod::Btree
        && header.duplicates == Duplicates::No
        && header.hints.is_empty();
    if plain { Ok(()) } else { Err(damaged(place, "its header is not one of an export")) }
}

/// An export that is not what was written.
pub(super) fn damaged(place: &str, what: impl std::fmt::Display) -> Error {
    let what = format!("{place}: {what}: the export is damaged, take another copy of it");
    Error::new(ErrorKind::Corrupt, what)
}
