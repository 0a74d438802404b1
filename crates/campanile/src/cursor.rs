//! Cursors: a place in a database that moves.
//!
//! Owns the two handles. Promises that a cursor stands on an entry or nowhere, that a move that
//! finds nothing leaves it where it was, and that it stays right while the tree around it changes.
//! Must never hold a latch between two calls.

use std::fmt;
use std::ops::{Deref, DerefMut};

use campanile_btree::Seek;
use campanile_format::FileId;

use crate::causes;
use crate::error::Result;
use crate::transaction::Transaction;
use crate::view::View;

/// A place in a database; see [`Database::cursor`](crate::Database::cursor).
///
/// Every move says whether it found an entry. A new cursor stands before the first entry for
/// [`next`](Cursor::next) and behind the last one for [`prev`](Cursor::prev).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let env = campanile::Environment::open(dir.path())?;
/// # let fruit = env.create_database("fruit")?;
/// # env.run(|txn| {
/// #     for name in ["apple", "cherry", "fig"] { fruit.put(txn, name, "ripe")?; }
/// #     Ok(())
/// # })?;
/// let snapshot = env.snapshot()?;
/// let mut cursor = fruit.cursor(&snapshot)?;
/// assert!(cursor.seek_at_least("b")?);
/// assert_eq!(cursor.key(), Some(&b"cherry"[..]));
/// assert_eq!(cursor.value()?, Some(&b"ripe"[..]));
/// assert!(cursor.prev()?);
/// assert!(!cursor.prev()?); // "apple" is the first
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cursor<'r> {
    view: View<'r>,
    file: FileId,
    inner: campanile_btree::Cursor,
}

impl fmt::Debug for Cursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("key", &self.key()).finish_non_exhaustive()
    }
}

impl<'r> Cursor<'r> {
    pub(crate) fn new(view: View<'r>, file: FileId) -> Cursor<'r> {
        Cursor { view, file, inner: campanile_btree::Cursor::new() }
    }

    /// Moves to the first entry.
    pub fn first(&mut self) -> Result<bool> {
        self.seek(Seek::First)
    }

    /// Moves to the last entry.
    pub fn last(&mut self) -> Result<bool> {
        self.seek(Seek::Last)
    }

    /// Moves to the entry under `key`.
    pub fn seek_exactly(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.seek(Seek::Exactly(key.as_ref()))
    }

    /// Moves to the first entry whose key is not below `key`.
    pub fn seek_at_least(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.seek(Seek::AtLeast(key.as_ref()))
    }

    /// Moves to the first entry whose key is above `key`.
    pub fn seek_above(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.seek(Seek::Above(key.as_ref()))
    }

    /// Moves to the last entry whose key is not above `key`.
    pub fn seek_at_most(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.seek(Seek::AtMost(key.as_ref()))
    }

    /// Moves to the last entry whose key is below `key`.
    pub fn seek_below(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.seek(Seek::Below(key.as_ref()))
    }

    /// Moves to the next entry.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<bool> {
        let Cursor { view, file, inner } = self;
        view.read(|core, reader| inner.next(&core.tree(*file), reader).map_err(causes::tree))
    }

    /// Moves to the entry before.
    pub fn prev(&mut self) -> Result<bool> {
        let Cursor { view, file, inner } = self;
        view.read(|core, reader| inner.prev(&core.tree(*file), reader).map_err(causes::tree))
    }

    /// The key of the entry it stands on; `None` if it stands nowhere.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.inner.key()
    }

    /// The value that the entry had when the cursor moved there; `None` if it stands nowhere.
    pub fn value(&mut self) -> Result<Option<&[u8]>> {
        if self.inner.key().is_none() {
            return Ok(None);
        }
        let core = self.view.shared().core();
        core.check_open()?;
        self.inner.value(&core.tree(self.file)).map(Some).map_err(causes::tree)
    }

    /// The length of the value, without fetching a long one; `None` if it stands nowhere.
    #[must_use]
    pub fn value_len(&self) -> Option<u64> {
        self.inner.value_len()
    }

    fn seek(&mut self, seek: Seek<'_>) -> Result<bool> {
        let Cursor { view, file, inner } = self;
        view.read(|core, reader| inner.seek(&core.tree(*file), reader, seek).map_err(causes::tree))
    }
}

/// A cursor that also changes what it stands on; see
/// [`Database::cursor_mut`](crate::Database::cursor_mut). It moves as a [`Cursor`] does.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let env = campanile::Environment::open(dir.path())?;
/// # let fruit = env.create_database("fruit")?;
/// # let mut txn = env.begin()?;
/// # for name in ["apple", "cherry", "fig"] { fruit.put(&mut txn, name, "ripe")?; }
/// let mut cursor = fruit.cursor_mut(&mut txn)?;
/// while cursor.next()? {
///     if cursor.key().is_some_and(|key| key.starts_with(b"c")) {
///         cursor.delete()?;
///     }
/// }
/// assert_eq!(fruit.range(&txn, ..)?.count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CursorMut<'t> {
    cursor: Cursor<'t>,
    txn: &'t Transaction,
}

impl fmt::Debug for CursorMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CursorMut").field("key", &self.key()).finish_non_exhaustive()
    }
}

impl<'t> CursorMut<'t> {
    pub(crate) fn new(txn: &'t mut Transaction, file: FileId) -> CursorMut<'t> {
        let txn: &'t Transaction = txn;
        CursorMut { cursor: Cursor::new(View::Transaction(txn), file), txn }
    }

    /// Replaces the value of the entry it stands on. False, and nothing done, if the entry is gone
    /// or the cursor stands nowhere.
    pub fn put(&mut self, value: impl AsRef<[u8]>) -> Result<bool> {
        let Cursor { file, inner, .. } = &mut self.cursor;
        self.txn.write(|core, txn| {
            inner.put(&core.tree(*file), txn, value.as_ref()).map_err(causes::tree)
        })
    }

    /// Deletes the entry it stands on; it stays between the neighbours. False if the entry is gone
    /// already or the cursor stands nowhere.
    pub fn delete(&mut self) -> Result<bool> {
        let Cursor { file, inner, .. } = &mut self.cursor;
        self.txn.write(|core, txn| inner.delete(&core.tree(*file), txn).map_err(causes::tree))
    }
}

impl<'t> Deref for CursorMut<'t> {
    type Target = Cursor<'t>;

    fn deref(&self) -> &Cursor<'t> {
        &self.cursor
    }
}

impl DerefMut for CursorMut<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.cursor
    }
}
