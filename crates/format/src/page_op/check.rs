//! Deciding whether an op may be applied to a page.
//!
//! Owns [`PageOp::check`]: every rule that keeps a valid page valid. Promises that it reads only,
//! and that it costs little: neighbours are compared, not the whole page. Images, which replace
//! the page, are validated in full.

use std::cmp::Ordering;

use super::PageOp;
use crate::access::{PageBytes, Sparse};
use crate::error::Corrupt;
use crate::ids::{PageId, PageNo};
use crate::limits::{PAGE_HEADER_BYTES, SLOT_BYTES, is_inline, is_page_size, max_key};
use crate::map::{self, Map, Run};
use crate::meta::{META_PAGE, MetaFields};
use crate::node::{FIRST_CHILD, LOWER, Node, UPPER};
use crate::overflow;
use crate::page::{self, Kind};
use crate::slot::head_of;
use crate::value::Value;

/// `Err` naming the rule and the place unless it holds.
fn require(holds: bool, what: &'static str, at: usize) -> Result<(), Corrupt> {
    if holds { Ok(()) } else { Err(Corrupt::new(what, at)) }
}

fn place_of_slot(slot: usize) -> usize {
    PAGE_HEADER_BYTES + SLOT_BYTES * slot
}

impl PageOp<'_> {
    /// Whether the op may be applied to `page`, which is page `id`. The error says what does not
    /// hold, and where on the page.
    ///
    /// A page that was never written may be initialised only.
    pub fn check<P: PageBytes>(&self, id: PageId, page: &P) -> Result<(), Corrupt> {
        require(is_page_size(page.len()), "page size", page.len())?;
        if self.is_init() {
            return self.check_init(id, page.len());
        }
        page::check_header(page, id)?;
        let expected = match self {
            PageOp::MapSet { .. } => Kind::Map,
            PageOp::MetaSet(_) => Kind::Meta,
            _ => Kind::Node,
        };
        require(page::kind(page) == Some(expected), "page kind", page::KIND)?;
        match self {
            PageOp::MapSet { first, count, allocated } => {
                Map::new(page).check_set(Run { first: *first, count: *count }, *allocated)
            }
            PageOp::MetaSet(fields) => check_meta_set(page, fields),
            _ => self.check_on_node(&Node::new(page)),
        }
    }

    fn check_init(&self, id: PageId, size: usize) -> Result<(), Corrupt> {
        if !matches!(self, PageOp::FormatMap { .. } | PageOp::FormatMeta(_)) {
            let fixed = id.page == META_PAGE || map::is_map_page(size, id.page);
            require(!fixed, "page number of a node or a value", page::PAGE_NO)?;
        }
        match self {
            PageOp::Image { head, tail } => {
                let whole = head.len() >= PAGE_HEADER_BYTES && head.len() + tail.len() <= size;
                require(whole, "image length", 0)?;
                let image = Sparse { len: size, head, tail };
                // Only nodes are made elsewhere; the other kinds have ops of their own, which
                // know the page's number.
                require(page::kind(&image) == Some(Kind::Node), "page kind", page::KIND)?;
                Node::new(image).validate()
            }
            PageOp::FormatNode { level, lower, upper, first_child } => {
                let longest = max_key(size);
                require(lower.len() <= longest, "lower fence", LOWER)?;
                if let Some(upper) = upper {
                    require(upper.len() <= longest, "upper fence", UPPER)?;
                    require(lower < upper, "fence order", LOWER)?;
                }
                require((*level == 0) == first_child.is_none(), "first child", FIRST_CHILD)
            }
            PageOp::FormatMap { group } => {
                let fits = map::map_page(size, *group) == Some(id.page);
                require(fits, "page number of a map", page::PAGE_NO)
            }
            PageOp::FormatMeta(fields) => {
                require(id.page == META_PAGE, "page number of the meta page", page::PAGE_NO)?;
                check_page_bytes(fields, size)
            }
            PageOp::FormatOverflow { extent_pages, next_extent, data } => {
                overflow::check_format(size, *extent_pages, *next_extent, data)
            }
            _ => Ok(()),
        }
    }

    fn check_on_node<P: PageBytes>(&self, node: &Node<P>) -> Result<(), Corrupt> {
        match self {
            PageOp::LeafInsert { .. }
            | PageOp::LeafReplace { .. }
            | PageOp::LeafGhost { .. }
            | PageOp::LeafPurge { .. } => {
                require(node.is_leaf(), "level of a leaf", page::LEVEL)?;
            }
            PageOp::NodeTruncate { .. } => {}
            _ => require(!node.is_leaf(), "level of an inner node", page::LEVEL)?,
        }
        match self {
            PageOp::LeafInsert { slot, key, value } => {
                let index = check_position(node, *slot, key)?;
                check_value(node, key.len(), value, place_of_slot(index))?;
                require(node.entry_fits(key.len(), value), "room", place_of_slot(index))
            }
            PageOp::LeafReplace { slot, value } => {
                let index = check_slot(node, *slot)?;
                let key_len = node.prefix_len() + node.slot(index).key_len();
                check_value(node, key_len, value, place_of_slot(index))?;
                require(node.replacement_fits(index, value), "room", place_of_slot(index))
            }
            PageOp::LeafGhost { slot, ghost } => {
                let index = check_slot(node, *slot)?;
                require(node.is_ghost(index) != *ghost, "ghost state", place_of_slot(index))
            }
            PageOp::LeafPurge { slots } => check_purge(node, slots),
            PageOp::InnerInsert { slot, separator, child } => {
                let index = check_position(node, *slot, separator)?;
                check_child(*child, place_of_slot(index))?;
                let above_lower = index > 0 || {
                    let lower = node.lower_range();
                    node.page().compare(lower.start, lower.len(), separator) == Ordering::Less
                };
                require(above_lower, "separator at the lower fence", LOWER)?;
                require(node.child_fits(separator.len()), "room", place_of_slot(index))
            }
            PageOp::InnerRemove { slot } => check_slot(node, *slot).map(|_| ()),
            PageOp::InnerSetChild { slot, child } => {
                let index = slot.map(|slot| check_slot(node, slot)).transpose()?;
                check_child(*child, index.map_or(FIRST_CHILD, place_of_slot))
            }
            PageOp::NodeTruncate { keep, upper } => check_truncate(node, usize::from(*keep), upper),
            _ => Ok(()),
        }
    }
}

