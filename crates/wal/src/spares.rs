//! Files that will be log files: filled with zeros ahead of need, or taken from the old end.
//!
//! Owns the names `spare.NNNNNNNNNN`, which no reader of the log looks at. Promises (W9) that what
//! is in a spare never matters: it becomes part of the log by a rename, after its new header is
//! durable. Must never take or free much disk at once: a file is filled, and one given up is
//! shrunk, in steps, because a burst of writes and the removal of a large file stall the commits
//! beside them for milliseconds (measured).

use std::path::PathBuf;
use std::sync::Arc;

use campanile_sync::plain::AtomicU64;
use campanile_vfs::{File, Open, Poison, Vfs};

use crate::error::WalError;
use crate::stats::add;

/// Zeros are written in pieces of this.
pub(crate) const FILL_BYTES: u64 = 256 << 10;
/// What a file that is needed at once gets filled with; the rest follows as the log grows.
pub(crate) const FILL_AHEAD_BYTES: u64 = 1 << 20;
/// A file that is given up shrinks by this at a time.
const SHRINK_BYTES: u64 = 4 << 20;
/// Most spares kept, however fast the log grows between two checkpoints.
const KEEP_MAX: usize = 64;
/// Nor more than this many bytes of them, but for two: after one very large transaction a home does
/// not keep its size.
const KEEP_BYTES_MAX: u64 = 512 << 20;

static ZEROS: [u8; FILL_BYTES as usize] = [0; FILL_BYTES as usize];

/// A file that can become a log file.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn File>,
    /// Bytes from the start that have blocks on disk.
    pub(crate) filled: u64,
    /// Nothing but zeros is in it.
    pub(crate) fresh: bool,
}

/// The spares of a log directory.
#[derive(Debug)]
pub(crate) struct Spares {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    poison: Poison,
    file_bytes: u64,
    ready: Vec<Spare>,
    /// Being filled.
    making: Option<Spare>,
    /// Being given up.
    surplus: Vec<Spare>,
    /// Number of the next name.
    next: u32,
    /// How many old files to keep.
    keep: usize,
    /// Files taken since the last recycling, for `keep`.
    taken: usize,
    /// The last taker found nothing ready.
    starved: bool,
    /// The disk refused a preparation; not tried again before the next file is taken.
    blocked: bool,
    failures: AtomicU64,
}

fn name(number: u32) -> String {
    format!("spare.{number:010}")
}

fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("spare.")?;
    let plain = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Writes zeros over `from..to`.
