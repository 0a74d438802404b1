//! The story: one I/O call fails, or all from one on. The engine may ride it out or report it; it
//! may not lose what it acknowledged, hang, or go on writing after a failed write or sync.

use campanile_tests::life::{spread, tiny};
use campanile_tests::script::{Cast, script};
use campanile_tests::sweep::{Demand, SweepTally, sweep, sweep_recovery, sweep_story};
use campanile_tests::workload::Shape;
use campanile_vfs::sim::{Errno, Fault, FaultRule, SyncFailure, Trigger};

fn shapes() -> [(u64, Shape); 3] {
    let plain = Shape { catalog: false, volatile: false, relaxed: false, ..Shape::mixed(60) };
    [(11, Shape::mixed(60)), (12, plain), (13, Shape { page_bytes: 512, ..Shape::mixed(120) })]
}

/// Every call index by default in the gate; a sample of one in so many in the everyday run.
fn stride() -> u64 {
    std::env::var("CAMPANILE_SWEEP_STRIDE").ok().and_then(|text| text.parse().ok()).unwrap_or(7)
}

fn sweep_all(name: &str, fault: Fault) {
    let total = sweep_on(name, fault, "*", Demand::All);
    assert_eq!(total.lied, 0, "this fault does not lie");
}

/// The fault on files whose path matches the pattern, over all workloads.
fn sweep_on(name: &str, fault: Fault, paths: &str, demand: Demand) -> SweepTally {
    let mut total = SweepTally::default();
    for (seed, shape) in shapes() {
        for from_then_on in [false, true] {
            let trigger = |call| match from_then_on {
                true => Trigger::FromCall(call),
                false => Trigger::Call(call),
            };
            let rule = |call| FaultRule::new(fault, trigger(call)).on(paths);
            total.add(sweep(seed, shape, &tiny(), stride(), name, demand, rule));
        }
    }
    println!(
        "{name}: {} runs, the fault struck in {}, ridden out in {}, poisoned in {}, {} violations",
        total.runs,
        total.struck,
        total.absorbed,
        total.poisoned,
        total.violations.len()
    );
    if total.reported_late + total.lied > 0 {
        println!(
            "  reported late in {}; a sync lied in {}: then damage reported in {}, seen by nobody \
             in {}",
            total.reported_late, total.lied, total.detected, total.unseen
        );
    }
    for violation in total.violations.iter().take(5) {
        println!("  violation: {violation}");
    }
    assert!(total.struck > 0, "{name} never struck: the sweep proves nothing");
    assert!(total.violations.is_empty(), "{} violations", total.violations.len());
    total
}

#[test]
fn a_failed_write_out_that_the_next_sync_is_told_of_loses_nothing() {
    let total = sweep_on("F1 c", Fault::WriteOutFails, "*", Demand::All);
    assert!(total.reported_late > 0 && total.poisoned > 0, "no sync was ever told");
}

#[test]
fn a_log_sync_that_lies_loses_nothing_promised_before_it_or_is_found_out() {
    for (name, how) in LIES {
        let total = sweep_on(name, Fault::SyncFails(how), "*/log*", Demand::BeforeTheLie);
        assert!(total.lied > 0, "no sync ever lied");
    }
}

#[test]
fn a_sync_that_lies_about_pages_ends_the_environment_where_it_is_reported() {
    for (name, how) in LIES {
        let total = sweep_on(name, Fault::SyncFails(how), "*", Demand::Detection);
        assert!(total.lied > 0, "no sync ever lied");
    }
}

const LIES: [(&str, SyncFailure); 2] = [
    ("F1 c, reported by a later sync", SyncFailure::ReportedLater),
    ("F1 c, reported to another handle", SyncFailure::ReportedElsewhere),
];

#[test]
fn a_failed_sync_whose_cache_keeps_the_new_bytes_loses_nothing() {
    sweep_all("F1 a", Fault::SyncFails(SyncFailure::CacheKeepsNew));
}

#[test]
fn a_failed_sync_whose_cache_goes_back_loses_nothing() {
    sweep_all("F1 b", Fault::SyncFails(SyncFailure::CacheReverts));
}

