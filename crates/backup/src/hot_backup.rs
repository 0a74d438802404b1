//! A hot backup: a copy of a home that somebody may be using.
//!
//! Owns the order of the steps, which is the proof (B1, B2; the README goes through them). Promises
//! a copy that catastrophic recovery can bring to any moment from its end on. Must never change a
//! byte of the home.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_format::control::Control;
use campanile_format::planted::{self, Bug};
use campanile_format::record::Body;
use campanile_format::{DirNo, Features, FileId, Lsn, names};
use campanile_pagestore::DataDirs;
use campanile_vfs::{Host, LockMode};
use campanile_wal::{ControlFile, LogPin, LogSet, WalError};

use crate::chain::Link;
use crate::copy_options::CopyOptions;
use crate::copy_threads::copy_data_files;
use crate::data_pages::{Tally, check_order};
use crate::error::BackupError;
use crate::gone_files::Prior;
use crate::log_copy::{LogOf, copy_logs};
use crate::manifest::{
    Compression, FileEntry, MANIFEST_FORMAT, Manifest, join, label_bytes, label_entry,
};
use crate::placing;
use crate::progress::{Hook, Meter};
use crate::shelf::{Shelf, check_space, put_small};
use crate::throttle::Throttle;

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

/// What is to be copied, to where, and how.
#[derive(Clone, Debug)]
pub struct CopyOrder {
    /// Who copies.
    pub host: Host,
    /// The home.
    pub home: PathBuf,
    /// The shelf that the copy comes to.
    pub shelf: Arc<dyn Shelf>,
    /// In front of the names of its files there; may be empty.
    pub prefix: String,
    /// Packing, threads, pace.
    pub options: CopyOptions,
    /// What the copy is an increment of; `None`: everything is copied.
    pub base: Option<Link>,
    /// A backup whose data files must be there still, or have been removed.
    pub prior: Option<Prior>,
}

/// What the threads of a backup share. Nothing in it changes.
pub(crate) struct Task {
    pub host: Host,
    pub home: PathBuf,
    pub shelf: Arc<dyn Shelf>,
    pub prefix: String,
    pub options: CopyOptions,
    pub base: Option<Link>,
    pub control: Control,
    /// Where the data files were when the copy was begun. What is made later, the log tells.
    pub dirs: DataDirs,
    pub files: BTreeMap<FileId, DirNo>,
    pub page_bytes: usize,
    pub throttle: Throttle,
}

impl Task {
    /// The directory that a data file was in, and its path.
    pub fn place_of(&self, file: FileId) -> (DirNo, PathBuf) {
        let number = self.files.get(&file).copied().unwrap_or(DirNo::HOME);
        let dir = self.dirs.get(number).map(|place| place.path.as_path()).unwrap_or(&self.home);
        (number, dir.join(names::data_file(file)))
    }

    /// Pages changed from here on are copied. Not from the base's end on: its pages were read
    /// between its label and its end, and may lack what was changed meanwhile (B20).
    pub fn since(&self) -> Lsn {
        match &self.base {
            None => Lsn::NONE,
            Some(base) if planted::is(Bug::IncrementSinceEnd) => base.manifest.end(),
            Some(base) => base.manifest.redo(),
        }
    }
}

/// Copies the home to the shelf, while its owner goes on.
pub fn hot_copy(order: &CopyOrder, hook: &mut Hook<'_>) -> Result<Copied, BackupError> {
    order.options.check()?;
    let (host, home) = (&order.host, order.home.as_path());
    let (began, started_us) = (host.clock.monotonic_us(), host.clock.now_us());
    let _pin = LogPin::take(host, &home.join(names::LOG_DIR))?;
    let control = read_control(host, home)?;
    let log = LogOf { host, home, environment: control.environment, timeline: control.timeline };
    let first = first_needed(&log.open()?, &control)?;
    tracing::info!(home = %home.display(), redo = %control.redo, "hot backup begins");
    let task = Arc::new(task(order, &control)?);
    if let Some(prior) = &order.prior {
        prior.check(&task, &log)?;
    }
    let mut meter = Meter::new(hook);
    let early = match planted::is(Bug::BackupEndTooEarly) {
        true => Some(log.end_now(control.redo, control.durable)?),
        false => None,
    };
    let (mut files, mut tally) = copy_data(&task, &log, first, &mut meter)?;
    let (end, last_time_us) = match early {
        Some(end) => end,
        None => log.end_now(control.redo, control.durable)?,
    };
    if early.is_none() {
        check_order(tally.highest, end)?;
    }
    let logs = log.open()?;
    std::mem::take(&mut tally.gone).check(&task, &logs, end)?;
    std::mem::take(&mut tally.suspects).explain(&logs, control.redo, end)?;
    let to = (&*order.shelf, order.prefix.as_str());
    files.extend(copy_logs(&log, first, end, to, Some(&task.throttle), &mut meter)?);
    still_the_same(host, home, &control)?;
    let bytes = label_bytes(&label(&control, end, end));
    put_small(&*order.shelf, &join(&order.prefix, names::CONTROL), &bytes)?;
    files.push(label_entry(&bytes));
    let last_time_us = last_time_us.max(control.time_us);
    let manifest = Manifest {
        first: first.to_string(),
        end: end.to_string(),
        started_us,
        finished_us: host.clock.now_us(),
        last_time_us,
        pages: tally.pages,
        pages_read_again: tally.read_again,
        files,
        ..task.manifest()
    };
    manifest.write(&*order.shelf, &order.prefix)?;
    let us = host.clock.monotonic_us().saturating_sub(began);
    tracing::info!(end = %end, bytes = manifest.stored_bytes(), us, "hot backup is complete");
    Ok(Copied { manifest, us })
}

