//! How long something took: by the clock, and on a processor.
//!
//! Owns [`Stopwatch`]. Promises that time for which the thread waited (for the disk, for a lock,
//! for its turn on a busy machine) is in the one figure and not in the other. Must never be needed
//! for anything but a report.

use std::fs;
use std::time::{Duration, Instant};

/// A running measurement of this thread.
#[derive(Debug)]
pub struct Stopwatch {
    started: Instant,
    on_processor: Option<Duration>,
}

/// A finished one.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// By the clock.
    pub time: Duration,
    /// On a processor, this thread alone; none where the system does not tell.
    pub on_processor: Option<Duration>,
}

impl Stopwatch {
    /// Starts.
    #[must_use]
    pub fn start() -> Stopwatch {
        Stopwatch { started: Instant::now(), on_processor: on_processor() }
    }

    /// The time since the start, by the clock.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Stops; on the thread that started.
    #[must_use]
    pub fn stop(self) -> Took {
        let time = self.elapsed();
        let on_processor = self.on_processor.zip(on_processor());
        Took { time, on_processor: on_processor.map(|(from, to)| to.saturating_sub(from)) }
    }
}

/// What this thread has spent on a processor so far.
fn on_processor() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}
