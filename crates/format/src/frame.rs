//! The frame around one log record: 32 bytes of header, payload, padding.
//!
//! Owns: lengths, alignment and the checksum, which is bound to the environment, the timeline and
//! the record's own LSN. Promises: a record that was moved, comes from another log or has any bit
//! changed does not parse; the expensive part of the checksum is made before the record's place
//! is known, and [`finish`] binds it in a few nanoseconds. Must never: know what a payload means.
//!
//! The binding is an XOR: CRC-32 is linear, so XOR-ing a 32-bit mix of (environment, timeline,
//! LSN, distance back) into the stored checksum refuses the same records as seeding it with them,
//! without touching the payload again. The mix is a bijection of the offset for a given file, of
//! the file for a given offset, of the timeline for a given place, and of the distance back: a
//! difference in any one of them alone is always found, not only with high probability.

use byteorder::{ByteOrder, LittleEndian};
use crc32fast::Hasher;
use thiserror::Error;

use crate::ids::{EnvironmentId, Lsn, Timeline, TxnId};
use crate::planted::{self, Bug};

/// Bytes of the header in front of every payload.
pub const FRAME_BYTES: usize = 32;
/// Records begin at multiples of this.
pub const FRAME_ALIGN: usize = 8;
/// No record is longer, header and padding included. A sanity bound for readers: what is really
/// allowed depends on the length of a log file.
pub const MAX_FRAME_BYTES: usize = 1 << 30;

/// Flag bits that a reader must know; the other half it may ignore.
const REQUIRED_FLAGS: u16 = 0x00ff;

/// Where the kind byte stands in a frame.
pub const KIND_AT: usize = 12;

const CRC_AT: std::ops::Range<usize> = 4..8;
const BACK_AT: std::ops::Range<usize> = 8..12;

/// Whose log it is: the part of the checksum that is the same for all records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    seed: u32,
}

impl LogIdentity {
    /// The identity of the log of `environment` in history `timeline`.
    #[must_use]
    pub fn new(environment: EnvironmentId, timeline: Timeline) -> Self {
        let environment = crc32fast::hash(&environment.0);
        Self { seed: scramble(environment.wrapping_add(timeline.0.wrapping_mul(0x9e37_79b1))) }
    }

    /// What is XOR-ed into the checksum of the record at `at` whose predecessor in the file is
    /// `back` bytes before.
    fn mix(self, at: Lsn, back: u32) -> u32 {
        let place = scramble(at.offset() ^ self.seed);
        scramble(place.wrapping_add(at.file().wrapping_mul(0x85eb_ca6b)))
            ^ scramble(back ^ 0xa5a5_5a5a)
    }
}

/// A bijection of 32-bit numbers in which every input bit moves about half of the output bits.
const fn scramble(value: u32) -> u32 {
    let mut bits = value;
    bits ^= bits >> 16;
    bits = bits.wrapping_mul(0x7feb_352d);
    bits ^= bits >> 15;
    bits = bits.wrapping_mul(0x846c_a68b);
    bits ^ (bits >> 16)
}

/// The header's fields that the writer of a record chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What kind of record it is.
    pub kind: u8,
    /// The access method that wrote it, 0 for none.
    pub access_method: u8,
    /// Low byte: required of readers; high byte: ignorable.
    pub flags: u16,
    /// The transaction.
    pub txn: TxnId,
    /// The transaction's record before this one.
    pub prev: Lsn,
}

impl FrameHeader {
    /// Set in [`FrameHeader::flags`]: a reader that does not know the kind may pass over the
    /// record, because it changes nothing.
    pub const IGNORABLE: u16 = 1 << 8;

    /// Flag bits that a reader must know and this build does not.
    #[must_use]
    pub const fn unknown_required_flags(&self) -> u16 {
        self.flags & REQUIRED_FLAGS
    }
}

