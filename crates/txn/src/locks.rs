//! The locks a transaction takes: files, keys, gaps.
//!
//! Owns: what a transaction remembers of its locks, and every way to ask for one. Promises: a file
//! is locked before any of its keys, once a transaction; whoever holds the whole file asks for no
//! keys; locks go after the outcome is published (T7). Must never: wait with a page latched; what
//! may be asked for under a latch never waits and says so.
//!
//! Which lock an operation needs is the access method's to know; see its README.

use std::sync::Arc;
use std::time::Duration;

use campanile_format::FileId;
use campanile_format::planted::{self, Bug};
use campanile_format::record::Undo;
use campanile_lock::{
    Brief, Granted, Intent, LockError, LockName, LockTable, Mode, OwnerId, OwnerInfo, Part,
    VictimPolicy, Wait,
};
use campanile_wal::Poison;

use crate::error::TxnError;
use crate::lock_refused::{LockRefused, Place};
use crate::table::Entry;
use crate::transaction::{Txn, TxnOptions};
use crate::transactions::Transactions;

/// What somebody is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look.
    Read,
    /// Change.
    Write,
}

impl Access {
    /// The lock on a file whose keys will be locked one by one.
    const fn intention(self) -> Mode {
        match self {
            Access::Read => Mode::IS,
            Access::Write => Mode::IX_CHANGING,
        }
    }

    /// The lock on a key, or on a whole file.
    const fn mode(self) -> Mode {
        match self {
            Access::Read => Mode::S,
            Access::Write => Mode::X,
        }
    }
}

/// A gap that is closed for everybody else until this is dropped, see
/// [`Transactions::close_gap`].
#[derive(Debug)]
pub struct GapLock {
    table: Arc<LockTable>,
    owner: OwnerId,
    name: LockName,
    /// It is to be given back.
    given: bool,
}

impl Drop for GapLock {
    fn drop(&mut self) {
        if self.given {
            self.table.give_back(self.owner, self.name, Brief::Divide);
        }
    }
}

/// What a transaction holds in one file.
#[derive(Debug)]
pub(crate) struct FileLocks {
    pub file: FileId,
    /// The lock on the whole.
    pub mode: Mode,
    /// Locks on keys.
    pub keys: u64,
    /// With so many of them the whole file is asked for again.
    pub escalate_at: u64,
}

/// The locks of one transaction; given back all at once, when dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    pub table: Arc<LockTable>,
    pub owner: OwnerId,
    pub files: Vec<FileLocks>,
    poison: Poison,
    /// They stay for as long as the environment is open.
    stays: bool,
}

impl Holder {
    /// Hands all locks to the parent, in which this owner is nested.
    pub fn hand_to(self, parent: &Entry) {
        self.table.transfer(self.owner, owner_of(parent));
    }

    /// The transaction will never end: its locks stay.
    pub fn hold_on(&mut self) {
        self.stays = true;
    }

    /// Whether nobody can do anything any more, and whoever waits must go on to find that out.
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_poisoned()
    }

    /// The lock on `file` as a whole.
    fn mode_of(&self, file: FileId) -> Mode {
        let known = self.files.iter().find(|known| known.file == file);
        known.map_or(Mode::NONE, |known| known.mode)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if !self.stays {
            self.table.release_all(self.owner);
        }
    }
}

/// Under which number the lock table knows a transaction.
pub(crate) fn owner_of(entry: &Entry) -> OwnerId {
    OwnerId(entry.id().0)
}

/// The file that a row of the graveyard buries as a whole: the row's key is the file's number, high
/// byte first, and ones.
fn whole_file_buried(key: &[u8]) -> Option<FileId> {
    let (file, first) = key.split_first_chunk::<4>()?;
    let number = file.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    (first == [0xFF; 4]).then_some(FileId(number))
}

