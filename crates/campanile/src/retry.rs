//! Running a transaction again when it lost against another one.
//!
//! Owns the bound and the pauses. Promises that only errors that say so are retried, that a loser
//! gets stronger with every attempt, and that a run within a run of the same environment, on the
//! same thread, does not multiply the attempts. Must never retry after the environment failed, or
//! let runs of other environments or threads count.

use std::collections::HashMap;
use std::time::Duration;

use campanile_sync::Mutex;
use campanile_sync::thread::{self, ThreadId};

use crate::environment::Environment;
use crate::error::{ErrorKind, Result};
use crate::transaction::Transaction;
use crate::transaction_options::TransactionOptions;

/// How often the outermost run, and all runs within it together, begin a transaction again.
const RETRIES: u32 = 9;
/// The longest first pause; the bound doubles with each attempt.
const PAUSE_US: u64 = 500;
/// The longest pause of all.
const PAUSE_MAX_US: u64 = 100_000;
/// After this long nothing is run again: whoever waits for a lock that its own thread holds, in a
/// transaction within a transaction, must learn of it after one timeout, not after ten times ten.
const PATIENCE_US: u64 = 60_000_000;

/// What is left of the patience of the outermost run of a thread.
#[derive(Clone, Copy, Debug)]
struct Budget {
    retries: u32,
    begun_us: u64,
}

/// The runs that are under way in one environment: for each thread, what the outermost has left.
#[derive(Debug, Default)]
pub(crate) struct Runs(Mutex<HashMap<ThreadId, Budget>>);

/// One run, the outermost or one within it.
struct Run<'r> {
    runs: &'r Runs,
    thread: ThreadId,
    outermost: bool,
}

impl Runs {
    fn begin(&self, now_us: u64) -> Run<'_> {
        let thread = thread::current().id();
        let mut budgets = self.0.lock();
        let outermost = !budgets.contains_key(&thread);
        budgets.entry(thread).or_insert(Budget { retries: RETRIES, begun_us: now_us });
        Run { runs: self, thread, outermost }
    }
}

impl Run<'_> {
    /// Takes one retry from the budget, if this error is worth one.
    fn may_run_again(&self, kind: ErrorKind, now_us: u64) -> bool {
        // Whom a run within a run waited for may be the transaction around it.
        if !self.outermost && kind == ErrorKind::LockTimeout {
            return false;
        }
        let mut budgets = self.runs.0.lock();
        let Some(budget) = budgets.get_mut(&self.thread) else { return false };
        let in_time = now_us.saturating_sub(budget.begun_us) < PATIENCE_US;
        let may = budget.retries > 0 && in_time;
        budget.retries -= u32::from(may);
        may
    }
}

/// Forgets the budget when the outermost run ends, by a panic too.
impl Drop for Run<'_> {
    fn drop(&mut self) {
        if self.outermost {
            self.runs.0.lock().remove(&self.thread);
        }
    }
}

pub(crate) fn run<T>(
    env: &Environment,
    options: &TransactionOptions,
    mut body: impl FnMut(&mut Transaction) -> Result<T>,
) -> Result<T> {
    let host = &env.core().host;
    let begun_us = host.clock.monotonic_us();
    let run = env.core().runs.begin(begun_us);
    let mut options = options.clone();
    let whole = options.timeout;
    let mut attempt = 0;
    loop {
        let error = match once(env, &options, &mut body) {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        let now_us = host.clock.monotonic_us();
        if !error.is_retryable() || !run.may_run_again(error.kind(), now_us) {
            return Err(error);
        }
        let gone = Duration::from_micros(now_us.saturating_sub(begun_us));
        if let Some(whole) = whole {
            match whole.checked_sub(gone) {
                Some(left) if !left.is_zero() => options.timeout = Some(left),
                _ => return Err(error),
            }
        }
        attempt += 1;
        options.priority = options.priority.saturating_add(1);
        // A random pause, so that two losers do not meet again and again.
        let bound = (PAUSE_US << attempt).min(PAUSE_MAX_US);
        host.clock.sleep_us(host.random.next_u64() % bound);
        tracing::debug!(attempt, %error, "transaction runs again");
    }
}

fn once<T>(
    env: &Environment,
    options: &TransactionOptions,
    body: &mut impl FnMut(&mut Transaction) -> Result<T>,
) -> Result<T> {
    let mut txn = env.begin_with(options.clone())?;
    match body(&mut txn) {
        Ok(result) => {
            txn.commit()?;
            Ok(result)
        }
        // Dropping rolls back; what went wrong first is what the caller wants to know.
        Err(error) => Err(error),
    }
}
