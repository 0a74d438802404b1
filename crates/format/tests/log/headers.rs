//! Headers of files: round trips, damage, and files of other builds.

use campanile_format::catalog_row::CatalogRow;
use campanile_format::control::{self, Control};
use campanile_format::data_dirs::{DataDirList, DataDirMark};
use campanile_format::double_write::BatchHeader;
use campanile_format::header::reseal;
use campanile_format::log_file::LogFileHeader;
use campanile_format::{FormatError, Lsn};
use proptest::prelude::*;

use crate::samples;

/// Every header of a file: its name, its bytes, and whether they decode.
type Sample = (&'static str, Vec<u8>, fn(&[u8]) -> Result<(), FormatError>);

fn headers() -> [Sample; 5] {
    [
        ("log file", samples::log_file_header().encode(), |b| LogFileHeader::decode(b).map(drop)),
        ("control", samples::control().encode(), |b| Control::decode(b).map(drop)),
        ("double-write", samples::batch().encode(), |b| BatchHeader::decode(b).map(drop)),
        ("data_dirs", samples::data_dirs().encode(), |b| DataDirList::decode(b).map(drop)),
        ("mark", samples::data_dir_mark().encode(), |b| DataDirMark::decode(b).map(drop)),
    ]
}

#[test]
fn headers_round_trip() {
    let log = samples::log_file_header();
    assert_eq!(LogFileHeader::decode(&log.encode()).unwrap(), log);
    let control = samples::control();
    assert_eq!(Control::decode(&control.encode()).unwrap(), control);
    let running = Control { clean_end: None, ..control };
    assert_eq!(Control::decode(&running.encode()).unwrap(), running);
    let batch = samples::batch();
    let mut bytes = batch.encode();
    assert_eq!(bytes.len(), BatchHeader::encoded_bytes(2, 512));
    assert_eq!(BatchHeader::decode(&bytes).unwrap(), batch);
    bytes.extend_from_slice(&[0x55; 1024]);
    assert_eq!(BatchHeader::decode(&bytes).unwrap(), batch, "copies follow");
    let row = samples::catalog_row();
    assert_eq!(CatalogRow::decode(&row.encode()).unwrap(), row);
}

#[test]
fn headers_fit_one_sector() {
    assert_eq!(samples::log_file_header().encode().len(), 512);
    assert_eq!(samples::control().encode().len(), 512);
}

#[test]
fn any_single_bit_flip_of_a_header_is_damage() {
    for (name, mut bytes, decode) in headers() {
        decode(&bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = decode(&bytes).expect_err(name);
            assert!(error.is_corruption(), "{name}, bit {bit}: {error}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn any_truncation_of_a_header_is_damage() {
    for (name, bytes, decode) in headers() {
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{name} of {len} bytes");
        }
    }
}

#[test]
fn a_newer_version_is_refused_as_such() {
    for (name, mut bytes, decode) in headers() {
        bytes[12] += 1;
        reseal(&mut bytes);
        let error = decode(&bytes).expect_err(name);
        let newer = FormatError::UnsupportedVersion { what: "", found: 2, supported: 1 };
        assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&newer), "{name}");
        assert!(error.to_string().contains("version 2"), "{error}");
    }
}

#[test]
fn unknown_required_features_are_refused_and_ignorable_ones_pass() {
    for (name, mut bytes, decode) in headers() {
        bytes[20] = 0x80;
        reseal(&mut bytes);
        assert_eq!(decode(&bytes), Ok(()), "{name}");
        bytes[16] = 1;
        reseal(&mut bytes);
        let error = decode(&bytes).expect_err(name);
        assert!(error.to_string().contains("encryption"), "{error}");
    }
}

#[test]
fn the_file_of_another_kind_is_not_taken() {
    let log = samples::log_file_header().encode();
    assert!(Control::decode(&log).unwrap_err().is_corruption());
}

#[test]
fn a_log_file_does_not_follow_itself() {
    let mut header = samples::log_file_header();
    header.predecessor_end = Lsn::new(header.file, 512);
    assert!(LogFileHeader::decode(&header.encode()).is_err());
    header.predecessor_end = Lsn::NONE;
    assert!(LogFileHeader::decode(&header.encode()).is_ok());
}

fn slot(generation: u64) -> Vec<u8> {
    Control { generation, ..samples::control() }.encode()
}

#[test]
fn the_larger_generation_of_two_whole_slots_counts() {
    let chosen = control::choose(&slot(5), &slot(6)).unwrap();
    assert_eq!((chosen.slot, chosen.control.generation, chosen.other), (1, 6, None));
    let chosen = control::choose(&slot(7), &slot(6)).unwrap();
    assert_eq!((chosen.slot, chosen.control.generation), (0, 7));
}

#[test]
fn a_torn_slot_leaves_the_other() {
    let mut torn = slot(9);
    torn[300] ^= 1;
    for torn in [torn, vec![0; 512], Vec::new()] {
        let chosen = control::choose(&torn, &slot(6)).unwrap();
        assert_eq!((chosen.slot, chosen.control.generation), (1, 6));
        assert!(chosen.other.unwrap().is_corruption());
        let chosen = control::choose(&slot(6), &torn).unwrap();
        assert_eq!((chosen.slot, chosen.other.is_some()), (0, true));
        assert!(control::choose(&torn, &torn).unwrap_err().is_corruption());
    }
}

#[test]
fn a_slot_of_a_newer_build_is_never_passed_over() {
    let mut newer = slot(7);
    newer[12] += 1;
    reseal(&mut newer);
    for (a, b) in [(newer.clone(), slot(6)), (slot(6), newer.clone()), (newer, vec![0; 512])] {
        let error = control::choose(&a, &b).unwrap_err();
        assert!(matches!(error, FormatError::UnsupportedVersion { .. }), "{error}");
    }
}

#[test]
fn a_catalog_row_of_a_later_build_is_refused_by_name() {
    let row = samples::catalog_row().encode();
    let with = |at: usize, byte: u8| {
        let mut changed = row.clone();
        changed[at] = byte;
        CatalogRow::decode(&changed).map(drop).unwrap_err()
    };
    assert!(matches!(with(0, 2), FormatError::UnsupportedVersion { found: 2, .. }));
    assert!(with(1, 3).to_string().contains("queue"));
    assert!(matches!(with(2, 1), FormatError::UnknownTag { what: "duplicates", value: 1 }));
    assert!(matches!(with(4, 0x81), FormatError::UnsupportedFeatures { bits: 0x80, .. }));
    let mut longer = row.clone();
    longer.push(0);
    assert!(CatalogRow::decode(&longer).unwrap_err().is_corruption());
    let reversed = CatalogRow { key_order: "reverse", ..samples::catalog_row() };
    let bytes = reversed.encode();
    let decoded = CatalogRow::decode(&bytes).unwrap();
    assert!(decoded.check_key_order().unwrap_err().to_string().contains("reverse"));
    assert_eq!(samples::catalog_row().check_key_order(), Ok(()));
}

proptest! {
    #[test]
    fn random_bytes_are_no_header(
        mut bytes in prop::collection::vec(any::<u8>(), 0..700),
        kind in 0usize..3,
    ) {
        let (_, sample, decode) = &headers()[kind];
        let _ = CatalogRow::decode(&bytes);
        prop_assert!(decode(&bytes).is_err());
        // Behind a good magic, with a good checksum: no panic.
        if bytes.len() >= 24 {
            bytes[..8].copy_from_slice(&sample[..8]);
            bytes[12..24].copy_from_slice(&sample[12..24]);
            bytes.resize(512, 0);
            reseal(&mut bytes);
            let _ = decode(&bytes);
        }
    }
}