impl Txn {
    /// Whether the transaction has locked all of `file` for this, and has no children: no key of it
    /// need be locked. For a look, which a child may begin beside, see [`Txn::alone_in`].
    #[must_use]
    pub fn has_whole(&self, file: FileId, access: Access) -> bool {
        // Children may change what their parent has locked as a whole.
        let holder = self.holder.as_ref().filter(|_| self.live_children() == 0);
        holder.is_some_and(|holder| holder.mode_of(file).covers(access.mode()))
    }
}

impl Transactions {
    /// Makes a transaction known to the lock table, under its parent if it has one. A parent is
    /// known before its children, because it was begun before.
    pub(crate) fn register(&self, txn: &mut Txn) {
        let owner = owner_of(&txn.entry);
        let parent = txn.entry.parent().map(|parent| owner_of(parent));
        let TxnOptions { priority, label, .. } = &txn.options;
        let (priority, label) = (*priority, label.clone());
        self.locks().register(owner, OwnerInfo { parent, priority, label });
        let table = Arc::clone(self.locks());
        let poison = self.poison().clone();
        txn.holder = Some(Holder { table, owner, files: Vec::new(), poison, stays: false });
    }

    /// Takes the locks again that `txn`, which a crash or a close interrupted when it was
    /// prepared, held because of the change that `undo` would take back. Nobody else has locks
    /// that hinder it: the environment is not open yet.
    pub(crate) fn lock_again(&self, txn: &mut Txn, undo: &Undo<'_>) -> Result<(), TxnError> {
        match undo {
            Undo::Insert { file: FileId::GRAVEYARD, key }
            | Undo::Replace { file: FileId::GRAVEYARD, key, .. }
            | Undo::Delete { file: FileId::GRAVEYARD, key, .. } => {
                self.lock_file(txn, FileId::GRAVEYARD, Access::Write)?;
                if let Some(dropped) = whole_file_buried(key) {
                    self.lock_whole(txn, dropped, Access::Write)?;
                }
            }
            Undo::Insert { file, key }
            | Undo::Replace { file, key, .. }
            | Undo::Delete { file, key, .. } => {
                self.lock_file(txn, *file, Access::Write)?;
                self.lock_key(txn, *file, key, Access::Write)?;
            }
            Undo::ClearTree { file } | Undo::CreateFile { file } => {
                self.lock_whole(txn, *file, Access::Write)?;
            }
            Undo::AllocExtent { .. } | Undo::None => {}
        }
        Ok(())
    }

    /// Announces that `txn` will use `file`, which keeps everybody from dropping it, and from
    /// locking all of it. True if it is the first time. Waits; call it with nothing latched.
    pub fn lock_file(&self, txn: &mut Txn, file: FileId, access: Access) -> Result<bool, TxnError> {
        self.check_time(txn)?;
        let held = txn.holder.as_ref().map_or(Mode::NONE, |holder| holder.mode_of(file));
        // A child may have locked all of it since.
        if held.covers(access.intention()) && txn.live_children() == 0 {
            return Ok(false);
        }
        self.lock_whole_as(txn, file, access.intention())
    }

    /// Locks all of `file`: others may read it too, or nobody else uses it. Waits; call it with
    /// nothing latched. True if `txn` had no lock on the file before.
    pub fn lock_whole(
        &self,
        txn: &mut Txn,
        file: FileId,
        access: Access,
    ) -> Result<bool, TxnError> {
        self.check_time(txn)?;
        if txn.has_whole(file, access) {
            return Ok(false);
        }
        let mode = access.mode().join(access.intention());
        self.lock_whole_as(txn, file, mode)
    }

    /// Keeps everybody from changing anything in `file`, keys or structure, until `txn` ends: for a
    /// check of its pages. Waits for those who do to end; not for readers, and not for prepared
    /// transactions, which change nothing until they are resolved.
    pub fn stop_changes(&self, txn: &mut Txn, file: FileId) -> Result<(), TxnError> {
        self.lock_whole_as(txn, file, Mode::GAP_X).map(drop)
    }

