//! Making and removing data files, as logged changes.
//!
//! Owns: the order of log record, file and directory. Promises: the record that makes or removes
//! a file is durable before the directory changes (T9), and no checkpoint moves past the record
//! before the directory is synced (T5), so that a crash at any point leaves recovery able to
//! finish or take back. Must never: use a file number twice.

use std::collections::BTreeMap;

use campanile_format::map::{self, ROOT_PAGE};
use campanile_format::planted::{self, Bug};
use campanile_format::record::{Body, FileAction, Undo};
use campanile_format::{DirNo, FileId, Lsn, MetaFields, PageId, PageNo, PageOp};
use campanile_pagestore::FileFlags;
use campanile_sync::Mutex;

use crate::apply::{By, Change};
use crate::error::TxnError;
use crate::transaction::Txn;
use crate::transactions::Transactions;

const META: PageNo = PageNo(0);
const FIRST_MAP: PageNo = PageNo(1);

/// File operations whose record may be in the log while the directory does not show them yet.
#[derive(Debug, Default)]
pub(crate) struct PendingFiles(Mutex<BTreeMap<Lsn, usize>>);

impl PendingFiles {
    /// Announces an operation whose record will stand at `bound` or later.
    fn begin(&self, bound: Lsn) -> Pending<'_> {
        *self.0.lock().entry(bound).or_default() += 1;
        Pending { all: self, bound }
    }

    /// No pending operation has its record below.
    pub fn lowest(&self) -> Option<Lsn> {
        self.0.lock().keys().next().copied()
    }
}

/// One pending operation; over when dropped.
struct Pending<'p> {
    all: &'p PendingFiles,
    bound: Lsn,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        if let Some(count) = all.get_mut(&self.bound) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.bound);
            }
        }
    }
}

impl Transactions {
    /// Makes a data file with an empty tree in it. A rollback removes it.
    pub fn create_file(&self, txn: &mut Txn, durable: bool) -> Result<FileId, TxnError> {
        self.create_file_in(txn, durable, DirNo::HOME)
    }

    /// As [`create_file`](Transactions::create_file), in a directory of the environment.
    pub fn create_file_in(
        &self,
        txn: &mut Txn,
        durable: bool,
        directory: DirNo,
    ) -> Result<FileId, TxnError> {
        let file = self.take_file_id()?;
        self.create_file_at(txn, file, durable, directory)?;
        Ok(file)
    }

    /// Makes a data file under a reserved number (below [`FileId::MIN_USER`]).
    pub fn create_file_as(
        &self,
        txn: &mut Txn,
        file: FileId,
        durable: bool,
    ) -> Result<(), TxnError> {
        self.create_file_at(txn, file, durable, DirNo::HOME)
    }

    fn create_file_at(
        &self,
        txn: &mut Txn,
        file: FileId,
        durable: bool,
        directory: DirNo,
    ) -> Result<(), TxnError> {
        self.poison().check()?;
        txn.check_open()?;
        let made = self.make_file(txn, file, durable, directory);
        if let Err(error) = &made {
            txn.fail(format!("making data file {file} failed ({error})"));
        }
        made
    }

    /// The record, the file, its first pages. Stopped half-way, only a rollback tidies up.
    fn make_file(
        &self,
        txn: &mut Txn,
        file: FileId,
        durable: bool,
        directory: DirNo,
    ) -> Result<(), TxnError> {
        {
            let _pending = self.pending_files.begin(self.wal().end());
            let (lsn, _) = self.append(Some(txn), Body::FileCreate { file, durable, directory })?;
            self.flush_before_names(lsn)?;
            self.store().create_file_in(file, FileFlags { durable }, directory)?;
        }
        self.format_file(By::Txn(txn), file, durable)
    }

