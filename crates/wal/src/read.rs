//! One record by its position: what undo reads.
//!
//! Owns [`RecordBuf`] and the handles on log files that are read. Promises that a record can be
//! read from the moment it is appended, wherever it is by then, and that its frame was checked in
//! its place. Must never read a file that was given up for reuse: its handle is dropped first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use campanile_format::frame::{self, LogIdentity};
use campanile_format::log_file::{LOG_BLOCK_BYTES_MIN, LOG_HEADER_BYTES, LogFileHeader};
use campanile_format::record::Record;
use campanile_format::{FormatError, Lsn, names};
use campanile_vfs::{File, Open};

use crate::error::WalError;
use crate::wal::Wal;
use crate::window::{Spot, Window};

/// Undo reads the log in pieces of this.
const UNDO_BYTES: u64 = 64 << 10;
/// Handles kept for reading old files.
const HANDLES_MAX: usize = 16;

/// A record's bytes, whole and in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBuf {
    lsn: Lsn,
    frame: Vec<u8>,
}

impl RecordBuf {
    /// Takes over a frame that was checked to stand at `lsn`.
    pub(crate) fn new(lsn: Lsn, frame: Vec<u8>) -> RecordBuf {
        RecordBuf { lsn, frame }
    }

    /// Where the record starts.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Where it ends: the next record starts here, or the file ends.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.lsn.0 + self.frame.len() as u64)
    }

    /// The frame, header and padding included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.frame
    }

    /// The record. An error if it is of a kind that this build does not know.
    pub fn record(&self) -> Result<Record<'_>, WalError> {
        Record::decode(&self.frame).map_err(|error| match error {
            FormatError::Corrupt(corrupt) => WalError::corrupt_at(
                self.lsn,
                format!("the record's checksum is right, but its {corrupt}"),
            ),
            source => {
                let file = format!("record {} in {}", self.lsn, names::log_file(self.lsn.file()));
                WalError::Format { file, source }
            }
        })
    }
}

/// Reads the record at `lsn` through a window on its file.
pub(crate) fn read_record(window: &mut Window, lsn: Lsn) -> Result<RecordBuf, WalError> {
    if lsn.offset() < LOG_BLOCK_BYTES_MIN || !lsn.offset().is_multiple_of(8) {
        return Err(WalError::NoRecord { lsn, why: "no record starts at such an offset".into() });
    }
    match window.spot(lsn.offset().into(), u64::MAX)? {
        Spot::Record(frame) => Ok(RecordBuf::new(lsn, frame.bytes.to_vec())),
        Spot::Bad(_, why) => Err(WalError::corrupt_at(lsn, why)),
    }
}

/// A log file open for reading.
#[derive(Clone, Debug)]
struct Handle {
    file: Arc<dyn File>,
    file_bytes: u32,
    identity: LogIdentity,
}

/// Which log files there are, and the handles on them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    numbers: BTreeSet<u32>,
    handles: BTreeMap<u32, Handle>,
}

impl Files {
    pub(crate) fn new(numbers: impl IntoIterator<Item = u32>) -> Files {
        Files { numbers: numbers.into_iter().collect(), handles: BTreeMap::new() }
    }

    /// The log goes on in file `number`.
    pub(crate) fn began(
        &mut self,
        number: u32,
        file: &Arc<dyn File>,
        file_bytes: u32,
        identity: LogIdentity,
    ) {
        self.numbers.insert(number);
        self.keep(number, Handle { file: Arc::clone(file), file_bytes, identity });
    }

    fn keep(&mut self, number: u32, handle: Handle) {
        if self.handles.len() >= HANDLES_MAX {
            self.handles.pop_first();
        }
        self.handles.insert(number, handle);
    }

    /// Takes the files before `number` out, with their handles.
    pub(crate) fn take_below(&mut self, number: u32) -> Vec<u32> {
        let kept = self.numbers.split_off(&number);
        let taken = std::mem::replace(&mut self.numbers, kept);
        self.handles = self.handles.split_off(&number);
        taken.into_iter().collect()
    }

    /// Puts back what could not be given up.
    pub(crate) fn put_back(&mut self, numbers: impl IntoIterator<Item = u32>) {
        self.numbers.extend(numbers);
    }

    /// The oldest file.
    pub(crate) fn oldest(&self) -> Option<u32> {
        self.numbers.first().copied()
    }
}

impl Wal {
    /// Reads the record that starts at `lsn`.
    pub fn read(&self, lsn: Lsn) -> Result<RecordBuf, WalError> {
        self.poison.check()?;
        let end = self.end();
        if lsn >= end {
            return Err(WalError::NoRecord { lsn, why: format!("the log ends at {end}") });
        }
        {
            let buffer = self.buffer.lock();
            if buffer.covers(lsn) {
                let frame = buffer.record(lsn).filter(|frame| self.stands_at(frame, lsn));
                let why = || "no record starts there".to_owned();
                let frame = frame.ok_or_else(|| WalError::NoRecord { lsn, why: why() })?;
                return Ok(RecordBuf::new(lsn, frame));
            }
        }
        // Once written, a record stays readable in its file.
        if let Some(read) = self.read_nearby(lsn) {
            return Ok(read);
        }
        let Handle { file, file_bytes, identity } = self.handle(lsn.file())?;
        let mut window = Window::on(file, lsn.file(), file_bytes, identity).pieces(UNDO_BYTES);
        let read = read_record(&mut window, lsn)?;
        if let Some(mut nearby) = self.nearby.try_lock() {
            *nearby = Some(window);
        }
        Ok(read)
    }

    /// Tries the piece of the log that was read last: undo goes back record by record, and the one
    /// before is often in it. What does not check there may have been written since, and is read
    /// again.
    fn read_nearby(&self, lsn: Lsn) -> Option<RecordBuf> {
        let mut nearby = self.nearby.try_lock()?;
        let window = nearby.as_mut().filter(|window| window.number() == lsn.file())?;
        read_record(window, lsn).ok()
    }

    /// The number of the oldest log file.
    #[must_use]
    pub fn oldest_file(&self) -> u32 {
        self.files.lock().oldest().unwrap_or_else(|| self.end().file())
    }

    fn stands_at(&self, bytes: &[u8], lsn: Lsn) -> bool {
        frame::parse(bytes, lsn, &self.identity).is_ok()
    }

    fn handle(&self, number: u32) -> Result<Handle, WalError> {
        if let Some(handle) = self.files.lock().handles.get(&number) {
            return Ok(handle.clone());
        }
        let name = names::log_file(number);
        let failed = |action, error| WalError::io(action, name.clone(), error);
        let file = self.host.vfs.open(&self.options.dir.join(&name), Open::Read);
        let file = file.map_err(|error| failed("open", error))?;
        let mut head = vec![0; LOG_HEADER_BYTES];
        let count = file.read_full_at(&mut head, 0).map_err(|error| failed("read", error))?;
        head.truncate(count);
        let header = LogFileHeader::decode(&head)
            .map_err(|source| WalError::Format { file: name.clone(), source })?;
        if header.environment != self.options.environment || header.file != number {
            let why = format!("it says that it is {}", names::log_file(header.file));
            return Err(WalError::Foreign { file: name, why });
        }
        let identity = LogIdentity::new(header.environment, header.timeline);
        let handle = Handle { file, file_bytes: header.file_bytes, identity };
        let mut files = self.files.lock();
        if files.numbers.contains(&number) {
            files.keep(number, handle.clone());
        }
        Ok(handle)
    }
}
