//! The header of one database section: keywords in, a checked description out, and back.
//!
//! Owns the list of keywords of the dump format. Promises that every keyword is either understood,
//! or a tuning hint that changes no data, or refused by name with its line. Must never skip a
//! keyword in silence.

use serde::Serialize;

use super::Format;
use super::item::{Decoder, Spelling, encode};
use crate::error::{Error, Result};

/// How records of a database are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AccessMethod {
    /// Ordered by key.
    #[default]
    Btree,
    /// Extended linear hashing.
    Hash,
}

/// Whether a key may have several values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Duplicates {
    /// One value a key.
    #[default]
    No,
    /// Several, in the order they were put.
    Unsorted,
    /// Several, in byte order.
    Sorted,
}

/// What stands above the data of one database section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Header {
    /// How the items are spelled.
    pub format: Format,
    /// The name of the database, when the text holds named ones.
    pub database: Option<String>,
    /// How records are found.
    pub access_method: AccessMethod,
    /// Whether a key may have several values.
    pub duplicates: Duplicates,
    /// The page size of the database that was dumped.
    pub page_bytes: Option<u32>,
    /// Tuning keywords that change no data, as they stood: (keyword, value).
    pub hints: Vec<(String, String)>,
    /// The line of the keyword that says `duplicates`, else of the end of the header.
    #[serde(skip)]
    pub(crate) line: u64,
}

impl Header {
    /// A header for a btree database, unnamed, in `format`.
    #[must_use]
    pub fn new(format: Format) -> Header {
        Header { format, ..Header::default() }
    }
}

/// A keyword given on the command line, which wins over the one in the text (`db_load -c`, `-t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    keyword: String,
    value: String,
}

impl Override {
    /// `value` for `keyword`, whatever the header says.
    pub fn new(keyword: impl Into<String>, value: impl Into<String>) -> Override {
        Override { keyword: keyword.into(), value: value.into() }
    }
}

/// Keywords whose value changes how data is laid out or found, but no data.
const HINTS: &[&str] = &["bt_minkey", "chksum", "compressed", "db_lorder", "h_ffactor", "h_nelem"];

/// Keywords of what is not in this build, with the words that say so.
const REFUSED: &[(&str, &str)] = &[
    ("extentsize", "queue databases"),
    ("heap_bytes", "heap databases"),
    ("heap_gbytes", "heap databases"),
    ("heap_regionsize", "heap databases"),
    ("keys", "record-number keys"),
    ("nparts", "partitioned databases"),
    ("re_len", "fixed-length records"),
    ("re_pad", "fixed-length records"),
    ("recnum", "record numbers in a btree"),
    ("renumber", "renumbered records"),
];

/// A header while its lines are read.
#[derive(Debug)]
pub(super) struct Draft {
    header: Header,
    version: Option<u64>,
    format: Option<u64>,
    method: Option<u64>,
    seen: Vec<String>,
    dup: Option<bool>,
    dupsort: Option<bool>,
}

impl Draft {
    pub(super) fn new() -> Draft {
        Draft {
            header: Header::default(),
            version: None,
            format: None,
            method: None,
            seen: Vec::new(),
            dup: None,
            dupsort: None,
        }
    }

    /// Takes the line `keyword=value`.
    pub(super) fn line(&mut self, name: &str, line: u64, text: &str) -> Result<()> {
        let Some((keyword, value)) = text.split_once('=') else {
            return Err(Error::input(name, line, format!("{text:?} is not NAME=VALUE")));
        };
        let canonical = if keyword == "subdatabase" { "database" } else { keyword };
        if self.seen.iter().any(|seen| seen == canonical) {
            return Err(Error::input(name, line, format!("keyword {keyword} is given twice")));
        }
        self.seen.push(canonical.to_owned());
        self.keyword(name, line, canonical, value)
    }

    /// Applies what the command line says instead.
    pub(super) fn override_with(&mut self, overrides: &[Override]) -> Result<()> {
        for Override { keyword, value } in overrides {
            if keyword == "format" || keyword == "VERSION" {
                let what = format!("{keyword} describes the text and cannot be overridden");
                return Err(Error::new(crate::ErrorKind::InvalidArgument, what));
            }
            self.keyword("command line", 1, keyword, value)?;
        }
        Ok(())
    }

    fn keyword(&mut self, name: &str, line: u64, keyword: &str, value: &str) -> Result<()> {
        match keyword {
            "VERSION" => self.version(name, line, value),
            "format" => {
                self.header.format = parse_format(name, line, value)?;
                self.format = Some(line);
                Ok(())
            }
            "type" => {
                self.header.access_method = parse_method(name, line, value)?;
                self.method = Some(line);
                Ok(())
            }
            "database" | "subdatabase" => {
                self.header.database = Some(parse_name(name, line, value)?);
                Ok(())
            }
            "db_pagesize" => {
                let pages = parse_number(name, line, keyword, value)?;
                if !pages.is_power_of_two() || !(512..=65536).contains(&pages) {
                    let what = format!("db_pagesize={value} is not a power of two of 512 to 65536");
                    return Err(Error::input(name, line, what));
                }
                self.header.page_bytes = u32::try_from(pages).ok();
                Ok(())
            }
            "duplicates" => {
                self.dup = Some(parse_flag(name, line, keyword, value)?);
                self.header.line = line;
                Ok(())
            }
            "dupsort" => {
                self.dupsort = Some(parse_flag(name, line, keyword, value)?);
                self.header.line = line;
                Ok(())
            }
            _ => self.rare_keyword(name, line, keyword, value),
        }
    }

