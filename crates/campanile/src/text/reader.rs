//! Reads a dump: sections, and in each section pairs, strictly and one at a time.
//!
//! Owns the state of reading: the line number and where in the grammar the text stands. Promises
//! that `Ok(None)` from [`Reader::next_section`] means the text was complete. After an error every
//! further call fails too, so that nobody reads past a hole. Must never allocate more than the
//! text justifies: a line is decoded as it arrives.

use std::io::BufRead;

use super::Format;
use super::header::{Draft, Header, Override};
use super::item::{Decoder, Spelling};
use crate::error::{Error, Result};
use crate::pairs::explain;

/// A header line longer than this is not a header line.
const HEADER_LINE_BYTES_MAX: usize = 1 << 20;
/// No key or value is longer than this.
const ITEM_BYTES_MAX: usize = u32::MAX as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a header, or at the end of the text.
    Between,
    /// Among the data lines of a section.
    Inside,
    /// Plain text has been handed out as one section.
    PlainOver,
    /// An error was reported.
    Failed,
}

/// Reads databases from text, as `db_load` does.
///
/// ```
/// use campanile::text::Reader;
///
/// let text = b"VERSION=3\nformat=print\ntype=btree\nHEADER=END\n alice\n 100\nDATA=END\n";
/// let mut reader = Reader::new(&text[..], "accounts.dump");
/// let header = reader.next_section()?.expect("one section");
/// assert_eq!(header.database, None);
/// assert_eq!(reader.next_pair()?, Some((&b"alice"[..], &b"100"[..])));
/// assert_eq!(reader.next_pair()?, None);
/// assert!(reader.next_section()?.is_none());
/// # Ok::<(), campanile::Error>(())
/// ```
///
/// Every error names the text and the line:
///
/// ```
/// let text = b"VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n 6A\n 00\nDATA=END\n";
/// let error = campanile::text::check(text).unwrap_err();
/// assert!(error.to_string().starts_with("text:5: upper-case hexadecimal digit A"));
/// ```
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    name: String,
    line: u64,
    state: State,
    plain: bool,
    sections: u64,
    format: Format,
    overrides: Vec<Override>,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// What is done with a chunk of a line; it is told the offset of the chunk in the line.
type TakeChunk<'t> = dyn FnMut(&[u8], usize) -> Result<(), String> + 't;

enum DataLine {
    Item,
    End,
}

