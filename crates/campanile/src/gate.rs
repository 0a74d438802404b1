//! Who is inside an environment, and how it is closed behind them.
//!
//! Owns the count of open transactions and the place of those who work beside them. Promises that
//! closing refuses while a transaction is open, waits for checkpoints and background steps, and
//! that nobody begins anything once it has closed. Must never wait for a transaction.

use campanile_sync::RwLock;
use campanile_sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Closing waits for nobody, but refuses while a transaction is open.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How many are inside, and [`CLOSED`]: one word, so that nobody slips in while it closes and
    /// nobody is turned away by an attempt to close that is refused.
    state: AtomicU64,
    /// Shared by whoever works beside transactions (checkpoints, background steps), so that
    /// closing begins when they are out, and keeps them out.
    upkeep: RwLock<()>,
}

const CLOSED: u64 = 1 << 63;

impl Gate {
    /// Counts a transaction in.
    pub fn enter(&self) -> Result<()> {
        if self.state.fetch_add(1, Ordering::SeqCst) & CLOSED != 0 {
            self.leave();
            return Err(closed());
        }
        Ok(())
    }

    /// Counts a transaction out.
    pub fn leave(&self) {
        self.state.fetch_sub(1, Ordering::SeqCst);
    }

    /// Work beside transactions, which closing waits for.
    pub fn tend<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _upkeep = self.upkeep.read();
        if self.is_closed() {
            return Err(closed());
        }
        work()
    }

    /// Closes behind the last transaction; `last` is done when nobody is inside any more.
    pub fn close<T>(&self, last: impl FnOnce() -> T) -> Result<T> {
        match self.state.compare_exchange(0, CLOSED, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => {}
            Err(state) if state & CLOSED != 0 => return Err(closed()),
            Err(open) => {
                let what =
                    format!("{open} transactions are open: commit or abort them, then close");
                return Err(Error::new(ErrorKind::Busy, what));
            }
        }
        let _nobody = self.upkeep.write();
        Ok(last())
    }

    /// Closes whoever is inside.
    pub fn force(&self) {
        self.state.fetch_or(CLOSED, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }
}

/// What everybody hears afterwards.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the environment was closed; open it again")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_gate_closes_only_behind_the_last_transaction() {
        let gate = Gate::default();
        gate.enter().unwrap();
        assert_eq!(gate.close(|| ()).unwrap_err().kind(), ErrorKind::Busy);
        gate.enter().unwrap();
        gate.leave();
        gate.leave();
        gate.close(|| ()).unwrap();
        assert_eq!(gate.enter().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(gate.close(|| ()).unwrap_err().kind(), ErrorKind::Closed);
    }
}

/// For loom: shutdown beside a transaction and beside a step, in every interleaving.
#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;

    use campanile_sync::{every_interleaving, some_interleaving_fails, thread};

    use super::*;

    /// Two who work beside a closing; `work` gets the gate and a flag that is set once it closed.
    fn beside_closing(work: fn(&Gate, &AtomicU64)) {
        let (gate, shut) = (Arc::new(Gate::default()), Arc::new(AtomicU64::new(0)));
        let others = [0, 1].map(|_| {
            let (gate, shut) = (Arc::clone(&gate), Arc::clone(&shut));
            thread::spawn(move || work(&gate, &shut))
        });
        let closed = gate.close(|| shut.store(1, Ordering::SeqCst));
        assert_eq!(closed.is_ok(), gate.is_closed());
        others.into_iter().for_each(|other| other.join().unwrap());
        if closed.is_err() {
            gate.close(|| ()).unwrap();
        }
        assert_eq!(gate.enter().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(gate.tend(|| Ok(())).unwrap_err().kind(), ErrorKind::Closed);
    }

    #[test]
    fn no_transaction_is_inside_when_the_last_is_done() {
        every_interleaving(None, || {
            beside_closing(|gate, shut| {
                if gate.enter().is_ok() {
                    assert_eq!(shut.load(Ordering::SeqCst), 0, "inside after the end");
                    gate.leave();
                }
            });
        });
    }

    #[test]
    fn no_step_is_under_way_when_the_last_is_done() {
        every_interleaving(Some(4), || {
            beside_closing(|gate, shut| {
                let _ = gate.tend(|| {
                    assert_eq!(shut.load(Ordering::SeqCst), 0, "a step after the end");
                    Ok(())
                });
            });
        });
    }

    #[test]
    fn a_step_that_asks_first_and_comes_in_second_is_found() {
        assert!(some_interleaving_fails(Some(4), || {
            beside_closing(|gate, shut| {
                if !gate.is_closed() {
                    assert_eq!(shut.load(Ordering::SeqCst), 0, "a step after the end");
                }
            });
        }));
    }
}