fn check_slot<P: PageBytes>(node: &Node<P>, slot: u16) -> Result<usize, Corrupt> {
    let index = usize::from(slot);
    require(index < node.count(), "slot number", place_of_slot(index))?;
    Ok(index)
}

fn check_child(child: PageNo, at: usize) -> Result<(), Corrupt> {
    require(!child.is_none(), "child page number", at)
}

/// A new key belongs between its neighbours, and between the fences.
fn check_position<P: PageBytes>(node: &Node<P>, slot: u16, key: &[u8]) -> Result<usize, Corrupt> {
    let (index, count) = (usize::from(slot), node.count());
    let at = place_of_slot(index);
    require(index <= count, "slot number", at)?;
    require(key.len() <= max_key(node.page().len()), "key length", at)?;
    require(node.covers(key), "key outside the fences", at)?;
    let suffix = key.get(node.prefix_len()..).unwrap_or(&[]);
    if let Some(before) = index.checked_sub(1) {
        let order = compare_entry(node, before, suffix);
        require(order == Ordering::Less, "key order", place_of_slot(before))?;
    }
    if index < count {
        require(compare_entry(node, index, suffix) == Ordering::Greater, "key order", at)?;
    }
    Ok(index)
}

fn compare_entry<P: PageBytes>(node: &Node<P>, index: usize, suffix: &[u8]) -> Ordering {
    let slot = node.slot(index);
    let heads = slot.head().cmp(&head_of(suffix));
    heads.then_with(|| slot.compare_after_head(node.page(), suffix))
}

fn check_value<P: PageBytes>(
    node: &Node<P>,
    key_len: usize,
    value: &Value<'_>,
    at: usize,
) -> Result<(), Corrupt> {
    match value {
        Value::Inline(bytes) => {
            let inline = is_inline(node.page().len(), key_len, bytes.len() as u64);
            require(inline, "length of an inline value", at)
        }
        Value::Overflow(overflow) => overflow.check(at),
    }
}

fn check_purge<P: PageBytes>(node: &Node<P>, slots: &[u16]) -> Result<(), Corrupt> {
    require(!slots.is_empty(), "list of slots", PAGE_HEADER_BYTES)?;
    let mut least = 0;
    for slot in slots {
        let index = check_slot(node, *slot)?;
        require(index >= least, "order of slots", place_of_slot(index))?;
        require(node.is_ghost(index), "purge of what is no ghost", place_of_slot(index))?;
        least = index + 1;
    }
    Ok(())
}

fn check_truncate<P: PageBytes>(node: &Node<P>, keep: usize, upper: &[u8]) -> Result<(), Corrupt> {
    let (lower, old_upper) = node.fences();
    require(keep <= node.count(), "slot number", place_of_slot(keep))?;
    require(upper.len() <= max_key(node.page().len()), "upper fence", UPPER)?;
    require(*lower < *upper, "fence order", LOWER)?;
    require(old_upper.is_none_or(|old| *upper < *old), "fence order", UPPER)?;
    let suffix = upper.get(node.prefix_len()..).unwrap_or(&[]);
    if let Some(last) = keep.checked_sub(1) {
        let below = compare_entry(node, last, suffix) == Ordering::Less;
        require(below, "key above the upper fence", place_of_slot(last))?;
    }
    if keep < node.count() {
        let above = compare_entry(node, keep, suffix) != Ordering::Less;
        require(above, "key lost by a split", place_of_slot(keep))?;
    }
    require(node.truncated_bytes(keep, upper) <= node.page().len(), "room", UPPER)
}

fn check_page_bytes(fields: &MetaFields, size: usize) -> Result<(), Corrupt> {
    require(fields.page_bytes as usize == size, "page size", crate::meta::PAGE_BYTES_AT)?;
    fields.check_groups(crate::meta::GROUPS_AT)
}

/// A file keeps what makes it that file.
fn check_meta_set<P: PageBytes>(page: &P, fields: &MetaFields) -> Result<(), Corrupt> {
    check_page_bytes(fields, page.len())?;
    let Ok(old) = MetaFields::read(page) else {
        return Err(Corrupt::new("meta page", PAGE_HEADER_BYTES));
    };
    let same = old.environment == fields.environment && old.access_method == fields.access_method;
    require(same, "identity of the file", crate::meta::ENVIRONMENT_AT)?;
    require(old.groups <= fields.groups, "number of groups", crate::meta::GROUPS_AT)
}
