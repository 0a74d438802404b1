//! Running a transaction again when it lost against another one.
//!
//! Owns the bound and the pauses. Promises that only errors that say so are retried. Must never
//! retry after the environment failed.

use crate::environment::Environment;
use crate::error::Result;
use crate::transaction::Transaction;

/// How often a transaction is run at most.
const ATTEMPTS: u32 = 10;
/// The longest first pause; the bound doubles with each attempt.
const PAUSE_US: u64 = 500;
/// After this long nothing is run again: whoever waits for a lock that its own thread holds, in a
/// transaction within a transaction, must learn of it after one timeout, not after ten times ten.
const PATIENCE_US: u64 = 60_000_000;

pub(crate) fn run<T>(
    env: &Environment,
    mut body: impl FnMut(&mut Transaction) -> Result<T>,
) -> Result<T> {
    let clock = &env.core().host.clock;
    let begun_us = clock.monotonic_us();
    let mut attempt = 1;
    loop {
        let error = match once(env, &mut body) {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        let is_late = clock.monotonic_us().saturating_sub(begun_us) >= PATIENCE_US;
        if !error.is_retryable() || attempt == ATTEMPTS || is_late {
            return Err(error);
        }
        // A random pause, so that two losers do not meet again and again.
        let host = &env.core().host;
        let bound = PAUSE_US << attempt;
        clock.sleep_us(host.random.next_u64() % bound);
        tracing::debug!(attempt, %error, "transaction runs again");
        attempt += 1;
    }
}

fn once<T>(env: &Environment, body: &mut impl FnMut(&mut Transaction) -> Result<T>) -> Result<T> {
    let mut txn = env.begin()?;
    match body(&mut txn) {
        Ok(result) => {
            txn.commit()?;
            Ok(result)
        }
        // Dropping rolls back; what went wrong first is what the caller wants to know.
        Err(error) => Err(error),
    }
}
