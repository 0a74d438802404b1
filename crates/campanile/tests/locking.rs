//! Many writers: what they see of each other, who waits, who gives way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use campanile::host::Host;
use campanile::{
    Database, Environment, EnvironmentOptions, ErrorKind, Isolation, Reads, Transaction,
    TransactionOptions, VictimPolicy,
};

const HOME: &str = "/home";

fn tiny() -> EnvironmentOptions {
    EnvironmentOptions::new()
        .page_bytes(512)
        .cache_bytes(256 * 512)
        .log_file_bytes(128 << 10)
        .log_buffer_bytes(16 << 10)
        .checkpoint_log_bytes(64 << 10)
        .durability(campanile::Durability::NoSync)
}

fn open(options: EnvironmentOptions) -> Environment {
    Environment::open_on(Host::memory(), HOME, options).unwrap()
}

/// Numbers that are the same every time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}

const BANKS: usize = 3;
const ACCOUNTS: u64 = 120;
const TOTAL: u64 = BANKS as u64 * ACCOUNTS * 100;

fn account(number: u64) -> Vec<u8> {
    format!("{number:06}").into_bytes()
}

fn amount(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

fn sum(banks: &[Database], reader: &impl Reads) -> campanile::Result<u64> {
    let mut sum = 0;
    for bank in banks {
        for entry in bank.range(reader, ..)? {
            sum += amount(&entry?.1);
        }
    }
    Ok(sum)
}

/// Moves some money; accounts that are empty are closed, and opened again when money comes.
fn transfer(banks: &[Database], txn: &mut Transaction, dice: &mut Dice) -> campanile::Result<()> {
    let from = (&banks[dice.below(BANKS as u64) as usize], account(dice.below(ACCOUNTS)));
    let to = (&banks[dice.below(BANKS as u64) as usize], account(dice.below(ACCOUNTS)));
    let Some(left) = from.0.get(txn, &from.1)? else { return Ok(()) };
    let moved = (1 + dice.below(60)).min(amount(&left));
    match amount(&left) - moved {
        0 => assert!(from.0.delete(txn, &from.1)?),
        rest => assert!(from.0.put(txn, &from.1, rest.to_le_bytes())?),
    }
    let right = to.0.get_for_update(txn, &to.1)?.map_or(0, |value| amount(&value));
    let mut value = (right + moved).to_le_bytes().to_vec();
    value.resize(8 + dice.below(100) as usize, 0);
    to.0.put(txn, &to.1, value)?;
    Ok(())
}

#[test]
fn money_that_many_move_between_databases_is_neither_made_nor_lost() {
    let host = Host::memory();
    let env = Environment::open_on(host.clone(), HOME, tiny()).unwrap();
    let banks: Vec<Database> =
        (0..BANKS).map(|bank| env.create_database(&format!("bank {bank}")).unwrap()).collect();
    env.run(|txn| {
        for bank in &banks {
            for number in 0..ACCOUNTS {
                bank.put(txn, account(number), 100_u64.to_le_bytes())?;
            }
        }
        Ok(())
    })
    .unwrap();
    let stop = AtomicBool::new(false);
    let audits = AtomicU64::new(0);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..6)
            .map(|seed| {
                let (env, banks) = (&env, &banks);
                scope.spawn(move || {
                    let mut dice = Dice(seed * 977 + 1);
                    for round in 0..150 {
                        let moved = env.run(|txn| transfer(banks, txn, &mut dice));
                        // Ten losses in a row are a loss; the money stays where it was.
                        assert!(moved.as_ref().err().is_none_or(|e| e.is_retryable()), "{moved:?}");
                        if round % 10 == 0 {
                            let mut txn = env.begin().unwrap();
                            let _ = transfer(banks, &mut txn, &mut dice);
                            txn.abort().unwrap();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(sum(&banks, &env.snapshot().unwrap()).unwrap(), TOTAL, "a snapshot");
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match env.run(|txn| sum(&banks, txn)) {
                    Ok(sum) => assert_eq!(sum, TOTAL, "a serializable reader"),
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
                audits.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                env.checkpoint().unwrap();
                thread::sleep(Duration::from_millis(10));
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(audits.load(Ordering::Relaxed) > 0);
    assert_eq!(env.stats().locks.locks, 0, "nobody holds anything");
    let report = env.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
    env.abandon();
    let env = Environment::open_on(host, HOME, tiny()).unwrap();
    let banks: Vec<Database> =
        (0..BANKS).map(|bank| env.open_database(&format!("bank {bank}")).unwrap()).collect();
    assert_eq!(sum(&banks, &env.snapshot().unwrap()).unwrap(), TOTAL, "after recovery");
    assert!(env.verify().unwrap().is_clean());
}

#[test]
fn a_hot_key_that_many_count_up_misses_no_one() {
    let env = open(tiny());
    let db = env.create_database("db").unwrap();
    let threads = 4;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..100 {
                    env.run(|txn| {
                        let old = db.get_for_update(txn, "hot")?.map_or(0, |v| amount(&v));
                        db.put(txn, "hot", (old + 1).to_le_bytes())
                    })
                    .unwrap();
                }
            });
        }
    });
    let count = db.get(&env.snapshot().unwrap(), "hot").unwrap().unwrap();
    assert_eq!(amount(&count), threads * 100);
}

/// Whoever reads first and writes then meets others who do the same: one of each two must give way,
/// and gets through all the same, because it comes back stronger.
#[test]
fn losers_of_deadlocks_get_through_when_they_are_run_again() {
    let env = open(tiny());
    let db = env.create_database("db").unwrap();
    let threads = 32;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..50 {
                    env.run(|txn| {
                        let old = db.get(txn, "hot")?.map_or(0, |v| amount(&v));
                        thread::yield_now();
                        db.put(txn, "hot", (old + 1).to_le_bytes())
                    })
                    .unwrap();
                }
            });
        }
    });
    let count = db.get(&env.snapshot().unwrap(), "hot").unwrap().unwrap();
    assert_eq!(amount(&count), threads * 50);
    assert!(env.stats().locks.deadlocks > 0, "nobody met anybody");
}

