//! Dirty pages to their files, in batches, behind the barrier.
//!
//! Owns the order of things: copy under the latch, flush the log, seal, double-write, sync, write
//! home, sync, and only then call the pages clean. Promises P1 to P3, and that a failed write or
//! sync poisons the environment and ends all writing. Must never wait for a latch while it holds
//! the batch (P7).

use std::sync::Arc;

use campanile_format::planted::{self, Bug};
use campanile_format::{Lsn, PageId, Words, page};
use campanile_sync::atomic::Ordering;
use campanile_sync::{MutexGuard, RwLockReadGuard};
use campanile_vfs::{Background, File};

use crate::batch::{Batch, Entry};
use crate::dirt::Dirt;
use crate::double_write::DoubleWrite;
use crate::stats::count;
use crate::{PageStore, Result, StoreError};

/// Pages written home before the medium is given a pause.
const TRICKLE_PAGES: usize = 8;
/// A caller in need looks at this many more frames than it writes: some may be latched.
const LATCHED_ALLOWANCE: usize = 64;

/// What only one thread at a time has: the double-write file, and the right to write pages.
#[derive(Debug)]
pub(crate) struct WriteBack {
    pub double_write: DoubleWrite,
}

impl WriteBack {
    pub fn new() -> WriteBack {
        WriteBack { double_write: DoubleWrite::new() }
    }
}

/// How a batch is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// As fast as it goes: someone waits for it.
    Burst,
    /// With pauses, so that commits find the device idle.
    Trickle,
}

/// A frame to write back, as it was when it was chosen.
#[derive(Clone, Copy, Debug)]
struct Choice {
    frame: usize,
    page: PageId,
    /// Cold frames first where frames are needed.
    hot: bool,
    rec_lsn: Lsn,
}

impl PageStore {
    /// Writes back a batch of pages: those whose `rec_lsn` is below `target`, oldest first, or
    /// else cold ones if few clean frames are left. False if there was nothing to do.
    ///
    /// The owner's background thread calls this in a loop, or a test does.
    pub fn step(&self, target: Lsn) -> Result<bool> {
        self.poison.check()?;
        let pessimal = self.host.adversary.strikes("pagestore.write_back");
        let below = if pessimal { Lsn::MAX } else { target };
        let limit = self.options.batch_limit();
        let mut chosen = self.choose(|choice, durable| durable && choice.rec_lsn < below);
        keep_least(&mut chosen, limit, |choice| (choice.rec_lsn, choice.page));
        if chosen.is_empty() && self.is_short_of_clean_frames() {
            chosen = self.choose(|_, _| true);
            keep_least(&mut chosen, limit, |choice| (choice.hot, choice.rec_lsn, choice.page));
        }
        if chosen.is_empty() {
            return Ok(false);
        }
        let mut write_back = self.write_back.lock();
        let batch = self.copy(&mut chosen, limit)?;
        Ok(self.write_out(&mut write_back, batch, Pace::Trickle)? > 0)
    }

    /// Makes durable all changes that were logged below `lsn`. Returns the pages written.
    ///
    /// The caller holds no latch.
    pub fn write_back_below(&self, lsn: Lsn) -> Result<usize> {
        let chosen = self.choose(|choice, durable| durable && choice.rec_lsn < lsn);
        self.write_back_chosen(chosen)
    }

    /// Makes all changes made before the call durable, those of files that are not durable too.
    /// Returns the pages written.
    ///
    /// The caller holds no latch.
    pub fn write_back_all(&self) -> Result<usize> {
        let chosen = self.choose(|_, _| true);
        let written = self.write_back_chosen(chosen)?;
        let _batch = self.hurried_batch();
        self.poison.check()?;
        for file in self.files.iter().filter(|file| file.take_unsynced()) {
            if let Ok(held) = file.hold() {
                let synced = held.file().sync_data();
                count(&self.counters.syncs, 1);
                synced.map_err(|source| self.strike(file.io("sync", source)))?;
            }
        }
        Ok(written)
    }

    fn write_back_chosen(&self, mut chosen: Vec<Choice>) -> Result<usize> {
        self.poison.check()?;
        chosen.sort_unstable_by_key(|choice| choice.page);
        let mut written = 0;
        let mut latched = Vec::new();
        for part in chosen.chunks(self.options.batch_limit()) {
            let mut write_back = self.hurried_batch();
            self.poison.check()?;
            let mut batch = Batch::new(self.page_bytes());
            for choice in part {
                match self.frames[choice.frame].latch.try_read() {
                    Some(latch) => self.copy_frame(&mut batch, choice, &latch),
                    None => latched.push(*choice),
                }
            }
            written += self.write_out(&mut write_back, batch, Pace::Burst)?;
        }
        for choice in latched {
            // The latch first and the batch second: nobody waits for a latch with the batch (P7).
            let Some(latch) = self.frames[choice.frame].read(choice.page) else { continue };
            let mut write_back = self.hurried_batch();
            self.poison.check()?;
            let mut batch = Batch::new(self.page_bytes());
            self.copy_frame(&mut batch, &choice, &latch);
            drop(latch);
            written += self.write_out(&mut write_back, batch, Pace::Burst)?;
        }
        Ok(written)
    }

