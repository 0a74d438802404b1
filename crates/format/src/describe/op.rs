//! Page operations as fields.
//!
//! Owns: the names of operations and of their parts. Promises: exhaustive, so a new operation
//! cannot be forgotten here.

use super::{Fields, Shown};
use crate::meta::MetaFields;
use crate::page_op::PageOp;
use crate::value::Value;

/// What `op` does.
#[must_use]
pub fn op(op: &PageOp<'_>) -> Fields {
    match op {
        PageOp::Image { head, tail } => {
            vec![word("image"), count("head_bytes", head.len()), count("tail_bytes", tail.len())]
        }
        PageOp::FormatNode { level, lower, upper, first_child } => vec![
            word("format_node"),
            number("level", u64::from(*level)),
            bytes("lower", lower),
            ("upper", upper.map_or(Shown::Word("infinite"), |upper| Shown::Bytes(upper.to_vec()))),
            number("first_child", first_child.0.into()),
        ],
        PageOp::FormatMap { group } => vec![word("format_map"), number("group", (*group).into())],
        PageOp::FormatMeta(fields) => meta("format_meta", fields),
        PageOp::MetaSet(fields) => meta("meta_set", fields),
        PageOp::FormatOverflow { extent_pages, next_extent, data } => vec![
            word("format_overflow"),
            number("extent_pages", (*extent_pages).into()),
            number("next_extent", next_extent.0.into()),
            count("data_bytes", data.len()),
        ],
        PageOp::LeafInsert { slot, key, value } => {
            vec![word("leaf_insert"), at(*slot), bytes("key", key), ("value", shown_value(value))]
        }
        PageOp::LeafReplace { slot, value } => {
            vec![word("leaf_replace"), at(*slot), ("value", shown_value(value))]
        }
        PageOp::LeafGhost { slot, ghost } => {
            vec![word("leaf_ghost"), at(*slot), ("ghost", Shown::Flag(*ghost))]
        }
        PageOp::LeafPurge { slots } => {
            let list: Vec<String> = slots.iter().map(u16::to_string).collect();
            vec![word("leaf_purge"), ("slots", Shown::Text(list.join(" ")))]
        }
        _ => inner_op(op),
    }
}

/// Operations on inner nodes, whole nodes and maps.
fn inner_op(op: &PageOp<'_>) -> Fields {
    match op {
        PageOp::InnerInsert { slot, separator, child } => vec![
            word("inner_insert"),
            at(*slot),
            bytes("separator", separator),
            number("child", child.0.into()),
        ],
        PageOp::InnerRemove { slot } => vec![word("inner_remove"), at(*slot)],
        PageOp::InnerSetChild { slot, child } => vec![
            word("inner_set_child"),
            ("slot", slot.map_or(Shown::Word("first"), |slot| Shown::Number(slot.into()))),
            number("child", child.0.into()),
        ],
        PageOp::NodeTruncate { keep, upper } => {
            vec![word("node_truncate"), number("keep", u64::from(*keep)), bytes("upper", upper)]
        }
        PageOp::MapSet { first, count, allocated } => vec![
            word("map_set"),
            number("first", (*first).into()),
            number("count", (*count).into()),
            ("allocated", Shown::Flag(*allocated)),
        ],
        PageOp::Image { .. }
        | PageOp::FormatNode { .. }
        | PageOp::FormatMap { .. }
        | PageOp::FormatMeta(_)
        | PageOp::MetaSet(_)
        | PageOp::FormatOverflow { .. }
        | PageOp::LeafInsert { .. }
        | PageOp::LeafReplace { .. }
        | PageOp::LeafGhost { .. }
        | PageOp::LeafPurge { .. } => Vec::new(),
    }
}

fn meta(name: &'static str, fields: &MetaFields) -> Fields {
    vec![
        word(name),
        number("page_bytes", fields.page_bytes.into()),
        ("access_method", Shown::Word(fields.access_method.name())),
        ("durable", Shown::Flag(fields.durable)),
        number("groups", fields.groups.into()),
        ("environment", Shown::Text(fields.environment.to_string())),
        number("required_features", fields.features.required.into()),
        number("ignorable_features", fields.features.ignorable.into()),
    ]
}

/// A value: its bytes, or where they are.
pub(super) fn shown_value(value: &Value<'_>) -> Shown {
    match value {
        Value::Inline(bytes) => Shown::Bytes(bytes.to_vec()),
        Value::Overflow(overflow) => Shown::Nested(vec![
            word("overflow"),
            number("len", overflow.len),
            number("first", overflow.first.0.into()),
        ]),
    }
}

fn word(name: &'static str) -> (&'static str, Shown) {
    ("op", Shown::Word(name))
}

fn at(slot: u16) -> (&'static str, Shown) {
    number("slot", slot.into())
}

fn number(name: &'static str, value: u64) -> (&'static str, Shown) {
    (name, Shown::Number(value))
}

fn count(name: &'static str, value: usize) -> (&'static str, Shown) {
    (name, Shown::Number(value as u64))
}

fn bytes(name: &'static str, value: &[u8]) -> (&'static str, Shown) {
    (name, Shown::Bytes(value.to_vec()))
}
