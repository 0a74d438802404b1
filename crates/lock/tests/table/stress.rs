//! Many threads: never two incompatible holders, never a hang, nothing left behind.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use campanile_lock::{
    LockError, LockName, LockOptions, LockTable, Mode, OwnerId, OwnerInfo, VictimPolicy, Wait,
};

/// An observer beside the table: what its users believe they hold.
#[derive(Default)]
struct Observer {
    held: Mutex<HashMap<LockName, Vec<Belief>>>,
}

/// Who, of which family, in which mode.
type Belief = (OwnerId, OwnerId, Mode);

impl Observer {
    /// `root` is the owner's outermost ancestor: within a family anything may be held.
    fn granted(&self, owner: OwnerId, root: OwnerId, name: LockName, mode: Mode) {
        let mut held = self.held.lock().unwrap();
        let holders = held.entry(name).or_default();
        for (other, other_root, their_mode) in holders.iter() {
            let fine = *other_root == root || their_mode.is_compatible(mode);
            assert!(fine, "{owner} has {mode}, {other} has {their_mode} on {name}");
        }
        holders.push((owner, root, mode));
    }

    /// To be told before the table is.
    fn ending(&self, owner: OwnerId) {
        self.held.lock().unwrap().values_mut().for_each(|holders| {
            holders.retain(|(holder, _, _)| *holder != owner);
        });
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const MODES: [Mode; 8] =
    [Mode::S, Mode::X, Mode::GAP_S, Mode::GAP_X, Mode::RANGE_S, Mode::RANGE_X, Mode::IX, Mode::SIX];

struct Stress {
    table: LockTable,
    observer: Observer,
    next_owner: AtomicU64,
    deadlocks: AtomicU64,
    timeouts: AtomicU64,
}

impl Stress {
    /// One transaction: some locks, sometimes a nested transaction, then the end.
    fn transaction(&self, dice: &mut Dice, names: u64) {
        let owner = OwnerId(self.next_owner.fetch_add(1, Ordering::Relaxed));
        let mut ok = self.take_some(dice, names, owner, owner);
        if ok && dice.roll(4) == 0 {
            let child = OwnerId(self.next_owner.fetch_add(1, Ordering::Relaxed));
            let parent = Some(owner);
            self.table.register(child, OwnerInfo { parent, ..OwnerInfo::default() });
            ok = self.take_some(dice, names, child, owner);
            if ok && dice.roll(2) == 0 {
                // The observer goes on under the child's number: it is one family.
                self.table.transfer(child, owner);
                self.observer.ending(child);
            } else {
                self.observer.ending(child);
                self.table.release_all(child);
            }
            ok = ok && self.take_some(dice, names, owner, owner);
        }
        if ok && dice.roll(8) == 0 {
            thread::yield_now();
        }
        self.observer.ending(owner);
        self.table.release_all(owner);
    }

    fn take_some(&self, dice: &mut Dice, names: u64, owner: OwnerId, root: OwnerId) -> bool {
        for _ in 0..1 + dice.roll(4) {
            let name = LockName::key(16, dice.roll(names));
            let mode = MODES[dice.roll(8) as usize];
            let wait = match dice.roll(8) {
                0 => Wait::No,
                1 => Wait::AtMost(Duration::from_micros(dice.roll(300))),
                _ => Wait::Forever,
            };
            match self.table.acquire(owner, name, mode, wait) {
                Ok(_) => self.observer.granted(owner, root, name, mode),
                Err(LockError::WouldBlock { .. }) => {}
                Err(LockError::Deadlock { .. }) => {
                    self.deadlocks.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
                Err(LockError::Timeout { .. }) => {
                    self.timeouts.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
                Err(error) => panic!("{error}"),
            }
        }
        true
    }
}

fn stress(policy: VictimPolicy, names: u64, threads: u64, rounds: u64) {
    let options = LockOptions { shards: 4, victim: policy, ..LockOptions::default() };
    let stress = Arc::new(Stress {
        table: LockTable::new(options),
        observer: Observer::default(),
        next_owner: AtomicU64::new(1),
        deadlocks: AtomicU64::new(0),
        timeouts: AtomicU64::new(0),
    });
    let done = Arc::new(AtomicBool::new(false));
    let checker = {
        let (stress, done) = (Arc::clone(&stress), Arc::clone(&done));
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                stress.table.assert_consistent();
                let _ = stress.table.dump().to_string();
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let workers: Vec<_> = (1..=threads)
        .map(|seed| {
            let stress = Arc::clone(&stress);
            thread::spawn(move || {
                let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                (0..rounds).for_each(|_| stress.transaction(&mut dice, names));
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    done.store(true, Ordering::Relaxed);
    checker.join().unwrap();
    let dump = stress.table.dump();
    assert!(dump.locks.is_empty() && dump.owners.is_empty(), "{dump}");
    let stats = stress.table.stats();
    assert_eq!(stats.deadlocks, stress.deadlocks.load(Ordering::Relaxed));
    assert_eq!(stats.timeouts, stress.timeouts.load(Ordering::Relaxed));
    assert!(stats.waits > 0 && stats.deadlocks > 0, "too tame: {stats:?}");
}

#[test]
fn few_names_many_conflicts() {
    stress(VictimPolicy::Youngest, 3, 8, 1500);
}

#[test]
fn more_names_longer_circles() {
    stress(VictimPolicy::FewestLocks, 12, 12, 1000);
}

#[test]
fn random_victims() {
    stress(VictimPolicy::Random, 6, 6, 1500);
}
