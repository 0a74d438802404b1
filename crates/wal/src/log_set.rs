//! The log files of a directory, as they are found: headers, and how the files hang together.
//!
//! Owns the listing and the chain: each file's header names where its predecessor ended, so the
//! files that count are found from the newest backward. Promises to name the file that is missing,
//! foreign, misnamed or has a damaged header, as soon as the log is needed from there. Must never
//! write, and must never judge what is older than what it is asked for: old files may be gone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_format::frame::LogIdentity;
use campanile_format::log_file::{LOG_HEADER_BYTES, LogFileHeader};
use campanile_format::{EnvironmentId, FormatError, Lsn, Timeline, names};
use campanile_vfs::{Open, Vfs};

use crate::error::WalError;
use crate::options::{LOG_FILE_BYTES_MAX, LOG_FILE_BYTES_MIN};
use crate::read::{RecordBuf, read_record};
use crate::scanner::Scanner;
use crate::window::Window;

/// One log file, by its name.
#[derive(Clone, Debug)]
pub struct LogFile {
    /// The number in its name.
    pub number: u32,
    /// Its length as found. New files may be shorter than their header says: they grow as the log
    /// does, and what is missing reads as zeros.
    pub bytes: u64,
    /// What its header says, or why it says nothing.
    pub header: Result<LogFileHeader, FormatError>,
}

impl LogFile {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        names::log_file(self.number)
    }
}

/// A file of the chain: see [`LogSet::chain`].
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Its number.
    pub number: u32,
    /// What its header says.
    pub header: LogFileHeader,
    /// Where the next file says that this one ends; none for the newest.
    pub ends: Option<Lsn>,
}

impl Link {
    pub(crate) fn identity(&self) -> LogIdentity {
        LogIdentity::new(self.header.environment, self.header.timeline)
    }
}

/// The log files of a directory at one moment. Read-only, cheap to clone.
#[derive(Clone, Debug)]
pub struct LogSet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    environment: EnvironmentId,
    timeline: Timeline,
    files: BTreeMap<u32, LogFile>,
    listing: Vec<String>,
}

impl LogSet {
    /// The log files in `dir`, which should be those of `environment` up to history `timeline`.
    ///
    /// Fails only if the directory or a header cannot be read; what is wrong with the files is
    /// told when the log is read.
    pub fn open(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        environment: EnvironmentId,
        timeline: Timeline,
    ) -> Result<LogSet, WalError> {
        let (listing, files) = list(vfs, dir)?;
        Ok(Self::from_parts(vfs, dir, environment, timeline, files, listing))
    }

    /// The log files in `dir`, taken for those of whatever environment the newest file with a
    /// whole header belongs to: for looking at a log whose home is lost.
    pub fn discover(vfs: &Arc<dyn Vfs>, dir: &Path) -> Result<LogSet, WalError> {
        let (listing, files) = list(vfs, dir)?;
        let newest = files.values().rev().find_map(|file| file.header.as_ref().ok());
        let header = newest.ok_or_else(|| WalError::Missing {
            file: names::log_file(1),
            why: format!("there is no log file with a whole header in {}", dir.display()),
        })?;
        let (environment, timeline) = (header.environment, header.timeline);
        Ok(Self::from_parts(vfs, dir, environment, timeline, files, listing))
    }

    fn from_parts(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        environment: EnvironmentId,
        timeline: Timeline,
        files: BTreeMap<u32, LogFile>,
        listing: Vec<String>,
    ) -> LogSet {
        let (vfs, dir) = (Arc::clone(vfs), dir.to_owned());
        LogSet { inner: Arc::new(Inner { vfs, dir, environment, timeline, files, listing }) }
    }

    /// The environment whose log this should be.
    #[must_use]
    pub fn environment(&self) -> EnvironmentId {
        self.inner.environment
    }

