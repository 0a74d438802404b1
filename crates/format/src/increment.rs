//! A data file of an incremental backup: the pages that changed since an earlier one.
//!
//! Owns: the header and the runs of pages. Promises: runs that decode are in ascending order, do
//! not overlap and stay inside the file. Must never: hold a page of another size than its header
//! says.

use crate::codec::{Reader, Writer};
use crate::error::{Corrupt, FormatError};
use crate::features::Features;
use crate::header::{self, HeaderKind, PREFIX_BYTES};
use crate::ids::{EnvironmentId, FileId, Lsn, PageNo};
use crate::limits;

/// Bytes of the header.
pub const INCREMENT_HEADER_BYTES: usize = PREFIX_BYTES + 40;
/// Bytes in front of each run.
pub const RUN_BYTES: usize = 8;
/// The version of increments that this build reads and writes.
pub const INCREMENT_VERSION: u16 = 1;

const KIND: HeaderKind = HeaderKind {
    magic: *b"CampIncr",
    what: "the increment",
    version: INCREMENT_VERSION,
    features: 0,
};

/// In the count of a run: its pages were never written, and none of them follows.
const NEVER_WRITTEN: u32 = 1 << 31;

/// What stands in front of the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncrementHeader {
    /// The environment.
    pub environment: EnvironmentId,
    /// The data file.
    pub file: FileId,
    /// Page size.
    pub page_bytes: u32,
    /// Every page whose LSN is at or above this is in.
    pub since: Lsn,
    /// Pages that the file has when the increment is applied.
    pub pages: u32,
}

impl IncrementHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        header::encode(&KIND, Features::default(), INCREMENT_HEADER_BYTES, |writer| {
            writer.bytes(&self.environment.0);
            writer.u32(self.file.0);
            writer.u32(self.page_bytes);
            writer.u64(self.since.0);
            writer.u32(self.pages);
            writer.u32(0);
        })
    }

    /// Reads the header.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (_, mut reader) = header::decode(&KIND, bytes)?;
        Ok(Self::decode_fields(&mut reader)?)
    }

    fn decode_fields(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let environment = EnvironmentId(reader.array("environment id")?);
        let file = FileId(reader.u32("file id")?);
        let page_bytes = reader.u32("page size")?;
        let since = Lsn(reader.u64("since")?);
        let pages = reader.u32("number of pages")?;
        if !limits::is_page_size(page_bytes as usize) {
            return Err(Corrupt::new("page size", PREFIX_BYTES + 20));
        }
        Ok(Self { environment, file, page_bytes, since, pages })
    }
}

/// Pages that stand one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: PageNo,
    /// How many; 0 in the run that ends the increment.
    pub count: u32,
    /// They were never written: none of them follows.
    pub never_written: bool,
}

impl Run {
    /// What stands behind the last run.
    pub const END: Run = Run { first: PageNo(u32::MAX), count: 0, never_written: false };

    /// The first page behind it.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.first.0.saturating_add(self.count)
    }

    /// What stands in front of its pages.
    #[must_use]
    pub fn encode(&self) -> [u8; RUN_BYTES] {
        let mark = if self.never_written { NEVER_WRITTEN } else { 0 };
        let mut out = Vec::with_capacity(RUN_BYTES);
        let mut writer = Writer::new(&mut out);
        writer.u32(self.first.0);
        writer.u32(self.count | mark);
        let mut bytes = [0; RUN_BYTES];
        bytes.copy_from_slice(&out);
        bytes
    }

    /// Reads what stands in front of the pages of a run: one that begins at or behind page `from`
    /// of a file of `pages` pages, or the end.
    pub fn decode(bytes: &[u8; RUN_BYTES], from: u32, pages: u32) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes);
        let first = reader.u32("first page of a run")?;
        let count = reader.u32("pages of a run")?;
        let run = Run {
            first: PageNo(first),
            count: count & !NEVER_WRITTEN,
            never_written: count & NEVER_WRITTEN != 0,
        };
        if run == Run::END {
            return Ok(run);
        }
        let end = first.checked_add(run.count);
        if run.count == 0 || first < from || end.is_none_or(|end| end > pages) {
            return Err(Corrupt::new("run of pages", 0));
        }
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> IncrementHeader {
        IncrementHeader {
            environment: EnvironmentId([7; 16]),
            file: FileId(16),
            page_bytes: 8192,
            since: Lsn::new(3, 512),
            pages: 100,
        }
    }

    #[test]
    fn a_header_reads_back_and_every_flipped_bit_is_found() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), INCREMENT_HEADER_BYTES);
        assert_eq!(IncrementHeader::decode(&bytes), Ok(header()));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(IncrementHeader::decode(&bytes).is_err(), "bit {bit}");
        }
        assert!(IncrementHeader::decode(&bytes[..40]).is_err());
    }

    #[test]
    fn runs_are_ascending_and_stay_inside_their_file() {
        let run = |first, count, never_written| Run { first: PageNo(first), count, never_written };
        for good in [run(5, 1, false), run(5, 95, true), Run::END] {
            assert_eq!(Run::decode(&good.encode(), 5, 100), Ok(good));
        }
        for bad in [run(4, 1, false), run(5, 96, false), run(7, 0, true), run(u32::MAX, 2, true)] {
            assert!(Run::decode(&bad.encode(), 5, 100).is_err(), "{bad:?}");
        }
    }
}