#[test]
fn writers_of_different_keys_do_not_wait() {
    let env = open(tiny());
    let db = env.create_database("db").unwrap();
    let no_wait = || env.begin_with(TransactionOptions::new().no_wait(true)).unwrap();
    let (mut a, mut b) = (no_wait(), no_wait());
    for number in 0..50_u64 {
        db.put(&mut a, account(2 * number), "a").unwrap();
        db.put(&mut b, account(2 * number + 1), "b").unwrap();
    }
    assert_eq!(db.put(&mut b, account(0), "b").unwrap_err().kind(), ErrorKind::WouldBlock);
    a.commit().unwrap();
    b.commit().unwrap();
    assert_eq!(db.range(&env.snapshot().unwrap(), ..).unwrap().count(), 100);
    assert!(env.verify().unwrap().is_clean());
}

#[test]
fn a_database_is_not_dropped_or_emptied_under_a_transaction_that_uses_it() {
    let env = open(tiny().lock_timeout(Some(Duration::from_millis(10))));
    let db = env.create_database("db").unwrap();
    env.run(|txn| db.put(txn, "k", "v")).unwrap();
    let user = env.begin().unwrap();
    assert!(db.get(&user, "other").unwrap().is_none());
    type Attempt = fn(&Environment, &mut Transaction) -> campanile::Result<()>;
    let attempts: [Attempt; 2] =
        [|env, txn| env.drop_database_in(txn, "db"), |env, txn| env.empty_database_in(txn, "db")];
    for attempt in attempts {
        let mut txn = env.begin().unwrap();
        let error = attempt(&env, &mut txn).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockTimeout);
        assert!(error.to_string().contains("database \"db\""), "{error}");
        txn.abort().unwrap();
    }
    env.rename_database("db", "new name").unwrap();
    assert_eq!(db.get(&user, "k").unwrap().unwrap(), b"v");
    user.commit().unwrap();
    env.drop_database("new name").unwrap();
    let late = env.begin().unwrap();
    assert_eq!(db.get(&late, "k").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn who_waits_for_a_database_that_is_emptied_finds_the_new_one() {
    let env = open(tiny());
    let db = env.create_database("db").unwrap();
    env.run(|txn| db.put(txn, "k", "v")).unwrap();
    let mut emptier = env.begin().unwrap();
    env.empty_database_in(&mut emptier, "db").unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            env.run(|txn| {
                db.put(txn, "new", "v")?;
                Ok(db.range(txn, ..)?.count())
            })
        });
        while env.stats().locks.waiting == 0 {
            thread::yield_now();
        }
        emptier.commit().unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), 1);
    });
    assert!(env.verify().unwrap().is_clean());
}

