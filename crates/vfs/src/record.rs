//! A wrapper that counts calls and bytes per file.
//!
//! Owns the counts, so that a test can state how many writes and syncs a commit may cost. Must
//! never change a call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_sync::Mutex;

use crate::{Call, CallKind, Observed, Observer, Outcome, Vfs};

/// Calls counted by kind and path, and the bytes they moved.
#[derive(Debug, Default)]
pub struct Recording {
    seen: Mutex<BTreeMap<(CallKind, PathBuf), Tally>>,
}

/// How often, how much, and how often in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls made.
    pub calls: u64,
    /// Of these, calls that failed.
    pub failed: u64,
    /// Bytes read or written.
    pub bytes: u64,
}

impl Recording {
    /// Wraps `inner`: the file system to use, and the counts.
    pub fn wrap(inner: Arc<dyn Vfs>) -> (Arc<dyn Vfs>, Arc<Recording>) {
        let recording = Arc::new(Recording::default());
        let observer: Arc<dyn Observer> = Arc::<Recording>::clone(&recording);
        (Observed::new(inner, observer), recording)
    }

    /// Calls of one kind on one path.
    pub fn of(&self, kind: CallKind, path: &Path) -> Tally {
        self.seen.lock().get(&(kind, path.to_path_buf())).copied().unwrap_or_default()
    }

    /// Calls of one kind on all paths.
    pub fn total(&self, kind: CallKind) -> Tally {
        self.sum(|seen, _| seen == kind)
    }

    /// File and directory syncs on paths whose text contains `part`.
    pub fn syncs(&self, part: &str) -> u64 {
        self.sum(|kind, path| kind.is_sync() && path.to_string_lossy().contains(part)).calls
    }

    /// Everything counted, by kind, then path.
    pub fn all(&self) -> Vec<(CallKind, PathBuf, Tally)> {
        let seen = self.seen.lock();
        seen.iter().map(|((kind, path), tally)| (*kind, path.clone(), *tally)).collect()
    }

    /// Starts counting from zero.
    pub fn reset(&self) {
        self.seen.lock().clear();
    }

    fn sum(&self, counts: impl Fn(CallKind, &Path) -> bool) -> Tally {
        let mut sum = Tally::default();
        for ((kind, path), tally) in self.seen.lock().iter() {
            if counts(*kind, path) {
                sum.calls += tally.calls;
                sum.failed += tally.failed;
                sum.bytes += tally.bytes;
            }
        }
        sum
    }
}

impl Observer for Recording {
    fn after(&self, call: &Call<'_>, outcome: Outcome<'_>) {
        let mut seen = self.seen.lock();
        let tally = seen.entry((call.kind, call.path.to_path_buf())).or_default();
        tally.calls += 1;
        match outcome {
            Ok(count) if matches!(call.kind, CallKind::Read | CallKind::Write) => {
                tally.bytes += count;
            }
            Ok(_) => {}
            Err(_) => tally.failed += 1,
        }
    }
}