    /// Makes clean frames for a caller that found none. False if nothing could be written.
    pub(crate) fn help(&self) -> Result<bool> {
        self.poison.check()?;
        let before = self.batches_done();
        let mut write_back = self.hurried_batch();
        if self.batches_done() != before {
            return Ok(true);
        }
        let limit = (self.frames.len() / 4).clamp(1, self.options.batch_limit());
        let mut chosen = self.choose(|_, _| true);
        keep_least(&mut chosen, limit + LATCHED_ALLOWANCE, |choice| {
            (choice.hot, choice.rec_lsn, choice.page)
        });
        let mut batch = self.copy(&mut chosen, limit)?;
        if batch.is_empty() {
            chosen = self.choose(|_, _| true);
            batch = self.copy(&mut chosen, limit)?;
        }
        count(&self.counters.foreground_batches, 1);
        Ok(self.write_out(&mut write_back, batch, Pace::Burst)? > 0)
    }

    /// The batch, for someone who does not want it trickled.
    pub(crate) fn hurried_batch(&self) -> MutexGuard<'_, WriteBack> {
        self.hurry.fetch_add(1, Ordering::Relaxed);
        let write_back = self.write_back.lock();
        self.hurry.fetch_sub(1, Ordering::Relaxed);
        write_back
    }

    /// Returns when no batch is under way that began before the call. Once the environment is
    /// poisoned, none follows: the files are nobody's then.
    pub fn await_batch(&self) {
        drop(self.hurried_batch());
    }

    /// The dirty frames that `wanted` takes, given whether their file is durable.
    fn choose(&self, wanted: impl Fn(&Choice, bool) -> bool) -> Vec<Choice> {
        let choices = self.dirty_frames().filter_map(|(frame, rec_lsn, durable)| {
            let page = self.frames[frame].page()?;
            let choice = Choice { frame, page, hot: !self.frames[frame].is_cold(), rec_lsn };
            wanted(&choice, durable).then_some(choice)
        });
        choices.collect()
    }

    fn is_short_of_clean_frames(&self) -> bool {
        let frames = self.frames.len();
        frames - self.dirty.load(Ordering::Relaxed).min(frames) < (frames / 8).max(2)
    }

    /// Copies up to `limit` of the chosen pages, in the order of their place, skipping those that
    /// are latched. The caller has the batch.
    fn copy(&self, chosen: &mut [Choice], limit: usize) -> Result<Batch> {
        // Who had the batch before may have failed.
        self.poison.check()?;
        chosen.sort_unstable_by_key(|choice| choice.page);
        let mut batch = Batch::new(self.page_bytes());
        for choice in chosen {
            if batch.len() == limit {
                break;
            }
            if let Some(latch) = self.frames[choice.frame].latch.try_read() {
                self.copy_frame(&mut batch, choice, &latch);
            }
        }
        Ok(batch)
    }

    /// Copies a page into the batch, unless it has been written or removed meanwhile.
    fn copy_frame(&self, batch: &mut Batch, choice: &Choice, _latch: &RwLockReadGuard<'_, ()>) {
        let frame = &self.frames[choice.frame];
        let Some(page) = frame.page() else { return };
        let Some(file) = self.files.get(page.file) else { return };
        // The pages of a removed file go nowhere.
        let Ok(held) = file.hold() else { return };
        let Some(since) = self.dirt(frame, Dirt::copied) else { return };
        let words = Words(self.arena.page(choice.frame));
        let entry = Entry {
            frame: choice.frame,
            page,
            lsn: page::lsn(&words),
            durable: file.flags().durable,
            init: since.init,
            file: Arc::clone(held.file()),
        };
        batch.push(entry, words);
    }

    /// Writes a batch and makes it durable; the pages in it are clean then, unless they were
    /// changed meanwhile. Returns how many there were.
    fn write_out(&self, write_back: &mut WriteBack, mut batch: Batch, pace: Pace) -> Result<usize> {
        if batch.is_empty() {
            return Ok(0);
        }
        let _whole = self.poison.if_unwound("pages were written back");
        if planted::is(Bug::CleanBeforeSync) {
            self.settle(&batch, Dirt::synced);
        }
        let written = self.write_durably(write_back, &mut batch, pace);
        if planted::is(Bug::CleanBeforeSync) {
            return written.map(|()| batch.len());
        }
        match written {
            Ok(()) => {
                self.settle(&batch, Dirt::synced);
                count(&self.counters.pages_written, batch.len());
                self.counters.batches.fetch_add(1, Ordering::SeqCst);
                Ok(batch.len())
            }
            Err(error) => {
                // Nothing is lost: the pages are dirty as they were. Unless only the log was not
                // flushed, the environment is poisoned, and no batch will follow.
                self.settle(&batch, Dirt::abandoned);
                Err(error)
            }
        }
    }

    fn settle(&self, batch: &Batch, outcome: impl Fn(&mut Dirt)) {
        for entry in batch.entries() {
            self.dirt(&self.frames[entry.frame], &outcome);
        }
    }

    /// The order of things.
    fn write_durably(
        &self,
        write_back: &mut WriteBack,
        batch: &mut Batch,
        pace: Pace,
    ) -> Result<()> {
        if let Some(lsn) = batch.needs_log_to()
            && !planted::is(Bug::PageWrittenBeforeLog)
        {
            self.barrier.flush_to(lsn)?; // P1
        }
        self.prepare_homes(batch)?;
        batch.seal();
        self.write_copies(&mut write_back.double_write, batch)?;
        self.write_homes(batch, pace)?;
        self.sync_homes(batch)
    }

    /// Opens the files of the batch that have no handle. A process may be out of handles for a
    /// while: nothing has been written yet, so this is an error and no poison (P11).
    fn prepare_homes(&self, batch: &Batch) -> Result<()> {
        for file in batch.entries().chunk_by(|one, next| one.page.file == next.page.file) {
            let Some(entry) = file.first() else { continue };
            entry.file.prepare().map_err(|source| self.home_error("open", entry, source))?;
        }
        Ok(())
    }

    fn write_homes(&self, batch: &Batch, pace: Pace) -> Result<()> {
        let page_bytes = self.page_bytes() as u64;
        for run in batch.runs(TRICKLE_PAGES) {
            let entry = &batch.entries()[run.start];
            let images = batch.images(run);
            let offset = u64::from(entry.page.page.0) * page_bytes;
            let written = entry.file.write_all_at(images, offset);
            if !planted::is(Bug::PageWriteErrorIgnored) {
                written.map_err(|source| self.strike(self.home_error("write", entry, source)))?;
            }
            // So that the sync finds little left: a burst of pages delays commits.
            entry.file.start_write_out(offset, images.len() as u64);
            self.pause(pace);
        }
        Ok(())
    }

    fn pause(&self, pace: Pace) {
        let us = self.options.trickle_us;
        let threads = self.host.background == Background::Threads;
        if pace == Pace::Trickle && threads && us > 0 && self.hurry.load(Ordering::Relaxed) == 0 {
            self.host.clock.sleep_us(us);
        }
    }

    /// Syncs each durable file of the batch once; the entries are in the order of their files.
    fn sync_homes(&self, batch: &Batch) -> Result<()> {
        for file in batch.entries().chunk_by(|one, next| one.page.file == next.page.file) {
            let Some(entry) = file.first() else { continue };
            if !entry.durable {
                self.entry(entry.page.file)?.set_unsynced();
                continue;
            }
            if planted::is(Bug::DataSyncSkippedBeforeCheckpoint) {
                continue;
            }
            let synced = entry.file.sync_data();
            count(&self.counters.syncs, 1);
            synced.map_err(|source| self.strike(self.home_error("sync", entry, source)))?;
        }
        Ok(())
    }

    fn home_error(&self, what: &'static str, entry: &Entry, source: std::io::Error) -> StoreError {
        match self.entry(entry.page.file) {
            Ok(file) => file.io(what, source),
            Err(error) => error,
        }
    }

    /// Poisons the environment because of a failed write or sync.
    pub(crate) fn strike(&self, error: StoreError) -> StoreError {
        tracing::error!(%error, "poisoned");
        if !planted::is(Bug::PoisonForgotten) {
            self.poison.strike(error.to_string());
        }
        error
    }

    /// A sync of a file that is not a data file's home.
    pub(crate) fn sync(&self, file: &dyn File) -> std::io::Result<()> {
        count(&self.counters.syncs, 1);
        file.sync_data()
    }
}

/// Keeps the `limit` least choices.
fn keep_least<K: Ord>(chosen: &mut Vec<Choice>, limit: usize, key: impl Fn(&Choice) -> K) {
    if chosen.len() > limit {
        chosen.select_nth_unstable_by_key(limit, key);
        chosen.truncate(limit);
    }
}
