//! Building a tree from sorted pairs.
//!
//! Owns: the load itself; `builder_level.rs` has the nodes under construction. Promises: one image
//! a page, inner nodes on the way, the root last and in one record; a rollback leaves an empty
//! tree. Into a tree that was used before, the pairs are simply put. Must never: keep more than a
//! page of pairs for each level.
//!
//! The load begins with a record that changes nothing (the empty root is formatted again) but whose
//! undo is `ClearTree`: the root is emptied and every map made fresh. So the nodes' own pages need
//! no undo; extents of large values, taken in between, are freed one by one before that.

use std::collections::VecDeque;
use std::error::Error;

use campanile_format::map::{Map, map_page};
use campanile_format::record::Undo;
use campanile_format::{PageNo, PageOp, Value, is_inline};
use campanile_txn::{Access, By, FreePages, Txn};

use crate::builder_level::{Finished, InnerLevel, LeafLevel};
use crate::descend::node_of;
use crate::error::TreeError;
use crate::locking::Locks;
use crate::tree::{Tree, one};

/// How full a loaded page is made.
const FILL_PERCENT: usize = 95;

impl Tree<'_> {
    /// Stores pairs whose keys ascend strictly. Gives their number.
    ///
    /// An untouched tree is built bottom-up; nobody else may write to it until `txn` ends.
    ///
    /// # Errors
    /// As [`Tree::put`]; [`TreeError::NotAscending`]; whatever the input gives. After an error
    /// nothing of the load is left.
    pub fn bulk_load<K, V, E, I>(&self, txn: &mut Txn, pairs: I) -> Result<u64, TreeError>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
        E: Into<Box<dyn Error + Send + Sync>>,
        I: IntoIterator<Item = Result<(K, V), E>>,
    {
        self.lock_file(txn, Access::Write)?;
        if self.locks != Locks::Nothing && self.is_untouched()? {
            // It is built without locks on keys, and its undo empties it: nobody else may be in it.
            self.txns.lock_whole(txn, self.file, Access::Write)?;
        }
        let mut ascending = Ascending::default();
        let pairs = pairs.into_iter().map(|pair| match pair {
            Ok((key, value)) => ascending.check(key.as_ref()).map(|()| (key, value)),
            Err(error) => Err(TreeError::Input(error.into())),
        });
        self.statement(txn, |tree, txn| {
            let alone = tree.locks == Locks::Nothing || txn.has_whole(tree.file, Access::Write);
            if alone && tree.is_untouched()? {
                tree.build(txn, pairs)
            } else {
                tree.put_all(txn, pairs)
            }
        })
    }

    /// Whether nothing was ever stored here, or nothing is left of it: the root is an empty leaf
    /// and no page is allocated but those that always are.
    ///
    /// # Errors
    /// Damage, I/O.
    pub fn is_untouched(&self) -> Result<bool, TreeError> {
        let root = self.store().read(self.root())?;
        let node = node_of(&root);
        if !node.is_node() || !node.is_leaf() || node.count() > 0 {
            return Ok(false);
        }
        drop(root);
        for group in 0..self.groups()? {
            let Some(map) = map_page(self.page_bytes(), group) else { break };
            let fixed = if group == 0 { 3 } else { 1 };
            let map = self.store().read(self.page_id(map))?;
            if Map::new(map.bytes()).allocated() != fixed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn put_all<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        txn: &mut Txn,
        pairs: impl Iterator<Item = Result<(K, V), TreeError>>,
    ) -> Result<u64, TreeError> {
        let mut count = 0;
        for pair in pairs {
            let (key, value) = pair?;
            self.put(txn, key.as_ref(), value.as_ref())?;
            count += 1;
        }
        Ok(count)
    }

    fn build<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        txn: &mut Txn,
        pairs: impl Iterator<Item = Result<(K, V), TreeError>>,
    ) -> Result<u64, TreeError> {
        self.mark_load(txn)?;
        let fill_bytes = self.page_bytes() * FILL_PERCENT / 100;
        let mut load = Load {
            tree: *self,
            leaves: LeafLevel::new(self.page_bytes(), fill_bytes),
            inner: Vec::new(),
            waiting: VecDeque::new(),
            fill_bytes,
        };
        let mut count = 0;
        for pair in pairs {
            let (key, value) = pair?;
            load.add(txn, key.as_ref(), value.as_ref())?;
            count += 1;
        }
        load.finish(txn)?;
        Ok(count)
    }

    /// The record whose undo takes back the whole load.
    fn mark_load(&self, txn: &mut Txn) -> Result<(), TreeError> {
        let mut root = self.store().write(self.root())?;
        let op =
            PageOp::FormatNode { level: 0, lower: &[], upper: None, first_child: PageNo::NONE };
        let undo = Undo::ClearTree { file: self.file };
        self.apply(By::Txn(txn), &mut [one(&mut root, op)], undo)?;
        Ok(())
    }
}

