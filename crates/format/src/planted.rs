//! Bugs on purpose: switches that prove that the tests can fail.
//!
//! Owns: the list of them. Promises: without the feature `planted-bugs` every [`is`] is `false` at
//! compile time and nothing of this is left in the program; with it, a bug is on only inside
//! `with`, on the calling thread and on threads that take over its [`Selection`]: tests that run
//! beside it in the same process see nothing of it. Must never: be on in a build that users get.

/// A bug that can be planted. The comment says what goes wrong; the test suite says who notices.
macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A bug that can be planted; each is caught by a test of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Bug { $($(#[$doc])* $name,)* }

        impl Bug {
            /// Every bug there is.
            pub const ALL: &'static [Bug] = &[$(Bug::$name,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Bug::$name => stringify!($name),)* }
            }
        }
    };
}

bugs! {
    /// The record checksum does not cover the record header.
    FrameChecksumSkipsHeader,
    /// A record with a wrong checksum is taken for good.
    FrameChecksumIgnored,
    /// A page passes its check wherever it was read from.
    PageChecksumWithoutIdentity,
    /// A flush reports the log durable without syncing it.
    LogSyncSkipped,
    /// A failed log sync is reported as success.
    LogSyncErrorIgnored,
    /// A failed log sync is tried again and the second answer believed.
    LogSyncRetried,
    /// The directory is not synced after a log file was made.
    LogDirectorySyncSkipped,
    /// A commit is acknowledged before its record is durable.
    AcknowledgedBeforeDurable,
    /// Followers of a group flush wake before the sync.
    FollowerWokenEarly,
    /// A log file is recycled although its last records are still needed.
    LogRecycledOneTooEarly,
    /// The directory of a data file is synced only if it is the one in the home.
    OtherDirectoryNotSynced,
    /// Log files are given up although somebody reads them.
    LogPinIgnored,
    /// A hot backup states an end of its log that was read before its pages.
    BackupEndTooEarly,
    /// A copy of the log ends where its home could still lose it.
    BackupEndNotDurable,
    /// A hot backup takes pages without looking at their checksums.
    BackupPagesUnchecked,
    /// An increment begins at the end of its base, not where replay of the base would.
    IncrementSinceEnd,
    /// An increment does not say that a page was never written.
    IncrementWithoutZeroMarks,
    /// A restore replays from the newest checkpoint in the logs, not from the backup's label.
    RestoreFromNewestCheckpoint,
    /// A restore goes one record further than it was told.
    RestoredOneRecordTooFar,
    /// A restored environment goes on in the history of its backup.
    TimelineNotBranched,
    /// A gap in archived logs is stepped over.
    ArchiveGapSkipped,
    /// A rebuilt data file lacks the last change that the log has of it.
    RepairStopsOneRecordEarly,
    /// A log file counts as archived before its name is durable.
    ArchiveDirectorySyncSkipped,
    /// Retention takes a log file for older than it is: one that a backup begins with goes.
    PrunedLogOneTooEarly,
    /// Retention removes what an increment that stays builds on.
    PrunedBaseOfIncrement,
    /// After an unclean end the log goes on in the old file, behind the torn tail.
    AppendAfterTornTail,
    /// A damaged record below a durable LSN is taken for the end of the log.
    CorruptionTakenForTornTail,
    /// An I/O error while reading the log is taken for its end.
    ReadErrorTakenForEnd,
    /// A page is written back before the log up to its LSN is durable.
    PageWrittenBeforeLog,
    /// A frame counts as clean before its write is durable.
    CleanBeforeSync,
    /// Pages go home without a double-write copy.
    DoubleWriteSkipped,
    /// Home pages are written before the double-write copy is durable.
    DoubleWriteNotSynced,
    /// A flush ends anywhere: the next one writes into a block that holds durable records.
    FlushNotPadded,
    /// A failed page write is reported as success.
    PageWriteErrorIgnored,
    /// The checkpoint record is written before the data files are synced.
    DataSyncSkippedBeforeCheckpoint,
    /// The checkpoint claims to reach further than it does.
    CheckpointRedoTooHigh,
    /// The control file is written before the checkpoint record is durable.
    ControlBeforeCheckpoint,
    /// Both control slots are overwritten at once.
    ControlSlotsTogether,
    /// Redo leaves the page LSN as it was.
    RedoWithoutStamp,
    /// Redo applies records that the page already has.
    RedoIgnoresPageLsn,
    /// Recovery does not undo uncommitted transactions.
    UndoSkipped,
    /// Undo writes no compensation records.
    CompensationSkipped,
    /// Recovery rolls back the newest loser and leaves the others.
    OneLoserUndone,
    /// Recovery keeps a prepared transaction without its locks.
    PreparedLocksForgotten,
    /// A compensation record does not name what is left to undo.
    UndoNextWrong,
    /// Abort leaves allocated extents allocated.
    AllocationNotUndone,
    /// A space map changes without a log record.
    AllocationNotLogged,
    /// A split's record leaves out the parent.
    SplitWithoutParent,
    /// An overflow value is freed when its row is deleted, not when the deletion commits.
    OverflowFreedEarly,
    /// A file is created or removed before its transaction's fate is durable.
    FileRemovedBeforeCommit,
    /// Locks are released before the commit record is appended.
    LocksReleasedBeforeCommit,
    /// A deadlock victim keeps a lock.
    VictimKeepsLock,
    /// A snapshot reads its sequence number before it is registered.
    SnapshotNotRegistered,
    /// A failed write or sync does not poison the environment.
    PoisonForgotten,
    /// Prepared transactions are rolled back by recovery.
    PreparedRolledBack,
    /// Recovery rolls back a nested transaction that its parent had taken over.
    MergedChildUndone,
    /// A rollback steps over the nested transactions that were merged.
    MergedChildNotUndone,
    /// An iterator goes on after an error.
    IteratorContinuesAfterError,
    /// Ghosts are purged while a transaction may still want them back.
    GhostPurgedEarly,
    /// An insert does not ask for the gap it goes into.
    NextKeyLockMissing,
    /// A snapshot reads its sequence number before it looks at the transaction table.
    SnapshotClockEarly,
    /// A rollback takes back its versions before it has undone its changes.
    VersionsForgottenBeforeUndo,
    /// Recovery takes a prepared transaction for a committed one.
    PreparedTakenForCommitted,
    /// Ghosts are purged although a snapshot still reads them.
    GhostPurgedUnderSnapshot,
    /// What was read without a latch counts though the page changed meanwhile.
    GlimpseNotValidated,
    /// A page that leaves the tree looks unchanged to who reads it without a latch.
    FreedPageNotExpelled,
    /// A key that a transaction inserts into a gap it has scanned leaves the lower part unlocked.
    GapNotInherited,
    /// A ghost is purged that marks the end of a gap which somebody has locked.
    GhostPurgedUnderLock,
    /// An import does not compare what it read with what was exported.
    ImportFingerprintIgnored,
    /// An export takes a snapshot for each database instead of one for all.
    ExportSnapshotPerDatabase,
    /// A scan does not look whether its copy of a leaf is still good once it has the lock.
    ScanNotValidated,
}

