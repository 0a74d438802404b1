//! Rows 19 to 26: the data files, as sectors rot and careless hands leave them.

use crate::case::{Case, Load, Way, in_home};
use crate::table::{Outcome, situation};
use campanile_format::double_write::BatchHeader;
use campanile_format::names;
use std::path::{Path, PathBuf};

const PAGE: usize = 512;

/// How messages call a data file.
fn spelling(path: &Path) -> String {
    let name = path.file_name().expect("a file").to_string_lossy();
    format!("file {}", names::parse_data_file(&name).expect("a data file"))
}

/// Pages of a database that hold rows, by their numbers.
fn leaves(case: &Case, name: &str) -> (PathBuf, Vec<usize>) {
    let path = case.data_path(name);
    let bytes = case.bytes(&path);
    let mark = format!("<{name}>");
    let holds = |page: &&[u8]| page.windows(mark.len()).any(|window| window == mark.as_bytes());
    let pages = bytes.chunks(PAGE).enumerate();
    let leaves = pages.filter(|(_, page)| holds(page)).map(|(number, _)| number).collect();
    (path, leaves)
}

fn flip(case: &Case, path: &Path, page: usize) {
    case.edit(path, |bytes| bytes[page * PAGE + 300] ^= 16);
}

/// No copy of any page is left in the file that mends torn pages.
fn without_copies(case: &Case) {
    case.lose(&in_home(names::DOUBLE_WRITE));
}

#[test]
fn row_19_a_damaged_page_that_redo_needs() {
    let case = Case::crashed(Load::Update);
    without_copies(&case);
    let (path, pages) = leaves(&case, "ledger");
    let page = pages[pages.len() / 2];
    flip(&case, &path, page);
    let place = format!("page {page}");
    situation(19).both_ways(&case, &[&spelling(&path), &place]);
    case.comes_back(true, &case.newest);
}

#[test]
fn row_20_a_damaged_page_that_redo_does_not_need() {
    for load in [Load::Append, Load::Update] {
        let case = Case::crashed(load);
        without_copies(&case);
        let (path, pages) = leaves(&case, "attic");
        flip(&case, &path, pages[0]);
        let place = format!("page {}", pages[0]);
        situation(20).both_ways(&case, &[&spelling(&path), &place]);
        case.comes_back(true, &case.newest);
    }
}

#[test]
fn row_21_a_damaged_meta_page() {
    let case = Case::crashed(Load::Update);
    without_copies(&case);
    let path = case.data_path("ledger");
    flip(&case, &path, 0);
    situation(21).both_ways(&case, &[&spelling(&path)]);
    case.comes_back(true, &case.newest);
}

/// Tears a page of which the double-write file holds the copy: its second half never arrived.
fn torn(case: &Case) -> (PathBuf, usize) {
    let batch = BatchHeader::decode(&case.bytes(&in_home(names::DOUBLE_WRITE))).expect("a batch");
    let ledger = case.data_path("ledger");
    let name = ledger.file_name().expect("a file").to_string_lossy();
    let file = names::parse_data_file(&name).expect("a data file");
    let ours = batch.entries.iter().map(|entry| entry.page).filter(|page| page.file == file);
    let bytes = case.bytes(&ledger);
    let pages = ours.map(|page| page.page.0 as usize);
    let mut pages = pages.filter(|page| bytes[page * PAGE + 256..(page + 1) * PAGE] != [0; 256]);
    let page = pages.next().expect("a page of the ledger was written last");
    case.edit(&ledger, |bytes| bytes[page * PAGE + 256..(page + 1) * PAGE].fill(0));
    (ledger, page)
}

#[test]
fn row_22_a_torn_page() {
    let case = Case::crashed(Load::UpdateEvicted);
    torn(&case);
    situation(22).both_ways(&case, &["recovered"]);
}

#[test]
fn row_23_a_torn_page_of_which_there_is_no_copy() {
    let case = Case::crashed(Load::UpdateEvicted);
    let (path, page) = torn(&case);
    without_copies(&case);
    let place = format!("page {page}");
    situation(23).both_ways(&case, &[&spelling(&path), &place]);
    case.comes_back(true, &case.newest);
}

#[test]
fn row_24_a_data_file_is_deleted() {
    for load in [Load::Append, Load::Update] {
        let case = Case::crashed(load);
        let path = case.data_path("ledger");
        case.lose(&path);
        situation(24).both_ways(&case, &[&spelling(&path)]);
        case.comes_back(true, &case.newest);
    }
    // One that redo does not need: the others can be used meanwhile.
    let case = Case::crashed(Load::Update);
    let path = case.data_path("attic");
    case.lose(&path);
    let seen = case.bring_up(Way::Normal);
    let named = spelling(&path);
    situation(24).judge(situation(24).ours[0], &case, Way::Normal, &seen, &[&named]);
}

#[test]
fn row_25_a_data_file_is_replaced_by_an_older_copy() {
    for load in [Load::Append, Load::Update] {
        let case = Case::crashed(load);
        // Of the time before the last checkpoint, so that its pages lack what redo does not bring.
        let path = case.data_path("ledger");
        case.put(&path, &case.earlier[&path]);
        situation(25).both_ways(&case, &[&spelling(&path)]);
        case.comes_back(true, &case.newest);
    }
}

#[test]
fn row_26_a_data_file_of_another_environment() {
    for load in [Load::Append, Load::Update] {
        let case = Case::crashed(load);
        let path = case.data_path("ledger");
        let theirs = Case::twin(load).bytes(&path);
        assert!(theirs != case.bytes(&path));
        case.put(&path, &theirs);
        situation(26).both_ways(&case, &[&spelling(&path)]);
        case.comes_back(true, &case.newest);
    }
    assert_eq!(situation(26).theirs, [Outcome::Silent; 2]);
}
