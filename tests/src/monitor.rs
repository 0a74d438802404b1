//! The write-order monitor: stands between the engine and its files in every test on the simulated
//! disk and asserts, at each call, what must already be durable. It needs no crash to fire.
//!
//! M1  A page is written home only if the log is durable beyond the page's LSN.
//! M2  After a failed sync or write of log, data, double-write or control file none of them is
//!     written any more by the same life.
//! M3  A log file is renamed, removed or overwritten from its start only if the durable control
//!     file says that redo begins in a later file.
//! M4  A log file takes records only after its directory entry is durable.
//! M5  The control file never names a redo point or checkpoint that the log has not made durable.

use campanile_format::control::{CONTROL_SLOT_BYTES, Control};
use campanile_format::frame::FRAME_BYTES;
use campanile_format::limits::PAGE_HEADER_BYTES;
use campanile_format::log_file::LogFileHeader;
use campanile_format::meta::{FILE_FLAGS_AT, FLAG_NOT_DURABLE};
use campanile_format::{Lsn, names, page};
use campanile_vfs::{Call, CallKind, Observer, Outcome};
use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Mutex;

/// Watches one life of one environment, from before it opens until it is closed or lost.
#[derive(Debug, Default)]
pub struct Monitor {
    state: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    /// By log file number: end of what was written, end of what is durable.
    logs: HashMap<u32, Extent>,
    /// The same of files that may become log files, by name.
    spares: HashMap<String, Extent>,
    /// Log files whose directory entry is not durable yet.
    unlisted: HashSet<u32>,
    /// Data files that are not logged.
    volatile: HashSet<u32>,
    /// Redo point of the newest durable control slot; of the slot that is being written.
    redo_durable: Option<Lsn>,
    redo_written: Option<Lsn>,
    failed: Option<String>,
    /// What each open handle's file is called now: a spare becomes a log file by a rename.
    handles: HashMap<u64, String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    written: u64,
    durable: u64,
}

impl Monitor {
    /// A monitor that has seen nothing: what was there before it counts as durable.
    pub fn new() -> Monitor {
        Monitor::default()
    }
}

impl Observer for Monitor {
    /// Checks the call that is about to be made, and panics if it breaks one of M1-M5: the engine
    /// is wrong then, whether or not anything is lost this time.
    fn before(&self, call: &Call<'_>) {
        // What an engine does that is caught already, while it is taken down, is no second finding.
        if std::thread::panicking() {
            return;
        }
        let mut watched = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let name = watched.name_of(call);
        if call.kind == CallKind::Write {
            if let Some(cause) = watched.failed.as_ref().filter(|_| is_engine_file(&name)) {
                panic!("M2: a write to {name} after {cause}");
            }
            if let Some(file) = names::parse_data_file(&name) {
                watched.check_pages(file.0, call.offset, call.data);
            } else if let Some(number) = names::parse_log_file(&name) {
                watched.check_log_write(number, call.offset);
            } else if name == names::CONTROL {
                watched.check_control(call.data);
            }
        }
        if matches!(call.kind, CallKind::Rename | CallKind::Remove)
            && let Some(number) = names::parse_log_file(&name)
        {
            watched.check_recycling(number);
        }
    }

    fn after(&self, call: &Call<'_>, outcome: Outcome<'_>) {
        let mut watched = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let name = watched.name_of(call);
        if let Err(error) = outcome {
            let writes = call.kind == CallKind::Write && error.kind() != ErrorKind::Interrupted;
            let syncs = matches!(call.kind, CallKind::SyncData | CallKind::SyncAll);
            if is_engine_file(&name) && (writes || syncs) {
                watched.failed.get_or_insert_with(|| format!("{name} failed: {error}"));
            }
            return;
        }
        match call.kind {
            CallKind::Write => watched.learn_write(&name, call.offset, call.data),
            CallKind::Read if call.offset == 0 && is_volatile_meta(call.data) => {
                watched.volatile.extend(names::parse_data_file(&name).map(|file| file.0));
            }
            CallKind::SyncData | CallKind::SyncAll => watched.learn_sync(&name),
            CallKind::SyncDir => watched.unlisted.clear(),
            CallKind::Open => {
                watched.handles.insert(call.handle, name);
            }
            CallKind::Rename => {
                let target = call.target.map(file_name).unwrap_or_default();
                for known in watched.handles.values_mut().filter(|known| **known == name) {
                    known.clone_from(&target);
                }
                if let Some(number) = names::parse_log_file(&target) {
                    watched.unlisted.insert(number);
                    let made = watched.spares.remove(&name).unwrap_or_default();
                    let whole = made.durable > 0 && made.durable == made.written;
                    assert!(whole, "M4: {name} becomes {target} before it is durable");
                    watched.logs.insert(number, made);
                }
            }
            _ => {}
        }
    }
}