pub(crate) fn fill(file: &dyn File, from: u64, to: u64) -> std::io::Result<()> {
    let mut at = from;
    while at < to {
        let piece = ZEROS.get(..(to - at).min(FILL_BYTES) as usize).unwrap_or(&ZEROS);
        file.write_all_at(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

impl Spares {
    /// The spares of a directory that holds `listing`. Those that a log of the same sizes left are
    /// used again if `reuse`; the others are given up.
    pub(crate) fn adopt(
        vfs: Arc<dyn Vfs>,
        dir: PathBuf,
        poison: Poison,
        file_bytes: u32,
        listing: &[String],
        reuse: bool,
    ) -> Result<Spares, WalError> {
        let mut spares = Spares {
            vfs,
            dir,
            poison,
            file_bytes: u64::from(file_bytes),
            ready: Vec::new(),
            making: None,
            surplus: Vec::new(),
            next: 1,
            keep: 2,
            taken: 0,
            starved: false,
            blocked: false,
            failures: AtomicU64::new(0),
        };
        let mut left: Vec<&String> = listing.iter().filter(|name| number(name).is_some()).collect();
        left.sort();
        for name in left {
            spares.adopt_one(name, reuse)?;
        }
        Ok(spares)
    }

    fn adopt_one(&mut self, name: &str, reuse: bool) -> Result<(), WalError> {
        self.next = self.next.max(number(name).unwrap_or(0).saturating_add(1));
        let file = self.vfs.open(&self.dir.join(name), Open::ReadWrite);
        let file = file.map_err(|error| WalError::io("open", name, error))?;
        let filled = file.len().map_err(|error| WalError::io("measure", name, error))?;
        let spare = Spare { name: name.to_owned(), file, filled, fresh: false };
        if reuse && filled == self.file_bytes && self.ready.len() < self.keep {
            self.ready.push(spare);
        } else {
            self.surplus.push(spare);
        }
        Ok(())
    }

    /// How many preparations the disk refused.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(campanile_sync::plain::Ordering::Relaxed)
    }

    /// A file for the log to go on in now, and whether it had been prepared.
    pub(crate) fn take(&mut self) -> Result<(Spare, bool), WalError> {
        self.taken += 1;
        self.blocked = false;
        if let Some(spare) = self.ready.pop() {
            return Ok((spare, true));
        }
        self.starved = true;
        let mut spare = match self.making.take() {
            Some(spare) => spare,
            None => self.create()?,
        };
        let ahead = FILL_AHEAD_BYTES.min(self.file_bytes);
        if spare.filled < ahead {
            if let Err(error) = fill(&*spare.file, spare.filled, ahead) {
                let failed = WalError::io("write", spare.name.clone(), error);
                self.surplus.push(spare);
                return Err(failed);
            }
            spare.filled = ahead;
        }
        Ok((spare, false))
    }

    fn create(&mut self) -> Result<Spare, WalError> {
        let name = self.next_name();
        let file = self.vfs.open(&self.dir.join(&name), Open::CreateNew);
        let file = file.map_err(|error| WalError::io("create", name.clone(), error))?;
        Ok(Spare { name, file, filled: 0, fresh: true })
    }

    /// A name that no spare has had in this directory.
    pub(crate) fn next_name(&mut self) -> String {
        let name = name(self.next);
        self.next = self.next.saturating_add(1);
        name
    }

    /// Takes in an old log file that is already renamed; says whether it is kept for reuse.
    pub(crate) fn add(&mut self, spare: Spare) -> bool {
        let kept = spare.filled == self.file_bytes && self.ready.len() < self.keep;
        if kept {
            self.ready.push(spare);
        } else {
            self.surplus.push(spare);
        }
        kept
    }

    /// Adapts the number of files to keep to how many the log takes between two recyclings.
    pub(crate) fn learn_demand(&mut self) {
        let most = (KEEP_BYTES_MAX / self.file_bytes).clamp(2, KEEP_MAX as u64) as usize;
        self.keep = self.taken.max(self.keep * 3 / 4).clamp(2, most);
        self.taken = 0;
        let kept = self.ready.len().min(self.keep);
        self.surplus.extend(self.ready.drain(kept..));
    }

    /// One small piece of work: towards a file ready for a log whose present file is filled as
    /// `(used, whole)`, or towards less surplus. True if something was done.
    ///
    /// A refused write gives the preparation up: nothing of the log is in such a file, and the log
    /// may go on until it needs one. A failed sync poisons, as everywhere.
    pub(crate) fn step(&mut self, (used, whole): (u32, u32)) -> Result<bool, WalError> {
        let wanted = match (used > whole / 2, self.starved) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        if self.making.is_some() || (self.ready.len() < wanted && !self.blocked) {
            return self.prepare();
        }
        Ok(self.shrink())
    }

    fn prepare(&mut self) -> Result<bool, WalError> {
        let spare = match self.making.take() {
            Some(spare) => Ok(spare),
            None => self.create(),
        };
        let mut spare = match spare {
            Ok(spare) => spare,
            Err(error) => return Ok(self.give_up(None, &error)),
        };
        let to = (spare.filled + FILL_BYTES).min(self.file_bytes);
        if let Err(error) = fill(&*spare.file, spare.filled, to) {
            let error = WalError::io("write", spare.name.clone(), error);
            return Ok(self.give_up(Some(spare), &error));
        }
        if let Err(error) = spare.file.sync_data() {
            self.poison.strike(format!("a failed sync of {}: {error}", spare.name));
            return Err(WalError::io("sync", spare.name, error));
        }
        spare.filled = to;
        if to == self.file_bytes {
            self.ready.push(spare);
        } else {
            self.making = Some(spare);
        }
        Ok(true)
    }

    fn give_up(&mut self, spare: Option<Spare>, error: &WalError) -> bool {
        tracing::warn!(%error, "no log file could be prepared ahead");
        add(&self.failures, 1);
        self.surplus.extend(spare);
        self.blocked = true;
        true
    }

    /// Makes one file that is given up smaller, and removes it in the end. What the disk refuses
    /// stays as it is: it is found, and given up again, when the log is next opened.
    fn shrink(&mut self) -> bool {
        let Some(mut spare) = self.surplus.pop() else {
            return false;
        };
        let left = spare.filled.saturating_sub(SHRINK_BYTES);
        if left == 0 {
            if let Err(error) = self.vfs.remove(&self.dir.join(&spare.name)) {
                tracing::warn!(file = spare.name, %error, "an old log file stays");
            }
        } else if spare.file.set_len(left).is_ok() {
            spare.filled = left;
            self.surplus.push(spare);
        }
        true
    }
}
