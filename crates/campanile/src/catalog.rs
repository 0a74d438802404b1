//! The catalog: which databases there are, and in which files.
//!
//! Owns the rows of file 1, a tree like any other: database name to [`CatalogRow`]. Promises that
//! creating, dropping, renaming and emptying databases are changes of the transaction they are
//! made in, together with its data and its savepoints. Must never keep a copy of a row: what a
//! reader may see, the tree knows.

use campanile_btree::Seek;
use campanile_format::catalog_row::CatalogRow;
use campanile_format::{DirNo, FileId, names};
use campanile_pagestore::StoreError;
use campanile_txn::Access;

use crate::causes;
use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::options::DatabaseOptions;
use crate::retired::Fate;
use crate::transaction::Transaction;
use crate::view::View;

/// The longest name of a database. With the smallest pages, keys are shorter still.
const NAME_BYTES_MAX: usize = 255;

/// What the catalog says of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub file: FileId,
    pub durable: bool,
    pub created_us: u64,
}

impl Row {
    pub fn decode(name: &[u8], bytes: &[u8]) -> Result<Row> {
        let refuse = |error: campanile_format::FormatError| {
            let kind =
                if error.is_corruption() { ErrorKind::Corrupt } else { ErrorKind::Unsupported };
            let name = crate::text::escape(name);
            Error::because(kind, format!("catalog row of database {name}: {error}"), error)
        };
        let row = CatalogRow::decode(bytes).map_err(refuse)?;
        row.check_key_order().map_err(refuse)?;
        Ok(Row { file: row.file, durable: row.durable, created_us: row.created_us })
    }

    fn encode(self) -> Vec<u8> {
        CatalogRow::new(self.file, self.durable, self.created_us).encode()
    }
}

/// The row of a database, if there is one.
pub(crate) fn find(view: View<'_>, name: &str) -> Result<Option<Row>> {
    let bytes = view.read(|core, reader| {
        core.tree(FileId::CATALOG).get(reader, name.as_bytes()).map_err(causes::tree)
    })?;
    bytes.map(|bytes| Row::decode(name.as_bytes(), &bytes)).transpose()
}

/// The row of a database that must be there.
pub(crate) fn find_existing(view: View<'_>, name: &str) -> Result<Row> {
    find(view, name)?.ok_or_else(|| missing(name))
}

/// The row of a database that is to be read or written: its file must be there too.
pub(crate) fn find_usable(view: View<'_>, name: &str) -> Result<Row> {
    let row = find_existing(view, name)?;
    let there = view.read(|core, _| core.txns.store().open_file(row.file).map_err(causes::store));
    if there? {
        return Ok(row);
    }
    let file = names::data_file(row.file);
    let what = format!(
        "the data file {file} of database {name:?} is missing: rebuild it from a backup and the log \
         (campanile repair --file {})",
        row.file
    );
    let lost = StoreError::NoSuchFile { file: row.file };
    Err(Error::because(ErrorKind::Corrupt, what, lost))
}

/// All names and rows, in the order of the names.
pub(crate) fn list(view: View<'_>) -> Result<Vec<(String, Row)>> {
    let mut rows = Vec::new();
    let mut last: Option<Vec<u8>> = None;
    loop {
        let entry = view.read(|core, reader| {
            let seek = last.as_deref().map_or(Seek::First, Seek::Above);
            core.tree(FileId::CATALOG).find(reader, seek).map_err(causes::tree)
        })?;
        let Some((key, value)) = entry else { return Ok(rows) };
        let row = Row::decode(&key, &value)?;
        let name = String::from_utf8(key.clone()).map_err(|_| {
            let name = crate::text::escape(&key);
            Error::new(ErrorKind::Corrupt, format!("database name {name} is not UTF-8"))
        })?;
        rows.push((name, row));
        last = Some(key);
    }
}

/// Opens a database, or makes it.
pub(crate) fn create(txn: &Transaction, name: &str, options: &DatabaseOptions) -> Result<Row> {
    check_name(name)?;
    let mut row = find(View::Transaction(txn), name)?;
    if row.is_none() {
        lock_name(txn, name)?;
        row = find(View::Transaction(txn), name)?;
    }
    if let Some(row) = row {
        if options.exclusive {
            return Err(exists(name));
        }
        return Ok(row);
    }
    txn.write_whole(|core, inner| {
        let directory = directory(core, options)?;
        let file = core.txns.create_file_in(inner, options.durable, directory);
        let file = file.map_err(causes::txn)?;
        // Nobody else can know of it yet: no key of it need be locked.
        core.txns.lock_whole(inner, file, Access::Write).map_err(causes::txn)?;
        let row = Row { file, durable: options.durable, created_us: core.host.clock.now_us() };
        put(core, inner, name, row)?;
        Ok(row)
    })
}

