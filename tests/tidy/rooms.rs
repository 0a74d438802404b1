//! Rooms: a file is one idea with a header that says which; functions fit a screen; the root holds
//! what a newcomer should see first and nothing else.

use crate::sources::{Source, all, root};
use std::fs;

const PRODUCT_LINES_MAX: usize = 600;
const TEST_LINES_MAX: usize = 900;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

#[test]
fn the_root_holds_exactly_the_agreed_entries() {
    let permitted = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "crates",
        "benches",
        "fuzz",
        "tests",
        "target",
    ];
    for entry in fs::read_dir(root()).expect("the root") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || permitted.contains(&name.as_str()), "at the root: {name}");
    }
}

#[test]
fn every_file_opens_with_a_header_that_says_what_it_owns() {
    for source in all() {
        let first = source.text.lines().next().unwrap_or_default();
        let header = first.starts_with("//!") || first.starts_with("#![doc = include_str!");
        assert!(header || first.starts_with("#![no_main]"), "{} has no //! header", source.path);
    }
}

#[test]
fn no_room_is_called_misc_or_util() {
    let banned = ["misc", "util", "utils", "common", "helper", "helpers", "manager", "mod"];
    for source in all() {
        for part in source.path.trim_end_matches(".rs").split('/') {
            assert!(!banned.contains(&part), "{}: a room called {part}", source.path);
        }
    }
}

#[test]
fn a_file_is_one_idea() {
    for source in all() {
        let product = source.product_lines().len();
        assert!(product <= PRODUCT_LINES_MAX, "{}: {product} lines before its tests", source.path);
        if source.is_test() {
            let lines = source.text.lines().count();
            assert!(lines <= TEST_LINES_MAX, "{}: {lines} lines", source.path);
        }
    }
}

#[test]
fn lines_are_at_most_a_hundred_columns() {
    let mut long = Vec::new();
    for source in all() {
        for (number, line) in source.text.lines().enumerate() {
            // A long literal, link or table row cannot be broken; everything else can.
            let unbreakable =
                line.contains("http") || line.contains('"') || line.starts_with("//! |");
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !unbreakable {
                long.push(format!("{}:{}: {columns} columns", source.path, number + 1));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn functions_fit_a_screen() {
    let mut long = Vec::new();
    for source in all() {
        for (name, line, length) in functions(&source) {
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{}:{line}: {name} has {length} lines", source.path));
            }
        }
    }
    assert!(long.is_empty(), "functions over {FUNCTION_LINES_MAX} lines:\n{}", long.join("\n"));
}

/// Name, first line and length of each function, by indentation (the tree is formatted).
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let lines = source.product_lines();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let is_function = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "const fn "]
            .iter()
            .any(|start| code.starts_with(start));
        if !is_function || line.ends_with(';') {
            continue;
        }
        let indent = line.len() - code.len();
        let close = format!("{}}}", " ".repeat(indent));
        let Some(length) = lines[number..].iter().position(|line| *line == close) else { continue };
        let name = code.split("fn ").nth(1).unwrap_or_default();
        let name = name.split(['(', '<']).next().unwrap_or_default();
        found.push((name.to_owned(), number + 1, length + 1));
    }
    found
}

#[test]
fn the_readme_names_every_crate_and_the_two_commands() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for entry in fs::read_dir(root().join("crates")).expect("crates/") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(readme.contains(&format!("`crates/{name}`")), "the code map lacks crates/{name}");
        let own = root().join("crates").join(&name).join("README.md");
        assert!(own.exists(), "crates/{name} has no README.md");
    }
    let ci = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    let test_command = "cargo test --workspace";
    assert!(readme.contains(test_command) && ci.contains(test_command), "{test_command}");
}
