//! The handle of one tree, and reading single records.
//!
//! Owns: [`Tree`]; `get` and its kin. Promises: a tree is two references and a number, made for
//! one call and thrown away. Must never: keep anything between calls (the pages are the state).

use std::cell::Cell;

use campanile_format::map::ROOT_PAGE;
use campanile_format::record::Undo;
use campanile_format::{FileId, Lsn, MetaFields, PageBytes, PageId, PageNo, PageOp};
use campanile_pagestore::{PageStore, PageVersion, PageWrite, StoreError};
use campanile_txn::{By, Change, Snapshot, Transactions, Txn, TxnError};

use crate::cursor::Cursor;
use crate::descend::{Shown, Target, node_of};
use crate::error::TreeError;
use crate::forest::Forest;
use crate::locking::{Held, Locks};
use crate::view::{Reader, Seek};
use crate::visible::{Eyes, Sight};

thread_local! {
    /// Room for one value, so that reading one in place allocates nothing.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What of a scratch buffer is kept for the next read.
const SCRATCH_KEPT_BYTES: usize = 64 << 10;

/// The B+tree in one file. See [`Forest::tree`].
#[derive(Clone, Copy, Debug)]
pub struct Tree<'e> {
    pub(crate) forest: &'e Forest,
    pub(crate) txns: &'e Transactions,
    pub(crate) file: FileId,
    /// What operations lock.
    pub(crate) locks: Locks,
}

impl<'e> Tree<'e> {
    /// The file that this tree fills.
    #[must_use]
    pub fn file(&self) -> FileId {
        self.file
    }

