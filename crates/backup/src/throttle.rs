//! How fast a backup reads: so many bytes a second, evenly.
//!
//! Owns the schedule of the pieces. Promises that over any stretch of time not more is read than
//! the rate and one piece, however many threads read; that a slow stretch is not made up for by a
//! burst. Must never sleep longer than a moment without asking whether to go on.

use campanile_sync::Mutex;
use campanile_vfs::Host;

use crate::error::BackupError;

/// Pieces are made so small that so many are read in a second.
const PIECES_A_SECOND: u64 = 20;
/// Nobody waits longer than this without being asked whether to stop.
const NAP_US: u64 = 100_000;

/// The pace of one backup, shared by its threads.
#[derive(Debug)]
pub(crate) struct Throttle {
    host: Host,
    rate: Option<u64>,
    /// When the next piece may be read, by the monotonic clock.
    next_us: Mutex<u64>,
}

impl Throttle {
    pub fn new(host: &Host, rate: Option<u64>) -> Throttle {
        let next_us = Mutex::new(host.clock.monotonic_us());
        Throttle { host: host.clone(), rate, next_us }
    }

    /// How much to read at once: at most `most`, at least `least`.
    pub fn piece(&self, least: u64, most: u64) -> u64 {
        let Some(rate) = self.rate else { return most };
        (rate / PIECES_A_SECOND).clamp(least, most.max(least))
    }

    /// Waits until `bytes` more may be read; `go_on` is asked now and then.
    pub fn wait(
        &self,
        bytes: u64,
        mut go_on: impl FnMut() -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let Some(rate) = self.rate else { return Ok(()) };
        let clock = &self.host.clock;
        let turn = {
            let mut next = self.next_us.lock();
            // What was not used is lost: no burst follows.
            let turn = (*next).max(clock.monotonic_us());
            let takes = u128::from(bytes) * 1_000_000 / u128::from(rate);
            *next = turn.saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
            turn
        };
        loop {
            let now = clock.monotonic_us();
            if now >= turn {
                return Ok(());
            }
            clock.sleep_us((turn - now).min(NAP_US));
            go_on()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_vfs::sim::{SimDisk, SimOptions};

    #[test]
    fn so_many_bytes_a_second_and_no_burst_after_a_pause() {
        let host = SimDisk::new(SimOptions::new(1)).host();
        let throttle = Throttle::new(&host, Some(1_000_000));
        assert_eq!(throttle.piece(4096, 1 << 20), 50_000);
        let began = host.clock.monotonic_us();
        let read =
            |pieces: u64| (0..pieces).for_each(|_| throttle.wait(50_000, || Ok(())).unwrap());
        read(41);
        let took = host.clock.monotonic_us() - began;
        assert!((1_990_000..2_200_000).contains(&took), "2 MB in {took} us");
        host.clock.sleep_us(10_000_000);
        let began = host.clock.monotonic_us();
        read(21);
        let took = host.clock.monotonic_us() - began;
        assert!((990_000..1_100_000).contains(&took), "1 MB in {took} us, after a pause");
    }

    #[test]
    fn a_slow_pace_can_be_stopped_at_any_moment() {
        let host = SimDisk::new(SimOptions::new(1)).host();
        let throttle = Throttle::new(&host, Some(1));
        throttle.wait(8192, || Ok(())).unwrap();
        let mut asked = 0;
        let stopped = throttle.wait(8192, || {
            asked += 1;
            if asked < 5 { Ok(()) } else { Err(BackupError::Cancelled { phase: "waiting" }) }
        });
        assert!(stopped.is_err());
        assert!(host.clock.monotonic_us() < 1_000_000);
        let unbound = Throttle::new(&host, None);
        assert_eq!(unbound.piece(4096, 1 << 20), 1 << 20);
        unbound.wait(u64::MAX, || Ok(())).unwrap();
    }
}
