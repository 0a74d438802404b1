//! Giving room back: merges, and a root that falls.
//!
//! Owns: the records of a merge and of a root collapse. Promises: one redo-only record each (B8);
//! only settled pages are merged or freed (B7), so that the undo of an allocation never meets a
//! page that a merge has freed already. Must never: decide when it is time (`clean.rs`).

use campanile_format::planted::{self, Bug};
use campanile_format::record::Undo;
use campanile_format::{NodeBuilder, PageNo, PageOp};
use campanile_pagestore::PageWrite;
use campanile_txn::By;

use crate::descend::{Target, damaged, node_of};
use crate::error::TreeError;
use crate::tree::{Tree, one};

/// What became of a page that looked too empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    /// It is one with a neighbour now; the parent, too, may be too empty.
    Yes {
        /// The page that holds both now.
        survivor: PageNo,
        /// The page above it.
        parent: PageNo,
    },
    /// No neighbour can take it, or it is not where it was.
    No,
}

impl<'e> Tree<'e> {
    /// Whether a node that uses this many bytes is worth merging.
    pub(crate) fn is_sparse(&self, used_bytes: usize) -> bool {
        used_bytes * 5 < self.page_bytes() * 2
    }

    /// Merges `page`, the node at `level` that holds `key`, with a neighbour under its parent.
    pub(crate) fn merge(&self, key: &[u8], page: PageNo, level: u8) -> Result<Merged, TreeError> {
        let Some(mut parent) = self.write_down(Target::At(key), level + 1)? else {
            return Ok(Merged::No);
        };
        let node = node_of(&parent);
        let here = node.search(key).map_or_else(|slot| slot.checked_sub(1), Some);
        if node.child_at(here) != page {
            return Ok(Merged::No);
        }
        let place = here.map_or(0, |slot| slot + 1);
        let with_right = (place < node.count()).then_some(place);
        let with_left = place.checked_sub(1);
        for separator in [with_right, with_left].into_iter().flatten() {
            if let Some(survivor) = self.merge_around(&mut parent, separator, level)? {
                return Ok(Merged::Yes { survivor, parent: parent.id().page });
            }
        }
        Ok(Merged::No)
    }

    /// Merges the two children on both sides of a separator, if they are fit for it; gives the
    /// one that is left.
    fn merge_around(
        &self,
        parent: &mut PageWrite<'e>,
        separator: usize,
        level: u8,
    ) -> Result<Option<PageNo>, TreeError> {
        let node = node_of(parent);
        let left = self.child_page(parent, node.child_at(separator.checked_sub(1)))?;
        let right = self.child_page(parent, node.child_at(Some(separator)))?;
        if left == right {
            return Err(damaged(parent, format!("it names {left} as a child twice")));
        }
        let mut left = self.store().write(left)?;
        let mut right = self.store().write(right)?;
        for child in [&left, &right] {
            if !node_of(child).is_node() || node_of(child).level() != level {
                return Err(damaged(child, "it is not a node of the level its parent says"));
            }
        }
        if !self.may_merge(&left, &right) {
            return Ok(None);
        }
        let fence = node_of(&left).fences().1;
        let between = node_of(parent).key(separator);
        if fence.as_ref() != Some(&between) || node_of(&right).fences().0 != between {
            return Err(damaged(&left, "its fences are not those its parent says"));
        }
        if level > 0 && node_of(&right).count() > 0 && node_of(&right).key(0) == between {
            return Err(damaged(&right, "its first separator is its lower fence"));
        }
        let image = self.joined(&left, &right, &between)?;
        let freed = right.id();
        let mut maps = self.txns.release(self.file, &[freed.page])?;
        tracing::debug!(file = %self.file, left = %left.id().page, %freed, "merge");
        let remove = PageOp::InnerRemove { slot: separator as u16 };
        let mut changes = vec![one(parent, remove), one(&mut left, image.op())];
        changes.extend(maps.iter_mut().map(campanile_txn::MapChange::change));
        leave_tree(&mut right);
        self.apply(By::System, &mut changes, Undo::None)?;
        Ok(Some(left.id().page))
    }

    /// Whether two neighbours shall become one: both final, one of them nearly empty, and the
    /// result with room to grow.
    fn may_merge(&self, left: &PageWrite<'_>, right: &PageWrite<'_>) -> bool {
        let (first, second) = (node_of(left), node_of(right));
        let together = first.merged_bytes(&second);
        let empty = first.level() == 0 && (first.count() == 0 || second.count() == 0);
        let limit =
            if empty { self.page_bytes() } else { self.page_bytes() - self.page_bytes() / 6 };
        let sparse = self.is_sparse(first.used_bytes()) || self.is_sparse(second.used_bytes());
        sparse && together <= limit && self.is_settled(left.lsn()) && self.is_settled(right.lsn())
    }

    fn joined(
        &self,
        left: &PageWrite<'_>,
        right: &PageWrite<'_>,
        between: &[u8],
    ) -> Result<campanile_format::NodeImage, TreeError> {
        let (first, second) = (node_of(left), node_of(right));
        let (lower, upper) = (first.fences().0, second.fences().1);
        let level = first.level();
        let mut builder = NodeBuilder::new(
            self.page_bytes(),
            level,
            &lower,
            upper.as_deref(),
            first.first_child(),
        );
        let mut fits = (0..first.count()).all(|slot| builder.push_from(&first, slot));
        if level > 0 {
            fits = fits && builder.push_child(between, second.first_child());
        }
        fits = fits && (0..second.count()).all(|slot| builder.push_from(&second, slot));
        if !fits {
            return Err(damaged(left, "its size is not what its header says"));
        }
        Ok(builder.into_image())
    }

    /// If the root has a single child, takes that child's content into the root. True if it did.
    pub(crate) fn collapse_root(&self) -> Result<bool, TreeError> {
        let mut root = self.store().write(self.root())?;
        let node = node_of(&root);
        if !node.is_node() || node.is_leaf() || node.count() > 0 {
            return Ok(false);
        }
        let mut child = self.store().write(self.child_page(&root, node.first_child())?)?;
        let below = node_of(&child);
        if !below.is_node() || below.level() + 1 != node.level() {
            return Err(damaged(&child, "it is not a node of the level its parent says"));
        }
        if below.fences() != node.fences() {
            return Err(damaged(
                &child,
                "it is an only child, but its fences are not its parent's",
            ));
        }
        if !self.is_settled(child.lsn()) {
            return Ok(false);
        }
        let mut builder =
            NodeBuilder::new(self.page_bytes(), below.level(), &[], None, below.first_child());
        if !(0..below.count()).all(|slot| builder.push_from(&below, slot)) {
            return Err(damaged(&child, "its size is not what its header says"));
        }
        let image = builder.into_image();
        let mut maps = self.txns.release(self.file, &[child.id().page])?;
        tracing::debug!(file = %self.file, freed = %child.id().page, "the root falls");
        let mut changes = vec![one(&mut root, image.op())];
        changes.extend(maps.iter_mut().map(campanile_txn::MapChange::change));
        leave_tree(&mut child);
        self.apply(By::System, &mut changes, Undo::None)?;
        Ok(true)
    }
}

/// `page` is about to be freed. Its bytes stay as they are, but who reads them without a latch must
/// not take them for a part of the tree any longer (B13).
fn leave_tree(page: &mut PageWrite<'_>) {
    if !planted::is(Bug::FreedPageNotExpelled) {
        page.expel();
    }
}