    /// Writes the first pages of a file: meta page, first map, empty root.
    ///
    /// The meta page of a file that is not durable is there already, on disk, and is never
    /// written again: it is what tells recovery to empty the file, and a write that nobody syncs
    /// could tear it.
    fn format_file(&self, by: By<'_>, file: FileId, durable: bool) -> Result<(), TxnError> {
        let store = self.store();
        let page = |page| PageId::new(file, page);
        let mut meta = if durable { Some(store.fresh(page(META))?) } else { None };
        let mut root = store.fresh(page(ROOT_PAGE))?;
        let mut map = store.fresh(page(FIRST_MAP))?;
        let fields = MetaFields::new(self.environment(), store.page_bytes(), durable);
        let root_op =
            PageOp::FormatNode { level: 0, lower: &[], upper: None, first_child: PageNo::NONE };
        let mut changes = vec![
            Change::new(&mut root, vec![root_op]),
            Change::new(&mut map, vec![PageOp::FormatMap { group: 0 }]),
        ];
        if let Some(meta) = &mut meta {
            changes.insert(0, Change::new(meta, vec![PageOp::FormatMeta(fields)]));
        }
        self.apply(by, &mut changes, Undo::None)?;
        Ok(())
    }

    /// Empties a file that is not durable, after a crash: its pages may be of any age.
    ///
    /// Only the first pages are made anew, in place, so that a crash in between changes nothing;
    /// the maps of later groups are made anew one by one.
    pub fn reset_volatile_file(&self, file: FileId) -> Result<(), TxnError> {
        assert!(!self.is_durable(file)?, "{file} is durable: it is never reset");
        self.space.forget(file);
        self.format_file(By::System, file, false)?;
        let page_bytes = self.store().page_bytes();
        let pages = self.store().page_count(file)?;
        for group in 1.. {
            let map = map::map_page(page_bytes, group).filter(|map| map.0 < pages);
            let Some(map) = map else { break };
            let mut map = self.store().fresh(PageId::new(file, map))?;
            let change = Change::new(&mut map, vec![PageOp::FormatMap { group }]);
            self.apply(By::System, &mut [change], Undo::None)?;
        }
        Ok(())
    }

    /// Removes a data file that nothing needs any more: its removal is committed and no snapshot
    /// reads it. This is never undone.
    pub fn remove_file_now(&self, file: FileId) -> Result<(), TxnError> {
        self.poison().check()?;
        let _pending = self.pending_files.begin(self.wal().end());
        let (lsn, _) = self.append(None, Body::FileRemove { file })?;
        let removed = self.flush_before_names(lsn).and_then(|()| self.drop_file(file));
        if let Err(error) = &removed {
            // The log says that it is gone: only recovery can make that true now.
            self.poison().strike(format!("removal of data file {file} ({error})"));
        }
        removed
    }

    pub(crate) fn undo_create_file(
        &self,
        txn: &mut Txn,
        file: FileId,
        undo_next: Lsn,
    ) -> Result<(), TxnError> {
        self.cells().undone_files.one_more();
        let _pending = self.pending_files.begin(self.wal().end());
        let (action, within) = (FileAction::RemoveFile(file), txn.position().within);
        let body = Body::Compensate { undo_next, within, changes: Vec::new(), action };
        let (lsn, _) = self.append(Some(txn), body)?;
        self.flush_before_names(lsn)?;
        self.drop_file(file)
    }

    /// A directory never shows what the log could lose.
    fn flush_before_names(&self, lsn: Lsn) -> Result<(), TxnError> {
        if !planted::is(Bug::FileRemovedBeforeCommit) {
            self.wal().flush(lsn)?;
        }
        Ok(())
    }

    /// Takes the file off the disk. It is no error if it is not there: its creation may have been
    /// cut short, or an earlier removal.
    fn drop_file(&self, file: FileId) -> Result<(), TxnError> {
        self.space.forget(file);
        Ok(self.store().remove_file(file)?)
    }

    /// Whether changes of a file are logged.
    pub fn is_durable(&self, file: FileId) -> Result<bool, TxnError> {
        Ok(self.store().file_flags(file)?.durable)
    }
}