    /// A transaction is prepared: it keeps its locks, but changes nothing.
    pub(crate) fn rest(&self, txn: &Txn) {
        let owner = owner_of(&txn.entry);
        for (name, mode) in self.locks().held_wholes(owner) {
            self.locks().downgrade(owner, name, mode.without_gap());
        }
    }

    /// A prepared transaction is going to roll back.
    pub(crate) fn resume_changes(&self, txn: &Txn) -> Result<(), TxnError> {
        let owner = owner_of(&txn.entry);
        for (name, mode) in self.locks().held_wholes(owner) {
            if mode.intent() == Intent::Exclusive || mode.key() == Part::Exclusive {
                let granted = self.locks().acquire(owner, name, Mode::GAP_S, Wait::Forever);
                granted
                    .map_err(|error| self.refused(txn, FileId(name.space), Place::Whole, error))?;
            }
        }
        Ok(())
    }

    fn lock_whole_as(&self, txn: &mut Txn, file: FileId, mode: Mode) -> Result<bool, TxnError> {
        self.poison().check()?;
        let wait = self.patience(txn);
        self.acquire(txn, file, Place::Whole, mode, wait)?;
        // Whoever held it before may have poisoned the environment.
        self.poison().check()?;
        Ok(self.note_whole(txn, file, mode))
    }

    /// Remembers a lock on a whole file; true if it is the first.
    pub(crate) fn note_whole(&self, txn: &mut Txn, file: FileId, mode: Mode) -> bool {
        let escalate_at = self.options().escalate_after.max(1);
        let files = &mut self.holder(txn).files;
        match files.iter_mut().find(|known| known.file == file) {
            Some(known) => {
                known.mode = known.mode.join(mode);
                false
            }
            None => {
                files.push(FileLocks { file, mode, keys: 0, escalate_at });
                true
            }
        }
    }

    /// Locks a key, be it there or not, until the transaction ends. The file is locked already.
    /// Waits; call it with nothing latched.
    pub fn lock_key(
        &self,
        txn: &mut Txn,
        file: FileId,
        key: &[u8],
        access: Access,
    ) -> Result<(), TxnError> {
        if access == Access::Write && self.locks().options().victim == VictimPolicy::FewestWrites {
            let owner = self.holder(txn).owner;
            self.locks().note_write(owner);
        }
        // Nobody begins a child beside a write. Beside a read: [`Txn::alone_in`].
        if access == Access::Write && txn.has_whole(file, access) {
            return Ok(());
        }
        self.lock_place(txn, file, Place::Key(key), access.mode())
    }

    /// Locks a key and the gap below it for a scan that has come to it. Waits.
    pub fn lock_step(&self, txn: &mut Txn, file: FileId, key: &[u8]) -> Result<(), TxnError> {
        self.lock_place(txn, file, Place::Key(key), Mode::RANGE_S)
    }

    /// Locks the gap below a key, or below the end, for a scan that ends there. Waits.
    pub fn lock_gap(&self, txn: &mut Txn, file: FileId, above: Place<'_>) -> Result<(), TxnError> {
        self.lock_place(txn, file, above, Mode::GAP_S)
    }

    fn lock_place(
        &self,
        txn: &mut Txn,
        file: FileId,
        place: Place<'_>,
        mode: Mode,
    ) -> Result<(), TxnError> {
        let wait = self.patience(txn);
        if self.acquire(txn, file, place, mode, wait)? == Granted::New {
            self.count_key(txn, file);
        }
        self.heed_children(txn, file)?;
        // Nobody may build upon what a transaction left that could not be rolled back.
        Ok(self.poison().check()?)
    }

