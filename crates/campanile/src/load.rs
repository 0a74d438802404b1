//! Text into databases: what `db_load` does.
//!
//! Owns the rules of loading. Promises that a load which fails leaves every database as it was,
//! also those it would have created (unless it was asked to commit in batches), and that nothing
//! is dropped or overwritten in silence: a key that is given twice is an error with its line, and
//! keys that were kept are counted. Must never accept a text that the reader did not accept to its
//! end.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::BufRead;

use serde::Serialize;

use crate::database::Database;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::options::DatabaseOptions;
use crate::pairs::PAIRS_PER_REPORT;
use crate::progress::Progress;
use crate::text::{AccessMethod, Duplicates, Header, Reader, escape};
use crate::transaction::Transaction;

/// How text is loaded.
#[derive(Clone, Debug)]
#[must_use]
pub struct LoadOptions {
    database: Option<String>,
    overwrite: bool,
    batch_pairs: Option<u64>,
    progress: Progress,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            database: None,
            overwrite: true,
            batch_pairs: None,
            progress: Progress::none(),
        }
    }
}

impl LoadOptions {
    /// One transaction, keys that exist are overwritten.
    pub fn new() -> LoadOptions {
        LoadOptions::default()
    }

    /// The database for a section whose header names none.
    pub fn database(mut self, name: impl Into<String>) -> LoadOptions {
        self.database = Some(name.into());
        self
    }

    /// Whether the value of a key that exists is replaced (default) or kept.
    pub fn overwrite(mut self, overwrite: bool) -> LoadOptions {
        self.overwrite = overwrite;
        self
    }

    /// Commits every `pairs` pairs instead of once at the end. A load that fails then keeps what
    /// was committed.
    pub fn batch_pairs(mut self, pairs: Option<u64>) -> LoadOptions {
        self.batch_pairs = pairs;
        self
    }

    /// Who is told how far the load is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> LoadOptions {
        self.progress = progress;
        self
    }
}

/// What was loaded into one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LoadedDatabase {
    /// Its name.
    pub name: String,
    /// Whether the load created it.
    pub created: bool,
    /// Pairs under keys that were not there.
    pub inserted: u64,
    /// Pairs that replaced the value of a key that was there.
    pub replaced: u64,
    /// Pairs that were left out because their key was there.
    pub kept: u64,
    /// Keywords of the header that change no data and were not used: `keyword=value`.
    pub unused_hints: Vec<String>,
}

/// What was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LoadReport {
    /// One entry a section of the text, in its order.
    pub databases: Vec<LoadedDatabase>,
    /// Transactions committed.
    pub transactions: u64,
}

impl LoadReport {
    /// Pairs that were left out because their key was there, in all databases.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.databases.iter().map(|database| database.kept).sum()
    }
}

impl Environment {
    /// Loads all sections of a text, strictly.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let env = campanile::Environment::open(dir.path())?;
    /// use campanile::LoadOptions;
    /// use campanile::text::Reader;
    ///
    /// let text = b"VERSION=3\nformat=print\ntype=btree\nHEADER=END\n alice\n 100\nDATA=END\n";
    /// let mut reader = Reader::new(&text[..], "accounts.dump");
    /// let report = env.load(&mut reader, &LoadOptions::new().database("accounts"))?;
    /// assert_eq!(report.databases[0].inserted, 1);
    ///
    /// // The end mark is missing: nothing of it is kept.
    /// let text = &text[..text.len() - 9];
    /// let mut reader = Reader::new(text, "cut.dump");
    /// assert!(env.load(&mut reader, &LoadOptions::new().database("other")).is_err());
    /// assert_eq!(env.databases(&env.snapshot()?)?, ["accounts"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load<R: BufRead>(
        &self,
        reader: &mut Reader<R>,
        options: &LoadOptions,
    ) -> Result<LoadReport> {
        if options.batch_pairs == Some(0) {
            let what = "a batch of 0 pairs never ends; give at least 1";
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        let mut load = Load { env: self, options, txn: self.begin()?, pairs: 0, committed: 0 };
        let mut report = LoadReport::default();
        let result = load.sections(reader, &mut report);
        let Load { txn, committed, .. } = load;
        // An error rolls back by dropping the transaction.
        result?;
        txn.commit()?;
        report.transactions = committed + 1;
        Ok(report)
    }
}

struct Load<'e> {
    env: &'e Environment,
    options: &'e LoadOptions,
    txn: Transaction,
    /// Pairs read so far, of all sections.
    pairs: u64,
    committed: u64,
}

enum Stored {
    Inserted,
    Replaced,
    Kept,
    Repeated,
}