    /// The newest history that this log may belong to.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.inner.timeline
    }

    /// The files, oldest first.
    pub fn files(&self) -> impl DoubleEndedIterator<Item = &LogFile> {
        self.inner.files.values()
    }

    /// The same log as if the files after `number` were not there.
    #[must_use]
    pub fn up_to(&self, number: u32) -> LogSet {
        let mut files = self.inner.files.clone();
        let _later = number.checked_add(1).map(|later| files.split_off(&later));
        let (vfs, dir) = (Arc::clone(&self.inner.vfs), self.inner.dir.clone());
        let Inner { environment, timeline, ref listing, .. } = *self.inner;
        let listing = listing.clone();
        LogSet { inner: Arc::new(Inner { vfs, dir, environment, timeline, files, listing }) }
    }

    /// The file with this number.
    #[must_use]
    pub fn file(&self, number: u32) -> Option<&LogFile> {
        self.inner.files.get(&number)
    }

    /// The newest file.
    #[must_use]
    pub fn newest(&self) -> Option<&LogFile> {
        self.inner.files.values().next_back()
    }

    /// Where the first record of the oldest file that hangs together with the newest starts: the
    /// log can be read from there.
    pub fn oldest_readable(&self) -> Result<Lsn, WalError> {
        let Some(newest) = self.newest() else {
            return Err(self.missing(1, "there is no log file at all".into()));
        };
        let mut link = self.check(newest)?;
        while let Some(before) = self.file(link.predecessor_end.file()) {
            match self.check(before) {
                Ok(header) if header.timeline == link.predecessor_timeline => link = header,
                _ => break,
            }
        }
        Ok(link.first_record())
    }

    /// Reads the records from `from` to `to`, oldest first. The log is known to reach to `to`: a
    /// bad record before it is an error.
    pub fn forward(&self, from: Lsn, to: Lsn) -> Result<Scanner, WalError> {
        Scanner::forward(self, from, to)
    }

    /// Reads the records before `from` that start at `to` or later, newest first.
    pub fn backward(&self, from: Lsn, to: Lsn) -> Result<Scanner, WalError> {
        Scanner::backward(self, from, to)
    }

    /// Reads the record that starts at `lsn`.
    pub fn read(&self, lsn: Lsn) -> Result<RecordBuf, WalError> {
        let file = self.file(lsn.file());
        let file = file.ok_or_else(|| {
            self.missing(lsn.file(), format!("the record at {lsn} is wanted from it"))
        })?;
        let header = self.check(file)?;
        let identity = LogIdentity::new(header.environment, header.timeline);
        let window = self.window(file.number, header.file_bytes, identity)?;
        read_record(&mut window.pieces(4 << 10), lsn)
    }

    pub(crate) fn window(
        &self,
        number: u32,
        file_bytes: u32,
        identity: LogIdentity,
    ) -> Result<Window, WalError> {
        Window::open(&self.inner.vfs, &self.inner.dir, number, file_bytes, identity)
    }

    /// All names in the directory.
    pub(crate) fn listing(&self) -> &[String] {
        &self.inner.listing
    }

    /// The files from the one that holds `from` to the newest, each linked to the next. An error
    /// names the file that is missing, damaged or foreign.
    pub fn chain(&self, from: Lsn) -> Result<Vec<Link>, WalError> {
        let first = from.file();
        let Some(newest) = self.newest().filter(|newest| newest.number >= first) else {
            return Err(self.missing(first, format!("the log is needed from {from} on")));
        };
        let mut chain = Vec::new();
        let (mut file, mut ends) = (newest, None);
        loop {
            let header = self.check(file)?;
            if let Some(next) = chain.last() {
                check_history(&header, next)?;
            }
            chain.push(Link { number: file.number, header, ends });
            if file.number == first {
                chain.reverse();
                return Ok(chain);
            }
            file = self.predecessor(&header, from)?;
            ends = Some(header.predecessor_end);
        }
    }

    /// The file before the one with this header, if the log from `from` on can go through it.
    fn predecessor(&self, header: &LogFileHeader, from: Lsn) -> Result<&LogFile, WalError> {
        let end = header.predecessor_end;
        let says = names::log_file(header.file);
        if end.file() < from.file() {
            let why = format!("{says} says that the log before it ended at {end}");
            return Err(self.missing(from.file(), format!("{why}, but it is needed from {from}")));
        }
        for number in end.file() + 1..header.file {
            // Between a file and its successor there may be files of a history that was left.
            if let Some(between) = self.file(number)
                && self.check(between)?.timeline >= header.timeline
            {
                let why = format!("{says} says that the log before it ended at {end}");
                return Err(WalError::Foreign { file: between.name(), why });
            }
        }
        self.file(end.file()).ok_or_else(|| {
            self.missing(end.file(), format!("{says} says that the log before it ended at {end}"))
        })
    }

    fn missing(&self, number: u32, why: String) -> WalError {
        WalError::Missing { file: names::log_file(number), why }
    }

    /// A file's header, if it can be a file of this log.
    pub(crate) fn check(&self, file: &LogFile) -> Result<LogFileHeader, WalError> {
        let name = file.name();
        let header = match &file.header {
            Ok(header) => *header,
            Err(FormatError::Corrupt(corrupt)) => {
                let (offset, why) = (corrupt.at as u64, corrupt.to_string());
                return Err(WalError::Corrupt { file: name, offset, why });
            }
            Err(source) => return Err(WalError::Format { file: name, source: source.clone() }),
        };
        let foreign = |why| Err(WalError::Foreign { file: name.clone(), why });
        let (environment, timeline) = (self.inner.environment, self.inner.timeline);
        if header.environment != environment {
            let theirs = header.environment;
            return foreign(format!(
                "it belongs to environment {theirs}, this one is {environment}"
            ));
        }
        if header.file != file.number {
            let says = names::log_file(header.file);
            return foreign(format!("it is {says} by what it says, renamed or copied"));
        }
        if header.timeline > timeline {
            let theirs = header.timeline;
            return foreign(format!("it is of timeline {theirs}, this log is of {timeline}"));
        }
        let possible = LOG_FILE_BYTES_MIN..=LOG_FILE_BYTES_MAX;
        if !possible.contains(&header.file_bytes) {
            let why = format!("its header states a length of {} bytes", header.file_bytes);
            return Err(WalError::Corrupt { file: name, offset: 0, why });
        }
        Ok(header)
    }
}