impl Watched {
    fn name_of(&self, call: &Call<'_>) -> String {
        let known = self.handles.get(&call.handle).filter(|_| call.kind != CallKind::Open);
        known.cloned().unwrap_or_else(|| file_name(call.path))
    }

    fn check_pages(&mut self, file: u32, offset: u64, bytes: &[u8]) {
        if offset == 0 && is_volatile_meta(bytes) {
            self.volatile.insert(file);
        }
        // What is left of a write that was taken in part does not begin with a page.
        let whole = offset.is_multiple_of(512) && bytes.len() >= PAGE_HEADER_BYTES;
        if self.volatile.contains(&file) || !whole {
            return;
        }
        let lsn =
            Lsn(u64::from_le_bytes(bytes[page::LSN..page::LSN + 8].try_into().expect("8 bytes")));
        let Some(log) = self.logs.get(&lsn.file()) else { return };
        assert!(
            u64::from(lsn.offset()) < log.durable,
            "M1: file {file} offset {offset} is written with LSN {lsn}, but the log is durable \
             only to {}/{}",
            lsn.file(),
            log.durable
        );
    }

    fn check_log_write(&mut self, number: u32, offset: u64) {
        let header = offset == 0;
        assert!(
            header || !self.unlisted.contains(&number),
            "M4: records go to log file {number} before its directory entry is durable"
        );
    }

    fn check_control(&mut self, bytes: &[u8]) {
        let Some(control) = bytes.get(..CONTROL_SLOT_BYTES).and_then(|b| Control::decode(b).ok())
        else {
            return;
        };
        for lsn in [control.redo, control.checkpoint] {
            if let Some(log) = self.logs.get(&lsn.file()) {
                let end = log.durable;
                let durable = u64::from(lsn.offset()) <= end;
                assert!(durable, "M5: control names {lsn}, the log is durable to {end}");
            }
        }
        self.redo_written = Some(control.redo);
    }

    fn check_recycling(&mut self, number: u32) {
        if let Some(redo) = self.redo_durable {
            assert!(number < redo.file(), "M3: log file {number} goes, but redo begins at {redo}");
        }
    }

    fn learn_write(&mut self, name: &str, offset: u64, bytes: &[u8]) {
        if let Some(number) = names::parse_log_file(name) {
            let log = self.logs.entry(number).or_default();
            log.written = log.written.max(offset + bytes.len() as u64);
        } else if name.starts_with("spare.") {
            let spare = self.spares.entry(name.to_owned()).or_default();
            let end = offset + bytes.len() as u64;
            spare.written = if offset == 0 { new_file_end(bytes) } else { spare.written.max(end) };
        }
    }

    fn learn_sync(&mut self, name: &str) {
        if let Some(number) = names::parse_log_file(name)
            && let Some(log) = self.logs.get_mut(&number)
        {
            log.durable = log.written;
        }
        if let Some(spare) = self.spares.get_mut(name) {
            spare.durable = spare.written;
        }
        if name == names::CONTROL {
            self.redo_durable = self.redo_written.or(self.redo_durable);
        }
    }
}

/// How far the log is in a file that begins with `bytes`: a header alone is followed by zeros in
/// which no record stands yet.
fn new_file_end(bytes: &[u8]) -> u64 {
    match LogFileHeader::decode(bytes) {
        Ok(header) if bytes.len() <= header.block_bytes as usize + FRAME_BYTES => {
            header.block_bytes.into()
        }
        _ => bytes.len() as u64,
    }
}

/// Whether what is in the file matters: a spare that could not be prepared is just not used, and
/// who owns the home is a courtesy to other processes.
fn is_engine_file(name: &str) -> bool {
    names::parse_data_file(name).is_some()
        || names::parse_log_file(name).is_some()
        || name == names::CONTROL
        || name == names::DOUBLE_WRITE
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_volatile_meta(page: &[u8]) -> bool {
    let flags = page.get(FILE_FLAGS_AT..FILE_FLAGS_AT + 2);
    flags.is_some_and(|flags| flags[0] & FLAG_NOT_DURABLE as u8 != 0)
}
