//! A hot backup: a copy of a home that somebody may be using.
//!
//! Owns the order of the steps, which is the proof (B1, B2; the README goes through them). Promises
//! a copy that catastrophic recovery can bring to any moment from its end on. Must never change a
//! byte of the home.

use std::path::Path;

use campanile_format::control::Control;
use campanile_format::planted::{self, Bug};
use campanile_format::record::Body;
use campanile_format::{Features, FileId, Lsn, names};
use campanile_vfs::{Host, LockMode};
use campanile_wal::{ControlFile, LogPin, LogSet, WalError};

use crate::error::BackupError;
use crate::log_copy::{LogOf, copy_logs};
use crate::manifest::{
    Compression, FileEntry, MANIFEST_FORMAT, Manifest, join, label_bytes, label_entry,
};
use crate::page_copy::{Counts, check_order, copy_data_file};
use crate::progress::{Hook, Meter};
use crate::shelf::{Shelf, put_small};
use crate::suspects::Suspects;

/// How often the owner of a home may come or go while it is looked for.
const LOOKS: u32 = 5;
const PAUSE_US: u64 = 20_000;

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Copied {
    /// What it is.
    pub manifest: Manifest,
    /// Microseconds it took.
    pub us: u64,
}

/// What the steps share.
pub(crate) struct Copying<'a, 'h> {
    pub host: &'a Host,
    pub home: &'a Path,
    pub shelf: &'a dyn Shelf,
    pub prefix: &'a str,
    pub control: Control,
    pub page_bytes: usize,
    pub meter: Meter<'h>,
    pub suspects: Suspects,
    pub counts: Counts,
    /// The latest change that any copied page shows.
    pub highest: Lsn,
}

/// Copies the home to `shelf` under `prefix`, while its owner goes on.
pub fn hot_copy(
    host: &Host,
    home: &Path,
    shelf: &dyn Shelf,
    prefix: &str,
    hook: &mut Hook<'_>,
) -> Result<Copied, BackupError> {
    let (began, started_us) = (host.clock.monotonic_us(), host.clock.now_us());
    let _pin = LogPin::take(host, &home.join(names::LOG_DIR))?;
    let control = read_control(host, home)?;
    let log = LogOf { host, home, environment: control.environment, timeline: control.timeline };
    let first = first_needed(&log.open()?, &control)?;
    tracing::info!(home = %home.display(), redo = %control.redo, "hot backup begins");
    let mut copying = Copying {
        host,
        home,
        shelf,
        prefix,
        control,
        page_bytes: control.page_bytes as usize,
        meter: Meter::new(hook),
        suspects: Suspects::default(),
        counts: Counts::default(),
        highest: Lsn::NONE,
    };
    let early = match planted::is(Bug::BackupEndTooEarly) {
        true => Some(log.end_now(control.redo, control.durable)?),
        false => None,
    };
    let mut files = copy_data(&mut copying)?;
    let (end, last_time_us) = match early {
        Some(end) => end,
        None => log.end_now(control.redo, control.durable)?,
    };
    if early.is_none() {
        check_order(copying.highest, end)?;
    }
    std::mem::take(&mut copying.suspects).explain(&log.open()?, control.redo, end)?;
    files.extend(copy_logs(&log, first, end, (shelf, prefix), &mut copying.meter)?);
    still_the_same(host, home, &control)?;
    let label = label(&control, end, end);
    let bytes = label_bytes(&label);
    put_small(shelf, &join(prefix, names::CONTROL), &bytes)?;
    files.push(label_entry(&bytes));
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        environment: control.environment.to_string(),
        timeline: control.timeline.0,
        base: None,
        since: Lsn::NONE.to_string(),
        compression: Compression::None,
        page_bytes: control.page_bytes,
        started_us,
        finished_us: host.clock.now_us(),
        checkpoint: control.checkpoint.to_string(),
        redo: control.redo.to_string(),
        first: first.to_string(),
        end: end.to_string(),
        last_time_us: last_time_us.max(control.time_us),
        pages: copying.counts.pages,
        pages_read_again: copying.counts.read_again,
        files,
    };
    manifest.write(shelf, prefix)?;
    let us = host.clock.monotonic_us().saturating_sub(began);
    tracing::info!(end = %end, bytes = manifest.bytes(), us, "hot backup is complete");
    Ok(Copied { manifest, us })
}