/// The task, if the base fits the home.
fn task(order: &CopyOrder, control: &Control) -> Result<Task, BackupError> {
    let listed = control.features.required & Features::DATA_DIRS != 0;
    let dirs = DataDirs::open(&*order.host.vfs, &order.home, control.environment, listed)?;
    let task = Task {
        files: dirs.files(&*order.host.vfs)?,
        dirs,
        host: order.host.clone(),
        home: order.home.clone(),
        shelf: Arc::clone(&order.shelf),
        prefix: order.prefix.clone(),
        options: order.options,
        base: order.base.clone(),
        control: *control,
        page_bytes: control.page_bytes as usize,
        throttle: Throttle::new(&order.host, order.options.max_rate),
    };
    if let Some(base) = &task.base {
        fits(base, control)?;
    }
    Ok(task)
}

/// Refuses a base that is not an earlier state of this home in this history.
pub(crate) fn fits(base: &Link, control: &Control) -> Result<(), BackupError> {
    let (name, manifest) = (&base.name, &base.manifest);
    let refuse = |why: String| {
        let why = format!("backup {name} cannot be the base: {why}; make a full backup");
        Err(BackupError::NoBackup { why })
    };
    if manifest.environment != control.environment.to_string() {
        return refuse(format!("it is of environment {}", manifest.environment));
    }
    if manifest.timeline != control.timeline.0 {
        let (theirs, ours) = (manifest.timeline, control.timeline);
        return refuse(format!("it is of timeline {theirs}, the home is of timeline {ours}"));
    }
    if manifest.page_bytes != control.page_bytes {
        return refuse(format!("its pages have {} bytes", manifest.page_bytes));
    }
    if manifest.redo() > control.redo {
        let (theirs, ours) = (manifest.redo(), control.redo);
        return refuse(format!("it is newer ({theirs}) than the home ({ours})"));
    }
    Ok(())
}

impl Task {
    /// What the manifest says before anything is copied.
    fn manifest(&self) -> Manifest {
        Manifest {
            format: MANIFEST_FORMAT,
            environment: self.control.environment.to_string(),
            timeline: self.control.timeline.0,
            base: self.base.as_ref().map(|base| base.name.clone()),
            since: self.since().to_string(),
            compression: self.options.compression,
            page_bytes: self.control.page_bytes,
            started_us: 0,
            finished_us: 0,
            checkpoint: self.control.checkpoint.to_string(),
            redo: self.control.redo.to_string(),
            first: String::new(),
            end: String::new(),
            last_time_us: 0,
            pages: 0,
            pages_read_again: 0,
            directories: placing::entries(&self.dirs),
            files: Vec::new(),
        }
    }
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

/// Copies all data files, if there is space for them and for the log.
fn copy_data(
    task: &Arc<Task>,
    log: &LogOf<'_>,
    first: Lsn,
    meter: &mut Meter<'_>,
) -> Result<(Vec<FileEntry>, Tally), BackupError> {
    let files: Vec<FileId> = task.files.keys().copied().collect();
    let mut total = 0;
    for file in &files {
        let (_, path) = task.place_of(*file);
        let opened = task.host.vfs.open(&path, campanile_vfs::Open::Read);
        total += opened.and_then(|file| file.len()).unwrap_or_default();
    }
    // How much is left of what is packed, or was changed, nobody knows beforehand.
    let whole = task.base.is_none() && task.options.compression == Compression::None;
    let needed = if whole { total } else { 0 };
    check_space(&*task.shelf, needed + log.bytes_from(first, task.control.durable)?)?;
    meter.phase("copying data files", total)?;
    copy_data_files(task, files, meter)
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
