//! What a leaf stores beside a key.
//!
//! Owns [`Value`] with its two encodings: in a leaf ([`Value::stored_len`], `put`) and in a log
//! record ([`Value::encode`]); and [`ValueLoc`], where a leaf has it. The on-page length is a
//! varint of one or two bytes in its shortest form.

use crate::access::{PageBytes, PageBytesMut};
use crate::codec::{Reader, Writer, counted_bytes_len};
use crate::error::Corrupt;
use crate::ids::PageNo;
use crate::limits::MAX_VALUE_BYTES;

/// Bytes of an [`OverflowRef`] in a leaf: length u64, first page u32.
pub const OVERFLOW_REF_BYTES: usize = 12;

/// Where a long value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverflowRef {
    /// Bytes of the value.
    pub len: u64,
    /// First page of its first extent, in the same file.
    pub first: PageNo,
}

/// What a leaf stores beside a key: the bytes, or where they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// The value itself.
    Inline(&'a [u8]),
    /// The value is in overflow pages.
    Overflow(OverflowRef),
}

/// Where in a leaf an entry has its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueLoc {
    /// `len` bytes at `offset` of the page; both inside it, whatever the page says.
    Inline {
        /// Byte offset in the page.
        offset: usize,
        /// Bytes.
        len: usize,
    },
    /// In overflow pages.
    Overflow(OverflowRef),
}

/// Bytes that an inline value takes in a leaf, its length included.
#[must_use]
pub const fn inline_bytes(value_len: usize) -> usize {
    counted_bytes_len(value_len)
}

impl Value<'_> {
    /// Bytes that this takes in a leaf after the key suffix.
    #[must_use]
    pub const fn stored_len(&self) -> usize {
        match self {
            Value::Inline(bytes) => inline_bytes(bytes.len()),
            Value::Overflow(_) => OVERFLOW_REF_BYTES,
        }
    }

    /// Bytes of the value itself.
    #[must_use]
    pub const fn len(&self) -> u64 {
        match self {
            Value::Inline(bytes) => bytes.len() as u64,
            Value::Overflow(overflow) => overflow.len,
        }
    }

    /// Whether the value has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the value is in overflow pages.
    #[must_use]
    pub const fn is_overflow(&self) -> bool {
        matches!(self, Value::Overflow(_))
    }

    /// Writes what a leaf stores at `offset` of its page.
    pub(crate) fn put<P: PageBytesMut>(&self, page: &mut P, offset: usize) {
        match self {
            Value::Inline(bytes) => {
                let len = bytes.len();
                if len < 0x80 {
                    page.put_u8(offset, len as u8);
                } else {
                    page.put_u16(offset, (len & 0x7f | 0x80 | (len >> 7) << 8) as u16);
                }
                page.put_bytes(offset + inline_bytes(len) - len, bytes);
            }
            Value::Overflow(OverflowRef { len, first }) => {
                page.put_u64(offset, *len);
                page.put_u32(offset + 8, first.0);
            }
        }
    }

    /// Appends the value as log records hold it.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Value::Inline(bytes) => {
                writer.u8(0);
                writer.counted_bytes(bytes);
            }
            Value::Overflow(OverflowRef { len, first }) => {
                writer.u8(1);
                writer.varint(*len);
                writer.varint(u64::from(first.0));
            }
        }
    }
}

impl<'a> Value<'a> {
    /// Reads what [`Value::encode`] wrote.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Value<'a>, Corrupt> {
        let at = reader.position();
        match reader.u8("value kind")? {
            0 => Ok(Value::Inline(reader.counted_bytes("inline value")?)),
            1 => {
                let len = reader.varint("overflow value length")?;
                let first = PageNo(reader.varint_u32("overflow first page")?);
                let overflow = OverflowRef { len, first };
                overflow.check(at)?;
                Ok(Value::Overflow(overflow))
            }
            _ => Err(Corrupt::new("value kind", at)),
        }
    }
}

impl OverflowRef {
    /// What must hold of every reference, on a page or in a record.
    pub(crate) fn check(&self, at: usize) -> Result<(), Corrupt> {
        if self.len == 0 || self.len > MAX_VALUE_BYTES {
            return Err(Corrupt::new("overflow value length", at));
        }
        if self.first.is_none() {
            return Err(Corrupt::new("overflow first page", at));
        }
        Ok(())
    }

    pub(crate) fn read<P: PageBytes>(page: &P, offset: usize) -> OverflowRef {
        OverflowRef { len: page.u64_at(offset), first: PageNo(page.u32_at(offset + 8)) }
    }
}

/// Reads the length of an inline value: the length and the bytes it took. `None` if not in its
/// shortest form or longer than two bytes.
pub(crate) fn read_inline_len<P: PageBytes>(page: &P, offset: usize) -> Option<(usize, usize)> {
    let bytes = usize::from(page.u16_at(offset));
    if bytes & 0x80 == 0 {
        return Some((bytes & 0x7f, 1));
    }
    let high = bytes >> 8;
    (high != 0 && high < 0x80).then_some((bytes & 0x7f | high << 7, 2))
}