    fn rare_keyword(&mut self, name: &str, line: u64, keyword: &str, value: &str) -> Result<()> {
        if HINTS.contains(&keyword) {
            parse_number(name, line, keyword, value)?;
            self.header.hints.push((keyword.to_owned(), value.to_owned()));
            return Ok(());
        }
        if let Some((_, what)) = REFUSED.iter().find(|(refused, _)| *refused == keyword) {
            if value == "0" && matches!(keyword, "keys" | "recnum" | "renumber") {
                return Ok(());
            }
            let what = format!("{keyword}={value}: {what} are not in this build");
            return Err(Error::unsupported_input(name, line, what));
        }
        Err(Error::input(name, line, format!("unknown keyword {keyword:?}")))
    }

    fn version(&mut self, name: &str, line: u64, value: &str) -> Result<()> {
        match value {
            "3" => {
                self.version = Some(line);
                Ok(())
            }
            "1" | "2" => Err(Error::unsupported_input(
                name,
                line,
                format!("VERSION={value}: only version 3 is read; dump the database again"),
            )),
            _ => Err(Error::unsupported_input(
                name,
                line,
                format!("VERSION={value}: only version 3 of the dump format is known"),
            )),
        }
    }

    /// `HEADER=END` stood on `line`: is everything there?
    pub(super) fn finish(self, name: &str, line: u64) -> Result<Header> {
        let missing = |what: &str| Err(Error::input(name, line, what));
        if self.version.is_none() {
            return missing("the header has no VERSION line");
        }
        if self.format.is_none() {
            return missing("the header has no format line (bytevalue or print)");
        }
        self.finish_plain(name, line)
    }

    /// As `finish`, for text that has no header of its own.
    pub(super) fn finish_plain(self, name: &str, line: u64) -> Result<Header> {
        let mut header = self.header;
        if self.method.is_none() {
            return Err(Error::input(
                name,
                line,
                "the type of the database is not given: a type= line, or -t btree",
            ));
        }
        header.duplicates = match (self.dup, self.dupsort) {
            (Some(false), Some(true)) => {
                return Err(Error::input(name, line, "dupsort=1 contradicts duplicates=0"));
            }
            (_, Some(true)) => Duplicates::Sorted,
            (Some(true), _) => Duplicates::Unsorted,
            _ => Duplicates::No,
        };
        if header.line == 0 {
            header.line = line;
        }
        Ok(header)
    }
}

fn parse_format(name: &str, line: u64, value: &str) -> Result<Format> {
    match value {
        "bytevalue" => Ok(Format::Bytevalue),
        "print" => Ok(Format::Print),
        _ => {
            let what = format!("format={value} is neither bytevalue nor print");
            Err(Error::input(name, line, what))
        }
    }
}

fn parse_method(name: &str, line: u64, value: &str) -> Result<AccessMethod> {
    match value {
        "btree" => Ok(AccessMethod::Btree),
        "hash" => Ok(AccessMethod::Hash),
        "recno" | "queue" | "heap" => Err(Error::unsupported_input(
            name,
            line,
            format!("type={value}: {value} databases are not in this build"),
        )),
        _ => Err(Error::input(name, line, format!("type={value} is not a type of database"))),
    }
}

fn parse_number(name: &str, line: u64, keyword: &str, value: &str) -> Result<u64> {
    value
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| value.parse().ok())
        .flatten()
        .ok_or_else(|| Error::input(name, line, format!("{keyword}={value:?} is not a number")))
}

fn parse_flag(name: &str, line: u64, keyword: &str, value: &str) -> Result<bool> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(Error::input(name, line, format!("{keyword}={value:?} is neither 0 nor 1"))),
    }
}

fn parse_name(name: &str, line: u64, value: &str) -> Result<String> {
    let bad = |what: String| Error::input(name, line, format!("database={value}: {what}"));
    let mut bytes = Vec::new();
    let mut decoder = Decoder::new(Spelling::Print);
    decoder.feed(value.as_bytes(), &mut bytes).map_err(bad)?;
    decoder.finish().map_err(bad)?;
    String::from_utf8(bytes).map_err(|_| bad("the name is not UTF-8".into()))
}

/// Appends the header as text, in the order Berkeley DB writes it.
pub(super) fn write(header: &Header, out: &mut Vec<u8>) {
    let mut line = |keyword: &str, value: &[u8]| {
        out.extend_from_slice(keyword.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value);
        out.push(b'\n');
    };
    line("VERSION", b"3");
    line("format", header.format.keyword().as_bytes());
    if let Some(database) = &header.database {
        let mut escaped = Vec::new();
        encode(Format::Print, database.as_bytes(), &mut escaped);
        line("database", &escaped);
    }
    let method: &[u8] = match header.access_method {
        AccessMethod::Btree => b"btree",
        AccessMethod::Hash => b"hash",
    };
    line("type", method);
    for (keyword, value) in &header.hints {
        line(keyword, value.as_bytes());
    }
    if header.duplicates != Duplicates::No {
        line("duplicates", b"1");
    }
    if header.duplicates == Duplicates::Sorted {
        line("dupsort", b"1");
    }
    if let Some(page_bytes) = header.page_bytes {
        line("db_pagesize", page_bytes.to_string().as_bytes());
    }
    line("HEADER", b"END");
}
