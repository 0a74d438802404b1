//! Page operations as log records hold them.
//!
//! Owns [`OpTag`], the number of each op in the log, and the encoding. Promises that an op has one
//! encoding, that decoding allocates at most what the bytes at hand justify, and that an op of a
//! later build is refused as such.

use std::borrow::Cow;

use super::PageOp;
use crate::access_method::AccessMethod;
use crate::codec::{Reader, Writer};
use crate::error::{Corrupt, FormatError};
use crate::features::Features;
use crate::ids::{EnvironmentId, PageNo};
use crate::meta::{FLAG_NOT_DURABLE, MetaFields};
use crate::value::Value;

/// The first byte of an op in the log. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is the op of the same name")]
pub enum OpTag {
    Image = 1,
    FormatNode = 2,
    FormatMap = 3,
    FormatMeta = 4,
    FormatOverflow = 5,
    LeafInsert = 16,
    LeafReplace = 17,
    LeafGhost = 18,
    LeafPurge = 19,
    InnerInsert = 32,
    InnerRemove = 33,
    InnerSetChild = 34,
    NodeTruncate = 35,
    MapSet = 48,
    MetaSet = 49,
}

impl OpTag {
    /// All of them, ascending.
    pub const ALL: [OpTag; 15] = [
        OpTag::Image,
        OpTag::FormatNode,
        OpTag::FormatMap,
        OpTag::FormatMeta,
        OpTag::FormatOverflow,
        OpTag::LeafInsert,
        OpTag::LeafReplace,
        OpTag::LeafGhost,
        OpTag::LeafPurge,
        OpTag::InnerInsert,
        OpTag::InnerRemove,
        OpTag::InnerSetChild,
        OpTag::NodeTruncate,
        OpTag::MapSet,
        OpTag::MetaSet,
    ];

    /// The op with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<OpTag> {
        OpTag::ALL.into_iter().find(|tag| *tag as u8 == number)
    }
}

impl PageOp<'_> {
    /// Which op this is.
    #[must_use]
    pub fn tag(&self) -> OpTag {
        match self {
            PageOp::Image { .. } => OpTag::Image,
            PageOp::FormatNode { .. } => OpTag::FormatNode,
            PageOp::FormatMap { .. } => OpTag::FormatMap,
            PageOp::FormatMeta(_) => OpTag::FormatMeta,
            PageOp::FormatOverflow { .. } => OpTag::FormatOverflow,
            PageOp::LeafInsert { .. } => OpTag::LeafInsert,
            PageOp::LeafReplace { .. } => OpTag::LeafReplace,
            PageOp::LeafGhost { .. } => OpTag::LeafGhost,
            PageOp::LeafPurge { .. } => OpTag::LeafPurge,
            PageOp::InnerInsert { .. } => OpTag::InnerInsert,
            PageOp::InnerRemove { .. } => OpTag::InnerRemove,
            PageOp::InnerSetChild { .. } => OpTag::InnerSetChild,
            PageOp::NodeTruncate { .. } => OpTag::NodeTruncate,
            PageOp::MapSet { .. } => OpTag::MapSet,
            PageOp::MetaSet(_) => OpTag::MetaSet,
        }
    }

    /// Appends the op.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.u8(self.tag() as u8);
        match self {
            PageOp::Image { head, tail } => {
                writer.counted_bytes(head);
                writer.counted_bytes(tail);
            }
            PageOp::FormatNode { level, lower, upper, first_child } => {
                writer.u8(*level);
                writer.counted_bytes(lower);
                encode_option(writer, *upper, |writer, upper| writer.counted_bytes(upper));
                encode_page(writer, *first_child);
            }
            PageOp::FormatMap { group } => writer.varint(u64::from(*group)),
            PageOp::FormatMeta(fields) | PageOp::MetaSet(fields) => encode_meta(writer, fields),
            PageOp::FormatOverflow { extent_pages, next_extent, data } => {
                writer.varint(u64::from(*extent_pages));
                encode_page(writer, *next_extent);
                writer.counted_bytes(data);
            }
            PageOp::LeafInsert { slot, key, value } => {
                writer.varint(u64::from(*slot));
                writer.counted_bytes(key);
                value.encode(writer);
            }
            PageOp::LeafReplace { slot, value } => {
                writer.varint(u64::from(*slot));
                value.encode(writer);
            }
            PageOp::LeafGhost { slot, ghost } => {
                writer.varint(u64::from(*slot));
                writer.u8(u8::from(*ghost));
            }
            PageOp::LeafPurge { slots } => {
                writer.varint(slots.len() as u64);
                slots.iter().for_each(|slot| writer.varint(u64::from(*slot)));
            }
            PageOp::InnerInsert { slot, separator, child } => {
                writer.varint(u64::from(*slot));
                writer.counted_bytes(separator);
                encode_page(writer, *child);
            }
            PageOp::InnerRemove { slot } => writer.varint(u64::from(*slot)),
            PageOp::InnerSetChild { slot, child } => {
                encode_option(writer, *slot, |writer, slot| writer.varint(u64::from(slot)));
                encode_page(writer, *child);
            }
            PageOp::NodeTruncate { keep, upper } => {
                writer.varint(u64::from(*keep));
                writer.counted_bytes(upper);
            }
            PageOp::MapSet { first, count, allocated } => {
                writer.varint(u64::from(*first));
                writer.varint(u64::from(*count));
                writer.u8(u8::from(*allocated));
            }
        }
    }
}

