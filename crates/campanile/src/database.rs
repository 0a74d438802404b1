//! A database: an ordered map from byte strings to byte strings.

use crate::error::Result;
use crate::key_range::KeyRange;
use crate::range::Range;
use crate::transaction::Transaction;
use crate::view::Reads;

/// A database of an environment.
#[derive(Clone, Debug)]
pub struct Database {}

impl Database {
    /// The value under `key`.
    pub fn get(&self, _reader: &impl Reads, _key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        todo!()
    }

    /// Puts a value under a key, replacing what was there. True if something was.
    pub fn put(
        &self,
        _txn: &mut Transaction,
        _key: impl AsRef<[u8]>,
        _value: impl AsRef<[u8]>,
    ) -> Result<bool> {
        todo!()
    }

    /// Puts a value under a key that has none. False, and nothing done, if it has one.
    pub fn insert(
        &self,
        _txn: &mut Transaction,
        _key: impl AsRef<[u8]>,
        _value: impl AsRef<[u8]>,
    ) -> Result<bool> {
        todo!()
    }

    /// Deletes the entry under `key`; false if there is none.
    pub fn delete(&self, _txn: &mut Transaction, _key: impl AsRef<[u8]>) -> Result<bool> {
        todo!()
    }

    /// The entries in a range of keys.
    pub fn range<'r>(&self, _reader: &'r impl Reads, _keys: impl KeyRange) -> Result<Range<'r>> {
        todo!()
    }
}
