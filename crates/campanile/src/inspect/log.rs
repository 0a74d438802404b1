//! The records of the log, one by one, for people and programs.
//!
//! Owns the iterator behind `db_printlog`. Promises every record from begin to end, or an error
//! that says where it stopped and why. Must never stop in silence at a hole.

use std::fmt;
use std::path::Path;

use campanile_format::describe::{self, Shown};
use campanile_format::names;
use campanile_vfs::Host;
use campanile_wal::{ControlFile, LogEnd, LogSet, RecordBuf, Scanner, Tail, find_end};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};
use crate::{Lsn, causes};

/// Which part of the log is read, and in which direction.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct LogOptions {
    begin: Option<Lsn>,
    end: Option<Lsn>,
    reverse: bool,
}

impl LogOptions {
    /// All of it, oldest record first.
    pub fn new() -> LogOptions {
        LogOptions::default()
    }

    /// Begins at this position, where a record must start.
    pub fn begin(mut self, begin: Lsn) -> LogOptions {
        self.begin = Some(begin);
        self
    }

    /// Ends at this position; a record that starts there is still read.
    pub fn end(mut self, end: Lsn) -> LogOptions {
        self.end = Some(end);
        self
    }

    /// Newest record first.
    pub fn reverse(mut self, reverse: bool) -> LogOptions {
        self.reverse = reverse;
        self
    }
}

/// A record of the log, described.
#[derive(Clone, Debug)]
pub struct LogRecord {
    lsn: Lsn,
    bytes: usize,
    fields: describe::Fields,
}

impl LogRecord {
    /// Where it starts.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Its length in the log.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What kind of record it is: "update", "commit" ...
    #[must_use]
    pub fn kind(&self) -> &str {
        match self.fields.first() {
            Some((_, Shown::Word(kind))) => kind,
            _ => "unknown",
        }
    }

    fn of(record: &RecordBuf) -> Result<LogRecord> {
        let fields = describe::record(&record.record().map_err(causes::wal)?);
        Ok(LogRecord { lsn: record.lsn(), bytes: record.bytes().len(), fields })
    }
}

impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.lsn, describe::Line(&self.fields))
    }
}

impl Serialize for LogRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("lsn", &self.lsn.to_string())?;
        map.serialize_entry("bytes", &self.bytes)?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, &Json(value))?;
        }
        map.end()
    }
}

/// A described value as JSON. Bytes are spelled as in printable dumps.
struct Json<'s>(&'s Shown);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Shown::Number(number) => serializer.serialize_u64(*number),
            Shown::Flag(flag) => serializer.serialize_bool(*flag),
            Shown::Lsn(lsn) => serializer.collect_str(lsn),
            Shown::Word(word) => serializer.serialize_str(word),
            Shown::Text(text) => serializer.serialize_str(text),
            Shown::Bytes(bytes) => serializer.serialize_str(&crate::text::escape(bytes)),
            Shown::Nested(fields) => JsonFields(fields).serialize(serializer),
            Shown::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&JsonFields(item))?;
                }
                list.end()
            }
        }
    }
}

struct JsonFields<'s>(&'s [(&'static str, Shown)]);

impl Serialize for JsonFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, &Json(value))?;
        }
        map.end()
    }
}

/// Records of a log; see [`log`]. After an error there are no more.
#[derive(Debug)]
pub struct LogRecords {
    scanner: Scanner,
    last: Option<Lsn>,
    end: LogEnd,
    failed: bool,
}

impl LogRecords {
    /// Where the log ends.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.end.end
    }

    /// What is to be said of bytes behind the end; `None` if there are none.
    #[must_use]
    pub fn torn_tail(&self) -> Option<String> {
        match self.end.tail {
            Tail::Clean => None,
            Tail::Torn { bytes_cut, survivors } => Some(format!(
                "the log ends at {}; behind it are {bytes_cut} bytes of writes that a crash \
                 interrupted, with {survivors} whole records among them, which nobody was told \
                 had succeeded",
                self.end.end
            )),
        }
    }
}

impl Iterator for LogRecords {
    type Item = Result<LogRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = match self.scanner.next()? {
            Ok((lsn, _)) if self.last.is_some_and(|last| lsn > last) => return None,
            Ok((_, record)) => LogRecord::of(&record),
            Err(error) => Err(causes::wal(error)),
        };
        self.failed = item.is_err();
        Some(item)
    }
}

/// Reads the log of the home in the directory `home`, whatever state the home is in.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let home = dir.path();
/// use campanile::inspect::{self, LogOptions};
///
/// let env = campanile::Environment::open(home)?;
/// env.create_database("accounts")?;
/// let records = inspect::log(home, &LogOptions::new())?;
/// let kinds: Result<Vec<String>, _> =
///     records.map(|record| Ok::<_, campanile::Error>(record?.kind().to_owned())).collect();
/// assert!(kinds?.contains(&"commit".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn log(home: impl AsRef<Path>, options: &LogOptions) -> Result<LogRecords> {
    log_on(&Host::os(), home, options)
}

/// Reads the log of a home on another host.
pub fn log_on(host: &Host, home: impl AsRef<Path>, options: &LogOptions) -> Result<LogRecords> {
    let home = home.as_ref();
    let control = ControlFile::read(&*host.vfs, home).map_err(causes::wal)?;
    let dir = home.join(names::LOG_DIR);
    let logs = LogSet::open(&host.vfs, &dir, control.environment, control.timeline);
    let logs = logs.map_err(causes::wal)?;
    let begin = match options.begin {
        Some(begin) => begin,
        None => logs.oldest_readable().map_err(causes::wal)?,
    };
    let end = find_end(&logs, begin, control.durable).map_err(causes::wal)?;
    if begin > end.end {
        let what = format!("the log ends at {}, before {begin}", end.end);
        return Err(Error::new(ErrorKind::InvalidArgument, what));
    }
    let scanner = if options.reverse {
        // Backward from behind the record that starts at the wanted end.
        let from = match options.end.filter(|wanted| *wanted < end.end) {
            Some(wanted) => logs.read(wanted).map_err(causes::wal)?.next_lsn(),
            None => end.end,
        };
        logs.backward(from, begin)
    } else {
        logs.forward(begin, end.end)
    };
    let scanner = scanner.map_err(causes::wal)?;
    let last = options.end.filter(|_| !options.reverse);
    Ok(LogRecords { scanner, last, end, failed: false })
}

/// A position in the log as people write it: `3/512`, or Berkeley DB's `[3][512]`.
///
/// ```
/// use campanile::inspect::parse_lsn;
/// assert_eq!(parse_lsn("3/512"), parse_lsn("[3][512]"));
/// assert_eq!(parse_lsn("3"), None);
/// ```
#[must_use]
pub fn parse_lsn(text: &str) -> Option<Lsn> {
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let (file, offset) = match plain {
        Some(inner) => inner.split_once("][")?,
        None => text.split_once('/')?,
    };
    Some(Lsn::new(file.parse().ok()?, offset.parse().ok()?))
}