impl<'a> PageOp<'a> {
    /// Reads what [`PageOp::encode`] wrote.
    pub fn decode(reader: &mut Reader<'a>) -> Result<PageOp<'a>, FormatError> {
        let number = reader.u8("page op")?;
        let Some(tag) = OpTag::from_number(number) else {
            return Err(FormatError::UnknownTag { what: "page op", value: u32::from(number) });
        };
        Ok(match tag {
            OpTag::Image => PageOp::Image {
                head: reader.counted_bytes("image head")?,
                tail: reader.counted_bytes("image tail")?,
            },
            OpTag::FormatNode => PageOp::FormatNode {
                level: reader.u8("level")?,
                lower: reader.counted_bytes("lower fence")?,
                upper: decode_option(reader, |reader| reader.counted_bytes("upper fence"))?,
                first_child: decode_page(reader)?,
            },
            OpTag::FormatMap => PageOp::FormatMap { group: reader.varint_u32("group")? },
            OpTag::FormatMeta => PageOp::FormatMeta(decode_meta(reader)?),
            OpTag::MetaSet => PageOp::MetaSet(decode_meta(reader)?),
            OpTag::FormatOverflow => PageOp::FormatOverflow {
                extent_pages: reader.varint_u32("extent pages")?,
                next_extent: decode_page(reader)?,
                data: reader.counted_bytes("overflow data")?,
            },
            OpTag::MapSet => PageOp::MapSet {
                first: reader.varint_u32("first bit")?,
                count: reader.varint_u32("bit count")?,
                allocated: decode_bool(reader)?,
            },
            on_node => PageOp::decode_on_node(on_node, reader)?,
        })
    }

    fn decode_on_node(tag: OpTag, reader: &mut Reader<'a>) -> Result<PageOp<'a>, Corrupt> {
        if tag == OpTag::LeafPurge {
            let count = reader.item_count(1, "slot count")?;
            let slots: Result<Vec<u16>, Corrupt> =
                (0..count).map(|_| reader.varint_u16("slot")).collect();
            return Ok(PageOp::LeafPurge { slots: Cow::Owned(slots?) });
        }
        if tag == OpTag::InnerSetChild {
            let slot = decode_option(reader, |reader| reader.varint_u16("slot"))?;
            return Ok(PageOp::InnerSetChild { slot, child: decode_page(reader)? });
        }
        let slot = reader.varint_u16("slot")?;
        Ok(match tag {
            OpTag::LeafInsert => PageOp::LeafInsert {
                slot,
                key: reader.counted_bytes("key")?,
                value: Value::decode(reader)?,
            },
            OpTag::LeafReplace => PageOp::LeafReplace { slot, value: Value::decode(reader)? },
            OpTag::LeafGhost => PageOp::LeafGhost { slot, ghost: decode_bool(reader)? },
            OpTag::InnerInsert => PageOp::InnerInsert {
                slot,
                separator: reader.counted_bytes("separator")?,
                child: decode_page(reader)?,
            },
            OpTag::InnerRemove => PageOp::InnerRemove { slot },
            _ => PageOp::NodeTruncate { keep: slot, upper: reader.counted_bytes("upper fence")? },
        })
    }
}

fn encode_page(writer: &mut Writer<'_>, page: PageNo) {
    writer.varint(u64::from(page.0));
}

fn decode_page(reader: &mut Reader<'_>) -> Result<PageNo, Corrupt> {
    Ok(PageNo(reader.varint_u32("page number")?))
}

fn decode_bool(reader: &mut Reader<'_>) -> Result<bool, Corrupt> {
    let at = reader.position();
    match reader.u8("flag")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Corrupt::new("flag", at)),
    }
}

fn encode_option<T>(
    writer: &mut Writer<'_>,
    option: Option<T>,
    encode: impl FnOnce(&mut Writer<'_>, T),
) {
    writer.u8(u8::from(option.is_some()));
    if let Some(value) = option {
        encode(writer, value);
    }
}

fn decode_option<'a, T>(
    reader: &mut Reader<'a>,
    decode: impl FnOnce(&mut Reader<'a>) -> Result<T, Corrupt>,
) -> Result<Option<T>, Corrupt> {
    if decode_bool(reader)? { decode(reader).map(Some) } else { Ok(None) }
}

fn encode_meta(writer: &mut Writer<'_>, fields: &MetaFields) {
    writer.u32(fields.features.required);
    writer.u32(fields.features.ignorable);
    writer.bytes(&fields.environment.0);
    writer.u32(fields.page_bytes);
    writer.u8(fields.access_method.code());
    writer.u16(if fields.durable { 0 } else { FLAG_NOT_DURABLE });
    writer.varint(u64::from(fields.groups));
}

fn decode_meta(reader: &mut Reader<'_>) -> Result<MetaFields, FormatError> {
    const WHAT: &str = "the data file";
    let required = reader.u32("features")?;
    let features = Features { required, ignorable: reader.u32("features")? };
    features.check(WHAT, 0)?;
    let environment = EnvironmentId(reader.array("environment id")?);
    let page_bytes = reader.u32("page size")?;
    let access_method = AccessMethod::from_code(reader.u8("access method")?, WHAT)?;
    let at = reader.position();
    let flags = reader.u16("file flags")?;
    if flags & !FLAG_NOT_DURABLE != 0 {
        return Err(Corrupt::new("file flags", at).into());
    }
    let durable = flags & FLAG_NOT_DURABLE == 0;
    let groups = reader.varint_u32("groups")?;
    Ok(MetaFields { features, environment, page_bytes, access_method, durable, groups })
}
