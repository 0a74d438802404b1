//! The log of a backup: where it ends, and its files.
//!
//! Owns the finding of an end while the log is being written (B4), and the copying of log files
//! (B5). Must never take what an owner is writing right now for damage, nor damage for the end.

use std::path::Path;

use campanile_format::log_file::LOG_BLOCK_BYTES_MIN;
use campanile_format::planted::{self, Bug};
use campanile_format::{EnvironmentId, Lsn, Timeline, names};
use campanile_vfs::{Host, Open};
use campanile_wal::{LogEnd, LogSet, WalError, find_end};

use crate::error::BackupError;
use crate::manifest::{FileEntry, join};
use crate::progress::Meter;
use crate::shelf::Shelf;
use crate::throttle::Throttle;

/// Log files are read in pieces of this.
const PIECE_BYTES: u64 = 1 << 20;
/// And in smaller ones when they are read slowly.
const LOG_PIECE_BYTES_MIN: u64 = 4096;
/// A bad spot that stays where it is so many times is damage.
const ATTEMPTS: u32 = 20;
const PAUSE_US: u64 = 5_000;

/// Whose log it is, and where.
pub(crate) struct LogOf<'a> {
    pub host: &'a Host,
    pub home: &'a Path,
    pub environment: EnvironmentId,
    pub timeline: Timeline,
}

impl LogOf<'_> {
    pub fn open(&self) -> Result<LogSet, WalError> {
        let dir = self.home.join(names::LOG_DIR);
        LogSet::open(&self.host.vfs, &dir, self.environment, self.timeline)
    }

    /// Bytes of the log from `first` on, as far as it was durable: what a copy takes at least.
    pub fn bytes_from(&self, first: Lsn, durable: Lsn) -> Result<u64, WalError> {
        let chain = self.open()?.chain(first)?;
        let ends = chain.iter().map(|link| match link.ends {
            Some(ends) => u64::from(ends.offset()),
            None if link.number == durable.file() => u64::from(durable.offset()),
            None => 0,
        });
        Ok(ends.sum())
    }

    /// The end of the log now, and the latest time before it. Everything that was durable when
    /// this was called is before it, and everything before it is durable when this returns: what
    /// a copy shows can be cut by no crash, so no other records ever come to stand there (B4).
    pub fn end_now(&self, from: Lsn, durable: Lsn) -> Result<(Lsn, u64), BackupError> {
        let found = self.find_end_now(from, durable)?;
        self.make_durable(durable.file(), found.0.file())?;
        Ok(found)
    }

    /// Oldest first: a later file that is durable without an earlier one would be damage.
    fn make_durable(&self, from: u32, to: u32) -> Result<(), BackupError> {
        if planted::is(Bug::BackupEndNotDurable) {
            return Ok(());
        }
        for number in from.max(1)..=to {
            let path = self.home.join(names::LOG_DIR).join(names::log_file(number));
            let failed =
                |action, source| BackupError::io(action, path.display().to_string(), source);
            let file = match self.host.vfs.open(&path, Open::Read) {
                Ok(file) => file,
                // Given up already, so no longer needed, and durable before that.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("open", error)),
            };
            file.sync_data().map_err(|error| failed("sync", error))?;
        }
        Ok(())
    }

    fn find_end_now(&self, from: Lsn, durable: Lsn) -> Result<(Lsn, u64), BackupError> {
        let (mut from, mut last_time_us, mut attempts) = (from, 0, 0);
        loop {
            let logs = self.open()?;
            let error = match find_end(&logs, from, durable) {
                Ok(end) => return Ok((settled(&end), last_time_us.max(end.last_time_us))),
                Err(error) => error,
            };
            // What is read while it is written shows holes, with whole records behind them; files
            // appear while they are listed. The next look sees further.
            attempts += 1;
            match moved_on(&error, from) {
                Some(spot) => {
                    // The time before the spot is asked for only here: it is not read again.
                    last_time_us = last_time_us.max(time_before(&logs, from, spot)?);
                    (from, attempts) = (spot, 0);
                }
                None if attempts < ATTEMPTS && may_pass(&error) => {}
                None => return Err(error.into()),
            }
            self.host.clock.sleep_us(PAUSE_US);
        }
    }
}

