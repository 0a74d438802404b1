//! Repeating history on several threads.
//!
//! Owns: [`replay`]. Promises (R14): the pages are divided into shares; every share reads the whole
//! log by itself and replays its own pages in the order of the log, so the shares need no queue
//! between them, and what they come to does not depend on who is faster. Reading the log again for
//! every thread costs less than handing records over: most of the time goes into the pages. Must
//! never: call history repeated while a page still waits for a record that explains it (R4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use campanile_format::record::PageChange;
use campanile_format::{Lsn, PageId, PageOp, map};
use campanile_pagestore::PageStore;
use campanile_sync::Mutex;
use campanile_sync::atomic::{AtomicBool, Ordering};
use campanile_sync::thread::{self, Builder, JoinHandle};
use campanile_wal::LogSet;

use crate::error::RecoveryError;
use crate::plan::Plan;
use crate::progress::{Phase, Pulse};
use crate::redo::{Part, Place, Redo, Replayed, Share, Waiting};
use crate::report::RedoCounts;

/// How the pages are divided for replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Into so many shares; none is as one.
    pub shares: u32,
    /// A thread for each share. Without, they are replayed one after another, which is for tests:
    /// the same work, always in the same order.
    pub threads: bool,
}

impl Replay {
    /// By the caller alone.
    pub const ALONE: Replay = Replay { shares: 1, threads: false };
}

impl Default for Replay {
    fn default() -> Self {
        Self::ALONE
    }
}

/// Pages that wait for a record that explains them.
pub(crate) type Waits = BTreeMap<PageId, Waiting>;

/// Everything that the shares have in common.
#[derive(Debug)]
struct Common {
    plan: Arc<Plan>,
    store: Arc<PageStore>,
    files_change: Mutex<()>,
    /// One share failed: the others need not go on.
    stop: AtomicBool,
}

/// Applies every change since the redo point to its page, or finds it there.
pub(crate) fn replay(
    plan: &Arc<Plan>,
    store: &Arc<PageStore>,
    how: Replay,
    pulse: &mut Pulse<'_>,
) -> Result<RedoCounts, RecoveryError> {
    let common = Arc::new(Common {
        plan: Arc::clone(plan),
        store: Arc::clone(store),
        files_change: Mutex::new(()),
        stop: AtomicBool::new(false),
    });
    let mut shares = Share::all(how.shares.max(1));
    let first = shares.next();
    let (mut others, mut left) = (Others { common: &common, handles: Vec::new() }, Vec::new());
    for share in shares {
        match how.threads.then(|| common.spawn(share)) {
            Some(Ok(handle)) => others.handles.push(handle),
            // Without threads, or when the system has none to give: one after another.
            Some(Err(_)) | None => left.push(share),
        }
    }
    let mut results = Vec::new();
    for share in first.into_iter().chain(left) {
        results.push(common.run(share, |at| pulse.beat(plan.progress(Phase::Redo, at))));
    }
    results.extend(others.join());
    let (mut counts, mut files, mut waiting) =
        (RedoCounts::default(), BTreeSet::new(), Waits::new());
    for result in results {
        let Some(replayed) = result? else { continue };
        counts.add(&replayed.counts);
        files.extend(replayed.files);
        waiting.extend(replayed.waiting);
    }
    counts.files = files.len() as u64;
    explain(&plan.logs, plan.end.end, store.page_bytes(), waiting)?;
    Ok(counts)
}

type Outcome = Result<Option<Replayed>, RecoveryError>;

/// The threads of the other shares. Whatever ends replay, a panic of the one who watches it too,
/// none of them is left behind: the next to open the home would have them in its files (R14).
struct Others<'c> {
    common: &'c Common,
    handles: Vec<JoinHandle<Outcome>>,
}

impl Others<'_> {
    fn join(mut self) -> Vec<Outcome> {
        let ends: Vec<_> = self.handles.drain(..).map(JoinHandle::join).collect();
        let end = |end: Result<_, _>| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ends.into_iter().map(end).collect()
    }
}

impl Drop for Others<'_> {
    fn drop(&mut self) {
        self.common.stop.store(true, Ordering::Relaxed);
        for handle in self.handles.drain(..) {
            // Its own panic, if it had one, is not the first one.
            drop(handle.join());
        }
    }
}

/// Stops the other shares when this one panics.
struct StopOthers<'c>(&'c AtomicBool);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Common {
    fn spawn(self: &Arc<Common>, share: Share) -> std::io::Result<JoinHandle<Outcome>> {
        let common = Arc::clone(self);
        let name = format!("campanile-redo-{}", share.index);
        Builder::new().name(name).spawn(move || common.run(share, |_| Ok(())))
    }