impl Load<'_> {
    fn sections<R: BufRead>(
        &mut self,
        reader: &mut Reader<R>,
        report: &mut LoadReport,
    ) -> Result<()> {
        while let Some(header) = reader.next_section()? {
            require_supported(reader.name(), &header)?;
            let loaded = self.section(reader, &header)?;
            report.databases.push(loaded);
        }
        Ok(())
    }

    fn section<R: BufRead>(
        &mut self,
        reader: &mut Reader<R>,
        header: &Header,
    ) -> Result<LoadedDatabase> {
        let name = self.name_for(reader.name(), header)?;
        let exists = self.env.databases(&self.txn)?.contains(&name);
        let options = DatabaseOptions::new();
        let database = self.env.create_database_with(&mut self.txn, &name, options)?;
        let mut loaded = LoadedDatabase {
            created: !exists,
            unused_hints: header.hints.iter().map(|(k, v)| format!("{k}={v}")).collect(),
            name,
            ..LoadedDatabase::default()
        };
        let empty = database.range(&self.txn, ..)?.next().transpose()?.is_none();
        let mut target = Target { database, seen: (!empty).then(Fingerprints::default) };
        loop {
            let (stored, key) = {
                let line = reader.line() + 1;
                let source = reader.name().to_owned();
                let Some((key, value)) = reader.next_pair()? else { break };
                let stored = target
                    .store(&mut self.txn, key, value, self.options.overwrite)
                    .map_err(|error| error.at(format_args!("{source}:{line}")))?;
                let key = matches!(stored, Stored::Repeated).then(|| escape(key));
                (stored, key)
            };
            match stored {
                Stored::Inserted => loaded.inserted += 1,
                Stored::Replaced => loaded.replaced += 1,
                Stored::Kept => loaded.kept += 1,
                Stored::Repeated => return Err(repeated(reader, &key.unwrap_or_default())),
            }
            self.counted()?;
        }
        Ok(loaded)
    }

    fn name_for(&self, source: &str, header: &Header) -> Result<String> {
        match (&header.database, &self.options.database) {
            (Some(section), Some(given)) if section != given => {
                let what = format!(
                    "{source}: the section names database {section:?}, the caller {given:?}; \
                     name one (db_load: leave the operand out, or add -c database={given})"
                );
                Err(Error::new(ErrorKind::InvalidArgument, what))
            }
            (Some(name), _) | (None, Some(name)) => Ok(name.clone()),
            (None, None) => {
                let what = format!("{source}: the section names no database; say which one");
                Err(Error::new(ErrorKind::InvalidArgument, what))
            }
        }
    }

    /// One more pair is in the transaction.
    fn counted(&mut self) -> Result<()> {
        self.pairs += 1;
        if self.pairs.is_multiple_of(PAIRS_PER_REPORT) {
            self.options.progress.report("load", self.pairs, None, "pairs")?;
        }
        if self.options.batch_pairs.is_some_and(|batch| self.pairs.is_multiple_of(batch)) {
            let next = self.env.begin()?;
            std::mem::replace(&mut self.txn, next).commit()?;
            self.committed += 1;
        }
        Ok(())
    }
}

/// A database that is loaded into, and which keys the text has given it.
struct Target {
    database: Database,
    /// `None` while every key in the database is one the text gave.
    seen: Option<Fingerprints>,
}

impl Target {
    fn store(
        &mut self,
        txn: &mut Transaction,
        key: &[u8],
        value: &[u8],
        overwrite: bool,
    ) -> Result<Stored> {
        let Some(seen) = &mut self.seen else {
            let inserted = self.database.insert(txn, key, value)?;
            return Ok(if inserted { Stored::Inserted } else { Stored::Repeated });
        };
        if !seen.add(key) {
            return Ok(Stored::Repeated);
        }
        if overwrite {
            let existed = self.database.put(txn, key, value)?;
            return Ok(if existed { Stored::Replaced } else { Stored::Inserted });
        }
        let inserted = self.database.insert(txn, key, value)?;
        Ok(if inserted { Stored::Inserted } else { Stored::Kept })
    }
}

/// The keys that a text has given, 16 bytes each: what tells a repeated key from one that was in
/// the database before. 128 bits under secret keys: no text makes two keys look alike.
#[derive(Default)]
struct Fingerprints {
    high: RandomState,
    low: RandomState,
    seen: HashSet<(u64, u64)>,
}

impl Fingerprints {
    fn add(&mut self, key: &[u8]) -> bool {
        self.seen.insert((self.high.hash_one(key), self.low.hash_one(key)))
    }
}

fn repeated<R: BufRead>(reader: &Reader<R>, key: &str) -> Error {
    let what = format!("key {key} is given twice, and the header does not say duplicates=1");
    Error::input(reader.name(), reader.line().saturating_sub(1), what)
}

fn require_supported(source: &str, header: &Header) -> Result<()> {
    let what = match (header.access_method, header.duplicates) {
        (AccessMethod::Btree, Duplicates::No) => return Ok(()),
        (AccessMethod::Btree, Duplicates::Unsorted) => {
            "duplicates=1: databases with duplicates are not in this build"
        }
        (AccessMethod::Btree, Duplicates::Sorted) => {
            "dupsort=1: databases with sorted duplicates are not in this build"
        }
        (AccessMethod::Hash, _) => {
            "type=hash: hash databases are not in this build; load it as a btree (db_load -t btree)"
        }
    };
    Err(Error::unsupported_input(source, header.line, what))
}
