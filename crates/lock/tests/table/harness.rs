//! What the tests share: names, owners, and requests that wait on a thread of their own.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use campanile_lock::{Granted, LockError, LockName, LockOptions, LockTable, Mode, OwnerId, Wait};

pub const A: LockName = LockName::key(16, 1001);
pub const B: LockName = LockName::key(16, 1002);
pub const C: LockName = LockName::key(17, 1001);

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub type Answer = Result<Granted, LockError>;

/// A table, and a shorthand for what tests do with it.
#[derive(Clone)]
pub struct Scene {
    pub table: Arc<LockTable>,
}

impl Scene {
    pub fn new() -> Scene {
        Scene::with(LockOptions::default())
    }

    pub fn with(options: LockOptions) -> Scene {
        Scene { table: Arc::new(LockTable::new(options)) }
    }

    /// Asks without waiting.
    pub fn ask(&self, owner: u64, name: LockName, mode: Mode) -> Answer {
        self.table.acquire(OwnerId(owner), name, mode, Wait::No)
    }

    /// Takes what must be free.
    #[track_caller]
    pub fn take(&self, owner: u64, name: LockName, mode: Mode) {
        let answer = self.ask(owner, name, mode);
        assert!(answer.is_ok(), "{mode} for {owner}: {answer:?}");
        self.table.assert_consistent();
    }

    /// Asks on another thread; returns when the request is in the queue.
    #[track_caller]
    pub fn queue(&self, owner: u64, name: LockName, mode: Mode) -> Waiting {
        let waiting = self.start(owner, name, mode);
        self.until(|| waiting.thread.is_finished() || self.is_queued(owner, name));
        assert!(!waiting.thread.is_finished(), "{owner} does not wait for {mode}");
        self.table.assert_consistent();
        waiting
    }

    /// Asks on another thread.
    pub fn start(&self, owner: u64, name: LockName, mode: Mode) -> Waiting {
        let table = Arc::clone(&self.table);
        let thread =
            thread::spawn(move || table.acquire(OwnerId(owner), name, mode, Wait::Forever));
        Waiting { thread }
    }

    pub fn is_queued(&self, owner: u64, name: LockName) -> bool {
        let dump = self.table.dump();
        let lock = dump.locks.iter().find(|lock| lock.name == name);
        lock.is_some_and(|lock| lock.waiters.iter().any(|(waiter, _)| waiter.0 == owner))
    }

    #[track_caller]
    pub fn until(&self, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "it hangs:\n{}", self.table.dump());
            thread::sleep(Duration::from_micros(100));
        }
    }

    pub fn end(&self, owner: u64) {
        self.table.release_all(OwnerId(owner));
        self.table.assert_consistent();
    }

    /// Nothing is left of anybody.
    #[track_caller]
    pub fn assert_empty(&self) {
        let dump = self.table.dump();
        assert!(dump.locks.is_empty() && dump.owners.is_empty(), "{dump}");
    }
}

/// A request on a thread of its own.
pub struct Waiting {
    thread: JoinHandle<Answer>,
}

impl Waiting {
    pub fn is_waiting(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Waits for the answer, which must come.
    #[track_caller]
    pub fn answer(self) -> Answer {
        let begun = Instant::now();
        while !self.thread.is_finished() {
            assert!(begun.elapsed() < PATIENCE, "no answer");
            thread::sleep(Duration::from_micros(100));
        }
        self.thread.join().unwrap()
    }

    #[track_caller]
    pub fn granted(self) {
        let answer = self.answer();
        assert!(answer.is_ok(), "{answer:?}");
    }

    #[track_caller]
    pub fn deadlock(self) {
        let answer = self.answer();
        assert!(matches!(answer, Err(LockError::Deadlock { .. })), "{answer:?}");
    }
}