    pub(crate) fn store(&self) -> &'e PageStore {
        self.txns.store()
    }

    pub(crate) fn page_bytes(&self) -> usize {
        self.store().page_bytes()
    }

    /// Whether the file is (still) there.
    pub(crate) fn file_exists(&self) -> Result<bool, TreeError> {
        match self.store().file_flags(self.file) {
            Ok(_) => Ok(true),
            Err(StoreError::NoSuchFile { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// How many groups of pages have their space map.
    pub(crate) fn groups(&self) -> Result<u32, TreeError> {
        let meta = self.store().read(self.page_id(PageNo(0)))?;
        let fields = MetaFields::read(&meta.bytes());
        let fields = fields.map_err(|why| TreeError::from_format(meta.id(), meta.lsn(), &why))?;
        Ok(fields.groups)
    }

    pub(crate) fn root(&self) -> PageId {
        PageId::new(self.file, ROOT_PAGE)
    }

    pub(crate) fn page_id(&self, page: PageNo) -> PageId {
        PageId::new(self.file, page)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// Damage, I/O, a lock that was not granted, a snapshot that is too old.
    pub fn get(&self, reader: Reader<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
        self.get_with(reader, key, <[u8]>::to_vec)
    }

    /// Fills `into` with the value of `key`. False, and nothing in `into`, if it is not there.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn get_into(
        &self,
        reader: Reader<'_>,
        key: &[u8],
        into: &mut Vec<u8>,
    ) -> Result<bool, TreeError> {
        into.clear();
        let found = self.get_with(reader, key, |value| into.extend_from_slice(value))?;
        Ok(found.is_some())
    }

    /// Calls `take` with the value of `key`, which need not be copied into a vector for it.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn get_with<R>(
        &self,
        mut reader: Reader<'_>,
        key: &[u8],
        take: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, TreeError> {
        let mut scratch = SCRATCH.take();
        let (sight, mut held) = self.look_with_lock(&mut reader, key, &mut scratch)?;
        let sight = self.fetch(&mut reader, &mut held, sight, key, &mut scratch);
        // Before the caller's own code: it may do with the transaction what it likes.
        self.unlock(&mut reader, held);
        let result = sight.map(|sight| match sight? {
            Sight::OnPage(range) => Some(take(&scratch[range])),
            Sight::Version(bytes) => Some(take(&bytes)),
            Sight::Overflow(_) => Some(take(&scratch)),
        });
        if scratch.capacity() <= SCRATCH_KEPT_BYTES {
            SCRATCH.set(scratch);
        }
        result
    }

    /// Where the value of `key` is, and what keeps it there: to be given back.
    fn look_with_lock(
        &self,
        reader: &mut Reader<'_>,
        key: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<(Option<Sight>, Held), TreeError> {
        loop {
            let mark = reader.children_mark();
            let held = self.lock_to_read(reader, key)?;
            let seen = self.look_up(reader.snapshot(), key, scratch);
            let seen = seen.and_then(|(sight, leaf)| {
                Ok((sight, self.is_still_so(reader, mark, key, leaf, &held)?))
            });
            match seen {
                Ok((sight, true)) => return Ok((sight, held)),
                seen => {
                    self.unlock(reader, held);
                    seen?;
                }
            }
        }
    }

    /// Fetches a large value into `scratch`.
    fn fetch(
        &self,
        reader: &mut Reader<'_>,
        held: &mut Held,
        mut sight: Option<Sight>,
        key: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Sight>, TreeError> {
        while let (Held::Nothing, Some(Sight::Overflow(_)), Reader::Txn(txn)) =
            (&held, &sight, &mut *reader)
        {
            // Pages of a value that is taken back are free: no look at them without a lock.
            let mark = Some(txn.children_mark());
            *held = self.lock_briefly(txn, key)?;
            let leaf;
            (sight, leaf) = self.look_up(None, key, scratch)?;
            if !self.is_still_so(reader, mark, key, leaf, held)? {
                self.unlock(reader, std::mem::replace(held, Held::Nothing));
            }
        }
        if let Some(Sight::Overflow(overflow)) = sight {
            scratch.clear();
            self.read_long(overflow, scratch)?;
        }
        Ok(sight)
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn contains(&self, mut reader: Reader<'_>, key: &[u8]) -> Result<bool, TreeError> {
        let (sight, held) = self.look_with_lock(&mut reader, key, &mut Vec::new())?;
        self.unlock(&mut reader, held);
        Ok(sight.is_some())
    }

    /// The length of the value of `key`.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn value_len(&self, mut reader: Reader<'_>, key: &[u8]) -> Result<Option<u64>, TreeError> {
        let (sight, held) = self.look_with_lock(&mut reader, key, &mut Vec::new())?;
        self.unlock(&mut reader, held);
        Ok(sight.map(|sight| match sight {
            Sight::OnPage(range) => range.len() as u64,
            Sight::Version(bytes) => bytes.len() as u64,
            Sight::Overflow(overflow) => overflow.len,
        }))
    }

    /// The record that `seek` describes.
    ///
    /// # Errors
    /// As [`Tree::get`].
    #[allow(clippy::type_complexity)]
    pub fn find(
        &self,
        reader: Reader<'_>,
        seek: Seek<'_>,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, TreeError> {
        let mut cursor = Cursor::new();
        if !cursor.seek(self, reader, seek)? {
            return Ok(None);
        }
        cursor.entry(self)
    }

    /// Where the visible value of `key` is, and the leaf that says so; an inline one is copied into
    /// `scratch`.
    pub(crate) fn look_up(
        &self,
        snapshot: Option<&Snapshot>,
        key: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<(Option<Sight>, PageVersion), TreeError> {
        self.look_at_leaf(Target::At(key), |leaf| {
            let (node, version) = (node_of(&leaf), leaf.version());
            let Ok(slot) = node.search(key) else { return Ok((None, version)) };
            let eyes = Eyes::for_page(self.txns, self.file, snapshot, leaf.lsn());
            let sight = match eyes.see(&node, slot, key)? {
                Some(Sight::OnPage(range)) => {
                    let kept = leaf.words().copy_span(range.start, range.len(), scratch);
                    Some(Sight::OnPage(kept))
                }
                sight => sight,
            };
            Ok((sight, version))
        })
    }

    /// The same tree for callers that hold whatever locks they need: it takes none.
    #[must_use]
    pub fn without_locks(self) -> Tree<'e> {
        Tree { locks: Locks::Nothing, ..self }
    }

    /// The way to the one door: every page change of this crate goes through here (B5).
    pub(crate) fn apply(
        &self,
        by: By<'_>,
        changes: &mut [Change<'_, '_, '_>],
        undo: Undo<'_>,
    ) -> Result<Lsn, TreeError> {
        Ok(self.txns.apply(by, changes, undo)?)
    }

    /// Runs the steps of one operation; if one fails, takes back those before it (B9).
    pub(crate) fn statement<R>(
        &self,
        txn: &mut Txn,
        steps: impl FnOnce(&Self, &mut Txn) -> Result<R, TreeError>,
    ) -> Result<R, TreeError> {
        if let Some(why) = txn.failure() {
            // Nothing may look taken back that is not.
            let why = why.to_owned();
            return Err(TxnError::MustRollBack { txn: txn.id(), why }.into());
        }
        let start = self.txns.savepoint(txn);
        let error = match steps(self, txn) {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        if let Err(second) = self.txns.rollback_to(txn, &start) {
            txn.fail(format!("{error}; and taking it back failed: {second}"));
        }
        Err(error)
    }
}

/// One op on one page.
pub(crate) fn one<'p, 's, 'a>(page: &'p mut PageWrite<'s>, op: PageOp<'a>) -> Change<'p, 's, 'a> {
    Change { page, ops: vec![op] }
}
