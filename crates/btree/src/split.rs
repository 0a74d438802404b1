//! Making room: splits.
//!
//! Owns: the descent in split mode and the records of a split. Promises: one call makes at most
//! one structure change, as one redo-only record (B8), at the highest place that needs one; the
//! caller starts its operation again. Must never: decide where to cut (`split_point.rs`).

use campanile_format::limits::SLOT_BYTES;
use campanile_format::planted::{self, Bug};
use campanile_format::record::Undo;
use campanile_format::{NodeBuilder, NodeImage, PageNo, PageOp, Value, max_key};
use campanile_pagestore::PageWrite;
use campanile_txn::{By, Change, FreePages};

use crate::descend::{damaged, node_of};
use crate::error::TreeError;
use crate::split_point::{Bounds, Cut, Piece, cut_inner, cut_leaf};
use crate::tree::{Tree, one};
use crate::write::has_room;

impl<'e> Tree<'e> {
    /// Makes one split on the way to giving an entry of `key` and `value` its room.
    pub(crate) fn make_room(&self, key: &[u8], value: &Value<'_>) -> Result<(), TreeError> {
        let longest = max_key(self.page_bytes());
        let mut path = self.write_path(key, |node| node.child_fits(longest))?;
        let mut at = path.len() - 1;
        if has_room(&node_of(&path[at]), key, value) {
            return Ok(());
        }
        let mut cut = self.leaf_cut(&path[at], key, value)?;
        while at > 0 && !node_of(&path[at - 1]).child_fits(cut.separator.len()) {
            at -= 1;
            cut = self.inner_cut(&path[at], key)?;
        }
        path.truncate(at + 1);
        let node = path.pop();
        match (path.pop(), node) {
            (Some(parent), Some(node)) => self.split_below(parent, node, &cut),
            (None, Some(root)) => self.split_root(root, &cut),
            (_, None) => unreachable!("a path has at least the root"),
        }
    }

    fn leaf_cut(
        &self,
        leaf: &PageWrite<'_>,
        key: &[u8],
        value: &Value<'_>,
    ) -> Result<Cut, TreeError> {
        let node = node_of(leaf);
        let (lower, upper) = node.fences();
        let found = node.search(key);
        let keys: Vec<Vec<u8>> = (0..node.count()).map(|slot| node.key(slot)).collect();
        let whole = |key: &[u8], value: usize| SLOT_BYTES + key.len() + value;
        let wanted = whole(key, value.stored_len());
        let mut pieces: Vec<Piece<'_>> = Vec::with_capacity(keys.len() + 1);
        for (slot, key) in keys.iter().enumerate() {
            let stored = SLOT_BYTES + node.entry_bytes(slot) + node.prefix_len();
            let wanted_bytes = if found == Ok(slot) { wanted } else { stored };
            pieces.push(Piece { key, stored_bytes: Some(stored), wanted_bytes });
        }
        let mut append = false;
        if let Err(slot) = found {
            append = slot == pieces.len() && upper.is_none();
            pieces.insert(slot, Piece { key, stored_bytes: None, wanted_bytes: wanted });
        }
        let bounds =
            Bounds { page_bytes: self.page_bytes(), lower: &lower, upper: upper.as_deref() };
        cut_leaf(bounds, &pieces, append)
            .ok_or_else(|| damaged(leaf, "its entries cannot be split over two pages"))
    }

    fn inner_cut(&self, page: &PageWrite<'_>, key: &[u8]) -> Result<Cut, TreeError> {
        let node = node_of(page);
        let keys: Vec<Vec<u8>> = (0..node.count()).map(|slot| node.key(slot)).collect();
        let separators: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let (lower, upper) = node.fences();
        let append = upper.is_none() && keys.last().is_some_and(|last| last.as_slice() <= key);
        let bounds =
            Bounds { page_bytes: self.page_bytes(), lower: &lower, upper: upper.as_deref() };
        cut_inner(bounds, &separators, append)
            .ok_or_else(|| damaged(page, "its separators cannot be split over two pages"))
    }

