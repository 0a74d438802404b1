//! Bugs on purpose in backups, archives and restores: each must be noticed by the tests here.

use campanile_format::planted::{self, Bug};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    archive, crashes, first_life, increments, interleaved, moments, repair, restore, retention,
};

/// Runs tests with a bug on; fails unless the bug was reached and one of the tests failed.
fn caught(bug: Bug, tests: &[fn()]) {
    let (noticed, fired) = planted::with(bug, || {
        let noticed = tests.iter().any(|test| catch_unwind(AssertUnwindSafe(test)).is_err());
        (noticed, planted::fired())
    });
    assert!(fired > 0, "{} was never reached", bug.name());
    assert!(noticed, "{} went unnoticed", bug.name());
}

const BESIDE_WORK: [fn(); 3] = [
    interleaved::work_goes_on_between_all_calls_of_a_backup,
    interleaved::two_bursts_of_work_do_a_backup_no_harm,
    interleaved::a_burst_of_work_at_any_place_of_a_backup_does_it_no_harm,
];

#[test]
fn planted_giving_up_log_that_a_backup_reads_is_noticed() {
    caught(Bug::LogPinIgnored, &BESIDE_WORK);
}

#[test]
fn planted_stating_the_end_of_a_backup_too_early_is_noticed() {
    caught(Bug::BackupEndTooEarly, &BESIDE_WORK);
}

#[test]
fn planted_copying_log_that_the_home_may_lose_is_noticed() {
    let test = first_life::a_crash_takes_nothing_from_the_home_that_the_archive_has;
    caught(Bug::BackupEndNotDurable, &[test]);
}

#[test]
fn planted_taking_torn_pages_into_a_backup_is_noticed() {
    caught(Bug::BackupPagesUnchecked, &BESIDE_WORK);
}

const INCREMENTS: [fn(); 3] = [
    increments::work_goes_on_between_all_calls_of_increments,
    increments::a_burst_of_work_at_any_place_of_an_increment_does_it_no_harm,
    increments::a_chain_of_increments_is_byte_for_byte_what_a_full_backup_is,
];

#[test]
fn planted_increments_since_the_end_of_their_base_are_noticed() {
    caught(Bug::IncrementSinceEnd, &INCREMENTS);
}

#[test]
fn planted_increments_without_marks_of_pages_never_written_are_noticed() {
    let test = increments::a_page_given_up_that_holds_garbage_is_marked_over_what_its_base_holds;
    caught(Bug::IncrementWithoutZeroMarks, &[test]);
}

#[test]
fn planted_starting_from_the_newest_checkpoint_is_noticed() {
    caught(Bug::RestoreFromNewestCheckpoint, &BESIDE_WORK);
}

#[test]
fn planted_going_one_record_too_far_is_noticed() {
    caught(Bug::RestoredOneRecordTooFar, &[moments::every_place_in_the_log_can_be_restored_to]);
}

#[test]
fn planted_going_on_in_the_old_timeline_is_noticed() {
    let tests: [fn(); 2] = [
        restore::a_hot_copy_is_not_opened_before_catastrophic_recovery,
        restore::a_restored_home_is_backed_up_and_restored_again_and_histories_stay_apart,
    ];
    caught(Bug::TimelineNotBranched, &tests);
}

#[test]
fn planted_stepping_over_a_gap_in_the_archive_is_noticed() {
    caught(Bug::ArchiveGapSkipped, &[archive::a_gap_in_the_archive_is_named_and_refused]);
}

#[test]
fn planted_an_archive_that_is_not_durable_is_noticed() {
    let test = crashes::no_crash_leaves_a_gap_between_the_archive_and_the_log;
    caught(Bug::ArchiveDirectorySyncSkipped, &[test]);
}

#[test]
fn planted_a_repair_that_stops_one_record_early_is_noticed() {
    let test = repair::whatever_happens_to_a_data_file_a_repair_brings_back_what_was_committed;
    caught(Bug::RepairStopsOneRecordEarly, &[test]);
}

#[test]
fn planted_a_repair_that_does_not_look_at_what_a_change_was_made_on_is_noticed() {
    let test = repair::a_backup_made_in_the_middle_of_work_serves_as_well;
    caught(Bug::RedoIgnoresPageLsn, &[test]);
}

#[test]
fn planted_removing_a_log_file_one_too_early_is_noticed() {
    let test = retention::what_stays_comes_back_to_every_moment_and_what_goes_leaves_no_trace;
    caught(Bug::PrunedLogOneTooEarly, &[test]);
}

#[test]
fn planted_removing_what_an_increment_builds_on_is_noticed() {
    let test = retention::an_increment_that_stays_keeps_its_chain_and_a_chain_goes_as_a_whole;
    caught(Bug::PrunedBaseOfIncrement, &[test]);
}
