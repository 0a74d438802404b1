//! Records behind a bad spot.
//!
//! Owns the search for valid records at every place where one could start. Promises an exact answer
//! in time proportional to the bytes searched, whatever they are: a place costs the same whether
//! its alleged record is short or as long as the file. Must never decide what an answer means.
//!
//! Checking each place by itself would cost the length of each alleged record, and bytes made to
//! look like headers could make that quadratic. CRC-32 is linear, so the checksum of any range
//! follows from those of two prefixes: those are noted every kibibyte, and the rest is a bounded
//! piece of work.

use campanile_format::Lsn;
use campanile_format::frame::{self, FRAME_ALIGN, FRAME_BYTES, LogIdentity};
use campanile_format::record::Record;
use crc32fast::Hasher;

use crate::error::WalError;
use crate::window::Window;

/// Distance between noted prefixes.
const NOTE_BYTES: usize = 1 << 10;
/// Shorter records are checked directly.
const DIRECT_BYTES: usize = 2 << 10;
/// Files are read in pieces of this.
const PIECE_BYTES: usize = 256 << 10;

/// What was found behind a bad spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Survivors {
    /// How many valid records.
    pub(crate) count: u64,
    /// Where the last one ends.
    pub(crate) end: Lsn,
    /// What they prove durable.
    pub(crate) proven: Lsn,
    /// From the start of the search, bytes up to the first frame of zeros or the end of the file:
    /// what was written here at last.
    pub(crate) written_bytes: u64,
}

/// Looks for valid records of the window's file from `from` on. In memory at most the file itself.
pub(crate) fn survivors(window: &mut Window, from: u64) -> Result<Survivors, WalError> {
    let number = window.number();
    let from = from.next_multiple_of(FRAME_ALIGN as u64);
    let mut found = Survivors {
        count: 0,
        end: Lsn::new(number, u32::try_from(from).unwrap_or(u32::MAX)),
        proven: Lsn::NONE,
        written_bytes: 0,
    };
    let len = window.len()?;
    if from >= len || is_zero(window, from, len)? {
        return Ok(found);
    }
    let tail = Tail::read(window, from, len)?;
    found.written_bytes = tail.written_bytes() as u64;
    let mut at = 0;
    while at + FRAME_BYTES <= tail.bytes.len() {
        let lsn = Lsn::new(number, u32::try_from(from + at as u64).unwrap_or(u32::MAX));
        let Some(total) = tail.record_at(at, lsn, window.identity()) else {
            at += FRAME_ALIGN;
            continue;
        };
        let record = tail.bytes.get(at..at + total).map(Record::decode);
        if let Some(claim) = record.and_then(Result::ok).and_then(|r| r.proves_durable()) {
            found.proven = found.proven.max(claim);
        }
        at += total;
        found.count += 1;
        found.end = Lsn(lsn.0 + total as u64);
    }
    Ok(found)
}

/// The common case, without taking memory: nothing was ever written here.
fn is_zero(window: &mut Window, from: u64, len: u64) -> Result<bool, WalError> {
    let mut at = from;
    while at < len {
        let piece = window.at(at, PIECE_BYTES.min((len - at) as usize))?;
        if piece.is_empty() {
            return Ok(true);
        }
        if piece.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += piece.len() as u64;
    }
    Ok(true)
}

/// The end of a file in memory, with the checksums of its prefixes.
struct Tail {
    bytes: Vec<u8>,
    /// CRC-32 of the first `i * NOTE_BYTES` bytes.
    notes: Vec<u32>,
}

impl Tail {
    fn read(window: &mut Window, from: u64, len: u64) -> Result<Tail, WalError> {
        let mut bytes = Vec::with_capacity((len - from) as usize);
        while from + (bytes.len() as u64) < len {
            let at = from + bytes.len() as u64;
            let piece = window.at(at, PIECE_BYTES.min((len - at) as usize))?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(piece);
        }
        let mut hasher = Hasher::new();
        let mut notes = vec![0];
        for piece in bytes.chunks_exact(NOTE_BYTES) {
            hasher.update(piece);
            notes.push(hasher.clone().finalize());
        }
        Ok(Tail { bytes, notes })
    }

    fn written_bytes(&self) -> usize {
        let frames = self.bytes.chunks(FRAME_ALIGN).map(|word| word.iter().all(|byte| *byte == 0));
        let mut zeros = 0;
        for (index, zero) in frames.enumerate() {
            zeros = if zero { zeros + 1 } else { 0 };
            if zeros * FRAME_ALIGN == FRAME_BYTES {
                return (index + 1) * FRAME_ALIGN - FRAME_BYTES;
            }
        }
        self.bytes.len()
    }

    /// The length of the record at `at`, if a whole one stands there.
    fn record_at(&self, at: usize, lsn: Lsn, identity: &LogIdentity) -> Option<usize> {
        let head = self.bytes.get(at..at + FRAME_BYTES)?;
        let total = frame::peek_total_bytes(head).ok()?;
        let whole = self.bytes.get(at..at.checked_add(total)?)?;
        let stands = if total <= DIRECT_BYTES {
            frame::parse(whole, lsn, identity).is_ok()
        } else {
            let rest = self.checksum(at + FRAME_BYTES, at + total);
            frame::stands(head, rest, lsn, identity)
        };
        stands.then_some(total)
    }

    /// CRC-32 of `from..to`.
    fn checksum(&self, from: usize, to: usize) -> u32 {
        let before = self.prefix(from);
        // The prefix's checksum, as it counts in that of a string longer by `to - from`.
        let mut shifted = Hasher::new_with_initial_len(before, from as u64);
        shifted.combine(&Hasher::new_with_initial_len(0, (to - from) as u64));
        self.prefix(to) ^ shifted.finalize()
    }

    /// CRC-32 of the first `len` bytes.
    fn prefix(&self, len: usize) -> u32 {
        let note = (len / NOTE_BYTES).min(self.notes.len() - 1);
        let noted = note * NOTE_BYTES;
        let start = self.notes.get(note).copied().unwrap_or_default();
        let mut hasher = Hasher::new_with_initial_len(start, noted as u64);
        hasher.update(self.bytes.get(noted..len).unwrap_or_default());
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_range_follows_from_those_of_two_prefixes() {
        let bytes: Vec<u8> = (0..10_000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let mut hasher = Hasher::new();
        let mut notes = vec![0];
        for piece in bytes.chunks_exact(NOTE_BYTES) {
            hasher.update(piece);
            notes.push(hasher.clone().finalize());
        }
        let tail = Tail { bytes: bytes.clone(), notes };
        for (from, to) in [(0, 0), (0, 1), (0, 10_000), (1, 9_999), (1024, 2048), (5000, 5000)] {
            assert_eq!(tail.checksum(from, to), crc32fast::hash(&bytes[from..to]), "{from}..{to}");
        }
        for from in (0..10_000).step_by(617) {
            for to in (from..10_000).step_by(431) {
                assert_eq!(tail.checksum(from, to), crc32fast::hash(&bytes[from..to]));
            }
        }
    }
}
