//! Page operations: every way a page can change, as data.
//!
//! Owns [`PageOp`]. The same op is checked and applied when a transaction changes a page and when
//! recovery repeats the change, so there is no second code path to keep in step. Promises:
//!
//! * [`PageOp::check`] does everything that can fail; after it, [`PageOp::apply`] cannot.
//! * `apply` depends on the page's bytes and the op alone. Do and redo give equal pages.
//! * A page that is valid stays valid under every op that passes its check.
//! * Neither panics on any bytes.
//!
//! Ops touch everything but checksum and LSN; [`crate::page::stamp`] sets the LSN afterwards.

use std::borrow::Cow;

use crate::access::{PageBytes, PageBytesMut, PlainMut};
use crate::error::Corrupt;
use crate::ids::{Lsn, PageId, PageNo};
use crate::meta::MetaFields;
use crate::page;
use crate::value::Value;

mod apply;
mod check;
mod codec;

pub use codec::OpTag;

/// One change of one page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PageOp<'a> {
    /// Makes the page these bytes: `head`, zeros, `tail`. Checksum, LSN and identity in `head`
    /// are ignored.
    Image {
        /// From offset 0 on; at least the header.
        head: &'a [u8],
        /// Up to the end of the page.
        tail: &'a [u8],
    },
    /// Makes the page an empty node.
    FormatNode {
        /// 0 for a leaf.
        level: u8,
        /// Lower fence.
        lower: &'a [u8],
        /// Upper fence; `None` if the node covers everything from `lower` on.
        upper: Option<&'a [u8]>,
        /// The only child of an inner node; none for a leaf.
        first_child: PageNo,
    },
    /// Makes the page the map of a group in which only the fixed pages are allocated.
    FormatMap {
        /// The group.
        group: u32,
    },
    /// Makes the page the meta page of its file.
    FormatMeta(MetaFields),
    /// Makes the page a part of a long value.
    FormatOverflow {
        /// Pages of the extent that begins here; 0 if this is not its first.
        extent_pages: u32,
        /// First page of the next extent; none if this is the last, or not an extent's first page.
        next_extent: PageNo,
        /// The bytes on this page.
        data: &'a [u8],
    },
    /// Inserts an entry into a leaf.
    LeafInsert {
        /// Where: before the entry that has this slot now.
        slot: u16,
        /// The whole key.
        key: &'a [u8],
        /// Its value.
        value: Value<'a>,
    },
    /// Gives an entry of a leaf another value; it is no ghost then.
    LeafReplace {
        /// Which.
        slot: u16,
        /// The new value.
        value: Value<'a>,
    },
    /// Makes an entry of a leaf a ghost, or no ghost any more.
    LeafGhost {
        /// Which.
        slot: u16,
        /// The new state; differs from the old.
        ghost: bool,
    },
    /// Takes ghosts out of a leaf for good.
    LeafPurge {
        /// Which, in ascending order.
        slots: Cow<'a, [u16]>,
    },
    /// Inserts a child into an inner node.
    InnerInsert {
        /// Where: before the entry that has this slot now.
        slot: u16,
        /// The least key that belongs to the child (whole).
        separator: &'a [u8],
        /// The child.
        child: PageNo,
    },
    /// Takes a separator and its child out of an inner node; the keys go to the child before it.
    InnerRemove {
        /// Which.
        slot: u16,
    },
    /// Replaces a child of an inner node.
    InnerSetChild {
        /// Whose: an entry's, or the first child.
        slot: Option<u16>,
        /// The new child.
        child: PageNo,
    },
    /// Keeps a node's first entries and ends it before `upper`: the left half of a split. The
    /// entries dropped are those from `upper` on.
    NodeTruncate {
        /// Entries that stay.
        keep: u16,
        /// The new upper fence.
        upper: &'a [u8],
    },
    /// Allocates or frees pages of a group.
    MapSet {
        /// First bit.
        first: u32,
        /// Bits; all in the other state now.
        count: u32,
        /// The new state.
        allocated: bool,
    },
    /// Replaces the fields of the meta page.
    MetaSet(MetaFields),
}

impl<'a> PageOp<'a> {
    /// Ghosts of a leaf to purge.
    #[must_use]
    pub fn purge(slots: &'a [u16]) -> PageOp<'a> {
        PageOp::LeafPurge { slots: Cow::Borrowed(slots) }
    }

    /// Whether the op needs no previous content: it makes the page from nothing. A page whose
    /// first change since it was clean is such an op can be rebuilt from the log if it is torn.
    #[must_use]
    pub fn is_init(&self) -> bool {
        matches!(
            self,
            PageOp::Image { .. }
                | PageOp::FormatNode { .. }
                | PageOp::FormatMap { .. }
                | PageOp::FormatMeta(_)
                | PageOp::FormatOverflow { .. }
        )
    }
}

/// Whether a change that consists of these ops needs no previous content of the page.
#[must_use]
pub fn begins_with_init(ops: &[PageOp<'_>]) -> bool {
    ops.first().is_some_and(PageOp::is_init)
}

/// Checks ops that are to be applied to `page` one after the other. Changes nothing; with more
/// than one op the later ones are tried on a copy.
pub fn check_all<P: PageBytes>(ops: &[PageOp<'_>], id: PageId, page: &P) -> Result<(), Corrupt> {
    let Some((first, rest)) = ops.split_first() else {
        return Ok(());
    };
    first.check(id, page)?;
    if rest.is_empty() {
        return Ok(());
    }
    let mut copy = vec![0; page.len()];
    page.copy_out(0, &mut copy);
    let mut copy = PlainMut(&mut copy);
    let mut before = first;
    for op in rest {
        before.apply(id, &mut copy);
        op.check(id, &copy)?;
        before = op;
    }
    Ok(())
}

/// Applies ops that [`check_all`] has passed, and stamps the page with the LSN of their record.
pub fn apply_all<P: PageBytesMut>(ops: &[PageOp<'_>], id: PageId, page: &mut P, lsn: Lsn) {
    for op in ops {
        op.apply(id, page);
    }
    page::stamp(page, lsn);
}

#[cfg(test)]
mod tests;
