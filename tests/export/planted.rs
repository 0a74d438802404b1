//! Bugs on purpose in exports and imports: each must be noticed by the tests here.

use campanile_format::planted::{self, Bug};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{beside_writers, damage};

/// Runs a test with a bug on; fails unless the bug was reached and the test failed.
fn caught(bug: Bug, test: fn()) {
    let (noticed, fired) =
        planted::with(bug, || (catch_unwind(AssertUnwindSafe(test)).is_err(), planted::fired()));
    assert!(fired > 0, "{} was never reached", bug.name());
    assert!(noticed, "{} went unnoticed", bug.name());
}

#[test]
fn planted_believing_an_export_without_its_fingerprints_is_noticed() {
    caught(Bug::ImportFingerprintIgnored, damage::every_byte_counts);
    caught(Bug::ImportFingerprintIgnored, damage::what_changes_once_it_was_proven);
}

#[test]
fn planted_taking_a_snapshot_for_each_database_is_noticed() {
    caught(Bug::ExportSnapshotPerDatabase, beside_writers::one_moment_in_all_databases);
}
