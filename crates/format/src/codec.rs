//! The one codec: bounded little-endian reading and writing, and varints.
//!
//! Owns: the byte order of everything on disk. Promises: a [`Reader`] never reads past its end,
//! never allocates and never panics; what it accepts has exactly one encoding (overlong varints
//! are refused). Must never: know what the bytes mean.

use byteorder::{ByteOrder, LittleEndian};

use crate::error::Corrupt;

/// Most bytes a varint can take.
pub const MAX_VARINT_BYTES: usize = 10;

/// Bytes that `value` takes as a varint.
#[must_use]
pub const fn varint_bytes(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Bytes that `bytes` takes with its length in front, see [`Writer::counted_bytes`].
#[must_use]
pub const fn counted_bytes_len(bytes: usize) -> usize {
    varint_bytes(bytes as u64) + bytes
}

/// Writes `value` as a varint into `out` and returns the bytes used.
pub fn varint_to_array(value: u64, out: &mut [u8; MAX_VARINT_BYTES]) -> usize {
    let mut rest = value;
    let mut used = 0;
    for slot in out {
        used += 1;
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            *slot = low;
            break;
        }
        *slot = low | 0x80;
    }
    used
}

/// Reads bytes front to back and says, by name, what is missing.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader over all of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    /// Bytes read so far; what errors report.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// True when nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Corrupt> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(Corrupt::new(what, self.at));
        };
        self.rest = rest;
        self.at += len;
        Ok(taken)
    }

    /// The next `N` bytes by value.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Corrupt> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Corrupt::new(what, self.at));
        };
        self.rest = rest;
        self.at += N;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Corrupt> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Corrupt> {
        self.array::<2>(what).map(|bytes| LittleEndian::read_u16(&bytes))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Corrupt> {
        self.array::<4>(what).map(|bytes| LittleEndian::read_u32(&bytes))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Corrupt> {
        self.array::<8>(what).map(|bytes| LittleEndian::read_u64(&bytes))
    }

    /// A varint: seven bits a byte, low bits first, in its shortest form only.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, Corrupt> {
        let start = self.at;
        let mut value = 0u64;
        for position in 0..MAX_VARINT_BYTES {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds bit 63 and nothing else.
            if position == MAX_VARINT_BYTES - 1 && byte > 1 {
                break;
            }
            value |= bits << (7 * position);
            if byte & 0x80 == 0 {
                if byte == 0 && position > 0 {
                    break;
                }
                return Ok(value);
            }
        }
        Err(Corrupt::new(what, start))
    }

    /// A varint that must fit 32 bits.
    pub fn varint_u32(&mut self, what: &'static str) -> Result<u32, Corrupt> {
        let start = self.at;
        u32::try_from(self.varint(what)?).map_err(|_| Corrupt::new(what, start))
    }

    /// A varint that must fit 16 bits.
    pub fn varint_u16(&mut self, what: &'static str) -> Result<u16, Corrupt> {
        let start = self.at;
        u16::try_from(self.varint(what)?).map_err(|_| Corrupt::new(what, start))
    }

    /// A varint length, then that many bytes.
    pub fn counted_bytes(&mut self, what: &'static str) -> Result<&'a [u8], Corrupt> {
        let start = self.at;
        let len = self.varint(what)?;
        match usize::try_from(len) {
            Ok(len) if len <= self.rest.len() => self.bytes(len, what),
            _ => Err(Corrupt::new(what, start)),
        }
    }

    /// How many items follow, when each takes at least `min_item_bytes`. A count that the bytes
    /// left cannot hold is refused here, so callers may reserve that many items.
    pub fn item_count(
        &mut self,
        min_item_bytes: usize,
        what: &'static str,
    ) -> Result<usize, Corrupt> {
        let start = self.at;
        let count = self.varint(what)?;
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() / min_item_bytes.max(1) => Ok(count),
            _ => Err(Corrupt::new(what, start)),
        }
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let taken = self.rest;
        self.at += taken.len();
        self.rest = &[];
        taken
    }

    /// Ends reading: bytes left over are damage.
    pub fn finish(&self, what: &'static str) -> Result<(), Corrupt> {
        if self.rest.is_empty() { Ok(()) } else { Err(Corrupt::new(what, self.at)) }
    }
}

/// Appends to a byte vector; the counterpart of [`Reader`], call by call.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
}

impl<'b> Writer<'b> {
    /// Appends after what `out` already holds.
    #[must_use]
    pub fn new(out: &'b mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.out.len() - self.start
    }

    /// Raw bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// `count` zero bytes.
    pub fn zeros(&mut self, count: usize) {
        self.out.resize(self.out.len() + count, 0);
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, value: u16) {
        let mut bytes = [0; 2];
        LittleEndian::write_u16(&mut bytes, value);
        self.bytes(&bytes);
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, value: u32) {
        let mut bytes = [0; 4];
        LittleEndian::write_u32(&mut bytes, value);
        self.bytes(&bytes);
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) {
        let mut bytes = [0; 8];
        LittleEndian::write_u64(&mut bytes, value);
        self.bytes(&bytes);
    }

    /// A varint in its shortest form.
    pub fn varint(&mut self, value: u64) {
        let mut rest = value;
        while rest >= 0x80 {
            self.u8((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.u8(rest as u8);
    }

    /// A varint length, then the bytes.
    pub fn counted_bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes(bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_little_endian() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.u16(0x0102);
        writer.u32(0x0304_0506);
        writer.u64(0x0708_090a_0b0c_0d0e);
        assert_eq!(out, [2, 1, 6, 5, 4, 3, 14, 13, 12, 11, 10, 9, 8, 7]);
    }

    #[test]
    fn an_overlong_varint_is_refused() {
        assert_eq!(Reader::new(&[0x80, 0x00]).varint("n"), Err(Corrupt::new("n", 0)));
        assert_eq!(Reader::new(&[0x00]).varint("n"), Ok(0));
        let mut eleven = [0xff; 11];
        eleven[10] = 1;
        assert!(Reader::new(&eleven).varint("n").is_err());
        // Bit 64 would be lost.
        let mut too_large = [0xff; 10];
        too_large[9] = 2;
        assert!(Reader::new(&too_large).varint("n").is_err());
    }

    #[test]
    fn a_count_larger_than_the_input_is_refused() {
        let mut out = Vec::new();
        Writer::new(&mut out).varint(u64::MAX);
        assert!(Reader::new(&out).item_count(1, "count").is_err());
        assert!(Reader::new(&out).counted_bytes("bytes").is_err());
    }

    proptest! {
        #[test]
        fn varints_round_trip_in_their_stated_length(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            Writer::new(&mut out).varint(value);
            prop_assert_eq!(out.len(), varint_bytes(value));
            let mut array = [0; MAX_VARINT_BYTES];
            let used = varint_to_array(value, &mut array);
            prop_assert_eq!(&array[..used], &out[..]);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint("n"), Ok(value));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn an_accepted_varint_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint("n") {
                let mut again = Vec::new();
                Writer::new(&mut again).varint(value);
                prop_assert_eq!(&bytes[..reader.position()], &again[..]);
            }
        }
    }
}
