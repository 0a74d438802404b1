//! A leaf in private memory.
//!
//! Owns: [`LeafCopy`], what a cursor reads from between two descents. Promises: bytes and
//! visibility were taken of one state of the page, so they belong together; keys and values handed
//! out are slices of the copy. Must never: be used for a reader that does not hold what it was
//! taken for (see [`LeafCopy::is_current`]).

use campanile_format::{Node, PageBytes, PageId, Plain, page};
use campanile_pagestore::PageVersion;
use campanile_txn::Snapshot;

use crate::descend::{Shown, Target};
use crate::error::TreeError;
use crate::glimpse::Leaf;
use crate::tree::Tree;
use crate::visible::{Eyes, Sight};

/// A copied leaf.
#[derive(Debug, Default)]
pub(crate) struct LeafCopy {
    bytes: Vec<u8>,
    /// The forest it comes from; 0: none, nothing was copied.
    forest: u64,
    page: PageId,
    version: PageVersion,
    /// The snapshot's number for which it was taken; `None`: for a reader of the newest state.
    snapshot: Option<u64>,
    /// What the snapshot sees of each slot, if that is not simply what the page shows.
    sights: Option<Vec<Option<Sight>>>,
}

impl LeafCopy {
    /// Copies the leaf for `target`.
    pub fn take(
        &mut self,
        tree: &Tree<'_>,
        snapshot: Option<&Snapshot>,
        target: Target<'_>,
    ) -> Result<(), TreeError> {
        self.forest = 0;
        self.bytes.resize(tree.page_bytes(), 0);
        tree.look_at_leaf(target, |leaf| self.copy(tree, snapshot, leaf))?;
        self.snapshot = snapshot.map(Snapshot::number);
        self.forest = tree.forest.number;
        Ok(())
    }

    fn copy(
        &mut self,
        tree: &Tree<'_>,
        snapshot: Option<&Snapshot>,
        leaf: Leaf<'_>,
    ) -> Result<(), TreeError> {
        self.page = leaf.id();
        self.version = leaf.version();
        leaf.words().copy_out(0, &mut self.bytes);
        let eyes = Eyes::for_page(tree.txns, tree.file, snapshot, page::lsn(&Plain(&self.bytes)));
        self.sights = None;
        if eyes.snapshot.is_some() {
            let node = self.node();
            let mut key = Vec::new();
            let sights = (0..node.count()).map(|slot| {
                node.key_into(slot, &mut key);
                eyes.see(&node, slot, &key)
            });
            self.sights = Some(sights.collect::<Result<_, _>>()?);
        }
        Ok(())
    }

    /// Whether a reader may go on using the copy: it was taken for the same one, and nothing has
    /// changed that this reader sees.
    pub fn is_current(&self, tree: &Tree<'_>, snapshot: Option<&Snapshot>) -> bool {
        self.forest == tree.forest.number
            && self.page.file == tree.file
            && self.snapshot == snapshot.map(Snapshot::number)
            && (snapshot.is_some() || tree.store().has_version(self.version))
    }

    /// The copy as a node.
    pub fn node(&self) -> Node<Plain<'_>> {
        Node::new(Plain(&self.bytes))
    }

    /// Bytes of the copy, which sights point into.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is seen of the entry in `slot`.
    pub fn sight(&self, slot: usize) -> Option<Sight> {
        if let Some(sights) = &self.sights {
            return sights.get(slot).cloned().flatten();
        }
        let node = self.node();
        if node.is_ghost(slot) {
            return None;
        }
        Some(Sight::of(&node, slot))
    }

    /// Whether what is seen of the entry in `slot` has pages of its own.
    pub fn is_overflow(&self, slot: usize) -> bool {
        matches!(self.sight(slot), Some(Sight::Overflow(_)))
    }

    /// The state of the page that was copied.
    pub fn version(&self) -> PageVersion {
        self.version
    }

    /// Whether anything is seen of the entry in `slot`.
    pub fn is_visible(&self, slot: usize) -> bool {
        match &self.sights {
            Some(sights) => sights.get(slot).is_some_and(Option::is_some),
            None => !self.node().is_ghost(slot),
        }
    }

    /// The first visible slot from `from` on.
    pub fn visible_from(&self, from: usize) -> Option<usize> {
        (from..self.node().count()).find(|slot| self.is_visible(*slot))
    }

    /// The last visible slot below `end`.
    pub fn visible_below(&self, end: usize) -> Option<usize> {
        (0..end.min(self.node().count())).rev().find(|slot| self.is_visible(*slot))
    }
}
