//! What a database holds, in 32 bytes: the proof that a copy is complete.
//!
//! Owns the definition of a content fingerprint: SHA-256 over, for each pair in order of keys, the
//! length of the key, the key, the length of the value and the value, lengths as 8 bytes little
//! endian. Promises that two databases have the same fingerprint if and only if they hold the same
//! pairs (but for a collision of SHA-256), whatever their pages, files or names. Must never change:
//! exports carry it.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::database::Database;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::pairs::{self, Sink};
use crate::progress::Progress;
use crate::view::Reads;

/// SHA-256 over the pairs of a database, see [`Environment::fingerprint`]. Shown, parsed and
/// serialized as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = Error;

    fn try_from(text: String) -> Result<Fingerprint> {
        text.parse()
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Fingerprint> {
        let wrong = || {
            let what = format!("{text:?} is no fingerprint: 64 digits of 0-9 and a-f are");
            Error::new(ErrorKind::InvalidArgument, what)
        };
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(index * 2..index * 2 + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Fingerprint(bytes))
    }
}

/// How much a database holds, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Content {
    /// Key/value pairs.
    pub pairs: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// SHA-256 over them.
    pub fingerprint: Fingerprint,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pairs, {} bytes, sha256 {}", self.pairs, self.bytes, self.fingerprint)
    }
}

/// The content of a database, with its name and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DatabaseFingerprint {
    /// Its name.
    pub name: String,
    /// Whether its content survives a crash.
    pub durable: bool,
    /// What it holds.
    #[serde(flatten)]
    pub content: Content,
}

impl Environment {
    /// Reads the database called `name`, as `reader` sees it, and fingerprints its content.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let env = campanile::Environment::open(dir.path())?;
    /// use campanile::Progress;
    ///
    /// for name in ["one", "two"] {
    ///     let database = env.create_database(name)?;
    ///     env.run(|txn| database.put(txn, "alice", "100"))?;
    /// }
    /// let snapshot = env.snapshot()?;
    /// let one = env.fingerprint(&snapshot, "one", &Progress::none())?;
    /// let two = env.fingerprint(&snapshot, "two", &Progress::none())?;
    /// assert_eq!(one.content, two.content);
    /// assert_eq!((one.content.pairs, one.content.bytes), (1, 8));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fingerprint(
        &self,
        reader: &impl Reads,
        name: &str,
        progress: &Progress,
    ) -> Result<DatabaseFingerprint> {
        let database = self.open_database_at(reader, name)?;
        let content = content(&database, reader, &format!("fingerprint {name}"), progress)?;
        Ok(DatabaseFingerprint { name: name.to_owned(), durable: database.is_durable(), content })
    }

    /// Fingerprints all databases, in the order of their names.
    pub fn fingerprints(
        &self,
        reader: &impl Reads,
        progress: &Progress,
    ) -> Result<Vec<DatabaseFingerprint>> {
        let names = self.databases(reader)?;
        names.iter().map(|name| self.fingerprint(reader, name, progress)).collect()
    }
}

/// Reads all of a database.
pub(crate) fn content(
    database: &Database,
    reader: &impl Reads,
    phase: &str,
    progress: &Progress,
) -> Result<Content> {
    let mut sums = Fingerprinter::default();
    pairs::walk(database, reader, &mut sums, phase, progress)?;
    Ok(sums.finish())
}

/// A fingerprint in the making. Pairs must come in the order of their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fingerprinter {
    sha: Sha256,
    pairs: u64,
    bytes: u64,
}

impl Fingerprinter {
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.begin(key, value.len() as u64);
        self.sha.update(value);
    }

    /// A pair begins whose value, of `len` bytes, comes in parts.
    pub fn begin(&mut self, key: &[u8], len: u64) {
        self.sha.update((key.len() as u64).to_le_bytes());
        self.sha.update(key);
        self.sha.update(len.to_le_bytes());
        self.pairs += 1;
        self.bytes += key.len() as u64 + len;
    }

    /// A part of the value of the pair that was begun.
    pub fn part(&mut self, part: &[u8]) {
        self.sha.update(part);
    }

    pub fn finish(self) -> Content {
        let fingerprint = Fingerprint(self.sha.finalize().into());
        Content { pairs: self.pairs, bytes: self.bytes, fingerprint }
    }
}

impl Sink for Fingerprinter {
    fn pair(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.add(key, value);
        Ok(())
    }

    fn long_pair(&mut self, key: &[u8], len: u64, value: &mut dyn Read) -> Result<()> {
        self.begin(key, len);
        let failed = |error| pairs::explain("reading a long value", error);
        io::copy(&mut Tap { inner: value, sums: self }, &mut io::sink()).map_err(failed)?;
        Ok(())
    }
}

/// Reads a value, and fingerprints what goes by.
pub(crate) struct Tap<'t> {
    pub inner: &'t mut dyn Read,
    pub sums: &'t mut Fingerprinter,
}

impl Read for Tap<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.sums.part(buf.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&[u8], &[u8])]) -> Fingerprint {
        let mut sums = Fingerprinter::default();
        pairs.iter().for_each(|(key, value)| sums.add(key, value));
        sums.finish().fingerprint
    }

    #[test]
    fn the_definition_does_not_change() {
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(of(&[]).to_string(), nothing);
        // printf '\5\0\0\0\0\0\0\0alice\3\0\0\0\0\0\0\000100' | sha256sum
        let one = "f2c87a743eda2c59c359d0a7fab8dcfdf532a370a5c7fbdbf1542f284d1070c1";
        assert_eq!(of(&[(b"alice", b"100")]).to_string(), one);
    }

    #[test]
    fn where_one_item_ends_and_the_next_begins_counts() {
        let all = [
            of(&[(b"ab", b"c")]),
            of(&[(b"a", b"bc")]),
            of(&[(b"a", b"b"), (b"c", b"")]),
            of(&[(b"", b"abc")]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }

    #[test]
    fn a_fingerprint_is_read_as_it_is_written_and_only_so() {
        let one = of(&[(b"k", b"v")]);
        assert_eq!(one.to_string().parse::<Fingerprint>().unwrap(), one);
        let text = one.to_string();
        for wrong in [text.to_uppercase(), text[1..].to_owned(), format!("{}g", &text[1..])] {
            assert!(wrong.parse::<Fingerprint>().is_err() || wrong == text, "{wrong}");
        }
    }
}
