//! Moments as people write them, in UTC.
//!
//! Owns [`Utc`] and its two spellings. Promises that any number of microseconds has a spelling, and
//! that spellings sort as the moments do up to the year 9999. Must never know of a time zone.

use std::fmt;

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400;

/// A moment: microseconds since 1970. Shown as `2026-11-20T12:45:00.000001Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc(pub u64);

/// The parts of a moment.
struct Parts {
    year: u64,
    month: u64,
    day: u64,
    seconds: u64,
}

impl Utc {
    /// `20261120_124500`: for names of files.
    #[must_use]
    pub fn compact(self) -> String {
        let Parts { year, month, day, seconds } = self.parts();
        let (hour, minute, second) = clock(seconds);
        format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}")
    }

    /// The second that [`Utc::compact`] spelled; `None` for anything else.
    #[must_use]
    pub fn parse_compact(text: &str) -> Option<Utc> {
        let (date, time) = text.split_once('_')?;
        let digits = |text: &str, len: usize| {
            let all = text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
            all.then(|| text.parse::<u64>().ok()).flatten()
        };
        let (date, time) = (digits(date, 8)?, digits(time, 6)?);
        let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
        let of_day = time / 10_000 * 3600 + time / 100 % 100 * 60 + time % 100;
        // The other way round of `parts`: years begin in March.
        let from = year.checked_sub(u64::from(month <= 2))?;
        let from_march = (month + 9) % 12;
        let of_year = (153 * from_march + 2) / 5 + day.checked_sub(1)?;
        let days = from * 365 + from / 4 - from / 100 + from / 400 + of_year;
        let found = Utc((days.checked_sub(719_468)? * DAY + of_day) * SECOND);
        (found.compact() == text).then_some(found)
    }

    /// Counts days in years that begin in March, so that the leap day comes last (Howard Hinnant,
    /// "chrono-compatible low-level date algorithms").
    fn parts(self) -> Parts {
        let whole = self.0 / SECOND;
        let days = whole / DAY + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Parts {
            year: year + era * 400 + u64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            seconds: whole % DAY,
        }
    }
}

fn clock(seconds: u64) -> (u64, u64, u64) {
    (seconds / 3600, seconds / 60 % 60, seconds % 60)
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { year, month, day, seconds } = self.parts();
        let (hour, minute, second) = clock(seconds);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.0 % SECOND {
            0 => write!(f, "Z"),
            micros => write!(f, ".{micros:06}Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spelled_as_the_calendar_has_them() {
        let shown = |us: u64| Utc(us).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
        assert_eq!(shown(951_782_400 * SECOND), "2000-02-29T00:00:00Z");
        assert_eq!(shown(951_868_800 * SECOND), "2000-03-01T00:00:00Z");
        assert_eq!(shown(1_795_178_700 * SECOND + 1), "2026-11-20T12:45:00.000001Z");
        assert_eq!(shown(4_107_542_399 * SECOND), "2100-02-28T23:59:59Z");
        assert_eq!(shown(4_107_542_400 * SECOND), "2100-03-01T00:00:00Z", "not a leap year");
        assert_eq!(Utc(1_795_178_700 * SECOND).compact(), "20261120_124500");
        assert!(!shown(u64::MAX).is_empty());
    }

    #[test]
    fn compact_spellings_read_back_and_nothing_else_does() {
        for day in (0..60_000u64).step_by(7) {
            let moment = Utc((day * DAY + day * 131 % DAY) * SECOND);
            assert_eq!(Utc::parse_compact(&moment.compact()), Some(moment));
        }
        let no_times =
            ["", "20261120", "20261320_000000", "20260230_000000", "20261120_250000", "20261120_1"];
        for text in no_times.into_iter().chain(["+0261120_000000", "lost+found", "00000000_000000"])
        {
            assert_eq!(Utc::parse_compact(text), None, "{text}");
        }
    }

    #[test]
    fn spellings_sort_as_moments_do() {
        let moments = (0..4000u64).map(|day| Utc((day * 37 * DAY + day * 131) * SECOND));
        let spelled: Vec<String> = moments.map(Utc::compact).collect();
        assert!(spelled.is_sorted());
    }
}
