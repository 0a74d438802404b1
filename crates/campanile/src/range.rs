//! Ranges: entries in key order, from both ends.
//!
//! Owns the iterator. Promises that after an error it stays failed: nobody takes a hole for the
//! end. Must never hold a latch between two calls.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Bound;

use campanile_format::FileId;

use crate::causes;
use crate::error::Result;
use crate::view::View;

/// Entries of a database in key order; see [`Database::range`](crate::Database::range).
///
/// After its first error it gives an error for ever, not `None`: stop at the first.
pub struct Range<'r> {
    view: View<'r>,
    file: FileId,
    inner: campanile_btree::Range,
}

impl<'r> Range<'r> {
    pub(crate) fn new(
        view: View<'r>,
        file: FileId,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> Range<'r> {
        Range { view, file, inner: campanile_btree::Range::new(bounds) }
    }
}

impl fmt::Debug for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Range").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Iterator for Range<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let Range { view, file, inner } = self;
        view.read(|core, reader| inner.next(&core.tree(*file), reader).map_err(causes::tree))
            .transpose()
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let Range { view, file, inner } = self;
        view.read(|core, reader| inner.next_back(&core.tree(*file), reader).map_err(causes::tree))
            .transpose()
    }
}

impl FusedIterator for Range<'_> {}
