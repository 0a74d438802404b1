//! Reading a value piece by piece.
//!
//! Owns: [`ValueReader`]. Promises: holds one page's bytes at a time and no latch between calls,
//! whatever the value's length. Must never: go on after an error.

use std::io;

use campanile_format::overflow::{self, Overflow};
use campanile_format::{OverflowRef, PageNo};

use crate::error::TreeError;
use crate::locking::Held;
use crate::long_value::Extent;
use crate::tree::Tree;
use crate::view::Reader;
use crate::visible::Sight;

/// A value, read from its beginning to its end in pieces of at most a page.
///
/// The value must not be deleted meanwhile: read under a snapshot, or in the transaction.
#[derive(Debug)]
pub struct ValueReader<'e> {
    tree: Tree<'e>,
    len: u64,
    /// Bytes handed over to `buffer` so far.
    fetched: u64,
    /// What is left of the current extent: next page, pages.
    page: PageNo,
    pages: u32,
    next_extent: PageNo,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that `read` has given out.
    taken: usize,
    failed: bool,
}

impl<'e> Tree<'e> {
    /// A reader of the value of `key`, which a transaction of any isolation locks to its end.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn value_reader(
        &self,
        mut reader: Reader<'_>,
        key: &[u8],
    ) -> Result<Option<ValueReader<'e>>, TreeError> {
        let mut inline = Vec::new();
        // The value is read bit by bit, so its pages must stay.
        let (sight, _held) = loop {
            let mark = reader.children_mark();
            let held = match &mut reader {
                Reader::Txn(txn) => self.lock_to_stay(txn, key)?,
                Reader::Snapshot(_) | Reader::Uncommitted => Held::Enough,
            };
            let (sight, leaf) = self.look_up(reader.snapshot(), key, &mut inline)?;
            if self.is_still_so(&mut reader, mark, key, leaf, &held)? {
                break (sight, held);
            }
        };
        Ok(match sight {
            None => None,
            Some(Sight::OnPage(range)) => {
                Some(ValueReader::of_bytes(*self, inline[range].to_vec()))
            }
            Some(Sight::Version(bytes)) => Some(ValueReader::of_bytes(*self, bytes.to_vec())),
            Some(Sight::Overflow(overflow)) => Some(ValueReader::of_long(*self, overflow)?),
        })
    }
}

impl<'e> ValueReader<'e> {
    fn of_bytes(tree: Tree<'e>, bytes: Vec<u8>) -> ValueReader<'e> {
        let len = bytes.len() as u64;
        ValueReader {
            tree,
            len,
            fetched: len,
            page: PageNo::NONE,
            pages: 0,
            next_extent: PageNo::NONE,
            buffer: bytes,
            taken: 0,
            failed: false,
        }
    }

    pub(crate) fn of_long(
        tree: Tree<'e>,
        overflow: OverflowRef,
    ) -> Result<ValueReader<'e>, TreeError> {
        tree.check_reference(overflow)?;
        let mut reader = ValueReader::of_bytes(tree, Vec::new());
        reader.len = overflow.len;
        reader.next_extent = overflow.first;
        Ok(reader)
    }

    /// Bytes of the whole value.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the value has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// Damage, I/O. After an error the reader stays at its end.
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>, TreeError> {
        if self.taken == self.buffer.len() && self.fetched < self.len && !self.failed {
            self.failed = true;
            self.fetch()?;
            self.failed = false;
        }
        let piece = self.buffer.get(self.taken..).unwrap_or(&[]);
        self.taken = self.buffer.len();
        Ok((!piece.is_empty()).then_some(piece))
    }

    fn fetch(&mut self) -> Result<(), TreeError> {
        let begins = self.pages == 0;
        if begins {
            let capacity = overflow::capacity(self.tree.page_bytes()) as u64;
            let left = (self.len - self.fetched).div_ceil(capacity);
            let Extent { first, pages, next } = self.tree.read_extent(self.next_extent, left)?;
            (self.page, self.pages, self.next_extent) = (first, pages, next);
        }
        let latched = self.tree.overflow_page(self.page, begins)?;
        self.tree.check_data(&latched, self.len, self.fetched)?;
        self.buffer.clear();
        self.taken = 0;
        Overflow::new(latched.bytes()).append_data(&mut self.buffer);
        self.fetched += self.buffer.len() as u64;
        self.page = PageNo(self.page.0 + 1);
        self.pages -= 1;
        Ok(())
    }
}

impl io::Read for ValueReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.buffer.len() && self.fetched < self.len {
            if self.failed {
                return Err(io::Error::other("the value could not be read to its end"));
            }
            self.failed = true;
            self.fetch().map_err(io::Error::other)?;
            self.failed = false;
        }
        let piece = self.buffer.get(self.taken..).unwrap_or(&[]);
        let bytes = piece.len().min(into.len());
        into[..bytes].copy_from_slice(&piece[..bytes]);
        self.taken += bytes;
        Ok(bytes)
    }
}
