//! Is a tree right?
//!
//! Owns: [`Tree::verify`], the walk over the nodes and long values. Promises: reports everything
//! that is wrong, with its page, rather than stopping at the first; ends on any bytes, since every
//! page is visited once at most; holds one latch at a time. Must never: change anything, or take
//! the tree's own word for what can be checked against the parent.
//!
//! Nobody may write meanwhile: what is between two records of a running transaction is right, but
//! what is between two of *our* looks at pages may not be.

use campanile_format::overflow;
use campanile_format::page::{self, Kind};
use campanile_format::{Node, OverflowRef, PageId, PageNo, Plain, ValueLoc, validate};

use crate::error::TreeError;
use crate::stats::TreeStats;
use crate::tree::Tree;
use crate::verify_space::Space;

/// Findings that are kept; more are only counted.
const MAX_FINDINGS: usize = 10_000;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub page: PageId,
    /// What.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.page, self.what)
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// What is wrong, in the order of the keys, then of the pages.
    pub findings: Vec<Finding>,
    /// Findings that there was no room for.
    pub more_findings: u64,
    /// Figures of what could be read.
    pub stats: TreeStats,
    /// Part of the tree could not be read, so pages below it cannot be told from lost ones.
    pub incomplete: bool,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && !self.incomplete
    }

    pub(crate) fn note(&mut self, page: PageId, what: impl Into<String>) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { page, what: what.into() });
        } else {
            self.more_findings += 1;
        }
    }
}

impl Tree<'_> {
    /// Checks the whole tree: order, fences, levels, long values, and that every page of the file
    /// is reached exactly once or free.
    ///
    /// # Errors
    /// I/O. Damage is not an error here but a finding.
    pub fn verify(&self) -> Result<VerifyReport, TreeError> {
        Walk::run(*self, true)
    }
}

/// A page to visit, and what its parent says of it.
struct Expected {
    page: PageNo,
    level: Option<u8>,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
}

/// A walk under way.
pub(crate) struct Walk<'e> {
    pub tree: Tree<'e>,
    pub report: VerifyReport,
    pub space: Space,
    /// Check everything, read long values too; else only count.
    pub thorough: bool,
    /// Pages of the file.
    pub pages: u32,
    stack: Vec<Expected>,
}

impl<'e> Walk<'e> {
    /// Visits everything.
    pub fn run(tree: Tree<'e>, thorough: bool) -> Result<VerifyReport, TreeError> {
        let mut report = VerifyReport::default();
        report.stats.page_bytes = tree.page_bytes() as u64;
        let root = Expected { page: tree.root().page, level: None, lower: Vec::new(), upper: None };
        let pages = tree.store().page_count(tree.file)?;
        let space = Space::new();
        let mut walk = Walk { tree, report, space, thorough, pages, stack: vec![root] };
        walk.fixed_pages()?;
        let mut page = vec![0; tree.page_bytes()];
        while let Some(expected) = walk.stack.pop() {
            walk.visit(&expected, &mut page)?;
        }
        walk.graveyard()?;
        walk.maps()?;
        Ok(walk.report)
    }

