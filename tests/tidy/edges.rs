//! Layers are crates: every `Cargo.toml` under `crates/` is compared with the table of permitted
//! dependencies. An edge that is not in the table is a change of architecture, not of a manifest.

use crate::sources::root;
use std::fs;

/// Crate, and the crates of ours that it may depend on (its tests may see more).
const EDGES: &[(&str, &[&str])] = &[
    ("sync", &[]),
    ("vfs", &["sync"]),
    ("format", &[]),
    ("lock", &["sync"]),
    ("wal", &["sync", "vfs", "format"]),
    ("pagestore", &["sync", "vfs", "format"]),
    ("txn", &["sync", "format", "lock", "wal", "pagestore"]),
    ("btree", &["sync", "format", "lock", "pagestore", "txn"]),
    ("recovery", &["sync", "vfs", "format", "wal", "pagestore", "txn"]),
    ("backup", &["sync", "vfs", "format", "wal", "pagestore", "txn"]),
    (
        "campanile",
        &[
            "sync",
            "vfs",
            "format",
            "lock",
            "wal",
            "pagestore",
            "txn",
            "btree",
            "recovery",
            "backup",
        ],
    ),
    ("tools", &["campanile"]),
];

#[test]
fn every_crate_depends_only_on_what_the_table_of_layers_permits() {
    for entry in fs::read_dir(root().join("crates")).expect("crates/ exists") {
        let folder = entry.expect("a readable entry").path();
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let (_, permitted) = EDGES
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("crates/{name} is not in the table of layers"));
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        for dependency in our_dependencies(&manifest) {
            assert!(
                permitted.contains(&dependency.as_str()),
                "crates/{name} must not depend on {dependency}: see the table of layers"
            );
        }
    }
}

#[test]
fn the_package_name_follows_from_the_folder() {
    for (name, _) in EDGES {
        let Ok(manifest) = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml"))
        else {
            continue;
        };
        let package =
            if *name == "campanile" { name.to_string() } else { format!("campanile-{name}") };
        assert!(manifest.contains(&format!("name = \"{package}\"")), "crates/{name}: {package}");
        assert!(manifest.contains("[lints]\nworkspace = true"), "crates/{name}: workspace lints");
    }
}

/// Names of our own crates in the `[dependencies]` tables of a manifest, test-only ones left out.
fn our_dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(name) = line.trim().strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if section.ends_with("dependencies") && !section.ends_with("dev-dependencies") {
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if key == "campanile" {
                found.push(key.to_owned());
            } else if let Some(ours) = key.strip_prefix("campanile-") {
                found.push(ours.to_owned());
            }
        }
    }
    found
}

#[test]
fn the_reader_of_manifests_sees_an_edge_that_is_not_permitted() {
    let manifest =
        "[dependencies]\ncampanile-wal.workspace = true\n[dev-dependencies]\ncampanile-vfs = 1\n";
    assert_eq!(our_dependencies(manifest), ["wal"]);
}
