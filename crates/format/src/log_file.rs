//! The header block of a log file.
//!
//! Owns: the 512 bytes at the start of the file, and where the first record stands: behind the
//! physical block that the header has for itself. Promises: the header fits one sector, says
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
/// Smallest physical block that a log file can be laid out for. No record starts before this.
pub const LOG_BLOCK_BYTES_MIN: u32 = LOG_HEADER_BYTES as u32;
/// Largest physical block that a log file can be laid out for: the distance of the control slots.
pub const LOG_BLOCK_BYTES_MAX: u32 = 4096;
/// The version of log files and their records that this build reads and writes.
pub const LOG_VERSION: u16 = 1;

const KIND: HeaderKind =
    HeaderKind { magic: *b"CampLogs", what: "the log file", version: LOG_VERSION, features: 0 };

const _: () = assert!(LOG_HEADER_BYTES.is_multiple_of(FRAME_ALIGN));

/// Whether log files may be laid out for physical blocks of this size: a power of two within the
/// bounds.
#[must_use]
pub const fn is_log_block_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && bytes >= LOG_BLOCK_BYTES_MIN && bytes <= LOG_BLOCK_BYTES_MAX
}

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
    /// The physical block that the file is laid out for: the header has one for itself.
    pub block_bytes: u32,
}

impl LogFileHeader {
    /// Where the file's first record stands, or will.
    #[must_use]
    pub const fn first_record(&self) -> Lsn {
        Lsn::new(self.file, self.block_bytes)
    }

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
            writer.u32(self.block_bytes);
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
        if !is_log_block_size(header.block_bytes) {
            return Err(Corrupt::new("log block size", 72).into());
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
            block_bytes: reader.u32("log block size")?,
        })
    }
}
