//! Models for loom: group commit and the place of a record, in every interleaving.
//!
//! They run the crate's own code: `Group` alone with three committers, and the whole `Wal` on
//! files in memory with two.

use std::sync::Arc;

use campanile_format::record::{Body, Record};
use campanile_format::{EnvironmentId, Lsn, Timeline, TxnId};
use campanile_sync::atomic::{AtomicU64, Ordering};
use campanile_sync::{every_interleaving, some_interleaving_fails, thread};
use campanile_vfs::{Host, Poison};

use crate::group::{Group, Role};
use crate::{Start, Wal, WalOptions};

/// A log that is two numbers.
struct Log {
    group: Group,
    appended: AtomicU64,
    durable: AtomicU64,
    /// A bug on purpose: the members are woken before the flush is over.
    hasty: bool,
}

impl Log {
    fn new(hasty: bool) -> Arc<Log> {
        let (appended, durable) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Log { group: Group::new(), appended, durable, hasty })
    }

    fn commit(&self) {
        let mine = self.appended.fetch_add(1, Ordering::AcqRel) + 1;
        if let Role::Leader(lead) = self.group.join(None) {
            let end = self.appended.load(Ordering::Acquire);
            let lead = if self.hasty {
                drop(lead);
                None
            } else {
                Some(lead)
            };
            self.durable.fetch_max(end, Ordering::AcqRel);
            drop(lead);
        }
        let durable = self.durable.load(Ordering::Acquire);
        assert!(durable >= mine, "commit {mine} was told that it is durable, {durable} is");
    }

    fn committers(self: &Arc<Log>, count: usize) {
        let others: Vec<_> = (1..count)
            .map(|_| {
                let log = Arc::clone(self);
                thread::spawn(move || log.commit())
            })
            .collect();
        self.commit();
        others.into_iter().for_each(|other| other.join().unwrap());
    }
}

#[test]
fn w8_two_committers_return_after_a_flush_that_began_after_they_joined() {
    every_interleaving(None, || Log::new(false).committers(2));
}

#[test]
fn w8_three_committers_return_after_a_flush_that_began_after_they_joined() {
    every_interleaving(Some(3), || Log::new(false).committers(3));
}

#[test]
fn a_follower_woken_too_early_is_found() {
    assert!(some_interleaving_fails(Some(2), || Log::new(true).committers(2)));
}

fn commit_record(txn: u64) -> Record<'static> {
    Record {
        txn: TxnId(txn),
        prev: Lsn::NONE,
        body: Body::Commit { time_us: txn, durable: Lsn::NONE },
    }
}

fn new_log() -> Arc<Wal> {
    let options = WalOptions {
        file_bytes: 4096,
        block_bytes: 512,
        buffer_bytes: 2048,
        ..WalOptions::new("/log", EnvironmentId([3; 16]), Timeline(1))
    };
    let host = Host::memory();
    host.vfs.create_dir("/log".as_ref()).unwrap();
    Arc::new(Wal::open(&host, &Poison::new(), options, Start::New).unwrap())
}

fn append_beside(work: fn(&Wal, u64) -> Lsn) -> (Arc<Wal>, Lsn, Lsn) {
    let wal = new_log();
    let beside = {
        let wal = Arc::clone(&wal);
        thread::spawn(move || work(&wal, 1))
    };
    let mine = work(&wal, 2);
    let theirs = beside.join().unwrap();
    (wal, theirs, mine)
}

#[test]
fn w3_records_of_two_threads_lie_behind_each_other_and_can_be_read_at_once() {
    every_interleaving(None, || {
        let (wal, theirs, mine) = append_beside(|wal, txn| {
            let lsn = wal.append(&commit_record(txn)).unwrap();
            assert!(wal.end() > lsn, "the end was told before the record was placed");
            assert_eq!(wal.read(lsn).unwrap().record().unwrap().txn, TxnId(txn));
            lsn
        });
        let (first, second) = (mine.min(theirs), mine.max(theirs));
        assert_eq!(wal.read(first).unwrap().next_lsn(), second);
        assert_eq!(wal.end(), wal.read(second).unwrap().next_lsn());
    });
}

#[test]
fn w1_whoever_flushed_finds_its_record_durable() {
    every_interleaving(Some(4), || {
        append_beside(flush);
    });
}

fn flush(wal: &Wal, txn: u64) -> Lsn {
    let lsn = wal.append(&commit_record(txn)).unwrap();
    wal.flush(lsn).unwrap();
    assert!(wal.durable() > lsn, "{lsn} was flushed, durable is {}", wal.durable());
    lsn
}

#[cfg(feature = "planted-bugs")]
#[test]
fn planted_follower_woken_too_early_by_the_log_itself_is_found() {
    use campanile_format::planted::{Bug, with};
    let found = with(Bug::FollowerWokenEarly, || {
        some_interleaving_fails(Some(2), || drop(append_beside(flush)))
    });
    assert!(found);
}
