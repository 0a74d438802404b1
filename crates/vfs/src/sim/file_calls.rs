//! The calls on an open file, with rules D9 and F1-F7.
//!
//! Owns how a fault plays out in reads, writes and syncs. Must never touch a name.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::dice::{Dice, digest};
use super::disk::{Ask, Shared, State, Strike};
use super::fault::failure;
use super::inode::{Inode, InodeId, Owed, sectors};
use super::name_calls::{refuse_struck, sync_failure};
use super::{Errno, Fault, Rot, Rule, SyncFailure};
use crate::{CallKind, File};

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) shared: Arc<Shared>,
    pub(super) path: Arc<Path>,
    pub(super) inode: InodeId,
    pub(super) handle: u64,
    pub(super) writable: bool,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.shared.state.lock().close(self.inode);
    }
}

impl SimFile {
    fn ask(&self, kind: CallKind, offset: u64, len: u64) -> Ask<'_> {
        Ask { offset, len, ..Ask::new(kind, &self.path) }
    }

    fn need_write(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(super::names::refuse(io::ErrorKind::PermissionDenied, &self.path))
    }

    /// Changes the length, or grows.
    fn resize(&self, ask: &Ask<'_>, len: u64, only_grow: bool) -> io::Result<()> {
        if len > i64::MAX as u64 {
            return Err(super::names::refuse(io::ErrorKind::FileTooLarge, &self.path));
        }
        self.shared.run(ask, |state, shared, call, strike| {
            self.need_write()?;
            refuse_struck(&strike, ask.kind, call, &shared.options.counters)?;
            let (inode, sequence) = state.inode_mut(self.inode);
            match only_grow {
                true => inode.grow(sequence, len),
                false => inode.set_len(sequence, len),
            }
            Ok(())
        })
    }

    fn sync(&self, kind: CallKind) -> io::Result<()> {
        let ask = self.ask(kind, 0, 0);
        self.shared.run(&ask, |state, shared, call, strike| {
            let counters = &shared.options.counters;
            let sector_bytes = shared.options.sector_bytes;
            let (inode, _) = state.inode_mut(self.inode);
            let owed = match inode.owed {
                Some(Owed::Anyone) => Some(Rule::SyncReportedLater),
                Some(Owed::WriteOut) => Some(Rule::WriteOutReported),
                Some(Owed::OtherThan(handle)) if handle != self.handle => {
                    Some(Rule::SyncReportedElsewhere)
                }
                _ => None,
            };
            if let Some(rule) = owed {
                counters.count(rule);
                inode.owed = None;
                inode.sync(sector_bytes);
                return Err(failure(Errno::Eio, kind, call));
            }
            let Some((how, errno)) = sync_failure(&strike) else {
                inode.sync(sector_bytes);
                return Ok(());
            };
            let error = failure(errno, kind, call);
            match how {
                SyncFailure::CacheKeepsNew => {
                    counters.count(Rule::SyncCacheKeeps);
                    inode.lose_data();
                }
                SyncFailure::CacheReverts => {
                    counters.count(Rule::SyncCacheReverts);
                    inode.revert();
                }
                SyncFailure::DataDurable => {
                    counters.count(Rule::SyncButDurable);
                    inode.sync(sector_bytes);
                }
                SyncFailure::ReportedLater => {
                    counters.count(Rule::SyncLied);
                    inode.lose_data();
                    inode.owed = Some(Owed::Anyone);
                    return Ok(());
                }
                SyncFailure::ReportedElsewhere => {
                    counters.count(Rule::SyncLied);
                    inode.lose_data();
                    inode.owed = Some(Owed::OtherThan(self.handle));
                    return Ok(());
                }
            }
            Err(error)
        })
    }

    fn read(
        &self,
        state: &mut State,
        shared: &Shared,
        call: u64,
        strike: Strike,
        (buf, offset): (&mut [u8], u64),
    ) -> io::Result<usize> {
        let counters = &shared.options.counters;
        let sector_bytes = shared.options.sector_bytes;
        refuse_struck(&strike, CallKind::Read, call, counters)?;
        let inode = state.inode(self.inode);
        let there = inode.cache.len().saturating_sub(offset).min(buf.len() as u64);
        let (first, end) = sectors(offset, there, sector_bytes);
        if there > 0 && inode.latent.range(first..end).next().is_some() {
            counters.count(Rule::LatentSector);
            return Err(failure(Errno::Eio, CallKind::Read, call));
        }
        let mut take = there as usize;
        match strike {
            Some((Fault::LatentSector, mut dice)) if there > 0 => {
                counters.count(Rule::LatentSector);
                let sector = first + dice.below(end - first);
                state.inode_mut(self.inode).0.latent.insert(sector);
                return Err(failure(Errno::Eio, CallKind::Read, call));
            }
            Some((Fault::ShortRead, mut dice)) if there > 1 => {
                counters.count(Rule::ShortRead);
                take = 1 + dice.below(there - 1) as usize;
            }
            Some((Fault::EarlyEnd, _)) if there > 0 => {
                counters.count(Rule::EarlyEnd);
                take = 0;
            }
            Some((Fault::BitRot { damage, at_rest: true }, mut dice)) if there > 0 => {
                let (inode, _) = state.inode_mut(self.inode);
                let mut bytes = vec![0; there as usize];
                inode.cache.read(&mut bytes, offset);
                if rot(&mut bytes, offset, sector_bytes, damage, &mut dice) {
                    inode.overwrite(&bytes, offset);
                    counters.count(Rule::RotAtRest);
                }
            }
            Some((Fault::BitRot { damage, at_rest: false }, mut dice)) if there > 0 => {
                let count = inode.cache.read(buf, offset);
                if rot(&mut buf[..count], offset, sector_bytes, damage, &mut dice) {
                    counters.count(Rule::RotInRead);
                }
                return Ok(count);
            }
            Some((Fault::StaleRead, mut dice)) => {
                let count = inode.cache.read(buf, offset);
                if stale(inode, &mut buf[..count], offset, &mut dice) {
                    counters.count(Rule::StaleRead);
                }
                return Ok(count);
            }
            _ => {}
        }
        Ok(state.inode(self.inode).cache.read(&mut buf[..take], offset))
    }

    fn write(
        &self,
        state: &mut State,
        shared: &Shared,
        call: u64,
        strike: Strike,
        (buf, offset): (&[u8], u64),
    ) -> io::Result<usize> {
        let counters = &shared.options.counters;
        let sector_bytes = shared.options.sector_bytes;
        refuse_struck(&strike, CallKind::Write, call, counters)?;
        let (mut take, mut error) = (buf.len(), None);
        let write_out_fails = matches!(strike, Some((Fault::WriteOutFails, _)));
        match strike {
            Some((Fault::WriteFailsHalfway(errno), mut dice)) => {
                counters.count(Rule::WriteFailed);
                take = dice.below(buf.len() as u64) as usize;
                error = Some(failure(errno, CallKind::Write, call));
            }
            Some((Fault::ShortWrite, mut dice)) if buf.len() > 1 => {
                counters.count(Rule::ShortWrite);
                take = 1 + dice.below(buf.len() as u64 - 1) as usize;
            }
            Some((Fault::LostWrite, _)) => {
                counters.count(Rule::LostWrite);
                let (inode, sequence) = state.inode_mut(self.inode);
                inode.grow(sequence, offset + buf.len() as u64);
                return Ok(buf.len());
            }
            Some((Fault::Misdirected { other_file }, mut dice)) => {
                let len = buf.len() as u64;
                if let Some((victim, place)) =
                    self.wrong_place(state, (offset, len), other_file, &mut dice)
                {
                    counters.count(Rule::Misdirected);
                    let (inode, sequence) = state.inode_mut(self.inode);
                    inode.grow(sequence, offset + len);
                    let (inode, sequence) = state.inode_mut(victim);
                    inode.write(sequence, sector_bytes, buf, place);
                    return Ok(buf.len());
                }
            }
            _ => {}
        }
        let keeps_versions = state.faults.keeps_versions;
        let (inode, sequence) = state.inode_mut(self.inode);
        if keeps_versions {
            inode.remember(&buf[..take], offset);
        }
        inode.write(sequence, sector_bytes, &buf[..take], offset);
        if write_out_fails {
            inode.lose_data();
            inode.owed = Some(Owed::WriteOut);
        }
        match error {
            Some(error) => Err(error),
            None => Ok(take),
        }
    }

    /// Where a misdirected write goes: a multiple of its length in this file, or in another.
    fn wrong_place(
        &self,
        state: &State,
        (offset, len): (u64, u64),
        other_file: bool,
        dice: &mut Dice,
    ) -> Option<(InodeId, u64)> {
        if other_file {
            let mut victims = state.names.files();
            victims.retain(|(_, id)| *id != self.inode && state.inode(*id).cache.len() >= len);
            if let Some((_, id)) = victims.get(dice.below(victims.len() as u64) as usize) {
                let places = state.inode(*id).cache.len() / len;
                return Some((*id, dice.below(places) * len));
            }
        }
        let places = state.inode(self.inode).cache.len() / len;
        let here = offset / len;
        let others = places.saturating_sub(u64::from(here < places));
        if others == 0 {
            return None;
        }
        let place = dice.below(others);
        Some((self.inode, (place + u64::from(place >= here)) * len))
    }
}

