//! The model test must fail when the tree is wrong: bugs on purpose, each caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use campanile_btree::{Cursor, Reader, Seek};
use campanile_format::planted::{self, Bug};

use crate::program::{Program, Taste};
use crate::rig::{Rig, Sizes};

fn is_caught(bug: Bug, taste: Taste) -> bool {
    (0..20).any(|seed| {
        planted::with(bug, || {
            let program = AssertUnwindSafe(|| {
                Program::new(seed, Sizes::default(), taste, true).run(12, 40);
            });
            let failed = catch_unwind(program).is_err();
            assert!(planted::fired() > 0 || !failed, "it failed for another reason");
            failed
        })
    })
}

const TASTE: Taste = Taste { keys: 120, adversarial: true, large_one_in: 5 };

#[test]
fn a_split_that_forgets_the_parent_is_caught() {
    assert!(is_caught(Bug::SplitWithoutParent, TASTE));
}

#[test]
fn ghosts_that_go_too_early_are_caught() {
    assert!(is_caught(Bug::GhostPurgedEarly, TASTE));
}

#[test]
fn long_values_freed_too_early_are_caught() {
    assert!(is_caught(Bug::OverflowFreedEarly, TASTE));
}

#[test]
fn extents_that_a_rollback_forgets_are_caught() {
    assert!(is_caught(Bug::AllocationNotUndone, TASTE));
}

#[test]
fn a_cursor_that_goes_on_after_an_error_is_caught() {
    let rig = Rig::new(Sizes::default());
    let gone = rig.forest.tree(&rig.txns, campanile_format::FileId(999));
    let goes_on = || {
        let mut cursor = Cursor::new();
        assert!(cursor.seek(&gone, Reader::Uncommitted, Seek::First).is_err());
        cursor.next(&rig.tree(), Reader::Uncommitted).is_ok()
    };
    assert!(!goes_on());
    assert!(planted::with(Bug::IteratorContinuesAfterError, goes_on));
}

#[test]
fn a_merge_that_expels_nobody_is_caught() {
    let test = crate::shrinking::b13_a_copy_of_a_leaf_that_was_merged_away_is_not_used_again;
    test();
    assert!(planted::with(Bug::FreedPageNotExpelled, || catch_unwind(test).is_err()));
}

#[test]
fn reads_that_believe_what_changed_under_their_eyes_are_caught() {
    let caught = (0..20).any(|_| {
        planted::with(Bug::GlimpseNotValidated, || {
            let test = crate::stress::b13_reads_hold_while_the_whole_tree_is_in_memory;
            catch_unwind(test).is_err()
        })
    });
    assert!(caught);
}

/// Whether a test of locks fails with the bug, on whatever thread.
fn breaks(bug: Bug, test: fn()) -> bool {
    (0..20).any(|_| planted::with(bug, || catch_unwind(AssertUnwindSafe(test)).is_err()))
}

#[test]
fn an_insert_that_does_not_ask_for_its_gap_is_caught() {
    assert!(breaks(Bug::NextKeyLockMissing, crate::gaps::a_range_that_is_empty_stays_empty));
    let ends = crate::gaps::a_scan_keeps_phantoms_out_at_both_ends_and_over_leaf_borders;
    assert!(breaks(Bug::NextKeyLockMissing, ends));
}

#[test]
fn a_gap_that_is_not_inherited_is_caught() {
    let test = crate::gaps::a_key_inserted_into_a_gap_of_ones_own_divides_it;
    assert!(breaks(Bug::GapNotInherited, test));
}

#[test]
fn a_ghost_purged_under_a_lock_is_caught() {
    let test = crate::gaps::the_ghost_that_ends_a_gap_stays_as_long_as_the_gap_is_locked;
    assert!(breaks(Bug::GhostPurgedUnderLock, test));
}

#[test]
fn a_scan_that_believes_an_old_copy_is_caught() {
    let waits = crate::gaps::a_scan_waits_for_an_insert_and_then_sees_it;
    let twice = crate::gaps::ranges_counted_twice_are_the_same_beside_inserts_splits_and_merges;
    assert!(breaks(Bug::ScanNotValidated, waits) || breaks(Bug::ScanNotValidated, twice));
}

#[test]
fn a_victim_that_keeps_a_lock_is_caught() {
    let rig = Rig::new(Sizes::default());
    let keeps = || {
        let mut txn = rig.begin();
        rig.tree().put(&mut txn, b"k", b"v").unwrap();
        rig.abort(txn);
        rig.txns.lock_stats().locks > 0
    };
    assert!(!keeps());
    assert!(planted::with(Bug::VictimKeepsLock, keeps));
}
