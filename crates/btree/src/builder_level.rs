//! Nodes under construction in a bulk load.
//!
//! Owns: the pairs or children of the last node of each level, until it is known where the node
//! ends. Promises: finished nodes fit their page and are as full as asked, or nearly; memory is
//! about a page a level. Must never: know page numbers of its own nodes, or the log.
//!
//! A node's upper fence, and with it what its keys have in common, is known only when the first
//! key of the next node is there. So pairs are collected as long as they might fit, counting with
//! the longest prefix possible; then the longest run that really fits is cut off.

use campanile_format::limits::{PAGE_HEADER_BYTES, SLOT_BYTES};
use campanile_format::node::CHILD_BYTES;
use campanile_format::{NodeBuilder, NodeImage, PageNo, Value, common_prefix, separator};

use crate::visible::Stored;

/// A node that is complete, but for its page.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its lower fence: what its parent knows it by.
    pub lower: Vec<u8>,
    pub image: NodeImage,
}

/// Bytes of a node: `whole` is slots, keys and what follows them, keys untruncated.
fn node_bytes(lower: &[u8], upper: Option<&[u8]>, count: usize, whole: usize) -> usize {
    let prefix = upper.map_or(0, |upper| common_prefix(lower, upper));
    let fences = lower.len() + upper.map_or(0, <[u8]>::len);
    PAGE_HEADER_BYTES + fences + whole - count * prefix
}

/// What a node may use: as much as asked if that is possible at all, else the page.
#[derive(Clone, Copy, Debug)]
struct Limits {
    page_bytes: usize,
    fill_bytes: usize,
}

impl Limits {
    /// The longest run of entries that fits, of those for which `bytes` (rising) is asked; the
    /// shortest one always fits a page.
    fn longest(
        &self,
        runs: std::ops::RangeInclusive<usize>,
        bytes: impl Fn(usize) -> usize,
    ) -> usize {
        let shortest = *runs.start();
        let fitting = |limit: usize| runs.clone().rev().find(|run| bytes(*run) <= limit);
        fitting(self.fill_bytes).or_else(|| fitting(self.page_bytes)).unwrap_or(shortest)
    }
}

#[derive(Debug)]
struct Pair {
    key: Vec<u8>,
    value: Stored,
}

impl Pair {
    fn bytes(&self) -> usize {
        SLOT_BYTES + self.key.len() + self.value.value().stored_len()
    }
}

/// The last leaf.
#[derive(Debug)]
pub(crate) struct LeafLevel {
    limits: Limits,
    lower: Vec<u8>,
    pairs: Vec<Pair>,
    /// Bytes of all pairs.
    whole: usize,
}

impl LeafLevel {
    pub fn new(page_bytes: usize, fill_bytes: usize) -> LeafLevel {
        let limits = Limits { page_bytes, fill_bytes };
        LeafLevel { limits, lower: Vec::new(), pairs: Vec::new(), whole: 0 }
    }

    /// Adds a pair above all others; gives the leaf that it completes, if it does.
    pub fn push(&mut self, key: &[u8], value: Value<'_>) -> Option<Finished> {
        let value = match value {
            Value::Inline(bytes) => Stored::Inline(bytes.to_vec()),
            Value::Overflow(overflow) => Stored::Overflow(overflow),
        };
        let pair = Pair { key: key.to_vec(), value };
        self.whole += pair.bytes();
        self.pairs.push(pair);
        let prefix = common_prefix(&self.lower, key);
        let least =
            PAGE_HEADER_BYTES + self.lower.len() + prefix + self.whole - self.pairs.len() * prefix;
        (least > self.limits.fill_bytes && self.pairs.len() > 1).then(|| self.cut())
    }

    /// Ends the leaf where it is as full as it may be.
    fn cut(&mut self) -> Finished {
        let fence = |keep: usize| separator(&self.pairs[keep - 1].key, &self.pairs[keep].key);
        let bytes = |keep: usize| {
            let whole = self.pairs[..keep].iter().map(Pair::bytes).sum();
            node_bytes(&self.lower, Some(fence(keep)), keep, whole)
        };
        let keep = self.limits.longest(1..=self.pairs.len() - 1, bytes);
        let upper = fence(keep).to_vec();
        let rest = self.pairs.split_off(keep);
        let finished = self.emit(Some(&upper));
        self.lower = upper;
        self.whole = rest.iter().map(Pair::bytes).sum();
        self.pairs = rest;
        finished
    }