/// Two transactions that want each other's key; the first to ask waits, the second closes the
/// circle. Gives who lost: 1 or 2.
fn deadlock(env: &Environment, priorities: [u32; 2], writes: [u64; 2]) -> usize {
    let db = env.create_database("db").unwrap();
    let begin = |which: usize| {
        let options = TransactionOptions::new()
            .priority(priorities[which])
            .label(["the first", "the second"][which]);
        let mut txn = env.begin_with(options).unwrap();
        db.put(&mut txn, ["a", "b"][which], "mine").unwrap();
        for number in 0..writes[which] {
            db.put(&mut txn, format!("{which} {number}"), "x").unwrap();
        }
        txn
    };
    let (mut first, mut second) = (begin(0), begin(1));
    let waiting = env.stats().locks.waits;
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            let result = db.put(&mut first, "b", "first");
            drop(first);
            result
        });
        while env.stats().locks.waits == waiting {
            thread::yield_now();
        }
        let result = db.put(&mut second, "a", "second");
        drop(second);
        let results = [first.join().unwrap(), result];
        let lost = results.iter().position(Result::is_err).expect("somebody loses");
        let error = results[lost].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadlock);
        for part in ["the first", "the second", "database \"db\"", ["\"b\"", "\"a\""][lost]] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(results[1 - lost].is_ok());
        lost + 1
    })
}

#[test]
fn the_victim_is_whom_the_policy_says() {
    let policy = |policy| open(tiny().victim(policy));
    assert_eq!(deadlock(&policy(VictimPolicy::Youngest), [100; 2], [0; 2]), 2);
    assert_eq!(deadlock(&policy(VictimPolicy::Oldest), [100; 2], [0; 2]), 1);
    assert_eq!(deadlock(&policy(VictimPolicy::FewestWrites), [100; 2], [1, 5]), 1);
    assert_eq!(deadlock(&policy(VictimPolicy::FewestWrites), [100; 2], [5, 1]), 2);
    assert_eq!(deadlock(&policy(VictimPolicy::FewestLocks), [100; 2], [1, 5]), 1);
    assert_eq!(deadlock(&policy(VictimPolicy::MostLocks), [100; 2], [1, 5]), 2);
    assert_eq!(deadlock(&policy(VictimPolicy::Youngest), [99, 100], [0; 2]), 1, "by priority");
}