/// The end as the end of a record: a new file in which nothing stands adds nothing.
fn settled(end: &LogEnd) -> Lsn {
    let untouched = end.end == end.first && !end.predecessor_end.is_none();
    if untouched { end.predecessor_end } else { end.end }
}

/// The bad spot, if it is further on than `from`.
fn moved_on(error: &WalError, from: Lsn) -> Option<Lsn> {
    let WalError::Corrupt { file, offset, .. } = error else { return None };
    let number = names::parse_log_file(file)?;
    let spot = Lsn::new(number, u32::try_from(*offset).ok()?);
    // Damage to a header is told of the place before the first record.
    (spot > from && *offset >= u64::from(LOG_BLOCK_BYTES_MIN)).then_some(spot)
}

fn may_pass(error: &WalError) -> bool {
    matches!(error, WalError::Corrupt { .. } | WalError::Missing { .. })
}

fn time_before(logs: &LogSet, from: Lsn, to: Lsn) -> Result<u64, WalError> {
    let mut last = 0;
    for found in logs.forward(from, to)? {
        last = found?.1.record()?.time_us().unwrap_or_default().max(last);
    }
    Ok(last)
}

/// Copies the log files from `first` to `end` under `prefix`, each up to where the log ends in it.
pub(crate) fn copy_logs(
    log: &LogOf<'_>,
    first: Lsn,
    end: Lsn,
    to: (&dyn Shelf, &str),
    pace: Option<&Throttle>,
    meter: &mut Meter<'_>,
) -> Result<Vec<FileEntry>, BackupError> {
    let chain = log.open()?.chain(first)?;
    let wanted = chain.iter().filter(|link| link.number <= end.file());
    let ends = wanted.map(|link| {
        let stated = link.ends.map_or(end, |ends| ends.min(end));
        (link.number, if link.number == end.file() { end } else { stated })
    });
    let ends: Vec<(u32, Lsn)> = ends.collect();
    meter.phase("copying log files", ends.iter().map(|(_, end)| u64::from(end.offset())).sum())?;
    let mut entries = Vec::new();
    for (number, ends) in ends {
        let from = log.home.join(names::LOG_DIR).join(names::log_file(number));
        let name = format!("{}/{}", names::LOG_DIR, names::log_file(number));
        let bytes = u64::from(ends.offset());
        let crc32 = copy_head(log.host, &from, bytes, (to.0, &join(to.1, &name)), pace, meter)?;
        entries.push(FileEntry::plain(name, bytes, crc32));
    }
    Ok(entries)
}

/// Copies the first `bytes` of a file; returns their checksum.
pub(crate) fn copy_head(
    host: &Host,
    from: &Path,
    bytes: u64,
    to: (&dyn Shelf, &str),
    pace: Option<&Throttle>,
    meter: &mut Meter<'_>,
) -> Result<u32, BackupError> {
    let failed = |action, source| BackupError::io(action, from.display().to_string(), source);
    let file = host.vfs.open(from, Open::Read).map_err(|error| failed("open", error))?;
    let mut put = to.0.put(to.1)?;
    let mut crc = crc32fast::Hasher::new();
    let mut piece = Vec::new();
    let mut at = 0;
    let most = pace.map_or(PIECE_BYTES, |pace| pace.piece(LOG_PIECE_BYTES_MIN, PIECE_BYTES));
    while at < bytes {
        piece.resize(most.min(bytes - at) as usize, 0);
        if let Some(pace) = pace {
            pace.wait(piece.len() as u64, || meter.add(0))?;
        }
        file.read_exact_at(&mut piece, at).map_err(|error| failed("read", error))?;
        crc.update(&piece);
        put.write(&piece)?;
        at += piece.len() as u64;
        meter.add(piece.len() as u64)?;
    }
    put.finish()?;
    Ok(crc.finalize())
}