    fn emit(&self, upper: Option<&[u8]>) -> Finished {
        let mut builder =
            NodeBuilder::new(self.limits.page_bytes, 0, &self.lower, upper, PageNo::NONE);
        for pair in &self.pairs {
            let fits = builder.push_entry(&pair.key, pair.value.value(), false);
            assert!(fits, "a leaf was cut too late");
        }
        Finished { lower: self.lower.clone(), image: builder.into_image() }
    }

    /// The leaves that are left, at least one.
    pub fn finish(&mut self) -> Vec<Finished> {
        let mut finished = Vec::new();
        while self.pairs.len() > 1
            && node_bytes(&self.lower, None, self.pairs.len(), self.whole) > self.limits.page_bytes
        {
            finished.push(self.cut());
        }
        finished.push(self.emit(None));
        finished
    }
}

/// The last node of a level above the leaves.
#[derive(Debug)]
pub(crate) struct InnerLevel {
    limits: Limits,
    level: u8,
    lower: Vec<u8>,
    first_child: PageNo,
    children: Vec<(Vec<u8>, PageNo)>,
    whole: usize,
}

fn child_bytes(separator: &[u8]) -> usize {
    SLOT_BYTES + separator.len() + CHILD_BYTES
}

impl InnerLevel {
    pub fn new(page_bytes: usize, fill_bytes: usize, level: u8) -> InnerLevel {
        InnerLevel {
            limits: Limits { page_bytes, fill_bytes },
            level,
            lower: Vec::new(),
            first_child: PageNo::NONE,
            children: Vec::new(),
            whole: 0,
        }
    }

    /// Adds a child, whose lower fence is above those of all others; gives the node that it
    /// completes, if it does.
    pub fn push(&mut self, lower: Vec<u8>, child: PageNo) -> Option<Finished> {
        if self.first_child.is_none() {
            assert!(lower.is_empty(), "the first child of a level begins with the lowest key");
            self.first_child = child;
            return None;
        }
        let prefix = common_prefix(&self.lower, &lower);
        self.whole += child_bytes(&lower);
        self.children.push((lower, child));
        let least = PAGE_HEADER_BYTES + self.lower.len() + prefix + self.whole
            - self.children.len() * prefix;
        (least > self.limits.fill_bytes && self.children.len() > 1).then(|| self.cut())
    }

    /// Ends the node where it is as full as it may be: the separator there becomes the fence.
    fn cut(&mut self) -> Finished {
        let bytes = |keep: usize| {
            let whole = self.children[..keep].iter().map(|child| child_bytes(&child.0)).sum();
            node_bytes(&self.lower, Some(&self.children[keep].0), keep, whole)
        };
        let keep = self.limits.longest(0..=self.children.len() - 1, bytes);
        let mut rest = self.children.split_off(keep).into_iter();
        let Some((upper, next_first)) = rest.next() else {
            unreachable!("the cut lies before the last child");
        };
        let finished = self.emit(Some(&upper));
        self.lower = upper;
        self.first_child = next_first;
        self.children = rest.collect();
        self.whole = self.children.iter().map(|child| child_bytes(&child.0)).sum();
        finished
    }

    fn emit(&self, upper: Option<&[u8]>) -> Finished {
        let page_bytes = self.limits.page_bytes;
        let mut builder =
            NodeBuilder::new(page_bytes, self.level, &self.lower, upper, self.first_child);
        for (separator, child) in &self.children {
            let fits = builder.push_child(separator, *child);
            assert!(fits, "an inner node was cut too late");
        }
        Finished { lower: self.lower.clone(), image: builder.into_image() }
    }

    /// The nodes that are left, at least one.
    pub fn finish(&mut self) -> Vec<Finished> {
        let mut finished = Vec::new();
        while !self.children.is_empty()
            && node_bytes(&self.lower, None, self.children.len(), self.whole)
                > self.limits.page_bytes
        {
            finished.push(self.cut());
        }
        finished.push(self.emit(None));
        finished
    }
}
