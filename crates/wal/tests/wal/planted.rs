//! Bugs on purpose: each must be noticed by the tests beside this one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use campanile_format::planted::{self, Bug};
use campanile_vfs::Host;
use campanile_wal::WalOptions;

use super::records::{content, new_log, options, record};
use super::{append, control, crash, damage, faults, pins};

/// Runs tests with a bug on; fails unless the bug was reached and one of the tests failed.
fn caught(bug: Bug, tests: &[fn()]) {
    let (noticed, fired) = planted::with(bug, || {
        let noticed = tests.iter().any(|test| catch_unwind(AssertUnwindSafe(test)).is_err());
        (noticed, planted::fired())
    });
    assert!(fired > 0, "{} was never reached", bug.name());
    assert!(noticed, "{} went unnoticed", bug.name());
}

#[test]
fn skipping_a_sync_is_noticed() {
    caught(Bug::LogSyncSkipped, &[crash::no_crash_loses_what_was_flushed]);
}

#[test]
fn a_flush_that_ends_within_a_block_is_noticed() {
    let test: &[fn()] = &[crash::no_crash_loses_what_was_flushed_whatever_the_disk_does_around_it];
    caught(Bug::FlushNotPadded, test);
}

#[test]
fn ignoring_or_retrying_a_failed_sync_is_noticed() {
    let test: &[fn()] = &[faults::w6_a_failed_sync_is_the_last_whatever_it_left_behind];
    caught(Bug::LogSyncErrorIgnored, test);
    caught(Bug::LogSyncRetried, test);
}

#[test]
fn forgetting_the_poison_is_noticed() {
    caught(Bug::PoisonForgotten, &[faults::any_call_may_fail]);
}

#[test]
fn skipping_the_directory_sync_is_noticed() {
    caught(Bug::LogDirectorySyncSkipped, &[crash::no_crash_loses_what_was_flushed]);
}

#[test]
fn recycling_a_file_too_early_is_noticed() {
    caught(Bug::LogRecycledOneTooEarly, &[crash::no_crash_loses_what_was_flushed]);
}

#[test]
fn giving_up_files_that_somebody_reads_is_noticed() {
    caught(Bug::LogPinIgnored, &[pins::w14_no_file_goes_while_somebody_reads_the_log]);
}

#[test]
fn appending_behind_a_torn_tail_is_noticed() {
    caught(Bug::AppendAfterTornTail, &[crash::no_crash_loses_what_was_flushed]);
}

#[test]
fn taking_damage_or_an_io_error_for_the_end_is_noticed() {
    let damage: &[fn()] = &[
        damage::every_line_of_the_tail_table_happens,
        damage::every_flipped_bit_is_found_or_changes_nothing,
    ];
    caught(Bug::CorruptionTakenForTornTail, damage);
    caught(Bug::ReadErrorTakenForEnd, &[faults::an_error_while_reading_is_never_an_answer]);
}

#[test]
fn a_checksum_that_is_ignored_or_lacks_the_header_is_noticed() {
    let damage: &[fn()] = &[damage::every_flipped_bit_is_found_or_changes_nothing];
    caught(Bug::FrameChecksumIgnored, damage);
    caught(Bug::FrameChecksumSkipsHeader, damage);
}

#[test]
fn overwriting_both_control_slots_is_noticed() {
    let control: &[fn()] = &[control::a_crash_leaves_the_last_control_or_the_one_being_written];
    caught(Bug::ControlSlotsTogether, control);
}

#[test]
fn without_a_bug_the_same_tests_pass() {
    append::what_is_appended_is_read_back_before_and_after_it_is_flushed();
}

#[test]
fn a_member_of_a_group_that_wakes_early_is_noticed() {
    let home = tempfile::tempdir().unwrap();
    let options = WalOptions { dir: home.path().join("log"), ..options(1 << 20, 64 << 10) };
    let wal = new_log(&Host::os(), &options);
    let early = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (wal, early) = (&wal, &early);
            scope.spawn(move || {
                planted::with(Bug::FollowerWokenEarly, || {
                    for number in 0..5000 {
                        let lsn = wal.append(&record(&content(thread << 32 | number, 40))).unwrap();
                        wal.flush(lsn).unwrap();
                        let woken_early = wal.durable() <= lsn;
                        if woken_early || early.load(Ordering::Relaxed) {
                            early.store(true, Ordering::Relaxed);
                            return;
                        }
                    }
                });
            });
        }
    });
    assert!(early.load(Ordering::Relaxed), "nobody woke early");
}
