//! A transaction far larger than the cache commits; another one, over the same entries, rolls back;
//! and memory stays within what the options allow.
//!
//! The everyday run writes 64 MiB through a cache of 4 MiB. `CAMPANILE_LARGE_MIB=1024` asks for the
//! full one: 1 GiB through 64 MiB. It prints what it measured (`--nocapture`).

mod allocated;
mod memory;

use std::path::Path;
use std::time::Instant;

use campanile::{Database, EnvironmentOptions, Snapshot};

use allocated::Counted;
use memory::Peak;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const LOG_BUFFER_BYTES: usize = 1 << 20;
const LOG_FILE_BYTES: u32 = 4 << 20;
/// The usual number of locks on keys before one on the whole database is tried.
const ESCALATE_AFTER: usize = 50_000;
/// What a lock on a key costs: measured, rounded up.
const LOCK_BYTES: usize = 160;
/// Values that stand in their leaf.
const SHORT_BYTES: usize = 1200;
/// Values that do not.
const LONG_BYTES: usize = 300_000;
/// One in so many values is long.
const LONG_EVERY: u64 = 2000;

/// How large the transactions are, and what they may use.
#[derive(Clone, Copy, Debug)]
struct Scale {
    data_bytes: u64,
    cache_bytes: usize,
}

impl Scale {
    fn asked_for() -> Scale {
        let mib = std::env::var("CAMPANILE_LARGE_MIB").map_or(64, |mib| {
            mib.parse::<u64>().expect("CAMPANILE_LARGE_MIB is a number of mebibytes")
        });
        Scale { data_bytes: mib << 20, cache_bytes: (mib << 20) as usize / 16 }
    }

    fn version_bytes(self) -> usize {
        self.cache_bytes / 4
    }

    fn entries(self) -> u64 {
        let group = SHORT_BYTES as u64 * (LONG_EVERY - 1) + LONG_BYTES as u64;
        self.data_bytes * LONG_EVERY / group
    }

    /// What may be allocated besides the cache, which is mapped: what the options name, and what
    /// they do not.
    ///
    /// Records waiting for the log: twice the buffer, while as much is being written. For every
    /// page of the cache 128 bytes, for every page of a file that was touched 4. Locks on keys,
    /// until one on the whole database takes their place. The rest is for the batch of pages being
    /// written and the catalog of one log file per 8 MiB.
    fn allocated_bound(self) -> u64 {
        let named = self.version_bytes() + 4 * LOG_BUFFER_BYTES;
        let tables = self.cache_bytes / 64 + self.data_bytes as usize / 1024;
        (named + tables + ESCALATE_AFTER * LOCK_BYTES + (4 << 20)) as u64
    }

    /// What may be resident: the cache and what is allocated; what the system's allocator keeps in
    /// its arenas, one for each thread (measured: up to a tenth, timing decides); the program
    /// itself and its stacks.
    fn resident_bound(self) -> u64 {
        let ours = self.cache_bytes as u64 + self.allocated_bound();
        ours + ours / 8 + (8 << 20)
    }

    fn options(self) -> EnvironmentOptions {
        EnvironmentOptions::new()
            .cache_bytes(self.cache_bytes)
            .version_bytes(self.version_bytes())
            .log_buffer_bytes(LOG_BUFFER_BYTES)
            .log_file_bytes(LOG_FILE_BYTES.max(self.cache_bytes as u32 / 4))
            .checkpoint_log_bytes(self.cache_bytes as u64 * 4)
    }
}

/// Key number `n`: the order of keys has nothing to do with that of their numbers.
fn key(n: u64) -> [u8; 16] {
    let mut mixed = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    for shift in [30, 27, 31] {
        mixed = (mixed ^ mixed >> shift).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mixed.to_le_bytes());
    key[8..].copy_from_slice(&n.to_le_bytes());
    key
}

/// What `writer` puts under key `n`.
fn value(n: u64, writer: u8) -> Vec<u8> {
    let len = if n % LONG_EVERY == 7 { LONG_BYTES } else { SHORT_BYTES };
    let mut value = vec![writer; len];
    value[..8].copy_from_slice(&n.to_le_bytes());
    value
}

fn put_all(database: &Database, txn: &mut campanile::Transaction, scale: Scale, writer: u8) {
    for n in 0..scale.entries() {
        database.put(txn, key(n), value(n, writer)).unwrap();
    }
}

/// Everything that `writer` put is there, and nothing else.
fn expect_all(database: &Database, snapshot: &Snapshot, scale: Scale, writer: u8) {
    let mut count = 0;
    for entry in database.range(snapshot, ..).unwrap() {
        let (found, bytes) = entry.unwrap();
        let n = u64::from_le_bytes(found[8..].try_into().unwrap());
        assert_eq!(found, key(n), "a key that was put");
        assert!(bytes == value(n, writer), "the value of {n} is not what was committed");
        count += 1;
    }
    assert_eq!(count, scale.entries());
}

fn directory_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap();
    // One that is given up between listing and looking counts nothing.
    files.filter_map(|file| file.unwrap().metadata().ok()).map(|file| file.len()).sum()
}

#[test]
fn transactions_far_larger_than_the_cache_commit_and_roll_back_in_bounded_memory() {
    let scale = Scale::asked_for();
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut peak = Peak::start(scale.resident_bound());

    let env = scale.options().open(&home).unwrap();
    let database = env.create_database("large").unwrap();
    let timed = |what: &str, peak: &mut Peak, work: &mut dyn FnMut()| {
        let started = Instant::now();
        work();
        let seconds = started.elapsed().as_secs_f64();
        let (resident, allocated) = (peak.since_last(), allocated::peak() as u64);
        println!("{what}: {seconds:.1} s, {resident}, {} KiB allocated", allocated >> 10);
        let allowed = scale.allocated_bound();
        assert!(allocated <= allowed, "{allocated} bytes were allocated, allowed are {allowed}");
    };

    let mut txn = Some(env.begin().unwrap());
    timed("put", &mut peak, &mut || put_all(&database, txn.as_mut().unwrap(), scale, b'a'));
    timed("commit", &mut peak, &mut || {
        txn.take().unwrap().commit().unwrap();
    });
    let before = env.snapshot().unwrap();
    timed("read", &mut peak, &mut || expect_all(&database, &before, scale, b'a'));
    drop(before);

    let mut txn = Some(env.begin().unwrap());
    timed("put again", &mut peak, &mut || {
        let txn = txn.as_mut().unwrap();
        put_all(&database, txn, scale, b'b');
        for n in (0..scale.entries()).step_by(3) {
            assert!(database.delete(txn, key(n)).unwrap());
        }
    });
    timed("roll back", &mut peak, &mut || txn.take().unwrap().abort().unwrap());
    let after = env.snapshot().unwrap();
    timed("read again", &mut peak, &mut || expect_all(&database, &after, scale, b'a'));
    drop(after);

    // What pinned the log is gone: it shrinks to what checkpoints leave.
    timed("checkpoint", &mut peak, &mut || {
        env.checkpoint().unwrap();
    });
    let log_bytes = directory_bytes(&home.join("log"));
    println!("log: {} MiB after the checkpoint", log_bytes >> 20);
    timed("verify", &mut peak, &mut || {
        let report = env.verify().unwrap();
        assert!(report.is_clean(), "{:?}", report.damage);
    });
    env.close().unwrap();
    peak.finish();
}