    /// A child that locks the whole file gives its locks on keys up once it has that: whoever got
    /// one of those looks for the whole afterwards.
    pub(crate) fn heed_children(&self, txn: &mut Txn, file: FileId) -> Result<(), TxnError> {
        if txn.live_children() > 0 {
            let wait = self.patience(txn);
            self.acquire(txn, file, Place::Whole, Mode::IS, wait)?;
        }
        Ok(())
    }

    /// Asks whether `key` may be inserted, with the page it goes to latched: it goes into the gap
    /// below `next`. False if somebody has scanned that gap: unlatch everything, call
    /// [`Self::wait_for_gap`], and search again.
    ///
    /// If the transaction itself has scanned the gap, it has scanned both parts of it afterwards.
    pub fn try_gap(
        &self,
        txn: &mut Txn,
        file: FileId,
        next: Place<'_>,
        key: &[u8],
    ) -> Result<bool, TxnError> {
        if planted::is(Bug::NextKeyLockMissing) {
            return Ok(true);
        }
        let (owner, name) = (self.holder(txn).owner, self.lock_name(file, next));
        let inside = match self.locks().acquire_instant(owner, name, Mode::GAP_X, Wait::No) {
            Ok(inside) => inside,
            Err(LockError::WouldBlock { .. }) => return Ok(false),
            Err(error) => return Err(self.refused(txn, file, next, error)),
        };
        if inside {
            let own = self.locks().holds(owner, name).gap() != Part::None;
            self.inherit(txn, file, name, key, own)?;
        }
        Ok(true)
    }

    /// Closes the gap below `next` for everybody else, until what is given back is dropped. Waits;
    /// call it with nothing latched.
    pub fn close_gap(
        &self,
        txn: &mut Txn,
        file: FileId,
        next: Place<'_>,
    ) -> Result<GapLock, TxnError> {
        let (owner, name) = (self.holder(txn).owner, self.lock_name(file, next));
        let table = Arc::clone(self.locks());
        if planted::is(Bug::NextKeyLockMissing) {
            return Ok(GapLock { table, owner, name, given: false });
        }
        let given = self.acquire_briefly(txn, file, next, Brief::Divide)?;
        let lock = GapLock { table, owner, name, given };
        self.poison().check()?;
        Ok(lock)
    }

    /// `key` goes into a closed gap, below `next`. If the transaction itself has scanned the gap,
    /// it has scanned both parts of it afterwards.
    pub fn pass_closed_gap(
        &self,
        txn: &mut Txn,
        file: FileId,
        next: Place<'_>,
        key: &[u8],
        closed: &GapLock,
    ) -> Result<(), TxnError> {
        let name = self.lock_name(file, next);
        assert!(closed.name == name, "the gap that was closed is another one");
        let own = self.locks().holds(closed.owner, name).gap() != Part::None;
        self.inherit(txn, file, name, key, own)
    }

    /// Whoever of the transaction's family has scanned the gap below `next` has scanned both parts
    /// of it once `key` is in it; `own`: the transaction itself has.
    fn inherit(
        &self,
        txn: &mut Txn,
        file: FileId,
        next: LockName,
        key: &[u8],
        own: bool,
    ) -> Result<(), TxnError> {
        if planted::is(Bug::GapNotInherited) {
            return Ok(());
        }
        let (owner, place) = (self.holder(txn).owner, Place::Key(key));
        let inherited = self.locks().inherit_gap(owner, next, self.lock_name(file, place), own);
        inherited.map_err(|error| self.refused(txn, file, place, error))
    }

    /// Waits until nobody has scanned the gap below `next`. Call it with nothing latched.
    pub fn wait_for_gap(
        &self,
        txn: &mut Txn,
        file: FileId,
        next: Place<'_>,
    ) -> Result<(), TxnError> {
        let wait = self.patience(txn);
        let (owner, name) = (self.holder(txn).owner, self.lock_name(file, next));
        let waited = self.locks().acquire_instant(owner, name, Mode::GAP_X, wait);
        waited.map_err(|error| self.refused(txn, file, next, error))?;
        Ok(self.poison().check()?)
    }

