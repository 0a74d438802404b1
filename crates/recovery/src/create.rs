//! A new environment.
//!
//! Owns: the order in which its first files appear. Promises: the control file comes last, so
//! that a creation cut short leaves nothing that looks like an environment, and is simply done
//! again (R6). Must never: touch a directory that holds anything else of value.

use std::path::Path;

use campanile_format::control::Control;
use campanile_format::log_file::LOG_HEADER_BYTES;
use campanile_format::{EnvironmentId, Features, FileId, Lsn, Timeline, TxnId, names};
use campanile_pagestore::DataDirs;
use campanile_vfs::{Host, Open, Poison};
use campanile_wal::{ControlFile, Start, Wal, WalOptions};

use crate::error::RecoveryError;
use crate::open::{OpenOptions, check_sizes};
use crate::start_point::LogState;

/// Makes the directories, the first log file and, last, the control file.
pub(crate) fn create(
    host: &Host,
    poison: &Poison,
    home: &Path,
    options: &OpenOptions,
) -> Result<(Wal, ControlFile, Control), RecoveryError> {
    check_sizes(options.log_file_bytes, options.store.page_bytes as u32)?;
    let dir = home.join(names::LOG_DIR);
    make_home(host, home)?;
    make_dir(host, &dir)?;
    sync_dir(host, home)?;
    clear_remains(host, &dir)?;
    let environment = make_data_dirs(host, home, &options.data_dirs)?;
    let timeline = Timeline(1);
    let wal_options = WalOptions {
        file_bytes: options.log_file_bytes,
        buffer_bytes: options.log_buffer_bytes,
        block_bytes: options.log_block_bytes,
        power_safe_overwrite: options.power_safe_overwrite,
        hold_all: options.hold_log,
        ..WalOptions::new(dir, environment, timeline)
    };
    let wal = Wal::open(host, poison, wal_options, Start::New)?;
    let control = Control {
        features: features_with(Features::NONE, !options.data_dirs.is_empty()),
        environment,
        timeline,
        page_bytes: options.store.page_bytes as u32,
        log_file_bytes: options.log_file_bytes,
        generation: 1,
        checkpoint: Lsn::NONE,
        redo: wal.end(),
        durable: wal.durable(),
        clean_end: None,
        next_txn: TxnId(1),
        next_file: FileId::MIN_USER,
        time_us: host.clock.now_us(),
    };
    let control_file = ControlFile::create(host, poison, home, &control)?;
    Ok((wal, control_file, control))
}

/// Makes the directories of data files besides `data`, and the number of the environment. The
/// marks of an attempt that got no further are ours if the number is the same, so that is kept.
fn make_data_dirs(
    host: &Host,
    home: &Path,
    paths: &[String],
) -> Result<EnvironmentId, RecoveryError> {
    let left = DataDirs::read(&*host.vfs, home)?;
    let environment = left.environment().unwrap_or_else(|| new_id(host));
    if !paths.is_empty() {
        DataDirs::create(&*host.vfs, home, environment, paths)?;
    } else if left.environment().is_some() {
        let path = home.join(names::DATA_DIRS);
        host.vfs.remove(&path).map_err(|source| io("remove", &path, source))?;
        sync_dir(host, home)?;
    }
    Ok(environment)
}

/// The feature bits of an environment with, or without, directories besides `data`.
pub(crate) fn features_with(features: Features, data_dirs: bool) -> Features {
    let others = features.required & !Features::DATA_DIRS;
    let bit = if data_dirs { Features::DATA_DIRS } else { 0 };
    Features { required: others | bit, ..features }
}

/// A number that no other environment has.
fn new_id(host: &Host) -> EnvironmentId {
    let (high, low) = (host.random.next_u64(), host.random.next_u64());
    let mut id = [0; 16];
    let (first, second) = id.split_at_mut(8);
    first.copy_from_slice(&high.to_le_bytes());
    second.copy_from_slice(&low.to_le_bytes());
    EnvironmentId(id)
}

/// What stands in the log directory.
pub(crate) fn log_state(host: &Host, dir: &Path) -> Result<LogState, RecoveryError> {
    let files = log_files(host, dir)?;
    match files.as_slice() {
        [] => Ok(LogState::None),
        [1] if is_blank(host, &dir.join(names::log_file(1)))? => Ok(LogState::Empty),
        _ => Ok(LogState::Filled),
    }
}

/// True if there is nothing behind the header.
fn is_blank(host: &Host, path: &Path) -> Result<bool, RecoveryError> {
    let failed = |source| io("read", path, source);
    let file = host.vfs.open(path, Open::Read).map_err(failed)?;
    let mut buffer = vec![0; 1 << 16];
    let mut offset = LOG_HEADER_BYTES as u64;
    loop {
        let count = file.read_full_at(&mut buffer, offset).map_err(failed)?;
        let read = buffer.get(..count).unwrap_or_default();
        if read.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if count < buffer.len() {
            return Ok(true);
        }
        offset += count as u64;
    }
}

/// Removes the log file that a creation left which got no further.
fn clear_remains(host: &Host, dir: &Path) -> Result<(), RecoveryError> {
    for number in log_files(host, dir)? {
        let path = dir.join(names::log_file(number));
        host.vfs.remove(&path).map_err(|source| io("remove", &path, source))?;
    }
    sync_dir(host, dir)
}

fn log_files(host: &Host, dir: &Path) -> Result<Vec<u32>, RecoveryError> {
    let listed = list(host, dir)?;
    let mut files: Vec<u32> = listed.iter().filter_map(|n| names::parse_log_file(n)).collect();
    files.sort_unstable();
    Ok(files)
}

fn list(host: &Host, dir: &Path) -> Result<Vec<String>, RecoveryError> {
    let failed = |source| io("list", dir, source);
    if !host.vfs.exists(dir).map_err(failed)? {
        return Ok(Vec::new());
    }
    host.vfs.list(dir).map_err(failed)
}

/// Makes the home, and its name durable all the way up to what was there before.
fn make_home(host: &Host, home: &Path) -> Result<(), RecoveryError> {
    let parents = home.ancestors().skip(1).map(|dir| match dir.as_os_str().is_empty() {
        true => Path::new("."),
        false => dir,
    });
    let mut unsynced = Vec::new();
    for parent in parents {
        unsynced.push(parent);
        // The parent always: a creation before this one may have made the home and no more.
        if host.vfs.exists(parent).map_err(|source| io("look for", parent, source))? {
            break;
        }
    }
    make_dir(host, home)?;
    for dir in unsynced.into_iter().rev() {
        match sync_dir(host, dir) {
            // Not ours to read: whoever made the home there has to see to it.
            Err(RecoveryError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied => {}
            result => result?,
        }
    }
    Ok(())
}

fn make_dir(host: &Host, dir: &Path) -> Result<(), RecoveryError> {
    host.vfs.create_dir(dir).map_err(|source| io("create", dir, source))
}

fn sync_dir(host: &Host, dir: &Path) -> Result<(), RecoveryError> {
    host.vfs.sync_dir(dir).map_err(|source| io("sync", dir, source))
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> RecoveryError {
    RecoveryError::Io { action, path: path.display().to_string(), source }
}