#[cfg(feature = "planted-bugs")]
mod selection {
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Bug;

    thread_local! {
        static SELECTED: Cell<Option<Bug>> = const { Cell::new(None) };
        static FIRED: RefCell<Arc<AtomicU64>> = RefCell::default();
    }

    /// Whether `bug` is on.
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        let on = SELECTED.get() == Some(bug);
        if on {
            FIRED.with_borrow(|fired| fired.fetch_add(1, Ordering::Relaxed));
        }
        on
    }

    /// Runs `work` with `bug` on, on this thread; switches back whatever happens.
    pub fn with<T>(bug: Bug, work: impl FnOnce() -> T) -> T {
        Selection { bug: Some(bug), fired: Arc::default() }.on(work)
    }

    /// How often the bug of the last [`with`] was asked for and found on, by all threads that
    /// shared it: a bug that never fired proves nothing.
    #[must_use]
    pub fn fired() -> u64 {
        FIRED.with_borrow(|fired| fired.load(Ordering::Relaxed))
    }

    /// What is on in one thread, for other threads to take over.
    #[derive(Clone, Debug)]
    pub struct Selection {
        bug: Option<Bug>,
        fired: Arc<AtomicU64>,
    }

    impl Selection {
        /// What is on in this thread.
        #[must_use]
        pub fn here() -> Selection {
            Selection { bug: SELECTED.get(), fired: FIRED.with_borrow(Arc::clone) }
        }

        /// Runs `work` with the same on in this thread.
        pub fn on<T>(&self, work: impl FnOnce() -> T) -> T {
            struct Restore(Option<Bug>);
            impl Drop for Restore {
                fn drop(&mut self) {
                    SELECTED.set(self.0);
                }
            }
            let _restore = Restore(SELECTED.replace(self.bug));
            FIRED.replace(Arc::clone(&self.fired));
            work()
        }
    }
}

#[cfg(feature = "planted-bugs")]
pub use selection::{Selection, fired, is, with};

/// Whether `bug` is on: never, in this build.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
#[must_use]
pub const fn is(_bug: Bug) -> bool {
    false
}

/// What is on in one thread: nothing, in this build.
#[cfg(not(feature = "planted-bugs"))]
#[derive(Clone, Copy, Debug)]
pub struct Selection;

#[cfg(not(feature = "planted-bugs"))]
impl Selection {
    /// What is on in this thread.
    #[must_use]
    pub const fn here() -> Selection {
        Selection
    }

    /// Runs `work`.
    pub fn on<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }
}