/// Rule F4 on the bytes at `offset`; true if any changed.
fn rot(bytes: &mut [u8], offset: u64, sector_bytes: u64, damage: Rot, dice: &mut Dice) -> bool {
    let before = bytes.to_vec();
    let byte = match damage {
        Rot::Bits => {
            for _ in 0..=dice.below(8) {
                let bit = dice.below(bytes.len() as u64 * 8);
                bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
            return bytes != before;
        }
        Rot::ZeroSector => 0,
        Rot::OnesSector => 0xFF,
    };
    let (first, end) = sectors(offset, bytes.len() as u64, sector_bytes);
    let sector = first + dice.below(end - first);
    let from = (sector * sector_bytes).saturating_sub(offset) as usize;
    let to = (((sector + 1) * sector_bytes - offset) as usize).min(bytes.len());
    bytes[from..to].fill(byte);
    bytes != before
}

/// Rule F7: lays an earlier version of one write over what was read; true if that changed it.
fn stale(inode: &Inode, buf: &mut [u8], offset: u64, dice: &mut Dice) -> bool {
    let versions = inode.stale_versions(offset, buf.len() as u64);
    let Some((at, bytes)) = versions.get(dice.below(versions.len() as u64) as usize) else {
        return false;
    };
    let from = (at - offset) as usize;
    let place = &mut buf[from..from + bytes.len()];
    let changes = *place != **bytes;
    place.copy_from_slice(bytes);
    changes
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let ask = self.ask(CallKind::Read, offset, buf.len() as u64);
        self.shared.run(&ask, |state, shared, call, strike| {
            self.read(state, shared, call, strike, (buf, offset))
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let ask =
            Ask { digest: digest(buf), ..self.ask(CallKind::Write, offset, buf.len() as u64) };
        self.shared.run(&ask, |state, shared, call, strike| {
            self.need_write()?;
            if buf.is_empty() {
                return Ok(0);
            }
            if offset.checked_add(buf.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
                return Err(super::names::refuse(io::ErrorKind::FileTooLarge, &self.path));
            }
            self.write(state, shared, call, strike, (buf, offset))
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(CallKind::SyncData)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(CallKind::SyncAll)
    }

    fn len(&self) -> io::Result<u64> {
        self.shared.run(&self.ask(CallKind::Len, 0, 0), |state, shared, call, strike| {
            refuse_struck(&strike, CallKind::Len, call, &shared.options.counters)?;
            Ok(state.inode(self.inode).cache.len())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(&self.ask(CallKind::SetLen, len, 0), len, false)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.saturating_add(len);
        self.resize(&self.ask(CallKind::Allocate, offset, len), end, true)
    }
}
