//! Golden files: the bytes that this version of the format is, once and for all.
//!
//! `CAMPANILE_BLESS=1 cargo test -p campanile-format --test log` writes them anew. A golden file
//! that changes is a new format version.

use std::fs;
use std::path::PathBuf;

use campanile_format::catalog_row::CatalogRow;
use campanile_format::control::Control;
use campanile_format::data_dirs::{DataDirList, DataDirMark};
use campanile_format::double_write::BatchHeader;
use campanile_format::frame;
use campanile_format::log_file::LogFileHeader;
use campanile_format::record::Record;

use crate::{hexdump, samples};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/log")
}

/// What the golden file holds; see [`hexdump::golden`].
pub fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    hexdump::golden("log", name, bytes)
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
    let list = samples::data_dirs();
    let expected = golden("data-dirs", &list.encode());
    assert_eq!((list.encode(), DataDirList::decode(&expected)), (expected.clone(), Ok(list)));
    let mark = samples::data_dir_mark();
    let expected = golden("data-dir-mark", &mark.encode());
    assert_eq!((mark.encode(), DataDirMark::decode(&expected)), (expected.clone(), Ok(mark)));
    let row = samples::catalog_row();
    let expected = golden("catalog-row", &row.encode());
    assert_eq!((row.encode(), CatalogRow::decode(&expected)), (expected.clone(), Ok(row)));
}

#[test]
fn there_is_no_golden_file_without_a_test() {
    let mut known: Vec<String> =
        samples::records().iter().map(|(name, _)| format!("record-{name}.hex")).collect();
    let headers = [
        "header-log-file",
        "header-control",
        "header-double-write",
        "catalog-row",
        "data-dirs",
        "data-dir-mark",
    ];
    known.extend(headers.map(|name| format!("{name}.hex")));
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "{name}");
    }
}
