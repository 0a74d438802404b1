//! Bugs on purpose: each is caught by a test that passes without it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use campanile_format::planted::{self, Bug};

use crate::{crash, faults, glimpses, order};

#[test]
fn every_planted_bug_of_the_page_store_is_caught() {
    let tests: [(Bug, fn()); 8] = [
        (
            Bug::GlimpseNotValidated,
            glimpses::p12_a_glimpse_ends_when_the_page_changes_and_only_then,
        ),
        (
            Bug::PageWrittenBeforeLog,
            order::p1_a_page_is_never_written_before_the_log_is_durable_up_to_its_copy,
        ),
        (
            Bug::CleanBeforeSync,
            order::p3_rec_lsn_stays_through_the_batch_and_then_names_the_change_after_the_copy,
        ),
        (
            Bug::DoubleWriteSkipped,
            crash::p8_every_page_comes_back_whatever_a_crash_leaves_of_a_write_back,
        ),
        (
            Bug::DoubleWriteNotSynced,
            crash::p8_every_page_comes_back_whatever_a_crash_leaves_of_a_write_back,
        ),
        (
            Bug::DataSyncSkippedBeforeCheckpoint,
            crash::p8_every_page_comes_back_whatever_a_crash_leaves_of_a_write_back,
        ),
        (
            Bug::PageWriteErrorIgnored,
            faults::p9_any_failing_call_ends_in_an_error_and_nothing_durable_is_lost,
        ),
        (
            Bug::PoisonForgotten,
            faults::p9_after_a_failed_write_every_change_is_refused_and_reading_goes_on,
        ),
    ];
    for (bug, test) in tests {
        test();
        let mut fired = 0;
        let caught = planted::with(bug, || {
            let caught = catch_unwind(AssertUnwindSafe(test)).is_err();
            fired = planted::fired();
            caught
        });
        assert!(fired > 0 && caught, "{} fired {fired} times, caught: {caught}", bug.name());
    }
}
