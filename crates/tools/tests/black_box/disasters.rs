//! The drill of disasters, small: real processes, SIGKILL, real files.
//!
//! `CAMPANILE_DISASTERS` says how often a process is killed and its home deleted (default 3).

use crate::Scratch;
use serde_json::Value;

fn drill(arguments: &[&str]) -> Value {
    let scratch = Scratch::new();
    let home = scratch.home().display().to_string();
    let mut all = vec!["drill", "--disaster", "--json", "--dir", &home];
    all.extend(arguments);
    scratch.run("campanile", &all).exits(0).json()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_disaster_ends_with_what_was_archived() {
    let json = drill(&["--seed", "3"]);
    assert_eq!(json["violations"], serde_json::json!([]));
    let rounds = json["rounds"].as_array().unwrap();
    let kinds: Vec<_> = rounds.iter().map(|round| round["disaster"].as_str().unwrap()).collect();
    let all = [
        "home",
        "data-files",
        "mistake",
        "data-blocks",
        "log-blocks",
        "control",
        "newest-log",
        "archived-log",
    ];
    assert_eq!(kinds, all);
    for round in rounds {
        let (acknowledged, archived) = (number(&round["acknowledged"]), number(&round["archived"]));
        assert!(acknowledged > 0 && archived <= acknowledged, "{round}");
        assert!(number(&round["lost"]) <= acknowledged - archived, "{round}");
    }
    let by = |kind: &str| &rounds[all.iter().position(|known| *known == kind).unwrap()];
    assert_eq!(number(&by("mistake")["lost"]), 0, "{}", by("mistake"));
    assert_eq!(number(&by("data-files")["lost"]), 0, "{}", by("data-files"));
    // Refusals name what is missing.
    assert!(by("data-files")["said"].as_str().unwrap().contains("file"), "{json}");
    assert!(by("control")["said"].as_str().unwrap().contains("control"), "{json}");
    assert!(by("archived-log")["said"].as_str().unwrap().contains("log.00"), "{json}");
}

#[test]
fn a_killed_writer_whose_home_is_deleted_loses_nothing_that_was_archived() {
    let rounds = std::env::var("CAMPANILE_DISASTERS").unwrap_or_else(|_| "3".into());
    let json = drill(&["--of", "home", "--rounds", &rounds, "--seed", "4"]);
    assert_eq!(json["violations"], serde_json::json!([]));
    assert!(number(&json["archived"]) > 0, "{json}");
    assert_eq!(json["rounds"].as_array().unwrap().len().to_string(), rounds);
}
