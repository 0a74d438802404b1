//! Golden files: the bytes that this version of the format is, once and for all.
//!
//! `CAMPANILE_BLESS=1 cargo test -p campanile-format --test log` writes them anew. A golden file
//! that changes is a new format version.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use campanile_format::catalog_row::CatalogRow;
use campanile_format::control::Control;
use campanile_format::double_write::BatchHeader;
use campanile_format::frame;
use campanile_format::log_file::LogFileHeader;
use campanile_format::record::Record;

use crate::samples;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/log")
}

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

/// What the golden file holds; with `CAMPANILE_BLESS` set, after writing `bytes` to it.
pub fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = folder().join(format!("{name}.hex"));
    if env::var_os("CAMPANILE_BLESS").is_some() {
        fs::create_dir_all(folder()).unwrap();
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

#[test]
fn records_are_the_golden_bytes() {
    for (name, record) in samples::records() {
        let bytes = samples::framed(&record);
        let expected = golden(&format!("record-{name}"), &bytes);
        assert_eq!(bytes, expected, "{name}");
        let frame = frame::parse(&expected, samples::AT, &samples::identity()).unwrap();
        assert_eq!(Record::from_frame(&frame).unwrap(), record, "{name}");
    }
}

#[test]
fn headers_are_the_golden_bytes() {
    let log = samples::log_file_header();
    let expected = golden("header-log-file", &log.encode());
    assert_eq!((log.encode(), LogFileHeader::decode(&expected)), (expected.clone(), Ok(log)));
    let control = samples::control();
    let expected = golden("header-control", &control.encode());
    assert_eq!((control.encode(), Control::decode(&expected)), (expected.clone(), Ok(control)));
    let batch = samples::batch();
    let expected = golden("header-double-write", &batch.encode());
    assert_eq!(batch.encode(), expected);
    assert_eq!(BatchHeader::decode(&expected), Ok(batch));
    let row = samples::catalog_row();
    let expected = golden("catalog-row", &row.encode());
    assert_eq!((row.encode(), CatalogRow::decode(&expected)), (expected.clone(), Ok(row)));
}

#[test]
fn there_is_no_golden_file_without_a_test() {
    let mut known: Vec<String> =
        samples::records().iter().map(|(name, _)| format!("record-{name}.hex")).collect();
    let headers = ["header-log-file", "header-control", "header-double-write", "catalog-row"];
    known.extend(headers.map(|name| format!("{name}.hex")));
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "{name}");
    }
}
