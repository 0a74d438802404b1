//! Files that databases have left: dropped, or replaced by an empty one.
//!
//! Owns the answer to "which file does this handle mean, for this reader?". A handle holds the
//! file that its database had when it was opened; dropping or emptying the database retires that
//! file. Promises that a reader is led on only by retirements it can see (its own, and those
//! committed before it was taken), and led back over those it cannot see. File numbers are never
//! reused, so an entry is true for ever. Must never touch a page.

use std::collections::HashMap;

use campanile_format::FileId;
use campanile_sync::RwLock;
use campanile_sync::atomic::{AtomicU64, Ordering};

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its database was dropped.
    Dropped,
    /// Its database was emptied and goes on in this file.
    Replaced(FileId),
}

/// A retirement that a transaction has made and not committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retirement {
    pub file: FileId,
    pub fate: Fate,
}

/// Committed retirements, in commit order.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    /// Number of the last commit that retired something.
    generation: AtomicU64,
    files: RwLock<Files>,
}

#[derive(Debug, Default)]
struct Files {
    /// A file that was left, by which commit, for what.
    fates: HashMap<FileId, (u64, Fate)>,
    /// A file that replaced another one, by which commit, and that one.
    origins: HashMap<FileId, (u64, FileId)>,
}

impl Retired {
    /// Takes a view of the data by `capture`, and says which retirements belong to it.
    ///
    /// No retirement is published in between, so that view and number are of one moment.
    pub fn capture<T>(&self, capture: impl FnOnce() -> T) -> (T, u64) {
        let _still = self.files.read();
        (capture(), self.generation.load(Ordering::Acquire))
    }

    /// Commits by `commit` and publishes what the transaction retired, as one step for whoever
    /// takes a view. Nothing is published if the commit fails.
    pub fn publish<T, E>(
        &self,
        retirements: &[Retirement],
        commit: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if retirements.is_empty() {
            return commit();
        }
        let mut files = self.files.write();
        let done = commit()?;
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        for retirement in retirements {
            files.fates.insert(retirement.file, (generation, retirement.fate));
            if let Fate::Replaced(by) = retirement.fate {
                files.origins.insert(by, (generation, retirement.file));
            }
        }
        self.generation.store(generation, Ordering::Release);
        Ok(done)
    }

    /// The file that `file` means for a reader that sees commits up to `generation` and its own
    /// retirements; `None` if the database was dropped.
    pub fn resolve(&self, file: FileId, generation: u64, own: &[Retirement]) -> Option<FileId> {
        if self.newest() == 0 && own.is_empty() {
            return Some(file);
        }
        let files = self.files.read();
        let mut file = file;
        // A handle that is younger than its reader: back to what the reader sees.
        while let Some((at, from)) = files.origins.get(&file)
            && *at > generation
        {
            file = *from;
        }
        loop {
            let own = own.iter().find(|own| own.file == file).map(|own| own.fate);
            let seen =
                files.fates.get(&file).filter(|(at, _)| *at <= generation).map(|(_, fate)| *fate);
            match own.or(seen) {
                None => return Some(file),
                Some(Fate::Dropped) => return None,
                Some(Fate::Replaced(by)) => file = by,
            }
        }
    }

    /// Waits for a commit that is being published: it has given its locks back before that, and who
    /// got one of them must see what it retired.
    pub fn await_publication(&self) {
        drop(self.files.read());
    }

    /// The generation that a transaction sees: whatever is committed.
    pub fn newest(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: FileId = FileId(16);
    const B: FileId = FileId(17);

    #[test]
    fn a_reader_is_led_on_only_by_what_it_can_see() {
        let retired = Retired::default();
        let ((), before) = retired.capture(|| ());
        let own = [Retirement { file: A, fate: Fate::Replaced(B) }];
        assert_eq!(retired.resolve(A, before, &own), Some(B), "its own change");
        assert_eq!(retired.resolve(A, before, &[]), Some(A), "not committed");
        retired.publish(&own, || Ok::<_, ()>(())).unwrap();
        assert_eq!(retired.resolve(A, before, &[]), Some(A), "an older reader");
        assert_eq!(retired.resolve(A, retired.newest(), &[]), Some(B));
        assert_eq!(retired.resolve(B, before, &[]), Some(A), "a younger handle");
        assert_eq!(retired.resolve(B, retired.newest(), &[]), Some(B));
        let drop = [Retirement { file: B, fate: Fate::Dropped }];
        retired.publish(&drop, || Ok::<_, ()>(())).unwrap();
        assert_eq!(retired.resolve(A, retired.newest(), &[]), None);
    }

    #[test]
    fn a_commit_that_fails_retires_nothing() {
        let retired = Retired::default();
        let drop = [Retirement { file: A, fate: Fate::Dropped }];
        retired.publish(&drop, || Err::<(), _>(())).unwrap_err();
        assert_eq!(retired.resolve(A, retired.newest(), &[]), Some(A));
    }
}
