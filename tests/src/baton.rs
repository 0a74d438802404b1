//! The baton: of several threads, only the one that has it runs, and whom it goes to is decided by
//! a seed. So sessions can be written as plain code, each on a thread of its own, and still take
//! their turns in the same order each time.

use crate::workload::Choices;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Passed between as many threads as it was made for.
#[derive(Debug)]
pub struct Baton {
    floor: Mutex<Floor>,
    passed: Condvar,
}

#[derive(Debug)]
struct Floor {
    /// Who still plays.
    playing: Vec<bool>,
    holder: usize,
    choices: Choices,
}

impl Floor {
    /// Hands it to anyone who still plays, perhaps to the holder again.
    fn hand_on(&mut self) {
        let playing: Vec<usize> =
            (0..self.playing.len()).filter(|who| self.playing[*who]).collect();
        if !playing.is_empty() {
            self.holder = *self.choices.pick(&playing);
        }
    }
}

impl Baton {
    /// For `players` threads, numbered from 0; the seed decides who has it when.
    pub fn new(players: usize, seed: u64) -> Baton {
        let mut floor =
            Floor { playing: vec![true; players], holder: 0, choices: Choices::new(seed) };
        floor.hand_on();
        Baton { floor: Mutex::new(floor), passed: Condvar::new() }
    }

    /// Waits until `me` has it.
    pub fn take(&self, me: usize) {
        let floor = self.floor();
        let mine = self.passed.wait_while(floor, |floor| floor.holder != me);
        drop(mine.unwrap_or_else(PoisonError::into_inner));
    }

    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it away and waits until it is back.
    pub fn pass(&self, me: usize) {
        self.floor().hand_on();
        self.passed.notify_all();
        self.take(me);
    }

    /// Gives it away for good.
    pub fn leave(&self, me: usize) {
        let mut floor = self.floor();
        floor.playing[me] = false;
        floor.hand_on();
        drop(floor);
        self.passed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn order(seed: u64) -> Vec<usize> {
        let (baton, order) = (Baton::new(3, seed), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for me in 0..3 {
                let (baton, order) = (&baton, &order);
                scope.spawn(move || {
                    baton.take(me);
                    for _ in 0..20 {
                        order.lock().expect("no panic").push(me);
                        baton.pass(me);
                    }
                    baton.leave(me);
                });
            }
        });
        order.into_inner().expect("no panic")
    }

    #[test]
    fn one_runs_at_a_time_in_an_order_that_the_seed_decides() {
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert_eq!(order(3).len(), 60);
    }
}
