//! The header of a double-write batch: which page copies follow it.
//!
//! Owns: the list in front of a batch of page copies. Promises: a header that decodes names the
//! pages of one batch and the checksum of each, so a copy left over from an older batch is never
//! taken for one of this batch. Must never: hold the copies themselves.

use crate::codec::Reader;
use crate::error::{Corrupt, FormatError};
use crate::features::Features;
use crate::header::{self, HeaderKind, PREFIX_BYTES};
use crate::ids::{EnvironmentId, FileId, PageId, PageNo};

/// Bytes in front of the entries.
pub const BATCH_FIXED_BYTES: usize = PREFIX_BYTES + 40;
/// Bytes of one entry.
pub const BATCH_ENTRY_BYTES: usize = 12;
/// The version of the double-write file that this build reads and writes.
pub const DOUBLE_WRITE_VERSION: u16 = 1;

const KIND: HeaderKind = HeaderKind {
    magic: *b"CampDbwr",
    what: "the double-write file",
    version: DOUBLE_WRITE_VERSION,
    features: 0,
};

/// One page copy of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchEntry {
    /// The page.
    pub page: PageId,
    /// The checksum in its header: ties the copy to this batch.
    pub crc: u32,
}

/// What stands in front of the copies: entry `i` describes the `i`-th copy behind the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHeader {
    /// Feature bits.
    pub features: Features,
    /// The environment.
    pub environment: EnvironmentId,
    /// Counts the batches; of two copies of a page the one in the larger batch is newer.
    pub batch: u64,
    /// Page size.
    pub page_bytes: u32,
    /// The pages, in the order of the copies.
    pub entries: Vec<BatchEntry>,
}

impl BatchHeader {
    /// Bytes of the header of a batch of `pages` copies: whole pages, so that copies are aligned.
    #[must_use]
    pub const fn encoded_bytes(pages: usize, page_bytes: u32) -> usize {
        (BATCH_FIXED_BYTES + pages * BATCH_ENTRY_BYTES).next_multiple_of(page_bytes as usize)
    }

    /// The header's bytes, padded to whole pages.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let total = Self::encoded_bytes(self.entries.len(), self.page_bytes);
        header::encode(&KIND, self.features, total, |writer| {
            writer.bytes(&self.environment.0);
            writer.u64(self.batch);
            writer.u32(self.page_bytes);
            writer.u32(self.entries.len() as u32);
            writer.u32(total as u32);
            writer.u32(0);
            for entry in &self.entries {
                writer.u32(entry.page.file.0);
                writer.u32(entry.page.page.0);
                writer.u32(entry.crc);
            }
        })
    }

    /// Reads the header at the start of `bytes`, which may go on behind it. Bytes given must hold
    /// the whole header; the copies begin at [`BatchHeader::encoded_bytes`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let total = Self::peek_total(bytes)?;
        let Some(whole) = bytes.get(..total) else {
            return Err(Corrupt::new("batch header (cut off)", bytes.len()).into());
        };
        let (features, mut reader) = header::decode(&KIND, whole)?;
        Ok(Self::decode_fields(features, &mut reader)?)
    }

    /// The length field, not yet checked.
    fn peek_total(bytes: &[u8]) -> Result<usize, Corrupt> {
        let mut reader = Reader::new(bytes);
        reader.bytes(PREFIX_BYTES + 32, "batch header (cut off)")?;
        Ok(reader.u32("batch header length")? as usize)
    }

    fn decode_fields(features: Features, reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let environment = EnvironmentId(reader.array("environment id")?);
        let batch = reader.u64("batch number")?;
        let page_bytes = reader.u32("page size")?;
        let count_at = PREFIX_BYTES + reader.position();
        let count = reader.u32("number of pages")? as usize;
        reader.u32("batch header length")?;
        reader.u32("reserved field")?;
        if count > reader.remaining() / BATCH_ENTRY_BYTES {
            return Err(Corrupt::new("number of pages", count_at));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let file = FileId(reader.u32("file id")?);
            let page = PageNo(reader.u32("page number")?);
            let crc = reader.u32("page checksum")?;
            entries.push(BatchEntry { page: PageId { file, page }, crc });
        }
        Ok(Self { features, environment, batch, page_bytes, entries })
    }
}
