//! Ranges: entries in key order, from both ends.

use std::iter::FusedIterator;
use std::marker::PhantomData;

use crate::error::Result;

/// Entries of a database in key order.
#[derive(Debug)]
pub struct Range<'r> {
    _reader: PhantomData<&'r ()>,
}

impl Iterator for Range<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

impl FusedIterator for Range<'_> {}
