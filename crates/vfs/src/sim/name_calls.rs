//! The calls on names: [`Vfs`] for [`SimDisk`], with rules D8, F1, F2 and F8.
//!
//! Owns how a fault plays out in each of them. Must never read or write file content.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::dice::Dice;
use super::disk::{Ask, Shared, SimDisk, State, Strike};
use super::fault::failure;
use super::file_calls::SimFile;
use super::image::Image;
use super::inode::{Inode, InodeId};
use super::names::{DirId, Target, refuse};
use super::{Counters, Errno, Fault, Rule, SyncFailure};
use crate::{CallKind, File, FileLock, LockMode, Open, Vfs};

/// Who holds the lock of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Shared(u64),
    Exclusive,
}

/// Fails a call that changes nothing when it fails.
pub(super) fn refuse_struck(
    strike: &Strike,
    kind: CallKind,
    call: u64,
    counters: &Counters,
) -> io::Result<()> {
    let errno = match strike {
        Some((Fault::WriteFails(errno) | Fault::Any(errno), _)) => *errno,
        Some((Fault::NoSpace, _)) => Errno::Enospc,
        Some((Fault::MetadataFails | Fault::ReadFails, _)) => Errno::Eio,
        _ => return Ok(()),
    };
    counters.count(match (kind, errno) {
        (CallKind::Read, _) => Rule::ReadFailed,
        (kind, Errno::Enospc | Errno::Edquot) if !kind.only_looks() => Rule::NoSpace,
        (CallKind::Write | CallKind::SetLen | CallKind::Allocate, _) => Rule::WriteFailed,
        (CallKind::Rename | CallKind::CreateDir, _)
            if !matches!(strike, Some((Fault::MetadataFails, _))) =>
        {
            Rule::WriteFailed
        }
        _ => Rule::MetadataFailed,
    });
    Err(failure(errno, kind, call))
}

/// How a sync fails, and with what, if it is struck.
pub(super) fn sync_failure(strike: &Strike) -> Option<(SyncFailure, Errno)> {
    match strike {
        Some((Fault::SyncFails(failure), _)) => Some((*failure, Errno::Eio)),
        Some((Fault::NoSpace, _)) => Some((SyncFailure::CacheKeepsNew, Errno::Enospc)),
        Some((Fault::Any(errno), _)) => Some((SyncFailure::CacheKeepsNew, *errno)),
        _ => None,
    }
}

impl SimDisk {
    fn call<T>(
        &self,
        ask: &Ask<'_>,
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.shared.run(ask, |state, shared, call, strike| {
            refuse_struck(&strike, ask.kind, call, &shared.options.counters)?;
            work(state)
        })
    }
}

impl State {
    fn open_or_create(&mut self, path: &Path, how: Open) -> io::Result<InodeId> {
        match self.names.find(path) {
            Some(_) if how == Open::CreateNew => Err(refuse(io::ErrorKind::AlreadyExists, path)),
            Some(Target::File(inode)) => Ok(inode),
            Some(Target::Dir(_)) => Err(refuse(io::ErrorKind::IsADirectory, path)),
            None if how.creates() => {
                let seq = self.sequence.next();
                let inode = self.add_inode(Inode::default());
                self.names.link(seq, path, inode).inspect_err(|_| {
                    self.inodes.remove(&inode);
                })?;
                Ok(inode)
            }
            None => Err(refuse(io::ErrorKind::NotFound, path)),
        }
    }

    fn sync_dir(
        &mut self,
        dir: DirId,
        strike: &Strike,
        call: u64,
        counters: &Counters,
    ) -> io::Result<()> {
        let fail = |errno| Err(failure(errno, CallKind::SyncDir, call));
        if self.dirs_owed.remove(&dir) {
            counters.count(Rule::SyncReportedLater);
            self.names.sync_dir(dir);
            return fail(Errno::Eio);
        }
        let Some((how, errno)) = sync_failure(strike) else {
            self.names.sync_dir(dir);
            self.collect();
            return Ok(());
        };
        match how {
            SyncFailure::CacheKeepsNew => {
                counters.count(Rule::SyncCacheKeeps);
                self.names.lose(dir);
                fail(errno)
            }
            SyncFailure::CacheReverts => {
                counters.count(Rule::SyncCacheReverts);
                self.names.revert(dir);
                fail(errno)
            }
            // A directory is synced through a handle of its own each time, so that "another
            // handle" is simply the next one.
            SyncFailure::ReportedLater | SyncFailure::ReportedElsewhere => {
                counters.count(Rule::SyncLied);
                self.names.lose(dir);
                self.dirs_owed.insert(dir);
                Ok(())
            }
            SyncFailure::DataDurable => {
                counters.count(Rule::SyncButDurable);
                self.names.sync_dir(dir);
                fail(errno)
            }
        }
    }