impl<R: BufRead> Reader<R> {
    /// A reader of the dump format. `name` is what errors call the text.
    pub fn new(input: R, name: impl Into<String>) -> Reader<R> {
        Reader {
            input,
            name: name.into(),
            line: 0,
            state: State::Between,
            plain: false,
            sections: 0,
            format: Format::Bytevalue,
            overrides: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// A reader of plain text (`db_load -T`): lines are keys and values in turn, with backslash
    /// escapes, without header or end mark. An override must name the type.
    pub fn plain(input: R, name: impl Into<String>) -> Reader<R> {
        Reader { plain: true, ..Reader::new(input, name) }
    }

    /// Header keywords that win over those in the text.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Vec<Override>) -> Reader<R> {
        self.overrides = overrides;
        self
    }

    /// What errors call the text.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the line read last, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next section's header, or `None` at the end of a complete text. Pairs of the section
    /// before that were not asked for are read and checked.
    pub fn next_section(&mut self) -> Result<Option<Header>> {
        while self.state == State::Inside {
            self.next_pair()?;
        }
        self.guarded(|reader| match reader.state {
            State::PlainOver => Ok(None),
            _ if reader.plain => reader.plain_section(),
            _ => reader.read_header(),
        })
    }

    /// The next pair of the current section, or `None` at its end.
    #[allow(clippy::type_complexity)]
    pub fn next_pair(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.state != State::Inside && self.state != State::Failed {
            return Ok(None);
        }
        let more = self.guarded(|reader| reader.read_pair())?;
        Ok(more.then_some((self.key.as_slice(), self.value.as_slice())))
    }

    /// As [`next_pair`](Reader::next_pair), given away.
    pub(crate) fn take_pair(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let more = self.next_pair()?.is_some();
        Ok(more.then(|| (std::mem::take(&mut self.key), std::mem::take(&mut self.value))))
    }

    /// Runs `step`; an error makes the reader fail for good.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.state == State::Failed {
            return Err(self.error("reading stopped at an earlier error"));
        }
        let result = step(self);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::input(&self.name, self.line, what)
    }

    fn plain_section(&mut self) -> Result<Option<Header>> {
        let mut draft = Draft::new();
        draft.override_with(&self.overrides)?;
        let header = draft.finish_plain(&self.name, 1)?;
        self.state = State::Inside;
        self.sections = 1;
        Ok(Some(header))
    }

    fn read_header(&mut self) -> Result<Option<Header>> {
        let mut draft = Draft::new();
        let mut text = String::new();
        let mut first = true;
        loop {
            if !self.read_header_line(&mut text)? {
                if first && self.sections > 0 {
                    return Ok(None);
                }
                let what = if first {
                    "the text is empty: a header line NAME=VALUE was expected"
                } else {
                    "the text ends inside a header: HEADER=END is missing"
                };
                return Err(self.error(what));
            }
            first = false;
            if text == "HEADER=END" {
                break;
            }
            draft.line(&self.name, self.line, &text)?;
        }
        draft.override_with(&self.overrides)?;
        let header = draft.finish(&self.name, self.line)?;
        self.format = header.format;
        self.state = State::Inside;
        self.sections += 1;
        Ok(Some(header))
    }

    /// One header line without its end; false at the end of the text.
    fn read_header_line(&mut self, text: &mut String) -> Result<bool> {
        let mut line = Vec::new();
        let found = self.read_line(&mut |chunk, _| {
            if line.len() + chunk.len() > HEADER_LINE_BYTES_MAX {
                return Err("this is not a header line: it is longer than 1 MiB".into());
            }
            line.extend_from_slice(chunk);
            Ok(())
        })?;
        if !found {
            return Ok(false);
        }
        text.clear();
        match std::str::from_utf8(&line) {
            Ok(utf8) => text.push_str(utf8),
            Err(_) => return Err(self.error("this header line is not UTF-8")),
        }
        if text.is_empty() {
            return Err(self.error("empty line where a header line NAME=VALUE was expected"));
        }
        if text.ends_with('\r') {
            return Err(self.error("the line ends in CR LF: convert the text to plain line ends"));
        }
        if text.starts_with(' ') {
            return Err(self.error("data line outside of a section (a DATA=END too early?)"));
        }
        Ok(true)
    }

    /// Reads a key and its value; false at the end of the section.
    fn read_pair(&mut self) -> Result<bool> {
        if let DataLine::End = self.read_item(true)? {
            self.state = if self.plain { State::PlainOver } else { State::Between };
            return Ok(false);
        }
        match self.read_item(false)? {
            DataLine::Item => Ok(true),
            DataLine::End => Err(self.error("the last key has no value: half a pair")),
        }
    }

    fn read_item(&mut self, is_key: bool) -> Result<DataLine> {
        let mut item = std::mem::take(if is_key { &mut self.key } else { &mut self.value });
        item.clear();
        let result = self.read_item_into(&mut item);
        *(if is_key { &mut self.key } else { &mut self.value }) = item;
        result
    }

    fn read_item_into(&mut self, item: &mut Vec<u8>) -> Result<DataLine> {
        let mut decoder = Decoder::new(match self.format {
            _ if self.plain => Spelling::Plain,
            Format::Bytevalue => Spelling::Hex,
            Format::Print => Spelling::Print,
        });
        // The beginning of a line that is not data, kept to compare with the end mark.
        let mut mark = Vec::new();
        let mut is_data = self.plain;
        let found = self.read_line(&mut |mut chunk, at| {
            if at == 0 && !is_data && chunk.first() == Some(&b' ') {
                is_data = true;
                chunk = chunk.get(1..).unwrap_or_default();
            }
            if !is_data {
                mark.extend(chunk.iter().take(64usize.saturating_sub(mark.len())));
                return Ok(());
            }
            decoder.feed(chunk, item)?;
            if item.len() > ITEM_BYTES_MAX {
                return Err("an item is longer than 4 GiB".into());
            }
            Ok(())
        })?;
        match (found, is_data) {
            (false, _) if self.plain => Ok(DataLine::End),
            (false, _) => Err(self.error("the text ends without DATA=END: it is not complete")),
            (true, true) => {
                decoder.finish().map_err(|what| self.error(what))?;
                Ok(DataLine::Item)
            }
            (true, false) if mark == b"DATA=END" => Ok(DataLine::End),
            (true, false) if mark.ends_with(b"\r") => {
                Err(self.error("the line ends in CR LF: convert the text to plain line ends"))
            }
            (true, false) => {
                Err(self.error("a data line begins with one space; DATA=END ends the data"))
            }
        }
    }

    /// Feeds one line to `take`, chunk by chunk with the offset of each in the line; false at the
    /// end of the text. The line end is not fed. An empty line is fed as one empty chunk.
    fn read_line(&mut self, take: &mut TakeChunk<'_>) -> Result<bool> {
        let mut at = 0;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(explain(&format!("reading {}", self.name), error)),
            };
            if at == 0 {
                if chunk.is_empty() {
                    return Ok(false);
                }
                self.line += 1;
            }
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let (line, used) = match end {
                Some(end) => (chunk.get(..end).unwrap_or_default(), end + 1),
                None => (chunk, chunk.len()),
            };
            let taken = take(line, at);
            at += line.len();
            self.input.consume(used);
            taken.map_err(|what| self.error(what))?;
            if end.is_some() || used == 0 {
                return Ok(true);
            }
        }
    }
}
