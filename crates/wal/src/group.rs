//! Group commit: who flushes, who waits, and for whom the leader waits.
//!
//! Owns the forming group and the two words that wake the members of groups. Promises (W8) that
//! whoever joined a group returns only after a flush that began after the joining, and that the end
//! of a group is announced even if its leader fails or unwinds. Must never do I/O, and must never
//! make a lone committer wait.
//!
//! The first to join a group leads it. While the flush of the group before runs, members gather.
//! Then the leader yields the processor for a few microseconds, for the committers that the last
//! flush released and that are about to come back: without that, committers fall into two halves
//! that take turns, and each sync carries half of them (measured). A member that has its answer
//! takes no mutex: it waits on the word of its group, and groups alternate between two words.

use campanile_sync::atomic::{AtomicU32, Ordering};
use campanile_sync::{Mutex, WaitWord};
use campanile_vfs::Clock;

/// Longest time the leader yields for the committers it expects.
const PATIENCE_US: u64 = 40;
/// Most groups that are not waited for after waiting was in vain.
const PENALTY_MAX: u32 = 32;

/// The committers that wait for a flush.
#[derive(Debug)]
pub(crate) struct Group {
    state: Mutex<State>,
    /// The last finished group of even and of odd number.
    finished: [WaitWord; 2],
    /// `State::joined`, for the leader to look at without the mutex.
    joined: AtomicU32,
}

#[derive(Debug)]
struct State {
    /// The group that can be joined. Numbers wrap.
    forming: u32,
    /// Its members so far.
    joined: u32,
    /// How many the next group is expected to have.
    expected: u32,
    /// Groups still to go without waiting.
    skip: u32,
    /// Groups to skip after the next wait in vain.
    penalty: u32,
}

/// What [`Group::join`] made of the caller.
pub(crate) enum Role<'g> {
    /// The caller flushes, for all members; dropping the value announces the end.
    Leader(Lead<'g>),
    /// The flush of the caller's group is over.
    Member,
}

/// The right, and the duty, to flush. One exists at a time.
pub(crate) struct Lead<'g> {
    group: &'g Group,
    number: u32,
    members: u32,
}

impl Group {
    pub(crate) fn new() -> Group {
        // Group 0 is over, group 1 forms, and no odd group is over: one before 1 is below it.
        Group {
            state: Mutex::new(State { forming: 1, joined: 0, expected: 0, skip: 0, penalty: 1 }),
            finished: [WaitWord::new(0), WaitWord::new(u32::MAX)],
            joined: AtomicU32::new(0),
        }
    }

    /// Joins the forming group: returns when its flush is over, or when it is the caller's turn to
    /// run it. With a clock, a leader yields for the committers it expects.
    pub(crate) fn join(&self, patience: Option<&dyn Clock>) -> Role<'_> {
        let (number, leads) = {
            let mut state = self.state.lock();
            state.joined += 1;
            self.joined.store(state.joined, Ordering::Relaxed);
            (state.forming, state.joined == 1)
        };
        if !leads {
            self.wait_for(number);
            return Role::Member;
        }
        self.wait_for(number.wrapping_sub(1));
        if let Some(clock) = patience {
            self.gather(clock);
        }
        let mut state = self.state.lock();
        assert_eq!(state.forming, number, "a group has one leader");
        let members = state.joined;
        state.forming = number.wrapping_add(1);
        state.joined = 0;
        self.joined.store(0, Ordering::Relaxed);
        drop(state);
        Role::Leader(Lead { group: self, number, members })
    }

    /// Yields until the expected committers have joined, or patience ends.
    fn gather(&self, clock: &dyn Clock) {
        let expected = {
            let mut state = self.state.lock();
            if state.skip > 0 {
                state.skip -= 1;
                return;
            }
            state.expected
        };
        if self.joined.load(Ordering::Relaxed) >= expected {
            return;
        }
        let deadline = clock.monotonic_us() + PATIENCE_US;
        let came = loop {
            campanile_sync::thread::yield_now();
            if self.joined.load(Ordering::Relaxed) >= expected {
                break true;
            }
            if clock.monotonic_us() >= deadline {
                break false;
            }
        };
        let mut state = self.state.lock();
        if came {
            state.penalty = 1;
        } else {
            state.skip = state.penalty;
            state.penalty = (state.penalty * 2).min(PENALTY_MAX);
        }
    }

    /// The word of group `number`.
    fn word(&self, number: u32) -> &WaitWord {
        let [even, odd] = &self.finished;
        if number.is_multiple_of(2) { even } else { odd }
    }

    /// Waits until group `number` is over.
    fn wait_for(&self, number: u32) {
        let word = self.word(number);
        loop {
            let last = word.load(Ordering::Acquire);
            // Numbers wrap, and a slow member may find a later group of the same word over.
            if last.wrapping_sub(number) < u32::MAX / 2 {
                return;
            }
            word.wait(last);
        }
    }
}

impl Lead<'_> {
    /// How many the flush is for.
    pub(crate) fn members(&self) -> u32 {
        self.members
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut state = self.group.state.lock();
        state.expected = self.members + state.joined;
        drop(state);
        let word = self.group.word(self.number);
        word.store(self.number, Ordering::Release);
        // One call wakes the members and the leader of the group that has formed meanwhile.
        word.wake_all();
    }
}
