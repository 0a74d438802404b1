//! The shared flag that ends an environment after a failed write or sync.
//!
//! Owns the first cause. Promises that once struck, every check fails with that cause, for good:
//! after a failed write or sync nobody knows what is on the medium until recovery has read it
//! again. Must never be cleared.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

/// A flag shared by all layers of one environment. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Poison(Arc<OnceLock<String>>);

impl Poison {
    /// A flag not yet struck.
    pub fn new() -> Poison {
        Poison::default()
    }

    /// Strikes the flag; the first cause stays.
    pub fn strike(&self, what: impl Into<String>) {
        let _ = self.0.set(what.into());
    }

    /// Fails once the flag is struck.
    pub fn check(&self) -> Result<(), Poisoned> {
        match self.0.get() {
            None => Ok(()),
            Some(cause) => Err(Poisoned { cause: cause.clone() }),
        }
    }

    /// True once the flag is struck.
    pub fn is_poisoned(&self) -> bool {
        self.0.get().is_some()
    }

    /// Strikes the flag if a panic begins while the guard lives: a bug of ours in the middle of
    /// work that must be done whole. A guard made while a panic is unwinding already (a rollback
    /// in a destructor) takes no offence at that one.
    #[must_use = "it watches only while it lives"]
    pub fn if_unwound(&self, during: &'static str) -> UnwindGuard<'_> {
        UnwindGuard { poison: self, during, calm: !campanile_sync::thread::panicking() }
    }

    /// The first cause, once the flag is struck.
    pub fn cause(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// See [`Poison::if_unwound`].
#[derive(Debug)]
pub struct UnwindGuard<'p> {
    poison: &'p Poison,
    during: &'static str,
    /// Nothing was unwinding when the guard was made.
    calm: bool,
}

impl Drop for UnwindGuard<'_> {
    fn drop(&mut self) {
        if self.calm && campanile_sync::thread::panicking() {
            self.poison.strike(format!("a panic while {}", self.during));
        }
    }
}

/// What [`Poison::check`] says: the environment must be reopened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poisoned {
    /// What failed first.
    pub cause: String,
}

impl fmt::Display for Poisoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = &self.cause;
        write!(f, "the environment is poisoned since {cause}; close and reopen it to recover")
    }
}

impl Error for Poisoned {}

impl From<Poisoned> for io::Error {
    fn from(poisoned: Poisoned) -> io::Error {
        io::Error::other(poisoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_stays_and_clones_share_it() {
        let poison = Poison::new();
        assert!(poison.check().is_ok());
        let other = poison.clone();
        other.strike("a failed sync of log.0000000001");
        poison.strike("something later");
        assert_eq!(
            poison.check().unwrap_err().to_string(),
            "the environment is poisoned since a failed sync of log.0000000001; \
             close and reopen it to recover"
        );
        assert!(poison.is_poisoned());
        assert_eq!(poison.cause(), Some("a failed sync of log.0000000001"));
    }

    #[test]
    fn a_panic_strikes_only_where_it_began() {
        let inside = Poison::new();
        let outside = Poison::new();
        let guarded = std::panic::AssertUnwindSafe(|| {
            struct RollsBack<'p>(&'p Poison);
            impl Drop for RollsBack<'_> {
                fn drop(&mut self) {
                    let _guard = self.0.if_unwound("rolling back");
                }
            }
            let _transaction = RollsBack(&outside);
            let _guard = inside.if_unwound("the log was written");
            panic!("on purpose");
        });
        assert!(std::panic::catch_unwind(guarded).is_err());
        assert_eq!(inside.cause(), Some("a panic while the log was written"));
        assert!(!outside.is_poisoned());
    }
}
