//! Undoing, by key.
//!
//! Owns: the access method's side of every rollback, of a running transaction and in recovery
//! alike. Promises: exactly one compensation record for each thing undone, after as many
//! structure changes as it takes to make room; the key is found by descent, wherever it went. Must
//! never: remove an entry (an undone insert leaves a ghost: no room is needed for that, and who
//! holds a lock on the gap before the key keeps his boundary).

use campanile_format::map::map_page;
use campanile_format::record::Undo;
use campanile_format::{FileId, Lsn, Node, PageNo, PageOp, Value, Words};
use campanile_txn::{By, LogicalUndo, Transactions, Txn, TxnError};

use crate::descend::{damaged, node_of};
use crate::error::TreeError;
use crate::forest::Forest;
use crate::tree::{Tree, one};
use crate::write::{Mode, entry_op};

impl LogicalUndo for Forest {
    fn undo(
        &self,
        txns: &Transactions,
        txn: &mut Txn,
        undo: &Undo<'_>,
        undo_next: Lsn,
    ) -> Result<(), TxnError> {
        let by = By::Compensate { txn, undo_next };
        let file = match undo {
            Undo::Insert { file, .. }
            | Undo::Replace { file, .. }
            | Undo::Delete { file, .. }
            | Undo::ClearTree { file } => *file,
            Undo::None | Undo::AllocExtent { .. } | Undo::CreateFile { .. } => {
                unreachable!("the transaction layer undoes {undo:?} itself")
            }
        };
        let tree = self.tree(txns, file);
        if !tree.file_exists()? {
            return Ok(());
        }
        match undo {
            Undo::Insert { key, .. } => tree.undo_insert(by, key)?,
            Undo::Replace { key, old, .. } | Undo::Delete { key, old, .. } => {
                tree.undo_change(by, key, old)?;
            }
            _ => tree.undo_load(by)?,
        }
        Ok(())
    }
}

impl Tree<'_> {
    /// Takes back an insert.
    fn undo_insert(&self, by: By<'_>, key: &[u8]) -> Result<(), TreeError> {
        let mut leaf = self.write_leaf(key)?;
        let node = node_of(&leaf);
        let slot = match node.search(key) {
            Ok(slot) if !node.is_ghost(slot) => slot,
            // Recovery has forgotten the row: see `Forest::purge_after_recovery`.
            _ if self.file == FileId::GRAVEYARD => return Ok(()),
            _ => return Err(damaged(&leaf, "an entry whose insert is undone is not there")),
        };
        let op = PageOp::LeafGhost { slot: slot as u16, ghost: true };
        self.apply(by, &mut [one(&mut leaf, op)], Undo::None)?;
        self.forest.backlog.note(leaf.id());
        Ok(())
    }

    /// Puts a value back that was replaced or deleted.
    ///
    /// The entry is there, be it as a ghost: its page is not settled while the transaction lives,
    /// so nobody purged it. Should it be gone all the same it is inserted again.
    fn undo_change(&self, by: By<'_>, key: &[u8], old: &Value<'_>) -> Result<(), TreeError> {
        let room = self.leaf_with_room(key, old, Mode::Put)?;
        let Some((mut leaf, found)) = room else { unreachable!("a put is never refused") };
        let op = entry_op(found, key, *old);
        self.apply(by, &mut [one(&mut leaf, op)], Undo::None)?;
        Ok(())
    }

    /// Takes back a bulk load: the tree was untouched before it, so it is empty and every page but
    /// the fixed ones is free. Each step can be repeated, should a crash come in between.
    fn undo_load(&self, by: By<'_>) -> Result<(), TreeError> {
        let below = self.empty_root(By::System)?;
        self.drain(below)?;
        for group in 0..self.groups()? {
            let Some(map) = map_page(self.page_bytes(), group) else { break };
            let mut map = self.store().fresh(self.page_id(map))?;
            self.apply(By::System, &mut [one(&mut map, PageOp::FormatMap { group })], Undo::None)?;
        }
        self.txns.forget_space(self.file);
        self.empty_root(by)?;
        Ok(())
    }

    /// Makes the root an empty leaf; gives its former children if those are inner nodes.
    fn empty_root(&self, by: By<'_>) -> Result<Vec<PageNo>, TreeError> {
        let mut root = self.store().write(self.root())?;
        let below = inner_children(&node_of(&root));
        let op =
            PageOp::FormatNode { level: 0, lower: &[], upper: None, first_child: PageNo::NONE };
        self.apply(by, &mut [one(&mut root, op)], Undo::None)?;
        Ok(below)
    }

    /// Waits until no reader is on its way through these nodes, which the root has let go of. Who
    /// goes from a node to its child looks at the child first and has the node latched or asks
    /// last whether it changed. So whoever is still inside when a node is latched exclusively and
    /// its glimpses are ended, is further down and met there; and when all inner nodes are through,
    /// nobody finds a leaf any more, and those who have are sent away.
    fn drain(&self, mut level: Vec<PageNo>) -> Result<(), TreeError> {
        while !level.is_empty() {
            let mut below = Vec::new();
            for page in level {
                let mut latched = self.store().write(self.page_id(page))?;
                latched.expel();
                below.extend(inner_children(&node_of(&latched)));
            }
            level = below;
        }
        self.store().expel_readers(self.file);
        Ok(())
    }
}

/// The children of a node, if they are inner nodes themselves.
fn inner_children(node: &Node<Words<'_>>) -> Vec<PageNo> {
    if !node.is_node() || node.level() < 2 {
        return Vec::new();
    }
    (0..=node.count()).map(|slot| node.child_at(slot.checked_sub(1))).collect()
}
