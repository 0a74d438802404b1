//! Replays the corpora of the fuzz targets on stable Rust: every file that fuzzing found
//! interesting, or that a bug left behind, once more at each run.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).expect("the target has a corpus") {
        let path = entry.expect("a readable folder").path();
        let bytes = std::fs::read(&path).expect("a readable file");
        // Whole, and cut anywhere: what is cut off must not matter to safety.
        run(&bytes);
        for cut in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            run(&bytes[..cut]);
        }
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", folder.display());
}

#[test]
fn page_decode() {
    replay("page_decode", targets::page_decode);
}

#[test]
fn log_record_decode() {
    replay("log_record_decode", targets::log_record_decode);
}

#[test]
fn log_scan() {
    replay("log_scan", targets::log_scan);
}

#[test]
fn dump_loader() {
    replay("dump_loader", targets::dump_loader);
}

#[test]
fn operations() {
    replay("operations", targets::operations);
}

#[test]
fn recover_mutated() {
    replay("recover_mutated", targets::recover_mutated);
}