/// The directory that a new database is to lie in.
fn directory(core: &Core, options: &DatabaseOptions) -> Result<DirNo> {
    let Some(path) = &options.data_dir else { return Ok(DirNo::HOME) };
    let dirs = core.txns.store().dirs();
    if let Some(place) = path.to_str().and_then(|path| dirs.find(path)) {
        return Ok(place.number);
    }
    let known: Vec<_> = dirs.all().map(|place| place.stated.as_str()).collect();
    let what = format!(
        "{} is no data directory of this environment, which has: {}; open it with \
         EnvironmentOptions::add_data_dir",
        path.display(),
        known.join(", ")
    );
    Err(Error::new(ErrorKind::InvalidArgument, what))
}

/// Drops a database, once no other transaction uses it. Its file goes when the transaction is
/// committed and no snapshot reads it.
pub(crate) fn remove(txn: &Transaction, name: &str) -> Result<()> {
    lock_name(txn, name)?;
    let row = find_existing(View::Transaction(txn), name)?;
    txn.write_whole(|core, inner| {
        core.txns.lock_whole(inner, row.file, Access::Write).map_err(causes::txn)?;
        core.tree(FileId::CATALOG).delete(inner, name.as_bytes()).map_err(causes::tree)?;
        core.forest.bury_file(&core.txns, inner, row.file).map_err(causes::tree)
    })?;
    txn.retire(row.file, Fate::Dropped);
    Ok(())
}

/// Gives a database another name, which must be free. Who uses it goes on using it.
pub(crate) fn rename(txn: &Transaction, name: &str, new_name: &str) -> Result<()> {
    check_name(new_name)?;
    // In the order of the names, so that two who rename do not wait for each other.
    lock_name(txn, name.min(new_name))?;
    lock_name(txn, name.max(new_name))?;
    let row = find_existing(View::Transaction(txn), name)?;
    if name == new_name {
        return Ok(());
    }
    if find(View::Transaction(txn), new_name)?.is_some() {
        return Err(exists(new_name));
    }
    txn.write_whole(|core, inner| {
        core.tree(FileId::CATALOG).delete(inner, name.as_bytes()).map_err(causes::tree)?;
        put(core, inner, new_name, row)
    })
}

/// Empties a database by giving it a new file, once no other transaction uses the old one: as fast
/// for a large one as for a small one.
pub(crate) fn empty(txn: &Transaction, name: &str) -> Result<()> {
    lock_name(txn, name)?;
    let row = find_existing(View::Transaction(txn), name)?;
    let new = txn.write_whole(|core, inner| {
        core.txns.lock_whole(inner, row.file, Access::Write).map_err(causes::txn)?;
        let directory = core.txns.store().directory_of(row.file).map_err(causes::store)?;
        let file = core.txns.create_file_in(inner, row.durable, directory);
        let file = file.map_err(causes::txn)?;
        core.txns.lock_whole(inner, file, Access::Write).map_err(causes::txn)?;
        let new = Row { file, ..row };
        put(core, inner, name, new)?;
        core.forest.bury_file(&core.txns, inner, row.file).map_err(causes::tree)?;
        Ok(file)
    })?;
    txn.retire(row.file, Fate::Replaced(new));
    Ok(())
}

/// Locks a name, taken or not, before it is looked at: whoever only reads it first waits for
/// whoever does the same.
fn lock_name(txn: &Transaction, name: &str) -> Result<()> {
    txn.write(|core, inner| {
        let catalog = core.tree(FileId::CATALOG);
        catalog.lock_for_update(inner, name.as_bytes()).map_err(causes::tree)
    })
}

fn put(core: &Core, txn: &mut campanile_txn::Txn, name: &str, row: Row) -> Result<()> {
    let catalog = core.tree(FileId::CATALOG);
    catalog.put(txn, name.as_bytes(), &row.encode()).map_err(causes::tree)?;
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let what = format!(
            "the name of a database has 1 to {NAME_BYTES_MAX} bytes, {name:?} has {}",
            name.len()
        );
        return Err(Error::new(ErrorKind::InvalidArgument, what));
    }
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no database {name:?}"))
}

fn exists(name: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("there is a database {name:?} already"))
}
