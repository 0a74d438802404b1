//! Histories across power failures: the flock works on the simulated disk, the power goes at a
//! random call, recovery runs, and the same flock works on with what is left. What was
//! acknowledged is there, what was in doubt is there whole or not at all, and nobody who reads
//! afterwards can tell that there was a crash.

use crate::flocks::{Tally, small};
use campanile::{Durability, Environment, ErrorKind};
use campanile_tests::flock::{self, Plan, Record, options};
use campanile_tests::history::{Level, Outcome};
use campanile_tests::life::HOME;
use campanile_tests::workload::Choices;
use campanile_vfs::sim::{CrashChoice, Fault, FaultPlan, Side, SimDisk, SimOptions, Trigger};
use std::path::Path;
use std::sync::Arc;

fn rounds() -> u64 {
    let text = std::env::var("CAMPANILE_HISTORY_CRASHES").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// Crashes of one history.
const CRASHES: u64 = 3;

/// One history with its crashes.
fn across_crashes(seed: u64, record: &Record) -> Result<(), String> {
    let mut choices = Choices::new(seed);
    let mut disk = SimDisk::new(SimOptions::new(seed));
    let options = small().cache_bytes(48 * 512);
    for crash in 0..=CRASHES {
        let env = Environment::open_on(disk.host(), Path::new(HOME), options.clone())
            .map_err(|error| format!("life {crash} does not open: {error}"))?;
        record.check_prepared(&env);
        let plan = Plan { durability: Durability::Sync, txns: 60, ..plan(seed) };
        if crash == CRASHES {
            let done = flock::graze(&env, &plan, record);
            let done = done.and_then(|()| flock::look_back(&env, &plan, record));
            done.map_err(|error| format!("the last life failed: {error}"))?;
            let report = env.verify().map_err(|error| format!("verify: {error}"))?;
            return if report.is_clean() { Ok(()) } else { Err(format!("{:?}", report.damage)) };
        }
        disk.crash_at(disk.calls() + 40 + choices.below(900), Side::Before);
        match flock::graze(&env, &plan, record) {
            Err(error) if flock::is_crash(&error) => {}
            Err(error) => return Err(format!("life {crash} ended with: {error}")),
            // The call was never reached: the power goes now.
            Ok(()) => disk.crash(),
        }
        env.abandon();
        disk = after(&disk, &mut choices);
    }
    Ok(())
}

fn plan(seed: u64) -> Plan {
    Plan { threads: 4, keys: 4, ..Plan::new(seed) }
}

fn after(disk: &Arc<SimDisk>, choices: &mut Choices) -> Arc<SimDisk> {
    let choice = match choices.below(4) {
        0 => CrashChoice::Nothing,
        1 => CrashChoice::All,
        _ => CrashChoice::Subset(choices.draw()),
    };
    disk.reboot(choice)
}

/// Runs one history across crashes and returns all that is wrong with it.
pub fn judge(seed: u64, tally: &mut Tally, compare: bool) -> Vec<String> {
    let record = Record::default();
    let ended = across_crashes(seed, &record);
    let mut history = record.history(true);
    let doubtful = history.txns.iter().filter(|txn| txn.outcome == Outcome::InDoubt);
    tally.doubts += doubtful.count() as u64;
    history.resolve_doubts();
    let mut wrong = tally.judge(&history, &record, compare);
    wrong.extend(ended.err());
    wrong.into_iter().map(|what| format!("seed {seed}: {what}")).collect()
}

#[test]
fn histories_across_crashes_and_recovery_show_nothing() {
    let mut tally = Tally::default();
    let wrong: Vec<String> = (0..rounds()).flat_map(|seed| judge(seed, &mut tally, true)).collect();
    tally.print("across crashes");
    println!("{} transactions were in doubt after {} crashes", tally.doubts, rounds() * CRASHES);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tally.doubts > 0, "no crash hit a commit");
}

#[test]
fn a_prepare_that_is_durable_keeps_its_locks_whatever_can_not_be_read_just_then() {
    let disk = SimDisk::new(SimOptions::new(1));
    let env = Environment::open_on(disk.host(), Path::new(HOME), small()).expect("it opens");
    let db = env.create_database("t").expect("a database");
    let mut txn = env.begin().expect("a transaction");
    db.put(&mut txn, "k", "prepared").expect("a put");
    disk.faults(FaultPlan::one(Fault::ReadFails, Trigger::Always));
    let prepared = txn.prepare(b"1");
    disk.faults(FaultPlan::none());
    let other = env.begin_with(options(Level::Serializable).no_wait(true)).expect("a transaction");
    let read = db.get(&other, "k");
    assert_eq!(read.expect_err("it is locked").kind(), ErrorKind::WouldBlock);
    drop(other);
    prepared.expect("nothing need be read").commit().expect("a commit");
    let snapshot = env.snapshot().expect("a snapshot");
    assert_eq!(db.get(&snapshot, "k").expect("a read").as_deref(), Some(&b"prepared"[..]));
}
