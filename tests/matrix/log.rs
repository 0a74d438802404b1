//! Rows 1 to 15: the log as a crash, a careless hand or a bad sector left it.

use crate::case::{BOTH, Case, Load, Way, log_name, log_path};
use crate::table::{ALL, Outcome, situation};

/// A sector, as media lose them.
const SECTOR: usize = 512;

#[test]
fn row_01_a_clean_crash() {
    for load in ALL {
        let case = Case::crashed(load);
        situation(1).both_ways(&case, &["recovered"]);
        case.comes_back(true, &case.newest);
        case.comes_back(false, &case.archived);
    }
}

#[test]
fn row_02_a_needed_log_file_in_the_middle_is_missing() {
    let case = Case::crashed(Load::Append);
    let (first, last) = case.needed_logs();
    assert!(last > first + 1, "there is a middle: {first} to {last}");
    case.lose(&log_path(first + 1));
    situation(2).both_ways(&case, &[&log_name(first + 1), "missing"]);
    case.comes_back(true, &case.newest);
}

#[test]
fn row_03_the_log_file_that_holds_the_last_checkpoint_is_missing() {
    let case = Case::crashed(Load::Append);
    let (first, _) = case.needed_logs();
    case.lose(&log_path(first));
    situation(3).both_ways(&case, &[&log_name(first), "missing"]);
    case.comes_back(true, &case.newest);
}

#[test]
fn row_04_an_old_log_file_is_missing() {
    let case = Case::crashed(Load::Append);
    let (first, _) = case.needed_logs();
    let numbers = case.log_numbers();
    assert!(numbers[0] < first - 1, "there is old log: {numbers:?}, needed from {first}");
    case.lose(&log_path(first - 1));
    situation(4).both_ways(&case, &[]);
    case.comes_back(true, &case.newest);
    // A data file that would need the lost log is not taken for good.
    let ledger = case.data_path("ledger");
    case.put(&ledger, &case.earlier[&ledger]);
    let seen = case.bring_up(Way::Catastrophic);
    situation(25).judge(Outcome::Refused, &case, Way::Catastrophic, &seen, &["file 16"]);
    case.comes_back(true, &case.newest);
}

#[test]
fn row_05_the_oldest_log_files_are_missing() {
    let case = Case::crashed(Load::Append);
    let (first, _) = case.needed_logs();
    for number in case.log_numbers().into_iter().filter(|number| *number < first) {
        case.lose(&log_path(number));
    }
    situation(5).both_ways(&case, &[]);
    case.comes_back(true, &case.newest);
}

#[test]
fn row_06_the_last_log_file_is_missing() {
    let case = Case::crashed(Load::Append);
    let (_, last) = case.needed_logs();
    case.lose(&log_path(last));
    situation(6).both_ways(&case, &[&log_name(last)]);
    case.comes_back(true, &case.archived);
}

#[test]
fn row_07_all_log_files_are_missing() {
    for load in BOTH {
        let case = Case::crashed(load);
        case.log_numbers().into_iter().for_each(|number| case.lose(&log_path(number)));
        situation(7).both_ways(&case, &["log"]);
        case.comes_back(false, &case.archived);
    }
}

#[test]
fn row_08_a_bit_flipped_in_a_needed_log_file_that_is_not_the_last() {
    let case = Case::crashed(Load::Append);
    let (first, last) = case.needed_logs();
    for file in first + 1..last {
        let case = Case::crashed(Load::Append);
        let at = case.commit_in(file).offset() as usize + 20;
        case.edit(&log_path(file), |bytes| bytes[at] ^= 4);
        situation(8).both_ways(&case, &[&log_name(file), "offset"]);
        case.comes_back(true, &case.newest);
    }
}

#[test]
fn row_09_a_bit_flipped_in_an_old_log_file() {
    let case = Case::crashed(Load::Append);
    let (first, _) = case.needed_logs();
    case.edit(&log_path(first - 1), |bytes| bytes[SECTOR * 9 + 20] ^= 4);
    situation(9).holds(&case, Way::Normal, &[]);
    situation(9).holds(&case, Way::Catastrophic, &[&log_name(first - 1), "offset"]);
    case.comes_back(true, &case.newest);
}

/// Row 10, 11 and 12: a good record follows the bad one, so it is no torn tail.
fn the_last_log_file_is_damaged(row: u8, load: Load) {
    type Harm = fn(&mut Vec<u8>, usize);
    let harms: [(&str, Harm); 3] = [
        ("bit flip", |bytes, at| bytes[at + 20] ^= 1),
        ("bad length", |bytes, at| bytes[at..at + 4].fill(0xff)),
        ("zeroed sector", |bytes, at| bytes[at / SECTOR * SECTOR..][..SECTOR].fill(0)),
    ];
    for (what, harm) in harms {
        let case = Case::crashed(load);
        let (_, last) = case.needed_logs();
        let at = case.commit_in(last).offset() as usize;
        case.edit(&log_path(last), |bytes| harm(bytes, at));
        println!("{what} at {at}");
        situation(row).both_ways(&case, &[&log_name(last), "offset"]);
        // The archive's copy ends five commits before the crash, and is whole.
        case.comes_back(false, &case.archived);
    }
}

#[test]
fn row_10_the_last_log_file_is_damaged() {
    the_last_log_file_is_damaged(10, Load::Update);
}

#[test]
fn row_11_the_last_log_file_is_damaged_and_pages_are_written() {
    the_last_log_file_is_damaged(11, Load::UpdateEvicted);
}

#[test]
fn row_12_the_last_log_file_is_damaged_with_the_other_load() {
    the_last_log_file_is_damaged(12, Load::Append);
}

#[test]
fn row_13_the_tail_of_the_log_is_torn() {
    for load in ALL {
        let case = Case::crashed(load);
        let (_, last) = case.needed_logs();
        let end = case.commits.last().expect("committed").offset() as usize;
        // What a crash leaves of a flush that was under way: behind the last block that was synced.
        let from = (end / SECTOR + 1) * SECTOR;
        let torn: Vec<u8> = {
            let bytes = case.bytes(&log_path(last));
            let record = case.commits[case.commits.len() - 2].offset() as usize;
            bytes[record..record + 24].to_vec()
        };
        case.edit(&log_path(last), |bytes| bytes[from..from + 24].copy_from_slice(&torn));
        situation(13).both_ways(&case, &["cut"]);
    }
}

#[test]
fn row_14_the_only_log_file_is_truncated_to_nothing() {
    let case = Case::crashed(Load::Update);
    let numbers = case.log_numbers();
    assert_eq!(numbers.len(), 1, "one log file");
    case.edit(&log_path(numbers[0]), Vec::clear);
    situation(14).both_ways(&case, &[&log_name(numbers[0])]);
    case.comes_back(false, &case.archived);
}

#[test]
fn row_15_the_header_of_a_log_file_is_damaged() {
    for load in BOTH {
        let (first, last) = Case::crashed(load).needed_logs();
        for file in first..=last {
            let case = Case::crashed(load);
            case.edit(&log_path(file), |bytes| bytes[0] ^= 1);
            situation(15).both_ways(&case, &[&log_name(file)]);
            let back = if file == last { &case.archived } else { &case.newest };
            // With the only file gone there is nothing to salvage.
            case.comes_back(load == Load::Append, back);
        }
    }
}
