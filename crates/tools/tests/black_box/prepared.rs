//! Programs and transactions that wait for their coordinator.

use campanile::Environment;

use crate::Scratch;

const TEXT: &[u8] = b"order 66";
const BYTES: &[u8] = &[0, 255, 23];

/// A home with two prepared transactions, closed or not.
fn waiting(closed: bool) -> Scratch {
    let scratch = Scratch::new();
    let env = Environment::options().log_file_bytes(1 << 20).open(scratch.home()).unwrap();
    let db = env.create_database("db").unwrap();
    let other = env.create_database("other").unwrap();
    let mut txn = env.begin().unwrap();
    db.put(&mut txn, "k", "text").unwrap();
    drop(txn.prepare(TEXT).unwrap());
    // Two transactions that touch nothing in common.
    let txn = env.begin().unwrap();
    drop(txn.prepare(BYTES).unwrap());
    drop((db, other));
    if closed {
        env.close().unwrap();
    } else {
        env.abandon();
    }
    scratch
}

#[test]
fn they_are_printed_by_recovery_and_statistics() {
    for closed in [true, false] {
        let scratch = waiting(closed);
        let stat = scratch.run("db_stat", &[]).exits(0);
        let stat = stat.says("2\tPrepared transactions").says("\"order 66\"").says("0x00ff17");
        assert!(stat.out.contains("log kept from"), "{}", stat.out);
        let json = scratch.run("db_stat", &["--json"]).exits(0).json();
        assert_eq!(json["prepared"].as_array().unwrap().len(), 2);
        scratch.run("db_verify", &[]).exits(0);
        let dry = scratch.run("db_recover", &["--dry-run"]).exits(0);
        dry.says("prepared, waits for its coordinator: \"order 66\"");
        for _ in 0..2 {
            let recover = scratch.run("db_recover", &[]).exits(0);
            recover.says("waits for its coordinator: \"order 66\"").says("0x00ff17");
        }
        let json = scratch.run("db_recover", &["--json"]).exits(0).json();
        assert_eq!(json["prepared"][1]["gid_hex"], "00ff17");
        assert_eq!(json["prepared"][0]["gid"], "order 66");
    }
}

#[test]
fn they_are_listed_and_resolved_one_by_one() {
    let scratch = waiting(false);
    let list = scratch.run("campanile", &["txn", "list"]).exits(0);
    assert_eq!(list.out.lines().count(), 2, "{}", list.out);
    let list = scratch.run("campanile", &["txn", "list", "--json"]).exits(0).json();
    assert_eq!((&list[0]["gid"], &list[0]["gid_hex"]), (&().into(), &"00ff17".into()));
    scratch.run("campanile", &["txn", "commit", "order 67"]).exits(8).says("order 67");
    scratch.run("campanile", &["txn", "commit"]).exits(1);
    scratch.run("campanile", &["txn", "abort", "--hex", "00f"]).exits(1).says("hexadecimal");
    scratch.run("campanile", &["txn", "abort", "--hex", "0x00ff17"]).exits(0).says("rolled back");
    let done = scratch.run("campanile", &["txn", "commit", "order 66", "--json"]).exits(0).json();
    assert_eq!(done[0]["action"], "commit");
    assert_eq!(scratch.run("campanile", &["txn", "list"]).exits(0).out, "");
    scratch.run("db_stat", &[]).exits(0).says("0\tPrepared transactions");
    assert!(!scratch.run("db_recover", &[]).exits(0).out.contains("prepared"));
    let dump = scratch.run("db_dump", &["-p", "db"]).exits(0);
    assert!(dump.out.contains(" k\n text"), "{}", dump.out);
}
