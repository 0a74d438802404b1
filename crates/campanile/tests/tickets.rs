//! Durability tickets: what is promised between a commit and its sync, on the simulated disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile::{Database, Environment, EnvironmentOptions, ErrorKind, Lsn, Ticket};
use campanile_vfs::sim::{
    CrashChoice, CrashPolicy, Errno, Fault, FaultPlan, FaultRule, SimDisk, SimOptions, Trigger,
};

const HOME: &str = "/home";

fn open(disk: &Arc<SimDisk>) -> Environment {
    let options = EnvironmentOptions::new().cache_bytes(1 << 20).log_file_bytes(64 << 10);
    Environment::open_on(disk.host(), Path::new(HOME), options).unwrap()
}

fn new_home() -> (Arc<SimDisk>, Environment, Database) {
    let disk = SimDisk::new(SimOptions::harsh(5));
    let env = open(&disk);
    let db = env.create_database("db").unwrap();
    (disk, env, db)
}

fn put(env: &Environment, db: &Database, key: &str) -> Ticket {
    let mut txn = env.begin().unwrap();
    db.put(&mut txn, key, "value").unwrap();
    txn.commit_ticket().unwrap()
}

fn has(env: &Environment, key: &str) -> bool {
    let db = env.open_database("db").unwrap();
    db.get(&env.snapshot().unwrap(), key).unwrap().is_some()
}

fn after_power_cut(disk: &Arc<SimDisk>) -> Environment {
    let left = disk.fork();
    left.crash();
    open(&left.reboot(CrashChoice::Nothing))
}

#[test]
fn a_ticket_is_visible_at_once_and_durable_when_it_says_so() {
    let (disk, env, db) = new_home();
    let ticket = put(&env, &db, "a");
    assert!(has(&env, "a"), "visible");
    let mut next = env.begin().unwrap();
    db.put(&mut next, "a", "the locks are free").unwrap();
    next.abort().unwrap();
    assert!(!ticket.is_durable());
    assert!(!has(&after_power_cut(&disk), "a"), "nothing was promised yet");
    ticket.wait().unwrap();
    assert!(ticket.is_durable());
    assert!(has(&after_power_cut(&disk), "a"));
    ticket.wait().unwrap();
}

#[test]
fn one_that_builds_on_a_ticket_and_is_durable_makes_it_durable_too() {
    let (disk, env, db) = new_home();
    let first = put(&env, &db, "a");
    env.run(|txn| db.put(txn, "b", "built on a")).unwrap();
    assert!(first.is_durable(), "there is one log");
    let env = after_power_cut(&disk);
    assert!(has(&env, "a") && has(&env, "b"));
}

#[test]
fn tickets_become_durable_in_the_order_of_their_positions() {
    let (_disk, env, db) = new_home();
    let tickets: Vec<Ticket> = (0..10).map(|n| put(&env, &db, &n.to_string())).collect();
    assert!(tickets.is_sorted_by_key(Ticket::lsn));
    env.wait_durable(tickets[4].lsn()).unwrap();
    assert!(tickets[..=4].iter().all(Ticket::is_durable));
    env.wait_durable(Lsn::MAX).unwrap();
    assert!(tickets.iter().all(Ticket::is_durable));
}

#[test]
fn a_transaction_that_changed_nothing_is_durable_already() {
    let (_disk, env, _db) = new_home();
    let ticket = env.begin().unwrap().commit_ticket().unwrap();
    assert_eq!(ticket.lsn(), Lsn::NONE);
    assert!(ticket.is_durable());
    ticket.wait().unwrap();
}

#[test]
fn a_ticket_that_nobody_waits_for_becomes_durable_by_itself() {
    let (disk, env, db) = new_home();
    let ticket = put(&env, &db, "a");
    // Somebody else keeps the log busy: it is never idle.
    for n in 0..20 {
        let _ = put(&env, &db, &format!("busy {n}"));
        env.step().unwrap();
        if ticket.is_durable() {
            assert!(has(&after_power_cut(&disk), "a"));
            return;
        }
    }
    panic!("still not durable");
}