/// Sees to it that keys ascend.
#[derive(Default)]
struct Ascending {
    last: Option<Vec<u8>>,
    index: u64,
}

impl Ascending {
    fn check(&mut self, key: &[u8]) -> Result<(), TreeError> {
        let index = self.index;
        self.index += 1;
        match &mut self.last {
            Some(last) if last.as_slice() >= key => Err(TreeError::NotAscending { index }),
            Some(last) => {
                last.clear();
                last.extend_from_slice(key);
                Ok(())
            }
            None => {
                self.last = Some(key.to_vec());
                Ok(())
            }
        }
    }
}

/// A node that waits for its page.
struct Waiting {
    /// Index of its level; its parent is in `Load::inner[level]`.
    level: usize,
    node: Finished,
}

/// A load under way.
struct Load<'e> {
    tree: Tree<'e>,
    leaves: LeafLevel,
    /// Levels 1 and up.
    inner: Vec<InnerLevel>,
    /// Nodes that the next records write, in order within each level.
    waiting: VecDeque<Waiting>,
    fill_bytes: usize,
}

impl Load<'_> {
    fn add(&mut self, txn: &mut Txn, key: &[u8], value: &[u8]) -> Result<(), TreeError> {
        self.tree.check_lengths(key, value)?;
        let finished = if is_inline(self.tree.page_bytes(), key.len(), value.len() as u64) {
            self.leaves.push(key, Value::Inline(value))
        } else {
            let overflow = self.tree.write_long(txn, value)?;
            self.leaves.push(key, Value::Overflow(overflow))
        };
        self.waiting.extend(finished.map(|node| Waiting { level: 0, node }));
        while self.waiting.len() >= self.tree.batch_pages() {
            self.write_batch(txn)?;
        }
        Ok(())
    }

    /// Writes the nodes that have waited longest to pages of their own, by one record that also
    /// allocates these, and tells their parents.
    fn write_batch(&mut self, txn: &mut Txn) -> Result<(), TreeError> {
        let count = self.waiting.len().min(self.tree.batch_pages());
        let batch: Vec<Waiting> = self.waiting.drain(..count).collect();
        let FreePages { pages, mut map } = self.tree.txns.find_free(self.tree.file, count)?;
        let mut latched = Vec::with_capacity(count);
        for (waiting, page) in batch.iter().zip(&pages) {
            let page = self.tree.store().fresh(self.tree.page_id(*page))?;
            latched.push((page, &waiting.node.image));
        }
        let mut changes = vec![map.change()];
        changes.extend(latched.iter_mut().map(|(page, image)| one(page, image.op())));
        self.tree.apply(By::Txn(txn), &mut changes, Undo::None)?;
        drop(changes);
        drop(latched);
        for (waiting, page) in batch.into_iter().zip(pages) {
            let Waiting { level, node } = waiting;
            if self.inner.len() == level {
                let page_bytes = self.tree.page_bytes();
                self.inner.push(InnerLevel::new(page_bytes, self.fill_bytes, level as u8 + 1));
            }
            let finished = self.inner[level].push(node.lower, page);
            self.waiting.extend(finished.map(|node| Waiting { level: level + 1, node }));
        }
        Ok(())
    }

    /// Writes what is left of every level, and links the root.
    fn finish(mut self, txn: &mut Txn) -> Result<(), TreeError> {
        let mut rest = self.leaves.finish();
        let mut level = 0;
        while self.waiting.iter().any(|waiting| waiting.level == level)
            || self.inner.len() > level
            || rest.len() > 1
        {
            self.waiting.extend(rest.into_iter().map(|node| Waiting { level, node }));
            while !self.waiting.is_empty() {
                self.write_batch(txn)?;
            }
            rest = self.inner[level].finish();
            level += 1;
        }
        let Some(top) = rest.pop() else { return Ok(()) };
        let mut root = self.tree.store().write(self.tree.root())?;
        self.tree.apply(By::Txn(txn), &mut [one(&mut root, top.image.op())], Undo::None)?;
        Ok(())
    }
}
