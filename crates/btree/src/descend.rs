//! From the root to a leaf.
//!
//! Owns: coupling of latches, the check that levels fall by one and that the fences of the leaf
//! hold the key. Promises: what comes back is the one leaf for the key, latched; a damaged tree
//! gives a typed error after at most as many pages as a level can count. Must never: latch upwards,
//! or latch a page that is latched already.

use campanile_format::page::{self, Kind};
use campanile_format::{Node, PageBytes, PageId, PageNo, Words};
use campanile_pagestore::{PageRead, PageWrite};

use crate::error::TreeError;
use crate::tree::Tree;

/// Which leaf to find.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'k> {
    /// The leaf whose fences hold this key.
    At(&'k [u8]),
    /// The leaf of the keys just below this one: `lower < key <= upper`.
    Below(&'k [u8]),
    /// The last leaf.
    Last,
}

impl Target<'_> {
    /// Where in an inner node the way goes on: the slot, and with it the child.
    fn slot<P: PageBytes>(&self, node: &Node<P>) -> Option<usize> {
        match self {
            Target::At(key) => node.child_for(key).0,
            Target::Below(key) => {
                let above = match node.search(key) {
                    Ok(slot) | Err(slot) => slot,
                };
                above.checked_sub(1)
            }
            Target::Last => node.count().checked_sub(1),
        }
    }

    /// Whether a leaf with these fences is the one.
    fn is_within<P: PageBytes>(&self, node: &Node<P>) -> bool {
        match self {
            Target::At(key) => node.covers(key),
            Target::Below(key) => {
                let (lower, upper) = node.fences();
                lower.as_slice() < *key && upper.is_none_or(|upper| *key <= upper.as_slice())
            }
            Target::Last => node.fences().1.is_none(),
        }
    }
}

/// A latched page, shared or exclusive, as far as reading it goes.
pub(crate) trait Latched {
    fn id(&self) -> PageId;
    fn words(&self) -> Words<'_>;
}

impl Latched for PageRead<'_> {
    fn id(&self) -> PageId {
        PageRead::id(self)
    }
    fn words(&self) -> Words<'_> {
        self.bytes()
    }
}

impl Latched for PageWrite<'_> {
    fn id(&self) -> PageId {
        PageWrite::id(self)
    }
    fn words(&self) -> Words<'_> {
        self.bytes()
    }
}

/// The page as a node.
pub(crate) fn node_of<L: Latched>(page: &L) -> Node<Words<'_>> {
    Node::new(page.words())
}

/// The error that says what is wrong with `page`.
pub(crate) fn damaged<L: Latched>(page: &L, what: impl Into<String>) -> TreeError {
    TreeError::corrupt(page.id(), page::lsn(&page.words()), what)
}

/// Checks that `page` is a node, of this level if one is given, and says its level.
fn check_level<L: Latched>(page: &L, expected: Option<u8>) -> Result<u8, TreeError> {
    let words = page.words();
    match page::kind(&words) {
        Some(Kind::Node) => {}
        other => return Err(damaged(page, format!("a node is expected, this is {other:?}"))),
    }
    let level = node_of(page).level();
    match expected {
        Some(expected) if level != expected => {
            Err(damaged(page, format!("its level is {level}, its parent makes it {expected}")))
        }
        _ => Ok(level),
    }
}

/// Checks that a leaf is where its parents say.
fn check_fences<L: Latched>(page: &L, target: Target<'_>) -> Result<(), TreeError> {
    if target.is_within(&node_of(page)) {
        return Ok(());
    }
    Err(damaged(page, "the fences do not hold the key that led here"))
}

impl<'e> Tree<'e> {
    /// The child of `parent` on the way to `target`; never `parent` itself, so that latching it
    /// cannot wait for ourselves.
    pub(crate) fn child_on_way<L: Latched>(
        &self,
        parent: &L,
        target: Target<'_>,
    ) -> Result<PageId, TreeError> {
        let node = node_of(parent);
        self.child_page(parent, node.child_at(target.slot(&node)))
    }

