//! From the root to a leaf.
//!
//! Owns: the ways down, each tried without latches first (`glimpse.rs`) and then, if the tree does
//! not hold still, by coupling latches, which always ends; the check that levels fall by one and
//! that the fences of the leaf hold the key. Promises: what comes back is the one node asked for,
//! latched; a damaged tree gives a typed error after at most as many pages as a level can count.
//! Must never: latch upwards, or latch a page that is latched already.

use campanile_format::page::{self, Kind};
use campanile_format::{Node, PageBytes, PageId, PageNo, Words};
use campanile_pagestore::{PageGlimpse, PageRead, PageStore, PageWrite, StoreError};

use crate::error::TreeError;
use crate::glimpse::Walk;
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

/// A page, latched or glimpsed, as far as reading it goes.
pub(crate) trait Shown {
    fn id(&self) -> PageId;
    fn words(&self) -> Words<'_>;
}

impl Shown for PageRead<'_> {
    fn id(&self) -> PageId {
        PageRead::id(self)
    }
    fn words(&self) -> Words<'_> {
        self.bytes()
    }
}

impl Shown for PageWrite<'_> {
    fn id(&self) -> PageId {
        PageWrite::id(self)
    }
    fn words(&self) -> Words<'_> {
        self.bytes()
    }
}

impl Shown for PageGlimpse<'_> {
    fn id(&self) -> PageId {
        PageGlimpse::id(self)
    }
    #[inline]
    fn words(&self) -> Words<'_> {
        self.bytes()
    }
}

/// The page as a node.
pub(crate) fn node_of<L: Shown>(page: &L) -> Node<Words<'_>> {
    Node::new(page.words())
}

/// The error that says what is wrong with `page`.
#[cold]
pub(crate) fn damaged<L: Shown>(page: &L, what: impl Into<String>) -> TreeError {
    TreeError::corrupt(page.id(), page::lsn(&page.words()), what)
}

/// Checks that `page` is a node, of this level if one is given, and says its level.
pub(crate) fn check_level<L: Shown>(page: &L, expected: Option<u8>) -> Result<u8, TreeError> {
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
pub(crate) fn check_fences<L: Shown>(page: &L, target: Target<'_>) -> Result<(), TreeError> {
    if target.is_within(&node_of(page)) {
        return Ok(());
    }
    Err(damaged(page, "the fences do not hold the key that led here"))
}

/// How to latch a page: [`PageStore::read`] or [`PageStore::write`].
type Latch<'e, L> = fn(&'e PageStore, PageId) -> Result<L, StoreError>;

impl<'e> Tree<'e> {
    /// The child of `parent` on the way to `target`; never `parent` itself, so that latching it
    /// cannot wait for ourselves.
    pub(crate) fn child_on_way<L: Shown>(
        &self,
        parent: &L,
        target: Target<'_>,
    ) -> Result<PageId, TreeError> {
        let node = node_of(parent);
        self.child_page(parent, node.child_at(target.slot(&node)))
    }

    /// A child of `parent` as a page that may be latched while `parent` is.
    pub(crate) fn child_page<L: Shown>(
        &self,
        parent: &L,
        child: PageNo,
    ) -> Result<PageId, TreeError> {
        if child.is_none() || child == parent.id().page || child == self.root().page {
            return Err(damaged(parent, format!("it names page {child} as a child")));
        }
        Ok(PageId::new(self.file, child))
    }

    /// The leaf for `target`, latched for reading; nothing above it is.
    pub(crate) fn read_leaf(&self, target: Target<'_>) -> Result<PageRead<'e>, TreeError> {
        self.latched_node(target, 0, PageStore::read)?.ok_or_else(|| self.no_leaf_level())
    }

    /// The leaf for `key`, latched for writing; nothing above it is.
    pub(crate) fn write_leaf(&self, key: &[u8]) -> Result<PageWrite<'e>, TreeError> {
        self.write_down(Target::At(key), 0)?.ok_or_else(|| self.no_leaf_level())
    }

