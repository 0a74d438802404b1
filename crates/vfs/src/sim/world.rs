//! Simulated time, chance and adversity: the rest of a deterministic [`Host`](crate::Host).
//!
//! Owns rule F9. Promises the same answers for the same seed and the same questions, and a
//! monotonic clock that never goes back. Must never consult the real world.

use std::collections::BTreeMap;
use std::sync::Arc;

use campanile_sync::Mutex;

use super::dice::{Dice, mix};
use super::{Counters, Rule, Trigger};
use crate::{Adversary, Clock, Random};

/// 2026-01-01, in microseconds since 1970: when every simulated world begins.
const START_US: u64 = 1_767_225_600_000_000;

/// A clock that moves a little with every call, and when it is told to.
#[derive(Debug)]
pub struct SimClock {
    time: Mutex<Time>,
    counters: Arc<Counters>,
}

#[derive(Clone, Debug)]
struct Time {
    monotonic_us: u64,
    wall_ahead_us: i64,
    jumps: Option<Jumps>,
    reads: u64,
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Jumps {
    trigger: Trigger,
    by_us_max: u64,
}

impl SimClock {
    pub(super) fn new(seed: u64, counters: Arc<Counters>) -> SimClock {
        let time = Time { monotonic_us: 0, wall_ahead_us: 0, jumps: None, reads: 0, seed };
        SimClock { time: Mutex::new(time), counters }
    }

    /// A clock that goes its own way from here on.
    pub(super) fn fork(&self) -> SimClock {
        let time = Mutex::new(self.time.lock().clone());
        SimClock { time, counters: Arc::clone(&self.counters) }
    }

    /// Lets time pass.
    pub fn advance_us(&self, us: u64) {
        self.time.lock().monotonic_us += us;
    }

    /// F9: the wall clock jumps, forward or back; the monotonic clock does not.
    pub fn jump_us(&self, by_us: i64) {
        self.time.lock().wall_ahead_us += by_us;
        self.counters.count(Rule::ClockJumped);
    }

    /// F9: from now on, reads of the wall clock that the trigger picks find that it has jumped by
    /// up to so much, forward or back, by seed. The trigger counts reads of the wall clock.
    pub fn jump_at_reads(&self, trigger: Trigger, by_us_max: u64) {
        let mut time = self.time.lock();
        time.jumps = Some(Jumps { trigger, by_us_max });
        time.reads = 0;
    }
}

impl Clock for SimClock {
    fn now_us(&self) -> u64 {
        let mut time = self.time.lock();
        time.monotonic_us += 1;
        let read = time.reads;
        time.reads += 1;
        if let Some(Jumps { trigger, by_us_max }) = time.jumps {
            let mut dice = Dice::new(mix(time.seed, 9), read);
            if trigger.fires(read, read, &mut dice) {
                let by_us = dice.below(by_us_max.saturating_add(1)).min(i64::MAX as u64) as i64;
                time.wall_ahead_us += if dice.coin() { by_us } else { -by_us };
                self.counters.count(Rule::ClockJumped);
            }
        }
        (START_US + time.monotonic_us).saturating_add_signed(time.wall_ahead_us)
    }

    fn monotonic_us(&self) -> u64 {
        let mut time = self.time.lock();
        time.monotonic_us += 1;
        time.monotonic_us
    }

    fn sleep_us(&self, us: u64) {
        self.advance_us(us);
        // Whoever sleeps waits for another thread, if there is one.
        campanile_sync::thread::yield_now();
    }
}

/// Seeded numbers.
#[derive(Debug)]
pub struct SimRandom(Mutex<Dice>);

impl SimRandom {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> SimRandom {
        SimRandom(Mutex::new(Dice::new(seed, 1)))
    }
}

impl Random for SimRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().next()
    }
}

/// Strikes at some sites of a seed and not at others: one coin per site per seed decides whether
/// a site is struck at all, and then it is struck one time in a few.
#[derive(Debug)]
pub struct SimAdversary {
    seed: u64,
    sites: Mutex<BTreeMap<&'static str, Site>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Site {
    asked: u64,
    struck: u64,
}

impl SimAdversary {
    /// The adversary of a seed.
    pub fn new(seed: u64) -> SimAdversary {
        SimAdversary { seed, sites: Mutex::default() }
    }

    /// Every site that has asked: how often it asked, how often it was struck.
    pub fn sites(&self) -> BTreeMap<&'static str, (u64, u64)> {
        let sites = self.sites.lock();
        sites.iter().map(|(name, site)| (*name, (site.asked, site.struck))).collect()
    }
}

impl Adversary for SimAdversary {
    fn strikes(&self, site: &'static str) -> bool {
        let coin = mix(self.seed, super::dice::digest(site.as_bytes()));
        let mut sites = self.sites.lock();
        let seen = sites.entry(site).or_default();
        let nth = seen.asked;
        seen.asked += 1;
        // The site's coin, then how often: every time, or one in 4, 16 or 64.
        let one_in = [1, 4, 16, 64][(coin >> 1 & 3) as usize];
        let strikes = coin & 1 == 1 && Dice::new(coin, nth).below(one_in) == 0;
        seen.struck += u64::from(strikes);
        strikes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back_when_the_wall_clock_jumps() {
        let clock = SimClock::new(7, Arc::default());
        let (wall, monotonic) = (clock.now_us(), clock.monotonic_us());
        clock.jump_us(-5_000_000);
        assert!(clock.now_us() < wall);
        assert!(clock.monotonic_us() > monotonic);
        clock.jump_us(10_000_000);
        assert!(clock.now_us() > wall + 4_000_000);
        assert_eq!(clock.counters.get(Rule::ClockJumped), 2);
    }

    #[test]
    fn jumps_follow_their_trigger_and_seed() {
        let walk = |seed| {
            let clock = SimClock::new(seed, Arc::default());
            clock.jump_at_reads(Trigger::Nth(3), 1_000_000);
            let times: Vec<u64> = (0..6).map(|_| clock.now_us()).collect();
            assert_eq!(clock.counters.get(Rule::ClockJumped), 1);
            assert!(times[2] - times[0] < 10 && times[5] - times[3] < 10);
            times
        };
        assert_eq!(walk(1), walk(1));
        assert_ne!(walk(1), walk(2));
    }

    #[test]
    fn an_adversary_has_one_coin_per_site_per_seed() {
        let sites = ["split early", "evict now", "flush now", "switch log", "write short", "wait"];
        let mut struck = [0; 6];
        for seed in 0..200 {
            let adversary = SimAdversary::new(seed);
            for (site, struck) in sites.iter().zip(&mut struck) {
                let any = (0..300).filter(|_| adversary.strikes(site)).count() > 0;
                *struck += usize::from(any);
            }
        }
        assert!(struck.iter().all(|seeds| (60..140).contains(seeds)), "{struck:?}");
    }
}