    /// Splits `left`, a child of `parent`, which has room for the separator.
    fn split_below(
        &self,
        mut parent: PageWrite<'e>,
        mut left: PageWrite<'e>,
        cut: &Cut,
    ) -> Result<(), TreeError> {
        let slot = match node_of(&parent).search(&cut.separator) {
            Err(slot) => slot,
            Ok(_) => return Err(damaged(&parent, "it has the separator of a split already")),
        };
        let image = self.right_half(&left, cut)?;
        let FreePages { pages, mut map } = self.txns.find_free(self.file, 1)?;
        let new = pages[0];
        let mut right = self.store().fresh(self.page_id(new))?;
        tracing::debug!(file = %self.file, left = %left.id().page, right = %new, "split");
        let truncate = PageOp::NodeTruncate { keep: cut.keep as u16, upper: &cut.separator };
        let mut changes = vec![one(&mut left, truncate), one(&mut right, image.op()), map.change()];
        if !planted::is(Bug::SplitWithoutParent) {
            let separator = &cut.separator;
            let insert = PageOp::InnerInsert { slot: slot as u16, separator, child: new };
            changes.push(one(&mut parent, insert));
        }
        self.apply(By::System, &mut changes, Undo::None)?;
        self.note_ghosts(&image, new);
        Ok(())
    }

    /// Moves the root's content to two new children.
    fn split_root(&self, mut root: PageWrite<'e>, cut: &Cut) -> Result<(), TreeError> {
        let node = node_of(&root);
        let Some(level) = node.level().checked_add(1) else {
            return Err(damaged(&root, "the tree is higher than any tree can be"));
        };
        let left_image = self.left_half(&root, cut)?;
        let right_image = self.right_half(&root, cut)?;
        let FreePages { pages, mut map } = self.txns.find_free(self.file, 2)?;
        let (first, second) = (pages[0], pages[1]);
        let mut left = self.store().fresh(self.page_id(first))?;
        let mut right = self.store().fresh(self.page_id(second))?;
        tracing::debug!(file = %self.file, level, "the root rises");
        let separator = &cut.separator;
        let raise = vec![
            PageOp::FormatNode { level, lower: &[], upper: None, first_child: first },
            PageOp::InnerInsert { slot: 0, separator, child: second },
        ];
        let mut changes = vec![
            Change::new(&mut root, raise),
            one(&mut left, left_image.op()),
            one(&mut right, right_image.op()),
            map.change(),
        ];
        self.apply(By::System, &mut changes, Undo::None)?;
        self.note_ghosts(&left_image, first);
        self.note_ghosts(&right_image, second);
        Ok(())
    }

    /// Ghosts that a split moved to a new page are to be found there.
    fn note_ghosts(&self, image: &NodeImage, page: PageNo) {
        let node = image.node();
        if node.is_leaf() && (0..node.count()).any(|slot| node.is_ghost(slot)) {
            self.forest.backlog.note(self.page_id(page));
        }
    }

    /// The new right page of a split of `page`.
    fn right_half(&self, page: &PageWrite<'_>, cut: &Cut) -> Result<NodeImage, TreeError> {
        let node = node_of(page);
        let (_, upper) = node.fences();
        let (first_child, from) = if node.is_leaf() {
            (PageNo::NONE, cut.keep)
        } else {
            (node.child_at(Some(cut.keep)), cut.keep + 1)
        };
        let mut builder = NodeBuilder::new(
            self.page_bytes(),
            node.level(),
            &cut.separator,
            upper.as_deref(),
            first_child,
        );
        if !(from..node.count()).all(|slot| builder.push_from(&node, slot)) {
            return Err(damaged(page, "its entries are larger than the page says"));
        }
        Ok(builder.into_image())
    }

    /// The new left page of a split of the root.
    fn left_half(&self, page: &PageWrite<'_>, cut: &Cut) -> Result<NodeImage, TreeError> {
        let node = node_of(page);
        let (lower, _) = node.fences();
        let mut builder = NodeBuilder::new(
            self.page_bytes(),
            node.level(),
            &lower,
            Some(&cut.separator),
            node.first_child(),
        );
        if !(0..cut.keep).all(|slot| builder.push_from(&node, slot)) {
            return Err(damaged(page, "its entries are larger than the page says"));
        }
        Ok(builder.into_image())
    }
}
