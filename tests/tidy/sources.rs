//! Finds the source files of the repository and splits each into product lines and test lines.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust source file of the repository.
pub struct Source {
    /// Path relative to the repository's root, with forward slashes.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// Lines before the file's `#[cfg(test)]` module; none of a file that is a test as a whole.
    pub fn product_lines(&self) -> Vec<&str> {
        if self.is_test() {
            return Vec::new();
        }
        self.text.lines().take_while(|line| line.trim() != "#[cfg(test)]").collect()
    }

    /// Whether the file holds only tests, benches or fuzz targets.
    pub fn is_test(&self) -> bool {
        let path = &self.path;
        path.starts_with("tests/")
            || path.starts_with("benches/")
            || path.starts_with("fuzz/")
            || path.contains("/tests/")
            || path.contains("/tests.rs")
            || path.ends_with("_tests.rs")
            || path.contains("/benches/")
    }

    /// Name of the crate folder under `crates/`, if it is there.
    pub fn crate_name(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_path_buf()
}

/// Every Rust file under `crates/`, `tests/`, `benches/` and `fuzz/`, build output left out.
pub fn all() -> Vec<Source> {
    let mut found = Vec::new();
    for top in ["crates", "tests", "benches", "fuzz"] {
        walk(&root().join(top), &mut found);
    }
    assert!(found.len() > 20, "the source tree was not found: only {} files", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(|entry| entry.expect("a readable folder")) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "corpus" && name != "artifacts" {
                walk(&path, found);
            }
        } else if name.ends_with(".rs") {
            let relative = path.strip_prefix(root()).expect("below the root");
            found.push(Source {
                path: relative.to_string_lossy().replace('\\', "/"),
                text: fs::read_to_string(&path).expect("a readable source file"),
            });
        }
    }
}
