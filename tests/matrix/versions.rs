//! Rows 16 to 18 and 38: other versions, other machines.

use crate::case::{BOTH, Case, HOME, Load, Way, in_home, log_name, log_path};
use crate::table::{Outcome, situation};
use campanile_format::control::{CONTROL_SLOT_BYTES, CONTROL_SLOT_OFFSETS};
use campanile_format::header::reseal;
use campanile_format::log_file::{LOG_HEADER_BYTES, LOG_VERSION};
use campanile_format::{PageId, PageNo, meta, names, page};
use std::collections::BTreeMap;

/// Where every header of ours says its version, and its features.
const VERSION_AT: usize = 12;
const REQUIRED_AT: usize = 16;
const IGNORABLE_AT: usize = 20;

fn with_log_version(load: Load, version: u16) -> (Case, String) {
    let case = Case::crashed(load);
    let (_, last) = case.needed_logs();
    case.edit(&log_path(last), |bytes| {
        bytes[VERSION_AT..VERSION_AT + 2].copy_from_slice(&two(version));
        reseal(&mut bytes[..LOG_HEADER_BYTES]);
    });
    (case, log_name(last))
}

/// Little-endian, as everything on disk.
fn two(number: u16) -> [u8; 2] {
    [(number & 0xff) as u8, (number >> 8) as u8]
}

#[test]
fn row_16_a_log_or_data_file_newer_than_this_build() {
    for load in BOTH {
        let (case, name) = with_log_version(load, LOG_VERSION + 1);
        let version = format!("version {}", LOG_VERSION + 1);
        situation(16).both_ways(&case, &[&name, &version]);
        // A refusal is no reason to write: a newer build finds everything as it was.
        let before = logs_and_data(&case);
        let disk = case.disk.fork();
        drop(crate::case::bring_up(&disk, HOME, &case.options, Way::Normal));
        assert_eq!(logs_and_data(&Case { disk, ..case }), before);
    }
    let case = Case::crashed(Load::Update);
    let path = case.data_path("ledger");
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    let file = names::parse_data_file(&name).expect("a data file");
    case.edit(&path, |bytes| {
        let page_bytes = 512;
        bytes[meta::VERSION_AT..meta::VERSION_AT + 2].copy_from_slice(&two(meta::VERSION + 1));
        page::seal(&mut bytes[..page_bytes], PageId::new(file, PageNo(0)));
    });
    case.lose(&in_home(names::DOUBLE_WRITE));
    let seen = case.bring_up(Way::Normal);
    let words = ["version 2, this build reads version 1", "ledger"];
    situation(16).judge(Outcome::Contained, &case, Way::Normal, &seen, &words);
}

fn logs_and_data(case: &Case) -> BTreeMap<String, Vec<u8>> {
    let files = case.disk.snapshot_files().into_iter();
    let files = files.map(|(path, bytes)| (path.display().to_string(), bytes));
    files.filter(|(path, _)| path.contains("/log.") || path.contains("/data.")).collect()
}

#[test]
fn row_17_a_log_file_older_than_any() {
    for load in BOTH {
        let (case, name) = with_log_version(load, 0);
        situation(17).both_ways(&case, &[&name, "version 0"]);
    }
}

/// Sets a feature bit that nobody knows in the control file.
fn with_feature(at: usize) -> Case {
    let case = Case::crashed(Load::Append);
    case.edit(&in_home(names::CONTROL), |bytes| {
        for offset in CONTROL_SLOT_OFFSETS {
            let from = usize::try_from(offset).expect("small");
            let slot = &mut bytes[from..from + CONTROL_SLOT_BYTES];
            if slot[..8] != [0; 8] {
                slot[at + 2] |= 0x40;
                reseal(slot);
            }
        }
    });
    case
}

#[test]
fn row_18_a_home_of_a_build_that_knows_more() {
    situation(18).both_ways(&with_feature(REQUIRED_AT), &["feature"]);
    let case = with_feature(IGNORABLE_AT);
    for way in [Way::Normal, Way::Catastrophic] {
        situation(18).judge(Outcome::Right, &case, way, &case.bring_up(way), &[]);
    }
}

/// Reads a number as the format writes it, by hand.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[test]
fn row_38_bytes_are_the_same_on_every_machine() {
    let case = Case::crashed(Load::Append);
    let control = case.bytes(&in_home(names::CONTROL));
    assert_eq!(little_endian(&control[44..48]), 512, "the page size, least byte first");
    assert_eq!(little_endian(&control[48..52]), 16 << 10, "the length of a log file");
    let log = case.bytes(&log_path(case.needed_logs().1));
    assert_eq!(little_endian(&log[VERSION_AT..VERSION_AT + 2]), u64::from(LOG_VERSION));
    situation(38).both_ways(&case, &[]);
}