#[test]
fn with_threads_too_and_many_share_a_sync() {
    let home = tempfile::tempdir().unwrap();
    let env = Environment::open(home.path().join("home")).unwrap();
    let db = env.create_database("db").unwrap();
    let before = env.stats().log.syncs;
    let tickets: Vec<Ticket> = (0..500).map(|n| put(&env, &db, &n.to_string())).collect();
    let last = tickets.last().unwrap().clone();
    let waiter = std::thread::spawn(move || last.wait());
    waiter.join().unwrap().unwrap();
    assert!(tickets.iter().all(Ticket::is_durable));
    let syncs = env.stats().log.syncs - before;
    assert!(syncs < 250, "{syncs} syncs for 500 commits");
    let ticket = put(&env, &db, "nobody waits");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ticket.is_durable() {
        assert!(Instant::now() < deadline, "the background forgot");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn waiting_fails_once_the_log_cannot_be_written_but_not_for_what_is_durable() {
    let (disk, env, db) = new_home();
    let safe = put(&env, &db, "safe");
    safe.wait().unwrap();
    let lost = put(&env, &db, "lost");
    let fails = FaultRule::new(Fault::WriteFails(Errno::Eio), Trigger::From(0)).on("*/log.*");
    disk.faults(FaultPlan::none().and(fails));
    let error = lost.wait().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Poisoned | ErrorKind::Io), "{error}");
    assert_eq!(lost.wait().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(env.wait_durable(lost.lsn()).unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(!lost.is_durable());
    assert!(safe.is_durable());
    safe.wait().unwrap();
    let env = after_power_cut(&disk);
    assert!(has(&env, "safe") && !has(&env, "lost"));
}

#[test]
fn closing_makes_every_ticket_durable() {
    let (disk, env, db) = new_home();
    let ticket = put(&env, &db, "a");
    env.close().unwrap();
    assert!(ticket.is_durable());
    ticket.wait().unwrap();
    assert!(has(&after_power_cut(&disk), "a"));
}

#[test]
fn a_nested_transaction_has_no_ticket() {
    let (_disk, env, db) = new_home();
    let mut parent = env.begin().unwrap();
    db.put(&mut parent, "parent", "1").unwrap();
    {
        let mut child = parent.nested().unwrap();
        db.put(&mut child, "child", "1").unwrap();
        let mut free = env.begin().unwrap();
        std::mem::swap(&mut *child, &mut free);
        let error = free.commit_ticket().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    parent.commit().unwrap();
    assert!(has(&env, "parent") && !has(&env, "child"));
}

/// Whatever a crash at any point leaves: of commits made one after the other, a beginning; and in
/// it all whose tickets had said durable before.
#[test]
fn a_crash_loses_a_ticket_only_together_with_all_that_came_after_it() {
    let (disk, env, db) = new_home();
    disk.capture_crash_points();
    let mut durable = Vec::new();
    let mut tickets = Vec::new();
    for n in 0..30_u64 {
        tickets.push(put(&env, &db, &format!("{n:02}")));
        match n % 7 {
            3 => tickets[n as usize / 2].wait().unwrap(),
            5 => drop(env.step().unwrap()),
            _ => {}
        }
        let count = tickets.iter().filter(|ticket| ticket.is_durable()).count();
        durable.push((disk.calls(), count));
    }
    let mut opened = 0;
    for point in disk.take_crash_points() {
        let promised =
            durable.iter().filter(|(call, _)| *call <= point.call).map(|(_, n)| *n).max();
        let policy = CrashPolicy { subsets: 2, ..CrashPolicy::full(point.call) };
        for choice in point.disk.crash_choices(&policy).into_iter().step_by(2) {
            let env = open(&point.disk.reboot(choice));
            let db = env.open_database("db").unwrap();
            let found: Vec<u64> = db
                .range(&env.snapshot().unwrap(), ..)
                .unwrap()
                .map(|entry| String::from_utf8_lossy(&entry.unwrap().0).parse().unwrap())
                .collect();
            assert!(found.iter().copied().eq(0..found.len() as u64), "{choice:?}: {found:?}");
            assert!(found.len() >= promised.unwrap_or(0), "{choice:?}: {found:?}, {promised:?}");
            opened += 1;
        }
    }
    assert!(opened > 60, "{opened}");
}
