//! The shared flag that ends an environment after a failed write or sync.
//!
//! Owns the first cause. Promises that once struck, every check fails with that cause, for good:
//! after a failed write or sync nobody knows what is on the medium until recovery has read it
//! again; and that whoever asked to be told of it is told, once. Must never be cleared, or hold a
//! lock of its own while it tells.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use campanile_sync::Mutex;

/// A flag shared by all layers of one environment. Clones share it.
#[derive(Clone, Default)]
pub struct Poison(Arc<Flag>);

#[derive(Default)]
struct Flag {
    cause: OnceLock<String>,
    /// Who is to be told. Empty for good once the flag is struck: whoever comes later finds the
    /// cause under this mutex, whoever came before is found here by the one who struck.
    listeners: Mutex<Vec<Listener>>,
}

type Listener = Box<dyn FnOnce() + Send>;

impl Poison {
    /// A flag not yet struck.
    pub fn new() -> Poison {
        Poison::default()
    }

    /// Strikes the flag; the first cause stays. Tells whoever asked for it before this returns.
    pub fn strike(&self, what: impl Into<String>) {
        if self.0.cause.set(what.into()).is_ok() {
            let listeners = std::mem::take(&mut *self.0.listeners.lock());
            listeners.into_iter().for_each(|tell| tell());
        }
    }

    /// Calls `tell` once the flag is struck: on the thread that strikes it, or on this one, at
    /// once, if it is struck already. Every check fails by then.
    ///
    /// Whoever strikes may hold latches and mutexes of any layer, and may be unwinding: `tell`
    /// must be short, must not panic, and must take nothing that anybody holds while he strikes.
    /// It lives as long as the flag does, so it should not keep alive what holds the flag.
    pub fn when_struck(&self, tell: impl FnOnce() + Send + 'static) {
        let mut listeners = self.0.listeners.lock();
        if self.is_poisoned() {
            drop(listeners);
            tell();
        } else {
            listeners.push(Box::new(tell));
        }
    }

    /// Fails once the flag is struck.
    pub fn check(&self) -> Result<(), Poisoned> {
        match self.0.cause.get() {
            None => Ok(()),
            Some(cause) => Err(Poisoned { cause: cause.clone() }),
        }
    }

    /// True once the flag is struck.
    pub fn is_poisoned(&self) -> bool {
        self.0.cause.get().is_some()
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
        self.0.cause.get().map(String::as_str)
    }
}

impl fmt::Debug for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Poison").field(&self.cause()).finish()
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
    fn whoever_asked_is_told_once_whether_he_asked_before_or_after() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let poison = Poison::new();
        let listener = |name: &'static str| {
            let (told, poison) = (Arc::clone(&told), poison.clone());
            move || {
                // Whatever is asked of the flag meanwhile is answered.
                poison.strike("something later");
                poison.when_struck(|| {});
                told.lock().push((name, poison.cause().map(str::to_owned)));
            }
        };
        poison.when_struck(listener("first"));
        poison.when_struck(listener("second"));
        assert!(told.lock().is_empty());
        poison.clone().strike("a failed sync");
        poison.strike("another failed sync");
        poison.when_struck(listener("late"));
        let cause = || Some("a failed sync".to_owned());
        let all = vec![("first", cause()), ("second", cause()), ("late", cause())];
        assert_eq!(*told.lock(), all);
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
