//! The drill and the bench, small.

use crate::Scratch;

#[test]
fn the_drill_proves_that_kills_lose_nothing() {
    let scratch = Scratch::new();
    let home = scratch.home().display().to_string();
    let arguments = ["drill", "--rounds", "2", "--seed", "7", "--json", "--home", &home];
    let json = scratch.run("campanile", &arguments).exits(0).json();
    assert_eq!(json["violations"], serde_json::json!([]));
    assert_eq!((&json["rounds"], &json["kills"]), (&2.into(), &3.into()));
    assert!(json["acknowledged"].as_u64().unwrap() > 0);
    assert_eq!(json["packages"], 15928);
    scratch.run("db_verify", &["-q"]).exits(0);
    scratch.run("campanile", &arguments).exits(1).says("is not empty");
}

#[test]
fn the_bench_measures_each_thing_once() {
    let scratch = Scratch::new();
    let home = scratch.home().display().to_string();
    let arguments = [
        "bench",
        "--entries",
        "2000",
        "--commit-seconds",
        "0",
        "--cache",
        "8",
        "--json",
        "-h",
        &home,
    ];
    let json = scratch.run("campanile", &arguments).exits(0).json();
    assert_eq!(json.as_array().unwrap().len(), 6);
    scratch.run("db_verify", &["-q"]).exits(0);
}
