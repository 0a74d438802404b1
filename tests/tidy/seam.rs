//! The primitives of concurrency come from `crates/sync`, so that a model checker can stand in
//! their place. Whoever goes round it is found here, by name.

use crate::sources::all;

/// Ways round the seam.
const ROUND_IT: &[&str] =
    &["parking_lot", "std::sync::atomic", "std::sync::{atomic", "std::thread", "atomic_wait"];

/// `sync` is the seam; `format` depends on nothing, and page words are no protocol; `tools` are
/// programs, not the engine.
const OUTSIDE: &[&str] = &["sync", "format", "tools"];

#[test]
fn the_engine_takes_its_primitives_of_concurrency_from_the_seam() {
    let mut looked_at = 0;
    for source in all() {
        let engine = source.crate_name().is_some_and(|name| !OUTSIDE.contains(&name));
        if !engine || source.path.contains("/examples/") {
            continue;
        }
        for (number, line) in source.product_lines().iter().enumerate() {
            looked_at += 1;
            let code = line.split("//").next().unwrap_or_default();
            for name in ROUND_IT {
                let place = format!("{}:{}", source.path, number + 1);
                assert!(!code.contains(name), "{place}: {name} goes round crates/sync");
            }
            for name in ["Mutex", "RwLock", "Condvar"] {
                let std = code.contains("std::sync::") && code.contains(name);
                assert!(!std, "{}:{}: std's {name}", source.path, number + 1);
            }
        }
    }
    assert!(looked_at > 5000, "the engine was not looked at: {looked_at} lines");
}