/// The history of a file must be the one that its successor continues.
fn check_history(header: &LogFileHeader, next: &Link) -> Result<(), WalError> {
    if header.timeline == next.header.predecessor_timeline {
        return Ok(());
    }
    let (theirs, wanted) = (header.timeline, next.header.predecessor_timeline);
    Err(WalError::Foreign {
        file: names::log_file(header.file),
        why: format!(
            "it is of timeline {theirs}, {} continues timeline {wanted}",
            names::log_file(next.number)
        ),
    })
}

fn list(vfs: &Arc<dyn Vfs>, dir: &Path) -> Result<(Vec<String>, BTreeMap<u32, LogFile>), WalError> {
    let listing = vfs.list(dir);
    let listing =
        listing.map_err(|error| WalError::io("list", dir.display().to_string(), error))?;
    let mut files = BTreeMap::new();
    for number in listing.iter().filter_map(|name| names::parse_log_file(name)) {
        match look(vfs, dir, number) {
            Ok(file) => files.insert(number, file),
            // Recycled since, by a live owner. If it is needed, it will be missed.
            Err(WalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
    }
    Ok((listing, files))
}

/// Reads the header of a log file.
fn look(vfs: &Arc<dyn Vfs>, dir: &Path, number: u32) -> Result<LogFile, WalError> {
    let name = names::log_file(number);
    let failed = |action, error| WalError::io(action, name.clone(), error);
    let file = vfs.open(&dir.join(&name), Open::Read).map_err(|error| failed("open", error))?;
    let bytes = file.len().map_err(|error| failed("measure", error))?;
    let mut head = vec![0; LOG_HEADER_BYTES];
    let count = file.read_full_at(&mut head, 0).map_err(|error| failed("read", error))?;
    if (count as u64) < bytes.min(LOG_HEADER_BYTES as u64) {
        return Err(failed("read", io::ErrorKind::UnexpectedEof.into()));
    }
    head.truncate(count);
    Ok(LogFile { number, bytes, header: LogFileHeader::decode(&head) })
}
