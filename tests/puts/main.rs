//! One transaction with very many puts, with the settings that everybody has who sets none.
//!
//! Berkeley DB's default configuration ends such a transaction after some tens of thousands of
//! puts, when its lock table is full. Here locks are a bounded number: beyond the limit of a
//! database they become one. `CAMPANILE_LARGE_PUTS=10000000` asks for the full test.

#[path = "../large/memory.rs"]
mod memory;

use std::time::Instant;

use campanile::Environment;

use memory::Peak;

const VALUE: &[u8] = b"a value of some fifty bytes, as short rows have it";

/// What memory may grow by: the cache and the budget for versions at their defaults, the log's
/// buffers, and what a transaction keeps beside, which does not grow with the puts.
const BOUND: u64 = (256 + 256 + 4 * 4 + 64) << 20;

#[test]
fn one_transaction_takes_millions_of_puts_with_default_settings() {
    let puts: u64 = std::env::var("CAMPANILE_LARGE_PUTS")
        .map_or(200_000, |puts| puts.parse().expect("CAMPANILE_LARGE_PUTS is a number of puts"));
    let dir = tempfile::tempdir().unwrap();
    let mut peak = Peak::start(BOUND);
    let began = Instant::now();
    let env = Environment::open(dir.path().join("home")).unwrap();
    let database = env.create_database("rows").unwrap();
    let mut txn = env.begin().unwrap();
    for n in 0..puts {
        database.put(&mut txn, key(n), VALUE).unwrap();
    }
    let locks = env.stats().locks.locks;
    txn.commit().unwrap();
    let (took, memory) = (began.elapsed(), peak.since_last());
    println!("{puts} puts in one transaction: {took:.1?}, {locks} locks at the end, {memory}");
    assert!(locks < 200_000, "{locks} locks for {puts} puts: they should have become one");
    let snapshot = env.snapshot().unwrap();
    for n in (0..puts).step_by(997).chain([puts - 1]) {
        assert_eq!(database.get(&snapshot, key(n)).unwrap().as_deref(), Some(VALUE), "{n}");
    }
    let counted = database.range(&snapshot, ..).unwrap().inspect(|row| assert!(row.is_ok()));
    assert_eq!(counted.count() as u64, puts);
    drop(snapshot);
    env.close().unwrap();
    peak.finish();
}

/// Key number `n`: runs of 256 neighbours, in an order that has nothing to do with their numbers.
/// (One by one in random order, the test would measure the disk: the rows are larger than the
/// cache.)
fn key(n: u64) -> [u8; 16] {
    let (run, within) = (n >> 8, n & 0xff);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&run.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8] = within as u8;
    key
}
