//! One item, a key or a value, in hexadecimal or with escapes: both directions.
//!
//! Owns the spelling of bytes. Promises that decoding accepts exactly what encoding produces, and
//! besides it only what is unambiguous (raw bytes above 0x7f in the printable form). Decoding works
//! on chunks of a line, so that a long value is held once.

use super::Format;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends the text of one item, without the space in front and the line end.
pub(super) fn encode(format: Format, bytes: &[u8], out: &mut Vec<u8>) {
    match format {
        Format::Bytevalue => {
            out.reserve(bytes.len() * 2);
            for &byte in bytes {
                out.extend_from_slice(&digits(byte));
            }
        }
        Format::Print => {
            out.reserve(bytes.len());
            for &byte in bytes {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b' '..=b'~' => out.push(byte),
                    _ => {
                        out.push(b'\\');
                        out.extend_from_slice(&digits(byte));
                    }
                }
            }
        }
    }
}

fn digits(byte: u8) -> [u8; 2] {
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Any bytes as one line of printable ASCII, as database names and printed dumps spell them.
///
/// ```
/// assert_eq!(campanile::text::escape("caf\u{e9}\\".as_bytes()), "caf\\c3\\a9\\\\");
/// ```
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    encode(Format::Print, bytes, &mut out);
    out.into_iter().map(char::from).collect()
}

/// Which spelling a line is decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Pairs of lower-case hexadecimal digits.
    Hex,
    /// Escapes; control bytes must be escaped.
    Print,
    /// Escapes; tabs and other control bytes may stand for themselves, a carriage return not.
    Plain,
}

#[derive(Clone, Copy, Debug)]
enum Pending {
    Nothing,
    Backslash,
    /// The first digit of a pair, and whether a backslash came before it.
    Digit(u8),
}

/// Decodes one item from successive chunks of its line.
#[derive(Debug)]
pub(super) struct Decoder {
    spelling: Spelling,
    pending: Pending,
}

impl Decoder {
    pub(super) fn new(spelling: Spelling) -> Decoder {
        Decoder { spelling, pending: Pending::Nothing }
    }

    /// Appends the bytes that `chunk` spells, or says what is wrong with it.
    pub(super) fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self.spelling {
            Spelling::Hex => self.feed_hex(chunk, out),
            Spelling::Print | Spelling::Plain => self.feed_escaped(chunk, out),
        }
    }

    fn feed_hex(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        for &byte in chunk {
            let digit = hex_digit(byte)?;
            match self.pending {
                Pending::Digit(high) => {
                    out.push(high << 4 | digit);
                    self.pending = Pending::Nothing;
                }
                _ => self.pending = Pending::Digit(digit),
            }
        }
        Ok(())
    }

    fn feed_escaped(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        for &byte in chunk {
            match (self.pending, byte) {
                (Pending::Nothing, b'\\') => self.pending = Pending::Backslash,
                (Pending::Nothing, b'\r') => return Err(CARRIAGE_RETURN.into()),
                (Pending::Nothing, 0..=31 | 127) if self.spelling == Spelling::Print => {
                    return Err(format!("control byte 0x{byte:02x} must be written \\{byte:02x}"));
                }
                (Pending::Nothing, _) => out.push(byte),
                (Pending::Backslash, b'\\') => {
                    out.push(b'\\');
                    self.pending = Pending::Nothing;
                }
                (Pending::Backslash, _) => self.pending = Pending::Digit(hex_digit(byte)?),
                (Pending::Digit(high), _) => {
                    out.push(high << 4 | hex_digit(byte)?);
                    self.pending = Pending::Nothing;
                }
            }
        }
        Ok(())
    }

    /// The line has ended: nothing may be left half said.
    pub(super) fn finish(&self) -> Result<(), String> {
        match (self.pending, self.spelling) {
            (Pending::Nothing, _) => Ok(()),
            (_, Spelling::Hex) => Err("odd number of hexadecimal digits".into()),
            _ => Err("the line ends inside a backslash escape".into()),
        }
    }
}

const CARRIAGE_RETURN: &str =
    "carriage return: convert the text to plain line ends, or write \\0d if it is data";

fn hex_digit(byte: u8) -> Result<u8, String> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Err(format!(
            "upper-case hexadecimal digit {}; only 0-9 and a-f are digits here",
            char::from(byte)
        )),
        b'\r' => Err(CARRIAGE_RETURN.into()),
        b' '..=b'~' => Err(format!("{:?} is not a hexadecimal digit", char::from(byte))),
        _ => Err(format!("byte 0x{byte:02x} is not a hexadecimal digit")),
    }
}