    /// Replays one share; `None` if another one failed meanwhile.
    fn run(&self, share: Share, mut beat: impl FnMut(Lsn) -> Result<(), RecoveryError>) -> Outcome {
        let _stops = StopOthers(&self.stop);
        let mut work = || {
            let (plan, part) = (&*self.plan, Part::Share(share));
            let mut redo = Redo::new(&self.store, &plan.analysis, part, &self.files_change);
            for found in plan.logs.forward(plan.redo, plan.end.end)? {
                let (lsn, buffer) = found?;
                redo.replay(lsn, &buffer.record()?)?;
                beat(lsn)?;
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
            }
            Ok(Some(redo.finish()))
        };
        let result = work();
        if result.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// Pages that could not take a change need none if they were given up after the last one. This
/// looks at the map pages of others, so it is not done by the shares: a second look at the log,
/// hardly ever needed.
pub(crate) fn explain(
    logs: &LogSet,
    to: Lsn,
    page_bytes: usize,
    mut waiting: Waits,
) -> Result<(), RecoveryError> {
    let Some(from) = waiting.values().map(|waiting| waiting.last.0).min() else { return Ok(()) };
    for found in logs.forward(from, to)? {
        let (lsn, buffer) = found?;
        for (index, change) in buffer.record()?.changes().iter().enumerate() {
            forget_freed(&mut waiting, page_bytes, (lsn, index), change);
        }
        if waiting.is_empty() {
            break;
        }
    }
    let count = waiting.len();
    let Some((page, first)) = waiting.into_iter().next() else { return Ok(()) };
    Err(RecoveryError::Unresolved { count, page, lsn: first.first })
}

/// A page that is freed needs no content any more.
fn forget_freed(waiting: &mut Waits, page_bytes: usize, place: Place, change: &PageChange<'_>) {
    let (group, _) = map::place_of(page_bytes, change.page.page);
    for op in &change.ops {
        if let PageOp::MapSet { first, count, allocated: false } = *op {
            let freed = first..first.saturating_add(count);
            waiting.retain(|id, waits| {
                let (of, bit) = map::place_of(page_bytes, id.page);
                let given_up = id.file == change.page.file && of == group && freed.contains(&bit);
                !given_up || waits.last > place
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_format::{FileId, PageNo};

    const PAGE_BYTES: usize = 512;
    const WAITED: Place = (Lsn::new(3, 500), 1);

    fn page(file: u32, number: u32) -> PageId {
        PageId::new(FileId(file), PageNo(number))
    }

    /// Page 5 of file 20 waits; then a record gives up the pages `first..first + 2` of `file`.
    fn is_explained(place: Place, file: u32, first: u32, allocated: bool) -> bool {
        let waiting = Waiting { first: Lsn::new(2, 600), last: WAITED };
        let mut waits = Waits::from([(page(20, 5), waiting)]);
        let (_, bit) = map::place_of(PAGE_BYTES, PageNo(first));
        let map_page = map::map_page_for(PAGE_BYTES, PageNo(first)).unwrap();
        let ops = vec![PageOp::MapSet { first: bit, count: 2, allocated }];
        let page = PageId::new(FileId(file), map_page);
        let change = PageChange { page, prev_page_lsn: Lsn::NONE, ops };
        forget_freed(&mut waits, PAGE_BYTES, place, &change);
        waits.is_empty()
    }

    const LATER: Place = (Lsn::new(3, 600), 0);

    #[test]
    fn a_page_given_up_later_needs_no_content() {
        assert!(is_explained(LATER, 20, 5, false));
        assert!(is_explained(LATER, 20, 4, false));
    }

    #[test]
    fn a_page_given_up_by_a_later_change_of_the_same_record_needs_no_content() {
        assert!(is_explained((WAITED.0, 2), 20, 5, false));
        assert!(!is_explained((WAITED.0, 0), 20, 5, false));
    }

    #[test]
    fn a_page_that_was_given_up_before_its_last_change_still_waits() {
        assert!(!is_explained((Lsn::new(3, 400), 7), 20, 5, false));
    }

    #[test]
    fn what_happens_to_other_pages_explains_nothing() {
        assert!(!is_explained(LATER, 20, 6, false), "the neighbours");
        assert!(!is_explained(LATER, 21, 5, false), "another file");
        assert!(!is_explained(LATER, 20, 5, true), "taken, not given up");
        let beyond = 5 + map::place_of(PAGE_BYTES, PageNo(5)).0 + 100_000;
        assert!(!is_explained(LATER, 20, beyond, false), "another map page");
    }
}