/// The label: the control file as it was before the first page; where the copy is complete, and
/// what the log in it reaches.
pub(crate) fn label(control: &Control, complete: Lsn, end: Lsn) -> Control {
    let features = Features { required: Features::BACKUP_COPY, ..control.features };
    Control { features, durable: end, clean_end: Some(complete), ..*control }
}

/// The control file of a home that somebody uses, or that was closed.
pub(crate) fn read_control(host: &Host, home: &Path) -> Result<Control, BackupError> {
    let shown = || home.display().to_string();
    for _ in 0..LOOKS {
        let owned = is_owned(host, home)?;
        let control = ControlFile::read(&*host.vfs, home)?;
        if control.features.required & Features::BACKUP_COPY != 0 {
            return Err(BackupError::BackupCopy { home: shown() });
        }
        if owned || control.clean_end.is_some() {
            return Ok(control);
        }
        // An owner may just be coming or going.
        host.clock.sleep_us(PAUSE_US);
    }
    Err(BackupError::NeedsRecovery { home: shown() })
}

fn is_owned(host: &Host, home: &Path) -> Result<bool, BackupError> {
    let path = home.join(names::LOCK);
    let failed = |action, source| BackupError::io(action, path.display().to_string(), source);
    if !host.vfs.exists(&path).map_err(|error| failed("look for", error))? {
        return Ok(false);
    }
    let lock = host.vfs.lock(&path, LockMode::Shared).map_err(|error| failed("lock", error))?;
    Ok(lock.is_none())
}

/// From where on the log is needed: replay and rollback read it.
pub fn first_needed(logs: &LogSet, control: &Control) -> Result<Lsn, WalError> {
    if control.checkpoint.is_none() {
        return Ok(control.redo);
    }
    let buffer = logs.read(control.checkpoint)?;
    let Body::Checkpoint(checkpoint) = buffer.record()?.body else {
        let (lsn, why) = (control.checkpoint, "the control file says checkpoint".to_owned());
        return Err(WalError::NoRecord { lsn, why });
    };
    let mut first = control.redo.min(checkpoint.undo_low);
    if !checkpoint.active_from.is_none() {
        first = first.min(checkpoint.active_from);
    }
    Ok(first)
}

/// Copies all data files.
fn copy_data(copying: &mut Copying<'_, '_>) -> Result<Vec<FileEntry>, BackupError> {
    let dir = copying.home.join(names::DATA_DIR);
    let failed = |action, source| BackupError::io(action, dir.display().to_string(), source);
    let names = match copying.host.vfs.list(&dir) {
        Ok(names) => names,
        // A new environment that has not made its first database.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed("list", error)),
    };
    let mut files: Vec<FileId> =
        names.iter().filter_map(|name| names::parse_data_file(name)).collect();
    files.sort_unstable();
    let mut total = 0;
    for file in &files {
        let path = dir.join(names::data_file(*file));
        let opened = copying.host.vfs.open(&path, campanile_vfs::Open::Read);
        total += opened.and_then(|file| file.len()).unwrap_or_default();
    }
    copying.meter.phase("copying data files", total)?;
    let mut entries = Vec::new();
    for file in files {
        entries.extend(copy_data_file(copying, file)?);
    }
    Ok(entries)
}

/// A home that was restored over while it was copied is another one.
fn still_the_same(host: &Host, home: &Path, before: &Control) -> Result<(), BackupError> {
    let now = ControlFile::read(&*host.vfs, home)?;
    if (now.environment, now.timeline) == (before.environment, before.timeline) {
        return Ok(());
    }
    let why = format!("it is of timeline {} now, it was of {}", now.timeline, before.timeline);
    Err(BackupError::Changed { why })
}
