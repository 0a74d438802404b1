//! Two environments, or exports of them, compared.
//!
//! Owns the merge behind `campanile diff`. Promises that "same" was proven pair by pair, and that
//! a difference is named by its first key. Holds one pair of each side, whatever the size of the
//! databases. Must never call two things the same of which one could not be read to its end.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let (home, saved) = (dir.path().join("home"), dir.path().join("saved"));
//! use campanile::diff::{DiffOptions, Source};
//! use campanile::{Environment, export::ExportOptions};
//!
//! let env = Environment::open(&home)?;
//! let accounts = env.create_database("accounts")?;
//! env.run(|txn| accounts.put(txn, "alice", "100"))?;
//! ExportOptions::new().run(&env, &saved)?;
//!
//! let (now, then) = (Source::Environment(&env), Source::Path(&saved));
//! assert!(DiffOptions::new().run(now, then)?.is_same());
//! env.run(|txn| accounts.put(txn, "bob", "7"))?;
//! let report = DiffOptions::new().run(now, then)?;
//! assert_eq!(report.to_string(), "accounts: differs from key bob on (only in A): \
//!     1 only in A, 0 only in B, 0 with other values, 1 alike");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod report;
mod side;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use campanile_vfs::Host;

pub use self::report::{DatabaseDiff, DiffReport, How, KeyDiff, Outcome};

use self::side::{Side, Stream};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::pairs::PAIRS_PER_REPORT;
use crate::progress::Progress;
use crate::text::escape;

/// What can be compared.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Source<'s> {
    /// A home that nobody owns, which is read and not changed, or an export.
    Path(&'s Path),
    /// An environment that is open, as of the moment at which the comparison begins.
    Environment(&'s Environment),
}

/// How two sides are compared.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct DiffOptions {
    only: BTreeSet<String>,
    keys: usize,
    progress: Progress,
}

impl DiffOptions {
    /// All databases; of the keys that differ only the first.
    pub fn new() -> DiffOptions {
        DiffOptions::default()
    }

    /// Compares this database, and others only if they are named too.
    pub fn only(mut self, name: impl Into<String>) -> DiffOptions {
        self.only.insert(name.into());
        self
    }

    /// How many of the keys that differ are named, for each database (default: none but the
    /// first).
    pub fn keys(mut self, keys: usize) -> DiffOptions {
        self.keys = keys;
        self
    }

    /// Who is told how far it is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> DiffOptions {
        self.progress = progress;
        self
    }

    /// Compares `a` with `b`. An export is proven by its fingerprints on the way; damage on either
    /// side is an error, not a difference.
    pub fn run(&self, a: Source<'_>, b: Source<'_>) -> Result<DiffReport> {
        self.run_on(&Host::os(), a, b)
    }

    /// The same on another host.
    pub fn run_on(&self, host: &Host, a: Source<'_>, b: Source<'_>) -> Result<DiffReport> {
        let a = Side::open(host, a, &self.progress)?;
        let b = Side::open(host, b, &self.progress)?;
        let (in_a, in_b) = (a.databases()?, b.databases()?);
        self.check_names(&in_a, &in_b)?;
        let mut report = DiffReport { a: a.shown(), b: b.shown(), databases: Vec::new() };
        let names: BTreeSet<&String> = in_a.keys().chain(in_b.keys()).collect();
        for name in names {
            if !self.only.is_empty() && !self.only.contains(name) {
                continue;
            }
            let found = match (in_a.get(name), in_b.get(name)) {
                (Some(durable_a), Some(durable_b)) => {
                    let mut found = self.compare(name, &a, &b)?;
                    if durable_a != durable_b {
                        found.outcome = Outcome::Differs;
                        found.durable_in =
                            Some(if *durable_a { How::OnlyInA } else { How::OnlyInB });
                    }
                    found
                }
                (Some(_), None) => DatabaseDiff::new(name, Outcome::OnlyInA),
                (None, _) => DatabaseDiff::new(name, Outcome::OnlyInB),
            };
            report.databases.push(found);
        }
        Ok(report)
    }

    fn check_names(
        &self,
        in_a: &BTreeMap<String, bool>,
        in_b: &BTreeMap<String, bool>,
    ) -> Result<()> {
        let missing =
            self.only.iter().find(|name| !in_a.contains_key(*name) && !in_b.contains_key(*name));
        match missing {
            None => Ok(()),
            Some(name) => {
                let what = format!("there is no database {name:?} on either side");
                Err(Error::new(ErrorKind::NotFound, what))
            }
        }
    }

    /// Merges a database of both sides.
    fn compare(&self, name: &str, a: &Side, b: &Side) -> Result<DatabaseDiff> {
        let mut found = DatabaseDiff::new(name, Outcome::Same);
        let (mut a, mut b) = (a.stream(name, &self.progress)?, b.stream(name, &self.progress)?);
        let (mut left, mut right) = (a.next()?, b.next()?);
        let phase = format!("compare {name}");
        let mut seen = 0_u64;
        loop {
            let order = match (&left, &right) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key_a, _)), Some((key_b, _))) => key_a.cmp(key_b),
            };
            match order {
                Ordering::Less => {
                    self.differs(&mut found, &left, How::OnlyInA);
                    left = a.next()?;
                }
                Ordering::Greater => {
                    self.differs(&mut found, &right, How::OnlyInB);
                    right = b.next()?;
                }
                Ordering::Equal => {
                    if left == right {
                        found.alike += 1;
                    } else {
                        self.differs(&mut found, &left, How::OtherValue);
                    }
                    (left, right) = step(&mut a, &mut b)?;
                }
            }
            seen += 1;
            if seen.is_multiple_of(PAIRS_PER_REPORT) {
                self.progress.report(&phase, seen, None, "pairs")?;
            }
        }
        Ok(found)
    }

    fn differs(&self, found: &mut DatabaseDiff, pair: &Option<Pair>, how: How) {
        let Some((key, _)) = pair else { return };
        found.outcome = Outcome::Differs;
        *match how {
            How::OnlyInA => &mut found.only_in_a,
            How::OnlyInB => &mut found.only_in_b,
            How::OtherValue => &mut found.other_values,
        } += 1;
        if found.first.is_none() || found.keys.len() < self.keys {
            let one = KeyDiff { key: escape(key), how };
            if found.keys.len() < self.keys {
                found.keys.push(one.clone());
            }
            found.first.get_or_insert(one);
        }
    }
}

type Pair = (Vec<u8>, Vec<u8>);

fn step(a: &mut Stream<'_>, b: &mut Stream<'_>) -> Result<(Option<Pair>, Option<Pair>)> {
    Ok((a.next()?, b.next()?))
}