    /// Copies a page; `false`, and a finding, if it cannot be read.
    pub fn fetch(&mut self, id: PageId, into: &mut [u8]) -> Result<bool, TreeError> {
        match self.tree.store().read(id) {
            Ok(latched) => {
                latched.copy_page(into);
                Ok(true)
            }
            Err(error) if error.is_corruption() => {
                self.lost(id, error.to_string());
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Something is wrong that hides what lies below.
    pub fn lost(&mut self, id: PageId, what: impl Into<String>) {
        self.report.note(id, what);
        self.report.incomplete = true;
    }

    fn visit(&mut self, expected: &Expected, bytes: &mut [u8]) -> Result<(), TreeError> {
        let id = self.tree.page_id(expected.page);
        if !self.reach(id, "a node") {
            return Ok(());
        }
        if !self.fetch(id, bytes)? {
            return Ok(());
        }
        let view = Plain(bytes);
        if page::kind(&view) != Some(Kind::Node) {
            self.lost(id, format!("a node is expected, this is {:?}", page::kind(&view)));
            return Ok(());
        }
        if let Err(why) = validate(&view) {
            self.lost(id, why.to_string());
            return Ok(());
        }
        let node = Node::new(view);
        if self.check_against_parent(id, &node, expected) {
            self.count(&node);
            self.entries(id, &node)?;
        }
        Ok(())
    }

    /// Checks what the parent says; `false` if going on makes no sense.
    fn check_against_parent(
        &mut self,
        id: PageId,
        node: &Node<Plain<'_>>,
        expected: &Expected,
    ) -> bool {
        if page::id(node.page()) != id {
            self.report.note(id, format!("it says that it is {}", page::id(node.page())));
        }
        match expected.level {
            Some(level) if node.level() != level => {
                let found = node.level();
                self.lost(id, format!("its level is {found}, its parent makes it {level}"));
                return false;
            }
            Some(_) => {}
            None => self.report.stats.depth = u64::from(node.level()) + 1,
        }
        let (lower, upper) = node.fences();
        if lower != expected.lower || upper != expected.upper {
            let what = format!(
                "its fences are {}, its parent says {}",
                fences(&lower, upper.as_deref()),
                fences(&expected.lower, expected.upper.as_deref())
            );
            self.report.note(id, what);
        }
        true
    }

    fn count(&mut self, node: &Node<Plain<'_>>) {
        let stats = &mut self.report.stats;
        let used = node.used_bytes() as u64;
        if node.is_leaf() {
            stats.leaf_pages += 1;
            stats.leaf_used_bytes += used;
        } else {
            stats.inner_pages += 1;
            stats.inner_used_bytes += used;
        }
    }

    fn entries(&mut self, id: PageId, node: &Node<Plain<'_>>) -> Result<(), TreeError> {
        let (lower, upper) = node.fences();
        let mut keys: Vec<Vec<u8>> = Vec::with_capacity(node.count());
        for slot in 0..node.count() {
            let key = node.key(slot);
            if !node.covers(&key) {
                self.report
                    .note(id, format!("key {} of entry {slot} is outside its fences", hex(&key)));
            }
            if keys.last().is_some_and(|last| *last >= key) {
                self.report.note(id, format!("key {} of entry {slot} is out of order", hex(&key)));
            }
            if node.is_leaf() {
                self.entry(id, node, slot, &key)?;
            }
            keys.push(key);
        }
        if node.is_leaf() {
            return Ok(());
        }
        // The first child last: it is visited first.
        for slot in (0..=keys.len()).rev() {
            let child = node.child_at(slot.checked_sub(1));
            if child.is_none() {
                self.lost(id, format!("child {slot} is no page"));
                continue;
            }
            self.stack.push(Expected {
                page: child,
                level: Some(node.level() - 1),
                lower: if slot == 0 { lower.clone() } else { keys[slot - 1].clone() },
                upper: keys.get(slot).cloned().or_else(|| upper.clone()),
            });
        }
        Ok(())
    }

    fn entry(
        &mut self,
        id: PageId,
        node: &Node<Plain<'_>>,
        slot: usize,
        key: &[u8],
    ) -> Result<(), TreeError> {
        let stats = &mut self.report.stats;
        if node.is_ghost(slot) {
            stats.ghosts += 1;
            return Ok(());
        }
        stats.entries += 1;
        stats.key_bytes += key.len() as u64;
        match node.value(slot) {
            ValueLoc::Inline { len, .. } => stats.value_bytes += len as u64,
            ValueLoc::Overflow(overflow) => {
                stats.overflow_entries += 1;
                stats.value_bytes += overflow.len;
                self.long_value(id, key, overflow)?;
            }
        }
        Ok(())
    }

    /// Follows a long value through its extents.
    fn long_value(
        &mut self,
        leaf: PageId,
        key: &[u8],
        overflow: OverflowRef,
    ) -> Result<(), TreeError> {
        let walked = self.follow(overflow);
        match walked {
            Err(TreeError::Corrupt { page, what, .. }) => {
                let what = format!("{what} (value of key {} on {leaf})", hex(key));
                self.lost(page, what);
            }
            Err(error) if error.is_corruption() => {
                let what = format!("{error} (value of key {} on {leaf})", hex(key));
                self.lost(self.tree.page_id(overflow.first), what);
            }
            other => other?,
        }
        Ok(())
    }

    fn follow(&mut self, value: OverflowRef) -> Result<(), TreeError> {
        let tree = self.tree;
        let pages = tree.check_reference(value)?;
        if !self.thorough {
            self.report.stats.overflow_pages += pages;
            return Ok(());
        }
        let mut at = 0;
        tree.walk_extents(value, |extent| {
            for offset in 0..extent.pages {
                let page = PageNo(extent.first.0 + offset);
                if !self.reach(tree.page_id(page), "a part of a long value") {
                    continue;
                }
                self.report.stats.overflow_pages += 1;
                let latched = tree.overflow_page(page, offset == 0)?;
                tree.check_data(&latched, value.len, at)?;
                at += overflow::capacity(tree.page_bytes()) as u64;
            }
            Ok(())
        })
    }
}

fn fences(lower: &[u8], upper: Option<&[u8]>) -> String {
    format!("[{}, {})", hex(lower), upper.map_or_else(|| "end".to_owned(), hex))
}

/// A key for people: as text if it is, else in hexadecimal; long ones are cut.
pub(crate) fn hex(key: &[u8]) -> String {
    let shown = &key[..key.len().min(32)];
    let dots = if shown.len() < key.len() { "..." } else { "" };
    if shown.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return format!("'{}'{dots}", String::from_utf8_lossy(shown));
    }
    let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}{dots}")
}