#[test]
fn a_transaction_has_its_time_and_no_more() {
    let env = open(tiny());
    let db = env.create_database("db").unwrap();
    let mut holder = env.begin().unwrap();
    db.put(&mut holder, "k", "held").unwrap();
    let options = TransactionOptions::new().timeout(Duration::from_millis(20));
    let mut runs = 0;
    let error = env
        .run_with(options.clone(), |txn| {
            runs += 1;
            db.put(txn, "k", "late")
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TransactionTimeout, "{error}");
    assert_eq!(runs, 1, "the time is for all attempts together");
    let mut txn = env.begin_with(options).unwrap();
    db.put(&mut txn, "other", "v").unwrap();
    thread::sleep(Duration::from_millis(25));
    assert_eq!(txn.commit().unwrap_err().kind(), ErrorKind::TransactionTimeout);
    holder.commit().unwrap();
    assert!(db.get(&env.snapshot().unwrap(), "other").unwrap().is_none());
}

#[test]
fn a_run_within_a_run_does_not_multiply_the_attempts() {
    let env = open(tiny().lock_timeout(Some(Duration::from_millis(2))));
    let db = env.create_database("db").unwrap();
    let mut holder = env.begin().unwrap();
    db.put(&mut holder, "k", "held").unwrap();
    let (mut outer, mut inner) = (0, 0);
    let error = env
        .run(|_| {
            outer += 1;
            env.run(|txn| {
                inner += 1;
                db.put(txn, "k", "late")
            })
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockTimeout);
    assert_eq!((outer, inner), (10, 10));
}

#[test]
fn weaker_levels_see_what_they_may_see() {
    let env = open(tiny());
    let db = env.create_database("db").unwrap();
    env.run(|txn| db.put(txn, "k", "old")).unwrap();
    let at = |isolation| {
        env.begin_with(TransactionOptions::new().isolation(isolation).no_wait(true)).unwrap()
    };
    let committed = at(Isolation::ReadCommitted);
    assert_eq!(db.get(&committed, "k").unwrap().unwrap(), b"old");
    let mut writer = env.begin().unwrap();
    db.put(&mut writer, "k", "new").unwrap();
    db.put(&mut writer, "long", vec![7; 5000]).unwrap();
    let dirty = at(Isolation::ReadUncommitted);
    assert_eq!(db.get(&dirty, "k").unwrap().unwrap(), b"new");
    assert_eq!(db.range(&dirty, .."l").unwrap().count(), 1);
    let refused = db.get(&dirty, "long").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WouldBlock, "pages of it may vanish");
    assert_eq!(db.get(&committed, "k").unwrap_err().kind(), ErrorKind::WouldBlock);
    writer.commit().unwrap();
    assert_eq!(db.get(&committed, "k").unwrap().unwrap(), b"new", "it may change");
    assert_eq!(db.get(&dirty, "long").unwrap().unwrap().len(), 5000);
    assert_eq!(db.range(&dirty, ..).unwrap().count(), 2);
}

#[test]
fn two_who_create_one_database_get_the_same() {
    let env = open(tiny());
    for round in 0..10 {
        let name = format!("db {round}");
        thread::scope(|scope| {
            for writer in 0..4 {
                let (env, name) = (&env, &name);
                scope.spawn(move || {
                    let db = env.create_database(name).unwrap();
                    env.run(|txn| db.put(txn, format!("{writer}"), "v")).unwrap();
                });
            }
        });
        let db = env.open_database(&name).unwrap();
        assert_eq!(db.range(&env.snapshot().unwrap(), ..).unwrap().count(), 4);
    }
    assert!(env.verify().unwrap().is_clean());
}

#[test]
fn what_a_parent_has_scanned_stays_so_when_a_child_inserts_there_and_rolls_back() {
    let env = open(tiny());
    let db = env.create_database("db").unwrap();
    env.run(|txn| db.put(txn, "z", "v")).unwrap();
    let stranger_may = |key: &str| {
        let mut txn = env.begin_with(TransactionOptions::new().no_wait(true)).unwrap();
        db.insert(&mut txn, key, "v").is_ok()
    };
    for commit in [false, true] {
        let parent = env.begin().unwrap();
        assert_eq!(db.range(&parent, ..).unwrap().count(), 1);
        let mut child = parent.nested().unwrap();
        db.insert(&mut child, "m", "v").unwrap();
        if commit {
            child.commit().unwrap()
        } else {
            child.abort().unwrap()
        }
        assert!(!stranger_may("a") && !stranger_may("n"), "a phantom; committed: {commit}");
        parent.abort().unwrap();
        assert!(stranger_may("a") && stranger_may("n"));
    }
}

#[test]
fn a_prepared_transaction_keeps_its_keys_in_any_life_and_hinders_no_check() {
    let host = Host::memory();
    let env = Environment::open_on(host.clone(), HOME, tiny()).unwrap();
    let db = env.create_database("db").unwrap();
    env.run(|txn| db.put(txn, "k", "old")).unwrap();
    let mut txn = env.begin().unwrap();
    db.put(&mut txn, "k", "new").unwrap();
    db.put(&mut txn, "inserted", "new").unwrap();
    drop(txn.prepare(b"gid").unwrap());
    let holds = |env: &Environment| {
        let db = env.open_database("db").unwrap();
        for key in ["k", "inserted"] {
            let mut txn = env.begin_with(TransactionOptions::new().no_wait(true)).unwrap();
            assert_eq!(db.put(&mut txn, key, "x").unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        let mut txn = env.begin_with(TransactionOptions::new().no_wait(true)).unwrap();
        assert!(env.drop_database_in(&mut txn, "db").is_err());
        drop(txn);
        assert!(env.verify().unwrap().is_clean());
        env.run(|txn| db.put(txn, "other", "v")).unwrap();
    };
    holds(&env);
    env.abandon();
    let env = Environment::open_on(host, HOME, tiny()).unwrap();
    holds(&env);
    env.abort_prepared(b"gid").unwrap();
    let db = env.open_database("db").unwrap();
    env.run(|txn| db.put(txn, "inserted", "free")).unwrap();
    assert_eq!(db.get(&env.snapshot().unwrap(), "k").unwrap().unwrap(), b"old");
    assert!(env.verify().unwrap().is_clean());
}
