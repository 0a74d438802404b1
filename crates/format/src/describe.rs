//! Records, operations and pages for people: one line of text, or named fields.
//!
//! Owns: [`Fields`], the form from which text and JSON are printed alike, and the spelling of
//! every value. Promises: every record that decodes can be described, on one line, whatever bytes
//! its keys hold. Must never: be needed to replay a record.

use std::fmt;

use crate::ids::Lsn;

mod op;
mod page;
mod record;

pub use op::op;
pub use page::{entry, page};
pub use record::{line, record};

/// Bytes of a key or value that a line of text shows; JSON gets all of them.
const SHOWN_BYTES: usize = 48;

/// What a described thing says: names and values, in a fixed order.
pub type Fields = Vec<(&'static str, Shown)>;

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// A position in the log.
    Lsn(Lsn),
    /// A word of ours.
    Word(&'static str),
    /// Text, from us or from a user.
    Text(String),
    /// Bytes of a user: a key, a value.
    Bytes(Vec<u8>),
    /// A thing with fields of its own.
    Nested(Fields),
    /// Things with fields of their own.
    List(Vec<Fields>),
}

/// Prints fields as `name=value name=value`; the first field's value stands alone when it is a
/// word, so that a line begins with what it is about.
#[derive(Debug, Clone, Copy)]
pub struct Line<'f>(pub &'f [(&'static str, Shown)]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            match (at, value) {
                (0, Shown::Word(word)) => f.write_str(word)?,
                (0, value) => write!(f, "{name}={value}")?,
                (_, value) => write!(f, " {name}={value}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::Number(number) => number.fmt(f),
            Shown::Flag(flag) => f.write_str(if *flag { "yes" } else { "no" }),
            Shown::Lsn(lsn) => lsn.fmt(f),
            Shown::Word(word) => f.write_str(word),
            Shown::Text(text) => write!(f, "{text:?}"),
            Shown::Bytes(bytes) => write_bytes(bytes, f),
            Shown::Nested(fields) => write!(f, "{{{}}}", Line(fields)),
            Shown::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Line(item))?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Printable bytes as they are, the others as `\xx`, as dumps do; long values are cut short.
fn write_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for byte in bytes.iter().take(SHOWN_BYTES) {
        match byte {
            b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
            b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
            _ => write!(f, "\\{byte:02x}")?,
        }
    }
    f.write_str("\"")?;
    if bytes.len() > SHOWN_BYTES { write!(f, "...({} bytes)", bytes.len()) } else { Ok(()) }
}