/// Bytes that a record with a payload of `payload` bytes takes in the log.
#[must_use]
pub const fn padded_frame_bytes(payload: usize) -> usize {
    (FRAME_BYTES + payload).next_multiple_of(FRAME_ALIGN)
}

/// Appends a frame to `out` around the payload that `payload` appends, all but its place: the
/// checksum is made, [`finish`] binds it. What is appended is a multiple of [`FRAME_ALIGN`] long.
///
/// # Panics
/// If the record is longer than [`MAX_FRAME_BYTES`]: the callers bound their records.
pub fn begin(header: &FrameHeader, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + FRAME_BYTES, 0);
    payload(out);
    let len = out.len() - start;
    out.resize(start + len.next_multiple_of(FRAME_ALIGN), 0);
    assert!(len <= MAX_FRAME_BYTES, "a log record of {len} bytes");
    let (_, frame) = out.split_at_mut(start);
    put_u32(frame, 0..4, len as u32);
    put_bytes(frame, KIND_AT, &[header.kind, header.access_method]);
    put_u16(frame, 14..16, header.flags);
    put_u64(frame, 16..24, header.txn.0);
    put_u64(frame, 24..32, header.prev.0);
    let crc = unbound_checksum(frame);
    put_u32(frame, CRC_AT, crc);
}

/// Binds a frame made by [`begin`] to its place: `at` in the log of `identity`, `back` bytes
/// behind the record before it in the same file (0 for the first). To be called exactly once.
pub fn finish(frame: &mut [u8], at: Lsn, back: u32, identity: &LogIdentity) {
    assert!(frame.len() >= FRAME_BYTES, "not a frame");
    let unbound = get_u32(frame, CRC_AT);
    put_u32(frame, BACK_AT, back);
    put_u32(frame, CRC_AT, unbound ^ identity.mix(at, back));
}

/// The checksum over everything but itself and the distance back, which the mix covers.
fn unbound_checksum(frame: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    if !planted::is(Bug::FrameChecksumSkipsHeader) {
        hasher.update(frame.get(..CRC_AT.start).unwrap_or_default());
        hasher.update(frame.get(BACK_AT.end..FRAME_BYTES).unwrap_or_default());
    }
    hasher.update(frame.get(FRAME_BYTES..).unwrap_or_default());
    hasher.finalize()
}

/// Why no record stands where one was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// 32 bytes of zeros: nothing was ever written here.
    #[error("no record: the bytes are zero")]
    Zero,
    /// The bytes given end before the record does; nothing is wrong with what is there.
    #[error("the record is cut off: {needed} bytes needed")]
    Short {
        /// Bytes needed from the record's start to go on.
        needed: usize,
    },
    /// The length field holds no length of a record.
    #[error("the record's length {len} is impossible")]
    BadLength {
        /// The length field.
        len: u32,
    },
    /// The checksum differs: damage, an older record, or a record of another place or log.
    #[error("the record's checksum is {stored:08x}, its bytes give {computed:08x}")]
    BadCrc {
        /// In the header.
        stored: u32,
        /// Computed for this place.
        computed: u32,
    },
}

/// A record whose frame is whole and in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The fields of the header.
    pub header: FrameHeader,
    /// Distance in bytes to the record before it in the same file; 0 for the first.
    pub back: u32,
    /// The payload, padding removed.
    pub payload: &'a [u8],
    /// The whole frame: header, payload, padding.
    pub bytes: &'a [u8],
}

impl Frame<'_> {
    /// Bytes to the next record.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// The length of the record that begins with `bytes`, header and padding included: how much to
/// have at hand for [`parse`]. Nothing is checked but that the length is possible.
pub fn peek_total_bytes(bytes: &[u8]) -> Result<usize, FrameError> {
    let Some(head) = bytes.get(..FRAME_BYTES) else {
        return Err(FrameError::Short { needed: FRAME_BYTES });
    };
    if head.iter().all(|byte| *byte == 0) {
        return Err(FrameError::Zero);
    }
    let len = get_u32(head, 0..4);
    if (len as usize) < FRAME_BYTES || len as usize > MAX_FRAME_BYTES {
        return Err(FrameError::BadLength { len });
    }
    Ok((len as usize).next_multiple_of(FRAME_ALIGN))
}

