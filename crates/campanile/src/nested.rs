//! Nested transactions: what users hold of one.
//!
//! Owns the handle. Promises that it ends before its parent goes on: it borrows the parent, and is
//! rolled back when dropped. Must never be more than a transaction that knows where it ends.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::error::Result;
use crate::transaction::Transaction;

/// A transaction within a transaction; see [`Transaction::nested`].
///
/// It is used as a [`Transaction`] is. Committed, its changes and its locks are its parent's, and
/// share the parent's fate; rolled back or dropped, nothing of it happened, and the parent goes on.
/// Nobody but the family sees any of it before the outermost transaction commits.
///
/// Several may be open at a time, on several threads; each may have nested ones of its own, to any
/// depth. They do not hinder what their ancestors have locked, but each other they do: siblings
/// wait for each other like strangers, and may be victims of deadlocks. A victim is rolled back
/// alone and may be run again.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let env = campanile::Environment::open(dir.path())?;
/// let stock = env.create_database("stock")?;
/// let mut order = env.begin()?;
/// stock.put(&mut order, "bolts", "10")?;
///
/// let mut attempt = order.nested()?;
/// stock.put(&mut attempt, "nuts", "7")?;
/// attempt.abort()?; // only the nuts
///
/// std::thread::scope(|scope| {
///     for item in ["nails", "screws"] {
///         let (stock, mut part) = (&stock, order.nested().unwrap());
///         scope.spawn(move || {
///             stock.put(&mut part, item, "100").unwrap();
///             part.commit().unwrap();
///         });
///     }
/// });
/// order.commit()?;
///
/// let snapshot = env.snapshot()?;
/// assert_eq!(stock.range(&snapshot, ..)?.count(), 3);
/// assert!(!stock.contains(&snapshot, "nuts")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a nested transaction that is dropped is rolled back"]
pub struct Nested<'p> {
    inner: Transaction,
    parent: PhantomData<&'p Transaction>,
}

impl<'p> Nested<'p> {
    pub(crate) fn new(inner: Transaction, _parent: &'p Transaction) -> Nested<'p> {
        Nested { inner, parent: PhantomData }
    }

    /// Commits into the parent. Nothing becomes durable, or visible to others, by that.
    pub fn commit(self) -> Result<()> {
        self.inner.commit().map(|_| ())
    }

    /// Rolls back: nothing of it happened. Its locks go, but for those that its ancestors held.
    pub fn abort(self) -> Result<()> {
        self.inner.abort()
    }
}

impl Deref for Nested<'_> {
    type Target = Transaction;

    fn deref(&self) -> &Transaction {
        &self.inner
    }
}

impl DerefMut for Nested<'_> {
    fn deref_mut(&mut self) -> &mut Transaction {
        &mut self.inner
    }
}

impl fmt::Debug for Nested<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
