//! Words and calls that must not appear, and the few modules where `unsafe` may.

use crate::sources::all;

/// The only product files that may contain an `unsafe` block, each with a SAFETY argument.
const UNSAFE_ROOMS: &[&str] =
    &["crates/pagestore/src/arena.rs", "crates/sync/src/checked_rwlock.rs"];

#[test]
fn unsafe_stands_only_in_its_named_rooms() {
    for source in all() {
        if UNSAFE_ROOMS.contains(&source.path.as_str()) {
            continue;
        }
        for (number, line) in source.product_lines().iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let found = code.contains("unsafe {") || code.contains("unsafe fn");
            assert!(!found, "{}:{}: unsafe outside its rooms", source.path, number + 1);
        }
    }
}

#[test]
fn nothing_unfinished_is_left() {
    // Spelt in two parts so that this list does not find itself.
    let banned = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("#[ig", "nore"),
    ];
    for source in all() {
        for (number, line) in source.text.lines().enumerate() {
            for word in banned {
                assert!(!line.contains(word), "{}:{}: {word}", source.path, number + 1);
            }
        }
    }
}

#[test]
fn only_the_vfs_and_the_programs_name_the_file_system() {
    for source in all() {
        let Some(name) = source.crate_name() else { continue };
        if name == "vfs" || name == "tools" {
            continue;
        }
        for (number, line) in source.product_lines().iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            assert!(!code.contains("std::fs"), "{}:{}: std::fs", source.path, number + 1);
        }
    }
}

#[test]
fn the_clock_is_read_only_through_its_seam() {
    for source in all() {
        let Some(name) = source.crate_name() else { continue };
        if matches!(name, "sync" | "vfs" | "tools" | "lock") {
            continue;
        }
        for (number, line) in source.product_lines().iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let found = code.contains("SystemTime::now") || code.contains("Instant::now");
            assert!(!found, "{}:{}: a clock read past the seam", source.path, number + 1);
        }
    }
}

#[test]
fn only_the_one_door_and_recovery_apply_page_operations() {
    for source in all() {
        let Some(name) = source.crate_name() else { continue };
        if ["format", "pagestore", "txn", "recovery"].contains(&name) {
            continue;
        }
        for (number, line) in source.product_lines().iter().enumerate() {
            let found = line.contains("begin_change(");
            assert!(!found, "{}:{}: a page changed past the door", source.path, number + 1);
        }
    }
}
