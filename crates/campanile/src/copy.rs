//! A database of one environment into another, without a detour through text.
//!
//! Owns the copy and its check. Promises that what was copied has the fingerprint of what was
//! read, or the call fails and the transaction holds nothing of it. Must never hold more than one
//! pair.

use crate::cursor::Cursor;
use crate::database::Database;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{self, Content, Fingerprinter};
use crate::options::DatabaseOptions;
use crate::pairs::PAIRS_PER_REPORT;
use crate::progress::Progress;
use crate::transaction::Transaction;
use crate::view::Reads;

impl Environment {
    /// Copies the database `name` of this environment, as `reader` sees it, into the environment
    /// of `txn` as the new database `new_name`: its pairs and whether it is durable.
    ///
    /// The copy is part of the transaction: it is there when that commits. It is read back and
    /// compared before the call returns. A name that is taken is refused with
    /// [`ErrorKind::AlreadyExists`]. After an error roll the transaction back.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use campanile::{Environment, Progress};
    ///
    /// let old = Environment::open(dir.path().join("old"))?;
    /// let new = Environment::open(dir.path().join("new"))?;
    /// let accounts = old.create_database("accounts")?;
    /// old.run(|txn| accounts.put(txn, "alice", "100"))?;
    ///
    /// let mut txn = new.begin()?;
    /// let from = old.snapshot()?;
    /// let copied = old.copy_database(&from, "accounts", &new, &mut txn, "saved", &Progress::none())?;
    /// txn.commit()?;
    /// assert_eq!(copied.pairs, 1);
    /// let saved = new.open_database("saved")?;
    /// assert_eq!(saved.get(&new.snapshot()?, "alice")?.as_deref(), Some(&b"100"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn copy_database(
        &self,
        reader: &impl Reads,
        name: &str,
        to: &Environment,
        txn: &mut Transaction,
        new_name: &str,
        progress: &Progress,
    ) -> Result<Content> {
        let source = self.open_database_at(reader, name)?;
        let options = DatabaseOptions::new().durable(source.is_durable()).exclusive(true);
        let target = to.create_database_with(txn, new_name, options)?;
        let pairs = Pairs {
            cursor: source.cursor(reader)?,
            sums: Fingerprinter::default(),
            count: 0,
            phase: format!("copy {name}"),
            progress,
        };
        let read = load(&target, txn, pairs)?;
        let phase = format!("check {new_name}");
        let written = fingerprint::content(&target, txn, &phase, progress)?;
        if read != written {
            let what = format!(
                "the copy {new_name:?} of database {name:?} differs from it: {written} instead of \
                 {read}; roll back, verify both environments and report this"
            );
            return Err(Error::new(ErrorKind::Internal, what));
        }
        Ok(read)
    }
}

fn load(target: &Database, txn: &mut Transaction, mut pairs: Pairs<'_, '_>) -> Result<Content> {
    target.bulk_load(txn, std::iter::from_fn(|| pairs.step().transpose()))?;
    Ok(pairs.sums.finish())
}

/// The pairs of a database, owned one by one, fingerprinted as they go by.
struct Pairs<'r, 'p> {
    cursor: Cursor<'r>,
    sums: Fingerprinter,
    count: u64,
    phase: String,
    progress: &'p Progress,
}

impl Pairs<'_, '_> {
    fn step(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        if !self.cursor.next()? {
            return Ok(None);
        }
        let key = self.cursor.key().unwrap_or_default().to_vec();
        let value = self.cursor.value()?.unwrap_or_default().to_vec();
        self.sums.add(&key, &value);
        self.count += 1;
        if self.count.is_multiple_of(PAIRS_PER_REPORT) {
            self.progress.report(&self.phase, self.count, None, "pairs")?;
        }
        Ok(Some((key, value)))
    }
}
