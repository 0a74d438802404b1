//! The header block of a log file.
//!
//! Owns: the 512 bytes in front of the first record. Promises: the header fits one sector, says
//! whose log this is and where the log stood when the file was begun. Must never: change after
//! the file's first record is written.

use crate::codec::Reader;
use crate::error::{Corrupt, FormatError};
use crate::features::Features;
use crate::frame::FRAME_ALIGN;
use crate::header::{self, HeaderKind};
use crate::ids::{EnvironmentId, Lsn, Timeline};

/// Bytes of the header block: one sector, so that it is written whole or not at all.
pub const LOG_HEADER_BYTES: usize = 512;
/// Offset of the first record in every log file.
pub const FIRST_RECORD_OFFSET: u32 = LOG_HEADER_BYTES as u32;
/// The version of log files and their records that this build reads and writes.
pub const LOG_VERSION: u16 = 1;

const KIND: HeaderKind =
    HeaderKind { magic: *b"CampLogs", what: "the log file", version: LOG_VERSION };

const _: () = assert!(LOG_HEADER_BYTES.is_multiple_of(FRAME_ALIGN));

/// What stands at the start of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFileHeader {
    /// Feature bits.
    pub features: Features,
    /// The environment that wrote the file.
    pub environment: EnvironmentId,
    /// The history that the file belongs to.
    pub timeline: Timeline,
    /// The file's number, from 1; the same as in its name.
    pub file: u32,
    /// The file's length, this block included.
    pub file_bytes: u32,
    /// Where the log ended in the file before: nothing at or behind it counts.
    /// [`Lsn::NONE`] in the first file of an environment.
    pub predecessor_end: Lsn,
    /// The history of the file before. Differs from `timeline` where a new history branches off.
    pub predecessor_timeline: Timeline,
    /// Wall-clock time of making, microseconds since 1970.
    pub created_us: u64,
}

impl LogFileHeader {
    /// The header block.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        header::encode(&KIND, self.features, LOG_HEADER_BYTES, |writer| {
            writer.bytes(&self.environment.0);
            writer.u32(self.timeline.0);
            writer.u32(self.file);
            writer.u32(self.file_bytes);
            writer.u32(self.predecessor_timeline.0);
            writer.u64(self.predecessor_end.0);
            writer.u64(self.created_us);
        })
    }

    /// Reads a header block: the first [`LOG_HEADER_BYTES`] of a file.
    pub fn decode(block: &[u8]) -> Result<Self, FormatError> {
        let Some(block) = block.get(..LOG_HEADER_BYTES) else {
            return Err(Corrupt::new("log file header (too short)", block.len()).into());
        };
        let (features, mut reader) = header::decode(&KIND, block)?;
        let header = Self::decode_fields(features, &mut reader)?;
        let follows = header.predecessor_end;
        let in_order = follows.is_none() || follows.file() < header.file;
        if header.file == 0 || !in_order {
            return Err(Corrupt::new("log file number", 44).into());
        }
        Ok(header)
    }

    fn decode_fields(features: Features, reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(Self {
            features,
            environment: EnvironmentId(reader.array("environment id")?),
            timeline: Timeline(reader.u32("timeline")?),
            file: reader.u32("log file number")?,
            file_bytes: reader.u32("log file length")?,
            predecessor_timeline: Timeline(reader.u32("predecessor timeline")?),
            predecessor_end: Lsn(reader.u64("predecessor end")?),
            created_us: reader.u64("creation time")?,
        })
    }
}