    /// The node at `to_level` on the way to `target`, latched for writing; `None` if the tree is
    /// not that high.
    pub(crate) fn write_down(
        &self,
        target: Target<'_>,
        to_level: u8,
    ) -> Result<Option<PageWrite<'e>>, TreeError> {
        self.latched_node(target, to_level, PageStore::write)
    }

    fn no_leaf_level(&self) -> TreeError {
        TreeError::corrupt(self.root(), Default::default(), "no leaf level")
    }

    fn latched_node<L: Shown>(
        &self,
        target: Target<'_>,
        to_level: u8,
        latch: Latch<'e, L>,
    ) -> Result<Option<L>, TreeError> {
        for _ in 0..Walk::ATTEMPTS {
            match self.latch_glimpsed(target, to_level, latch)? {
                Walk::Found(page) => return Ok(Some(page)),
                Walk::NotThatHigh => return Ok(None),
                Walk::Changed => {}
            }
        }
        self.couple_down(target, to_level, latch)
    }

    /// Finds the node without latches and latches nothing but it.
    fn latch_glimpsed<L: Shown>(
        &self,
        target: Target<'_>,
        to_level: u8,
        latch: Latch<'e, L>,
    ) -> Result<Walk<L>, TreeError> {
        let place = match self.glimpse_place(target, to_level)? {
            Walk::Found(place) => place,
            Walk::NotThatHigh => return Ok(Walk::NotThatHigh),
            Walk::Changed => return Ok(Walk::Changed),
        };
        // Not before the number is known to be a page of this tree.
        if !place.is_current() {
            return Ok(Walk::Changed);
        }
        let page = match latch(self.store(), place.page) {
            Ok(page) => page,
            Err(error) if place.is_current() => return Err(error.into()),
            Err(_) => return Ok(Walk::Changed),
        };
        // With the page latched and its parent unchanged, the page is where the parent says, and
        // stays there: to move it one needs its latch.
        if !place.is_current() {
            return Ok(Walk::Changed);
        }
        if place.is_outgrown(&page, to_level) {
            return Ok(Walk::Changed);
        }
        check_level(&page, Some(to_level))?;
        if to_level == 0 {
            check_fences(&page, target)?;
        }
        Ok(Walk::Found(page))
    }

    /// The node at `to_level` on the way to `target`, latched as asked; what is above it is latched
    /// shared on the way, each node until the next one is.
    fn couple_down<L: Shown>(
        &self,
        target: Target<'_>,
        to_level: u8,
        latch: Latch<'e, L>,
    ) -> Result<Option<L>, TreeError> {
        let found = loop {
            let mut page = self.store().read(self.root())?;
            let mut level = check_level(&page, None)?;
            if level < to_level {
                return Ok(None);
            }
            if level == to_level {
                drop(page);
                let root = latch(self.store(), self.root())?;
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
            let child = latch(self.store(), self.child_on_way(&page, target)?)?;
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
        stays: impl Fn(&Node<Words<'_>>) -> bool,
    ) -> Result<Vec<PageWrite<'e>>, TreeError> {
        for _ in 0..Walk::ATTEMPTS {
            if let Walk::Found(path) = self.latch_glimpsed_path(key, &stays)? {
                return Ok(path);
            }
        }
        self.couple_path(key, &stays)
    }

    /// Finds the way without latches, and then latches what the caller may change of it, from top
    /// to bottom.
    fn latch_glimpsed_path(
        &self,
        key: &[u8],
        stays: &impl Fn(&Node<Words<'_>>) -> bool,
    ) -> Result<Walk<Vec<PageWrite<'e>>>, TreeError> {
        let Walk::Found(way) = self.glimpse_path(key)? else { return Ok(Walk::Changed) };
        let (leaf, inner) = way.split_last().expect("a way has a leaf");
        let from = inner.iter().rposition(|page| stays(&node_of(page))).unwrap_or(0);
        let mut path = Vec::with_capacity(way.len() - from);
        for glimpse in way.iter().skip(from) {
            let page = match self.store().write(glimpse.id()) {
                Ok(page) => page,
                // Below a latched page that is as it was, it is where it was.
                Err(error) if !path.is_empty() || glimpse.is_current() => {
                    return Err(error.into());
                }
                Err(_) => return Ok(Walk::Changed),
            };
            // The same version: what was read of it without a latch was one state, and is still.
            // So it is where it was, too; only of the leaf its latched parent says as much.
            let is_leaf_below = !path.is_empty() && glimpse.id() == leaf.id();
            if page.version() != glimpse.version() && !is_leaf_below {
                return Ok(Walk::Changed);
            }
            path.push(page);
        }
        let page = path.last().expect("it has the leaf");
        check_level(page, Some(0))?;
        check_fences(page, Target::At(key))?;
        Ok(Walk::Found(path))
    }

    /// The same by coupling exclusive latches from the root.
    fn couple_path(
        &self,
        key: &[u8],
        stays: &impl Fn(&Node<Words<'_>>) -> bool,
    ) -> Result<Vec<PageWrite<'e>>, TreeError> {
        let target = Target::At(key);
        let mut page = self.store().write(self.root())?;
        let mut level = check_level(&page, None)?;
        let mut path: Vec<PageWrite<'e>> = Vec::new();
        while level > 0 {
            let child = self.child_on_way(&page, target)?;
            if path.iter().any(|above| above.id() == child) {
                return Err(damaged(&page, format!("it names its ancestor {child} as a child")));
            }
            let child = self.store().write(child)?;
            level = check_level(&child, Some(level - 1))?;
            path.push(page);
            if level > 0 && stays(&node_of(&child)) {
                path.clear();
            }
            page = child;
        }
        check_fences(&page, target)?;
        path.push(page);
        Ok(path)
    }
}
