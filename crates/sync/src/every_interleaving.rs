//! Runs a model under every interleaving that loom distinguishes.

use std::sync::Arc;

use crate::plain::{AtomicU64, Ordering};

/// Runs `body` again and again until every interleaving has been seen in which no more than
/// `preemptions` times a thread is stopped that could have gone on; without a number, all of them.
/// What needs many such stops to go wrong is rare, and shuttle's part.
///
/// # Panics
/// As `body` does in any interleaving, and if threads wait for each other for ever.
pub fn every_interleaving(preemptions: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions.or(builder.preemption_bound);
    builder.max_branches = 50_000;
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        body();
    });
    println!("{} interleavings", seen.load(Ordering::Relaxed));
}

/// Whether `body` goes wrong in some interleaving: for models of bugs made on purpose.
pub fn some_interleaving_fails(
    preemptions: Option<usize>,
    body: impl Fn() + Sync + Send + 'static,
) -> bool {
    let run = std::panic::AssertUnwindSafe(|| every_interleaving(preemptions, body));
    std::panic::catch_unwind(run).is_err()
}
