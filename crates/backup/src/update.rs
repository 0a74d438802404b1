//! Bringing a copy up to date by the log alone: `db_hotbackup -u`.
//!
//! Owns the rule which log files an update takes. Promises that a copy stays usable whenever an
//! update is cut short, and that a gap is refused before anything is written. Must never update
//! what was recovered: it has a history of its own.

use std::path::Path;

use campanile_format::{Features, Lsn, names};
use campanile_vfs::{Host, LockMode, Open};
use campanile_wal::{ControlFile, Link, LogPin};

use crate::directory::Directory;
use crate::error::BackupError;
use crate::hot_backup::{first_needed, label, read_control};
use crate::log_copy::{LogOf, copy_logs};
use crate::manifest::{MANIFEST_FORMAT, Manifest, label_bytes, label_entry};
use crate::progress::{Hook, Meter};
use crate::shelf::{Shelf, put_small};

/// Log files are compared in pieces of this.
const PIECE_BYTES: u64 = 1 << 20;

/// What an update did.
#[derive(Clone, Debug)]
pub struct Updated {
    /// Where the copy ended before.
    pub from: Lsn,
    /// Where it ends now.
    pub to: Lsn,
    /// What the copy is now.
    pub manifest: Manifest,
}

/// Adds to the copy in `target` the log that its home has written since.
pub fn update_copy(
    host: &Host,
    home: &Path,
    target: &Path,
    hook: &mut Hook<'_>,
) -> Result<Updated, BackupError> {
    let place = |why: &str| {
        Err(BackupError::Place { dir: target.display().to_string(), why: why.to_owned() })
    };
    let shelf = Directory::new(host, target);
    let copy = ControlFile::read(&*host.vfs, target)?;
    if copy.features.required & Features::BACKUP_COPY == 0 {
        return place("was recovered since it was copied: it has a history of its own; copy anew");
    }
    let manifest = Manifest::read(&shelf, "")?;
    let lock = host.vfs.lock(&target.join(names::LOCK), LockMode::Exclusive);
    let lock =
        lock.map_err(|error| BackupError::io("lock", target.display().to_string(), error))?;
    let Some(_alone) = lock else {
        return Err(BackupError::Busy { dir: target.display().to_string() });
    };
    let _pin = LogPin::take(host, &home.join(names::LOG_DIR))?;
    let control = read_control(host, home)?;
    if control.environment != copy.environment {
        return place("is a copy of another environment");
    }
    let log = LogOf { host, home, environment: control.environment, timeline: control.timeline };
    let theirs =
        LogOf { host, home: target, environment: copy.environment, timeline: copy.timeline };
    let first = first_needed(&theirs.open()?, &copy)?;
    // The file in which the copy ends may have gone on; older ones are complete. A gap between is
    // found here: the chain names the file that is missing.
    let last = Lsn::new(copy.durable.file(), 0);
    let chain = log.open()?.chain(last)?;
    let from = chain.first().map_or(last, |link| link.header.first_record());
    let (end, last_time_us) = log.end_now(from.max(copy.redo), control.durable)?;
    if end < copy.durable {
        return place("is newer than the home: was an older state of the home restored?");
    }
    if !goes_on(&log, &chain, &shelf, copy.durable)? {
        return place(
            "is of another history than the home, which was restored meanwhile: copy anew into \
             another directory; this copy can still be recovered as it is",
        );
    }
    let mut meter = Meter::new(hook);
    let added = copy_logs(&log, from, end, (&shelf, ""), None, &mut meter)?;
    let bytes = label_bytes(&label(&copy, copy.clean_end.unwrap_or(copy.durable), end));
    put_small(&shelf, names::CONTROL, &bytes)?;
    let control_entry = label_entry(&bytes);
    let mut files = manifest.files.clone();
    for entry in added.into_iter().chain([control_entry]) {
        files.retain(|file| file.name != entry.name);
        files.push(entry);
    }
    let finished_us = host.clock.now_us();
    let last_time_us = manifest.last_time_us.max(last_time_us);
    let (first, end_text) = (first.to_string(), end.to_string());
    let format = MANIFEST_FORMAT;
    let manifest =
        Manifest { format, finished_us, last_time_us, first, end: end_text, files, ..manifest };
    manifest.write(&shelf, "")?;
    Ok(Updated { from: copy.durable, to: end, manifest })
}

/// Whether the log of the home goes on where the copy ends: the file in which that is says the same
/// in both, and no restore of the home cut it before.
fn goes_on(
    log: &LogOf<'_>,
    chain: &[Link],
    copy: &Directory,
    end: Lsn,
) -> Result<bool, BackupError> {
    let Some(link) = chain.first().filter(|link| link.number == end.file()) else {
        return Ok(false);
    };
    let next = chain.get(1);
    let ends = link.ends.unwrap_or(Lsn::MAX);
    // A crash cuts what was never durable, and goes on in the same history; a restore does not.
    if ends < end && next.is_some_and(|next| next.header.timeline != link.header.timeline) {
        return Ok(false);
    }
    let name = format!("{}/{}", names::LOG_DIR, names::log_file(end.file()));
    let ours = log.home.join(&name);
    let failed = |source| BackupError::io("read", ours.display().to_string(), source);
    let home_file = log.host.vfs.open(&ours, Open::Read).map_err(failed)?;
    let copy_file = copy.open(&name)?;
    let bytes = u64::from(end.min(ends).offset());
    let (mut at, mut one, mut other) = (0, Vec::new(), Vec::new());
    while at < bytes {
        let piece = usize::try_from(PIECE_BYTES.min(bytes - at)).unwrap_or_default();
        one.resize(piece, 0);
        other.resize(piece, 0);
        home_file.read_exact_at(&mut one, at).map_err(failed)?;
        let theirs = |source| BackupError::io("read", copy.shown(&name), source);
        copy_file.read_exact_at(&mut other, at).map_err(theirs)?;
        if one != other {
            return Ok(false);
        }
        at += piece as u64;
    }
    Ok(true)
}
