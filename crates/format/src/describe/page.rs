//! Pages as fields.
//!
//! Owns: what a page says of itself, and an entry of a node. Promises: any bytes can be described,
//! also those of a page that is damaged; what does not make sense is said to be `invalid`.

use super::op::shown_value;
use super::{Fields, Shown};
use crate::access::PageBytes;
use crate::error::FormatError;
use crate::map::Map;
use crate::meta::MetaFields;
use crate::node::{Node, validate};
use crate::overflow::Overflow;
use crate::page::{self, Kind};
use crate::value::Value;

/// What `page` is, in its own words.
#[must_use]
pub fn page<P: PageBytes>(page: &P) -> Fields {
    let id = page::id(page);
    let name = match page::kind(page) {
        Some(Kind::Meta) => "meta",
        Some(Kind::Map) => "map",
        Some(Kind::Node) if Node::new(page).is_leaf() => "leaf",
        Some(Kind::Node) => "inner",
        Some(Kind::Overflow) => "overflow",
        None => "unknown",
    };
    let mut fields = vec![
        ("kind", Shown::Word(name)),
        number("page", id.page.0.into()),
        number("file", id.file.0.into()),
        ("lsn", Shown::Lsn(page::lsn(page))),
    ];
    match page::kind(page) {
        Some(Kind::Meta) => describe_meta(page, &mut fields),
        Some(Kind::Map) => {
            let map = Map::new(page);
            fields.push(number("group", map.group().into()));
            fields.push(number("allocated", map.allocated().into()));
            fields.push(number("free", map.free().into()));
        }
        Some(Kind::Node) => describe_node(&Node::new(page), &mut fields),
        Some(Kind::Overflow) => {
            let overflow = Overflow::new(page);
            fields.push(number("extent_pages", overflow.extent_pages().into()));
            fields.push(number("next_extent", overflow.next_extent().0.into()));
            fields.push(number("data_bytes", overflow.data().len() as u64));
        }
        None => fields.push(number("kind_number", page.u8_at(page::KIND).into())),
    }
    if let Err(corrupt) = validate(page) {
        fields.push(("invalid", Shown::Text(corrupt.to_string())));
    }
    fields
}

/// Entry `slot` of a node.
#[must_use]
pub fn entry<P: PageBytes>(node: &Node<P>, slot: usize) -> Fields {
    let mut fields = vec![number("slot", slot as u64), ("key", Shown::Bytes(node.key(slot)))];
    if !node.is_leaf() {
        fields.push(number("child", node.child_at(Some(slot)).0.into()));
        return fields;
    }
    let mut bytes = Vec::new();
    let value = match node.value_into(slot, &mut bytes) {
        Some(overflow) => Value::Overflow(overflow),
        None => Value::Inline(&bytes),
    };
    fields.push(("value", shown_value(&value)));
    fields.push(("ghost", Shown::Flag(node.is_ghost(slot))));
    fields
}

fn describe_node<P: PageBytes>(node: &Node<P>, fields: &mut Fields) {
    let (lower, upper) = node.fences();
    if !node.is_leaf() {
        fields.push(number("level", node.level().into()));
        fields.push(number("first_child", node.first_child().0.into()));
    }
    fields.push(number("entries", node.count() as u64));
    if node.is_leaf() {
        let ghosts = (0..node.count()).filter(|slot| node.is_ghost(*slot)).count();
        fields.push(number("ghosts", ghosts as u64));
    }
    fields.push(number("used_bytes", node.used_bytes() as u64));
    fields.push(number("prefix_bytes", node.prefix_len() as u64));
    fields.push(("lower", Shown::Bytes(lower)));
    fields.push(("upper", upper.map_or(Shown::Word("infinite"), Shown::Bytes)));
}

fn describe_meta<P: PageBytes>(page: &P, fields: &mut Fields) {
    match MetaFields::read(page) {
        Ok(meta) => {
            fields.push(number("page_bytes", meta.page_bytes.into()));
            fields.push(("access_method", Shown::Word(meta.access_method.name())));
            fields.push(("durable", Shown::Flag(meta.durable)));
            fields.push(number("groups", meta.groups.into()));
            fields.push(("environment", Shown::Text(meta.environment.to_string())));
        }
        // Damage is reported for all kinds alike.
        Err(FormatError::Corrupt(_)) => {}
        Err(other) => fields.push(("unreadable", Shown::Text(other.to_string()))),
    }
}

fn number(name: &'static str, value: u64) -> (&'static str, Shown) {
    (name, Shown::Number(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::{Plain, PlainMut};
    use crate::describe::Line;
    use crate::ids::{FileId, Lsn, PageId, PageNo};
    use crate::node::build::NodeBuilder;
    use crate::page_op::apply_all;

    #[test]
    fn a_leaf_reads_as_one_line() {
        let mut builder = NodeBuilder::new(512, 0, b"a", Some(b"c"), PageNo::NONE);
        assert!(builder.push_entry(b"anna", Value::Inline(b"1"), false));
        assert!(builder.push_entry(b"bert", Value::Inline(b"2"), true));
        let image = builder.into_image();
        let mut bytes = vec![0; 512];
        let id = PageId::new(FileId(16), PageNo(7));
        apply_all(&[image.op()], id, &mut PlainMut(&mut bytes), Lsn::new(1, 512));
        let view = Plain(&bytes);
        assert_eq!(
            Line(&page(&view)).to_string(),
            "leaf page=7 file=16 lsn=1/512 entries=2 ghosts=1 used_bytes=94 prefix_bytes=0 \
             lower=\"a\" upper=\"c\""
        );
        assert_eq!(
            Line(&entry(&Node::new(view), 1)).to_string(),
            "slot=1 key=\"bert\" value=\"2\" ghost=yes"
        );
        bytes[24] = 3;
        assert!(Line(&page(&Plain(&bytes))).to_string().contains("invalid="));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_described(
            mut bytes in prop::collection::vec(any::<u8>(), 0..600),
            kind in 0u8..6,
        ) {
            if let Some(place) = bytes.get_mut(page::KIND) {
                *place = kind;
            }
            let view = Plain(&bytes);
            let _ = Line(&page(&view)).to_string();
            let _ = Line(&entry(&Node::new(view), 3)).to_string();
        }
    }
}
