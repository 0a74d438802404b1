//! A database: an ordered map from byte strings to byte strings.
//!
//! Owns the handle and the operations on single entries. Promises that a handle is cheap to clone
//! and to share between threads, follows its database when that is renamed or emptied, and says
//! so when it was dropped. Must never hold anything of a transaction.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use campanile_btree::{Tree, TreeError};
use campanile_format::FileId;

use crate::catalog::Row;
use crate::causes;
use crate::cursor::{Cursor, CursorMut};
use crate::environment::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::key_range::{KeyRange, prefix_range};
use crate::range::Range;
use crate::snapshot::Snapshot;
use crate::stats::DatabaseStats;
use crate::transaction::Transaction;
use crate::view::{Reads, View};

/// A database of an environment: keys in byte order, one value a key.
///
/// Keys have up to a quarter of a page, values up to 4 GiB. Reads go through a [`Transaction`] or a
/// [`Snapshot`], writes through a transaction.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let env = campanile::Environment::open(dir.path())?;
/// let fruit = env.create_database("fruit")?;
/// let mut txn = env.begin()?;
/// assert!(!fruit.put(&mut txn, "apple", "red")?); // was not there
/// assert!(fruit.put(&mut txn, "apple", "green")?); // replaced
/// assert!(!fruit.insert(&mut txn, "apple", "blue")?); // kept
/// assert_eq!(fruit.get(&txn, "apple")?.as_deref(), Some(&b"green"[..]));
/// assert_eq!(fruit.get_with(&txn, "apple", |value| value.len())?, Some(5));
/// assert!(fruit.delete(&mut txn, "apple")?);
/// txn.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
    name: Arc<str>,
    /// The file it had when it was opened; see `retired`.
    file: FileId,
    durable: bool,
}

impl Database {
    pub(crate) fn new(shared: &Arc<Shared>, name: &str, row: Row) -> Database {
        shared.core().remember_name(row.file, name);
        Database {
            shared: Arc::clone(shared),
            name: name.into(),
            file: row.file,
            durable: row.durable,
        }
    }

    /// The name under which it was opened.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its content survives a crash; see
    /// [`DatabaseOptions::durable`](crate::DatabaseOptions::durable).
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// The value under `key`.
    pub fn get(&self, reader: &impl Reads, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let view = reader.view();
        let file = self.file_for(view)?;
        let found = view.read(|core, r| core.tree(file).get(r, key.as_ref()).map_err(causes::tree));
        found.map_err(|error| self.explain(error))
    }

    /// The value under `key`, which the transaction is going to change: locks it for writing at
    /// once. Two transactions that read a key and then write it otherwise wait for each other, and
    /// one of them is chosen to [give way](crate::ErrorKind::Deadlock).
    pub fn get_for_update(
        &self,
        txn: &mut Transaction,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Vec<u8>>> {
        let key = key.as_ref();
        self.write(txn, |tree, inner| {
            tree.lock_for_update(inner, key).map_err(causes::tree)?;
            tree.get(campanile_btree::Reader::Txn(inner), key).map_err(causes::tree)
        })
    }

    /// Looks at the value under `key` without copying it, where it can be helped.
    ///
    /// `look` should be short: it may be run with the page latched, and must not use the
    /// environment.
    pub fn get_with<T>(
        &self,
        reader: &impl Reads,
        key: impl AsRef<[u8]>,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>> {
        let view = reader.view();
        if matches!(view, View::Transaction(_)) {
            // A transaction runs one call at a time, and `look` may make another.
            return Ok(self.get(reader, key)?.map(|value| look(&value)));
        }
        let file = self.file_for(view)?;
        let found = view
            .read(|core, r| core.tree(file).get_with(r, key.as_ref(), look).map_err(causes::tree));
        found.map_err(|error| self.explain(error))
    }

    /// Whether there is an entry under `key`.
    pub fn contains(&self, reader: &impl Reads, key: impl AsRef<[u8]>) -> Result<bool> {
        let view = reader.view();
        let file = self.file_for(view)?;
        let found =
            view.read(|core, r| core.tree(file).contains(r, key.as_ref()).map_err(causes::tree));
        found.map_err(|error| self.explain(error))
    }

    /// Reads the value under `key` piece by piece: for values too long to hold in memory.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let env = campanile::Environment::open(dir.path())?;
    /// # let films = env.create_database("films")?;
    /// # env.run(|txn| films.put(txn, "alien", vec![7; 100_000]))?;
    /// let snapshot = env.snapshot()?;
    /// let mut value = films.value_reader(&snapshot, "alien")?.expect("it is there");
    /// assert_eq!(value.len(), 100_000);
    /// assert_eq!(std::io::copy(&mut value, &mut std::io::sink())?, 100_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn value_reader<'r>(
        &self,
        reader: &'r impl Reads,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<ValueReader<'r>>> {
        let view = reader.view();
        let file = self.file_for(view)?;
        let found = view
            .read(|core, r| core.tree(file).value_reader(r, key.as_ref()).map_err(causes::tree));
        let found = found.map_err(|error| self.explain(error))?;
        Ok(found.map(|inner| ValueReader { inner }))
    }

    /// Puts a value under a key, replacing what was there. True if something was.
    pub fn put(
        &self,
        txn: &mut Transaction,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool> {
        self.write(txn, |tree, inner| {
            tree.put(inner, key.as_ref(), value.as_ref()).map_err(causes::tree)
        })
    }

    /// Puts a value under a key that has none. False, and nothing done, if it has one.
    pub fn insert(
        &self,
        txn: &mut Transaction,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool> {
        self.write(txn, |tree, inner| {
            tree.insert(inner, key.as_ref(), value.as_ref()).map_err(causes::tree)
        })
    }

    /// Replaces the value under a key that has one. False, and nothing done, if it has none.
    pub fn replace(
        &self,
        txn: &mut Transaction,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool> {
        self.write(txn, |tree, inner| {
            tree.replace(inner, key.as_ref(), value.as_ref()).map_err(causes::tree)
        })
    }

    /// Deletes the entry under `key`; false if there is none.
    pub fn delete(&self, txn: &mut Transaction, key: impl AsRef<[u8]>) -> Result<bool> {
        self.write(txn, |tree, inner| tree.delete(inner, key.as_ref()).map_err(causes::tree))
    }

    /// Fills a database that nothing was ever put into with pairs in ascending order of keys, as
    /// fast as pages can be written. Returns how many there were.
    ///
    /// An error of the input, or a key that does not ascend, undoes the whole call.
    pub fn bulk_load<K, V>(
        &self,
        txn: &mut Transaction,
        pairs: impl IntoIterator<Item = Result<(K, V)>>,
    ) -> Result<u64>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let file = self.file_for(View::Transaction(txn))?;
        let loaded = txn.write_whole(|core, inner| {
            core.tree(file).bulk_load(inner, pairs).map_err(causes::tree)
        });
        loaded.map_err(|error| self.explain(error))
    }

    /// The entries in a range of keys, from both ends.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let env = campanile::Environment::open(dir.path())?;
    /// # let fruit = env.create_database("fruit")?;
    /// # env.run(|txn| {
    /// #     for name in ["apple", "cherry", "fig"] { fruit.put(txn, name, "")?; }
    /// #     Ok(())
    /// # })?;
    /// let snapshot = env.snapshot()?;
    /// for entry in fruit.range(&snapshot, "b"..)? {
    ///     let (key, value) = entry?;
    ///     # let _ = (key, value);
    /// }
    /// let last = fruit.range(&snapshot, ..)?.next_back().transpose()?;
    /// assert_eq!(last.expect("it is not empty").0, b"fig");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn range<'r>(&self, reader: &'r impl Reads, keys: impl KeyRange) -> Result<Range<'r>> {
        let view = reader.view();
        let file = self.file_for(view)?;
        Ok(Range::new(view, file, keys.bounds()))
    }

    /// The entries whose keys begin with `prefix`.
    pub fn prefix<'r>(
        &self,
        reader: &'r impl Reads,
        prefix: impl AsRef<[u8]>,
    ) -> Result<Range<'r>> {
        self.range(reader, prefix_range(prefix.as_ref()))
    }

    /// The first entry in key order.
    pub fn first(&self, reader: &impl Reads) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.range(reader, ..)?.next().transpose()
    }

