//! FORMAT.md says what the code does: its tables are read here and held against real bytes.

use campanile_format::record::kind;
use campanile_format::{codec::Reader, frame, header, log_file};

use crate::hexdump;
use crate::samples::{self, AT, BACK};

const DOCUMENT: &str = include_str!("../../FORMAT.md");

/// The rows of the table behind `<!-- table: NAME -->`, cell by cell.
fn table(name: &str) -> Vec<Vec<&'static str>> {
    let marker = format!("<!-- table: {name} -->");
    let (_, rest) = DOCUMENT.split_once(&marker).unwrap_or_else(|| panic!("no table {name}"));
    let rows = rest.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Offset, bytes and field of each row; offsets must follow each other without a gap.
fn layout(name: &str) -> Vec<(usize, usize, &'static str)> {
    let mut end = 0;
    let mut fields = Vec::new();
    for row in table(name) {
        let (offset, bytes): (usize, usize) = (row[0].parse().unwrap(), row[1].parse().unwrap());
        assert_eq!(offset, end, "table {name}, {}", row[2]);
        end = offset + bytes;
        fields.push((offset, bytes, row[2]));
    }
    fields
}

/// The number in the field whose name begins with `field`.
fn number(bytes: &[u8], layout: &[(usize, usize, &str)], field: &str) -> u64 {
    let (offset, len, _) = *layout.iter().find(|(_, _, name)| name.starts_with(field)).unwrap();
    let mut reader = Reader::new(&bytes[offset..offset + len]);
    match len {
        1 => reader.u8("").unwrap().into(),
        2 => reader.u16("").unwrap().into(),
        4 => reader.u32("").unwrap().into(),
        _ => reader.u64("").unwrap(),
    }
}

#[track_caller]
fn assert_fields(table: &str, bytes: &[u8], expected: &[(&str, u64)]) {
    let layout = layout(table);
    for (field, value) in expected {
        assert_eq!(number(bytes, &layout, field), *value, "table {table}, field {field}");
    }
}

#[test]
fn the_prefix_is_as_drawn() {
    let last = *layout("prefix").last().unwrap();
    assert_eq!(last.0 + last.1, header::PREFIX_BYTES);
    let bytes = samples::control().encode();
    assert_fields("prefix", &bytes, &[("version", 1), ("features that a reader must", 0)]);
    let crc = u64::from(crc32(&bytes[12..]));
    assert_fields("prefix", &bytes, &[("CRC-32", crc)]);
}

#[test]
fn magics_are_the_ones_written_down() {
    for (table, bytes) in [
        ("log-file", samples::log_file_header().encode()),
        ("control", samples::control().encode()),
        ("double-write", samples::batch().encode()),
        ("increment", samples::increment().encode()),
        ("data-dirs", samples::data_dirs().encode()),
        ("data-dir-mark", samples::data_dir_mark().encode()),
    ] {
        let magic = format!("`{}`", std::str::from_utf8(&bytes[..8]).unwrap());
        assert!(layout(table)[0].2.contains(&magic), "{table}: {magic}");
    }
}

#[test]
fn the_log_file_header_is_as_drawn() {
    let header = samples::log_file_header();
    let fields = [
        ("timeline", u64::from(header.timeline.0)),
        ("file number", header.file.into()),
        ("file length", header.file_bytes.into()),
        ("predecessor timeline", header.predecessor_timeline.0.into()),
        ("predecessor end", header.predecessor_end.0),
        ("creation time", header.created_us),
        ("block size", header.block_bytes.into()),
    ];
    assert_fields("log-file", &header.encode(), &fields);
    let last = *layout("log-file").last().unwrap();
    assert_eq!(last.0 + last.1, log_file::LOG_HEADER_BYTES);
}

#[test]
fn the_control_slot_is_as_drawn() {
    let control = samples::control();
    let fields: [(&str, u64); 11] = [
        ("timeline", control.timeline.0.into()),
        ("page size", control.page_bytes.into()),
        ("log file length", control.log_file_bytes.into()),
        ("clean:", 1),
        ("generation", control.generation),
        ("checkpoint LSN", control.checkpoint.0),
        ("redo LSN", control.redo.0),
        ("durable LSN", control.durable.0),
        ("clean end LSN", control.clean_end.unwrap().0),
        ("next transaction", control.next_txn.0),
        ("next file", control.next_file.0.into()),
    ];
    assert_fields("control", &control.encode(), &fields);
    let last = *layout("control").last().unwrap();
    assert_eq!(last.0 + last.1, 512);
}

#[test]
fn the_header_of_an_increment_is_as_drawn() {
    let header = samples::increment();
    let fields = [
        ("file", u64::from(header.file.0)),
        ("page size", header.page_bytes.into()),
        ("since", header.since.0),
        ("pages that", header.pages.into()),
    ];
    let bytes = header.encode();
    assert_fields("increment", &bytes, &fields);
    let last = *layout("increment").last().unwrap();
    assert_eq!(last.0 + last.1, bytes.len());
}

