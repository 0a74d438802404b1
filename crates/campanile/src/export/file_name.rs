//! File names for databases, legal on every system.
//!
//! Owns the spelling. Promises that any set of database names gives as many file names, distinct
//! also where case does not count, short enough everywhere, and readable where the name is: letters
//! and digits stand for themselves, other bytes as `%XX`. Must never be read back: the manifest
//! says which file holds which database.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// A name and its ending stay below the 255 bytes that file systems allow.
const STEM_BYTES_MAX: usize = 180;
/// What is kept of a longer one, before its hash.
const STEM_BYTES_KEPT: usize = 150;
/// Names that are devices on Windows, whatever follows after a dot.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin", "conout"];

/// One file name for each database name, without an ending.
pub(super) fn stems(names: &[String]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut stems = Vec::with_capacity(names.len());
    for name in names {
        let mut stem = spell(name);
        if !taken.insert(stem.to_ascii_lowercase()) {
            // No spelling of its own has a tilde.
            stem = format!("{stem}~{}", hash(name));
            taken.insert(stem.to_ascii_lowercase());
        }
        stems.push(stem);
    }
    stems
}

fn spell(name: &str) -> String {
    let bytes = name.as_bytes();
    let is_device = is_device(name);
    let mut stem = String::with_capacity(bytes.len());
    for (index, &byte) in bytes.iter().enumerate() {
        let at_an_end = index == 0 || index + 1 == bytes.len();
        let plain = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => index > 0 || !is_device,
            b'-' | b'.' => !at_an_end,
            _ => false,
        };
        if plain {
            stem.push(char::from(byte));
        } else {
            stem.push_str(&format!("%{byte:02X}"));
        }
    }
    if stem.len() <= STEM_BYTES_MAX {
        return stem;
    }
    // Never in the middle of an escape.
    let mut cut = STEM_BYTES_KEPT;
    while stem.as_bytes().iter().take(cut).rev().take(2).any(|&byte| byte == b'%') {
        cut -= 1;
    }
    stem.truncate(cut);
    format!("{stem}~{}", hash(name))
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let numbered = |kind: &str| {
        stem.strip_prefix(kind)
            .is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    };
    DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt")
}

/// 64 bits: enough for names that are equal in all else.
fn hash(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(name: &str) -> String {
        stems(&[name.to_owned()]).remove(0)
    }

    #[test]
    fn plain_names_stand_for_themselves_and_others_are_escaped() {
        for (name, stem) in [
            ("customers", "customers"),
            ("Orders_2026.v1-b", "Orders_2026.v1-b"),
            ("a b/c", "a%20b%2Fc"),
            ("..", "%2E%2E"),
            (".hidden", "%2Ehidden"),
            ("-f", "%2Df"),
            ("caf\u{e9}", "caf%C3%A9"),
            ("con", "%63on"),
            ("LPT1.x", "%4CPT1.x"),
            ("com10", "com10"),
            ("100%~\0", "100%25%7E%00"),
        ] {
            assert_eq!(one(name), stem, "{name:?}");
        }
    }

    #[test]
    fn names_that_differ_in_case_alone_have_files_of_their_own() {
        let stems = stems(&["Data".into(), "data".into(), "DATA".into()]);
        assert_eq!(stems[0], "Data");
        assert!(stems[1].starts_with("data~") && stems[2].starts_with("DATA~"), "{stems:?}");
    }

    proptest! {
        #[test]
        fn any_names_give_distinct_legal_file_names(
            names in prop::collection::btree_set("[aAbB./%~\u{e9}\u{0} ]{1,8}|.{1,85}", 0..30),
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let stems = stems(&names);
            let distinct: BTreeSet<String> = stems.iter().map(|s| s.to_ascii_lowercase()).collect();
            prop_assert_eq!(distinct.len(), names.len());
            for stem in &stems {
                let legal = |b: u8| b.is_ascii_alphanumeric() || b"_-.%~".contains(&b);
                prop_assert!(!stem.is_empty() && stem.len() <= 200 && stem.bytes().all(legal));
                prop_assert!(!stem.starts_with('.') && !is_device(stem), "{stem}");
            }
        }
    }
}