    /// Whether nobody has or wants a lock on the key or on the gap below it: a ghost of it marks
    /// no boundary for anybody.
    #[must_use]
    pub fn is_key_free(&self, file: FileId, key: &[u8]) -> bool {
        self.locks().is_free(self.lock_name(file, Place::Key(key)))
    }

    pub(crate) fn acquire(
        &self,
        txn: &mut Txn,
        file: FileId,
        place: Place<'_>,
        mode: Mode,
        wait: Wait,
    ) -> Result<Granted, TxnError> {
        let (owner, name) = (self.holder(txn).owner, self.lock_name(file, place));
        debug_assert!(may_wait(wait), "{name:?} is awaited under a latch");
        let granted = self.locks().acquire(owner, name, mode, wait);
        granted.map_err(|error| self.refused(txn, file, place, error))
    }

    /// [`Self::acquire`] until it is given back; false if it need not be.
    pub(crate) fn acquire_briefly(
        &self,
        txn: &mut Txn,
        file: FileId,
        place: Place<'_>,
        brief: Brief,
    ) -> Result<bool, TxnError> {
        let wait = self.patience(txn);
        let (owner, name) = (self.holder(txn).owner, self.lock_name(file, place));
        debug_assert!(may_wait(wait), "{name:?} is awaited under a latch");
        let given = self.locks().acquire_briefly(owner, name, brief, wait);
        given.map_err(|error| self.refused(txn, file, place, error))
    }

    pub(crate) fn holder<'t>(&self, txn: &'t mut Txn) -> &'t mut Holder {
        txn.holder.as_mut().expect("a transaction is registered when it begins")
    }

    pub(crate) fn lock_name(&self, file: FileId, place: Place<'_>) -> LockName {
        match place {
            Place::Whole => LockName::whole(file.0),
            Place::Key(key) => LockName::key(file.0, self.key_hasher.hash(key)),
            Place::End => LockName::infinity(file.0),
        }
    }

    fn refused(&self, txn: &Txn, file: FileId, place: Place<'_>, error: LockError) -> TxnError {
        if let (LockError::Timeout { .. }, Err(out_of_time)) = (&error, self.check_time(txn)) {
            return out_of_time;
        }
        // They are closed for that reason only, or because nobody may ask any more.
        if let (LockError::Closed, Err(poisoned)) = (&error, self.poison().check()) {
            return poisoned.into();
        }
        TxnError::Lock(Box::new(LockRefused::new(error, file, place)))
    }

    /// Fails once the transaction has used up its time.
    pub(crate) fn check_time(&self, txn: &Txn) -> Result<(), TxnError> {
        let Some(deadline) = txn.deadline_us else { return Ok(()) };
        if self.clock().monotonic_us() < deadline {
            return Ok(());
        }
        let limit_us = txn.options.timeout_us.unwrap_or_default();
        Err(TxnError::OutOfTime { txn: txn.id(), limit_us })
    }

    /// How long the transaction may wait for a lock now.
    pub(crate) fn patience(&self, txn: &Txn) -> Wait {
        if txn.options.no_wait {
            return Wait::No;
        }
        let asked = txn.options.lock_timeout_us.map(Duration::from_micros);
        let Some(deadline) = txn.deadline_us else {
            return asked.map_or(Wait::Default, Wait::AtMost);
        };
        let left = deadline.saturating_sub(self.clock().monotonic_us());
        let left = Duration::from_micros(left);
        let usual = asked.or(self.locks().options().default_timeout);
        Wait::AtMost(usual.map_or(left, |usual| usual.min(left)))
    }
}

/// Whether a request that waits so long may be made here: never under a page latch, which whoever
/// holds the lock may want. In debug builds; in others nobody knows.
pub(crate) fn may_wait(wait: Wait) -> bool {
    wait == Wait::No || campanile_pagestore::latches_held() == 0
}
