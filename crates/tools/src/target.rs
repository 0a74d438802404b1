//! How far to go back: the options of `db_recover -c` and `campanile restore`, and times as people
//! write them.
//!
//! Owns `-t`, `--lsn`, `--restore-point`, `--backup-end` and `--exclusive`. Promises that a time in
//! Berkeley DB's spelling means that whole second of local time, as it does there, and that one in
//! RFC 3339 means exactly that moment. Must never guess at a time it cannot read.

use campanile::inspect::parse_lsn;
use campanile::restore::Target;
use clap::Args;
use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, Zoned, tz::TimeZone};

use crate::failure::Failure;

/// `-t` and its family: at most one of them.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// Up to and with this time: `[[CC]YY]MMDDhhmm[.SS]` in local time, that whole second; or
    /// RFC 3339, like 2026-11-20T12:45:00.5+01:00, exactly.
    #[arg(short = 't', long = "time", alias = "to-time", value_name = "TIME", group = "target")]
    pub time: Option<String>,
    /// Up to and with the log record at this position, like 3/512.
    #[arg(long = "lsn", value_name = "LSN", group = "target")]
    pub lsn: Option<String>,
    /// Up to the restore point of this name; the newest of several.
    #[arg(long = "restore-point", value_name = "NAME", group = "target")]
    pub restore_point: Option<String>,
    /// Up to the moment at which the backup was complete, and no further.
    #[arg(long = "backup-end", group = "target")]
    pub backup_end: bool,
    /// With -t or --lsn: without what was committed exactly then, or is recorded exactly there.
    #[arg(long = "exclusive")]
    pub exclusive: bool,
}

impl TargetArgs {
    /// The target; the end of the log if none was given.
    pub fn target(&self) -> Result<Target, Failure> {
        let inclusive = !self.exclusive;
        if self.exclusive && self.time.is_none() && self.lsn.is_none() {
            return Err(Failure::usage("--exclusive goes with -t or --lsn"));
        }
        if let Some(text) = &self.time {
            let us = parse_time(text, &Zoned::now(), inclusive).ok_or_else(|| {
                Failure::usage(format!(
                    "-t {text}: write [[CC]YY]MMDDhhmm[.SS] (local time) or RFC 3339 like \
                     2026-11-20T12:45:00Z"
                ))
            })?;
            return Ok(Target::Time { us, inclusive });
        }
        if let Some(text) = &self.lsn {
            let at = parse_lsn(text)
                .ok_or_else(|| Failure::usage(format!("--lsn {text}: write FILE/OFFSET")))?;
            return Ok(Target::Lsn { at, inclusive });
        }
        if let Some(name) = &self.restore_point {
            return Ok(Target::RestorePoint { name: name.clone() });
        }
        Ok(if self.backup_end { Target::BackupEnd } else { Target::End })
    }
}

/// Microseconds since 1970. Of a time without a fraction in Berkeley DB's spelling, the last
/// microsecond of its second if commits in it count, else the first.
fn parse_time(text: &str, now: &Zoned, inclusive: bool) -> Option<u64> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return u64::try_from(moment.as_microsecond()).ok();
    }
    let second = parse_local(text, now)?.timestamp().as_microsecond();
    let within = if inclusive { 999_999 } else { 0 };
    u64::try_from(second).ok().map(|second| second + within)
}

/// `[[CC]YY]MMDDhhmm[.SS]`.
fn parse_local(text: &str, now: &Zoned) -> Option<Zoned> {
    let (digits, seconds) = match text.split_once('.') {
        Some((digits, seconds)) if seconds.len() == 2 => (digits, number(seconds)?),
        Some(_) => return None,
        None => (text, 0),
    };
    let (year, rest) = match digits.len() {
        8 => (now.year(), digits),
        10 => {
            // As `touch` and Berkeley DB have it: 69 to 99 are of the last century.
            let (short, rest) = digits.split_at(2);
            let short = i16::from(number(short)?);
            (if short >= 69 { 1900 + short } else { 2000 + short }, rest)
        }
        12 => {
            let (long, rest) = digits.split_at(4);
            (long.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| number(rest.get(at..at + 2)?);
    let date = Date::new(year, part(0)?, part(2)?).ok()?;
    let time = jiff::civil::Time::new(part(4)?, part(6)?, seconds, 0).ok()?;
    DateTime::from_parts(date, time).to_zoned(TimeZone::system()).ok()
}

fn number(text: &str) -> Option<i8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        DateTime::constant(2026, 11, 20, 12, 0, 0, 0).to_zoned(TimeZone::system()).unwrap()
    }

    fn local(year: i16, month: i8, day: i8, hour: i8, minute: i8, second: i8) -> u64 {
        let civil = DateTime::new(year, month, day, hour, minute, second, 0).unwrap();
        let zoned = civil.to_zoned(TimeZone::system()).unwrap();
        zoned.timestamp().as_microsecond() as u64
    }

    #[test]
    fn every_spelling_of_berkeley_db_is_a_whole_second_of_local_time() {
        let read = |text: &str| parse_time(text, &now(), true);
        assert_eq!(read("202611201245"), Some(local(2026, 11, 20, 12, 45, 0) + 999_999));
        assert_eq!(read("2611201245"), read("202611201245"));
        assert_eq!(read("11201245"), read("202611201245"));
        assert_eq!(read("11201245.07"), Some(local(2026, 11, 20, 12, 45, 7) + 999_999));
        assert_eq!(read("9912312359.59"), Some(local(1999, 12, 31, 23, 59, 59) + 999_999));
        let without = parse_time("202611201245", &now(), false);
        assert_eq!(without, Some(local(2026, 11, 20, 12, 45, 0)));
    }

    #[test]
    fn rfc_3339_is_exact() {
        let read = |text: &str| parse_time(text, &now(), true);
        assert_eq!(read("1970-01-01T00:00:01.000002Z"), Some(1_000_002));
        assert_eq!(read("1970-01-01T01:00:01+01:00"), Some(1_000_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "13201245", "1120124", "11201245.7", "1120124x", "+1201245"] {
            assert_eq!(parse_time(text, &now(), true), None, "{text}");
        }
    }
}
