//! Carrying out an op that has been checked.
//!
//! Owns [`PageOp::apply`], for do and redo alike. Must never: fail, or look at anything but the
//! page and the op.

use super::PageOp;
use crate::access::PageBytesMut;
use crate::ids::PageId;
use crate::map::{self, Run};
use crate::node::build::{NodeBuilder, Payload};
use crate::node::edit::NodeEdit;
use crate::overflow;
use crate::page::{self, Kind};

impl PageOp<'_> {
    /// Changes `page`, which is page `id`, and on whose present bytes [`PageOp::check`] passed.
    ///
    /// On other bytes the outcome is unspecified, but it is not a panic. An op that is
    /// [`PageOp::is_init`] leaves the LSN zero.
    pub fn apply<P: PageBytesMut>(&self, id: PageId, page: &mut P) {
        match self {
            PageOp::Image { head, tail } => put_image(page, id, head, tail),
            PageOp::FormatNode { level, lower, upper, first_child } => {
                let size = page.len();
                let node = NodeBuilder::unchecked(size, *level, lower, *upper, *first_child);
                let image = node.into_image_unchecked();
                put_image(page, id, image.head(), image.tail());
            }
            PageOp::FormatMap { group } => {
                page::put_header(page, id, Kind::Map, 0);
                map::format(page, *group);
            }
            PageOp::FormatMeta(fields) => {
                page::put_header(page, id, Kind::Meta, 0);
                fields.put(page);
            }
            PageOp::FormatOverflow { extent_pages, next_extent, data } => {
                page::put_header(page, id, Kind::Overflow, 0);
                overflow::format(page, *extent_pages, *next_extent, data);
            }
            PageOp::MapSet { first, count, allocated } => {
                map::set(page, Run { first: *first, count: *count }, *allocated);
            }
            PageOp::MetaSet(fields) => fields.put(page),
            node_op => node_op.apply_to_node(page),
        }
    }

    fn apply_to_node<P: PageBytesMut>(&self, page: &mut P) {
        let mut node = NodeEdit(page);
        match self {
            PageOp::LeafInsert { slot, key, value } => {
                node.insert(usize::from(*slot), key, Payload::Value(*value));
            }
            PageOp::LeafReplace { slot, value } => node.replace(usize::from(*slot), *value),
            PageOp::LeafGhost { slot, ghost } => node.set_ghost(usize::from(*slot), *ghost),
            PageOp::LeafPurge { slots } => node.remove(slots),
            PageOp::InnerInsert { slot, separator, child } => {
                node.insert(usize::from(*slot), separator, Payload::Child(*child));
            }
            PageOp::InnerRemove { slot } => node.remove(&[*slot]),
            PageOp::InnerSetChild { slot, child } => node.set_child(slot.map(usize::from), *child),
            PageOp::NodeTruncate { keep, upper } => node.truncate(usize::from(*keep), upper),
            // Not ops on nodes: `apply` deals with them.
            PageOp::Image { .. }
            | PageOp::FormatNode { .. }
            | PageOp::FormatMap { .. }
            | PageOp::FormatMeta(_)
            | PageOp::FormatOverflow { .. }
            | PageOp::MapSet { .. }
            | PageOp::MetaSet(_) => {}
        }
    }
}

/// Makes the page an image, with its own identity.
fn put_image<P: PageBytesMut>(page: &mut P, id: PageId, head: &[u8], tail: &[u8]) {
    let tail_start = page.len().saturating_sub(tail.len());
    page.put_bytes(0, head);
    page.fill(head.len(), tail_start.saturating_sub(head.len()), 0);
    page.put_bytes(tail_start, tail);
    page.put_u32(page::CRC, 0);
    page.put_u64(page::LSN, 0);
    page::put_id(page, id);
}
