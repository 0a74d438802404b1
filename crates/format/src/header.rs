//! What every file header of ours begins with, and its checksum.
//!
//! Owns: the 24 bytes that stand first in log files, control slots and double-write batches:
//! magic, CRC-32, version, length, feature bits. Promises: these bytes keep their place in every
//! later version, so an old build can tell "damaged" from "newer than me". Must never: hold what
//! is particular to one structure.

use crate::codec::{Reader, Writer};
use crate::error::{Corrupt, FormatError};
use crate::features::Features;

/// Bytes of the common beginning.
pub const PREFIX_BYTES: usize = 24;
/// Where the checksum covers from: everything after itself.
const CHECKED_FROM: usize = 12;

/// Which structure a header belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeaderKind {
    /// The first eight bytes.
    pub magic: [u8; 8],
    /// The structure's name in errors.
    pub what: &'static str,
    /// The version that this build writes and reads.
    pub version: u16,
    /// Required feature bits that this build knows in this structure.
    pub features: u32,
}

/// Builds a header of exactly `total_bytes`: prefix, then what `body` writes, then zeros.
pub(crate) fn encode(
    kind: &HeaderKind,
    features: Features,
    total_bytes: usize,
    body: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut out = Vec::with_capacity(total_bytes);
    let mut writer = Writer::new(&mut out);
    writer.bytes(&kind.magic);
    writer.u32(0);
    writer.u16(kind.version);
    writer.u16(0);
    writer.u32(features.required);
    writer.u32(features.ignorable);
    body(&mut writer);
    assert!(out.len() <= total_bytes, "{} does not fit its header", kind.what);
    out.resize(total_bytes, 0);
    reseal(&mut out);
    out
}

/// Makes the checksum of a header fit its bytes. For writers and for tests that craft headers.
pub fn reseal(header: &mut [u8]) {
    let crc = checksum(header);
    let mut bytes = Vec::with_capacity(4);
    Writer::new(&mut bytes).u32(crc);
    if let Some(place) = header.get_mut(8..CHECKED_FROM) {
        place.copy_from_slice(&bytes);
    }
}

fn checksum(header: &[u8]) -> u32 {
    crc32fast::hash(header.get(CHECKED_FROM..).unwrap_or_default())
}

/// Checks prefix and checksum of `header` and returns its features and a reader behind the
/// prefix. `header` must be the whole structure: the checksum covers all of it.
pub(crate) fn decode<'a>(
    kind: &HeaderKind,
    header: &'a [u8],
) -> Result<(Features, Reader<'a>), FormatError> {
    let mut reader = Reader::new(header);
    if reader.array::<8>("file magic")? != kind.magic {
        return Err(Corrupt::new("file magic", 0).into());
    }
    let stored = reader.u32("header checksum")?;
    if stored != checksum(header) {
        return Err(Corrupt::new("header checksum", 8).into());
    }
    let found = reader.u16("version")?;
    if found != kind.version {
        let (what, supported) = (kind.what, kind.version);
        return Err(FormatError::UnsupportedVersion { what, found, supported });
    }
    reader.u16("reserved field")?;
    let features =
        Features { required: reader.u32("features")?, ignorable: reader.u32("features")? };
    features.check(kind.what, kind.features)?;
    Ok((features, reader))
}
