//! All records between two bounds, from either end.
//!
//! Owns: [`Range`]. Promises: each record once, whichever end it is taken from; sticky failure
//! (from its cursors) and a sticky end. Must never: hold a latch between calls.

use std::ops::Bound;

use crate::cursor::Cursor;
use crate::error::TreeError;
use crate::tree::Tree;
use crate::view::{Reader, Seek};

/// An iteration over the keys within bounds. Owned, like [`Cursor`]; borrows nothing.
#[derive(Debug)]
pub struct Range {
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    front: Cursor,
    back: Cursor,
    done: bool,
    failed: bool,
}

fn owned(bound: Bound<&[u8]>) -> Bound<Vec<u8>> {
    bound.map(<[u8]>::to_vec)
}

fn as_slices(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

impl Range {
    /// A range over the keys within `bounds`. Bounds that hold nothing give an empty range.
    #[must_use]
    pub fn new(bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Range {
        Range {
            lower: owned(bounds.0),
            upper: owned(bounds.1),
            front: Cursor::new(),
            back: Cursor::new(),
            done: false,
            failed: false,
        }
    }

    /// A range over all keys.
    #[must_use]
    pub fn all() -> Range {
        Range::new((Bound::Unbounded, Bound::Unbounded))
    }

    /// The next record from the front.
    ///
    /// # Errors
    /// As [`Cursor::seek`]. After an error every call fails.
    #[allow(clippy::type_complexity)]
    pub fn next(
        &mut self,
        tree: &Tree<'_>,
        reader: Reader<'_>,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, TreeError> {
        if !self.advance(tree, reader)? {
            return Ok(None);
        }
        self.taken(tree, true)
    }

    /// The next record from the back.
    ///
    /// # Errors
    /// As [`Range::next`].
    #[allow(clippy::type_complexity)]
    pub fn next_back(
        &mut self,
        tree: &Tree<'_>,
        reader: Reader<'_>,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, TreeError> {
        if !self.retreat(tree, reader)? {
            return Ok(None);
        }
        self.taken(tree, false)
    }

    /// Moves the front to its next record; see [`Range::front`]. False at the end.
    ///
    /// # Errors
    /// As [`Range::next`].
    pub fn advance(&mut self, tree: &Tree<'_>, reader: Reader<'_>) -> Result<bool, TreeError> {
        self.step(|range| {
            let until = as_slices(&range.upper);
            let moved = if range.front.key().is_some() {
                range.front.next_within(tree, reader, until)?
            } else {
                let seek = match &range.lower {
                    Bound::Included(key) => Seek::AtLeast(key),
                    Bound::Excluded(key) => Seek::Above(key),
                    Bound::Unbounded => Seek::First,
                };
                range.front.seek_within(tree, reader, seek, until)?
            };
            let Some(key) = range.front.key().filter(|_| moved) else { return Ok(false) };
            Ok(range.back.key().is_none_or(|back| key < back))
        })
    }

    /// Moves the back to its next record; see [`Range::back`]. False at the end.
    ///
    /// # Errors
    /// As [`Range::next`].
    pub fn retreat(&mut self, tree: &Tree<'_>, reader: Reader<'_>) -> Result<bool, TreeError> {
        self.step(|range| {
            let until = as_slices(&range.lower);
            let moved = if range.back.key().is_some() {
                range.back.prev_within(tree, reader, until)?
            } else {
                let seek = match &range.upper {
                    Bound::Included(key) => Seek::AtMost(key),
                    Bound::Excluded(key) => Seek::Below(key),
                    Bound::Unbounded => Seek::Last,
                };
                range.back.seek_within(tree, reader, seek, until)?
            };
            let Some(key) = range.back.key().filter(|_| moved) else { return Ok(false) };
            Ok(range.front.key().is_none_or(|front| front < key))
        })
    }

    /// The cursor at the record that [`Range::advance`] came to: read through it without copying.
    pub fn front(&mut self) -> &mut Cursor {
        &mut self.front
    }

    /// The cursor at the record that [`Range::retreat`] came to.
    pub fn back(&mut self) -> &mut Cursor {
        &mut self.back
    }

    #[allow(clippy::type_complexity)]
    fn taken(
        &mut self,
        tree: &Tree<'_>,
        front: bool,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, TreeError> {
        let cursor = if front { &mut self.front } else { &mut self.back };
        let entry = cursor.entry(tree);
        self.failed = entry.is_err();
        entry
    }

    fn step(
        &mut self,
        go: impl FnOnce(&mut Self) -> Result<bool, TreeError>,
    ) -> Result<bool, TreeError> {
        if self.failed {
            return Err(TreeError::CursorFailed);
        }
        if self.done {
            return Ok(false);
        }
        let moved = go(self);
        self.failed = moved.is_err();
        self.done = matches!(moved, Ok(false));
        moved
    }
}