    /// Rule F8: leaves an unknown file in a directory.
    fn leave_stray(&mut self, dir: DirId, dice: &mut Dice, counters: &Counters) {
        let name = match dice.below(3) {
            0 => format!("core.{}", dice.below(100_000)),
            1 => format!("{:016x}.tmp", dice.next()),
            _ => format!(".fuse_hidden{:08x}", dice.below(1 << 32)),
        };
        let bytes: Vec<u8> = (0..dice.below(600)).map(|_| dice.next() as u8).collect();
        let inode = self.add_inode(Inode::durable(Image::of(&bytes)));
        self.names.plant(dir, &name, inode);
        counters.count(Rule::StrayFile);
    }
}

impl Vfs for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let path: Arc<Path> = path.into();
        let creates = how.creates();
        let ask = Ask { creates, digest: how as u64, ..Ask::new(CallKind::Open, &path) };
        let (inode, handle) = self.call(&ask, |state| {
            let inode = state.open_or_create(&path, how)?;
            *state.open.entry(inode).or_default() += 1;
            state.next_handle += 1;
            Ok((inode, state.next_handle))
        })?;
        let shared = Arc::clone(&self.shared);
        Ok(Arc::new(SimFile { shared, path, inode, handle, writable: how.writes() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path: Arc<Path> = path.into();
        self.call(&Ask::new(CallKind::Remove, &path), |state| {
            let seq = state.sequence.next();
            state.names.unlink(seq, &path).map(|_| ())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let path: Arc<Path> = from.into();
        let digest = super::dice::digest(to.as_os_str().as_encoded_bytes());
        self.call(&Ask { digest, ..Ask::new(CallKind::Rename, &path) }, |state| {
            let seq = state.sequence.next();
            let inode = state.names.rename(seq, from, to)?;
            if !state.inode(inode).ops.is_empty() {
                state.inode_mut(inode).0.renamed_unsynced = true;
            }
            Ok(())
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path: Arc<Path> = path.into();
        self.call(&Ask::new(CallKind::CreateDir, &path), |state| {
            let sequence = &mut state.sequence;
            state.names.create_dir(|| sequence.next(), &path)
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let path: Arc<Path> = path.into();
        self.call(&Ask::new(CallKind::RemoveDir, &path), |state| {
            let seq = state.sequence.next();
            state.names.remove_dir(seq, &path)
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let path: Arc<Path> = dir.into();
        let ask = Ask::new(CallKind::List, &path);
        self.shared.run(&ask, |state, shared, call, mut strike| {
            let counters = &shared.options.counters;
            refuse_struck(&strike, CallKind::List, call, counters)?;
            if let Some((Fault::StrayFile, dice)) = &mut strike {
                let dir = state.names.find_dir(&path)?;
                state.leave_stray(dir, dice, counters);
            }
            let mut names = state.names.list(&path)?;
            // Rule F8: a listing may come in any order, so it always does.
            let mut dice = Dice::new(shared.options.seed, call);
            for end in (1..names.len()).rev() {
                names.swap(end, dice.below(end as u64 + 1) as usize);
            }
            if !names.is_sorted() {
                counters.count(Rule::ShuffledListing);
            }
            Ok(names)
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let path: Arc<Path> = path.into();
        let ask = Ask::new(CallKind::Exists, &path);
        self.call(&ask, |state| Ok(state.names.find(&path).is_some()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let path: Arc<Path> = dir.into();
        let ask = Ask::new(CallKind::SyncDir, &path);
        self.shared.run(&ask, |state, shared, call, strike| {
            let dir = state.names.find_dir(&path)?;
            state.sync_dir(dir, &strike, call, &shared.options.counters)
        })
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Option<Box<dyn FileLock>>> {
        let path: Arc<Path> = path.into();
        let ask = Ask { creates: true, digest: mode as u64, ..Ask::new(CallKind::Lock, &path) };
        let locked = self.call(&ask, |state| {
            let inode = state.open_or_create(&path, Open::OpenOrCreate)?;
            let held = match (state.locks.get(&inode), mode) {
                (None, LockMode::Shared) => Held::Shared(1),
                (None, LockMode::Exclusive) => Held::Exclusive,
                (Some(Held::Shared(holders)), LockMode::Shared) => Held::Shared(holders + 1),
                (Some(_), _) => return Ok(None),
            };
            state.locks.insert(inode, held);
            *state.open.entry(inode).or_default() += 1;
            Ok(Some(inode))
        })?;
        Ok(locked.map(|inode| {
            let shared = Arc::clone(&self.shared);
            Box::new(SimLock { shared, inode }) as Box<dyn FileLock>
        }))
    }
}

#[derive(Debug)]
struct SimLock {
    shared: Arc<Shared>,
    inode: InodeId,
}

impl FileLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        match state.locks.get_mut(&self.inode) {
            Some(Held::Shared(holders)) if *holders > 1 => *holders -= 1,
            _ => {
                state.locks.remove(&self.inode);
            }
        }
        state.close(self.inode);
    }
}

impl State {
    /// One handle fewer.
    pub(super) fn close(&mut self, inode: InodeId) {
        match self.open.get_mut(&inode) {
            Some(handles) if *handles > 1 => *handles -= 1,
            _ => {
                self.open.remove(&inode);
            }
        }
    }
}