    /// The last entry in key order.
    pub fn last(&self, reader: &impl Reads) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.range(reader, ..)?.next_back().transpose()
    }

    /// A cursor that reads.
    pub fn cursor<'r>(&self, reader: &'r impl Reads) -> Result<Cursor<'r>> {
        let view = reader.view();
        Ok(Cursor::new(view, self.file_for(view)?))
    }

    /// A cursor that also changes what it stands on.
    pub fn cursor_mut<'t>(&self, txn: &'t mut Transaction) -> Result<CursorMut<'t>> {
        let file = self.file_for(View::Transaction(txn))?;
        Ok(CursorMut::new(txn, file))
    }

    /// Statistics, as of now. Reads all pages of the database.
    pub fn stats(&self) -> Result<DatabaseStats> {
        let snapshot = Snapshot::take(&self.shared)?;
        let view = View::Snapshot(&snapshot);
        let file = self.file_for(view)?;
        let stats = view.read(|core, _| core.tree(file).stats().map_err(causes::tree));
        stats.map(DatabaseStats::new).map_err(|error| self.explain(error))
    }

    fn write<T>(
        &self,
        txn: &Transaction,
        body: impl FnOnce(Tree<'_>, &mut campanile_txn::Txn) -> Result<T>,
    ) -> Result<T> {
        let file = self.file_for(View::Transaction(txn))?;
        let done = txn.write(|core, inner| body(core.tree(file), inner));
        done.map_err(|error| self.explain(error))
    }

    /// The file to read or write for this reader.
    fn file_for(&self, view: View<'_>) -> Result<FileId> {
        if !Arc::ptr_eq(&self.shared, view.shared()) {
            let what = format!("database {:?} and the reader are of two environments", self.name);
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        view.enter(self.file)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("database {:?} was dropped", self.name))
        })
    }

    /// A file that is not there: the handle came from a transaction that was rolled back.
    fn explain(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        let what = format!(
            "database {:?} is not there: the transaction that created it was rolled back",
            self.name
        );
        Error::because(ErrorKind::NotFound, what, error)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("name", &self.name).field("file", &self.file).finish()
    }
}

/// A value, read piece by piece; see [`Database::value_reader`].
pub struct ValueReader<'r> {
    inner: campanile_btree::ValueReader<'r>,
}

impl ValueReader<'_> {
    /// Bytes of the whole value.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// Whether the value has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }
}

impl fmt::Debug for ValueReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueReader").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Read for ValueReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buf).map_err(|error| match error.downcast::<TreeError>() {
            Ok(error) => io::Error::other(causes::tree(error)),
            Err(error) => error,
        })
    }
}