#[test]
fn the_double_write_header_is_as_drawn() {
    let batch = samples::batch();
    let bytes = batch.encode();
    let fields = [
        ("batch number", batch.batch),
        ("page size", batch.page_bytes.into()),
        ("number of entries", batch.entries.len() as u64),
        ("header length", bytes.len() as u64),
    ];
    assert_fields("double-write", &bytes, &fields);
    let (first_entry, _, _) = *layout("double-write").last().unwrap();
    let mut reader = Reader::new(&bytes[first_entry..]);
    assert_eq!(reader.u32("file"), Ok(batch.entries[0].page.file.0));
    assert_eq!(reader.u32("page"), Ok(batch.entries[0].page.page.0));
    assert_eq!(reader.u32("crc"), Ok(batch.entries[0].crc));
}

#[test]
fn the_list_of_data_directories_and_their_marks_are_as_drawn() {
    let list = samples::data_dirs();
    let fields = [("number of directories", 2), ("first entry: number", 1)];
    assert_fields("data-dirs", &list.encode(), &fields);
    let (path_at, _, _) = *layout("data-dirs").last().unwrap();
    let bytes = list.encode();
    assert_eq!(Reader::new(&bytes[path_at..]).counted_bytes("path"), Ok(&b"fast"[..]));
    let bytes = samples::data_dir_mark().encode();
    assert_fields("data-dir-mark", &bytes, &[("directory number", 2), ("reserved", 0)]);
    let (home_at, _, _) = *layout("data-dir-mark").last().unwrap();
    assert_eq!(Reader::new(&bytes[home_at..]).counted_bytes("home"), Ok(&b"/srv/shop"[..]));
}

#[test]
fn the_catalog_row_is_as_drawn() {
    let row = samples::catalog_row();
    let fields = [
        ("row version", 1),
        ("access method", 1),
        ("flags that a reader must know", 1),
        ("file id", u64::from(row.file.0)),
        ("creation time", row.created_us),
        ("name of the key order", 0),
    ];
    assert_fields("catalog-row", &row.encode(), &fields);
}

#[test]
fn the_frame_is_as_drawn() {
    let last = *layout("frame").last().unwrap();
    assert_eq!(last.0 + last.1, frame::FRAME_BYTES);
    for (name, record) in samples::records() {
        let bytes = samples::framed(&record);
        let whole = frame::split(&bytes).unwrap();
        let fields = [
            ("length", (frame::FRAME_BYTES + whole.payload.len()) as u64),
            ("distance back", BACK.into()),
            ("kind", record.body.kind().into()),
            ("access method", whole.header.access_method.into()),
            ("flags", whole.header.flags.into()),
            ("transaction", record.txn.0),
            ("the transaction's record", record.prev.0),
            ("checksum", written_checksum(&bytes).into()),
        ];
        assert_fields("frame", &bytes, &fields);
        assert!(!name.is_empty());
    }
}

/// The checksum as section 2.2 puts it, in other words than the code.
fn written_checksum(frame: &[u8]) -> u32 {
    fn scramble(mut v: u32) -> u32 {
        v ^= v >> 16;
        v = v.wrapping_mul(0x7feb_352d);
        v ^= v >> 15;
        v = v.wrapping_mul(0x846c_a68b);
        v ^= v >> 16;
        v
    }
    let mut covered = frame[0..4].to_vec();
    covered.extend_from_slice(&frame[12..]);
    let environment = crc32(&samples::ENVIRONMENT.0);
    let seed = scramble(environment.wrapping_add(samples::TIMELINE.0.wrapping_mul(0x9e37_79b1)));
    let place = scramble(AT.offset() ^ seed);
    let mix = scramble(place.wrapping_add(AT.file().wrapping_mul(0x85eb_ca6b)))
        ^ scramble(BACK ^ 0xa5a5_5a5a);
    crc32(&covered) ^ mix
}

/// CRC-32, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[test]
fn every_kind_has_its_row() {
    let rows = table("kinds");
    assert_eq!(rows.len(), kind::ALL.len());
    for (_, record) in samples::records() {
        let number = record.body.kind();
        if kind::ALL.contains(&number) {
            let row = [number.to_string(), record.body.name().to_string()];
            assert!(rows.iter().any(|cells| cells[..2] == row), "kind {number}");
        }
    }
}

#[test]
fn every_undo_has_its_row() {
    let rows = table("undo");
    let numbers: Vec<&str> = rows.iter().map(|cells| cells[0]).collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn the_worked_example_is_the_golden_file() {
    let records = samples::records();
    let (name, record) = &records[0];
    assert_eq!(*name, "update-insert");
    let hex = hexdump::hex(&samples::framed(record));
    assert!(DOCUMENT.contains(&hex), "{hex}");
}
