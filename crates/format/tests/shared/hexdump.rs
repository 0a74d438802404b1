//! Golden files as text: bytes in hexadecimal, so that a change of one shows in a diff.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

/// Sixteen bytes a line; a line that repeats the one before is left out, as in `hexdump`.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut before: &[u8] = &[];
    for (at, line) in bytes.chunks(16).enumerate() {
        if line != before || (at + 1) * 16 >= bytes.len() {
            write!(text, "{:04x} ", at * 16).unwrap();
            line.iter().for_each(|byte| write!(text, " {byte:02x}").unwrap());
            text.push('\n');
        } else if !text.ends_with("*\n") {
            text.push_str("*\n");
        }
        before = line;
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for line in text.lines().filter(|line| *line != "*") {
        let (offset, line) = line.split_once("  ").unwrap();
        let offset = usize::from_str_radix(offset, 16).unwrap();
        while bytes.len() < offset {
            bytes.extend_from_within(bytes.len() - 16..);
        }
        bytes.extend(line.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}

/// What `golden/<folder>/<name>.hex` holds; with `CAMPANILE_BLESS` set, after writing `bytes` to
/// it.
pub fn golden(folder: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(folder);
    let path = folder.join(format!("{name}.hex"));
    if env::var_os("CAMPANILE_BLESS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&path, hex(bytes)).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    unhex(&text)
}

#[test]
fn hex_reads_back() {
    let mut bytes = vec![7; 100];
    bytes.extend_from_slice(b"some more");
    for len in 0..bytes.len() {
        assert_eq!(unhex(&hex(&bytes[..len])), &bytes[..len], "{len}");
    }
}