    /// A child of `parent` as a page that may be latched while `parent` is.
    pub(crate) fn child_page<L: Latched>(
        &self,
        parent: &L,
        child: PageNo,
    ) -> Result<PageId, TreeError> {
        if child.is_none() || child == parent.id().page || child == self.root().page {
            return Err(damaged(parent, format!("it names page {child} as a child")));
        }
        Ok(PageId::new(self.file, child))
    }

    /// The leaf for `target`, latched for reading.
    pub(crate) fn read_leaf(&self, target: Target<'_>) -> Result<PageRead<'e>, TreeError> {
        self.read_down(target, 0)?
            .ok_or_else(|| TreeError::corrupt(self.root(), Default::default(), "no leaf level"))
    }

    /// The node at `level` on the way to `target`, latched for reading; `None` if the tree is not
    /// that high.
    pub(crate) fn read_down(
        &self,
        target: Target<'_>,
        to_level: u8,
    ) -> Result<Option<PageRead<'e>>, TreeError> {
        let mut page = self.store().read(self.root())?;
        let mut level = check_level(&page, None)?;
        while level > to_level {
            let child = self.store().read(self.child_on_way(&page, target)?)?;
            level = check_level(&child, Some(level - 1))?;
            page = child;
        }
        if level < to_level {
            return Ok(None);
        }
        if level == 0 {
            check_fences(&page, target)?;
        }
        Ok(Some(page))
    }

    /// The leaf for `key`, latched for writing; nothing above it stays latched.
    pub(crate) fn write_leaf(&self, key: &[u8]) -> Result<PageWrite<'e>, TreeError> {
        match self.write_down(Target::At(key), 0)? {
            Some(leaf) => Ok(leaf),
            None => Err(TreeError::corrupt(self.root(), Default::default(), "no leaf level")),
        }
    }

    /// The node at `to_level` on the way to `target`, latched for writing, what is above it only
    /// shared on the way; `None` if the tree is not that high.
    pub(crate) fn write_down(
        &self,
        target: Target<'_>,
        to_level: u8,
    ) -> Result<Option<PageWrite<'e>>, TreeError> {
        let found = loop {
            let mut page = self.store().read(self.root())?;
            let mut level = check_level(&page, None)?;
            if level < to_level {
                return Ok(None);
            }
            if level == to_level {
                drop(page);
                let root = self.store().write(self.root())?;
                if check_level(&root, None)? == to_level {
                    break root;
                }
                // The root changed its level between the two latches: look again.
                continue;
            }
            while level > to_level + 1 {
                let child = self.store().read(self.child_on_way(&page, target)?)?;
                level = check_level(&child, Some(level - 1))?;
                page = child;
            }
            let child = self.store().write(self.child_on_way(&page, target)?)?;
            check_level(&child, Some(to_level))?;
            break child;
        };
        if to_level == 0 {
            check_fences(&found, target)?;
        }
        Ok(Some(found))
    }

    /// The way to the leaf for `key`, latched for writing from the lowest node that `stays` (or
    /// the root) down to the leaf. `stays` says of an inner node that whatever happens below it
    /// will not change what is above it.
    pub(crate) fn write_path(
        &self,
        key: &[u8],
        to_level: u8,
        stays: impl Fn(&Node<Words<'_>>) -> bool,
    ) -> Result<Option<Vec<PageWrite<'e>>>, TreeError> {
        let target = Target::At(key);
        let mut page = self.store().write(self.root())?;
        let mut level = check_level(&page, None)?;
        if level < to_level {
            return Ok(None);
        }
        let mut path: Vec<PageWrite<'e>> = Vec::new();
        while level > to_level {
            let child = self.child_on_way(&page, target)?;
            if path.iter().any(|above| above.id() == child) {
                return Err(damaged(&page, format!("it names its ancestor {child} as a child")));
            }
            let child = self.store().write(child)?;
            level = check_level(&child, Some(level - 1))?;
            path.push(page);
            if level > to_level && stays(&node_of(&child)) {
                path.clear();
            }
            page = child;
        }
        if level == 0 {
            check_fences(&page, target)?;
        }
        path.push(page);
        Ok(Some(path))
    }
}
