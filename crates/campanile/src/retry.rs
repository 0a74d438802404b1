//! Running a transaction again when it lost against another one.
//!
//! Owns the bound and the pauses. Promises that only errors that say so are retried, that a loser
//! gets stronger with every attempt, and that a run within a run does not multiply the attempts.
//! Must never retry after the environment failed.

use std::cell::Cell;
use std::time::Duration;

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
#[derive(Clone, Copy)]
struct Budget {
    retries: u32,
    begun_us: u64,
}

thread_local! {
    /// Set while this thread is inside a run.
    static BUDGET: Cell<Option<Budget>> = const { Cell::new(None) };
}

/// Forgets the budget when the outermost run ends, by a panic too.
struct Outermost(bool);

impl Drop for Outermost {
    fn drop(&mut self) {
        if self.0 {
            BUDGET.set(None);
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
    let outer = BUDGET.get();
    if outer.is_none() {
        BUDGET.set(Some(Budget { retries: RETRIES, begun_us }));
    }
    let _outermost = Outermost(outer.is_none());
    let mut options = options.clone();
    let whole = options.timeout;
    let mut attempt = 0;
    loop {
        let error = match once(env, &options, &mut body) {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        if !error.is_retryable() || !may_run_again(outer.is_some(), error.kind(), env) {
            return Err(error);
        }
        let gone = Duration::from_micros(host.clock.monotonic_us().saturating_sub(begun_us));
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

/// Takes one retry from the thread's budget, if this error is worth one.
fn may_run_again(inner: bool, kind: ErrorKind, env: &Environment) -> bool {
    // Whom a run within a run waited for may be the transaction around it.
    if inner && kind == ErrorKind::LockTimeout {
        return false;
    }
    let Some(budget) = BUDGET.get() else { return false };
    let now_us = env.core().host.clock.monotonic_us();
    if budget.retries == 0 || now_us.saturating_sub(budget.begun_us) >= PATIENCE_US {
        return false;
    }
    BUDGET.set(Some(Budget { retries: budget.retries - 1, ..budget }));
    true
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