#[test]
fn a_failed_sync_that_was_durable_all_the_same_loses_nothing() {
    sweep_all("F1 d", Fault::SyncFails(SyncFailure::DataDurable));
}

#[test]
fn a_failed_write_loses_nothing() {
    for errno in Errno::ALL {
        sweep_all("F2", Fault::WriteFails(errno));
    }
}

#[test]
fn a_write_that_fails_halfway_loses_nothing() {
    sweep_all("F2 halfway", Fault::WriteFailsHalfway(Errno::Eio));
}

#[test]
fn a_full_disk_loses_nothing() {
    sweep_all("F2 no space", Fault::NoSpace);
}

#[test]
fn short_writes_and_reads_change_nothing() {
    sweep_all("F2 short", Fault::ShortWrite);
    sweep_all("F3 short", Fault::ShortRead);
}

#[test]
fn a_failed_read_loses_nothing() {
    sweep_all("F3", Fault::ReadFails);
}

#[test]
fn failing_metadata_calls_lose_nothing() {
    sweep_all("F8", Fault::MetadataFails);
}

/// A failing call of every kind that ends in an error of that call, or of the next sync.
const ONE_OF_EACH: [(&str, Fault); 7] = [
    ("read", Fault::ReadFails),
    ("write", Fault::WriteFails(Errno::Eio)),
    ("sync", Fault::SyncFails(SyncFailure::CacheKeepsNew)),
    ("reverting sync", Fault::SyncFails(SyncFailure::CacheReverts)),
    ("late write-out", Fault::WriteOutFails),
    ("space", Fault::NoSpace),
    ("metadata", Fault::MetadataFails),
];

#[test]
fn a_failing_call_on_data_files_in_several_directories_loses_nothing() {
    let mut total = SweepTally::default();
    for (name, fault) in ONE_OF_EACH {
        let rule = |call| FaultRule::new(fault, Trigger::Call(call));
        let shape = Shape::mixed(60);
        total.add(sweep(14, shape, &spread(), stride(), name, Demand::All, rule));
        let recovery = stride();
        total.add(sweep_recovery(15, shape, &spread(), recovery, name, Demand::All, rule));
    }
    println!("{} runs over several directories, struck in {}", total.runs, total.struck);
    assert!(total.violations.is_empty(), "{}", total.violations[0]);
    assert!(total.struck > 50, "the faults hardly struck");
}

#[test]
fn a_failing_call_beside_other_sessions_loses_nothing() {
    let mut total = SweepTally::default();
    let tiny = tiny().open_files(2);
    for (name, fault) in ONE_OF_EACH {
        for (seed, cast) in [(31, Cast::full(20)), (32, Cast { sessions: 4, ..Cast::full(15) })] {
            let story = script(seed, cast);
            let rule = |call| FaultRule::new(fault, Trigger::Call(call));
            total.add(sweep_story(seed, &story, &tiny, stride() * 2, name, rule));
            let rule = |call| FaultRule::new(fault, Trigger::FromCall(call));
            total.add(sweep_story(seed, &story, &tiny, stride() * 2, name, rule));
        }
    }
    println!(
        "{} runs of several sessions with a failing call, the fault struck in {}, ridden out in {}",
        total.runs, total.struck, total.absorbed
    );
    assert!(total.violations.is_empty(), "{}", total.violations[0]);
    assert!(total.struck > 100, "the faults hardly struck");
}

#[test]
fn a_recovery_that_fails_leaves_everything_for_the_next_one() {
    let mut runs = 0;
    for (name, fault) in ONE_OF_EACH {
        for (seed, shape) in shapes() {
            for from_then_on in [false, true] {
                let trigger = |call| match from_then_on {
                    true => Trigger::FromCall(call),
                    false => Trigger::Call(call),
                };
                let rule = |call| FaultRule::new(fault, trigger(call));
                let stride = stride().div_ceil(2);
                let tally = sweep_recovery(seed, shape, &tiny(), stride, name, Demand::All, rule);
                runs += tally.runs;
                assert!(tally.violations.is_empty(), "{}", tally.violations[0]);
            }
        }
    }
    println!("{runs} recoveries with a failing call, 0 violations");
}