/// Checks the frame at the start of `bytes`, which stand at `at` in the log of `identity`.
pub fn parse<'a>(
    bytes: &'a [u8],
    at: Lsn,
    identity: &LogIdentity,
) -> Result<Frame<'a>, FrameError> {
    let needed = peek_total_bytes(bytes)?;
    let Some(whole) = bytes.get(..needed) else {
        return Err(FrameError::Short { needed });
    };
    let stored = get_u32(whole, CRC_AT);
    let computed = unbound_checksum(whole) ^ identity.mix(at, get_u32(whole, BACK_AT));
    if stored != computed && !planted::is(Bug::FrameChecksumIgnored) {
        return Err(FrameError::BadCrc { stored, computed });
    }
    split(whole).ok_or(FrameError::Short { needed: FRAME_BYTES })
}

/// Whether a record whose header is `head` stands at `at`, given the CRC-32 of the `rest` of it,
/// behind the header to the end of the padding: for a search that has that checksum from elsewhere.
#[must_use]
pub fn stands(head: &[u8], rest: u32, at: Lsn, identity: &LogIdentity) -> bool {
    let (Ok(total), Some(head)) = (peek_total_bytes(head), head.get(..FRAME_BYTES)) else {
        return false;
    };
    let mut hasher = Hasher::new();
    if !planted::is(Bug::FrameChecksumSkipsHeader) {
        hasher.update(head.get(..CRC_AT.start).unwrap_or_default());
        hasher.update(head.get(BACK_AT.end..).unwrap_or_default());
    }
    hasher.combine(&Hasher::new_with_initial_len(rest, (total - FRAME_BYTES) as u64));
    let computed = hasher.finalize() ^ identity.mix(at, get_u32(head, BACK_AT));
    computed == get_u32(head, CRC_AT) || planted::is(Bug::FrameChecksumIgnored)
}

/// Takes a whole frame apart without looking at its checksum: for bytes that [`parse`] has
/// accepted before. `None` if the bytes are not one frame.
#[must_use]
pub fn split(frame: &[u8]) -> Option<Frame<'_>> {
    let head = frame.get(..FRAME_BYTES)?;
    let [kind, access_method] = *head.get(12..14)?.first_chunk::<2>()?;
    let len = get_u32(head, 0..4) as usize;
    if len.checked_next_multiple_of(FRAME_ALIGN)? != frame.len() {
        return None;
    }
    Some(Frame {
        header: FrameHeader {
            kind,
            access_method,
            flags: LittleEndian::read_u16(head.get(14..16)?),
            txn: TxnId(LittleEndian::read_u64(head.get(16..24)?)),
            prev: Lsn(LittleEndian::read_u64(head.get(24..32)?)),
        },
        back: get_u32(head, BACK_AT),
        payload: frame.get(FRAME_BYTES..len)?,
        bytes: frame,
    })
}

fn get_u32(bytes: &[u8], at: std::ops::Range<usize>) -> u32 {
    bytes.get(at).map_or(0, LittleEndian::read_u32)
}

fn put_u16(bytes: &mut [u8], at: std::ops::Range<usize>, value: u16) {
    if let Some(place) = bytes.get_mut(at) {
        LittleEndian::write_u16(place, value);
    }
}

fn put_u32(bytes: &mut [u8], at: std::ops::Range<usize>, value: u32) {
    if let Some(place) = bytes.get_mut(at) {
        LittleEndian::write_u32(place, value);
    }
}

fn put_u64(bytes: &mut [u8], at: std::ops::Range<usize>, value: u64) {
    if let Some(place) = bytes.get_mut(at) {
        LittleEndian::write_u64(place, value);
    }
}

fn put_bytes(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
