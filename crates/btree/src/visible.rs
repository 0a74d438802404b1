//! What a reader sees of an entry.
//!
//! Owns: the page-LSN filter and the look-up of versions. Promises: asked while the leaf is
//! latched, or before a glimpse of it is found current, so that the page and the versions belong
//! together (a version withdrawn after that would make a change look committed that was undone).
//! Must never: be asked later, nor be believed if the glimpse was not current.

use std::ops::Range;
use std::sync::Arc;

use campanile_format::{FileId, Lsn, Node, OverflowRef, PageBytes, Value, ValueLoc};
use campanile_txn::{Before, Seen, Snapshot, Transactions};

use crate::error::TreeError;

/// A value taken off a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// The bytes.
    Inline(Vec<u8>),
    /// Where they are.
    Overflow(OverflowRef),
}

impl Stored {
    /// The value of an entry.
    pub fn of<P: PageBytes>(node: &Node<P>, slot: usize) -> Stored {
        let mut bytes = Vec::new();
        match node.value_into(slot, &mut bytes) {
            Some(overflow) => Stored::Overflow(overflow),
            None => Stored::Inline(bytes),
        }
    }

    /// The value as format wants it.
    pub fn value(&self) -> Value<'_> {
        match self {
            Stored::Inline(bytes) => Value::Inline(bytes),
            Stored::Overflow(overflow) => Value::Overflow(*overflow),
        }
    }
}

/// Where the visible value of an entry is.
#[derive(Clone, Debug)]
pub(crate) enum Sight {
    /// In these bytes of the page.
    OnPage(Range<usize>),
    /// In a version.
    Version(Arc<[u8]>),
    /// In overflow pages.
    Overflow(OverflowRef),
}

impl Sight {
    /// What the page itself shows.
    pub fn of<P: PageBytes>(node: &Node<P>, slot: usize) -> Sight {
        match node.value(slot) {
            ValueLoc::Inline { offset, len } => Sight::OnPage(offset..offset + len),
            ValueLoc::Overflow(overflow) => Sight::Overflow(overflow),
        }
    }
}

/// What every entry of a page must be checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eyes<'s> {
    pub txns: &'s Transactions,
    pub file: FileId,
    /// The LSN of the page.
    pub lsn: Lsn,
    /// `None`: what the page shows is what is seen.
    pub snapshot: Option<&'s Snapshot>,
}

impl<'s> Eyes<'s> {
    /// Eyes for a page with this LSN: drops a snapshot that sees all of it.
    pub fn for_page(
        txns: &'s Transactions,
        file: FileId,
        snapshot: Option<&'s Snapshot>,
        lsn: Lsn,
    ) -> Eyes<'s> {
        let snapshot = snapshot.filter(|snapshot| !snapshot.sees_all_of(lsn));
        Eyes { txns, file, lsn, snapshot }
    }

    /// What is seen of the entry in `slot`, whose key is `key`.
    pub fn see<P: PageBytes>(
        &self,
        node: &Node<P>,
        slot: usize,
        key: &[u8],
    ) -> Result<Option<Sight>, TreeError> {
        if let Some(snapshot) = self.snapshot
            && let Seen::Before(before) = self.txns.seen(snapshot, self.lsn, self.file, key)?
        {
            return Ok(match before {
                Before::Absent => None,
                Before::Inline(bytes) => Some(Sight::Version(bytes)),
                Before::Overflow(overflow) => Some(Sight::Overflow(overflow)),
            });
        }
        if node.is_ghost(slot) {
            return Ok(None);
        }
        Ok(Some(Sight::of(node, slot)))
    }
}
